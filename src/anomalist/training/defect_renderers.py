"""Defect renderers: draw each kind of defect on a picture, and name its tone, shape and other facts.

Each renderer takes a random generator and a canvas of float32 (h, w, 3) pictures in [0, 1], and returns the
changed picture, a soft mask float32 (h, w) in [0, 1], and whether the outline is jagged by design. Masks are
drawn in 8 bits, because OpenCV anti-aliases only those.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from anomalist.types.common import BoolArray, FloatArray
from anomalist.vision.attributes import POSITION_NAMES
from anomalist.vision.synthetic_textures import Points, Rng, log_uniform, power_noise, random_walk

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
"""Kinds of defect that are drawn and asked for."""

Tone = Literal["darker", "lighter", "same"]
"""Tone of a defect against the surface."""
Shape = Literal["line", "jagged line", "round", "elongated", "irregular"]
"""Shape of the largest part of a defect."""
Direction = Literal["horizontal", "vertical", "rising", "falling"]
"""Direction of an elongated defect; rising is to the right."""
Hue = Literal["redder", "yellower", "greener", "bluer"]
"""Direction of a change of colour."""

DEFECT_KINDS: tuple[DefectKind, ...] = get_args(DefectKind)

_DARKER, _UNSURE_TONE = 0.035, (0.02, 0.05)  # grey levels of 0..1
_LINE, _UNSURE_LINE = 3.8, (3.0, 4.6)  # major by minor axis
_LONG, _UNSURE_LONG = 1.9, (1.6, 2.3)
_ROUND, _UNSURE_ROUND = 0.9, (0.86, 0.93)  # area by that of the ellipse with the same moments, smoothed
_FAINT = 1.2
_HUE = 0.05
_LINE_SCALE = 4  # pixels of a line are drawn as 4 × 4: OpenCV knows whole widths alone
_FAR_FROM_BORDER = 0.035  # share of the side: points nearer to a grid line have no place


@dataclass(frozen=True)
class DefectFacts:
    """Facts of a defect that questions ask for. None means unknown or ambiguous.

    Parameters
    ----------
    kind : "nothing" where it is normal; all other facts but the place are None then. None where the picture
        is too dark or too blurred.
    tone : of the defect against the picture before.
    hue : direction of a notable change of colour.
    shape, direction : of the largest part; only elongated ones have a direction.
    count : separate parts.
    faint : whether the change is small against the texture.
    place : cell of a 3×3 grid that holds the marked region.
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
    """Name a mean change of grey level, −1 to 1; None between the classes."""
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
    """Name shape and direction of a connected part, bool (h, w); None where it is ambiguous."""
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
    """Name an angle in degrees, counter-clockwise from horizontal, 0 to 180; None between the classes."""
    for name, middle in (("horizontal", 0), ("rising", 45), ("vertical", 90), ("falling", 135)):
        away = abs((angle - middle + 90) % 180 - 90)
        if away <= 17:
            return name  # type: ignore[return-value]
    return None


def place_of(x: float, y: float) -> str | None:
    """Name the cell of a 3×3 grid that holds a point (x and y from 0 to 1); None close to a grid line."""
    if any(abs(at - third / 3) < _FAR_FROM_BORDER for at in (x, y) for third in (1, 2)):
        return None
    return POSITION_NAMES[3 * min(2, int(3 * y)) + min(2, int(3 * x))]


def is_faint(before: FloatArray, after: FloatArray, inside: BoolArray) -> bool | None:
    """Whether a change is small against the surrounding texture; None in between."""
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


@dataclass(frozen=True, eq=False)
class Canvas:
    """The layers that defects are rendered on.

    Parameters
    ----------
    picture : float32 (h, w, 3) in [0, 1], normal.
    foreign : float32 (h, w, 3) in [0, 1], an unrelated surface.
    ground : float32 (h, w, 3) in [0, 1], background behind the part.
    part : float32 (h, w) in [0, 1], where the part is; all 1 where it fills the picture.
    """

    picture: FloatArray
    foreign: FloatArray
    ground: FloatArray
    part: FloatArray


