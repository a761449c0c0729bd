"""Kind of picture: whether a camera shows the scene as it was learned, or in black and white, dark, noisy, ….

What was learned of one kind says little about another. While a picture is of another kind, the background is
learned anew from the clip itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from pydantic import Field

from anomalist.types.common import Box, FloatArray, Frozen, UInt8Array

_REDUCTION = 8  # of the picture, for its colour: noise averages out
_STEP = 4  # every so many pixels are looked at for noise
_COLOURFUL, _COLOURLESS = 5.0, 2.5  # grey levels between the channels of a pixel, in the mean
_MIN_COLOUR_SHARE = 0.35  # of the colour that was learned, at the same brightness
_NOISE_RATIO, _MIN_NOISE = 2.5, 3.0  # of the noise that was learned; grey levels more than that
_DARK, _BRIGHT = 0.5, 2.0  # of the brightness that was learned
_UNEVEN = 0.15  # spread of the logarithm of the brightness over the picture: a lamp beside the lens
_FLAT, _FLAT_SHARE = 4.0, 0.15  # grey levels of spread, or share of the scene's: less shows nothing
_BLOCK = 32  # pixels, in the mean of which noise has no motion
_DRIFT = 1.7  # pixels a second from which the whole picture moves
_SETTLING_SECONDS = 0.5  # that another kind must last; of brightness alone, longer
_SETTLING_BRIGHTNESS = 2.0
_LEARNING_SECONDS = 2.5  # of another kind, from which its background is taken
_LEARNING_STEP = 0.2  # seconds between the pictures that are taken for it
_MIN_LEARNING = 8  # of them
_NOISE_BLUR = 1.5  # sigma in pixels, in noisy pictures


class PictureLook(Frozen):
    """What a scene's pictures look like as a whole."""

    colour: float = Field(description="mean difference between the channels of a pixel, grey levels")
    level: float = Field(description="median grey level")
    noise: float = Field(description="deviation between two pictures where nothing moves, grey levels")


def look_of(colours: Sequence[float], greys: Sequence[UInt8Array]) -> PictureLook:
    """The look of several pictures.

    Parameters
    ----------
    colours : as `colour_of` gives them.
    greys : uint8 (h, w), the same in grey.
    """
    noise = [noise_between(a, b) for a, b in pairwise(greys)]
    return PictureLook(
        colour=float(np.median(colours)),
        level=float(np.median([np.median(grey[::_STEP, ::_STEP]) for grey in greys])),
        noise=float(np.median(noise)) if noise else 0.0,
    )


def colour_of(pixels: UInt8Array) -> float:
    """Mean difference between the highest and the lowest channel of a picture, uint8 (H, W, 3)."""
    import cv2

    height, width, _ = pixels.shape
    size = max(width // _REDUCTION, 1), max(height // _REDUCTION, 1)
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.int16)
    return float((small.max(axis=2) - small.min(axis=2)).mean())


def noise_between(before: UInt8Array, now: UInt8Array) -> float:
    """Robust deviation of the noise of two pictures, uint8 (h, w), where most of them stands still."""
    apart = now[::_STEP, ::_STEP].astype(np.float32) - before[::_STEP, ::_STEP]
    return float(1.48 * np.median(np.abs(apart - np.median(apart))) / np.sqrt(2))


@dataclass(frozen=True, eq=False)
class PictureState:
    """Of what kind a picture is.

    Parameters
    ----------
    kind : in words; "" as it was learned.
    settled : whether that is sure; else nothing should be measured.
    changed : whether it has just become so.
    stills : pictures to learn the background of this kind from, once, when there are enough.
    """

    kind: str
    settled: bool
    changed: bool = False
    stills: tuple[UInt8Array, ...] = ()


