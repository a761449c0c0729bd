"""Ablation of texture families: ``python scripts/ablate_families.py FOLDER --data D --groups CSV``.

SurfaceNet is pretrained briefly with each family left out, and with all of them from three seeds, which shows
the variance. Each network is evaluated twice, as are the packaged weights: on rendered products of one family
each that are in no training, and with effort ``fast`` on real development pictures, those of the groups that
a test of seed 0 leaves out. Finished weights in FOLDER are kept.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from anomalist.eval.image_datasets import GOOD, ImageDataset, Split, load_folder, split_dataset
from anomalist.eval.metrics import image_auroc
from anomalist.training.pretraining import render_product
from anomalist.vision.calibration import Partition
from anomalist.vision.detectors.base import LearningData, LearningSettings, no_progress
from anomalist.vision.detectors.pretext import (
    PretextModel,
    ViewBatch,
    defective_and_normal,
    image_scores,
    make_view_batch,
)
from anomalist.vision.detectors.surface import SurfaceDetector
from anomalist.vision.features import extractor
from anomalist.vision.media.images import load_image
from anomalist.vision.synthetic_textures import TEXTURE_FAMILIES, render_surface

BLEMISHES = "blemishes"
PRODUCTS, FIRST = 128, 1_000_000
"""Rendered products of a family, and the seed of the first: apart from those of pretraining."""

TRAIN_NORMALS = 300
"""Normal pictures of the test whose groups are left out."""


def development(data: ImageDataset, seed: int) -> Split:
    """Split the groups outside the test: two thirds of the normals to learn from, the rest to test."""
    tested = {item.group for item in split_dataset(data, TRAIN_NORMALS, seed).test}
    items = tuple(item for item in data.items if item.group not in tested)
    normals = 2 * sum(item.normal for item in items) // 3
    train = split_dataset(ImageDataset(items, data.grouped), normals, seed).train
    learned = {item.group for item in train}  # groups without a good picture are measured, too
    return Split(train, tuple(item for item in items if item.group not in learned), data.grouped)


def of_family(name: str) -> list[int]:
    """Seeds of products of one family alone, or with blemishes."""
    seeds = range(FIRST, FIRST + 4 * PRODUCTS)
    if name == BLEMISHES:
        seeds = [
            i
            for i in seeds
            if not np.array_equal(render_surface(i, 64), render_surface(i, 64, without=(BLEMISHES,)))
        ]
    return list(seeds)[:PRODUCTS]


def drawn_tests() -> dict[str, list[ViewBatch]]:
    """Sets of views, one a product, for each family, all with references."""
    tests = {}
    for name in (*TEXTURE_FAMILIES, BLEMISHES):
        others = () if name == BLEMISHES else (*(set(TEXTURE_FAMILIES) - {name}), BLEMISHES)
        sets = [make_view_batch((0, i), [render_product(i, others)], 128, turn=True) for i in of_family(name)]
        tests[name] = [replace(views, without_references=np.zeros(1, bool)) for views in sets]
    return tests


@torch.inference_mode()
def on_drawn(tests: dict[str, list[ViewBatch]]) -> dict[str, float]:
    """For each family, the AUROC of views with a defect against clean ones of the same product."""
    model = PretextModel(extractor.shipped_network())
    found = {}
    for name, sets in tests.items():
        above: list[bool] = []
        for views in sets:
            scores = image_scores(model.predict(views, half=False)[0])
            defective, normal = defective_and_normal(torch.from_numpy(views.labels).flatten(0, 1))
            above += (scores[defective][:, None] > scores[normal][None]).flatten().tolist()
        found[name] = round(float(np.mean(above)), 4)
    return found


def on_development(parts: Split) -> dict[str, float | None]:
    """Image AUROC of all defects and of each kind, by a detector without folds."""
    learned = [load_image(item.path).pixels for item in parts.train]
    _, groups = np.unique([item.group for item in parts.train], return_inverse=True)
    data = LearningData(
        [SurfaceDetector.prepare(picture) for picture in learned],
        groups.astype(np.int64),
        Partition(((tuple(range(len(learned))), ()),)),
    )
    detector = SurfaceDetector.learn(data, LearningSettings(effort="fast"), no_progress)
    scores = [float(detector.score([load_image(item.path).pixels])[0].scores[0]) for item in parts.test]
    kinds = np.array([item.defect for item in parts.test])
    found = {"all": image_auroc(np.array(scores), kinds != GOOD)}
    for kind in sorted(set(kinds) - {GOOD}):
        chosen = np.isin(kinds, [GOOD, kind])
        found[str(kind)] = image_auroc(np.array(scores)[chosen], kinds[chosen] != GOOD)
    return found


def main() -> None:
    """Pretrain and evaluate one after the other; print one JSON line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--groups", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=500)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    parts = development(load_folder(options.data, options.groups), 0)
    tests = drawn_tests()
    pretrain = [sys.executable, str(Path(__file__).with_name("pretrain.py"))]
    runs = {f"nothing, seed {seed}": ["--seed", str(seed)] for seed in range(3)}
    runs |= {family: ["--without", family] for family in (*TEXTURE_FAMILIES, BLEMISHES)}

    def report(name: str) -> None:
        result = {"without": name, "mtd": on_development(parts), "drawn": on_drawn(tests)}
        print(json.dumps(result), flush=True)

    options.folder.mkdir(parents=True, exist_ok=True)
    report("packaged")
    for name, arguments in runs.items():
        file = options.folder / f"{name}.safetensors"
        if not file.exists():
            size = ["--steps", str(options.steps), "--warmup", str(options.steps // 6), "--pool", "128"]
            subprocess.run([*pretrain, str(file), *size, *arguments], check=True, stdout=subprocess.DEVNULL)
        extractor._shipped_weights = file.read_bytes  # type: ignore[assignment]
        report(name)


if __name__ == "__main__":
    main()
