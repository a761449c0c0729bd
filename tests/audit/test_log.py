"""The log as it is written: by several processes, through crashes, and where it can't be."""

from __future__ import annotations

import json
import os
import random
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from anomalist.audit.entries import HEAD_FILE, MAX_LINE
from anomalist.audit.log import CHECKPOINT_EVERY, AuditLog
from anomalist.audit.reading import Period, Search, read_entries, verify_log
from anomalist.errors import DataError
from tests.audit.kills import check_log, kill_writers
from tests.audit.logs import write_log

KILLS = 4


def test_the_key_is_made_at_first_use_for_its_user_alone(tmp_path: Path) -> None:
    write_log(tmp_path, 1)
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    write_log(tmp_path, 1)
    (tmp_path / "key.pem").chmod(0o644)
    with pytest.raises(DataError, match="Others can read"):
        write_log(tmp_path, 1)


def test_a_new_segment_begins_at_the_asked_size_and_checkpoints_are_signed(tmp_path: Path) -> None:
    write_log(tmp_path, CHECKPOINT_EVERY + 5, segment_bytes=100_000)
    assert len(list((tmp_path / "log").glob("segment-*"))) > 3
    (checkpoint,) = read_entries(tmp_path, kinds=["checkpoint"])
    result = verify_log(tmp_path)
    assert (checkpoint.position, result.sound, result.signatures) == (CHECKPOINT_EVERY, True, 2)


def test_two_processes_write_one_chain(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.audit.writer", str(tmp_path), name, "60"], stdout=subprocess.DEVNULL
        )
        for name in ("one", "two")
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert verify_log(tmp_path).sound
    names = [entry.source for entry in read_entries(tmp_path)]
    assert sorted(names) == sorted(f"{name}-{n}" for name in ("one", "two") for n in range(60))


def test_kill_9_loses_nothing_that_was_reported_doubles_nothing_and_leaves_no_half_entry(
    tmp_path: Path,
) -> None:
    reported = kill_writers(tmp_path, KILLS, random.Random(3))
    entries, lost, doubled, findings = check_log(tmp_path, reported)
    assert len(reported) > 0 and entries >= len(reported)
    assert (lost, doubled, findings) == (0, 0, [])


def test_an_entry_that_a_crash_cut_off_is_dropped_by_the_next_writer(tmp_path: Path) -> None:
    write_log(tmp_path, 3, segment_bytes=10**6)
    (segment,) = (tmp_path / "log").glob("segment-*")
    whole = segment.read_bytes()
    segment.write_bytes(whole + b'{"body":{"half')
    assert any("unfinished" in note for note in verify_log(tmp_path).notes)
    write_log(tmp_path, 1, segment_bytes=10**6)
    assert segment.read_bytes().startswith(whole)
    result = verify_log(tmp_path)
    assert (result.sound, result.entries, result.notes) == (True, 4, [])


def test_an_entry_behind_the_head_is_taken_over(tmp_path: Path) -> None:
    """A process was killed between the line and the head."""
    write_log(tmp_path, 2, segment_bytes=10**6)
    head = (tmp_path / "log" / HEAD_FILE).read_bytes()
    write_log(tmp_path, 1, segment_bytes=10**6)
    (tmp_path / "log" / HEAD_FILE).write_bytes(head)
    write_log(tmp_path, 1, segment_bytes=10**6)
    result = verify_log(tmp_path)
    assert (result.sound, result.entries) == (True, 4)


@pytest.mark.parametrize("cut", [0, 30])
def test_a_writer_killed_with_the_first_entry_of_a_new_segment_leaves_one_chain(
    cut: int, tmp_path: Path
) -> None:
    write_log(tmp_path, 4, segment_bytes=1500)
    (first,) = (tmp_path / "log").glob("segment-*")
    head = (tmp_path / "log" / HEAD_FILE).read_bytes()
    write_log(tmp_path, 1, segment_bytes=1500)
    second = next(file for file in (tmp_path / "log").glob("segment-*") if file != first)
    if cut:
        second.write_bytes(second.read_bytes()[:-cut])
    (tmp_path / "log" / HEAD_FILE).write_bytes(head)
    write_log(tmp_path, 2, segment_bytes=1500)
    result = verify_log(tmp_path)
    assert (result.sound, result.entries) == (True, 6 if cut else 7), result.findings


@pytest.mark.parametrize("content", [b"", b"{", b"[]", None])
def test_a_lost_or_damaged_head_is_made_anew_from_the_log(content: bytes | None, tmp_path: Path) -> None:
    write_log(tmp_path, 5)
    head = tmp_path / "log" / HEAD_FILE
    head.unlink() if content is None else head.write_bytes(content)
    assert not verify_log(tmp_path).sound
    write_log(tmp_path, 1)
    result = verify_log(tmp_path)
    assert (result.sound, result.entries) == (True, 6)


