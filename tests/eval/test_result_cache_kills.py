"""An evaluation that is killed at random moments, again and again, ends with the same JSON."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.eval.mmad.miniature import write_mmad

DRIVER = """
import signal, sys, time
from pathlib import Path
from anomalist.eval.mmad.answering import MmadSetup
from anomalist.eval.mmad.benchmark import run_mmad
from anomalist.eval.saved_runs import save_run
data, cache, out, delay = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4])
start = time.perf_counter()
if delay:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process wherever it is; nothing is cleaned up
    signal.setitimer(signal.ITIMER_REAL, delay)
save_run(run_mmad(data, MmadSetup(), cache=cache).saved(), out)
signal.setitimer(signal.ITIMER_REAL, 0)
print(time.perf_counter() - start)
"""


def evaluate(data: Path, folder: Path, delay: float) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", DRIVER, str(data), str(folder / "cache"), str(folder / "out"), str(delay)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ANOMALIST_HOME": str(folder / "home")}
    return subprocess.run(words, capture_output=True, text=True, env=environment)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of POSIX")
@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.kills)])
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_json(kills: int, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_mmad(data)
    whole = evaluate(data, tmp_path / "whole", 0)
    assert whole.returncode == 0, whole.stderr
    seconds = float(whole.stdout)
    rng = np.random.default_rng(0)
    torn, killed = tmp_path / "torn", 0
    while killed < kills:
        done = evaluate(data, torn, max(1e-3, rng.uniform(0, seconds)))
        assert done.returncode in (0, -14), done.stderr  # finished, or ended by the alarm
        killed += 1
        if done.returncode == 0:  # all is kept: begin anew, so that each kill interrupts work
            for path in (torn / "cache").glob("*.jsonl"):
                path.unlink()
    last = evaluate(data, torn, 0)
    assert last.returncode == 0, last.stderr
    (expected,) = (tmp_path / "whole" / "out").glob("*.json")
    (found,) = (torn / "out").glob("*.json")
    assert found.read_bytes() == expected.read_bytes()
    for path in (torn / "cache").glob("*.jsonl"):
        keys = [row.partition("\t")[0] for row in path.read_text(encoding="utf-8").splitlines()]
        assert len(set(keys)) == len(keys) > 0
