"""Leaks between training and test: the same file, nearly the same picture, the same object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from anomalist.errors import MediaError
from anomalist.eval.image_datasets import LabelledImage, Split
from anomalist.types.common import FloatArray
from anomalist.vision.media.images import load_image
from anomalist.vision.media.masks import listed

SIDE = 32
"""Width and height of the thumbnails that are compared, pixels."""
NEAR = 1.0
"""Root mean square difference of thumbnails, grey levels of 255, up to which pictures are nearly the same."""


def find_leaks(parts: Split) -> tuple[str, ...]:
    """What of the test pictures was learned from, one sentence for each kind of leak; none is good.

    Nearly the same: grey thumbnails differ by a root mean square of at most `NEAR` levels, which survives
    another compression, and is less than what two pictures of one product differ by. Pictures that can't be
    read are in no comparison.
    """
    if not parts.train or not parts.test:
        return ()
    return tuple(_sentences(parts.train, parts.test))


def _sentences(train: Sequence[LabelledImage], test: Sequence[LabelledImage]) -> Iterator[str]:
    learned = {item.path.resolve() for item in train}
    same = [item.name for item in test if item.path.resolve() in learned]
    if same:
        yield f"{len(same)} test pictures are learned from: {listed(same)}"
    groups = {item.group for item in train if item.group != item.name}
    shared = [item.name for item in test if item.group in groups]
    if shared:
        yield f"{len(shared)} test pictures show an object that is learned from: {listed(shared)}"
    near = [name for name in _near_duplicates(train, test) if name not in same]
    if near:
        yield f"{len(near)} test pictures are nearly the same as one that is learned from: {listed(near)}"


def _near_duplicates(train: Sequence[LabelledImage], test: Sequence[LabelledImage]) -> Iterator[str]:
    known = [thumbnail for item in train if (thumbnail := _thumbnail(item.path)) is not None]
    if not known:
        return
    matrix = np.stack(known)
    for item in test:
        own = _thumbnail(item.path)
        if own is not None and float(((matrix - own) ** 2).mean(1).min()) <= NEAR**2:
            yield item.name


def _thumbnail(path: Path) -> FloatArray | None:
    """Grey thumbnail, float32 (SIDE²,); None where the picture can't be read."""
    import cv2

    try:
        pixels = load_image(path).pixels
    except MediaError:
        return None
    small = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small.mean(axis=2, dtype=np.float32).ravel(), np.float32)
