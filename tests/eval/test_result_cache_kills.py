"""An evaluation that is killed at random moments, again and again, ends with the same JSON."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from tests.eval.mmad.miniature import write_mmad
from tests.forks import Forked


def evaluate(data: Path, folder: Path, delay: float = 0) -> tuple[int, str, float]:
    """Run the evaluation, killed after a delay unless that is 0: exit code, messages, seconds."""
    words = ("eval", "mmad", "--data", data, "--cache", folder / "cache", "--out", folder / "out")
    with Forked(*words, ANOMALIST_HOME=str(folder / "home")) as process:
        began = time.perf_counter()  # the first is forked once everything is loaded
        if delay:
            time.sleep(delay)
            process.kill()
        _, messages = process.communicate(300)
        return process.wait(300), messages, time.perf_counter() - began


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of POSIX")
@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.kills)])
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_json(kills: int, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_mmad(data)
    code, messages, seconds = evaluate(data, tmp_path / "whole")
    assert code == 0, messages
    rng = np.random.default_rng(0)
    torn, killed = tmp_path / "torn", 0
    while killed < kills:
        code, messages, _ = evaluate(data, torn, rng.uniform(0.2 * seconds, seconds))  # imports come first
        assert code in (0, -9), messages  # finished, or killed
        killed += 1
        if code == 0:  # all is kept: begin anew, so that each kill interrupts work
            for path in (torn / "cache").glob("*.jsonl"):
                path.unlink()
    code, messages, _ = evaluate(data, torn)
    assert code == 0, messages
    (expected,) = (tmp_path / "whole" / "out").glob("*.json")
    (found,) = (torn / "out").glob("*.json")
    assert found.read_bytes() == expected.read_bytes()
    for path in (torn / "cache").glob("*.jsonl"):
        keys = [row.partition("\t")[0] for row in path.read_text(encoding="utf-8").splitlines()]
        assert len(set(keys)) == len(keys) > 0
