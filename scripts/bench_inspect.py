"""Time of inspecting and learning on pictures of 256×256; prints one JSON line.

``python scripts/bench_inspect.py [--effort normal]`` learns from 120 rendered tiles first (with effort
"normal" the head is fine-tuned for 20 steps, as its speed does not depend on them). Per picture, in a batch:
"features" is the trunk, "neighbours" the search in the memory bank, "head" the intra-image novelty, both
heads and the fusion, "detector" all of that, and "inspect" everything from the file on.

``--concurrent`` and ``--beside-busy`` time the commands instead, each in a process of its own, from its start
to its end, median of 3. ``--concurrent``: two runs of ``anomalist inspect`` on 72 pictures, one after the
other and at once. ``--beside-busy``: ``anomalist learn`` on 24 pictures with all its steps, ``inspect`` and
``eval detection`` on as many, and ``triage`` of a clip of 4 s, alone and beside a process that keeps one core
busy; "times" is the ratio of the two, "cpu" that of their processor time. ``--rounds 1`` is faster.
``--strip`` learns from three strips of 2048×8192 pixels and inspects one of 2048×40,000 with a scratch:
seconds by the clock and of processors and the highest memory of that process, the label, and whether a
region lies on the scratch.
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
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from PIL import Image

from anomalist.pipeline import Inspector, learn
from anomalist.vision.detectors import surface
from anomalist.vision.detectors.surface import SurfaceDetector
from anomalist.vision.synthetic_textures import render_surface as draw

SIDE, BATCH, ROUNDS = 256, 16, 7
TO_LEARN = 120
PROCESS_ROUNDS, TO_INSPECT, TO_LEARN_BESIDE = 3, 72, 24
STRIP_NORMALS = 4  # as few as are decided by
STRIP, PIECE, SCRATCH = (40_000, 2048), (8192, 2048), (900, 21_300, 980, 21_900)
"""(height, width) of the strip and of what is learned from; box of the scratch, pixels."""
COMMAND = (sys.executable, "-c", "from anomalist.cli.app import main; main()")


def median_ms(work: Callable[[], object]) -> float:
    """Median milliseconds a picture over rounds of one batch, after one to warm up."""
    work()
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - began) / BATCH)
    return round(statistics.median(times), 1)


def write_tiles(folder: Path, numbers: Sequence[int]) -> list[Path]:
    """Crops of one rendered surface, PNG."""
    folder.mkdir()
    whole = draw(7, 512)
    paths = [folder / f"{number:03d}.png" for number in numbers]
    for number, path in zip(numbers, paths, strict=True):
        Image.fromarray(np.roll(whole, (37 * number, 53 * number), (0, 1))[:SIDE, :SIDE]).save(path)
    return paths


def time_stages(folder: Path, effort: str) -> dict[str, object]:
    """Milliseconds a picture, by stage."""
    surface.EFFORTS["normal"] = 20
    paths = write_tiles(folder / "pictures", range(TO_LEARN + BATCH))
    profile = learn(paths[:TO_LEARN], profile=folder / "profile", effort=effort, detector="surface")
    inspector, detector = Inspector(profile, model="evidence", memory=False), profile.detector
    new = [np.asarray(Image.open(path)) for path in paths[-BATCH:]]
    assert isinstance(detector, SurfaceDetector)
    model, extractor = detector.fold_models[0].whole, detector.extractor
    batches = list(extractor.extract(new))
    novelty = [model.normality.novelty(batch.descriptors) for batch in batches]

    def fuse() -> None:
        """Compute the maps without what a batch has cached."""
        for batch, known in zip(batches, novelty, strict=True):
            list(model.maps(replace(batch), detector.heads, known))

    return {
        "bank": len(model.normality.bank.vectors),
        "features_ms": median_ms(lambda: list(extractor.extract(new))),
        "neighbours_ms": median_ms(lambda: [model.normality.novelty(batch.descriptors) for batch in batches]),
        "head_ms": median_ms(fuse),
        "detector_ms": median_ms(lambda: detector.score(new)),
        "inspect_ms": median_ms(lambda: list(inspector.inspect_many(paths[-BATCH:]))),
    }


def seconds_of(*commands: Sequence[object]) -> float:
    """Seconds until all of some runs of anomalist, started at once, have ended."""
    began = time.perf_counter()
    runs = [subprocess.Popen([*COMMAND, *map(str, words)], stdout=subprocess.DEVNULL) for words in commands]
    codes = [run.wait() for run in runs]
    seconds = time.perf_counter() - began
    if any(codes):
        raise SystemExit(f"anomalist ended with {codes}, its error is above")
    return seconds


def medians(rounds: Sequence[Sequence[float]]) -> list[float]:
    """Median of each column."""
    return [round(statistics.median(column), 1) for column in zip(*rounds, strict=True)]


def time_concurrent(folder: Path, effort: str) -> dict[str, object]:
    """Seconds of two runs of inspect, one after the other and at once."""
    surface.EFFORTS["normal"] = 20
    learn(write_tiles(folder / "normal", range(TO_LEARN)), profile=folder / "profile", effort=effort)
    write_tiles(folder / "new", range(TO_LEARN, TO_LEARN + TO_INSPECT))
    runs = [("inspect", folder / "new", "--profile", folder / "profile", "--model", "evidence", "--json")] * 2
    seconds_of(runs[0])  # the first run reads its modules from the disk
    rounds = [(seconds_of(runs[0]) + seconds_of(runs[1]), seconds_of(*runs)) for _ in range(PROCESS_ROUNDS)]
    in_turn, at_once = medians(rounds)
    return {"pictures_a_run": TO_INSPECT, "one_after_the_other_s": in_turn, "at_once_s": at_once}


def draw_clip(file: Path) -> Path:
    """A clip of 4 s, 320×240: a dark square crosses a noisy ground."""
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.uniform(60, 200, (240, 320, 3)).astype(np.float32), (0, 0), 3)
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), 25, (320, 240))
    for number in range(100):
        frame = ground + rng.normal(0, 3, ground.shape)
        frame[100:140, 3 * number : 3 * number + 30] = 20
        writer.write(np.clip(frame, 0, 255).astype(np.uint8))
    writer.release()
    return file


def labelled_set(folder: Path) -> Path:
    """Good tiles, and some with a dark patch, as ``eval detection`` reads them."""
    folder.mkdir()
    write_tiles(folder / "good", range(2 * TO_LEARN_BESIDE))
    for path in write_tiles(folder / "patch", range(100, 106)):
        picture = np.array(Image.open(path))
        picture[100:130, 90:140] //= 3
        Image.fromarray(picture).save(path)
    return folder


def wall_and_cpu(words: Sequence[object]) -> tuple[float, float]:
    """Seconds of one run of anomalist, by the clock and on the processor."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = seconds_of(words)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime


