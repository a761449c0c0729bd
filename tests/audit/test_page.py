"""Pages of a decision, a period and probes: self-contained, complete, and honest where something is gone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anomalist.audit.decision import decision_steps
from anomalist.audit.page import probe_json, write_decision_page, write_period_page, write_probe_page
from anomalist.audit.probes import run_probes
from anomalist.audit.stores import media_path
from anomalist.types.image import Record
from anomalist.vision.profile import Profile
from tests.audit.conftest import Logged
from tests.pictures import write_tiles
from tests.report.pages import parse


def is_self_contained(path: Path) -> bool:
    text = path.read_text("utf-8")
    return "<script" not in text and 'src="http' not in text and "default-src &#39;none&#39;" in text


def test_a_decision_page_leads_from_pixels_to_label(kept_log: Logged, tmp_path: Path) -> None:
    entry = kept_log.entries("anomalous")[0]
    path = write_decision_page(entry, tmp_path / "page.html", kept_log.folder)
    page = parse(path)
    assert is_self_contained(path)
    titles = [heading.words() for heading in page.all("h3")]
    assert titles == [step.title for step in decision_steps(entry, kept_log.folder)]
    assert titles[0] == "What was looked at" and "The verdict" in titles
    words = page.words()
    assert "The verdict needs R1" in words and "nearest normal patch" in words
    assert "Control: another place of the size of R1" in words
    assert entry.hash in words and str(kept_log.records[0].policy) in words
    assert len(page.all("img")) >= 4


def test_a_page_says_what_is_gone_and_keeps_the_steps(logged: Logged, tmp_path: Path) -> None:
    entry = logged.entries("anomalous")[0]
    Path(entry.source).unlink()
    media_path(logged.folder, entry.content["record"]["sha256"]).unlink()
    page = parse(write_decision_page(entry, tmp_path / "page.html", logged.folder))
    assert "could not be taken again" in page.words() and "From p-value to label" in page.words()


@pytest.mark.parametrize("state", [{"status": "ok", "label": None}, {"status": "error", "label": "normal"}])
def test_a_decision_without_a_verdict_has_none_on_its_page(logged: Logged, state: dict[str, Any]) -> None:
    entry = logged.entries("anomalous")[0]
    record = Record.model_validate(entry.content["record"]).replace(verdict=None).model_dump(mode="json")
    failed = replace(entry, body={**entry.content, "record": record | state})
    titles = [step.title for step in decision_steps(failed, logged.folder)]
    assert "It could not be judged" in titles and "The verdict" not in titles


def test_a_period_page_counts_promises_and_alarms(kept_log: Logged, tmp_path: Path) -> None:
    path = write_period_page(tmp_path / "period.html", kept_log.folder)
    words = parse(path).words()
    assert is_self_contained(path)
    assert "10 decisions, 4 anomalous" in words and "Sound." in words
    none = parse(write_period_page(tmp_path / "none.html", kept_log.folder, since="2999"))
    assert "Nothing was written in this period." in none.words()


def test_the_map_of_probes_is_a_picture_and_json(tiles_profile: Profile, tmp_path: Path) -> None:
    normals = write_tiles(tmp_path / "fresh", 2, first=950)
    found = run_probes(tiles_profile, normals, each=1)
    path = write_probe_page(found, tmp_path / "probes.html")
    assert is_self_contained(path)
    assert len(parse(path).all("td")) >= 29
    content = probe_json(found)
    assert len(content["grid"]) == 20 and sum(cell["of"] for cell in content["grid"]) == 20