class PictureKindMonitor:
    """Tells of what kind the pictures of one clip are, compared with what was learned.

    Parameters
    ----------
    learned : look of the scene's normal footage; None compares nothing.
    background : float32 (h, w), of the scene, grey levels.
    """

    def __init__(self, learned: PictureLook | None, background: FloatArray) -> None:
        self._learned = learned
        self._background = reduced_grey(background)
        self._flat = min(_FLAT, max(_FLAT_SHARE * float(self._background.std()), 1.0))
        self._kind = ""
        self._pending = ""
        self._since = 0.0
        self._begun = np.inf
        self._last: UInt8Array | None = None
        self._noise: deque[float] = deque(maxlen=5)
        self._stills: list[tuple[float, UInt8Array]] = []
        self._ready = True

    @property
    def noisy(self) -> bool:
        """Whether pictures of this kind are noisy and should be smoothed."""
        return "noisy" in self._kind

    def update(self, pixels: UInt8Array, grey: UInt8Array, velocity: FloatArray, time: float) -> PictureState:
        """Take the next picture that is no repeat.

        Parameters
        ----------
        pixels, grey : uint8 (H, W, 3) RGB, and (h, w).
        velocity : float32 (h, w, 2), pixels a second.
        """
        if self._learned is None:
            return PictureState("", settled=True)
        if float(reduced_grey(grey).std()) < self._flat:  # covered, or a flash while the camera switches
            return PictureState(self._kind, settled=self._ready)
        self._begun = min(self._begun, time)
        if self._last is not None and not _drifts(velocity):
            self._noise.append(noise_between(self._last, grey))
        self._last = grey
        found = self._look(pixels, grey, self._learned)
        changed = False
        if found == self._kind:
            self._pending = self._kind
        else:
            if found != self._pending:
                self._pending, self._since, self._stills = found, time, []
            passing = self._passing(found, time)
            wait = _SETTLING_BRIGHTNESS if passing else _SETTLING_SECONDS
            if time - self._since >= wait:
                self._kind, changed, self._ready = found, True, not found
        pending = self._pending != self._kind
        if self._pending and (pending or not self._ready):
            self._collect(grey, time)
        unsure = pending and not self._passing(self._pending, time)
        return PictureState(self._kind, self._ready and not unsure, changed, self._taken(time))

    def _passing(self, found: str, time: float) -> bool:
        """Whether a kind may be a change of light for a moment; not where a clip begins with it."""
        return _of_brightness(found, self._kind) and time - self._begun > _SETTLING_BRIGHTNESS

    def _collect(self, grey: UInt8Array, time: float) -> None:
        if not self._stills or time - self._stills[-1][0] >= _LEARNING_STEP * 0.99:
            self._stills.append((time, grey))

    def _taken(self, time: float) -> tuple[UInt8Array, ...]:
        enough = len(self._stills) >= _MIN_LEARNING and time - self._stills[0][0] >= _LEARNING_SECONDS
        if self._ready or not enough:
            return ()
        stills = tuple(grey for _, grey in self._stills)
        self._stills, self._ready = [], True
        return stills

    def _look(self, pixels: UInt8Array, grey: UInt8Array, learned: PictureLook) -> str:
        """The kind of one picture, in words."""
        words = kind_words(learned, self._background, colour_of(pixels), reduced_grey(grey))
        noise = float(np.median(self._noise)) if self._noise else 0.0
        if noise > max(_NOISE_RATIO * learned.noise, learned.noise + _MIN_NOISE):
            return f"{words} and noisy" if words else "noisy"
        return words


def kind_words(learned: PictureLook, background: FloatArray, colour: float, grey: FloatArray) -> str:
    """What a picture is unlike what was learned, but for its noise, in words; "" as it was learned.

    Parameters
    ----------
    learned, background : look and background of what was learned, the latter by `reduced_grey`.
    colour, grey : of the picture, by `colour_of` and `reduced_grey`.
    """
    ratio = np.log((grey + 1) / (background + 1))
    gain = float(np.exp(np.median(ratio)))
    words = []
    if learned.colour >= _COLOURFUL and colour < min(_COLOURLESS, _MIN_COLOUR_SHARE * learned.colour * gain):
        words.append("infra-red" if float(ratio.std()) > _UNEVEN else "black-and-white")
    elif learned.colour < _COLOURLESS and colour > _COLOURFUL:
        words.append("in colour")
    if gain < _DARK:
        words.append("dark")
    elif gain > _BRIGHT:
        words.append("bright")
    return " and ".join(words)


def is_colourful(colour: float) -> bool | None:
    """Whether a picture is in colour, by `colour_of`; None where that is not plain."""
    return True if colour >= _COLOURFUL else False if colour < _COLOURLESS else None


