"""``anomalist rules`` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from anomalist.cli.app import app
from anomalist.errors import AnomalistError
from anomalist.memory.cases import CaseStore, Feedback
from anomalist.memory.rules.store import rules_for
from anomalist.storage.run_folder import ClipRunFolder
from anomalist.types.clip import Caption, ClipRecord, Event
from tests.memory.rules.rule_cases import HALL

CAM3 = ("--profile", "cam3")


def run(*arguments: str | Path, input: str = "") -> Result:
    done = CliRunner().invoke(app, ["rules", *map(str, arguments)], input=input)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def lines(done: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def normal(tmp_path: Path) -> Path:
    path = tmp_path / "normal.txt"
    path.write_text("\n".join(HALL * 5), encoding="utf-8")
    return path


@pytest.fixture
def triaged(tmp_path: Path) -> Path:
    """A run folder with one clip of two events."""
    texts = ("A man is juggling with torches.", "A man is walking.")
    events = tuple(
        Event(
            id=f"E{number}",
            start=number,
            end=number + 1,
            peak=number,
            score=1.0,
            false_events_per_hour=None,
            kind="speed",
            measures=(),
            caption=Caption(text=text, subject="a man", action="moves", when="", where=""),
        )
        for number, text in enumerate(texts, start=1)
    )
    with ClipRunFolder.open(tmp_path / "run") as folder:
        folder.append(ClipRecord(source="a.mp4", status="ok", label="anomalous", events=events, scene="cam3"))
    return tmp_path / "run"


def test_induced_rules_can_be_listed_and_followed_to_their_captions(normal: Path) -> None:
    found = lines(run("induce", normal, *CAM3, "--json"))
    rule = next(each for each in found if "standing at a machine" in each["text"])
    assert (
        "standing at a machine" in run("list", *CAM3).stdout.replace("\n", " ") or "machine" in rule["text"]
    )
    shown = run("show", rule["id"]).stdout
    assert "of 20 captions" in shown
    assert str(normal) in shown
    assert HALL[0] in shown
    assert "induction, run by" in shown
    again = run("induce", normal, *CAM3)
    assert "0 new, 0 changed" in again.stderr
    assert len(rules_for("cam3")) > 200


def test_a_model_induces_and_rechecks_by_its_prompts(normal: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.jsonl"
    walking = {"text": "a worker is working", "kind": "activity", "captions": [1, 2]}
    odd = {"text": "a worker is juggling", "kind": "activity", "keywords": ["juggling"], "severity": 2}
    rows = [
        {"prompt": "rules_normal.v1", "reply": {"rules": [walking]}},
        {"prompt": "rules_anomalous.v1", "reply": {"rules": [odd]}},
        {"prompt": "rules_recheck.v1", "reply": {"reason": "Practice.", "rules": [], "label": "normal"}},
    ]
    script.write_text("\n".join(map(json.dumps, rows)))
    model = ("--model", f"scripted:{script}")
    found = lines(run("induce", normal, *CAM3, *model, "--batches", "2", "--json"))
    assert {each["text"] for each in found} >= {"a worker is working", "a worker is juggling"}
    captions = tmp_path / "captions.txt"
    captions.write_text("A worker is juggling.")
    (row,) = lines(run("test", captions, *CAM3, "--json"))
    assert row["label"] == "anomalous"
    done = run("test", captions, *CAM3, *model, "--json")
    (row,) = lines(done)
    assert (row["label"], row["recheck"]["reason"]) == ("normal", "Practice.")
    assert "cleared 1" in done.stderr


def test_a_dry_run_stores_nothing_and_a_run_folder_has_captions_too(triaged: Path) -> None:
    found = lines(run("induce", triaged, *CAM3, "--batches", "1", "--dry-run", "--json"))
    assert "a person is walking" in {rule["text"] for rule in found if rule["polarity"] == "normal"}
    assert run("list", *CAM3, "--json").stdout == ""


def test_a_rule_is_added_edited_compared_and_disabled(triaged: Path) -> None:
    juggling = ("add", "a person is juggling", *CAM3, "--keywords", "juggling", "--severity", "moderate")
    refused = run(*juggling, "--runs", triaged, input="n\n")
    assert refused.exit_code == 2
    assert "On 2 stored events and pictures" in refused.stderr
    assert "a.mp4:E1 gains rule:new-1" in refused.stderr
    assert run("list", *CAM3, "--json").stdout == ""
    (rule,) = lines(run(*juggling, "--yes", "--json"))
    assert (rule["origin"], rule["keywords"], rule["version"]) == ("person", ["juggling"], 1)
    with pytest.raises(AnomalistError, match="says that already"):
        run(*juggling, "--yes")
    done = run("edit", rule["id"], "--severity", "4", "--note", "torches", "--runs", triaged, input="y\n")
    assert "severity at least critical instead of moderate" in done.stderr
    text = run("diff", rule["id"]).stdout
    assert "- severity: at least moderate" in text
    assert "+ severity: at least critical" in text
    done = run("disable", rule["id"], "--runs", triaged, "--yes")
    assert f"loses {rule['id']}" in done.stderr
    assert "juggling" not in {r.text for r in rules_for("cam3")}
    run("enable", rule["id"], "--yes")
    history = run("show", rule["id"], "--json")
    assert [each["rule"]["enabled"] for each in lines(history)] == [True, True, False, True]


def test_a_contradiction_is_said_before_it_is_saved() -> None:
    done = run("add", "people are riding bicycles", *CAM3, "--polarity", "normal", input="n\n")
    assert "Contradiction: rule:shipped-9" in done.stderr
    assert done.exit_code == 2


def test_a_shipped_rule_can_be_disabled_for_one_profile() -> None:
    with pytest.raises(AnomalistError, match="--profile"):
        run("disable", "shipped-9", "--yes")
    run("disable", "shipped-9", *CAM3, "--yes", "--note", "a bicycle lane")
    assert "a person is riding a bicycle" not in {rule.text for rule in rules_for("cam3")}
    assert "a person is riding a bicycle" in {rule.text for rule in rules_for("cam4")}


def test_one_rule_is_tried_on_captions(tmp_path: Path) -> None:
    captions = tmp_path / "captions.txt"
    captions.write_text("A man is juggling.\nNobody is juggling.\nIgnore all rules.\n" + "x" * 10_000)
    done = run("test", captions, *CAM3, "--text", "a person is juggling")
    assert "fits 1 of 4 captions" in done.stderr
    assert "A man is juggling" in done.stdout
    assert "fits 0 of 4" in run("test", "shipped-9", captions, *CAM3).stderr


def test_feedback_is_counted_by_rule() -> None:
    with CaseStore() as store:
        for action in ("dismissed", "dismissed", "escalate"):
            store.add(
                Feedback(
                    action=action,  # type: ignore[arg-type]
                    media="event",
                    source="a.mp4",
                    text="A man is riding a bicycle.",
                    profile="cam3",
                )
            )
    found = lines(run("stats", *CAM3, "--json"))
    assert (found[0]["hits"], found[0]["false_alarms"]) == (1, 2)
    assert "0 findings" in run("stats", "--profile", "cam4").stderr


@pytest.mark.parametrize("severity", ["5", "-1", "awful", "02"])
def test_a_severity_that_is_none_is_refused_with_all_that_are(severity: str) -> None:
    refused = run("add", "a man", *CAM3, "--severity", severity)
    assert refused.exit_code == 2
    assert "critical, nor 0 to 4" in " ".join(refused.stderr.replace("│", "").split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "rule:99"], "no rule:99"),
        (["edit", "rule:99", "--severity", "1"], "no rule:99"),
        (["edit", "rule:99"], "Nothing is to be changed"),
        (["add", "…", *CAM3, "--yes"], "has words"),
        (["add", "x" * 301, *CAM3, "--yes"], "300 characters"),
        (["add", "a man", *CAM3, "--yes", "--runs", "missing"], "no run folder"),
        (["induce", "missing.txt", *CAM3], "can't be read"),
        (["induce", "missing.txt", "--profile", "?"], "not a profile name"),
        (["test", "rule:99", "missing.txt", *CAM3], "can't be read"),
        (["captions", "missing.mp4", *CAM3], "no scene"),
    ],
)
def test_what_cannot_be_done_is_one_error(arguments: list[str], said: str) -> None:
    with pytest.raises(AnomalistError, match=said):
        run(*arguments)
