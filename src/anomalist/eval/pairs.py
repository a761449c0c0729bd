"""Labelled pairs of reference and picture on disk, and which predicted boxes are labelled ones."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomalist.errors import DataError
from anomalist.types import Box

HIT = 0.33
"""IoU above which a predicted box is a labelled one."""


@dataclass(frozen=True)
class Labelled:
    """One pair: its name, reference and picture, and the labelled boxes in the picture with their kinds."""

    name: str
    reference: Path
    picture: Path
    boxes: tuple[Box, ...]
    kinds: tuple[str, ...]


def read_pairs(data: Path) -> list[Labelled]:
    """Read the pairs of a folder, by name; raises DataError when the folder can't be used."""
    table = data / "boxes.csv"
    boxes: dict[str, list[Box]] = defaultdict(list)
    kinds: dict[str, list[str]] = defaultdict(list)
    try:
        with table.open(newline="", encoding="utf-8") as opened:
            for row in csv.DictReader(opened):
                x1, y1, x2, y2 = (int(row[name]) for name in ("x1", "y1", "x2", "y2"))
                boxes[row["pair"]].append((x1, y1, x2, y2))
                kinds[row["pair"]].append(row["type"])
    except OSError as error:
        raise DataError(f"{table} can't be read: {error.strerror or error}.") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{table} must have the columns pair,x1,y1,x2,y2,type, boxes in pixels.") from error
    pairs = []
    for reference in sorted(data.glob("*_temp.jpg")):
        name = reference.name.removesuffix("_temp.jpg")
        picture = data / f"{name}_test.jpg"
        if not picture.exists():
            raise DataError(f"{picture} is missing: {reference.name} has no picture to compare with.")
        pairs.append(Labelled(name, reference, picture, tuple(boxes[name]), tuple(kinds[name])))
    if not pairs:
        raise DataError(f"There are no pairs <name>_temp.jpg and <name>_test.jpg in {data}.")
    return pairs


def match(predicted: Sequence[Box], labelled: Sequence[Box], margin: int) -> list[tuple[int, int]]:
    """Pair predicted with labelled boxes, one to one: as many with an IoU above `HIT` as there can be.

    Parameters
    ----------
    predicted, labelled : half-open (x0, y0, x1, y1), pixels.
    margin : pixels by which the predicted ones are widened on every side.
    """
    from scipy.optimize import linear_sum_assignment

    if not predicted or not labelled:
        return []
    wide = np.array(predicted, dtype=np.float64) + margin * np.array([-1, -1, 1, 1])
    true = np.array(labelled, dtype=np.float64)
    low = np.maximum(wide[:, None, :2], true[None, :, :2])
    high = np.minimum(wide[:, None, 2:], true[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (wide, true)]
    iou = shared / (areas[0][:, None] + areas[1][None] - shared)
    # A hit weighs more than any overlap, so no hit is given up for a better one.
    weight = np.where(iou > HIT, min(iou.shape) + 1 + iou, 0)
    rows, columns = linear_sum_assignment(weight, maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if iou[i, j] > HIT]
