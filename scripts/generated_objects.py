"""Generated things that move in a street, drawn from the side, for benchmarks of naming by examples.

``draw_object`` draws one of ``KINDS`` with its natural variation on its own picture, ``show`` puts it onto
ground as a camera would see it: small, mirrored or not, blurred, with noise.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
Colour = tuple[int, ...]
SIDE = 192
"""Pixels of the picture that a thing is drawn on."""


class Sketch:
    """A colour picture and its cover, which strokes are drawn on; lengths are shares of ``SIDE``."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.colour = np.zeros((SIDE, SIDE, 3), np.uint8)
        self.cover = np.zeros((SIDE, SIDE), np.uint8)
        self.lean = rng.uniform(-0.06, 0.06)
        self.wide, self.high = rng.uniform(0.88, 1.1, 2)

    def tone(self, low: int = 20, high: int = 235) -> Colour:
        """A random colour."""
        return tuple(int(each) for each in self.rng.integers(low, high, 3))

    def _at(self, points: object) -> npt.NDArray[np.int32]:
        x, y = np.asarray(points, np.float64).reshape(-1, 2).T
        x, y = (x - 0.5) * self.wide + 0.5 + self.lean * (0.5 - y), (y - 0.9) * self.high + 0.9
        return np.rint(np.stack([x, y], 1) * SIDE).astype(np.int32)

    def fill(self, points: object, colour: Colour) -> None:
        """Fill a polygon."""
        for canvas, value in ((self.colour, colour), (self.cover, 255)):
            cv2.fillPoly(canvas, [self._at(points)], value, cv2.LINE_AA)

    def stroke(self, points: object, colour: Colour, width: float) -> None:
        """Draw a line through points."""
        for canvas, value in ((self.colour, colour), (self.cover, 255)):
            cv2.polylines(canvas, [self._at(points)], False, value, max(1, round(width * SIDE)), cv2.LINE_AA)

    def disc(self, x: float, y: float, radius: float, colour: Colour, width: float = -1) -> None:
        """Draw a disc, or a ring of a width."""
        thick = -1 if width < 0 else max(1, round(width * SIDE))
        (centre,) = self._at((x, y)).tolist()
        for canvas, value in ((self.colour, colour), (self.cover, 255)):
            cv2.circle(canvas, centre, round(radius * SIDE), value, thick, cv2.LINE_AA)


def _human(s: Sketch, x: float, foot: float, height: float, stride: float) -> None:
    skin, coat, legs = s.tone(90, 220), s.tone(), s.tone(10, 160)
    hip, neck = foot - 0.48 * height, foot - 0.82 * height
    for side in (-1, 1):
        s.stroke([(x, hip), (x + side * stride, foot)], legs, 0.07 * height)
        s.stroke([(x, neck + 0.05 * height), (x - side * 0.8 * stride, hip)], coat, 0.055 * height)
    s.stroke([(x, hip), (x, neck)], coat, 0.17 * height)
    s.disc(x, foot - 0.91 * height, 0.08 * height, skin)


def _person(s: Sketch) -> None:
    _human(s, 0.5, 0.9, 0.8, s.rng.uniform(0.02, 0.14))


def _wheels(s: Sketch, places: tuple[float, ...], radius: float) -> None:
    for x in places:
        s.disc(x, 0.9 - radius, radius, s.tone(10, 50))
        s.disc(x, 0.9 - radius, 0.5 * radius, s.tone(120, 200))


def _bicycle(s: Sketch) -> None:
    frame, tyre = s.tone(), s.tone(10, 70)
    back, front, radius = (0.24, 0.73), (0.78, 0.73), s.rng.uniform(0.15, 0.18)
    for x, y in (back, front):
        s.disc(x, y, radius, tyre, 0.022)
    crank, seat, bar = (0.46, 0.74), (0.4, 0.5), (0.7, 0.45)
    s.stroke([back, seat, crank, back], frame, 0.022)
    s.stroke([crank, bar, seat], frame, 0.022)
    s.stroke([bar, front], frame, 0.022)
    coat, legs = s.tone(), s.tone(10, 160)
    knee = (0.55, s.rng.uniform(0.55, 0.66))
    s.stroke([(0.41, 0.46), knee, (0.47, s.rng.uniform(0.74, 0.84))], legs, 0.05)
    s.stroke([(0.41, 0.46), (0.53, 0.2)], coat, 0.11)
    s.stroke([(0.53, 0.24), (0.69, 0.42)], coat, 0.045)
    s.disc(0.56, 0.12, 0.06, s.tone(90, 220))


def _car(s: Sketch) -> None:
    paint, roof = s.tone(), s.rng.uniform(0.45, 0.52)
    s.fill([(0.03, 0.83), (0.04, 0.68), (0.22, 0.63), (0.93, 0.63), (0.97, 0.83)], paint)
    s.fill([(0.2, 0.65), (0.34, roof), (0.68, roof), (0.82, 0.65)], paint)
    glass = s.tone(30, 110)
    s.fill([(0.27, 0.64), (0.36, roof + 0.03), (0.49, roof + 0.03), (0.49, 0.64)], glass)
    s.fill([(0.53, 0.64), (0.53, roof + 0.03), (0.66, roof + 0.03), (0.75, 0.64)], glass)
    _wheels(s, (0.22, 0.78), 0.095)


