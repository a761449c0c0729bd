"""Footage of a made-up street for tests: still, textured ground, people who walk by, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from anomalist.types.common import FloatArray, UInt8Array
from anomalist.vision.media.frames import Frame, FrameSampler

SIZE = (120, 160)
"""(height, width) of the pictures."""
RATE = 10.0
AWAY, NEAR = (42.0, 66.0), (80.0, 104.0)
"""Rows in which people walk to the right, and to the left; above nobody ever goes."""
PACE = 0.9
"""Body heights a second that people walk."""
_MARGIN = 40  # of ground around the picture, for cameras that move
_NOISE = 1.5  # grey levels


def body_height(row: float) -> float:
    """Height in pixels of a person whose middle is at ``row``: nearer to the camera is lower and larger."""
    return 12 + 0.14 * row


@dataclass(frozen=True)
class Actor:
    """Something that is in the picture from the first to the last of its stations.

    Parameters
    ----------
    stations : (seconds, x, y) of its middle; it goes straight from one to the next.
    size : by a person at that place.
    """

    stations: tuple[tuple[float, float, float], ...]
    size: float = 1.0
    seed: int = 0

    def place(self, time: float) -> tuple[float, float] | None:
        """(x, y) at a time; None when it is not there."""
        times, x, y = (np.array(column) for column in zip(*self.stations, strict=True))
        if not times[0] <= time <= times[-1]:
            return None
        return float(np.interp(time, times, x)), float(np.interp(time, times, y))

    @property
    def mirrored(self) -> Actor:
        """The same from right to left instead of from left to right."""
        return replace(self, stations=tuple((t, SIZE[1] - x, y) for t, x, y in self.stations))


def walker(
    start: float, row: float, *, speed: float = 1.0, size: float = 1.0, left: bool = False, seed: int = 0
) -> Actor:
    """Somebody who crosses the whole picture, at ``speed`` times the usual pace."""
    edge = 20 * size
    pace = speed * PACE * body_height(row)
    way = SIZE[1] + 2 * edge
    actor = Actor(((start, -edge, row), (start + way / pace, SIZE[1] + edge, row)), size, seed)
    return actor.mirrored if left else actor


def crowd(seconds: float, seed: int, *, every: float = 2.2) -> tuple[Actor, ...]:
    """People who walk by, each at a pace of their own: to the right further away, to the left nearer by."""
    rng = np.random.default_rng(seed)
    return tuple(
        walker(
            float(start + rng.uniform(0, every)),
            float(row := rng.choice([rng.uniform(*AWAY), rng.uniform(*NEAR)])),
            speed=float(rng.uniform(0.85, 1.15)),
            left=row > AWAY[1],
            seed=int(rng.integers(1 << 30)),
        )
        for start in np.arange(-8, seconds, every)
    )


@dataclass(frozen=True)
class Camera:
    """How the street is seen at a time: shifted (pixels), turned (degrees), nearer, brighter."""

    right: float = 0.0
    down: float = 0.0
    turned: float = 0.0
    nearer: float = 1.0
    light: float = 1.0


CameraPath = Callable[[float], Camera]
Change = Callable[[UInt8Array, float], UInt8Array]


def _texture(shape: tuple[int, int], seed: int, coarse: Sequence[float]) -> FloatArray:
    """Noise of several grain sizes, float32, mean 0, deviation 1."""
    rng = np.random.default_rng(seed)
    layers = [cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), s) * s for s in coarse]
    total = np.sum(layers, axis=0)
    return np.asarray((total - total.mean()) / total.std(), np.float32)


_GROUND = 115 + 22 * _texture((SIZE[0] + 2 * _MARGIN, SIZE[1] + 2 * _MARGIN), 7, (0.8, 2.0, 5.0))


@lru_cache(maxsize=4096)
def _body(height: float, seed: int) -> tuple[FloatArray, FloatArray]:
    """Cover and grey levels of somebody, float32 (h, w) each; shared, so nobody writes to them."""
    width = 0.45 * height
    shape = (int(height) + 6, int(width) + 6)
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = ((y - shape[0] / 2 + 0.5) / (height / 2)) ** 4 + ((x - shape[1] / 2 + 0.5) / (width / 2)) ** 4
    tone = (45, 190)[seed % 2]
    return np.clip(3 * (1 - inside), 0, 1).astype(np.float32), tone + 14 * _texture(shape, seed, (1.5, 3.0))


def _drawn(ground: FloatArray, actor: Actor, time: float) -> None:
    """Draw an actor onto the ground, between pixels."""
    place = actor.place(time)
    if place is None:
        return
    alpha, skin = _body(actor.size * body_height(place[1]), actor.seed)
    shape = alpha.shape
    left, top = (place[axis] - shape[1 - axis] / 2 + _MARGIN for axis in (0, 1))
    x0, y0 = int(np.floor(left)), int(np.floor(top))
    x1, y1 = x0 + shape[1] + 1, y0 + shape[0] + 1
    if x0 < 0 or y0 < 0 or x1 > ground.shape[1] or y1 > ground.shape[0]:
        return  # further out than the camera ever looks
    between = np.float32([[1, 0, left - x0], [0, 1, top - y0]])
    cover = cv2.warpAffine(alpha, between, (x1 - x0, y1 - y0))
    body = cv2.warpAffine(skin, between, (x1 - x0, y1 - y0), borderMode=cv2.BORDER_REPLICATE)
    ground[y0:y1, x0:x1] += cover * (body - ground[y0:y1, x0:x1])


@dataclass(frozen=True)
class Film:
    """Footage in memory that is drawn when it is read; a ``Video``.

    Parameters
    ----------
    times : seconds of its frames.
    camera : how the street is seen at a time.
    change : what happens to each picture (uint8 (H, W, 3)) afterwards.
    cuts : numbers of the frames before which the source breaks off.
    """

    times: tuple[float, ...]
    actors: tuple[Actor, ...] = ()
    camera: CameraPath = lambda _: Camera()
    change: Change = lambda pixels, _: pixels
    cuts: tuple[int, ...] = ()
    seed: int = 0
    source: str = "street"
    sha256: str | None = None
    size: tuple[int, int] = SIZE
    notes: tuple[str, ...] = field(default=())

    @property
    def duration(self) -> float | None:
        return self.times[-1] + 1 / RATE if self.times else 0.0

    def frames(
        self, start: float = 0.0, stop: float | None = None, rate: float | None = None
    ) -> Iterator[Frame]:
        wanted = FrameSampler(start, stop, rate)
        for index, time in enumerate(self.times):
            if index in self.cuts:
                wanted.break_off(time)
            if wanted.wants(time):
                yield wanted.take(Frame(index, time, self._picture(index, time), index in self.cuts))

    def _picture(self, index: int, time: float) -> UInt8Array:
        there = tuple(actor for actor in self.actors if actor.place(time) is not None)
        grey = _grey(there, self.camera(time), time, self.seed, index)
        return self.change(np.repeat(grey[..., None], 3, axis=2), time)


@lru_cache(maxsize=2048)
def _grey(
    actors: tuple[Actor, ...], camera: Camera, time: float, seed: int, index: int
) -> npt.NDArray[np.uint8]:
    """A frame, uint8 (H, W): scenes read their footage several times, and tests share their films."""
    ground = _GROUND.copy()
    for actor in actors:
        _drawn(ground, actor, time)
    height, width = SIZE
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), camera.turned, camera.nearer)
    turn[:, 2] += turn[:, :2] @ [-_MARGIN - camera.right, -_MARGIN - camera.down]
    seen = camera.light * cv2.warpAffine(ground, turn, (width, height))
    noise = np.random.default_rng([seed, index]).standard_normal(seen.shape).astype(np.float32)
    return np.clip(np.rint(seen + _NOISE * noise), 0, 255).astype(np.uint8)


def make_film(seconds: float, *actors: Actor, people: int | None = None, **more: object) -> Film:
    """A film of ``seconds`` with actors, and with the crowd of seed ``people``."""
    times = tuple(float(t) for t in np.arange(round(seconds * RATE)) / RATE)
    passing = () if people is None else crowd(seconds, people)
    return replace(Film(times, (*passing, *actors), seed=people or 0), **more)  # type: ignore[arg-type]


def grey_of(film: Film, time: float = 0.0) -> npt.NDArray[np.uint8]:
    """One picture of a film in grey, uint8 (H, W)."""
    return next(iter(film.frames(start=time))).pixels[..., 0]
