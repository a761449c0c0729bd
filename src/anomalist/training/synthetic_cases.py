"""Synthetic cases: a picture with marked regions, a normal picture of the same product, and the facts.

A case is a function of a random generator and of products. A *product* is a surface in several draws
(`vision.synthetic_textures`); a case shows one, often as a part in front of another surface, renders defects
on it, and marks them as imprecisely as a detector would, beside places that are normal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomalist.training.defect_renderers import (
    DEFECT_KINDS,
    DEFECT_RENDERERS,
    Canvas,
    DefectFacts,
    DefectKind,
    RenderedDefect,
    hue_of,
    is_faint,
    place_of,
    shape_of,
    tone_of,
)
from anomalist.types.common import BoolArray, Box, FloatArray, UInt8Array
from anomalist.vision.regions import box_of
from anomalist.vision.synthetic_defects import augment
from anomalist.vision.synthetic_textures import Rng, log_uniform, render_surface

PICTURE_SIDE = 256
"""Longer side of a drawn picture, pixels."""

_UNPATTERNED = ("rough", "brushed", "leaves", "marks", "plain", "blemishes")
_DRAWS = 2
_PART_SHARE, _NORMAL_SHARE = 0.3, 0.22
# Beside another draw of a product a displaced pattern is just another pattern.
_SAME_DRAW_SHARE, _SAME_DRAW_OF_BENDS = 0.4, 0.85
_TRIES = 8
_LEAST_CHANGE, _LEAST_PIXELS = 0.045, 10
_UNREADABLE_SHARE = 0.04
_COUNTED_KINDS: frozenset[DefectKind] = frozenset({"spot", "scratch"})
_SHAPELESS_KINDS: frozenset[DefectKind] = frozenset({"bend", "texture change"})


@dataclass(frozen=True, eq=False)
class SyntheticProduct:
    """A surface in several draws, uint8 (PICTURE_SIDE, PICTURE_SIDE, 3) each."""

    draws: tuple[UInt8Array, ...]
    patterned: bool


@dataclass(frozen=True, eq=False)
class MarkedRegion:
    """A marked region of a picture with its facts.

    Parameters
    ----------
    mask : bool (h, w), connected, as imprecise as a detector's.
    facts : of the defect, or that it is normal.
    """

    mask: BoolArray
    facts: DefectFacts

    @property
    def box(self) -> Box:
        """(x0, y0, x1, y1) of the mask, half-open."""
        return box_of(self.mask)


@dataclass(frozen=True, eq=False)
class SyntheticCase:
    """A picture with marked regions, and a normal one.

    Parameters
    ----------
    pixels : uint8 (h, w, 3), the picture to judge.
    normal : uint8 (h, w, 3), a normal picture of the same product, of the same draw or of another.
    marked : regions, in no order.
    """

    pixels: UInt8Array
    normal: UInt8Array
    marked: tuple[MarkedRegion, ...]


def draw_product(seed: int) -> SyntheticProduct:
    """Draw a product; every second one has a pattern."""
    patterned = seed % 2 == 1
    without = _UNPATTERNED if patterned else ()
    return SyntheticProduct(
        tuple(render_surface(seed, PICTURE_SIDE, without, draw) for draw in range(_DRAWS)), patterned
    )


def draw_case(rng: Rng, products: Sequence[SyntheticProduct], places: int = 1) -> SyntheticCase:
    """Draw a case with up to ``places`` marked regions that don't touch.

    Parameters
    ----------
    products : at least two.
    """
    kinds = [
        "nothing" if rng.random() < _NORMAL_SHARE else str(rng.choice(DEFECT_KINDS[:-1]))
        for _ in range(places)
    ]
    patterned = [product for product in products if product.patterned]
    own = patterned if "bend" in kinds and patterned else products
    product = own[int(rng.integers(len(own)))]
    canvas, other = _draw_canvas(
        rng, product, products, parted="missing piece" in kinds or rng.random() < _PART_SHARE
    )
    height, width = canvas.part.shape
    normal, taken, marked = canvas.picture, np.zeros((height, width), bool), []
    for kind in kinds:
        found = (
            _mark_normal_place(rng, taken)
            if kind == "nothing"
            else _render_visible_defect(rng, kind, canvas, taken)
        )
        if found is None:
            continue
        place, picture = found
        canvas = Canvas(
            picture if picture is not None else canvas.picture, canvas.foreign, canvas.ground, canvas.part
        )
        x0, y0, x1, y1 = place.box
        taken[max(0, y0 - 12) : y1 + 12, max(0, x0 - 12) : x1 + 12] = True
        marked.append(place)
    same_draw = _SAME_DRAW_OF_BENDS if "bend" in kinds else _SAME_DRAW_SHARE
    beside = _to_photograph(rng, normal if rng.random() < same_draw else other)
    if rng.random() < _UNREADABLE_SHARE:
        unreadable = tuple(
            MarkedRegion(place.mask, DefectFacts(None, place=place.facts.place)) for place in marked
        )
        return SyntheticCase(_to_unreadable(rng, canvas.picture), beside, unreadable)
    return SyntheticCase(_to_photograph(rng, canvas.picture), beside, tuple(marked))


def _draw_canvas(
    rng: Rng, product: SyntheticProduct, products: Sequence[SyntheticProduct], *, parted: bool
) -> tuple[Canvas, FloatArray]:
    """Draw a crop of a product as a canvas, and the same crop of another draw."""
    height, width = PICTURE_SIDE, PICTURE_SIDE
    if rng.random() < 0.6:
        height, width = [
            (PICTURE_SIDE, int(rng.integers(PICTURE_SIDE // 2, PICTURE_SIDE))),
            (int(rng.integers(PICTURE_SIDE // 2, PICTURE_SIDE)), PICTURE_SIDE),
        ][int(rng.integers(2))]
    first, second = (int(i) for i in rng.permutation(len(product.draws))[:2])
    picture, other = (_float(product.draws[i][:height, :width]) for i in (first, second))
    foreign, ground = (
        _float(products[int(rng.integers(len(products)))].draws[0][:height, :width]) for _ in range(2)
    )
    if picture[::4, ::4].std(2).max() < 0.01:  # stays grey, or colour alone would reveal a defect
        foreign, ground = (np.repeat(each.mean(2, keepdims=True), 3, 2) for each in (foreign, ground))
    part = np.ones((height, width), np.float32)
    if parted:
        if abs(float(ground.mean()) - float(picture.mean())) < 0.12:
            ground = np.clip(ground + (0.25 if picture.mean() < 0.5 else -0.25), 0, 1).astype(np.float32)
        outline = _outline(rng, height, width)
        part, its = (
            _fill_outline(outline + offset, height, width) for offset in (0.0, rng.normal(0, 1.5, 2))
        )
        picture, other = (
            ground + of[..., None] * (surface_ - ground) for surface_, of in ((picture, part), (other, its))
        )
    return Canvas(np.asarray(picture, np.float32), foreign, ground, part), np.asarray(other, np.float32)


def _outline(rng: Rng, height: int, width: int) -> FloatArray:
    """Outline of a part that leaves background free: a plate, a bar, a disc or a sector of a ring."""
    import cv2

    centre = (float(width * rng.uniform(0.35, 0.65)), float(height * rng.uniform(0.35, 0.65)))
    form = rng.choice(["plate", "bar", "disc", "edge"])
    turn = float(rng.choice([0.0, rng.uniform(0, 90)]))
    if form == "disc":
        angles = np.linspace(0, 2 * math.pi, 72, endpoint=False)
        reach = np.array([width, height]) * rng.uniform(0.32, 0.48, 2)
        return np.asarray(
            np.array(centre) + reach * np.stack([np.cos(angles), np.sin(angles)], 1), np.float32
        )
    size = {
        "plate": (width * rng.uniform(0.5, 0.85), height * rng.uniform(0.5, 0.85)),
        "bar": (2.0 * max(width, height), height * rng.uniform(0.3, 0.6)),
        "edge": (3.0 * max(width, height), 3.0 * max(width, height)),
    }[str(form)]
    if form == "edge":  # everything on one side of a line
        away = 1.5 * max(width, height) + rng.uniform(-0.2, 0.2) * min(width, height)
        angle = math.radians(turn) + math.pi / 2 * int(rng.integers(4))
        centre = (width / 2 + away * math.cos(angle), height / 2 + away * math.sin(angle))
        turn = math.degrees(angle)
    return np.asarray(cv2.boxPoints((centre, size, turn)), np.float32)


def _fill_outline(outline: FloatArray, height: int, width: int) -> FloatArray:
    import cv2

    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [(outline * 16).round().astype(np.int32)], 255, cv2.LINE_AA, 4)
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 0.8))


def _render_visible_defect(
    rng: Rng, kind: str, canvas: Canvas, taken: BoolArray
) -> tuple[MarkedRegion, FloatArray] | None:
    """Render a visible defect on a free place; None when all tries fail."""
    name: DefectKind = kind  # type: ignore[assignment]
    for _ in range(_TRIES):
        picture, mask, jagged = DEFECT_RENDERERS[name](rng, canvas)
        inside = mask > 0.4
        if inside.sum() < _LEAST_PIXELS or (inside & taken).any():
            continue
        change = np.abs(picture[inside] - canvas.picture[inside]).max(1)
        if float(change.mean()) < _LEAST_CHANGE:
            continue
        marked = _detector_mask(rng, inside)
        if marked is None or (marked & taken).any():
            continue
        return MarkedRegion(
            marked, _measure_facts(name, canvas.picture, (picture, mask, jagged), marked)
        ), picture
    return None


def _measure_facts(
    kind: DefectKind, before: FloatArray, rendered: RenderedDefect, marked: BoolArray
) -> DefectFacts:
    """Measure the facts of a rendered defect."""
    from scipy import ndimage

    after, mask, jagged = rendered
    inside = mask > 0.4
    labels, _ = ndimage.label(inside, np.ones((3, 3)))
    sizes = np.bincount(labels.ravel())[1:]
    parts = int((sizes >= max(4, 0.15 * sizes.max())).sum())
    shape, direction = shape_of(labels == 1 + int(sizes.argmax()), jagged=jagged)
    if kind in _SHAPELESS_KINDS:
        shape, direction = None, None
    return DefectFacts(
        kind,
        tone=tone_of(float((after[inside] - before[inside]).mean())),
        hue=hue_of(before, after, inside),
        shape=shape,
        direction=direction,
        count=parts if kind in _COUNTED_KINDS else None,
        faint=is_faint(before, after, inside),
        place=_position_name(marked),
    )


def _position_name(marked: BoolArray) -> str | None:
    x0, y0, x1, y1 = box_of(marked)
    height, width = marked.shape
    return place_of((x0 + x1) / 2 / width, (y0 + y1) / 2 / height)


def _mark_normal_place(rng: Rng, taken: BoolArray) -> tuple[MarkedRegion, None] | None:
    """Mark a normal place; None when all tries fail."""
    import cv2

    height, width = taken.shape
    for _ in range(_TRIES):
        mask = np.zeros((height, width), np.uint8)
        size = (log_uniform(rng, 0.03, 0.4) * width, log_uniform(rng, 0.03, 0.4) * height)
        centre = (float(rng.uniform(0, width)), float(rng.uniform(0, height)))
        cv2.ellipse(mask, (centre, size, float(rng.uniform(0, 180))), 1, -1)
        inside = mask > 0
        if inside.sum() >= _LEAST_PIXELS and not (inside & taken).any():
            return MarkedRegion(inside, DefectFacts("nothing", place=_position_name(inside))), None
    return None


def _detector_mask(rng: Rng, inside: BoolArray) -> BoolArray | None:
    """Degrade a mask to a detector's: wider, smoother, slightly shifted, separate parts merged."""
    import cv2

    reach = int(rng.integers(1, 8))
    mask = cv2.dilate(
        inside.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    )
    mask = np.roll(mask, tuple(rng.integers(-2, 3, 2)), (0, 1))
    count, _ = cv2.connectedComponents(mask)
    if count > 2:
        points = np.argwhere(mask > 0)[:, ::-1].astype(np.int32)
        cv2.fillConvexPoly(mask, cv2.convexHull(points), 1)
    return mask > 0 if mask.any() else None


def _to_photograph(rng: Rng, picture: FloatArray) -> UInt8Array:
    """Augment most pictures (light, noise, sharpness, compression) and convert to uint8."""
    if rng.random() < 0.7:
        picture = augment(rng, picture)
    return np.asarray((np.clip(picture, 0, 1) * 255).round(), np.uint8)


def _to_unreadable(rng: Rng, picture: FloatArray) -> UInt8Array:
    """Blur or darken a picture until nothing is recognisable."""
    import cv2

    if rng.random() < 0.5:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(14, 30)), np.float32)
    else:
        picture = picture * np.float32(0.03) + rng.normal(0, 0.02, (*picture.shape[:2], 1)).astype(np.float32)
    return np.asarray((np.clip(picture, 0, 1) * 255).round(), np.uint8)


def _float(pixels: UInt8Array) -> FloatArray:
    return pixels.astype(np.float32) / np.float32(255)