RenderedDefect = tuple[FloatArray, FloatArray, bool]
"""Changed picture, soft mask, and whether the outline is jagged."""
DefectRenderer = Callable[[Rng, Canvas], RenderedDefect]
"""Renders one kind of defect."""


def _blend(picture: FloatArray, filling: FloatArray, mask: FloatArray) -> FloatArray:
    return np.clip(picture + mask[..., None] * (filling - picture), 0, 1).astype(np.float32)


def _point_on_part(rng: Rng, canvas: Canvas, margin: float = 0.06) -> Points:
    """Draw a point on the part, x and y in pixels."""
    height, width = canvas.part.shape
    for _ in range(20):
        x, y = (
            rng.uniform(margin * width, (1 - margin) * width),
            rng.uniform(margin * height, (1 - margin) * height),
        )
        if canvas.part[int(y), int(x)] > 0.9:
            break
    return np.array([x, y])


def _line_mask(shape: tuple[int, int], lines: list[tuple[Points, float]]) -> FloatArray:
    """Mask of polylines with widths in pixels, a fraction of one included; each pixel holds its share."""
    import cv2

    height, width = shape
    fine = np.zeros((height * _LINE_SCALE, width * _LINE_SCALE), np.uint8)
    for points, across in lines:
        fixed = (points * 16 * _LINE_SCALE).round().astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(fine, [fixed], False, 255, max(1, round(across * _LINE_SCALE)), cv2.LINE_AA, 4)
    mask = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(mask, np.float32) / np.float32(255)


def _ellipse_mask(
    shape: tuple[int, int], centre: Points, axes: tuple[float, float], angle: float
) -> FloatArray:
    import cv2

    mask = np.zeros(shape, np.uint8)
    cv2.ellipse(mask, ((float(centre[0]), float(centre[1])), axes, angle), 255, -1, cv2.LINE_AA)
    return mask.astype(np.float32) / np.float32(255)


def _wobbly_mask(
    rng: Rng, shape: tuple[int, int], centre: Points, radius: float, wobble: float
) -> FloatArray:
    """Mask of a closed wobbly outline around a point, stretched in some direction."""
    import cv2

    angles = np.linspace(0, 2 * math.pi, 64, endpoint=False)
    waves = sum(rng.normal() * wobble / k * np.sin(k * angles + rng.uniform(0, 6.3)) for k in range(2, 9))
    reach = radius * np.clip(1 + waves, 0.25, 2.2)
    squeeze, turn = rng.choice([1.0, rng.uniform(0.3, 1)]), rng.uniform(0, math.pi)
    x, y = reach * np.cos(angles), reach * np.sin(angles) * squeeze
    outline = np.stack([x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)], 1)
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [((outline + centre) * 16).round().astype(np.int32)], 255, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / np.float32(255)


def _soften(mask: FloatArray, sigma: float) -> FloatArray:
    import cv2

    return mask if sigma < 0.3 else np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma), np.float32)


def _contrast_step(rng: Rng, picture: FloatArray, low: float = 0.08, high: float = 0.6) -> float:
    """Draw a grey-level step: from just visible to glaring, larger on a textured surface."""
    return log_uniform(rng, low, high) + rng.uniform(0.2, 0.9) * float(picture.mean(2).std())


def _contrast_sign(rng: Rng, level: float, dark: float) -> int:
    """Draw a sign: −1 with probability ``dark``, unless the grey level leaves room in one direction only."""
    if level < 0.2:
        return 1
    return -1 if level > 0.8 or rng.random() < dark else 1


