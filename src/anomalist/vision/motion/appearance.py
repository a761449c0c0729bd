"""What moving objects look like, against what usually moves here: by the same eyes as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from anomalist.types import Box, FloatArray, UInt8Array
from anomalist.vision.eyes import Eyes
from anomalist.vision.motion.eye import Glimpse
from anomalist.vision.motion.objects import MovingObject
from anomalist.vision.motion.perspective import Perspective

EVERY = 0.5  # seconds between two looks
MOST_REMEMBERED = 1500  # looks a fold
_MOST = 10  # objects a look
_SIDE = 64  # pixels that an object is shown at
_MARGIN = 0.15  # of its longer side, around it
_LEAST = 0.4  # of the area of a body: smaller is a piece of one
_PARTS = 2  # by which descriptors are pooled: wheels are below, heads above
_FILLED = 0.7  # of the box of a body is body


@lru_cache(maxsize=2)
def eyes_for(backbone: str | None) -> Eyes:
    """The shipped network, or a backbone of transformers by name or folder.

    Raises DetectorError when the backbone is missing or can't be loaded.
    """
    from anomalist.vision.features import TransformersBackbone
    from anomalist.vision.weights import shipped_network

    return Eyes(shipped_network(), TransformersBackbone(backbone) if backbone else None)


class Onlooker:
    """Looks at what moves, every half second.

    Parameters
    ----------
    eyes : what describes it.
    """

    def __init__(self, eyes: Eyes, perspective: Perspective) -> None:
        self._eyes = eyes
        self._perspective = perspective
        self._last: float | None = None

    def look(self, glimpse: Glimpse) -> tuple[list[MovingObject], FloatArray] | None:
        """The objects of a frame and their descriptors, float32 (n, d), unit; None when it isn't time."""
        if glimpse.fresh or glimpse.trouble is not None:
            return None
        if self._last is not None and 0 <= glimpse.time - self._last < EVERY * 0.99:
            return None
        self._last = glimpse.time
        found = [
            one
            for one in glimpse.objects
            if one.speed > glimpse.slowest and one.area >= _LEAST * self._body(one.box)
        ]
        chosen = sorted(found, key=lambda one: -one.area)[:_MOST]
        return chosen, describe(self._eyes, glimpse.pixels, [one.box for one in chosen], glimpse.mask.shape)

    def _body(self, box: Box) -> float:
        height = float(self._perspective.heights(np.array([(box[1] + box[3]) / 2]))[0])
        return _FILLED * self._perspective.aspect * height**2


def describe(eyes: Eyes, pixels: UInt8Array, boxes: Sequence[Box], working: tuple[int, ...]) -> FloatArray:
    """Descriptors of parts of a frame.

    Parameters
    ----------
    pixels : uint8 (H, W, 3), the frame.
    boxes : in working pixels.
    working : (height, width) in working pixels.

    Returns
    -------
    float32 (n, d), unit vectors: the patches pooled by quarters.
    """
    if not boxes:
        return np.zeros((0, 1), np.float32)
    shown = [_shown(pixels, box, working) for box in boxes]
    pooled: list[FloatArray] = [np.zeros(0, np.float32)] * len(shown)
    for look in eyes.look(shown):
        for index, patches in zip(look.indices, look.descriptors, strict=True):
            pooled[index] = _pooled(patches)
    return np.stack(pooled)


def _pooled(patches: FloatArray) -> FloatArray:
    """Patches (h, w, d) as one unit vector: their means by quarters, one behind the other."""
    rows, columns, depth = (patches.shape[0] // _PARTS, patches.shape[1] // _PARTS, patches.shape[2])
    quarters = patches[: rows * _PARTS, : columns * _PARTS].reshape(_PARTS, rows, _PARTS, columns, depth)
    vector = quarters.mean(axis=(1, 3)).ravel()
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-6), np.float32)


def _shown(pixels: UInt8Array, box: Box, working: tuple[int, ...]) -> UInt8Array:
    """The square around a box, with a margin, uint8 (64, 64, 3); beyond the frame its border is repeated."""
    import cv2

    down, right = pixels.shape[0] / working[0], pixels.shape[1] / working[1]
    side = (1 + 2 * _MARGIN) * max((box[2] - box[0]) * right, (box[3] - box[1]) * down)
    left = (box[0] + box[2]) / 2 * right - side / 2
    top = (box[1] + box[3]) / 2 * down - side / 2
    scale = side / _SIDE
    place = np.array([[scale, 0, left], [0, scale, top]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(pixels, place, (_SIDE, _SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def strangeness(descriptors: FloatArray, bank: FloatArray) -> FloatArray:
    """1 − the cosine to the most similar remembered one, float32 (n,); 0 where nothing is remembered."""
    if not len(bank) or not len(descriptors):
        return np.zeros(len(descriptors), np.float32)
    return np.asarray(1 - (descriptors @ bank.T).max(axis=1), np.float32)


class Strangeness:
    """How unlike what usually moves each place looks, until the next look.

    Parameters
    ----------
    bank : float32 (m, d), unit descriptors of normal objects.
    """

    def __init__(self, onlooker: Onlooker, bank: FloatArray, grid: tuple[int, int]) -> None:
        self._onlooker = onlooker
        self._bank = bank
        self._values = np.zeros(grid, np.float32)

    def forget(self) -> None:
        """What was seen is gone: a cut, or trouble with the camera."""
        self._values[:] = 0

    def after(self, glimpse: Glimpse) -> FloatArray:
        """Strangeness of every place, float32 (gh, gw), 0 to 2."""
        seen = self._onlooker.look(glimpse)
        if seen is not None:
            self._values[:] = 0
            objects, descriptors = seen
            for found, value in zip(objects, strangeness(descriptors, self._bank), strict=True):
                rows, columns = found.cells.T
                self._values[rows, columns] = np.maximum(self._values[rows, columns], value)
        return self._values.copy()


class Gallery:
    """Collects what moves in normal footage: every look until it is full, then at random (seeded)."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._kept: list[FloatArray] = []
        self._seen = 0

    def add(self, descriptors: FloatArray) -> None:
        """Remember some of float32 (n, d): each that was ever seen is as likely to be kept (Vitter 1985)."""
        for one in descriptors:
            self._seen += 1
            if len(self._kept) < MOST_REMEMBERED:
                self._kept.append(one)
            elif (place := int(self._rng.integers(self._seen))) < MOST_REMEMBERED:
                self._kept[place] = one

    def bank(self) -> FloatArray:
        """What was kept, float32 (m, d)."""
        return np.stack(self._kept) if self._kept else np.zeros((0, 1), np.float32)


def together(banks: Sequence[FloatArray]) -> FloatArray:
    """Several banks as one; empty ones don't count."""
    full = [bank for bank in banks if len(bank)]
    return np.concatenate(full) if full else np.zeros((0, 1), np.float32)