def time_beside_busy(folder: Path, effort: str, rounds: int) -> dict[str, object]:
    """Seconds of commands, alone and beside a process that keeps one core busy."""
    good = folder / "normal"
    write_tiles(good, range(TO_LEARN_BESIDE))
    profile, data, clip = (
        folder / "profile",
        labelled_set(folder / "labelled"),
        draw_clip(folder / "clip.mp4"),
    )
    few = ("--effort", effort, "--train-normals", TO_LEARN_BESIDE)
    commands: dict[str, tuple[object, ...]] = {
        "learn": ("learn", good, "--profile", profile, "--effort", effort, "--force", "--keep-outliers"),
        "inspect": ("inspect", good, "--profile", profile, "--model", "evidence"),
        "eval": ("eval", "detection", "--data", data, *few, "--json"),
        "triage": ("triage", clip, "--model", "evidence"),
    }
    found: dict[str, object] = {"pictures": TO_LEARN_BESIDE, "load": round(os.getloadavg()[0], 1)}
    for name, words in commands.items():
        taken = []
        for _ in range(rounds):
            alone = wall_and_cpu(words)
            busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            try:
                beside = wall_and_cpu(words)
            finally:
                busy.kill()
                busy.wait()
            taken.append((*alone, *beside))
        alone_s, alone_cpu, beside_s, beside_cpu = medians(taken)
        found[name] = {
            "alone_s": alone_s,
            "beside_busy_s": beside_s,
            "times": round(beside_s / alone_s, 2),
            "cpu": round(beside_cpu / alone_cpu, 2),
        }
    return found