def _forklift(s: Sketch) -> None:
    paint, steel = s.tone(120, 250), s.tone(20, 90)
    s.fill([(0.12, 0.82), (0.12, 0.6), (0.3, 0.56), (0.58, 0.6), (0.6, 0.82)], paint)
    for x in (0.2, 0.54):
        s.stroke([(x, 0.6), (x + 0.02, 0.3)], steel, 0.025)
    s.stroke([(0.17, 0.3), (0.6, 0.3)], steel, 0.035)
    s.stroke([(0.35, 0.58), (0.36, 0.42)], s.tone(), 0.09)
    s.disc(0.37, 0.37, 0.05, s.tone(90, 220))
    s.stroke([(0.66, 0.88), (0.66, s.rng.uniform(0.12, 0.24))], steel, 0.04)
    lift = s.rng.uniform(0.6, 0.86)
    s.stroke([(0.66, lift), (0.95, lift)], steel, 0.03)
    if s.rng.random() < 0.5:
        s.fill([(0.71, lift), (0.71, lift - 0.2), (0.93, lift - 0.2), (0.93, lift)], s.tone(80, 200))
    _wheels(s, (0.22, 0.54), 0.09)


def _pram(s: Sketch) -> None:
    _human(s, 0.26, 0.9, 0.8, s.rng.uniform(0.03, 0.1))
    cloth = s.tone()
    s.stroke([(0.34, 0.47), (0.5, 0.55)], s.tone(20, 90), 0.025)
    s.fill([(0.48, 0.56), (0.92, 0.56), (0.85, 0.74), (0.55, 0.74)], cloth)
    s.fill([(0.68, 0.56), (0.7, 0.42), (0.84, 0.4), (0.93, 0.56)], s.tone())
    _wheels(s, (0.57, 0.84), 0.065)


def _dog(s: Sketch) -> None:
    fur = s.tone(30, 210)
    step = s.rng.uniform(0.0, 0.06)
    for x, way in ((0.26, -1), (0.34, 1), (0.66, -1), (0.73, 1)):
        s.stroke([(x, 0.66), (x + way * step, 0.9)], fur, 0.055)
    s.fill([(0.2, 0.52), (0.76, 0.5), (0.78, 0.68), (0.24, 0.7)], fur)
    s.fill([(0.7, 0.52), (0.78, 0.36), (0.9, 0.4), (0.97, 0.48), (0.8, 0.58)], fur)
    s.stroke([(0.22, 0.54), (0.08, s.rng.uniform(0.3, 0.5))], fur, 0.035)
    s.fill([(0.76, 0.38), (0.74, 0.5), (0.8, 0.46)], s.tone(20, 90))


_DRAW: dict[str, Callable[[Sketch], None]] = {
    "person": _person,
    "bicycle": _bicycle,
    "car": _car,
    "forklift": _forklift,
    "pram": _pram,
    "dog": _dog,
}
KINDS = tuple(_DRAW)


def draw_object(kind: str, seed: int) -> tuple[Picture, npt.NDArray[np.float32]]:
    """Draw a thing: uint8 (192, 192, 3), and its cover, float32 (192, 192), 0 to 1."""
    sketch = Sketch(np.random.default_rng((KINDS.index(kind), seed)))
    _DRAW[kind](sketch)
    shade = cv2.GaussianBlur(sketch.rng.normal(0, 30, (SIDE, SIDE)).astype(np.float32), (0, 0), 6)
    shade *= 14 / shade.std()
    colour = np.clip(sketch.colour + shade[..., None], 0, 255).astype(np.uint8)
    return colour, (sketch.cover / 255).astype(np.float32)


def ground(shape: tuple[int, int], seed: int) -> npt.NDArray[np.float32]:
    """Textured ground, float32 (H, W, 3), grey levels."""
    rng = np.random.default_rng((99, seed))
    grey = np.zeros(shape, np.float32)
    for grain in (0.8, 2.0, 5.0):
        layer = cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), grain)
        grey += 9 * layer / layer.std()
    return (grey + rng.uniform(85, 150))[..., None] * rng.uniform(0.92, 1.06, 3).astype(np.float32)


def show(kind: str, seed: int, side: int, *, noise: float = 3.0) -> Picture:
    """A thing as a camera sees it on ground of its own: uint8 (side, side, 3), whole thing, little around."""
    rng = np.random.default_rng((KINDS.index(kind), seed, side))
    colour, cover = draw_object(kind, seed)
    if rng.random() < 0.5:
        colour, cover = colour[:, ::-1], cover[:, ::-1]
    rows, columns = (np.flatnonzero(cover.max(axis) > 0.5) for axis in (1, 0))
    x, y = (columns[0] + columns[-1]) / 2, (rows[0] + rows[-1]) / 2
    half = 0.58 * max(columns[-1] - columns[0], rows[-1] - rows[0])
    scale = side / (2 * half)
    place = np.array([[scale, 0, (half - x) * scale], [0, scale, (half - y) * scale]], np.float32)
    soft = cv2.GaussianBlur(
        np.dstack([colour * cover[..., None], cover]).astype(np.float32), (0, 0), 0.5 / scale
    )
    drawn = cv2.warpAffine(soft, place, (side, side), flags=cv2.INTER_AREA)
    seen = ground((side, side), seed) * (1 - drawn[..., 3:]) + drawn[..., :3]
    seen = seen * rng.uniform(0.85, 1.1) + rng.normal(0, noise, seen.shape)
    return np.clip(seen, 0, 255).astype(np.uint8)
