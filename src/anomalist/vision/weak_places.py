"""How far a region reaches in the anomaly map, and places beside the regions that reach the threshold, too.

An outline ends at half the height of the highest place. What is left may be enough for an alarm by itself,
so a verdict that cites the regions alone would leave out some of what it rests on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from anomalist.types.common import BoolArray, Box, FloatArray
from anomalist.types.image import Region, WeakPlace
from anomalist.vision.attributes import position_in
from anomalist.vision.regions import (
    box_of,
    components_at,
    drop_specks,
    highest_components,
    label_components,
    smallest_area,
)

MARGIN = 0.35
"""Margin around a place that belongs to it, as a share of its longer side."""
_MIN_MARGIN = 4  # pixels
MAX_PLACE_SHARE = 0.25
"""Share of the picture that a region may grow to with what is connected to it."""
MAX_WEAK_PLACES = 3
"""That are listed, of those with the highest peaks."""


def grown(box: Box, size: tuple[int, int]) -> Box:
    """A box with its margin, cut to a picture of (height, width)."""
    x0, y0, x1, y1 = box
    margin = max(_MIN_MARGIN, round(MARGIN * max(x1 - x0, y1 - y0)))
    return max(0, x0 - margin), max(0, y0 - margin), min(size[1], x1 + margin), min(size[0], y1 + margin)


def reaches_of(score_map: FloatArray, regions: Sequence[Region], level: float | None = None) -> list[Box]:
    """The box of each region and of what is connected to it in the map above the level where regions begin.

    An outline follows the pixels that differ most; what made the score reaches further. Without a level, or
    where that would take more than ``MAX_PLACE_SHARE`` of the picture, it is half of the region's height over
    the median of the map; where that is too much as well, the region's own box.
    """
    usual = float(np.median(score_map))
    halves = [(usual + region.peak) / 2 for region in regions]
    most = MAX_PLACE_SHARE * score_map.size
    found: dict[int, Box] = {}
    for heights in (halves if level is None else [min(level, half) for half in halves], halves):
        still_open = [i for i in range(len(regions)) if i not in found]
        for height in {heights[i] for i in still_open}:
            chosen = [i for i in still_open if heights[i] == height]
            boxes = _joined_boxes(score_map >= height, [regions[i].box for i in chosen])
            found |= {i: box for i, box in zip(chosen, boxes, strict=True) if _area(box) <= most}
    return [found.get(i, region.box) for i, region in enumerate(regions)]


def _joined_boxes(high: BoolArray, boxes: Sequence[Box]) -> list[Box]:
    """For each box, that around it and the parts of a mask that it touches."""
    numbered = label_components(high)
    joined = []
    for box in boxes:
        mine = components_at(*numbered, _window(box))
        mine[_window(box)] = True
        joined.append(box_of(mine))
    return joined


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def connected_to(high: BoolArray, box: Box) -> BoolArray:
    """The parts of a mask that touch a box."""
    return components_at(*label_components(high), _window(box))


def _window(box: Box) -> tuple[slice, slice]:
    return slice(box[1], box[3]), slice(box[0], box[2])


def places_taken(shape: tuple[int, int], boxes: Iterable[Box]) -> BoolArray:
    """Boxes with their margins as a mask, bool (H, W)."""
    taken = np.zeros(shape, np.bool_)
    for box in boxes:
        x0, y0, x1, y1 = grown(box, shape)
        taken[y0:y1, x0:x1] = True
    return taken


def _contains(outer: Box, inner: Box) -> bool:
    return outer[0] <= inner[0] and outer[1] <= inner[1] and outer[2] >= inner[2] and outer[3] >= inner[3]


def find_weak_places(
    score_map: FloatArray,
    roi: BoolArray | None,
    regions: Sequence[Region],
    *,
    level: float | None,
    threshold: float | None,
) -> tuple[WeakPlace, ...]:
    """The places beside the regions, and what is connected to these, where the map reaches a threshold.

    Parameters
    ----------
    score_map : float32 (H, W).
    roi : bool (H, W), region of interest; None for the whole picture.
    level : at which regions begin.
    threshold : of the score; None finds nothing.

    Returns
    -------
    By falling peak, ``MAX_WEAK_PLACES`` at most. What surrounds a region is not beside it: it is where the
    map falls off around a region that is large for its picture.
    """
    if threshold is None or not regions:
        return ()
    high = score_map >= threshold
    if roi is not None:
        high &= roi
    shape = score_map.shape[0], score_map.shape[1]
    high &= ~places_taken(shape, (region.box for region in regions))
    if not high.any():  # mostly; how far regions reach takes longer
        return ()
    high &= ~places_taken(shape, reaches_of(score_map, regions, level))
    enough = MAX_WEAK_PLACES + len(regions)
    parts = highest_components(score_map, drop_specks(high, smallest_area(score_map)), enough)
    beside = [part for part in parts if not any(_contains(part.box, region.box) for region in regions)]
    return tuple(
        WeakPlace(
            id=f"W{rank}",
            box=part.box,
            peak=part.peak,
            position=position_in(part.inside, part.box, shape),
        )
        for rank, part in enumerate(beside[:MAX_WEAK_PLACES], start=1)
    )
