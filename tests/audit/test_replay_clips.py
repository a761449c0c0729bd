"""Decisions on clips: logged, shown step by step, and taken again with what was used then."""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest

from anomalist.agent.reasoning.event_reasoner import make_annotator
from anomalist.audit.clip_necessity import audit_clip_reasons
from anomalist.audit.decision import decision_steps
from anomalist.audit.page import write_decision_page
from anomalist.audit.reading import read_entries, verify_log
from anomalist.audit.recording import AuditTrail, RunTrail
from anomalist.audit.replay import Replayer, decision_record
from anomalist.audit.without import recalled_ids, verdicts_without
from anomalist.composition import TriageSettings
from anomalist.errors import DataError
from anomalist.memory.scenes.memory import memory_path
from anomalist.memory.scenes.scene import new_scene
from anomalist.memory.scenes.store import SceneStore
from anomalist.ranking import ClipRanking
from anomalist.triage import Triage
from anomalist.vision.motion.scene import Scene
from tests.agent.event_cases import REPLY, RecordingChatModel
from tests.audit.conftest import add_rule
from tests.report.pages import parse
from tests.street import make_film, walker
from tests.street_files import write_film


def test_clips_are_the_same_again_and_what_changed_is_named(street: Scene, tmp_path: Path) -> None:
    write_film(tmp_path / "calm.mp4", make_film(6, people=43))
    write_film(tmp_path / "runner.mp4", make_film(7, walker(3.0, 60.0, speed=4.0), people=42))
    (tmp_path / "text.mp4").write_text("no video")
    triage = Triage(TriageSettings(street, model="evidence"))
    trail = AuditTrail(tmp_path / "audit", "all")
    trail.begin_triage(triage, "triage")
    with RunTrail(trail, None) as kept:
        list(kept.keep(triage.clips(tmp_path / name for name in ("calm.mp4", "runner.mp4", "text.mp4"))))
    entries = list(read_entries(tmp_path / "audit", kinds=["clip"]))
    replayer = Replayer(tmp_path / "audit")
    done = [replayer.replay(entry) for entry in entries]
    assert [each.equal for each in done] == [True, True, False], [each.differences for each in done]
    assert "could not be read then" in done[2].failed and verify_log(tmp_path / "audit").sound

    titles = [step.title for step in decision_steps(entries[1], tmp_path / "audit")]
    assert titles[0] == "What was looked at" and any(title.startswith("E1: from") for title in titles)
    page = parse(write_decision_page(entries[1], tmp_path / "page.html", tmp_path / "audit"))
    assert "runner.mp4: anomalous" in page.words()
    assert "E1" in page.words() and "A track that nothing cites is the control" in page.words()
    with pytest.raises(DataError, match="no event whose reasons"):
        audit_clip_reasons(entries[0], replayer)
    recalled = recalled_ids(decision_record(entries[1]))
    less = verdicts_without(entries[1], replayer, [*recalled[:1], "policy"])
    assert [each.verdict[:9] for each in less] == ["anomalous"] * len(less)
    assert less[-1].note == "It was the shipped policy."

    policy = tmp_path / "policy.toml"
    policy.write_text("[events]\nmajor_speed = 1.9\n")
    (change,) = [
        each
        for each in Replayer(tmp_path / "audit", policy).replay(entries[1]).changes
        if each.part == "policy"
    ]
    assert change.text == "events.major_speed 4.0 → 1.9"


def test_a_clip_that_was_ranked_without_a_scene_is_ranked_the_same_again(tmp_path: Path) -> None:
    write_film(tmp_path / "runner.mp4", make_film(6, walker(2.0, 60.0, speed=4.0)))
    trail = AuditTrail(tmp_path / "audit", "all")
    trail.begin_ranking("triage")
    with RunTrail(trail, None) as kept:
        list(kept.keep([ClipRanking().clip(tmp_path / "runner.mp4")]))
    (entry,) = read_entries(tmp_path / "audit", kinds=["clip"])
    replayer = Replayer(tmp_path / "audit")
    assert replayer.session_of(entry).content["learned"] is False
    again = replayer.replay(entry)
    assert (again.equal, again.changes) == (True, ())
    page = parse(write_decision_page(entry, tmp_path / "page.html", tmp_path / "audit"))
    assert "runner.mp4: undecided" in page.words()

    body = deepcopy(entry.content)
    body["record"]["why_undecided"] = "the camera was covered"
    (difference,) = replayer.replay(replace(entry, body=body)).differences
    assert difference.startswith("why undecided: the camera was covered then")


def test_each_clip_is_taken_again_with_all_that_is_there_today(
    street: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also behind one whose difference was traced to a single part."""
    monkeypatch.setenv("ANOMALIST_HOME", str(tmp_path / "home"))
    shutil.copytree(street.path, tmp_path / "home" / "profiles" / "street")
    write_film(tmp_path / "runner.mp4", make_film(7, walker(3.0, 60.0, speed=4.0), people=42))
    triage = Triage(TriageSettings("street", model="evidence"))
    trail = AuditTrail(tmp_path / "audit", "all")
    trail.begin_triage(triage, "triage")
    with RunTrail(trail, None) as kept:
        list(kept.keep(triage.clips([tmp_path / "runner.mp4"] * 2)))
    policy = tmp_path / "policy.toml"
    policy.write_text("[events]\nmajor_speed = 1.9\n")
    add_rule("street", "a ball", "ball", 1)
    replayer = Replayer(tmp_path / "audit", policy)
    done = [replayer.replay(each, today=True) for each in read_entries(tmp_path / "audit", kinds=["clip"])]
    assert {change.part for change in done[0].changes} >= {"policy", "rules"}
    assert done[0].differences and done[1].differences == done[0].differences
    assert done[1].causes == done[0].causes

    session = replayer.session_of(done[0].entry)
    (tmp_path / "audit" / "texts" / session.content["rules"]).unlink()
    again = Replayer(tmp_path / "audit").replay(done[0].entry)
    assert "rules" in again.failed and not again.equal


def test_what_memory_and_a_model_said_of_a_clip_then_is_put_in_its_place_again(
    street: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANOMALIST_HOME", str(tmp_path / "home"))
    shutil.copytree(street.path, tmp_path / "home" / "profiles" / "street")
    add_rule("street", "somebody rides a bicycle", "bicycle", 4)
    write_film(tmp_path / "runner.mp4", make_film(7, walker(3.0, 60.0, speed=4.0), people=42))
    triage = Triage(TriageSettings("street", model="evidence"))
    said = json.dumps(REPLY | {"evidence": ["E1"]})
    triage.annotator = make_annotator(model=RecordingChatModel(opinion=lambda _: said))
    trail = AuditTrail(tmp_path / "audit", "all")
    trail.begin_triage(triage, "triage")
    with RunTrail(trail, None) as kept:
        (record,) = kept.keep(triage.clips([tmp_path / "runner.mp4"]))
    assert [event.severity for event in record.events] == [4]
    words = record.events[0].recalled[-1].source  # that a scene which ships fits
    scene = new_scene("anomalous", "new", str(words), "somebody")
    with SceneStore(memory_path("street")) as store:
        store.add([scene])
    (entry,) = read_entries(tmp_path / "audit", kinds=["clip"])
    replayer = Replayer(tmp_path / "audit")
    assert replayer.replay(entry).differences == ()
    assert "scene:" in " ".join(replayer.replay(entry, today=True).differences)
    (rule,) = [item.id for item in record.events[0].recalled if item.severity == 4]
    (less,) = verdicts_without(entry, replayer, [rule])
    assert "critical" not in less.verdict
