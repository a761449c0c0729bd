"""Lessons for adapting: normal pictures with synthetic defects put on them, and known defects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalist.types import BoolArray, FloatArray, UInt8Array
from anomalist.vision.eyes import Eyes, halved
from anomalist.vision.features import working_picture
from anomalist.vision.fusion import Normality
from anomalist.vision.known import KnownDefect
from anomalist.vision.strokes import Rng
from anomalist.vision.synthesis import DEFECT, IGNORE, NORMAL, add_defect, disturb

_PATCH = 128  # side of the square that synthetic defects are made for
_CLEAN_SHARE, _KNOWN_SHARE = 0.3, 0.4
_AFAR_SHARE = 0.5  # of all lessons; inspecting, too, looks from near and from afar
_SUSPECT_SHARE = 0.01  # of an unmasked defect's pixels, those most likely the defect, are taken for it


@dataclass(frozen=True, eq=False)
class Lesson:
    """A picture to learn from.

    Parameters
    ----------
    picture : uint8 (H, W, 3) at working size, or at half of it.
    label : uint8 (H, W), NORMAL, DEFECT or IGNORE.
    source : number of the normal picture that it was made from; −1 for a known defect.
    """

    picture: UInt8Array
    label: UInt8Array
    source: int


@dataclass(frozen=True, eq=False)
class Teacher:
    """Makes lessons from normal pictures, and from known defects where there are any.

    Parameters
    ----------
    normals : uint8 (H, W, 3) each, at working size.
    known : real defective pictures with their labels, likewise.
    """

    normals: Sequence[UInt8Array]
    known: Sequence[tuple[UInt8Array, UInt8Array]] = ()

    def lesson(self, rng: Rng, among: npt.NDArray[np.int64]) -> Lesson:
        """Draw one, from the normal pictures with the numbers ``among`` and from all known defects."""
        afar = rng.random() < _AFAR_SHARE
        picture, label, source = self._drawn(rng, among)
        if afar:
            return Lesson(halved(picture), halved_label(label), source)
        return Lesson(picture, label, source)

    def _drawn(self, rng: Rng, among: npt.NDArray[np.int64]) -> tuple[UInt8Array, UInt8Array, int]:
        if self.known and rng.random() < _KNOWN_SHARE:
            picture, label = self.known[int(rng.integers(len(self.known)))]
            return _disturbed(rng, _as_float(picture)), label, -1
        source = int(rng.choice(among))
        normal = _as_float(self.normals[source])
        label = np.full(normal.shape[:2], NORMAL, np.uint8)
        if rng.random() > _CLEAN_SHARE:
            donor = self.normals[int(rng.choice(among))]
            for _ in range(int(rng.integers(1, 4))):
                _put_defect(rng, normal, label, donor)
        return _disturbed(rng, normal), label, source


def halved_label(label: UInt8Array) -> UInt8Array:
    """The label of a picture at half its size, see `eyes.halved`; mixed pixels are ignored."""
    import cv2

    height, width = halved(label[..., None]).shape[:2]

    def share(of: int) -> FloatArray:
        ones = (label == of).astype(np.float32)
        return np.asarray(cv2.resize(ones, (width, height), interpolation=cv2.INTER_AREA))

    defect, ignored = share(DEFECT), share(IGNORE)
    return np.where(defect >= 0.5, DEFECT, np.where(defect + ignored > 0, IGNORE, NORMAL)).astype(np.uint8)


def _put_defect(rng: Rng, picture: FloatArray, label: UInt8Array, donor: UInt8Array) -> None:
    """Put a synthetic defect on a square part of a picture, float32 (H, W, 3) in [0, 1], in place."""
    side = min(int(_PATCH * rng.choice([0.75, 1, 1.75])), *picture.shape[:2], *donor.shape[:2])
    y, x = (int(rng.integers(length - side + 1)) for length in picture.shape[:2])
    top, left = (int(rng.integers(length - side + 1)) for length in donor.shape[:2])
    other = _as_float(donor[top : top + side, left : left + side])
    square = (slice(y, y + side), slice(x, x + side))
    changed, new = add_defect(rng, picture[square], other)
    picture[square] = changed
    old = label[square]
    label[square] = np.where(new == NORMAL, old, np.where(old == DEFECT, DEFECT, new))


def _disturbed(rng: Rng, picture: FloatArray) -> UInt8Array:
    """Change light, noise and sharpness in half of the pictures; takes float32 in [0, 1], gives uint8."""
    if rng.random() < 0.5:
        picture = disturb(rng, picture)
    return np.asarray((picture * 255).round(), np.uint8)


def known_lessons(
    eyes: Eyes, normality: Normality, defects: Sequence[KnownDefect]
) -> list[tuple[UInt8Array, UInt8Array]]:
    """Working pictures of known defects with their labels, uint8 (h, w, 3) and (h, w).

    Pixels next to a mask are ignored: masks are drawn by hand. Without a mask, what the shipped network finds
    most suspicious is taken for the defect, and everything else ignored.
    """
    import cv2
    import torch

    lessons = []
    for defect in defects:
        picture = working_picture(defect.picture)
        if defect.mask is not None:
            label = _label_of(defect.mask, picture.shape[:2])
        else:
            (look,) = eyes.look([picture])
            with torch.inference_mode():
                logits = look.logits(eyes.network.head, normality.strangeness(look.descriptors))[0].numpy()
            smooth = cv2.GaussianBlur(logits, (0, 0), 2)
            label = np.full(smooth.shape, IGNORE, np.uint8)
            label[smooth >= np.quantile(smooth, 1 - _SUSPECT_SHARE)] = DEFECT
        lessons.append((picture, label))
    return lessons


def _as_float(picture: UInt8Array) -> FloatArray:
    return picture.astype(np.float32) / np.float32(255)


def _label_of(mask: BoolArray, shape: tuple[int, ...]) -> UInt8Array:
    import cv2

    size = (shape[1], shape[0])
    share = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    near = cv2.dilate((share > 0).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    label = np.where(near, IGNORE, NORMAL).astype(np.uint8)
    label[share >= min(0.5, float(share.max()))] = DEFECT
    return label
