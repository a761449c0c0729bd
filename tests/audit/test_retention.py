"""Deletion: the content goes for good, the chain stays, and an entry says what went and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from anomalist.audit.log import AuditLog, EntryKind, Written
from anomalist.audit.reading import find_entry, read_entries, verify_log
from anomalist.audit.recording import AuditTrail
from anomalist.audit.retention import older_than, remove_entries
from anomalist.audit.stores import media_path
from anomalist.errors import DataError
from tests.audit.conftest import Logged


def test_content_and_media_go_and_the_log_stays_sound(logged: Logged) -> None:
    entry = logged.entries()[0]
    removed = remove_entries([entry], "asked by the person shown", logged.folder)
    text = b"".join(file.read_bytes() for file in (logged.folder / "log").glob("segment-*"))
    assert b"good0.png" not in text
    assert not media_path(logged.folder, logged.records[0].sha256 or "").exists()
    assert removed.positions == (entry.position,)
    result = verify_log(logged.folder)
    assert (result.sound, result.removed) == (True, 1)
    (tombstone,) = read_entries(logged.folder, kinds=["tombstone"])
    assert tombstone.content["why"] == "asked by the person shown"
    assert tombstone.content["what"] == {"inspection": 1}
    assert find_entry(str(entry.position), logged.folder).body is None


def test_writing_goes_on_after_a_removal(logged: Logged) -> None:
    remove_entries(logged.entries()[2:5], "old", logged.folder)
    with AuditLog(logged.folder) as log:
        log.append("setting", {"a": 1})
    assert verify_log(logged.folder).sound


def test_content_that_is_gone_without_a_reason_is_damage(logged: Logged) -> None:
    entry = logged.entries()[0]
    (segment,) = (logged.folder / "log").glob("segment-*")
    from anomalist.audit.entries import split_line, without_body

    lines = segment.read_bytes().splitlines()
    parsed = split_line(lines[entry.position])
    assert parsed is not None
    lines[entry.position] = without_body(lines[entry.position], parsed)
    segment.write_bytes(b"\n".join(lines) + b"\n")
    kinds = {finding.kind for finding in verify_log(logged.folder).findings}
    assert "removed" in kinds


def test_a_reason_is_needed_and_what_says_how_things_were_done_stays(logged: Logged) -> None:
    with pytest.raises(DataError, match="Why"):
        remove_entries(logged.entries()[:1], " ", logged.folder)
    with pytest.raises(DataError, match="always stays"):
        remove_entries([find_entry("0", logged.folder)], "because", logged.folder)


def test_age_chooses_what_may_be_removed(logged: Logged) -> None:
    assert older_than(1, logged.folder) == []
    assert len(older_than(0, logged.folder)) == 10
    assert [older_than(days, logged.folder) for days in (1e6, 1e300, float("inf"))] == [[], [], []]
    with pytest.raises(DataError, match="no number of days"):
        older_than(float("nan"), logged.folder)


def test_a_file_that_was_kept_again_after_its_removal_may_not_be_missing(logged: Logged) -> None:
    removed = remove_entries(logged.entries()[:1], "asked for", logged.folder)
    (sha256,) = removed.files
    with AuditLog(logged.folder) as log:
        log.append("inspection", {"record": {"source": "again.png"}, "media": [{"sha256": sha256}]})
    (finding,) = verify_log(logged.folder).findings
    assert (finding.kind, sha256[:12] in finding.text) == ("media", True)


def test_a_picture_that_others_are_compared_with_stays(logged: Logged) -> None:
    sha256 = logged.records[0].sha256 or ""
    with AuditLog(logged.folder) as log:
        log.append("session", {"reference": {"source": "good0.png", "sha256": sha256}})
    assert remove_entries(logged.entries()[:1], "old", logged.folder).files == ()
    assert media_path(logged.folder, sha256).is_file()


def test_a_picture_that_is_named_while_another_entry_goes_is_kept(
    logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process stored it again, or rather saw that it is there, before its entry was written."""
    trail = AuditTrail(logged.folder, "all")

    def removed_meanwhile(kind: EntryKind, body: Mapping[str, Any]) -> Written:
        remove_entries(logged.entries()[:1], "old", logged.folder)
        return append(kind, body)

    append = trail.log.append
    monkeypatch.setattr(trail.log, "append", removed_meanwhile)
    trail.decision(logged.records[0])
    assert media_path(logged.folder, logged.records[0].sha256 or "").is_file()
    assert verify_log(logged.folder).sound
