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
from tempfile import TemporaryDirectory

from anomalist.eval.contenders import SURFACE, contenders
from anomalist.eval.datasets import DataSet, Split, load_folder, split
from anomalist.eval.scoring import DetectionMetrics, evaluate
from anomalist.vision import weights
from anomalist.vision.detectors import silent
from anomalist.vision.surfaces import FAMILIES

TRAIN_NORMALS = 300
"""Of the test whose pictures are not touched."""


def development(data: DataSet, seed: int) -> Split:
    """Split the groups that a test leaves out: two thirds of the normals to learn from, the rest to test."""
    taken = {item.group for item in split(data, TRAIN_NORMALS, seed).train}
    items = tuple(item for item in data.items if item.group in taken)
    return split(DataSet(items, data.grouped), 2 * sum(item.normal for item in items) // 3, seed)


def measured(file: Path, parts: Split) -> DetectionMetrics:
    """Learn with weights other than the packaged ones, and score what that says about the rest."""
    from anomalist.pipeline import Inspector

    data = file.read_bytes()
    weights._shipped = lambda: data  # type: ignore[assignment]
    (contender,) = contenders([SURFACE], ["fast"], len(parts.train), None)
    with TemporaryDirectory(prefix="anomalist-ablation-") as folder:
        inspector = Inspector(contender.make(parts, 0, Path(folder), silent))
        return evaluate(parts, inspector.inspect_many(item.path for item in parts.test))


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
            size = ["--steps", str(options.steps), "--pool", "128"]
            subprocess.run([*pretrain, str(file), *size, *arguments], check=True, stdout=subprocess.DEVNULL)
        found = measured(file, parts)
        print(
            json.dumps(
                {
                    "without": name,
                    "image_auroc": found.image_auroc,
                    "by_defect": found.image_auroc_by_defect,
                    "pixel_auroc": found.pixel_auroc,
                    "aupro": found.aupro,
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
