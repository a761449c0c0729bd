"""Pictures a second of ``inspect`` with one worker and with several; prints one JSON line.

``python scripts/bench_workers.py [--workers 2] [--pictures 400] [--side 256]`` learns from 24 rendered tiles,
then inspects others, alternating one worker and several, each run in a process of its own that also loads the
profile. "steady" leaves out what is done once, by the difference between all pictures and the first tenth.
Each figure is the median of the rounds; "load" is the machine's load average before each round: with other
programs on the cores these say little. "cpu_ms_per_picture" is the steady time on cores of all processes of a
run together, which other programs change less: what it grows by with several workers is what they cost.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from generated_parts import write_tiles

from anomalist.pipeline import learn
from anomalist.vision.worker_pool import usable_cores

TO_LEARN = 24
COMMAND = (sys.executable, "-c", "from anomalist.cli.app import main; main()")


def cpu_seconds() -> float:
    """Seconds on cores of all processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def seconds_of(folder: Path, profile: Path, workers: int) -> tuple[float, float]:
    """Seconds of ``inspect`` from its start to its end, with a run folder; of the clock, and on cores."""
    with TemporaryDirectory() as out:
        words = ("inspect", folder, "--profile", profile, "--model", "evidence", "--json", "--out", out)
        began, used = time.perf_counter(), cpu_seconds()
        subprocess.run(
            [*COMMAND, *map(str, words), "--workers", str(workers)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        return time.perf_counter() - began, cpu_seconds() - used


def main() -> None:
    """Learn, time, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--effort", choices=("fast", "normal"), default="fast")
    asked = parser.parse_args()
    few = asked.pictures // 10
    with TemporaryDirectory() as place:
        folder = Path(place)
        os.environ["ANOMALIST_HOME"] = str(folder / "home")
        good = write_tiles(folder / "good", range(TO_LEARN), asked.side)
        profile = learn(good, profile=folder / "profile", effort=asked.effort).path
        many = write_tiles(folder / "new", range(TO_LEARN, TO_LEARN + asked.pictures), asked.side)
        some = write_tiles(folder / "some", range(TO_LEARN, TO_LEARN + few), asked.side)
        seconds_of(some, profile, 1)  # the first run reads its modules from the disk
        whole: dict[int, list[float]] = {1: [], asked.workers: []}
        steady: dict[int, list[float]] = {1: [], asked.workers: []}
        busy: dict[int, list[float]] = {1: [], asked.workers: []}
        load = []
        for _ in range(asked.rounds):
            load.append(round(os.getloadavg()[0], 1))
            for workers in whole:
                (first, used_first), (took, used) = (
                    seconds_of(each, profile, workers) for each in (some, many)
                )
                whole[workers].append(asked.pictures / took)
                steady[workers].append((asked.pictures - few) / max(took - first, 1e-9))
                busy[workers].append(1000 * (used - used_first) / (asked.pictures - few))
    rates = {
        name: {f"workers_{n}": round(statistics.median(values), 2) for n, values in found.items()}
        for name, found in (
            ("pictures_per_second", whole),
            ("steady_pictures_per_second", steady),
            ("cpu_ms_per_picture", busy),
        )
    }
    print(json.dumps(vars(asked) | {"cores": usable_cores(), "load": load} | rates))


if __name__ == "__main__":
    main()
