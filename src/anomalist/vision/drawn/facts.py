"""What is true of a drawn defect: said where it was chosen, measured where it came out as it did."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from anomalist.types import BoolArray, FloatArray
from anomalist.vision.attributes import PLACES

DefectKind = Literal[
    "scratch",
    "crack",
    "spot",
    "hole",
    "stain",
    "missing piece",
    "foreign material",
    "texture change",
    "bend",
    "nothing",
]
"""The vocabulary of the model that ships with the package."""

Tone = Literal["darker", "lighter", "same"]
Shape = Literal["line", "jagged line", "round", "elongated", "irregular"]
Direction = Literal["horizontal", "vertical", "rising", "falling"]
Hue = Literal["redder", "yellower", "greener", "bluer"]

DEFECT_KINDS: tuple[DefectKind, ...] = get_args(DefectKind)

_DARKER, _UNSURE_TONE = 0.035, (0.02, 0.05)  # grey levels of 0..1
_LINE, _UNSURE_LINE = 3.8, (3.0, 4.6)  # major by minor axis
_LONG, _UNSURE_LONG = 1.9, (1.6, 2.3)
_ROUND, _UNSURE_ROUND = 0.9, (0.86, 0.93)  # area by that of the ellipse with the same moments, smoothed
_FAINT = 1.2
_HUE = 0.05
_FAR_FROM_BORDER = 0.035  # share of the side: places nearer to a border between two ninths are not asked for


@dataclass(frozen=True)
class Facts:
    """A defect in words that a picture can be asked about. None means: can't be said, or not clearly.

    Parameters
    ----------
    kind : "nothing" where it is normal; everything below but the place is None then. None where the picture
        is too dark or too blurred to tell.
    tone : of the defect against what was there before.
    hue : direction of a notable change of colour.
    shape, direction : of the largest part; a direction has only what is long.
    count : parts that lie apart.
    faint : whether the change hardly stands out from the texture.
    place : ninth of the picture in which the marked place lies.
    """

    kind: DefectKind | None
    tone: Tone | None = None
    hue: Hue | None = None
    shape: Shape | None = None
    direction: Direction | None = None
    count: int | None = None
    faint: bool | None = None
    place: str | None = None


def tone_of(change: float) -> Tone | None:
    """Name a mean change of grey level, −1 to 1; None between the names."""
    if _UNSURE_TONE[0] < abs(change) < _UNSURE_TONE[1]:
        return None
    if abs(change) < _DARKER:
        return "same"
    return "darker" if change < 0 else "lighter"


def hue_of(before: FloatArray, after: FloatArray, inside: BoolArray) -> Hue | None:
    """Name the change of colour of the pixels ``inside``, pictures float32 (h, w, 3) in [0, 1]."""
    shift = (after[inside] - before[inside]).mean(0)
    shift = shift - shift.mean()
    red_green, blue_yellow = float(shift[0] - shift[1]), float(shift[2] - (shift[0] + shift[1]) / 2)
    if max(abs(red_green), abs(blue_yellow)) < _HUE:
        return None
    if abs(red_green) > abs(blue_yellow):
        return "redder" if red_green > 0 else "greener"
    return "bluer" if blue_yellow > 0 else "yellower"


def shape_of(part: BoolArray, *, jagged: bool) -> tuple[Shape | None, Direction | None]:
    """Name shape and direction of a connected part, bool (h, w); None where two names would do."""
    rows, columns = np.nonzero(part)
    if len(rows) < 4:
        return None, None
    points = np.stack([columns, -rows]).astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(points) + np.eye(2) / 12)
    elongation = math.sqrt(float(values[1] / values[0]))
    direction = _direction(math.degrees(math.atan2(vectors[1, 1], vectors[0, 1])) % 180)
    if jagged:
        return "jagged line", direction if elongation >= _UNSURE_LONG[1] else None
    if elongation >= _UNSURE_LINE[1]:
        return "line", direction
    if elongation > _UNSURE_LINE[0]:
        return None, direction
    if elongation >= _UNSURE_LONG[1]:
        return "elongated", direction
    if elongation > _UNSURE_LONG[0]:
        return None, None
    roundness = _roundness(part)
    if _UNSURE_ROUND[0] < roundness < _UNSURE_ROUND[1]:
        return None, None
    return ("round" if roundness >= _ROUND else "irregular"), None


def _roundness(part: BoolArray) -> float:
    """Share of a part that lies in the ellipse of its own moments, as intersection over union."""
    rows, columns = np.nonzero(part)
    points = np.stack([columns, rows]).astype(np.float64)
    centre = points.mean(1, keepdims=True)
    inverse = np.linalg.inv(np.cov(points) + np.eye(2) / 12)
    y, x = np.mgrid[0 : part.shape[0], 0 : part.shape[1]]
    offset = np.stack([x.ravel(), y.ravel()]) - centre
    ellipse = (np.einsum("ik,ij,jk->k", offset, inverse, offset) <= 4.0).reshape(part.shape)
    return float((ellipse & part).sum() / (ellipse | part).sum())


def _direction(angle: float) -> Direction | None:
    """Name an angle in degrees, counter-clockwise from horizontal, 0 to 180; None between the names."""
    for name, middle in (("horizontal", 0), ("rising", 45), ("vertical", 90), ("falling", 135)):
        away = abs((angle - middle + 90) % 180 - 90)
        if away <= 17:
            return name  # type: ignore[return-value]
    return None


def place_of(x: float, y: float) -> str | None:
    """Name the ninth in which a point lies, x and y as shares of the sides; None close to a border."""
    if any(abs(at - third / 3) < _FAR_FROM_BORDER for at in (x, y) for third in (1, 2)):
        return None
    return PLACES[3 * min(2, int(3 * y)) + min(2, int(3 * x))]


def is_faint(before: FloatArray, after: FloatArray, inside: BoolArray) -> bool | None:
    """Whether a change hardly stands out from the texture around; None where it is in between."""
    import cv2

    grey = np.asarray(cv2.transform(before, np.full((1, 3), 1 / 3, np.float32)), np.float32)
    spread = float(
        np.sqrt(np.maximum(cv2.GaussianBlur(grey**2, (0, 0), 4) - cv2.GaussianBlur(grey, (0, 0), 4) ** 2, 0))[
            inside
        ].mean()
    )
    much = float(np.abs(after[inside] - before[inside]).max(1).mean()) / (0.05 + spread)
    if 0.8 * _FAINT < much < 1.3 * _FAINT:
        return None
    return much < _FAINT