def scratch(rng: Rng, canvas: Canvas) -> RenderedDefect:
    """One to three smooth thin lines side by side, bright or dark."""
    picture = canvas.picture
    side = min(picture.shape[:2])
    length = log_uniform(rng, 0.1, 0.9) * side
    points = random_walk(
        rng, rng.uniform(0, 0.035), length, _point_on_part(rng, canvas), rng.uniform(0, 2 * math.pi)
    )
    width = min(log_uniform(rng, 0.8, 3.5), length / 12)
    lines = []
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        lines.append((points, width * rng.uniform(0.7, 1.2)))
        points = points + rng.normal(0, 1, 2) * (3 + 0.05 * side)
    mask = _soften(_line_mask(picture.shape[:2], lines), rng.choice([0, 0, 0.6]))
    level = float(picture[mask > 0.3].mean()) if (mask > 0.3).any() else 0.5
    step = _contrast_step(rng, picture) * _contrast_sign(rng, level, 0.45)
    return _blend(picture, picture + step, mask), mask, False


def crack(rng: Rng, canvas: Canvas) -> RenderedDefect:
    """A jagged dark line that branches and gets thinner."""
    picture = canvas.picture
    side = min(picture.shape[:2])
    wiggle, width = rng.uniform(0.22, 0.6), log_uniform(rng, 0.8, 3.5)
    trunk = random_walk(
        rng, wiggle, log_uniform(rng, 0.15, 1.0) * side, _point_on_part(rng, canvas), rng.uniform(0, 6.3)
    )
    half = len(trunk) // 2
    lines = [(trunk[: half + 1], width), (trunk[half:], max(0.7, width * rng.uniform(0.4, 0.9)))]
    for _ in range(int(rng.choice([0, 1, 1, 2, 3]))):
        start = trunk[rng.integers(len(trunk))]
        length = rng.uniform(0.15, 0.6) * 3 * len(trunk)
        lines.append((random_walk(rng, wiggle, length, start, rng.uniform(0, 6.3)), max(0.7, width * 0.6)))
    mask = _line_mask(picture.shape[:2], lines)
    step = -_contrast_step(rng, picture) if rng.random() < 0.93 else _contrast_step(rng, picture)
    return _blend(picture, picture + step, mask), mask, True


def spot(rng: Rng, canvas: Canvas) -> RenderedDefect:
    """One to five small compact marks with a sharp edge."""
    picture = canvas.picture
    side, centre = min(picture.shape[:2]), _point_on_part(rng, canvas)
    radius, mask = log_uniform(rng, 0.009, 0.04) * side, np.zeros(picture.shape[:2], np.float32)
    for _ in range(int(rng.choice([1, 1, 1, 2, 3, 5]))):
        size = max(1.2, radius * rng.uniform(0.7, 1.2))
        one = _ellipse_mask(
            picture.shape[:2], centre, (2 * size, 2 * size * rng.uniform(0.65, 1)), rng.uniform(0, 180)
        )
        mask = np.maximum(mask, one)
        angle = rng.uniform(0, 6.3)
        centre = centre + np.array([math.cos(angle), math.sin(angle)]) * radius * rng.uniform(3.2, 7)
    mask = _soften(mask, rng.uniform(0, 0.8))
    level = float(picture[mask > 0.5].mean()) if (mask > 0.5).any() else 0.5
    flat = np.full_like(
        picture, np.clip(level + _contrast_step(rng, picture, 0.12) * _contrast_sign(rng, level, 0.6), 0, 1)
    )
    return _blend(picture, picture + rng.choice([1.0, 0.8]) * (flat - picture), mask), mask, False


