"""A small log for tests."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from anomalist.audit.entries import FORMAT, HEAD_FILE, join_line
from anomalist.audit.log import AuditLog


def write_log(folder: Path, count: int = 40, *, segment_bytes: int = 4000) -> Path:
    """A log of ``count`` entries in several segments; returns its folder."""
    with AuditLog(folder, segment_bytes=segment_bytes) as log:
        for number in range(count):
            log.append("inspection", {"record": {"source": f"{number:03d}.png", "score": number / 7}})
    return folder


def all_lines(folder: Path) -> list[tuple[Path, int]]:
    """(segment, index of the line) of every entry."""
    return [
        (file, number)
        for file in sorted((folder / "log").glob("segment-*.jsonl"))
        for number in range(len(file.read_bytes().splitlines()))
    ]


def append_by_hand(folder: Path, body: bytes, **head: object) -> None:
    """Append an entry with right hashes to a log of one segment, as whoever has no key can."""
    last = json.loads((folder / "log" / HEAD_FILE).read_bytes())
    content = {
        "body": hashlib.sha256(body).hexdigest(),
        "format": FORMAT,
        "kind": "inspection",
        "log": last["log"],
        "position": last["position"] + 1,
        "previous": last["hash"],
        "time": last["time"],
    } | head
    encoded = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    with (folder / "log" / last["segment"]).open("ab") as file:
        file.write(join_line(body, hashlib.sha256(encoded).hexdigest(), encoded) + b"\n")
