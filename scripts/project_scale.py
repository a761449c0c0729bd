"""What a cluster would take for many pictures, projected from costs measured here; prints one JSON line.

``python scripts/project_scale.py [--pictures 60] [--side 512] [--effort fast]`` learns from 24 rendered tiles
and measures what a picture costs one core with one thread, stage by stage: reading, scoring, judging, storing
arrays and row on a node; and on the driver the row, the test for drift and the entry of the audit log. Then
it projects 1, 10 and 100 nodes:

- actors share nothing: nodes × cores ÷ (read + score + judge + store) pictures a second;
- the shared folder takes what its bandwidth allows: bytes a second ÷ bytes a picture;
- the driver begins when all actors are done: so many seconds a picture on one core, whatever the nodes.

Assumed, not measured: ``--cores`` a node, ``--bandwidth`` of the shared folder in bytes a second, cores as
fast as these, no time for starting, scheduling and failures.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from generated_parts import write_tiles

from anomalist.audit.recording import RunTrail, open_trail
from anomalist.pipeline import Inspector, learn
from anomalist.records import store_inspection
from anomalist.storage.run_folder import ImageRunFolder
from anomalist.vision.media.images import load_image
from anomalist.vision.prefetch import single_threaded

TO_LEARN = 24
NODES = (1, 10, 100)
T = TypeVar("T")


def cpu_of(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds on a core that some work takes, and its result."""
    began = time.process_time()
    done = work()
    return time.process_time() - began, done


def measure(pictures: list[Path], inspector: Inspector, out: Path) -> tuple[dict[str, float], float]:
    """Seconds a picture by stage, and bytes a picture that go to the shared folder."""
    count = len(pictures)
    inspector.inspect(pictures[0])  # what is opened once
    read, _ = cpu_of(lambda: [load_image(path) for path in pictures])
    measured, evidence = cpu_of(lambda: list(inspector.evidence_source.measure(pictures)))
    judge, inspections = cpu_of(lambda: list(inspector.judge_measured(iter(evidence))))
    with ImageRunFolder.open(out) as folder:
        store, records = cpu_of(
            lambda: [
                store_inspection(inspector, folder, path, each)
                for path, each in zip(pictures, inspections, strict=True)
            ]
        )
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file()) / count
    trail = open_trail()
    assert trail is not None
    trail.begin_inspection(inspector, "inspect")
    with ImageRunFolder.open(out / "driver") as folder, RunTrail(trail, out / "driver") as kept:
        driver, _ = cpu_of(lambda: consume(kept.keep(map(folder.append, records))))
    seconds = {
        "read": read / count,
        "score": max(measured - read, 0.0) / count,
        "judge": judge / count,
        "store": store / count,
        "driver": driver / count,
    }
    return seconds, size


def consume(records: Iterable[object]) -> int:
    """Count what an iterable yields."""
    return sum(1 for _ in records)


def project(
    seconds: Mapping[str, float], size: float, cores: int, bandwidth: float, pictures: int
) -> Iterator[dict[str, object]]:
    """Hours for many pictures by number of nodes, and what limits first."""
    node = sum(value for stage, value in seconds.items() if stage != "driver")
    for nodes in NODES:
        rates = {"actors": nodes * cores / node, "shared folder": bandwidth / size}
        limit = min(rates, key=lambda name: rates[name])
        first, last = pictures / rates[limit], pictures * seconds["driver"]
        yield {
            "nodes": nodes,
            "pictures_per_second": round(rates[limit], 1),
            "hours": round((first + last) / 3600, 2),
            "of_which_driver": round(last / 3600, 2),
            "core_hours": round((pictures * node + last) / 3600, 1),
            "limited_by": "driver" if last > first else limit,
        }


def main() -> None:
    """Learn, measure, project, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--effort", choices=("fast", "normal"), default="fast")
    parser.add_argument("--cores", type=int, default=16)
    parser.add_argument("--bandwidth", type=float, default=125e6)
    parser.add_argument("--projected", type=int, default=1_000_000)
    asked = parser.parse_args()
    with TemporaryDirectory() as place, single_threaded():
        folder = Path(place)
        os.environ["ANOMALIST_HOME"] = str(folder / "home")
        tiles = sorted(write_tiles(folder / "tiles", range(TO_LEARN + asked.pictures), asked.side).iterdir())
        learn(tiles[:TO_LEARN], profile="projected", effort=asked.effort)
        inspector = Inspector("projected", model="evidence")
        seconds, size = measure(tiles[TO_LEARN:], inspector, folder / "out")
    print(
        json.dumps(
            vars(asked)
            | {
                "load": round(os.getloadavg()[0], 1),
                "cpu_ms_per_picture": {stage: round(1000 * value, 1) for stage, value in seconds.items()},
                "kilobytes_per_picture": round(size / 1000),
                "projection": list(project(seconds, size, asked.cores, asked.bandwidth, asked.projected)),
            }
        )
    )


if __name__ == "__main__":
    main()
