"""Regions of an anomaly map: hysteresis threshold, connected components, and the region of interest.

Regions are 8-connected; boxes are half-open (x0, y0, x1, y1) in pixels. The region of interest is resized
by nearest neighbour to the sizes that it is needed in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anomalist.errors import MediaError
from anomalist.types.common import BoolArray, Box, FloatArray, UInt8Array
from anomalist.types.image import Region
from anomalist.vision.attributes import measure_region

_CROP_MARGIN = 0.5  # around a region in its crop on every side, as a share of its longer side
_MIN_CROP_SHARE = 1 / 8  # side of a crop by the picture's longer side at least, so that a speck has context


def resize_roi(roi: BoolArray | None, size: tuple[int, int]) -> BoolArray | None:
    """Resize a region of interest to a picture's (height, width) in pixels, by nearest neighbour.

    Raises MediaError when nothing is left of it.
    """
    if roi is None or roi.shape == size:
        return roi
    resized = _resize_nearest(roi, size)
    if not resized.any():
        height, width = size
        raise MediaError(
            f"Nothing of the region of interest is left at {width}×{height} pixels.", "Draw it larger."
        )
    return resized


def resize_roi_to_grid(roi: BoolArray | None, shape: tuple[int, ...]) -> BoolArray | None:
    """Resize a region of interest to a grid (h, w); True all over where the grid is too coarse for it."""
    if roi is None:
        return None
    resized = _resize_nearest(roi, shape)
    return resized if resized.any() else np.ones(shape[:2], bool)


def roi_of_each(roi: BoolArray | Sequence[BoolArray | None] | None, count: int) -> list[BoolArray | None]:
    """Region of interest of each of ``count`` pictures, by one of all of them or by one of each."""
    return [roi] * count if roi is None or isinstance(roi, np.ndarray) else list(roi)


def reaches_grid(roi: BoolArray, shape: tuple[int, ...]) -> bool:
    """Whether something of a region of interest is left on a grid (h, w); see `resize_roi_to_grid`."""
    return bool(_resize_nearest(roi, shape).any())


def _resize_nearest(roi: BoolArray, shape: tuple[int, ...]) -> BoolArray:
    import cv2

    resized = cv2.resize(roi.astype(np.uint8), (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized > 0)


EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)
"""Structuring element of 8-connectivity, so that diagonal lines stay whole."""

MOST_REGIONS = 20
"""Regions of a picture that are measured, at most: those with the highest peaks."""

PEAK_FRACTION = 0.5
"""A region reaches down to half the height of the nearest peak (full width at half maximum)."""

PEAK_REACH = 1 / 32
"""Distance within which a peak sets the level, as a share of the picture's longer side."""

MIN_AREA_SHARE = 5e-5
"""Below this share of the picture's area a compact region is a speck."""

MAX_SPECK_AREA = 52
"""Pixels of a speck at most, however large the picture is."""

SMALL_HOLE_FACTOR = 4
"""A hole of up to this many times the smallest area is filled."""

_BLOCK_PIXELS = 2**21  # that components are counted in at once