def hole(rng: Rng, canvas: Canvas) -> RenderedDefect:
    """A pit: dark and without texture inside, with light and shade on its rim."""
    import cv2

    picture = canvas.picture
    side, centre = min(picture.shape[:2]), _point_on_part(rng, canvas)
    radius = log_uniform(rng, 0.03, 0.16) * side
    mask = _wobbly_mask(rng, picture.shape[:2], centre, radius, rng.choice([0.0, 0.1, 0.3]))
    mask = _soften(mask, rng.uniform(0.3, 1.2))
    level = float(picture[mask > 0.5].mean()) if (mask > 0.5).any() else 0.5
    deep = level * rng.uniform(0.0, 0.45)
    inside = deep + (picture - level) * rng.uniform(0, 0.25)
    depth = cv2.GaussianBlur(mask, (0, 0), max(0.8, radius * rng.uniform(0.12, 0.35)))
    inside = inside + (1 - depth[..., None]) * (level - deep) * rng.uniform(0, 0.9)  # lighter towards the rim
    changed = _blend(picture, inside.astype(np.float32), mask)
    slope, angle = np.gradient(depth), rng.uniform(0, 6.3)
    rim = slope[0] * math.sin(angle) + slope[1] * math.cos(angle)
    rim = rim / (np.abs(rim).max() + 1e-6) * rng.uniform(0, 0.3)
    return np.clip(changed + rim[..., None], 0, 1).astype(np.float32), mask, False


def stain(rng: Rng, canvas: Canvas) -> RenderedDefect:
    """A cloud of another tone or tint with a soft edge; the texture goes on beneath."""
    picture = canvas.picture
    side, centre = min(picture.shape[:2]), _point_on_part(rng, canvas, 0.0)
    radius = log_uniform(rng, 0.07, 0.55) * side
    mask = _wobbly_mask(rng, picture.shape[:2], centre, radius, rng.uniform(0.05, 0.35))
    mask = _soften(mask, radius * rng.uniform(0.08, 0.3))
    mask = mask * (
        1 + 0.25 * np.clip(power_noise(rng, max(mask.shape), 1.8)[: mask.shape[0], : mask.shape[1]], -1, 1)
    )
    mask = np.clip(mask, 0, 1).astype(np.float32)
    tint = 1 + rng.normal(0, 0.5, 3) * (rng.random() < 0.4)
    level = float(picture[mask > 0.4].mean()) if (mask > 0.4).any() else 0.5
    step = log_uniform(rng, 0.05, 0.35) * _contrast_sign(rng, level, 0.65)
    return _blend(picture, (picture + step * tint).astype(np.float32), mask), mask, False


def missing_piece(rng: Rng, canvas: Canvas) -> RenderedDefect:
    """A piece broken out of the border of the part, which shows the background."""
    border = np.argwhere((canvas.part > 0.35) & (canvas.part < 0.65))
    side = min(canvas.part.shape)
    y, x = border[rng.integers(len(border))] if len(border) else np.array(canvas.part.shape) / 2
    radius = log_uniform(rng, 0.04, 0.2) * side
    bite = _wobbly_mask(rng, canvas.part.shape, np.array([x, y], float), radius, rng.choice([0.1, 0.35]))
    mask = _soften(bite, rng.uniform(0.3, 0.9)) * canvas.part
    return _blend(canvas.picture, canvas.ground, mask), mask.astype(np.float32), False


def foreign_material(rng: Rng, canvas: Canvas) -> RenderedDefect:
    """An object on the surface: a chip, a flake or a fibre, with its own texture and a shadow."""
    picture = canvas.picture
    side, centre = min(picture.shape[:2]), _point_on_part(rng, canvas)
    form = rng.choice(["chip", "flake", "flake", "fibre"])
    if form == "fibre":
        points = random_walk(
            rng, rng.uniform(0.08, 0.2), rng.uniform(0.25, 0.8) * side, centre, rng.uniform(0, 6.3)
        )
        mask = _line_mask(picture.shape[:2], [(points, rng.uniform(2.5, 6))])
    elif form == "chip":
        mask = _box_mask(rng, picture.shape[:2], centre, log_uniform(rng, 0.05, 0.25) * side)
    else:
        mask = _wobbly_mask(
            rng, picture.shape[:2], centre, log_uniform(rng, 0.03, 0.15) * side, rng.uniform(0.05, 0.3)
        )
    level, own = float(picture[mask > 0.5].mean()), float(canvas.foreign[mask > 0.5].mean())
    thing = canvas.foreign
    if abs(own - level) < 0.15:
        thing = np.clip(thing + (0.3 if level < 0.5 else -0.3), 0, 1).astype(np.float32)
    shadow = np.roll(_soften(mask, rng.uniform(1, 3)), tuple(rng.integers(-3, 4, 2)), (0, 1))
    shaded = picture * (1 - rng.uniform(0, 0.5) * shadow[..., None])
    return _blend(shaded.astype(np.float32), thing, _soften(mask, 0.5)), mask, False


