"""Region attributes: position, size, elongation, contrast, colour and texture against a ring around it.

Contrast is in grey levels (ITU-R BT.601, 0 to 255), colour shift in CIELAB units, orientation in degrees
counter-clockwise from horizontal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from anomalist.types.common import BoolArray, Box, UInt8Array
from anomalist.types.image import Attributes

Floats = npt.NDArray[np.float64]

POSITIONS = (
    ("upper left", "top", "upper right"),
    ("left", "centre", "right"),
    ("lower left", "bottom", "lower right"),
)
"""Names of the cells of a 3×3 grid over the picture, by row and column."""

POSITION_NAMES = tuple(place for row in POSITIONS for place in row)
"""The same in reading order."""

_SIDE_WORDS = {"left": "left", "right": "right", "top": "upper", "bottom": "lower"}


def places_of(position: str) -> tuple[str, ...]:
    """The cells that a place is: of a side ("left") its corners, too; any other place is one cell."""
    word = _SIDE_WORDS.get(position)
    corners = [] if word is None else [name for name in POSITION_NAMES if word in name.split()]
    return tuple(dict.fromkeys((position, *corners)))


RING_GAP = 2
"""Gap between a region and its ring in pixels, which are often half defect."""

RING_WIDTH = (4, 24)
"""Least and greatest width of the ring in pixels; between them it is half the root of the area."""

MIN_SURROUNDINGS = 8
"""Pixels of the ring below which the rest of the picture is taken instead."""

MIN_ELONGATION = 1.5
"""Below this elongation a region has no direction."""

GREY_STEP = 1.0
"""Smallest deviation that divides a contrast, one grey level: 8 bits don't resolve finer ones."""

TONE_LEVELS, TONE_SIGMAS = 3.0, 0.5
"""Grey levels and standard deviations that a difference needs before it is called darker or lighter."""

COLOUR_UNITS, COLOUR_SIGMAS = 4.0, 0.5
"""CIELAB units (about 2.3 is just noticeable) and deviations that a colour shift needs to get a word."""

MAX_MEASURED_PIXELS = 8_000_000
"""Pixels around a region from which only every second one (third, …) is measured."""

TEXTURE_FACTOR = 1.5
"""Factor between the local deviations from which a texture is called rougher or smoother."""


@dataclass(frozen=True, eq=False)
class _RegionCrop:
    """A region and its surroundings in one crop: pixels (h, w, 3), two masks (h, w)."""

    pixels: UInt8Array
    inside: BoolArray
    around: BoolArray


def measure_region(
    pixels: UInt8Array, inside: BoolArray, box: Box, free: BoolArray, roi_area: int
) -> Attributes:
    """Measure one region against a ring around it.

    The ring starts a few pixels off the region, is half as wide as the root of its area, and leaves out other
    regions. If too few pixels are left, the rest of the picture is used; if that is empty, all relative
    attributes are neutral (0, "same", ratio 1).

    Parameters
    ----------
    pixels : uint8 (H, W, 3), RGB, the whole picture.
    inside : bool (y1 - y0, x1 - x0), the region within its box; at least one pixel.
    box : half-open (x0, y0, x1, y1) in pixels.
    free : bool (H, W), pixels that may be surroundings: inside the ROI and in no region.
    roi_area : pixels that count, for the relative size.
    """
    size = pixels.shape[0], pixels.shape[1]
    step = math.ceil(math.sqrt(inside.size / MAX_MEASURED_PIXELS))
    thin = inside[::step, ::step]
    elongation, orientation = _shape(thin if thin.any() else inside)
    crop = _region_crop(pixels, inside, box, free)
    contrast, sigmas, tone = _tone(crop)
    shift, colour = _colour(crop)
    ratio, texture = _texture(crop)
    return Attributes(
        position=position_in(inside, box, size),
        edges=_edges(box, size),
        relative_size=float(inside.sum() / roi_area),
        elongation=elongation,
        orientation=orientation,
        contrast=contrast,
        contrast_sigma=sigmas,
        tone=tone,
        colour_shift=shift,
        colour=colour,
        texture_ratio=ratio,
        texture=texture,
    )