def draw_strip(seed: int, size: tuple[int, int]) -> np.ndarray:
    """Brushed metal of a size, with slow changes of tone along it, uint8 (H, W, 3)."""
    rng, (height, width) = np.random.default_rng(seed), size
    along = cv2.resize(rng.normal(0, 4, (height // 256, 8)).astype(np.float32), (width, height))
    picture = cv2.GaussianBlur(rng.normal(0, 20, size).astype(np.float32), (0, 0), sigmaX=1, sigmaY=6)
    return np.repeat(np.clip(140 + along + 3 * picture, 0, 255).astype(np.uint8)[..., None], 3, 2)


def time_strip(folder: Path, effort: str) -> dict[str, object]:
    """Time and memory of inspecting one long strip."""
    (folder / "good").mkdir()
    for number in range(STRIP_NORMALS):
        Image.fromarray(draw_strip(number, PIECE)).save(folder / "good" / f"{number}.png", compress_level=1)
    seconds_of(("learn", folder / "good", "--profile", folder / "profile", "--effort", effort))
    strip, (x0, y0, x1, y1) = draw_strip(100, STRIP), SCRATCH
    cv2.line(strip, (x0, y0), (x1, y1), (60, 60, 60), 12, cv2.LINE_AA)
    Image.fromarray(strip).save(folder / "strip.png", compress_level=1)
    del strip
    words = (
        "inspect",
        folder / "strip.png",
        "--profile",
        folder / "profile",
        "--model",
        "evidence",
        "--json",
    )
    program = [*COMMAND, *map(str, words)]
    began = time.perf_counter()
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        said = run.stdout.read()
        _, status, usage = os.wait4(run.pid, 0)
        run.returncode = os.waitstatus_to_exitcode(status)
    if run.returncode:
        raise SystemExit(f"anomalist ended with {run.returncode}, its error is above")
    record = json.loads(said.splitlines()[-1])
    boxes = [region["box"] for region in record["regions"]]
    return {
        "pixels": f"{STRIP[1]}x{STRIP[0]}",
        "inspect_s": round(time.perf_counter() - began, 1),
        "inspect_processor_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mb": round(usage.ru_maxrss / 1024),
        "label": record["label"],
        "regions": len(boxes),
        "on_the_scratch": any(b[0] < x1 and b[2] > x0 and b[1] < y1 and b[3] > y0 for b in boxes),
    }


def main() -> None:
    """Learn, time, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--effort", choices=("fast", "normal"), default="normal")
    parser.add_argument("--rounds", type=int, default=PROCESS_ROUNDS, help="of --beside-busy")
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--concurrent", action="store_true", help="two runs of inspect at once")
    modes.add_argument("--beside-busy", action="store_true", help="commands beside a busy process")
    modes.add_argument("--strip", action="store_true", help="one strip of 2048×40,000 pixels")
    asked = parser.parse_args()
    work: Callable[[Path, str], dict[str, object]] = time_stages
    if asked.concurrent:
        work = time_concurrent
    elif asked.beside_busy:
        work = partial(time_beside_busy, rounds=asked.rounds)
    elif asked.strip:
        work = time_strip
    with TemporaryDirectory() as folder:
        about = {"effort": asked.effort, "threads": torch.get_num_threads(), "cores": os.cpu_count()}
        os.environ["ANOMALIST_HOME"] = str(Path(folder) / "home")
        print(json.dumps(about | work(Path(folder), asked.effort)))


if __name__ == "__main__":
    main()