def _box_mask(rng: Rng, shape: tuple[int, int], centre: Points, size: float) -> FloatArray:
    import cv2

    box = ((float(centre[0]), float(centre[1])), (size, size * rng.uniform(0.3, 1)), rng.uniform(0, 90))
    mask = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(mask, (cv2.boxPoints(box) * 16).round().astype(np.int32), 255, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / np.float32(255)


def texture_change(rng: Rng, canvas: Canvas) -> RenderedDefect:
    """Rubbed smooth, roughened, or grained another way; as bright as before."""
    import cv2

    picture = canvas.picture
    side, centre = min(picture.shape[:2]), _point_on_part(rng, canvas, 0.0)
    radius = log_uniform(rng, 0.08, 0.5) * side
    mask = _soften(
        _wobbly_mask(rng, picture.shape[:2], centre, radius, rng.uniform(0.05, 0.3)), rng.uniform(0.5, 4)
    )
    mean = cv2.GaussianBlur(picture, (0, 0), 5)
    detail = picture - mean
    busy = float(detail.mean(2)[mask > 0.5].std()) if (mask > 0.5).any() else 0.0
    if busy > 0.05 and rng.random() < 0.6:  # there is texture to rub away
        new = mean + detail * rng.uniform(0.0, 0.3)
    else:
        n = max(picture.shape[:2])
        grain = power_noise(
            rng, n, rng.uniform(0, 1.1), rng.choice([1.0, rng.uniform(4, 30)]), rng.uniform(0, 3.2)
        )
        grain = grain[: picture.shape[0], : picture.shape[1]]
        new = picture + grain[..., None] * max(log_uniform(rng, 0.05, 0.2), 1.3 * busy)
    new = new - (new - picture)[mask > 0.5].mean(0) if (mask > 0.5).any() else new
    return _blend(picture, np.asarray(new, np.float32), mask), mask, False


def bend(rng: Rng, canvas: Canvas) -> RenderedDefect:
    """A local displacement or rotation of the pattern."""
    import cv2

    picture = canvas.picture
    height, width = picture.shape[:2]
    side, centre = min(height, width), _point_on_part(rng, canvas, 0.12)
    radius = rng.uniform(0.1, 0.28) * side
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = columns - centre[0], rows - centre[1]
    window = np.exp(-((x**2 + y**2) / radius**2)).astype(np.float32)
    if rng.random() < 0.5:
        turn = window * rng.uniform(0.5, 1.3) * rng.choice([-1, 1])
        dx, dy = x * (np.cos(turn) - 1) - y * np.sin(turn), x * np.sin(turn) + y * (np.cos(turn) - 1)
    else:
        angle, push = rng.uniform(0, 6.3), rng.uniform(0.25, 0.6) * radius
        dx, dy = window * push * math.cos(angle), window * push * math.sin(angle)
    moved = cv2.remap(
        picture, (columns + dx).astype(np.float32), (rows + dy).astype(np.float32), cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )  # fmt: skip
    return np.asarray(moved, np.float32), (window > 0.35).astype(np.float32), False


DEFECT_RENDERERS: dict[DefectKind, DefectRenderer] = {
    "scratch": scratch,
    "crack": crack,
    "spot": spot,
    "hole": hole,
    "stain": stain,
    "missing piece": missing_piece,
    "foreign material": foreign_material,
    "texture change": texture_change,
    "bend": bend,
}
"""Renderer of each kind."""