def position_in(inside: BoolArray, box: Box, size: tuple[int, int]) -> str:
    """Name the cell of the 3×3 grid that holds the centroid; exactly on a line counts as the middle cell."""

    def third(across: npt.NDArray[np.int64], start: int, length: int) -> int:
        # In whole numbers, so that a mirrored picture gives exactly the mirrored word: the pixel at
        # coordinate c has its centre at c + 1/2, and everything is multiplied by 6 times the area.
        centres = int((across * (2 * (start + np.arange(across.size)) + 1)).sum())
        scaled, cell = 3 * centres, 2 * length * int(across.sum())
        return 0 if scaled < cell else 2 if scaled > 2 * cell else 1

    row = third(inside.sum(axis=1, dtype=np.int64), box[1], size[0])
    column = third(inside.sum(axis=0, dtype=np.int64), box[0], size[1])
    return POSITIONS[row][column]


def _edges(box: Box, size: tuple[int, int]) -> tuple[str, ...]:
    """Name the borders of the picture that a box reaches."""
    x0, y0, x1, y1 = box
    touched = {"left": x0 == 0, "top": y0 == 0, "right": x1 == size[1], "bottom": y1 == size[0]}
    return tuple(name for name, touches in touched.items() if touches)


def _shape(inside: BoolArray) -> tuple[float, float | None]:
    """Return elongation and orientation (degrees as in `Attributes`) from the second moments.

    A pixel is a unit square with a variance of 1/12 along each axis, which the moments of pixel centres
    lack. With it a rectangle of a × b pixels has the elongation a / b exactly, even for b = 1.
    """
    from skimage.measure import regionprops

    props = regionprops(inside.astype(np.uint8))[0]
    major, minor = props.inertia_tensor_eigvals
    elongation = math.sqrt((major + 1 / 12) / (max(minor, 0.0) + 1 / 12))
    if elongation < MIN_ELONGATION:
        return elongation, None
    # skimage counts from the downward row axis; counter-clockwise from the horizontal is 90° more.
    return elongation, round(math.degrees(props.orientation) + 90, 6) % 180


