"""Kill two processes that write into one log, at random moments, and look at what is left."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from anomalist.audit.reading import read_entries, verify_log


def kill_writers(folder: Path, times: int, chance: random.Random) -> set[str]:
    """Start two writers, kill both, and start again; returns the names of all entries reported as done."""
    reported: set[str] = set()
    for round_ in range(times):
        outputs = [
            tempfile.TemporaryFile("w+")  # noqa: SIM115
            for _ in range(2)
        ]
        writers = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.audit.writer", str(folder), f"{round_}{which}", "100000"],
                stdout=output,
            )
            for which, output in zip("ab", outputs, strict=True)
        ]
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and any(output_size(output) == 0 for output in outputs):
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 0.3))
        for writer in writers:
            writer.kill()
        for writer, output in zip(writers, outputs, strict=True):
            writer.wait()
            output.seek(0)
            reported |= {line.split()[0] for line in output if line.endswith("\n")}
            output.close()
    return reported


def output_size(output: object) -> int:
    """Bytes that a process has written into its output."""
    import os

    return os.fstat(output.fileno()).st_size  # type: ignore[attr-defined]


def check_log(folder: Path, reported: set[str]) -> tuple[int, int, int, list[str]]:
    """(entries, lost, doubled, findings) of a log after the kills, once another entry was written."""
    from anomalist.audit.log import AuditLog

    with AuditLog(folder) as log:
        log.append("setting", {"after": "the kills"})
    names = [entry.source for entry in read_entries(folder, kinds=["inspection"])]
    result = verify_log(folder)
    lost = len(reported - set(names))
    return len(names), lost, len(names) - len(set(names)), [*map(str, result.findings), *result.notes]
