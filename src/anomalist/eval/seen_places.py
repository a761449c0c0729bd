"""Places in pictures that a model is asked to look at: drawn ones, and real ones with their ground truth.

Only seeing is measured: where to look is given. What a real kind of defect is in the vocabulary of the
model was fixed in `ACCEPTED` before any model had seen a real picture.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomalist.agent.builtin.showing import Shown, show
from anomalist.eval.datasets import load_folder, load_mask
from anomalist.eval.pairs import read_pairs
from anomalist.types import BoolArray, Box, DetectorInfo, Evidence, Media, UInt8Array
from anomalist.vision.drawn.cases import draw_case, draw_product
from anomalist.vision.drawn.facts import DefectKind, Facts
from anomalist.vision.media import load_image
from anomalist.vision.normals import window_around
from anomalist.vision.regions import find_regions

ACCEPTED: Mapping[str, frozenset[DefectKind]] = {
    # magnetic tiles (MTD)
    "blowhole": frozenset({"hole", "spot"}),
    "break": frozenset({"missing piece", "crack"}),
    "crack": frozenset({"crack"}),
    "fray": frozenset({"missing piece", "texture change"}),
    "uneven": frozenset({"stain", "texture change"}),
    # steel (NEU)
    "crazing": frozenset({"crack", "texture change"}),
    "inclusion": frozenset({"foreign material", "spot"}),
    "patches": frozenset({"stain"}),
    "pitted_surface": frozenset({"hole", "spot"}),
    "rolled-in_scale": frozenset({"texture change", "stain"}),
    "scratches": frozenset({"scratch"}),
}
"""Kind of a data set → kinds of `DefectKind` that are right for it."""

_PRODUCTS, _FIRST_PRODUCT = 48, 2_000_000


@dataclass(frozen=True, eq=False)
class Place:
    """A place to look at.

    Parameters
    ----------
    shown : the picture with one region, and the normal picture beside it.
    facts : what is known to be there; for real pictures ``kind`` is "nothing" or None.
    accepted : kinds that are right; None where a real defect has no name in the vocabulary.
    name : of the kind in its data set, or the drawn kind.
    """

    shown: Shown
    facts: Facts
    accepted: frozenset[DefectKind] | None
    name: str

    @property
    def wrong(self) -> bool:
        """Whether something is wrong there."""
        return self.name != "nothing"


def drawn_places(count: int, seed: int) -> Iterator[Place]:
    """Draw places on products that no training has seen."""
    products = [draw_product(_FIRST_PRODUCT + number) for number in range(_PRODUCTS)]
    number = 0
    while count:
        rng = np.random.default_rng((seed, number, 7))
        number += 1
        shown = show(rng, draw_case(rng, products))
        if not shown.facts or (kind := shown.facts[0].kind) is None:
            continue
        yield Place(shown, shown.facts[0], frozenset({kind}), kind)
        count -= 1


def tile_places(data: Path, count: int, seed: int) -> Iterator[Place]:
    """Places on defective tiles by their masks, and as many of the same size on good ones (MTD)."""
    rng = np.random.default_rng(seed)
    table = data / "groups.csv"
    items = load_folder(data, table if table.exists() else None).items
    good = [item for item in items if item.normal]
    defects = [item for item in items if not item.normal and item.mask is not None]
    for at in rng.permutation(len(defects))[:count]:
        item = defects[int(at)]
        first, second = (good[int(i)] for i in rng.permutation(len(good))[:2])
        pixels = load_image(item.path).pixels
        assert item.mask is not None
        mask = _largest(load_mask(item.mask, pixels.shape[:2]))
        if not mask.any():
            continue
        normal = load_image(first.path).pixels
        yield _place(pixels, mask, _sized(normal, pixels), item.defect)
        clean = load_image(second.path).pixels
        yield _place(clean, _sized_mask(mask, clean), _sized(normal, clean), "nothing")


def steel_places(data: Path, count: int, seed: int) -> Iterator[Place]:
    """The first box of each picture (NEU); nothing normal is known."""
    boxes: dict[str, tuple[str, Box]] = {}
    with (data / "boxes.csv").open(newline="", encoding="utf-8") as opened:
        for row in csv.DictReader(opened):
            box = (int(row["x1"]), int(row["y1"]), int(row["x2"]), int(row["y2"]))
            boxes.setdefault(row["image"], (row["class"], box))
    names = sorted(boxes)
    for at in np.random.default_rng(seed).permutation(len(names))[:count]:
        kind, box = boxes[names[int(at)]]
        pixels = load_image(data / "images" / names[int(at)]).pixels
        yield _place(pixels, _filled(box, pixels.shape[:2]), None, kind)


def board_places(data: Path, count: int, seed: int) -> Iterator[Place]:
    """A labelled box of each pair, and a place without one beside it; the template is normal (DeepPCB)."""
    rng = np.random.default_rng(seed)
    pairs = read_pairs(data)
    for at in rng.permutation(len(pairs))[:count]:
        pair = pairs[int(at)]
        pixels, normal = load_image(pair.picture).pixels, load_image(pair.reference).pixels
        box = pair.boxes[int(rng.integers(len(pair.boxes)))]
        yield _place(pixels, _filled(box, pixels.shape[:2]), normal, "defect")
        free = _free_box(rng, box, pair.boxes, pixels.shape[:2])
        if free is not None:
            yield _place(pixels, _filled(free, pixels.shape[:2]), normal, "nothing")


def _place(pixels: UInt8Array, mask: BoolArray, normal: UInt8Array | None, name: str) -> Place:
    peaks = mask.astype(np.float32)
    regions = find_regions(pixels, peaks, mask, limit=1)
    evidence = Evidence(
        DetectorInfo(name="ground truth", digest="0" * 64),
        1.0,
        peaks,
        mask,
        roi_area=mask.size,
        regions=regions,
    )
    facts = Facts("nothing" if name == "nothing" else None)
    accepted = frozenset({facts.kind}) if facts.kind is not None else ACCEPTED.get(name)
    return Place(Shown(Media("picture", "0" * 64, pixels), evidence, (facts,), normal), facts, accepted, name)


def _largest(mask: BoolArray) -> BoolArray:
    from scipy import ndimage

    labels, found = ndimage.label(mask, np.ones((3, 3)))
    return np.asarray(labels == 1 + int(np.bincount(labels.ravel())[1:].argmax())) if found else mask


def _sized(pixels: UInt8Array, like: UInt8Array) -> UInt8Array:
    import cv2

    height, width = like.shape[:2]
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _sized_mask(mask: BoolArray, like: UInt8Array) -> BoolArray:
    import cv2

    height, width = like.shape[:2]
    share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(share >= min(0.5, float(share.max())))


def _filled(box: Box, size: tuple[int, int]) -> BoolArray:
    x0, y0, x1, y1 = box
    mask = np.zeros(size, bool)
    mask[max(0, y0) : y1, max(0, x0) : x1] = True
    return mask


def _free_box(
    rng: np.random.Generator, box: Box, boxes: tuple[Box, ...], size: tuple[int, int]
) -> Box | None:
    """A box of the same size whose closer look shows none of the labelled ones."""
    across, down = box[2] - box[0], box[3] - box[1]
    for _ in range(50):
        x, y = int(rng.integers(size[1] - across)), int(rng.integers(size[0] - down))
        x0, y0, x1, y1 = window_around((x, y, x + across, y + down), size)
        if not any(b[0] < x1 and b[2] > x0 and b[1] < y1 and b[3] > y0 for b in boxes):
            return x, y, x + across, y + down
    return None
