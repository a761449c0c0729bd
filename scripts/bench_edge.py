"""What an export gives against the package: labels, scores, time to the first verdict, and what it installs.

``python scripts/bench_edge.py [--pictures 500] [--product plate]`` learns from 24 generated parts of 64×64
pixels, exports the profile, and judges new parts by both: a third of them good, a third defective, a third
changed as a whole (light, place, size, noise). The package runs in float32, as the runner does, and again in
what this processor is fast in. The cold start is a process of its own, from its start to the first verdict,
median of 3. ``--install`` makes a virtual environment with the three packages and measures it. Prints one
JSON line.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import cv2
import numpy as np
import torch
from generated_parts import DEFECTS, LARGE, SMALL, make_part, make_scene
from PIL import Image

from anomalist.agent.reasoning.policy import load_policy
from anomalist.edge.export import export_profile
from anomalist.pipeline import Inspector, learn
from anomalist.vision.features.backbones import has_fast_bfloat16
from anomalist.vision.features.dinov2 import open_shared
from anomalist.vision.profile import load_profile

SIDE, NORMALS, COLD_STARTS = 64, 24, 3
NEEDED = ("onnxruntime", "numpy", "pillow")


def write(path: Path, picture: np.ndarray) -> Path:
    """Save a picture, reduced to a quarter of its sides."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = tuple(max(16, round(length / 4)) for length in picture.shape[1::-1])
    Image.fromarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA)).save(path)
    return path


def draw(folder: Path, product: str, count: int) -> list[Path]:
    """New parts: good, defective and changed ones by turns."""
    changes = [*SMALL.values(), *(change for change, _ in LARGE.values())]
    paths = []
    for number in range(count):
        seed = 5000 + number
        if number % 3 == 0:
            picture = make_part(product, seed)[0]
        elif number % 3 == 1:
            picture = make_part(product, seed, DEFECTS[number // 3 % len(DEFECTS)])[0]
        else:
            picture = changes[number // 3 % len(changes)](make_scene(product, seed)[0])
        paths.append(write(folder / f"{number:03d}.png", picture))
    return paths


@contextmanager
def bfloat16(allowed: bool) -> Iterator[None]:
    """Let the package's networks run in bfloat16, or not."""
    open_shared.cache_clear()
    names = [
        f"anomalist.vision.{name}.uses_bfloat16" for name in ("features.dinov2", "detectors.token_memory")
    ]
    with patch(names[0], lambda device: allowed), patch(names[1], lambda device: allowed):
        yield
    open_shared.cache_clear()


def verdicts(profile: Path, paths: list[Path]) -> list[tuple[str, float]]:
    """Label and score of each picture by the package."""
    inspected = Inspector(load_profile(profile), model="evidence", memory=False).inspect_many(paths)
    return [(str(each.record.label), each.evidence.score if each.evidence else np.nan) for each in inspected]


def compare(own: list[tuple[str, float]], theirs: list[tuple[str, float]]) -> dict[str, object]:
    """How many labels are equal, and how far the scores are apart."""
    apart = np.abs(np.array([score for _, score in own]) - np.array([score for _, score in theirs]))
    return {
        "equal_labels": sum(one[0] == other[0] for one, other in zip(own, theirs, strict=True)),
        "scores_within_0.001": int((apart <= 1e-3).sum()),
        "score_median": float(f"{np.median(apart):.2g}"),
        "score_largest": float(f"{apart.max():.2g}"),
    }


def cold_start(folder: Path, picture: Path) -> dict[str, float]:
    """Seconds from the start of a process to the end of its one verdict: by the clock, and of processors.

    The first is that of this machine with all that it does; the second hardly depends on what else it does.
    """
    times, busy = [], []
    command = [sys.executable, str(folder / "run.py"), str(picture)]
    for _ in range(COLD_STARTS):
        began, used = time.perf_counter(), processor_seconds()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
        busy.append(processor_seconds() - used)
    return {
        "cold_start_s": round(statistics.median(times), 2),
        "cold_start_processor_s": round(statistics.median(busy), 2),
    }


def processor_seconds() -> float:
    """Processor time of all processes that this one started and that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def installed_megabytes(folder: Path) -> float:
    """Size of a virtual environment with the packages that the runner needs, without pip."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    place = next(folder.glob("lib/python*/site-packages"))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(place), *NEEDED]
    subprocess.run(install, check=True)
    return round(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6, 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--product", default="plate")
    parser.add_argument("--effort", default="fast")
    parser.add_argument("--detector", default="ensemble")
    parser.add_argument("--install", action="store_true")
    asked = parser.parse_args()
    with TemporaryDirectory() as temporary:
        root = Path(temporary)
        good = [write(root / "good" / f"{n}.png", make_part(asked.product, n)[0]) for n in range(NORMALS)]
        profile, folder = root / "profile", root / "export"
        learn(good, profile=profile, effort=asked.effort, detector=asked.detector, outliers="keep")
        export_profile(profile, folder, policy=load_policy())
        paths = draw(root / "new", asked.product, asked.pictures)
        used = processor_seconds()
        command = [sys.executable, str(folder / "run.py"), "--json", *map(str, paths)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds = processor_seconds() - used
        own = [(row["label"], row["score"]) for row in map(json.loads, ran.stdout.splitlines())]
        with bfloat16(False):
            theirs = verdicts(profile, paths)
        labels = [label for label, _ in own]
        found = {
            "product": asked.product,
            "detector": asked.detector,
            "effort": asked.effort,
            "pictures": len(paths),
            "labels": {name: labels.count(name) for name in sorted(set(labels))},
            "float32": compare(own, theirs),
            "runner_processor_ms": round(1000 * seconds / len(paths)),
            **cold_start(folder, paths[0]),
            "export_mb": round(sum(file.stat().st_size for file in folder.iterdir()) / 1e6, 1),
            "threads": torch.get_num_threads(),
        }
        if asked.detector == "ensemble" and has_fast_bfloat16():
            with bfloat16(True):
                found["bfloat16"] = compare(own, verdicts(profile, paths))
        if asked.install:
            found["install_mb"] = installed_megabytes(root / "environment")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
