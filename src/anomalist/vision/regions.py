"""Regions of an anomaly map: hysteresis threshold, connected components, and the region of interest.

Regions are 8-connected; boxes are half-open (x0, y0, x1, y1) in pixels. The region of interest is resized
by nearest neighbour to the sizes that it is needed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anomalist.errors import MediaError
from anomalist.types.common import BoolArray, Box, FloatArray, UInt8Array
from anomalist.types.image import Region
from anomalist.vision.attributes import measure_region


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


def _resize_nearest(roi: BoolArray, shape: tuple[int, ...]) -> BoolArray:
    import cv2

    resized = cv2.resize(roi.astype(np.uint8), (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized > 0)


EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)
"""Structuring element of 8-connectivity, so that diagonal lines stay whole."""

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
    counts = _checked_roi(score_map, roi)
    if not np.isfinite([high, low]).all() or high < low:
        raise ValueError(f"high must be at least low, and both finite; got high={high}, low={low}")
    if min_area is None:
        min_area = _smallest_area(score_map)
    elif min_area < 0:
        raise ValueError(f"min_area must not be negative, got {min_area}")
    strong = counts & (score_map > high)
    if not strong.any():
        return strong
    mask = np.zeros_like(strong)
    reach = max(2, round(PEAK_REACH * _extent(score_map)))
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
    return _drop_specks(cut | (_holes_to_fill(cut, places, SMALL_HOLE_FACTOR * least) & counts), least)


_RING_SHARE = 0.03  # of the longer side: how far around a place its surroundings are looked at
_COLOUR_NOISE = 3.0  # added to the spread of the surroundings, CIELAB units: even surfaces have noise, too
_CRUMB_SHARE = 0.2  # of the area of the largest part of a place
_TOP_SHARE, _REACHED_SHARE, _TOP_REACH = 0.8, 0.95, 3  # of the height above the level; pixels
_EVERYWHERE = 0.9  # of a picture: no place, but tokens that a strong defect lifts all over
_MIN_RING = 20  # pixels of surroundings that a place needs to be told from them
_REDUCED, _PATCH = 147_456, 14  # pixels of a picture as it is looked at whole, and of a side of a patch
_LARGE = 4 * _REDUCED  # pixels of a picture of which a patch is much wider than a small defect


def outline_places(
    pixels: UInt8Array,
    score_map: FloatArray,
    roi: BoolArray | None,
    *,
    level: float,
    low: float,
    alarm: float | None = None,
) -> BoolArray:
    """Outline the places of an anomaly map that reach a level, along the edges in the picture itself.

    A place reaches down to half the height of the highest one (full width at half maximum, above ``low``),
    but not below ``level``; where that is nearly everywhere, the height is that above the median. A weaker
    place that reaches ``alarm`` all the same is outlined at half its own height: an alarm has to name all
    that is enough for it. Within a place,
    the pixels that differ from its surroundings stay: the map is coarser than the picture. Where these lie
    beside the peak of the place, the top of the map stays, too: a region that is cited has to be what the
    score comes from. In a large picture the peak lies beside a small defect by up to a patch, which stands
    for hundreds of pixels.

    Parameters
    ----------
    pixels : uint8 (H, W, 3), RGB.
    score_map : float32 (H, W), any finite range.
    roi : bool (H, W), region of interest; None for the whole picture.
    level : that a stated share of normal pixels reaches.
    low : that few normal pixels reach, at most ``level``.
    alarm : score at which a picture is an alarm; None where there is none.

    Returns
    -------
    bool (H, W), inside the ROI. All False when no pixel exceeds ``level``.

    Raises
    ------
    ValueError : the map holds NaN or infinity, or a shape does not fit.
    """
    from scipy import ndimage

    counts = _checked_roi(score_map, roi)
    peak = float(score_map[counts].max(initial=-np.inf))
    mask = np.zeros(score_map.shape, bool)
    if not peak > level:
        return mask
    above = counts & (score_map > max(level, low + PEAK_FRACTION * (peak - low)))
    if above.sum() > _EVERYWHERE * counts.sum():
        usual = float(np.median(score_map[counts]))
        above = counts & (score_map > max(level, usual + PEAK_FRACTION * (peak - usual)))
    if alarm is not None:
        _add_weaker_places(above, score_map, counts, alarm=max(alarm, level), level=level, low=low)
    reach = max(8, round(_RING_SHARE * _extent(score_map)))
    near = max(
        _TOP_REACH, round(_PATCH * (score_map.size / _REDUCED) ** 0.5) if score_map.size > _LARGE else 0
    )
    for band in occupied_bands(above):
        labels, _ = label_components(above[band])
        for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
            y, x = band[0].start + rows.start, band[1].start + columns.start
            height, width = rows.stop - rows.start, columns.stop - columns.start
            top, left = max(0, y - reach), max(0, x - reach)
            window = (slice(top, y + height + reach), slice(left, x + width + reach))
            place = np.zeros_like(above[window])
            place[y - top : y - top + height, x - left : x - left + width] = labels[rows, columns] == number
            outlined = _differing_pixels(pixels[window], place, ~above[window])
            mask[window] |= outlined | _missed_top(score_map[window], place, outlined, level, near)
    least = _smallest_area(score_map)
    kept = np.zeros_like(mask)
    for band in occupied_bands(mask):
        kept[band] = _drop_specks(mask[band], least)
    return kept if kept.any() else mask


def _add_weaker_places(
    above: BoolArray, score_map: FloatArray, counts: BoolArray, *, alarm: float, level: float, low: float
) -> None:
    """Add the places of a map that reach ``alarm`` and are not connected to those ``above``, in place."""
    from scipy import ndimage

    for band in occupied_bands(counts & (score_map > level)):
        values, known = score_map[band], above[band]
        labels, count = label_components(counts[band] & (values > level))
        numbers = np.arange(1, count + 1)
        peaks = np.asarray(ndimage.maximum(values, labels, numbers))
        named = np.asarray(ndimage.maximum(known, labels, numbers)) > 0
        cuts = np.full(count + 1, np.inf)
        cuts[1:][~named & (peaks > alarm)] = np.maximum(level, low + PEAK_FRACTION * (peaks - low))[
            ~named & (peaks > alarm)
        ]
        known |= values > cuts[labels]


def _differing_pixels(pixels: UInt8Array, place: BoolArray, around: BoolArray) -> BoolArray:
    """The pixels of a place that differ from those around it in colour (Otsu 1979); all, where none does.

    Gaps of a pixel or two are closed, so that one defect stays one region.
    """
    import cv2

    if around.sum() < _MIN_RING:
        return place
    lab = cv2.GaussianBlur(cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB).astype(np.float32), (0, 0), 1.0)
    usual = np.median(lab[around], axis=0)
    spread = lab[around].std(axis=0) + _COLOUR_NOISE
    differing = np.sqrt((((lab - usual) / spread) ** 2).sum(2))
    highest = float(differing[place].max())
    scaled = (differing[place] / max(highest, 1e-6) * 255).astype(np.uint8)
    cut, _ = cv2.threshold(scaled.reshape(-1, 1), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    kept = place & (differing > cut / 255 * highest)
    closed = cv2.morphologyEx(kept.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0
    return _largest_parts(np.asarray(closed & place)) if kept.any() else place


def _missed_top(
    score_map: FloatArray, place: BoolArray, outlined: BoolArray, level: float, reach: int
) -> BoolArray:
    """The top of a place's part of the map, bool (h, w), unless the outline reaches about as high.

    What lies up to ``reach`` pixels beside the outline counts to it.
    """
    import cv2
    from scipy import ndimage

    values = np.where(place, score_map, -np.inf)
    peak = np.unravel_index(int(values.argmax()), values.shape)
    height = values[peak] - level
    side = 2 * reach + 1
    near = cv2.dilate(outlined.astype(np.uint8), np.ones((side, side), np.uint8)) > 0
    if values[near].max(initial=-np.inf) >= level + _REACHED_SHARE * height:
        return np.zeros_like(place)
    labels, _ = ndimage.label(values >= level + _TOP_SHARE * height, EIGHT_CONNECTED)
    return np.asarray(labels == labels[peak])


def _largest_parts(mask: BoolArray) -> BoolArray:
    """Drop the crumbs beside the largest part of a place: one defect is one region, or a few like ones."""
    labels, _ = label_components(mask)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    return np.asarray((areas >= _CRUMB_SHARE * areas.max())[labels] & mask)


def find_regions(
    pixels: UInt8Array,
    score_map: FloatArray,
    mask: BoolArray,
    roi: BoolArray | None = None,
    *,
    limit: int = 20,
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
    counts = _checked_roi(score_map, roi)
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
    for rank, part in enumerate(_highest_components(score_map, mask, limit), start=1):
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
class _Component:
    """One component of a mask: its box, area, peak, mean, and bool (y1 - y0, x1 - x0) within the box."""

    box: Box
    area: int
    peak: float
    mean: float
    inside: BoolArray


def _highest_components(score_map: FloatArray, mask: BoolArray, limit: int) -> list[_Component]:
    """Components by falling peak, then falling area, then from the top left; ``limit`` at most."""
    from scipy import ndimage

    found: list[_Component] = []
    for band in occupied_bands(mask):
        labels, count = label_components(mask[band])
        values = score_map[band]
        peaks = _component_peaks(values, labels, count)
        means = np.asarray(ndimage.mean(values, labels, np.arange(1, count + 1)), dtype=np.float64)
        areas = np.bincount(labels[labels > 0], minlength=count + 1)[1:]
        boxes = ndimage.find_objects(labels)
        # Of one band no more than the limit can be among the highest of all.
        for i in np.lexsort((np.arange(count), -areas, -peaks))[:limit]:
            rows, columns = boxes[i]
            y, x = band[0].start, band[1].start
            box = (x + columns.start, y + rows.start, x + columns.stop, y + rows.stop)
            inside = labels[rows, columns] == i + 1
            found.append(_Component(box, int(areas[i]), float(peaks[i]), float(means[i]), inside))
    # scipy numbers components in reading order, so a stable sort breaks ties from the top left.
    return sorted(found, key=lambda part: (-part.peak, -part.area))[:limit]


def _component_peaks(score_map: FloatArray, labels: npt.NDArray[Any], found: int) -> npt.NDArray[np.float64]:
    """Highest score of each component, float64 (found,); looks only where one is, without sorting."""
    highest = np.full(found + 1, -np.inf)
    inside = labels > 0
    np.maximum.at(highest, labels[inside], score_map[inside])
    return highest[1:]


def _checked_roi(score_map: FloatArray, roi: BoolArray | None) -> BoolArray:
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
    labels, found = label_components(mask)
    keep = np.zeros(found + 1, dtype=bool)
    keep[labels[seeds]] = True
    keep[0] = False
    return np.asarray(keep[labels])


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
    sizes = np.bincount(labels.ravel(), minlength=found + 1)
    weak = np.bincount(labels[places], minlength=found + 1)
    fill = (sizes <= small) | (weak == sizes)
    fill[0] = False
    return np.asarray(fill[labels])


def _extent(score_map: FloatArray) -> int:
    """The side that distances are shares of: the longer one, in a strip at most four times the shorter."""
    height, width = score_map.shape
    return int(min(max(height, width), 4 * min(height, width)))


def _smallest_area(score_map: FloatArray) -> int:
    """Pixels below which a compact region of a map is a speck."""
    return max(1, min(MAX_SPECK_AREA, round(MIN_AREA_SHARE * score_map.size)))


def _drop_specks(mask: BoolArray, min_area: int) -> BoolArray:
    """Drop components smaller than ``min_area`` unless their box is at least twice as long as its root."""
    from scipy import ndimage

    labels, found = label_components(mask)
    keep = np.bincount(labels.ravel(), minlength=found + 1) >= min_area
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        longest = max(rows.stop - rows.start, columns.stop - columns.start)
        keep[number] |= longest >= 2 * np.sqrt(min_area)
    keep[0] = False
    return np.asarray(keep[labels])


def component_mask(mask: BoolArray, box: Box, area: int) -> BoolArray:
    """Return the one connected part of a mask that has this box and area, bool (y1 - y0, x1 - x0)."""
    from scipy import ndimage

    x0, y0, x1, y1 = box
    labels, _ = ndimage.label(mask[y0:y1, x0:x1], structure=EIGHT_CONNECTED)
    sizes = np.bincount(labels.ravel())[1:]
    spans = [
        (rows.stop - rows.start, columns.stop - columns.start)
        for rows, columns in ndimage.find_objects(labels)
    ]
    whole = [i for i, span in enumerate(spans) if span == (y1 - y0, x1 - x0) and sizes[i] == area]
    part: BoolArray = labels == 1 + (whole[0] if whole else int(sizes.argmax()))
    return part
