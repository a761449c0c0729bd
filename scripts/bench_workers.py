"""Pictures a second of ``inspect`` with one worker, with several, and on Ray; prints one JSON line.

``python scripts/bench_workers.py [--workers 2] [--pictures 400] [--side 256] [--ray]`` learns from 24
rendered tiles, then inspects others, alternating one worker, several, and with ``--ray`` as many actors of a
Ray on this machine, each run in a process of its own that also loads the profile. All have one thread a
process then, so that the same work is compared. "steady" leaves out what is done once, by the difference
between all pictures and a few, with which all have begun.
Each figure is the median of the rounds; "load" is the machine's load average before each round: with other
programs on the cores these say little. "cpu_ms_per_picture" is the steady time on cores of all processes of a
run together, which other programs change less: what it grows by with several workers is what they cost.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from generated_parts import write_tiles

from anomalist.pipeline import learn
from anomalist.vision.detectors.base import MAX_BATCH_PICTURES
from anomalist.vision.worker_pool import usable_cores

TO_LEARN = 24
COMMAND = (sys.executable, "-c", "from anomalist.cli.app import main; main()")


def cpu_seconds(process: psutil.Process, used: dict[int, float]) -> None:
    """Note the seconds on cores of a process and all below it, by process id."""
    with contextlib.suppress(psutil.Error):
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                times = each.cpu_times()
                used[each.pid] = times.user + times.system


def seconds_of(folder: Path, profile: Path, way: str, *, single: bool) -> tuple[float, float]:
    """Seconds of ``inspect`` from its start to its end, with a run folder; of the clock, and on cores.

    Parameters
    ----------
    way : "workers_2" or "ray_2", say.
    single : whether each process has one thread.
    """
    kind, _, number = way.partition("_")
    with TemporaryDirectory() as out:
        words = ("inspect", folder, "--profile", profile, "--model", "evidence", "--json", "--out", out)
        more = ("--workers", number, *(("--ray", "local") if kind == "ray" else ()))
        began = time.perf_counter()
        run = subprocess.Popen(
            [*COMMAND, *map(str, words), *more],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | ({"OMP_NUM_THREADS": "1"} if single else {}),
        )
        used: dict[int, float] = {}
        while run.poll() is None:  # what ends between two looks is counted up to the first
            cpu_seconds(psutil.Process(run.pid), used)
            time.sleep(0.1)
        if run.returncode:
            raise SystemExit(f"{way} failed.")
        return time.perf_counter() - began, sum(used.values())


def main() -> None:
    """Learn, time, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--effort", choices=("fast", "normal"), default="fast")
    asked = parser.parse_args()
    few = max(asked.pictures // 10, 2 * MAX_BATCH_PICTURES * asked.workers)  # all have begun by then
    if asked.pictures <= few:
        parser.error(f"more than {few} pictures are needed")
    with TemporaryDirectory() as place:
        folder = Path(place)
        os.environ["ANOMALIST_HOME"] = str(folder / "home")
        good = write_tiles(folder / "good", range(TO_LEARN), asked.side)
        profile = learn(good, profile=folder / "profile", effort=asked.effort).path
        many = write_tiles(folder / "new", range(TO_LEARN, TO_LEARN + asked.pictures), asked.side)
        some = write_tiles(folder / "some", range(TO_LEARN, TO_LEARN + few), asked.side)
        ways = [f"workers_{number}" for number in dict.fromkeys((1, asked.workers))]
        ways += [f"ray_{asked.workers}"] * asked.ray
        timed = partial(seconds_of, profile=profile, single=asked.ray)
        timed(some, way="workers_1")  # the first run reads its modules from the disk
        whole: dict[str, list[float]] = {way: [] for way in ways}
        steady: dict[str, list[float]] = {way: [] for way in ways}
        busy: dict[str, list[float]] = {way: [] for way in ways}
        load = []
        for _ in range(asked.rounds):
            load.append(round(os.getloadavg()[0], 1))
            for way in ways:
                (first, used_first), (took, used) = (timed(each, way=way) for each in (some, many))
                whole[way].append(asked.pictures / took)
                if took > first:  # else other programs were in the way
                    steady[way].append((asked.pictures - few) / (took - first))
                busy[way].append(1000 * (used - used_first) / (asked.pictures - few))
    rates = {
        name: {way: round(statistics.median(values), 2) if values else None for way, values in found.items()}
        for name, found in (
            ("pictures_per_second", whole),
            ("steady_pictures_per_second", steady),
            ("cpu_ms_per_picture", busy),
        )
    }
    print(json.dumps(vars(asked) | {"cores": usable_cores(), "load": load} | rates))


if __name__ == "__main__":
    main()
