"""Milliseconds of inspecting a picture of 256×256, by stage; prints one JSON line.

``python scripts/bench_inspect.py [--effort normal]`` learns from 120 rendered tiles first (with effort
"normal" the head is fine-tuned for 20 steps, as its speed does not depend on them). Per picture, in a batch:
"features" is the trunk, "neighbours" the search in the memory bank, "head" the intra-image novelty, both
heads and the fusion, "detector" all of that, and "inspect" everything from the file on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from anomalist.pipeline import Inspector, learn
from anomalist.vision.detectors import surface
from anomalist.vision.detectors.surface import SurfaceDetector
from anomalist.vision.synthetic_textures import render_surface as draw

SIDE, BATCH, ROUNDS = 256, 16, 7


def median_ms(work: Callable[[], object]) -> float:
    """Median milliseconds a picture over rounds of one batch, after one to warm up."""
    work()
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - began) / BATCH)
    return round(statistics.median(times), 1)


def main() -> None:
    """Learn, time, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--effort", choices=("fast", "normal"), default="normal")
    effort = parser.parse_args().effort
    surface.EFFORTS["normal"] = 20
    pictures = [np.roll(draw(7, 512), (37 * i, 53 * i), (0, 1))[:SIDE, :SIDE] for i in range(120 + BATCH)]
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / "pictures" / f"{i:03d}.png" for i in range(len(pictures))]
        paths[0].parent.mkdir()
        for path, picture in zip(paths, pictures, strict=True):
            Image.fromarray(picture).save(path)
        profile = learn(paths[:120], profile=Path(folder) / "profile", effort=effort)
        inspector, detector, new = (
            Inspector(profile, model="evidence", memory=False),
            profile.detector,
            pictures[-BATCH:],
        )
        assert isinstance(detector, SurfaceDetector)
        model, extractor = detector.fold_models[0].whole, detector.extractor
        batches = list(extractor.extract(new))
        novelty = [model.normality.novelty(batch.descriptors) for batch in batches]

        def fuse() -> None:
            """Compute the maps without what a batch has cached."""
            for batch, known in zip(batches, novelty, strict=True):
                list(model.maps(replace(batch), detector.heads, known))

        result = {
            "effort": effort,
            "threads": torch.get_num_threads(),
            "bank": len(model.normality.bank.vectors),
            "features_ms": median_ms(lambda: list(extractor.extract(new))),
            "neighbours_ms": median_ms(
                lambda: [model.normality.novelty(batch.descriptors) for batch in batches]
            ),
            "head_ms": median_ms(fuse),
            "detector_ms": median_ms(lambda: detector.score(new)),
            "inspect_ms": median_ms(lambda: list(inspector.inspect_many(paths[-BATCH:]))),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
