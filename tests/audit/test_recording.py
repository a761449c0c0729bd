"""What is done is written: decisions behind their rows, with what they were judged by, and nothing twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anomalist.audit.cards import model_card
from anomalist.audit.reading import read_entries, verify_log
from anomalist.audit.recording import MARKER, AuditTrail, RunTrail, open_trail
from anomalist.audit.review import known_truth
from anomalist.audit.stores import (
    AuditSettings,
    keep_media,
    keep_text,
    media_path,
    profile_store,
    save_settings,
    stored_text,
)
from anomalist.errors import DataError
from anomalist.memory.cases import CaseStore, Feedback
from anomalist.pipeline import Inspector
from anomalist.prompts.templates import template_sha256
from anomalist.records import inspect_to_folder
from anomalist.runs import ImageRun
from anomalist.storage.files import file_sha256
from anomalist.storage.run_folder import CLIPS, ClipRunFolder, ImageRunFolder
from anomalist.types.common import PromptUsed
from anomalist.vision.profile import Profile, load_profile
from tests.audit.conftest import Logged
from tests.pictures import tile, write
from tests.report.clip_records import clip, event


def test_every_decision_is_an_entry_that_names_with_what_it_was_judged(
    kept_log: Logged, tiles_profile: Profile
) -> None:
    (session,) = read_entries(kept_log.folder, kinds=["session"])
    assert session.content["profile_digest"] == tiles_profile.digest
    assert json.loads(stored_text(kept_log.folder, session.content["policy_text"]) or "")["area"]
    entries = kept_log.entries()
    assert [entry.content["record"] for entry in entries] == [
        json.loads(record.model_dump_json()) for record in kept_log.records
    ]
    assert {entry.content["session"] for entry in entries} == {session.position}
    assert verify_log(kept_log.folder).sound


def test_the_profile_is_kept_by_its_digest(kept_log: Logged, tiles_profile: Profile) -> None:
    kept = profile_store(kept_log.folder, tiles_profile.digest, tiles_profile.name)
    assert load_profile(kept).digest == tiles_profile.digest


@pytest.mark.parametrize(("keep", "expected"), [("none", 0), ("anomalous", 4), ("all", 10)])
def test_pictures_are_kept_by_content_hash_as_asked(
    keep: str, expected: int, tiles_profile: Profile, tmp_path: Path
) -> None:
    from tests.audit.conftest import inspect_logged

    made = inspect_logged(tiles_profile, tmp_path, keep=keep)
    kept = [record for record in made.records if media_path(made.folder, record.sha256 or "").is_file()]
    undecided = sum(record.label == "undecided" for record in made.records)
    assert len(kept) == expected + (undecided if keep == "anomalous" else 0)


def test_a_stored_file_that_was_deleted_or_changed_by_hand_is_named(logged: Logged) -> None:
    first, second = (media_path(logged.folder, record.sha256 or "") for record in logged.records[:2])
    first.unlink()
    second.write_bytes(b"another")
    found = {finding.kind: finding for finding in verify_log(logged.folder).findings}
    assert set(found) == {"media"}
    assert len(verify_log(logged.folder).findings) == 2


def test_what_was_damaged_in_the_folder_is_stored_again_when_it_is_used_again(tmp_path: Path) -> None:
    picture = write(tmp_path / "a.png", tile(1))
    sha256 = file_sha256(picture)
    text = keep_text(tmp_path, "a policy")
    assert keep_media(tmp_path, picture, sha256)
    (tmp_path / "texts" / text).write_text("a poli")
    media_path(tmp_path, sha256).write_bytes(picture.read_bytes()[:50])
    assert keep_text(tmp_path, "a policy") == text and keep_media(tmp_path, picture, sha256)
    assert stored_text(tmp_path, text) == "a policy"
    assert file_sha256(media_path(tmp_path, sha256)) == sha256
    picture.write_bytes(b"another one")
    assert keep_media(tmp_path, picture, sha256) and not keep_media(tmp_path, picture, "ab" * 32)
    assert file_sha256(media_path(tmp_path, sha256)) == sha256


def test_rows_of_a_process_that_was_killed_are_written_by_the_next_one_and_none_twice(
    tiles_profile: Profile, tmp_path: Path
) -> None:
    """Killed between the row of the second picture and its entry."""
    pictures = [write(tmp_path / f"{n}.png", tile(500 + n)) for n in range(4)]
    inspector = Inspector(tiles_profile, model="evidence")
    trail = AuditTrail(tmp_path / "audit")
    trail.begin_inspection(inspector, "inspect")
    run = tmp_path / "run"
    with ImageRunFolder.open(run) as folder:
        killed = RunTrail(trail, run)
        killed.__enter__()
        stored = inspect_to_folder(inspector, folder, pictures[:2])
        next(iter(killed.keep(stored)))
        list(stored)  # a row without an entry
    assert not json.loads((run / MARKER).read_bytes())["closed"]
    with ImageRunFolder.open(run) as folder, RunTrail(AuditTrail(tmp_path / "audit"), run) as kept:
        list(kept.keep(inspect_to_folder(inspector, folder, pictures[2:])))
    with ImageRunFolder.open(run) as folder, RunTrail(AuditTrail(tmp_path / "audit"), run):
        pass
    entries = list(read_entries(tmp_path / "audit", kinds=["inspection"]))
    assert sorted(entry.source for entry in entries) == sorted(map(str, pictures))
    assert [entry.source for entry in entries if entry.content.get("recovered")] == [str(pictures[1])]


def stop_before_entry(audit: Path, run: Path, picture: Path, error: BaseException, profile: Profile) -> None:
    """Inspect one picture and stop between its row and its entry."""
    inspector = Inspector(profile, model="evidence")
    trail = AuditTrail(audit)
    trail.begin_inspection(inspector, "inspect")
    with pytest.raises(type(error)), ImageRun(run, trail) as opened, pytest.MonkeyPatch.context() as patch:

        def interrupt(*_: object, **__: object) -> None:
            raise error

        patch.setattr(AuditTrail, "decision", interrupt)
        list(opened.inspect(inspector, [picture]))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("disk"), DataError("log")], ids=repr)
def test_an_entry_that_an_interruption_left_out_is_written_by_the_next_run_once(
    error: BaseException, tiles_profile: Profile, tmp_path: Path
) -> None:
    audit, run = tmp_path / "audit", tmp_path / "run"
    stop_before_entry(audit, run, write(tmp_path / "a.png", tile(500)), error, tiles_profile)
    assert not list(read_entries(audit, kinds=["inspection"]))
    for _ in range(2):
        with ImageRun(run, AuditTrail(audit)):
            pass
    (entry,) = read_entries(audit, kinds=["inspection"])
    assert (entry.source, entry.content.get("recovered")) == (str(tmp_path / "a.png"), True)
    assert verify_log(audit).sound


def test_rows_of_an_interrupted_run_do_not_go_into_the_log_of_another_user(
    tiles_profile: Profile, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    stop_before_entry(
        tmp_path / "mine", run, write(tmp_path / "a.png", tile(500)), KeyboardInterrupt(), tiles_profile
    )
    yours = AuditTrail(tmp_path / "yours")
    yours.write("setting", {"keep_media": "none"})
    with ImageRun(run, yours):
        pass
    assert not list(read_entries(tmp_path / "yours", kinds=["inspection"]))


@pytest.mark.parametrize("redact", [(), ("run",)])
def test_a_row_is_not_taken_for_that_of_another_run_and_none_is_written_twice(
    redact: tuple[str, ...], tiles_profile: Profile, tmp_path: Path
) -> None:
    """Two processes inspect the same picture at once and get the same row; one is killed before its entry."""
    save_settings(tmp_path / "audit", AuditSettings(redact=redact))
    picture = write(tmp_path / "a.png", tile(500))
    inspector = Inspector(tiles_profile, model="evidence")
    AuditTrail(tmp_path / "audit").begin_inspection(inspector, "inspect")
    with ImageRunFolder.open(tmp_path / "one") as folder:
        RunTrail(AuditTrail(tmp_path / "audit"), tmp_path / "one").__enter__()
        (record,) = inspect_to_folder(inspector, folder, [picture])  # a row without an entry
    with (
        ImageRunFolder.open(tmp_path / "two") as folder,
        RunTrail(AuditTrail(tmp_path / "audit"), tmp_path / "two") as trail,
    ):
        list(trail.keep([folder.append(record)]))
    moved = (tmp_path / "one").rename(tmp_path / "moved")
    for _ in range(2):
        with ImageRunFolder.open(moved) as folder, RunTrail(AuditTrail(tmp_path / "audit"), moved):
            pass
    entries = list(read_entries(tmp_path / "audit", kinds=["inspection"]))
    # Where names of runs are kept out of the log, it can't tell two such rows apart.
    assert [entry.content.get("recovered") for entry in entries] == ([None] if redact else [None, True])


def test_redacted_fields_are_not_in_the_log_but_it_can_still_be_read(
    tiles_profile: Profile, tmp_path: Path
) -> None:
    save_settings(tmp_path / "audit", AuditSettings(redact=("source", "run", "actor")))
    from tests.audit.conftest import inspect_logged

    made = inspect_logged(tiles_profile, tmp_path, keep="none")
    text = b"".join(file.read_bytes() for file in (made.folder / "log").glob("segment-*"))
    assert b"hole1.png" not in text and verify_log(made.folder).sound


def test_feedback_answers_and_rules_are_entries(tmp_path: Path) -> None:
    from anomalist.memory.rules.rule import Rule
    from anomalist.types.common import Answer

    with CaseStore(tmp_path / "cases.sqlite") as store:
        case = store.add(
            Feedback(action="corrected", media="picture", source="a.png", sha256="ab", severity=0)
        )
    with AuditTrail(tmp_path / "audit") as trail:
        trail.feedback(case)
        trail.answer(Answer(question="Why?", answered=True, text="So.", intent="why", subjects=("a.png",)))
        trail.rules(
            "tiles",
            [Rule(id="rule:7", text="a long scratch", polarity="anomalous", kind="object", origin="person")],
            "added",
        )
    kinds = [(entry.kind, entry.source) for entry in read_entries(tmp_path / "audit")]
    assert kinds == [("feedback", "a.png"), ("answer", "a.png"), ("rule", "rule:7")]


def test_each_picture_of_a_selection_is_an_entry_with_its_hash(tmp_path: Path) -> None:
    cases = tmp_path / "cases.sqlite"
    said = {"action": "corrected", "media": "picture", "severity": 0}
    with CaseStore(cases) as store:
        whole = Feedback.model_validate(said | {"source": "selection of 2 pictures", "part": "selection"})
        parts = [Feedback.model_validate(said | {"source": f"{n}.png", "sha256": n * 64}) for n in "ab"]
        case = store.add_selection(whole, [(part, {}) for part in parts])
        with AuditTrail(tmp_path / "audit") as trail:
            trail.conversation_feedback({}, {case.id: False}, cases)
            assert known_truth(tmp_path / "audit") == {"a" * 64: "normal", "b" * 64: "normal"}
            store.undo(case.id)
            trail.conversation_feedback({case.id: False}, {case.id: True}, cases)
            trail.conversation_feedback({case.id: True}, {case.id: True}, cases)
    assert known_truth(tmp_path / "audit") == {}
    assert len(list(read_entries(tmp_path / "audit", kinds=["feedback"]))) == 6


def test_the_log_can_be_turned_off_and_a_wrong_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALIST_AUDIT", "off")
    assert open_trail() is None
    monkeypatch.setenv("ANOMALIST_AUDIT", "perhaps")
    with pytest.raises(DataError, match="on, or off"):
        open_trail()


def test_what_a_model_said_of_events_is_in_the_log_with_its_prompts(tmp_path: Path) -> None:
    used = PromptUsed(id="judge.v1", sha256=template_sha256("judge.v1"))
    asked = event("E1", model="a model", prompts=(used,), replies=("{}",))
    AuditTrail(tmp_path).decision(clip("yard.mp4", asked, event("E2", 3.0, 4.0)))
    (call, decision) = read_entries(tmp_path)
    assert (call.kind, call.content["event"], call.content["replies"]) == ("model call", "E1", ["{}"])
    assert stored_text(tmp_path, call.content["texts"]["judge.v1"])
    assert decision.kind == "clip" and verify_log(tmp_path).sound
    assert "0 pictures and 1 events of clips" in model_card("a model", tmp_path)


@pytest.mark.parametrize("change", ["pictures", "a line less", "nothing"])
def test_a_run_whose_rows_were_written_again_since_it_was_interrupted_goes_on(
    change: str, tmp_path: Path
) -> None:
    """As a report does that adds the pictures of events, and a person who removes a damaged line."""
    run, audit = tmp_path / "run", tmp_path / "audit"
    records = [
        clip(f"{n}.mp4", event("E1"), key=f"{n}" * 64, time="2026-05-01T10:00:00+00:00") for n in range(4)
    ]
    with ClipRunFolder.open(run) as folder, RunTrail(AuditTrail(audit), run) as kept:
        list(kept.keep(map(folder.append, records[:2])))
    with ClipRunFolder.open(run) as folder:
        killed = RunTrail(AuditTrail(audit), run)
        killed.__enter__()
        list(killed.keep(map(folder.append, records[2:3])))
        folder.append(records[3])
        if change == "pictures":
            folder.replace([each.replace(events=(event("E1", key_frame="E1.jpg"),)) for each in records])
    if change == "a line less":
        rows = (run / CLIPS).read_bytes().splitlines(keepends=True)
        (run / CLIPS).write_bytes(b"".join(rows[1:]))
    with ClipRunFolder.open(run), RunTrail(AuditTrail(audit), run):
        pass
    logged = [entry.source for entry in read_entries(audit, kinds=["clip"])]
    assert logged == [f"{n}.mp4" for n in range(4)]