def smooth_noise(grey: UInt8Array) -> UInt8Array:
    """A noisy picture, uint8 (h, w), smoothed."""
    import cv2

    return np.asarray(cv2.GaussianBlur(grey, (0, 0), _NOISE_BLUR), np.uint8)


def _of_brightness(one: str, other: str) -> bool:
    """Whether two kinds differ in brightness alone, which a change of light does for a moment."""
    plain = [set(kind.split(" and ")) - {"dark", "bright", ""} for kind in (one, other)]
    return plain[0] == plain[1]


def reduced_grey(grey: FloatArray | UInt8Array) -> FloatArray:
    """A grey picture (h, w) reduced so that noise averages out, float32."""
    import cv2

    height, width = grey.shape
    size = max(width // (2 * _REDUCTION), 1), max(height // (2 * _REDUCTION), 1)
    out: FloatArray = cv2.resize(np.asarray(grey, np.float32), size, interpolation=cv2.INTER_AREA)
    return out


def _drifts(velocity: FloatArray) -> bool:
    """Whether three quarters of the picture move, so that its change is no noise."""
    import cv2

    height, width = velocity.shape[:2]
    size = max(width // _BLOCK, 1), max(height // _BLOCK, 1)
    blocks = cv2.resize(velocity, size, interpolation=cv2.INTER_AREA)
    return float(np.quantile(np.hypot(blocks[..., 0], blocks[..., 1]), 0.25)) > _DRIFT


_GROWTH = 4  # pixels around what changes of a text: its digits differ in width
_MIN_TEXT_SHARE = 0.1  # of the pictures, in which a place shows text
_STROKE = 3.0  # pixels, half the width of a stroke of burned-in text at most
_MIN_STROKE_PIXELS = 12  # that differ from the background
_INK_SPREAD = 48.0  # grey levels between the strokes of one text, coding included
_LIGHT, _DARK_INK = 190, 40  # grey levels: text is as light or as dark as can be


def is_overlay(grey: UInt8Array, background: FloatArray, limit: FloatArray, box: Box) -> bool:
    """Whether what differs from the background in a box is burned-in text: thin strokes of one light tone.

    Parameters
    ----------
    grey : uint8 (h, w).
    background, limit : float32 (h, w), of the scene, and grey levels by which foreground differs.
    box : pixels.
    """
    import cv2

    x0, y0, x1, y1 = box
    part = np.s_[max(y0, 0) : y1, max(x0, 0) : x1]
    now = grey[part].astype(np.float32)
    differs = np.abs(now - background[part]) > limit[part]
    if np.count_nonzero(differs) < _MIN_STROKE_PIXELS:
        return False
    padded = np.pad(differs, 1).astype(np.uint8)
    if float(cv2.distanceTransform(padded, cv2.DIST_L2, 3).max()) > _STROKE:
        return False
    # The edges of strokes are mixed with the background: their better half shows the ink.
    ink = now[differs]
    lighter = float(np.median(ink)) > float(np.median(background[part]))
    core = np.sort(ink)[len(ink) // 2 :] if lighter else np.sort(ink)[: -(len(ink) // 2)]
    extreme = np.median(core) >= _LIGHT if lighter else np.median(core) <= _DARK_INK
    return bool(extreme and np.quantile(core, 0.9) - np.quantile(core, 0.1) <= _INK_SPREAD)


def overlay_places(boxes: Sequence[Box], pictures: int, size: tuple[int, int]) -> tuple[Box, ...]:
    """Boxes around burned-in text that was found in many pictures.

    Parameters
    ----------
    boxes : in which `is_overlay` found some, over all pictures.
    pictures : how many were looked at.
    size : (height, width) of them.
    """
    import cv2

    counts = np.zeros(size, np.int32)
    for x0, y0, x1, y1 in boxes:
        counts[max(y0 - _GROWTH, 0) : y1 + _GROWTH, max(x0 - 2 * _GROWTH, 0) : x1 + 2 * _GROWTH] += 1
    often = (counts >= max(_MIN_TEXT_SHARE * pictures, 2)).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(often)
    return tuple((x, y, x + w, y + h) for x, y, w, h, _ in stats[1:].tolist())