def test_writing_goes_on_after_damage_which_stays_to_be_seen(tmp_path: Path) -> None:
    write_log(tmp_path, 20)
    segments = sorted((tmp_path / "log").glob("segment-*"))
    segments[-1].unlink()
    write_log(tmp_path, 4)
    (finding,) = verify_log(tmp_path).findings
    assert finding.kind == "missing"


def test_a_log_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    write_log(tmp_path, 2)
    head = tmp_path / "log" / HEAD_FILE
    head.write_text(json.dumps({**json.loads(head.read_text()), "format": 9}))
    before = {file: file.read_bytes() for file in (tmp_path / "log").iterdir()}
    for use in (lambda: write_log(tmp_path, 1), lambda: verify_log(tmp_path)):
        with pytest.raises(DataError, match="newer version"):
            use()
    assert {file: file.read_bytes() for file in (tmp_path / "log").iterdir()} == before


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("a file")
    with pytest.raises(DataError, match="audit log"):
        AuditLog(tmp_path / "audit")


def test_a_read_only_log_can_be_verified(tmp_path: Path) -> None:
    write_log(tmp_path, 3)
    (tmp_path / "log").chmod(0o555)
    tmp_path.chmod(0o555)
    try:
        assert verify_log(tmp_path).sound
        if os.geteuid():  # root may write anywhere
            with pytest.raises(DataError, match="audit log"):
                write_log(tmp_path, 30)
    finally:
        tmp_path.chmod(0o755)
        (tmp_path / "log").chmod(0o755)


def test_a_full_disk_is_a_clear_error_and_leaves_no_half_entry(tmp_path: Path) -> None:
    write_log(tmp_path, 2, segment_bytes=10**6)
    (segment,) = (tmp_path / "log").glob("segment-*")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (segment.stat().st_size + 200, limit[1]))
    try:
        with pytest.raises(DataError, match="disk is full"), AuditLog(tmp_path) as log:
            log.append("inspection", {"text": "x" * 1000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    result = verify_log(tmp_path)
    assert (result.sound, result.entries, result.notes) == (True, 2, [])


def test_an_entry_too_large_for_memory_is_refused_when_written_and_survived_when_read(tmp_path: Path) -> None:
    write_log(tmp_path, 3, segment_bytes=10**6)
    with pytest.raises(DataError, match="too large"), AuditLog(tmp_path) as log:
        log.append("inspection", {"text": "x" * (MAX_LINE // 2)})
    (segment,) = (tmp_path / "log").glob("segment-*")
    lines = segment.read_bytes().splitlines(keepends=True)
    lines[1] = b"x" * (2 * MAX_LINE + 5) + b"\n"
    segment.write_bytes(b"".join(lines))
    (finding,) = verify_log(tmp_path).findings
    assert (finding.kind, finding.position) == ("changed", 1)


def test_a_log_that_another_process_holds_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalist.audit.log.LOCK_SECONDS", 0.1)
    with AuditLog(tmp_path).locked(), pytest.raises(DataError, match="Another process has held"):
        AuditLog(tmp_path).append("setting", {})


def test_fields_of_the_redaction_list_never_reach_the_disk(tmp_path: Path) -> None:
    with AuditLog(tmp_path, redact=("who",)) as log:
        log.append("feedback", {"who": "Anna Jones", "deep": {"who": "Anna Jones"}, "kind": "crack"})
    assert b"Anna" not in b"".join(file.read_bytes() for file in (tmp_path / "log").iterdir())
    (entry,) = read_entries(tmp_path)
    assert entry.content["kind"] == "crack"


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [
        ("2026-05-01 10:00", "", True),  # as the search prints times
        ("2026-05-01 10:01", "", False),
        ("", "2026-05-01 10:00", True),
        ("", "2026-05-01 09:59", False),
        ("2026-05-01T10:00:20Z", "", True),
        ("2026-05-01T12:00+02:00", "2026-05-01T12:00+02:00", True),
        ("2026-05-01T10:01-00:00", "", False),
    ],
)
def test_a_time_is_understood_however_it_is_written(since: str, until: str, found: bool) -> None:
    assert Period(since, until).holds("2026-05-01T10:00:20.500000Z") is found


@pytest.mark.parametrize("text", ["yesterday", "2026-13", "2026-5-1", "2026-02-30", "2026-05-01+02:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    for asked in ({"since": text}, {"until": text}):
        with pytest.raises(DataError, match="no time"):
            Search(**asked)
