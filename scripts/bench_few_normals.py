"""Eight normals of eight objects: how much is decided, and how often a new object is a false alarm.

``python scripts/bench_few_normals.py --data MTD --seeds 5`` prints one JSON line a seed. `eval detection`
takes whole groups, and eight pictures of tiles are two or three tiles; here each of the normals is of a tile
of its own. Tested are one good picture of each other tile, and defective ones of tiles not learned from.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from anomalist.eval.detection import contenders, run_split
from anomalist.eval.image_datasets import ImageDataset, LabelledImage, Split, load_folder

NORMALS, DEFECTIVE = 8, 100
FIGURES = (
    "seed",
    "image_auroc",
    "image_auroc_interval",
    "asked_false_alarm_rate",
    "false_alarm_rate",
    "false_alarm_rate_interval",
    "found_at_asked_rate",
    "oracle_at_measured_rate",
    "calibration_efficiency",
    "undecided_rate_normals",
    "undecided_rate_defects",
    "n_test_normals",
    "n_test",
    "learn_seconds",
    "ms_per_image",
)


def split(data: ImageDataset, seed: int) -> Split:
    """One good picture a group, of which ``NORMALS`` are learned from, and ``DEFECTIVE`` of other groups."""
    rng = np.random.default_rng(seed)
    one: dict[str, LabelledImage] = {}
    for place in rng.permutation(len(data.items)):
        item = data.items[place]
        if item.normal:
            one.setdefault(item.group, item)
    learned, *tested = one.values()
    train, tested = (learned, *tested[: NORMALS - 1]), tested[NORMALS - 1 :]
    known = {item.group for item in train}
    defective = [item for item in data.items if not item.normal and item.group not in known]
    drawn = rng.permutation(len(defective))[:DEFECTIVE]
    return Split(train, (*tested, *(defective[place] for place in drawn)), data.grouped)


def main() -> None:
    """Print the figures of every seed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with good/ and groups.csv")
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    data = load_folder(asked.data, asked.data / "groups.csv")
    (contender,) = contenders(["ensemble"], ["normal"], NORMALS, None)
    for seed in range(asked.seeds):
        result = run_split(split(data, seed), contender, name=asked.data.name, seed=seed).result
        print(json.dumps({name: result[name] for name in FIGURES}), flush=True)


if __name__ == "__main__":
    main()