def _region_crop(pixels: UInt8Array, inside: BoolArray, box: Box, free: BoolArray) -> _RegionCrop:
    """Cut out a region with its ring, or with the whole picture where the ring holds too little."""
    import cv2

    x0, y0, x1, y1 = box
    height, width = free.shape
    ring = float(np.clip(math.sqrt(inside.sum()) / 2, *RING_WIDTH))
    pad = RING_GAP + math.ceil(ring)
    top, left = max(0, y0 - pad), max(0, x0 - pad)
    window = (slice(top, min(height, y1 + pad)), slice(left, min(width, x1 + pad)))
    shown = np.zeros_like(free[window])
    shown[y0 - top : y1 - top, x0 - left : x1 - left] = inside
    # The distance transform gives 0 on zero pixels, so the region goes in as zeros.
    distance = cv2.distanceTransform((~shown).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    around = free[window] & (distance > RING_GAP) & (distance <= RING_GAP + ring)
    if around.sum() >= MIN_SURROUNDINGS:
        return _thin_crop(pixels[window], shown, around)
    whole = np.zeros_like(free)
    whole[y0:y1, x0:x1] = inside
    return _thin_crop(pixels, whole, free)


def _thin_crop(pixels: UInt8Array, inside: BoolArray, around: BoolArray) -> _RegionCrop:
    """A crop with every second pixel (third, …) where it is large and the region is not lost so."""
    step = math.ceil(math.sqrt(inside.size / MAX_MEASURED_PIXELS))
    thin = inside[::step, ::step]
    if step == 1 or not thin.any():
        return _RegionCrop(pixels, inside, around)
    return _RegionCrop(pixels[::step, ::step], thin, around[::step, ::step])


def _grey(crop: _RegionCrop) -> Floats:
    """Return the luma (ITU-R BT.601) of a view, 0 to 255, float64 (h, w)."""
    return np.asarray(crop.pixels @ np.array([0.299, 0.587, 0.114]), dtype=np.float64)


def _tone(crop: _RegionCrop) -> tuple[float, float, Literal["darker", "lighter", "same"]]:
    """Return the contrast in grey levels and in deviations of the surroundings, and a word for it."""
    if not crop.around.any():
        return 0.0, 0.0, "same"
    grey = _grey(crop)
    around = grey[crop.around]
    contrast = float(grey[crop.inside].mean() - around.mean())
    sigmas = contrast / max(float(around.std()), GREY_STEP)
    if abs(contrast) < TONE_LEVELS or abs(sigmas) < TONE_SIGMAS:
        return contrast, sigmas, "same"
    return contrast, sigmas, "darker" if contrast < 0 else "lighter"


def _colour(crop: _RegionCrop) -> tuple[float, str | None]:
    """Return the shift of the mean (a*, b*) against the surroundings and a word for its main direction.

    +a* is towards red, −a* green, +b* yellow, −b* blue (CIE 1976, D65, sRGB). A grey picture has no shift.
    """
    import cv2

    if not crop.around.any():
        return 0.0, None
    inside, around = crop.pixels[crop.inside], crop.pixels[crop.around]
    if all((part[:, :1] == part[:, 1:]).all() for part in (inside, around)):
        return 0.0, None

    def chroma(part: UInt8Array) -> Floats:
        lab: Any = cv2.cvtColor(part[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        return np.asarray(lab[0, :, 1:], dtype=np.float64)

    usual = chroma(around)
    a, b = chroma(inside).mean(axis=0) - usual.mean(axis=0)
    shift = math.hypot(a, b)
    spread = math.sqrt(usual.var(axis=0).sum())
    if shift <= COLOUR_UNITS or shift < COLOUR_SIGMAS * spread:
        return shift, None
    if abs(a) >= abs(b):
        return shift, "redder" if a > 0 else "greener"
    return shift, "yellower" if b > 0 else "bluer"


def _texture(crop: _RegionCrop) -> tuple[float, Literal["rougher", "smoother", "same"]]:
    """Return the local deviation (5×5) inside divided by that around, and a word for it."""
    if not crop.around.any():
        return 1.0, "same"
    grey = _grey(crop)
    grey -= grey.mean()  # keeps the difference of squares well conditioned
    inner, outer = _local_deviation(grey, crop.inside), _local_deviation(grey, crop.around)
    ratio = (inner + GREY_STEP) / (outer + GREY_STEP)
    if ratio >= TEXTURE_FACTOR:
        return ratio, "rougher"
    return ratio, "smoother" if ratio <= 1 / TEXTURE_FACTOR else "same"


def _local_deviation(grey: Floats, part: BoolArray) -> float:
    """Return the root mean variance in 5×5 windows around the pixels of ``part``.

    Only pixels of ``part`` count in a window: else the outline of an even dark region would look rough.
    """
    import cv2

    def window_sum(values: Floats) -> Floats:
        total = cv2.boxFilter(values, cv2.CV_64F, (5, 5), normalize=False, borderType=cv2.BORDER_CONSTANT)
        return np.asarray(total[part])

    weight = part.astype(np.float64)
    n = window_sum(weight)
    if not (n > 1).any():
        return 0.0
    total, squares = window_sum(weight * grey), window_sum(weight * grey**2)
    several = n > 1
    spread = squares[several] - total[several] ** 2 / n[several]
    return float(np.sqrt(np.mean(np.maximum(spread, 0) / (n[several] - 1))))
