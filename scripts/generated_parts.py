"""Generated products for benchmarks: a plate, a round cap, a printed label and a woven surface.

``make_part`` draws one picture of a product with its natural variation, with a defect or without; ``CHANGES``
are changes of the whole picture that a line brings: small ones, which are normal, and large ones.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from anomalist.vision.synthetic_textures import render_surface

Picture = npt.NDArray[np.uint8]
SIDE, MARGIN = 256, 32
"""Pixels of a picture, and of what lies around it: a moved camera sees more, not the same mirrored."""
PRODUCTS = ("plate", "cap", "label", "woven")
DEFECTS = ("scratch", "stain", "missing")
_WHOLE = SIDE + 2 * MARGIN
_Y, _X = (np.mgrid[0:_WHOLE, 0:_WHOLE] - MARGIN).astype(np.float32)


def write_tiles(folder: Path, numbers: Iterable[int], side: int) -> Path:
    """Write crops of one rendered surface as PNG, named by their numbers; returns the new folder."""
    folder.mkdir()
    whole = render_surface(7, 2 * side)
    for number in numbers:
        tile = np.roll(whole, (37 * number, 53 * number), (0, 1))[:side, :side]
        Image.fromarray(tile).save(folder / f"{number:05d}.png")
    return folder


def make_part(product: str, seed: int, defect: str | None = None) -> tuple[Picture, npt.NDArray[np.bool_]]:
    """Draw a product: uint8 (256, 256, 3) and the mask of its defect, bool (256, 256)."""
    scene, mask = make_scene(product, seed, defect)
    inner = slice(MARGIN, MARGIN + SIDE)
    return np.ascontiguousarray(scene[inner, inner]), mask[inner, inner]


def make_scene(product: str, seed: int, defect: str | None = None) -> tuple[Picture, npt.NDArray[np.bool_]]:
    """Draw a product with what lies around the picture: uint8 (320, 320, 3), bool (320, 320)."""
    rng = np.random.default_rng((PRODUCTS.index(product), seed))
    shift = rng.uniform(-2, 2, 2)
    grey, missing = _DRAW[product](rng, shift, defect == "missing")
    mask = np.zeros((_WHOLE, _WHOLE), np.uint8)
    if defect == "scratch":
        start = MARGIN + rng.integers(85, 140, 2)
        end = start + np.array([rng.integers(28, 42), rng.integers(-18, 18)])
        cv2.line(mask, start.tolist(), end.tolist(), 255, 2)
        grey = np.where(mask > 0, 240 if grey[mask > 0].mean() < 170 else 60, grey)
    elif defect == "stain":
        centre = MARGIN + rng.integers(95, 160, 2)
        axes = (int(rng.integers(9, 13)), int(rng.integers(7, 10)))
        cv2.ellipse(mask, centre.tolist(), axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
        grey = np.where(mask > 0, grey * 0.6, grey)
    elif defect == "missing":
        mask = (missing * 255).astype(np.uint8)
    grey = grey * rng.uniform(0.97, 1.03)
    colour = np.float32([[1.0, 0.98, 0.94], [0.95, 0.98, 1.0], [1.0, 1.0, 0.97], [0.96, 0.92, 0.85]])
    rgb = grey[..., None] * colour[PRODUCTS.index(product)]
    rgb = cv2.GaussianBlur((rgb + rng.normal(0, 2.5, rgb.shape)).astype(np.float32), (0, 0), 0.6)
    return np.clip(rgb, 0, 255).astype(np.uint8), mask > 0


def _grain(rng: np.random.Generator, deviation: float, across: float, down: float) -> npt.NDArray[np.float32]:
    noise = rng.normal(0, 1, (_WHOLE, _WHOLE)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), sigmaX=across, sigmaY=down)
    return np.asarray(smooth / smooth.std() * deviation, np.float32)


def _table(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    return np.asarray(55 + _grain(rng, 3, 2, 2), np.float32)


def _plate(rng: np.random.Generator, shift: npt.NDArray[np.float64], missing: bool) -> tuple:
    x, y = _X - 128 - shift[0], _Y - 128 - shift[1]
    grey = np.where((abs(x) < 100) & (abs(y) < 84), 150 + _grain(rng, 6, 9, 0.7), _table(rng))
    holes = [(-76, -60), (76, -60), (-76, 60), (76, 60), (0, -64)]
    gone = int(rng.integers(len(holes)))
    mask = np.zeros_like(grey, bool)
    for number, (cx, cy) in enumerate(holes):
        radius = np.hypot(x - cx, y - cy)
        if missing and number == gone:
            mask = radius < 13
            continue
        grey = np.where(radius < 10, 35, np.where(radius < 13, 190, grey))
    slot = (abs(x) < 34) & (abs(y - 40) < 7)
    return np.where(slot, 40, grey), mask


def _cap(rng: np.random.Generator, shift: npt.NDArray[np.float64], missing: bool) -> tuple:
    x, y = _X - 128 - shift[0], _Y - 128 - shift[1]
    radius, angle = np.hypot(x, y), np.degrees(np.arctan2(y, x)) % 360
    grey = np.where(radius < 104, 105 + _grain(rng, 6, 1.4, 1.4), _table(rng))
    grey = np.where((radius > 70) & (radius < 76), 200, grey)
    gone = int(rng.integers(5))
    mask = np.zeros_like(grey, bool)
    for number, at in enumerate((20, 80, 150, 205, 300)):  # unevenly spaced, so that a turn can be seen
        turned = (angle - at + 180) % 360 - 180
        notch = (abs(np.radians(turned) * radius) < 7) & (radius > 82) & (radius < 100)
        if missing and number == gone:
            mask = notch
            continue
        grey = np.where(notch, 45, grey)
    return grey, mask


def _label(rng: np.random.Generator, shift: npt.NDArray[np.float64], missing: bool) -> tuple:
    canvas = np.full((_WHOLE, _WHOLE), 225, np.float32) + _grain(rng, 2, 1, 1)
    ink = np.zeros((_WHOLE, _WHOLE), np.uint8)
    words = (
        ("ANO", 22, 58, 1.1, 3),
        ("LOT 4417", 22, 92, 0.6, 2),
        ("220 V", 22, 122, 0.6, 2),
        ("50 Hz", 132, 122, 0.6, 2),
    )
    gone, mask = int(rng.integers(1, len(words))), np.zeros((_WHOLE, _WHOLE), bool)
    for number, (text, left, base, size, weight) in enumerate(words):
        own = np.zeros_like(ink)
        cv2.putText(
            own,
            text,
            (MARGIN + left, MARGIN + base),
            cv2.FONT_HERSHEY_SIMPLEX,
            size,
            255,
            weight,
            cv2.LINE_AA,
        )
        if missing and number == gone:
            mask = cv2.dilate(own, np.ones((5, 5))) > 0
        else:
            ink = np.maximum(ink, own)
    for number, width in enumerate((3, 2, 5, 2, 3, 6, 2, 4, 2, 5, 3, 2, 6, 3, 2, 4)):
        left = MARGIN + 24 + number * 13
        ink[MARGIN + 160 : MARGIN + 225, left : left + width] = 255
    cv2.rectangle(ink, (MARGIN + 8, MARGIN + 8), (MARGIN + 247, MARGIN + 247), 255, 2)
    moved = cv2.warpAffine(ink, np.float32([[1, 0, shift[0]], [0, 1, shift[1]]]), (_WHOLE, _WHOLE))
    mask = (
        cv2.warpAffine(
            mask.astype(np.uint8), np.float32([[1, 0, shift[0]], [0, 1, shift[1]]]), (_WHOLE, _WHOLE)
        )
        > 0
    )
    return canvas + (35 - canvas) * (moved / 255.0), mask


def _woven(rng: np.random.Generator, shift: npt.NDArray[np.float64], missing: bool) -> tuple:
    phase = rng.uniform(0, 16, 2)
    waver = _grain(rng, 0.8, 20, 20)
    warp = np.cos((_X + phase[0] + waver) * 2 * np.pi / 8)
    weft = np.cos((_Y + phase[1] + waver) * 2 * np.pi / 10)
    over = np.cos((_X + phase[0]) * np.pi / 8) * np.cos((_Y + phase[1]) * np.pi / 10) > 0
    grey = 130 + 22 * np.where(over, warp, weft) + _grain(rng, 5, 0.8, 0.8)
    row, left = int(rng.integers(90, 160)), int(rng.integers(70, 110))
    mask = (abs(_Y - row) < 5) & (left < _X) & (left + 55 > _X)  # a piece of a weft thread
    return (np.where(mask, 70 + 12 * warp, grey), mask) if missing else (grey, mask)


_DRAW: dict[str, Callable[..., tuple]] = {"plate": _plate, "cap": _cap, "label": _label, "woven": _woven}

Change = Callable[[Picture], Picture]


def cropped(scene: Picture) -> Picture:
    """The picture in a scene, uint8 (256, 256, 3)."""
    inner = slice(MARGIN, MARGIN + SIDE)
    return np.ascontiguousarray(scene[inner, inner])


def _gain(*factors: float) -> Change:
    return lambda scene: np.clip(cropped(scene) * np.float32(factors), 0, 255).astype(np.uint8)


def _jpeg(quality: int) -> Change:
    def change(scene: Picture) -> Picture:
        held = io.BytesIO()
        Image.fromarray(cropped(scene)).save(held, "JPEG", quality=quality)
        return np.array(Image.open(held))

    return change


def moved(dx: float, dy: float, degrees: float = 0, scale: float = 1) -> Change:
    """Move what is seen to the right and down, turn it counter-clockwise and enlarge it."""

    def change(scene: Picture) -> Picture:
        middle = ((_WHOLE - 1) / 2, (_WHOLE - 1) / 2)
        matrix = cv2.getRotationMatrix2D(middle, degrees, scale) + np.float32([[0, 0, dx], [0, 0, dy]])
        return cropped(cv2.warpAffine(scene, matrix, (_WHOLE, _WHOLE), flags=cv2.INTER_CUBIC))

    return change


def _resized(side: int) -> Change:
    how = cv2.INTER_AREA if side < SIDE else cv2.INTER_CUBIC
    return lambda scene: cv2.resize(cropped(scene), (side, side), interpolation=how)


def _noisy(deviation: float) -> Change:
    def change(scene: Picture) -> Picture:
        picture = cropped(scene)
        noise = np.random.default_rng(int(picture.sum()) % 9973).normal(0, deviation, picture.shape)
        return np.clip(picture + noise, 0, 255).astype(np.uint8)

    return change


SMALL: dict[str, Change] = {
    "brighter by 15 %": _gain(1.15),
    "darker by 15 %": _gain(0.85),
    "warm light": _gain(1.12, 1.0, 0.85),
    "JPEG 80": _jpeg(80),
    "JPEG 50": _jpeg(50),
    "moved by 5 px": moved(4, -3),
    "turned by 1°": moved(0, 0, 1),
    "half size": _resized(128),
    "double size": _resized(512),
}
"""Changes that are normal, of a scene (see `make_scene`) to a picture."""

LARGE: dict[str, tuple[Change, tuple[str, ...]]] = {
    "1.5 times as bright": (_gain(1.5), ("brightness",)),
    "0.6 times as bright": (_gain(0.6), ("brightness",)),
    "JPEG 20": (_jpeg(20), ("compression",)),
    "defocus": (lambda scene: cropped(cv2.GaussianBlur(scene, (0, 0), 2.0)), ("sharpness",)),
    "noise": (_noisy(10), ("noise",)),
    "moved by 12 px": (moved(10, 6), ("shift",)),
    "moved by 25 px": (moved(25, 10), ("shift",)),
    "turned by 3°": (moved(0, 0, 3), ("rotation",)),
    "zoom 1.15": (moved(0, 0, 0, 1.15), ("scale",)),
    "turned by 90°": (lambda scene: cropped(np.rot90(scene).copy()), ("rotation",)),
    "turned by 180°": (lambda scene: cropped(np.rot90(scene, 2).copy()), ("rotation",)),
    "blank": (lambda scene: np.full((SIDE, SIDE, 3), int(scene.mean()), np.uint8), ("blank",)),
}
"""Changes of which a person has to hear, and the characteristics by which one may be named."""