def segment(
    score_map: FloatArray, roi: BoolArray | None, *, high: float, low: float, min_area: int | None = None
) -> BoolArray:
    """Turn an anomaly map into a mask of suspicious pixels; often there are none.

    Hysteresis (Canny 1986) with the two calibrated levels finds the places. Within each, a pixel stays when
    it reaches half the height (above ``low``) of the highest pixel near it in the same place: a strong peak
    loses its diffuse halo, while an even region stays whole, however large.

    Parameters
    ----------
    score_map : float32 (H, W), any finite range.
    roi : bool (H, W), region of interest; None for the whole picture.
    high : level that few normal pictures reach anywhere; a region contains a pixel above it.
    low : level that few normal pixels reach; nothing at or below it starts or extends a region.
    min_area : pixels; what is smaller is dropped unless it is long for its area (thin lines survive).
        By default it grows with the picture: 3 at 256×256, 52 from 1024×1024 on.

    Returns
    -------
    bool (H, W), inside the ROI. All False when no pixel exceeds ``high``.

    Raises
    ------
    ValueError : the map holds NaN or infinity, a shape does not fit, ``high`` < ``low``, ``min_area`` < 0.
    """
    counts = checked_roi(score_map, roi)
    if not np.isfinite([high, low]).all() or high < low:
        raise ValueError(f"high must be at least low, and both finite; got high={high}, low={low}")
    if min_area is None:
        min_area = smallest_area(score_map)
    elif min_area < 0:
        raise ValueError(f"min_area must not be negative, got {min_area}")
    strong = counts & (score_map > high)
    if not strong.any():
        return strong
    mask = np.zeros_like(strong)
    reach = max(2, round(PEAK_REACH * extent(score_map.shape)))
    weak = counts & (score_map > low)
    for band in occupied_bands(weak):
        if strong[band].any():
            mask[band] = _segment_band(
                score_map[band],
                counts[band],
                (weak[band], strong[band]),
                low=low,
                reach=reach,
                least=min_area,
            )
    return mask


def occupied_bands(mask: BoolArray) -> list[tuple[slice, slice]]:
    """Windows of a mask, from the top, each of a run of rows that are not empty.

    No component reaches over an empty row, so that what is sparse in a long picture is handled in little
    memory, with the same result.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return []
    bands = []
    for run in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1):
        down = slice(int(run[0]), int(run[-1]) + 1)
        columns = np.flatnonzero(mask[down].any(axis=0))
        bands.append((down, slice(int(columns[0]), int(columns[-1]) + 1)))
    return bands


def _segment_band(
    score_map: FloatArray,
    counts: BoolArray,
    masks: tuple[BoolArray, BoolArray],
    *,
    low: float,
    reach: int,
    least: int,
) -> BoolArray:
    """`segment` within a window; ``masks`` are the pixels above both levels."""
    weak, strong = masks
    places = _components_with_seeds(weak, strong)
    level = _local_level(score_map, places, low, reach)
    cut = _components_with_seeds(places & (score_map > level), strong)
    return drop_specks(cut | (_holes_to_fill(cut, places, SMALL_HOLE_FACTOR * least) & counts), least)


def find_regions(
    pixels: UInt8Array,
    score_map: FloatArray,
    mask: BoolArray,
    roi: BoolArray | None = None,
    *,
    limit: int = MOST_REGIONS,
) -> tuple[Region, ...]:
    """Measure the connected regions of a mask, the one with the highest peak first.

    Parameters
    ----------
    pixels : uint8 (H, W, 3), RGB.
    score_map : float32 (H, W), finite.
    mask : bool (H, W), inside the ROI, as from `segment`; not altered.
    roi : bool (H, W), region of interest; None for the whole picture.
    limit : how many regions are measured at most; those with the highest peaks.

    Returns
    -------
    Regions R1, R2, … (8-connected), by falling peak, then falling area, then from the top left.

    Raises
    ------
    ValueError : the map holds NaN or infinity, a shape does not fit, the mask leaves the ROI, ``limit`` < 1.
    """
    counts = checked_roi(score_map, roi)
    for name, array in (("pixels", pixels[..., 0]), ("mask", mask)):
        if array.shape != score_map.shape:
            raise ValueError(f"{name} must be {score_map.shape} like the map, got {array.shape}")
    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    if (mask & ~counts).any():
        raise ValueError("the mask reaches outside the ROI; segment with the same ROI")

    free = counts & ~mask
    roi_area = int(counts.sum())
    regions = []
    for rank, part in enumerate(highest_components(score_map, mask, limit), start=1):
        regions.append(
            Region(
                id=f"R{rank}",
                box=part.box,
                area=part.area,
                peak=part.peak,
                mean=part.mean,
                attributes=measure_region(pixels, part.inside, part.box, free, roi_area),
            )
        )
    return tuple(regions)


@dataclass(frozen=True, eq=False)
class Component:
    """One component of a mask: its box, area, peak, mean, and bool (y1 - y0, x1 - x0) within the box."""

    box: Box
    area: int
    peak: float
    mean: float
    inside: BoolArray


def highest_components(score_map: FloatArray, mask: BoolArray, limit: int) -> list[Component]:
    """Components by falling peak, then falling area, then from the top left; ``limit`` at most."""
    from scipy import ndimage

    found: list[Component] = []
    for band in occupied_bands(mask):
        labels, count = label_components(mask[band])
        areas, peaks, means = _component_statistics(score_map[band], labels, count)
        boxes = ndimage.find_objects(labels)
        # Of one band no more than the limit can be among the highest of all.
        for i in np.lexsort((np.arange(count), -areas, -peaks))[:limit]:
            rows, columns = boxes[i]
            y, x = band[0].start, band[1].start
            box = (x + columns.start, y + rows.start, x + columns.stop, y + rows.stop)
            inside = labels[rows, columns] == i + 1
            found.append(Component(box, int(areas[i]), float(peaks[i]), float(means[i]), inside))
    # scipy numbers components in reading order, so a stable sort breaks ties from the top left.
    return sorted(found, key=lambda part: (-part.peak, -part.area))[:limit]


def _component_statistics(
    score_map: FloatArray, labels: npt.NDArray[Any], found: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Area, highest score and mean score of each component, (found,) each, without sorting."""
    areas, totals = np.zeros(found + 1, np.intp), np.zeros(found + 1)
    peaks = np.full(found + 1, -np.inf)
    for rows in _row_blocks(labels):
        inside = labels[rows] > 0
        numbers, values = labels[rows][inside], score_map[rows][inside]
        areas += np.bincount(numbers, minlength=found + 1)
        totals += np.bincount(numbers, values, minlength=found + 1)
        np.maximum.at(peaks, numbers, values)
    return areas[1:], peaks[1:], totals[1:] / areas[1:]


