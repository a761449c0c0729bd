"""What 0.1.0 left on a disk opens, and says what it said then. make_0_1_0.py made the archives."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from anomalist import Inspector
from anomalist.cli.app import app
from tests.compat.packed import unpack

HERE = Path(__file__).parent
SAID: dict[str, Any] = json.loads((HERE / "expected-0.1.0.json").read_text(encoding="utf-8"))
DIGITS = 1e-5  # of a score, relative: another processor rounds otherwise
NUMBERS = ("score", "p_value", "threshold")
PICTURE = ("source", "status", "label", "severity", "kind")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("0.1.0")
    for archive in ("home-0.1.0.zip", "runs-0.1.0.zip"):
        unpack(HERE / archive, folder)
    return folder


@pytest.fixture(autouse=True)
def place(unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A disk as 0.1.0 left it, to work in: home/, run/ of inspect, watch/ of triage, and what they are of."""
    shutil.copytree(unpacked, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANOMALIST_HOME", "home")
    return tmp_path


def run(*words: str, lines: str | None = None, code: int = 0) -> Result:
    done = CliRunner().invoke(app, list(words), input=lines, catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done


def rows(*words: str, lines: str | None = None, code: int = 0) -> list[dict[str, Any]]:
    done = run(*words, "--json", lines=lines, code=code)
    return [json.loads(line) for line in done.stdout.splitlines()]


def only(several: Sequence[dict[str, Any]], *keys: str) -> list[dict[str, Any]]:
    return [{key: each[key] for key in keys} for each in several]


def assert_same_pictures(found: Sequence[dict[str, Any]], said: Sequence[dict[str, Any]]) -> None:
    assert only(found, *PICTURE) == only(said, *PICTURE)
    for one, other in zip(found, said, strict=True):
        numbers, then = ([row[key] or 0.0 for key in NUMBERS] for row in (one, other))
        assert numbers == pytest.approx(then, rel=DIGITS), one["source"]
        assert only(one["regions"], "id", "box") == only(other["regions"], "id", "box")
        assert only(one["recall"], "id") == only(other["recall"], "id")


def assert_same_answers(found: Sequence[dict[str, Any]], said: Sequence[dict[str, Any]]) -> None:
    keys = ("question", "answered", "text", "intent", "subjects", "verdict")
    assert only(found, *keys) == only(said, *keys)


def test_profiles_are_listed() -> None:
    keys = ("name", "version", "format", "effort", "low", "defects")
    found = {kind: [row for row in rows("profiles") if row["kind"] == kind] for kind in ("profile", "scene")}
    assert only(found["profile"], *keys) == only(SAID["profiles"], *keys)
    assert only(found["scene"], "name", "format") == [{"name": "gate", "format": 1}]
    assert "damaged" not in run("profiles").stderr


def test_a_profile_gives_the_labels_and_scores_that_it_gave() -> None:
    assert_same_pictures(rows("inspect", "new", "--profile", "tiles", code=3), SAID["inspect"])


def test_a_profile_opens_in_python(place: Path) -> None:
    by_name = {row["source"]: row for row in SAID["inspect"]}
    record = Inspector(place / "home" / "profiles" / "tiles").inspect("new/d-hole.png").record
    assert record.label == by_name["new/d-hole.png"]["label"] == "anomalous"
    assert record.score == pytest.approx(by_name["new/d-hole.png"]["score"], rel=DIGITS)


def test_known_kinds_are_named() -> None:
    found = rows("inspect", "new", "--profile", "known", code=3)
    assert_same_pictures(found, SAID["known"])
    assert "hole" in {row["kind"] for row in found}
    for one, other in zip(found, SAID["known"], strict=True):
        for region, then in zip(one["regions"], other["regions"], strict=True):
            assert region["known"]["name"] == then["known"]["name"]
            assert region["known"]["cases"] == then["known"]["cases"]
            assert region["known"]["similarity"] == pytest.approx(then["known"]["similarity"], rel=1e-4)


def test_feedback_is_cited_and_a_rule_with_it() -> None:
    found = {row["source"]: row for row in rows("inspect", "new/b-hole.png", "--profile", "tiles")}
    recalled = {each["id"]: each for each in found["new/b-hole.png"]["recall"]}
    assert {"case:1", "rule:213"} <= set(recalled)
    assert "somebody said" in recalled["case:1"]["text"] and "it is fine" in recalled["case:1"]["text"]


@pytest.mark.usefixtures("in_full")  # learned with the weights of old
def test_a_profile_is_learned_again_from_feedback() -> None:
    run("learn", "--profile", "tiles", "--from-feedback")
    (tiles,) = (row for row in rows("profiles") if row["name"] == "tiles")
    listed = json.loads(Path("home/profiles/tiles/profile.json").read_text(encoding="utf-8"))
    assert tiles["effort"] == "fast"
    assert [Path(each["source"]).name for each in listed["normals"]] == [
        *(f"{number:02d}.png" for number in range(20)),
        "b-hole.png",
    ]


def test_a_scene_gives_the_events_that_it_gave() -> None:
    found = rows("triage", "clips", "--profile", "gate")
    keys = ("source", "status", "label", "duration", "frames")
    assert only(found, *keys) == only(SAID["triage"], *keys)
    for one, other in zip(found, SAID["triage"], strict=True):
        assert one["threshold"] == pytest.approx(other["threshold"], rel=DIGITS)
        # Since then an event is about one thing: another one near it is an event of its own.
        for event in other["events"]:
            times = [event[key] for key in ("start", "end", "peak")]
            assert any(
                each["kind"] == event["kind"]
                and each["severity"] == event["severity"]
                and [each[key] for key in ("start", "end", "peak")] == pytest.approx(times, abs=0.3)
                for each in one["events"]
            )
    assert any(one["events"] for one in found)


@pytest.mark.parametrize("profile", ["tiles", "gate"])
def test_rules_are_listed_with_their_versions(profile: str) -> None:
    every = rows("rules", "list", "--profile", profile, "--all")
    mine = [rule for rule in every if rule["origin"] != "shipped" or rule["version"] > 1]
    assert mine == SAID["rules"][profile]
    assert [rule["enabled"] for rule in mine].count(False) == (profile == "tiles")
    shown = run("rules", "list", "--profile", profile).stdout
    assert all((rule["id"] in shown) == rule["enabled"] for rule in mine)


def test_the_history_of_a_rule_is_shown() -> None:
    assert len(SAID["history"]) == 4
    for id, versions in SAID["history"].items():
        assert only(rows("rules", "show", id), "rule", "who") == only(versions, "rule", "who")
    assert "as told" in run("rules", "show", "rule:213").stdout


def test_a_rule_of_old_can_be_changed() -> None:
    run("rules", "enable", "rule:214", "--yes")
    assert [version["rule"]["version"] for version in rows("rules", "show", "rule:214")] == [1, 2, 3]


def test_the_memory_of_a_camera_opens() -> None:
    assert rows("memory", "list", "--name", "gate") == SAID["memory list"]
    found = rows("memory", "search", "a drone in the air", "--name", "gate", "-k", "2")
    assert only(found, "id", "side", "text") == only(SAID["memory search"], "id", "side", "text")
    similar = [each["similarity"] for each in SAID["memory search"]]
    assert [each["similarity"] for each in found] == pytest.approx(similar, abs=2e-4)
    (about,) = rows("memory", "stats", "--name", "gate")
    assert about["threshold"] == pytest.approx(SAID["memory stats"][0]["threshold"], rel=DIGITS)


def test_reports_of_pictures_are_written_again() -> None:
    run("report", "run")
    records = json.loads(Path("run/report.json").read_text(encoding="utf-8"))["records"]
    assert_same_pictures(records, SAID["records"])
    assert "d-hole.png" in Path("run/report.html").read_text(encoding="utf-8")
    assert "e-broken.jpg" in Path("run/report.md").read_text(encoding="utf-8")


def test_reports_of_clips_are_written_again_with_the_feedback() -> None:
    Path("watch/triage.json").unlink()
    run("report", "watch")
    alerts = json.loads(Path("watch/triage.json").read_text(encoding="utf-8"))["alerts"]
    assert alerts == SAID["alerts"]
    moved = {"value": -0.5, "cases": ["case:3"], "reason": "alike to 1 dismissed (case:3)"}
    assert alerts[0]["adjustment"] == moved
    assert "runner.mp4" in Path("watch/triage.html").read_text(encoding="utf-8")


def test_feedback_on_an_event_of_old_is_taken_back() -> None:
    run("feedback", "watch", "runner.mp4:E1", "--undo")
    alerts = json.loads(Path("watch/triage.json").read_text(encoding="utf-8"))["alerts"]
    assert alerts[0]["adjustment"] is None


def test_what_was_inspected_is_not_inspected_again() -> None:
    before = Path("run/records.jsonl").read_bytes()
    done = run("inspect", "new", "--profile", "tiles", "--out", "run", code=3)  # one can't be judged
    assert "5 of 5 pictures were done before." in done.stderr
    assert "5 of 5 pictures were done before." in SAID["inspect again"]
    assert Path("run/records.jsonl").read_bytes() == before


def test_what_was_triaged_is_not_triaged_again() -> None:
    before = Path("watch/clips.jsonl").read_bytes()
    run("triage", "clips", "--profile", "gate", "--out", "watch")
    assert Path("watch/clips.jsonl").read_bytes() == before


def test_runs_are_asked() -> None:
    (listed,), (said,) = rows("ask", "run", "Which pictures are anomalous?"), SAID["ask run"]
    assert_same_answers([listed | {"text": ""}], [said | {"text": ""}])
    assert all(
        f"{name}: anomalous" in listed["text"] for name in ("b-hole.png", "c-stripe.png", "d-hole.png")
    )
    found = rows("ask", "watch", "What happened?", "--picture", "runner.mp4")
    assert_same_answers(found, SAID["ask watch"])
    found = rows("ask", "new/d-hole.png", "Where is it?", "--profile", "tiles")
    assert_same_answers(found, SAID["ask picture"])


def test_a_conversation_goes_on() -> None:
    (listed,) = rows("chat", "--list")
    assert only([listed], "name", "about", "turns") == only(SAID["chats"], "name", "about", "turns")
    assert listed["turns"] == 3
    assert_same_answers(rows("chat", "--name", "shift 1", lines="Where is it?\n"), SAID["chat again"])
    assert rows("chat", "--list")[0]["turns"] == 4
    assert "case:2 is taken back" in run("chat", "--name", "shift 1", lines="/undo\n").stdout


def test_a_run_of_old_is_talked_about() -> None:
    found = rows("chat", "watch", "--name", "night", lines="What happened in runner.mp4?\n")
    assert_same_answers(found, SAID["chat about watch"])
