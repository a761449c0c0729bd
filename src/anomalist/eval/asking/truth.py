"""What is true of a picture or clip by the labels of its data set, and whether the detector was right."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomalist.agent.tools.subject import Subject
from anomalist.eval.asking.question_set import Asked
from anomalist.eval.pairs import match, read_pairs
from anomalist.types import Box, Label
from anomalist.vision.attributes import POSITIONS
from anomalist.vision.known import mask_file
from anomalist.vision.media import load_roi

MARGIN = 5
"""Pixels around a region of a board before it is compared with a labelled box, which are drawn generously."""

LEAST_OVERLAP = 0.1
"""Share of a region's box that is labelled defective, for its place to be right."""


@dataclass(frozen=True)
class Truth:
    """Labels of one subject.

    Parameters
    ----------
    label : normal or anomalous; None for a batch.
    kinds : of its defects.
    boxes : of its defects, in pixels.
    cells : words of the 3×3 grid that a defect reaches.
    area : pixels of the mask, where there is one.
    intervals : seconds that are labelled anomalous, of a clip.
    found : whether the verdict is right, and for a defect, whether the first region lies on it.
    counted : whether the regions are the labelled boxes, one for one.
    named : whether the kind of the first region is the labelled one.
    sized : whether the marked area is within a factor of three of the labelled one.
    """

    label: Label | None = None
    kinds: frozenset[str] = frozenset()
    boxes: tuple[Box, ...] = ()
    cells: frozenset[str] = frozenset()
    area: int | None = None
    intervals: tuple[tuple[float, float], ...] = ()
    found: bool = True
    counted: bool = False
    named: bool = False
    sized: bool = False


def truth_of(data: Path, asked: Asked, subject: Subject) -> Truth:
    """Read the labels of a picture or clip and hold the detector against them."""
    if asked.kind == "tile":
        return _tile(data, asked, subject)
    if asked.kind == "board":
        return _board(data, asked, subject)
    return _clip(data, asked, subject) if asked.kind == "clip" else Truth()


def _tile(data: Path, asked: Asked, subject: Subject) -> Truth:
    record = subject.picture()
    path = Path(asked.path)
    kind = path.parent.name
    if kind == "good":
        return Truth(label="normal", found=record.label == "normal")
    file = mask_file(data / "mtd", kind, path.stem)
    mask = load_roi(file) if file is not None else np.zeros((1, 1), np.bool_)
    first = record.regions[0] if record.regions else None
    x0, y0, x1, y1 = first.box if first else (0, 0, 0, 0)
    hit = first is not None and float(mask[y0:y1, x0:x1].mean()) >= LEAST_OVERLAP
    marked = sum(region.area for region in record.regions)
    ys, xs = np.nonzero(mask)
    height, width = mask.shape
    cells = {
        POSITIONS[3 * y // height][3 * x // width] for y, x in zip(ys.tolist(), xs.tolist(), strict=True)
    }
    return Truth(
        label="anomalous",
        kinds=frozenset({kind}),
        cells=frozenset(cells),
        area=int(mask.sum()),
        found=record.label == "anomalous" and hit,
        named=hit and first is not None and first.known is not None and first.known.name == kind,
        sized=hit and bool(mask.any()) and 1 / 3 <= marked / int(mask.sum()) <= 3,
    )


def _board(data: Path, asked: Asked, subject: Subject) -> Truth:
    name = Path(asked.path).name.removesuffix("_test.jpg")
    (pair,) = [pair for pair in read_pairs(data / "deeppcb") if pair.name == name]
    record = subject.picture()
    hits = dict(match([region.box for region in record.regions], pair.boxes, MARGIN))
    height, width = record.height or 1, record.width or 1
    kinds = {pair.kinds[j] for i, j in hits.items() if i == 0}
    known = record.regions[0].known if record.regions else None
    return Truth(
        label="anomalous",
        kinds=frozenset(pair.kinds),
        boxes=pair.boxes,
        cells=frozenset(_cells(pair.boxes, (height, width))),
        found=record.label == "anomalous" and 0 in hits,
        counted=len(hits) == len(pair.boxes) == len(record.regions),
        named=known is not None and known.name in kinds,
    )


def _clip(data: Path, asked: Asked, subject: Subject) -> Truth:
    from anomalist.eval.footage import read_footage

    name = Path(asked.path).stem
    (clip,) = [clip for clip in read_footage(data / "ped2").testing if clip.name == name]
    record = subject.clip()
    rate = len(clip.labels) / record.duration if record.duration else 10.0
    intervals = tuple((first / rate, (last + 1) / rate) for first, last in clip.events)
    label: Label = "anomalous" if clip.labels.any() else "normal"
    overlap = all(
        any(event.start < stop and event.end > start for start, stop in intervals) for event in record.events
    )
    return Truth(label=label, intervals=intervals, found=record.label == label and overlap)


def _cells(boxes: tuple[Box, ...], size: tuple[int, int]) -> set[str]:
    """Words of the grid for everything that boxes reach."""
    height, width = size
    return {
        POSITIONS[min(2, 3 * y // height)][min(2, 3 * x // width)]
        for x0, y0, x1, y1 in boxes
        for y in (y0, (y0 + y1) // 2, y1 - 1)
        for x in (x0, (x0 + x1) // 2, x1 - 1)
    }
