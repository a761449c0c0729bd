"""A small log for tests."""

from __future__ import annotations

from pathlib import Path

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