def component_areas(labels: npt.NDArray[Any], found: int) -> npt.NDArray[np.intp]:
    """Pixels of each number of `label_components`, (found + 1,); that of 0 is what no component covers."""
    areas = np.zeros(found + 1, np.intp)
    for rows in _row_blocks(labels):
        areas += np.bincount(labels[rows].ravel(), minlength=found + 1)
    return areas


def _row_blocks(labels: npt.NDArray[Any]) -> Iterator[slice]:
    """Runs of rows: numpy counts in 64 bits a pixel, which for a long picture at once is several of it."""
    step = max(1, _BLOCK_PIXELS // max(1, labels.shape[1]))
    return (slice(top, top + step) for top in range(0, len(labels), step))


def checked_roi(score_map: FloatArray, roi: BoolArray | None) -> BoolArray:
    """Check map and ROI; return the ROI as bool (H, W)."""
    if score_map.ndim != 2:
        raise ValueError(f"the anomaly map must be (H, W), got {score_map.shape}")
    if not np.isfinite(score_map).all():
        raise ValueError("the anomaly map holds NaN or infinite values")
    if roi is None:
        return np.ones(score_map.shape, dtype=bool)
    if roi.dtype != np.bool_ or roi.shape != score_map.shape:
        raise ValueError(f"the ROI must be bool {score_map.shape}, got {roi.dtype} {roi.shape}")
    return roi


def label_components(mask: BoolArray) -> tuple[npt.NDArray[Any], int]:
    """Number the 8-connected components of ``mask`` from 1, in reading order."""
    from scipy import ndimage

    labels, found = ndimage.label(mask, structure=EIGHT_CONNECTED)
    return labels, int(found)


def _components_with_seeds(mask: BoolArray, seeds: BoolArray) -> BoolArray:
    """Keep the components of ``mask`` that hold at least one pixel of ``seeds``."""
    return components_at(*label_components(mask), seeds)


def components_at(labels: npt.NDArray[Any], found: int, places: Any) -> BoolArray:  # noqa: ANN401
    """The components of `label_components` that some places touch, bool (H, W).

    ``places`` is an index into the labels: a mask, or slices.
    """
    keep = np.zeros(found + 1, dtype=bool)  # by a table: `isin` takes several times the labels
    keep[labels[places]] = True
    keep[0] = False
    return np.asarray(keep[labels])


def box_of(mask: BoolArray) -> Box:
    """The smallest box around a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _local_level(score_map: FloatArray, places: BoolArray, low: float, reach: int) -> FloatArray:
    """Return, for each pixel of a place, half the height of the highest pixel near it in the same place.

    Places are handled one by one, so that a strong one doesn't raise the level of a weak neighbour.
    """
    from scipy import ndimage

    size = 2 * reach + 1
    level = np.full(score_map.shape, low, dtype=np.float32)
    labels, _ = label_components(places)
    for number, where in enumerate(ndimage.find_objects(labels), start=1):
        own = labels[where] == number
        values = np.where(own, score_map[where], np.float32(low))
        nearby = ndimage.maximum_filter(values, size=size, mode="constant", cval=low)
        level[where][own] = low + PEAK_FRACTION * (nearby[own] - low)
    return level


def _holes_to_fill(mask: BoolArray, places: BoolArray, small: int) -> BoolArray:
    """Find the holes of ``mask`` to fill: small ones, and those that are suspicious themselves (in a place).

    The second kind is the dip that `_local_level` cuts around a lone high peak within an even region.
    """
    from scipy import ndimage

    labels, found = ndimage.label(ndimage.binary_fill_holes(mask) & ~mask)
    sizes = component_areas(labels, found)
    weak = np.bincount(labels[places], minlength=found + 1)
    fill = (sizes <= small) | (weak == sizes)
    fill[0] = False
    return np.asarray(fill[labels])


def extent(size: tuple[int, ...]) -> int:
    """The side of a (height, width) that distances are shares of: the longer, at most four times the shorter.

    A place of a strip is no smaller for the length of the strip.
    """
    return min(max(size), 4 * min(size))


def smallest_area(score_map: FloatArray) -> int:
    """Pixels below which a compact region of a map is a speck."""
    return max(1, min(MAX_SPECK_AREA, round(MIN_AREA_SHARE * score_map.size)))


def drop_specks(mask: BoolArray, min_area: int) -> BoolArray:
    """Drop components smaller than ``min_area`` unless their box is at least twice as long as its root."""
    from scipy import ndimage

    labels, found = label_components(mask)
    keep = component_areas(labels, found) >= min_area
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        longest = max(rows.stop - rows.start, columns.stop - columns.start)
        keep[number] |= longest >= 2 * np.sqrt(min_area)
    keep[0] = False
    return np.asarray(keep[labels])


def component_mask(mask: BoolArray, box: Box, area: int) -> BoolArray:
    """Return the one connected part of a mask that has this box and area, bool (y1 - y0, x1 - x0)."""
    from scipy import ndimage

    x0, y0, x1, y1 = box
    labels, found = label_components(mask[y0:y1, x0:x1])
    sizes = component_areas(labels, found)[1:]
    spans = [
        (rows.stop - rows.start, columns.stop - columns.start)
        for rows, columns in ndimage.find_objects(labels)
    ]
    whole = [i for i, span in enumerate(spans) if span == (y1 - y0, x1 - x0) and sizes[i] == area]
    part: BoolArray = labels == 1 + (whole[0] if whole else int(sizes.argmax()))
    return part


def crop_window(box: Box, size: tuple[int, int], factor: int = 1) -> Box:
    """Return a square around a box, moved into the picture of a (height, width) and cut to it."""
    x0, y0, x1, y1 = box
    height, width = size
    side = max((1 + 2 * _CROP_MARGIN) * max(x1 - x0, y1 - y0), _MIN_CROP_SHARE * max(size))
    side = round(min(factor * side, max(size)))
    left = min(max(0, (x0 + x1 - side) // 2), max(0, width - side))
    top = min(max(0, (y0 + y1 - side) // 2), max(0, height - side))
    return left, top, min(width, left + side), min(height, top + side)
