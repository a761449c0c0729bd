"""Outlines of the places of an anomaly map, along the edges in the picture, which the map is coarser than."""

from __future__ import annotations

import numpy as np

from anomalist.types.common import BoolArray, FloatArray, UInt8Array
from anomalist.vision.regions import (
    EIGHT_CONNECTED,
    PEAK_FRACTION,
    checked_roi,
    component_areas,
    drop_specks,
    extent,
    label_components,
    occupied_bands,
    smallest_area,
)

_RING_SHARE = 0.03  # of the longer side: how far around a place its surroundings are looked at
_COLOUR_NOISE = 3.0  # added to the spread of the surroundings, CIELAB units: even surfaces have noise, too
_CRUMB_SHARE = 0.2  # of the area of the largest part of a place
_TOP_SHARE, _REACHED_SHARE, _TOP_REACH = 0.8, 0.95, 3  # of the height above the level; pixels
_EVERYWHERE = 0.9  # of a picture: no place, but tokens that a strong defect lifts all over
_MIN_RING = 20  # pixels of surroundings that a place needs to be told from them
_REDUCED, _PATCH = 147_456, 14  # pixels of a picture as it is looked at whole, and of a side of a patch
_LARGE = 4 * _REDUCED  # pixels of a picture of which a patch is much wider than a small defect


def outline_places(
    pixels: UInt8Array, score_map: FloatArray, roi: BoolArray | None, *, level: float, low: float
) -> BoolArray:
    """Outline the places of an anomaly map that reach a level, along the edges in the picture itself.

    A place reaches down to half the height of the highest one (full width at half maximum, above ``low``),
    but not below ``level``; where that is nearly everywhere, the height is that above the median. Within it,
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

    Returns
    -------
    bool (H, W), inside the ROI. All False when no pixel exceeds ``level``.

    Raises
    ------
    ValueError : the map holds NaN or infinity, or a shape does not fit.
    """
    from scipy import ndimage

    counts = checked_roi(score_map, roi)
    peak = float(score_map[counts].max(initial=-np.inf))
    mask = np.zeros(score_map.shape, bool)
    if not peak > level:
        return mask
    above = counts & (score_map > max(level, low + PEAK_FRACTION * (peak - low)))
    if above.sum() > _EVERYWHERE * counts.sum():
        usual = float(np.median(score_map[counts]))
        above = counts & (score_map > max(level, usual + PEAK_FRACTION * (peak - usual)))
    reach = max(8, round(_RING_SHARE * extent(score_map.shape)))
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
    least = smallest_area(score_map)
    kept = np.zeros_like(mask)
    for band in occupied_bands(mask):
        kept[band] = drop_specks(mask[band], least)
    return kept if kept.any() else mask


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
    labels, found = label_components(mask)
    areas = component_areas(labels, found)
    areas[0] = 0
    return np.asarray((areas >= _CRUMB_SHARE * areas.max())[labels] & mask)
