"""What each family of surfaces is worth: ``python scripts/ablate_families.py FOLDER --data D --groups CSV``.

The embedded network is pretrained briefly with each family left out, and without any left out from two seeds,
which shows what is chance. Each is then learned with and measured (``fast``) on development pictures: those
of the groups that a test of seed 0 leaves out. Finished weights in FOLDER are not made again.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np

from anomalist.eval.datasets import GOOD, DataSet, Split, load_folder, split
from anomalist.eval.metrics import image_auroc
from anomalist.vision import weights
from anomalist.vision.calibration import Partition
from anomalist.vision.detectors import silent
from anomalist.vision.media import load_image
from anomalist.vision.surface import SurfaceDetector
from anomalist.vision.surfaces import FAMILIES

TRAIN_NORMALS = 300
"""Of the test whose pictures are not touched."""


def development(data: DataSet, seed: int) -> Split:
    """Split the groups that a test leaves out: two thirds of the normals to learn from, the rest to test."""
    tested = {item.group for item in split(data, TRAIN_NORMALS, seed).test}
    items = tuple(item for item in data.items if item.group not in tested)
    normals = 2 * sum(item.normal for item in items) // 3
    train = split(DataSet(items, data.grouped), normals, seed).train
    learned = {item.group for item in train}  # groups without a good picture are measured, too
    return Split(train, tuple(item for item in items if item.group not in learned), data.grouped)


def measured(file: Path, parts: Split) -> dict[str, float | None]:
    """Image AUROC of all defects and of each kind, by one model on weights other than the packaged ones."""
    data = file.read_bytes()
    weights._shipped = lambda: data  # type: ignore[assignment]
    learned = [load_image(item.path).pixels for item in parts.train]
    _, groups = np.unique([item.group for item in parts.train], return_inverse=True)
    detector = SurfaceDetector.learn(
        [SurfaceDetector.prepare(picture) for picture in learned],
        groups.astype(np.int64),
        Partition(((tuple(range(len(learned))), ()),)),
        roi=None,
        effort="fast",
        seed=0,
        backbone=None,
        progress=silent,
    )
    scores = [float(detector.score([load_image(item.path).pixels])[0].scores[0]) for item in parts.test]
    kinds = np.array([item.defect for item in parts.test])
    found = {"all": image_auroc(np.array(scores), kinds != GOOD)}
    for kind in sorted(set(kinds) - {GOOD}):
        chosen = np.isin(kinds, [GOOD, kind])
        found[str(kind)] = image_auroc(np.array(scores)[chosen], kinds[chosen] != GOOD)
    return found


def main() -> None:
    """Pretrain and measure one after the other; one JSON line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--groups", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=500)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    parts = development(load_folder(options.data, options.groups), 0)
    pretrain = [sys.executable, str(Path(__file__).with_name("pretrain.py"))]
    runs = {"nothing": [], "nothing, seed 1": ["--seed", "1"]}
    runs |= {family: ["--without", family] for family in (*FAMILIES, "blemishes")}
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, arguments in runs.items():
        file = options.folder / f"{name}.safetensors"
        if not file.exists():
            size = ["--steps", str(options.steps), "--warmup", str(options.steps // 6), "--pool", "128"]
            subprocess.run([*pretrain, str(file), *size, *arguments], check=True, stdout=subprocess.DEVNULL)
        print(json.dumps({"without": name, "image_auroc": measured(file, parts)}), flush=True)


if __name__ == "__main__":
    main()
