"""What was tampered with is found, called by its name, and placed."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from anomalist.audit.entries import HEAD_FILE
from anomalist.audit.log import AuditLog
from anomalist.audit.reading import read_entries, verify_log
from anomalist.audit.rows import said
from anomalist.audit.verification import Verifier
from tests.audit.logs import append_by_hand, write_log
from tests.audit.tampering import TAMPERINGS, read_segments, write_segments

TRIES = 60


@pytest.mark.parametrize("name", TAMPERINGS)
def test_whatever_is_done_to_a_log_is_found_and_placed(name: str, tmp_path: Path) -> None:
    lines = write_log(tmp_path / "audit", 30) / "log"
    files, head = read_segments(lines), (lines / HEAD_FILE).read_bytes()
    chance = random.Random(name)
    for _ in range(TRIES):
        tampered = TAMPERINGS[name](files, chance)
        write_segments(lines, tampered.files, head)
        findings = verify_log(tmp_path / "audit").findings
        assert tampered.found_by(findings), (tampered.kinds, tampered.positions, findings)


def test_a_sound_log_is_sound(tmp_path: Path) -> None:
    result = verify_log(write_log(tmp_path, 30))
    assert (result.sound, result.entries, result.signatures, len(result.keys)) == (True, 30, 1, 1)


def test_an_exchanged_entry_with_hashes_of_its_own_is_found(tmp_path: Path) -> None:
    """Of another log with the same id: only the chain tells."""
    write_log(tmp_path / "one", 6)
    write_log(tmp_path / "two", 6)
    for which in ("one", "two"):  # the same log, but for what was written into it
        folder = tmp_path / which / "log"
        assert len(list(folder.glob("segment-*"))) == 1
    first = tmp_path / "one" / "log" / "segment-000000000000.jsonl"
    from anomalist.audit.canonical import canonical_json
    from anomalist.audit.entries import join_line, split_line

    lines = first.read_bytes().splitlines(keepends=True)
    entry = split_line(lines[3][:-1])
    assert entry is not None
    import hashlib

    body = canonical_json({"record": {"source": "forged.png"}})
    head = canonical_json({**entry.head, "body": hashlib.sha256(body).hexdigest()})
    lines[3] = join_line(body, hashlib.sha256(head).hexdigest(), head) + b"\n"
    first.write_bytes(b"".join(lines))
    (finding,) = verify_log(tmp_path / "one").findings
    assert (finding.kind, finding.position, finding.line) == ("changed", 3, 4)


def test_a_chain_that_was_written_anew_does_not_fit_the_signed_head(tmp_path: Path) -> None:
    write_log(tmp_path / "one", 6)
    head = (tmp_path / "one" / "log" / HEAD_FILE).read_bytes()
    log = json.loads(head)["log"]
    other = write_log(tmp_path / "two", 6) / "log"
    forged = json.loads((other / HEAD_FILE).read_bytes())
    (other / HEAD_FILE).write_text(json.dumps({**forged, "hash": json.loads(head)["hash"]}))
    kinds = {finding.kind for finding in verify_log(tmp_path / "two").findings}
    assert log != forged["log"] and kinds == {"forged"}


def test_a_lost_head_and_a_missing_segment_are_named(tmp_path: Path) -> None:
    lines = write_log(tmp_path, 30) / "log"
    (lines / "segment-000000000009.jsonl").unlink()
    (lines / HEAD_FILE).unlink()
    said = [str(finding) for finding in verify_log(tmp_path).findings]
    assert any("missing: entries 9 to 17" in text for text in said)
    assert any("nothing vouches for the end" in text for text in said)


@pytest.mark.parametrize(
    "head",
    [{"position": None}, {"position": "abc"}, {"format": "x"}, {"log": None, "position": []}, {"size": "5"}],
)
def test_a_damaged_head_is_named_and_writing_goes_on(head: dict[str, object], tmp_path: Path) -> None:
    path = write_log(tmp_path, 5) / "log" / HEAD_FILE
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **head}))
    if "size" not in head:  # of no concern to those who only read
        kinds = {finding.kind for finding in verify_log(tmp_path).findings}
        assert kinds == {"changed"}
    with AuditLog(tmp_path) as log:
        log.append("inspection", {"a": 1})
    result = verify_log(tmp_path)
    assert (result.sound, result.entries) == (True, 6)


def test_an_anchor_kept_elsewhere_is_compared(tmp_path: Path) -> None:
    write_log(tmp_path, 5)
    anchor = AuditLog(tmp_path).checkpoint()
    assert verify_log(tmp_path, [anchor]).sound
    wrong = anchor[:-1] + ("0" if anchor[-1] != "0" else "1")
    (finding,) = verify_log(tmp_path, [wrong]).findings
    assert finding.kind == "forged" and "anchored" in finding.text


def test_a_lost_key_shows_as_a_second_key(tmp_path: Path) -> None:
    write_log(tmp_path, 3)
    AuditLog(tmp_path).checkpoint()
    (tmp_path / "key.pem").unlink()
    with AuditLog(tmp_path) as log:
        log.append("setting", {"a": 1})
    result = verify_log(tmp_path)
    assert result.sound and len(result.keys) == 2
    assert any("2 keys" in note for note in result.notes)


def test_a_clock_that_went_back_is_noted_and_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(tmp_path, 2)
    monkeypatch.setattr("anomalist.audit.log._now", lambda: "2001-01-01T00:00:00.000000Z")
    with AuditLog(tmp_path) as log:
        log.append("setting", {})
    result = verify_log(tmp_path)
    assert result.sound and any("clock went back at entry 2" in note for note in result.notes)


def test_a_signature_in_plain_python_agrees_with_the_library(tmp_path: Path) -> None:
    write_log(tmp_path, 4)
    AuditLog(tmp_path).checkpoint()
    assert Verifier(tmp_path / "log").run().signatures == 2


@pytest.mark.parametrize("rest", [b"", b'{"body":{"rec'])
def test_an_exchanged_last_entry_is_found_also_before_an_unfinished_one(rest: bytes, tmp_path: Path) -> None:
    import hashlib

    from anomalist.audit.canonical import canonical_json
    from anomalist.audit.entries import join_line, split_line

    file = sorted((write_log(tmp_path, 30) / "log").glob("segment-*"))[-1]
    lines = file.read_bytes().splitlines()
    entry = split_line(lines[-1])
    assert entry is not None
    body = canonical_json({"record": {"source": "forged.png"}})
    head = canonical_json({**entry.head, "body": hashlib.sha256(body).hexdigest()})
    lines[-1] = join_line(body, hashlib.sha256(head).hexdigest(), head)
    file.write_bytes(b"\n".join(lines) + b"\n" + rest)
    (finding,) = verify_log(tmp_path).findings
    assert (finding.kind, finding.position) == ("forged", 29)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("inspection", b"[3]"),
        ("inspection", b'{"media":[{},3]}'),
        ("tombstone", b"no JSON"),
        ("tombstone", b'{"positions":3}'),
        ("tombstone", b'{"files":[{}]}'),
        ("checkpoint", b"[" * 100_000),
        ("checkpoint", b'{"key":"00","signature":"00","position":Infinity,"hash":""}'),
    ],
)
def test_an_entry_made_by_hand_with_a_content_of_another_form_is_named(
    kind: str, body: bytes, tmp_path: Path
) -> None:
    append_by_hand(write_log(tmp_path, 3), body, kind=kind)
    (finding,) = verify_log(tmp_path).findings
    assert (finding.kind, finding.position) == ("forged", 3)
    assert len([said(entry) for entry in read_entries(tmp_path)]) == 4


@pytest.mark.parametrize(
    "head",
    [{"position": 2**70}, {"position": float("inf")}, {"position": -1}, {"log": 3}, {"time": None}],
)
def test_an_entry_made_by_hand_with_a_head_of_another_form_is_named(
    head: dict[str, object], tmp_path: Path
) -> None:
    append_by_hand(write_log(tmp_path, 3), b"{}", **head)
    (finding,) = verify_log(tmp_path).findings
    assert (finding.kind, finding.line) == ("inserted", 4)
    with AuditLog(tmp_path) as log:
        assert log.append("setting", {}).position == 3


def test_a_gap_of_any_length_is_named_at_once(tmp_path: Path) -> None:
    append_by_hand(write_log(tmp_path, 3), b"{}", position=2**52)
    (finding,) = verify_log(tmp_path).findings
    assert (finding.kind, finding.position, finding.last) == ("missing", 3, 2**52 - 1)
    head = tmp_path / "log" / HEAD_FILE
    head.write_text(json.dumps({**json.loads(head.read_bytes()), "position": 2**60}))
    assert ("cut off", 2**60) in [(each.kind, each.last) for each in verify_log(tmp_path).findings]


def test_a_clock_that_went_back_where_a_segment_begins_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(tmp_path, 1)
    monkeypatch.setattr("anomalist.audit.log._now", lambda: "2001-01-01T00:00:00.000000Z")
    with AuditLog(tmp_path, segment_bytes=1) as log:
        log.append("setting", {})
    assert any("clock went back at entry 1" in note for note in verify_log(tmp_path).notes)
