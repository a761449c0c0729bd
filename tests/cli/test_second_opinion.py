"""``anomalist second-opinion`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anomalist.audit.reading import read_entries
from anomalist.second_opinion.report import SecondOpinion
from anomalist.vision.motion.scene import Scene
from tests.cli.running import rows, run
from tests.report.pages import parse
from tests.second_opinion.exports import GONE, RUNNER, STILL, WALKER, write_export


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_export(tmp_path_factory.mktemp("frigate"))


def test_each_sentence_has_a_verdict_with_its_evidence(street: Scene, export: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("second-opinion", export, "--profile", f"{street.path}/", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "contradicted" in done.stdout
    whole = SecondOpinion.model_validate_json((out / "second-opinion.json").read_text())
    items = {item.id: item for item in whole.items}
    runner = {each.sentence: each for each in items[RUNNER].opinions}
    assert runner["A person enters the frame from the left."].status == "borne out"
    assert runner["Nothing unusual happens."].status == "contradicted"
    assert runner["Nothing unusual happens."].ids[0] == "E1"
    assert runner["He wears a red jacket and plans to deliver a parcel."].status == "not testable"
    assert runner["Joe"].status == runner["porch"].status == "not testable"
    assert items[RUNNER].label == "anomalous"
    walker = {each.where: each for each in items[WALKER].opinions}
    assert walker["description"].status == "contradicted"
    assert "right to left" in walker["description"].why
    assert "could not be judged" in items[STILL].opinions[0].why
    assert {each.why for each in items[GONE].opinions} == {"No clip of it is there."}
    assert "# Second opinion" in (out / "second-opinion.md").read_text()
    assert (out / "triage.html").is_file()
    page = parse(out / "second-opinion.html")
    assert [cell.words() for cell in page.all("td", class_="contradicted")].count("contradicted") >= 2
    assert "Nothing unusual happens." in page.words()
    assert any(link.attributes["href"] == "triage.html" for link in page.all("a"))


def test_without_a_scene_nothing_is_tested_and_that_is_said(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANOMALIST_HOME", str(tmp_path))
    monkeypatch.setenv("ANOMALIST_AUDIT", "on")
    done = run("second-opinion", export)
    assert done.returncode == 0, done.stderr
    session, *decided = read_entries(tmp_path / "audit", kinds=["session", "clip"])
    assert session.content["learned"] is False
    assert {entry.kind for entry in decided} == {"clip"}
    assert "Uncalibrated" in done.stdout
    items = rows(run("second-opinion", export, "--json").stdout)
    assert {each["status"] for item in items for each in item["opinions"]} == {"not testable"}
    runner = next(item for item in items if item["id"] == RUNNER)
    assert any("body heights" in text for text in runner["measured"])
    assert "Uncalibrated" in json.dumps(runner["opinions"])
