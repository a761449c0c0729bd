"""Two layers of a fold: the whole picture, and for large ones tiles of it, joined to one map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anomalist.types import FloatArray, UInt8Array
from anomalist.vision.eyes import Eyes
from anomalist.vision.features import working_picture
from anomalist.vision.fusion import Model, Remembered, enlarged
from anomalist.vision.tiles import cut, fine_picture, is_large, places, sample_tiles, stitched

if TYPE_CHECKING:
    from anomalist.vision.network import Head

_TILES_KEPT = 4  # of each large normal picture: enough to know its fine structure, little to carry


@dataclass(frozen=True, eq=False)
class Sighting:
    """What learning keeps of a picture: the whole at working size, and a few tiles if it is large.

    All are uint8 (h, w, 3).
    """

    whole: UInt8Array
    tiles: tuple[UInt8Array, ...] = ()


def sighting(picture: UInt8Array) -> Sighting:
    """Reduce a picture to what learning keeps of it; MediaError when it is too small."""
    whole = working_picture(picture)
    if not is_large(picture):
        return Sighting(whole)
    seed = int(whole.sum(dtype=np.int64))  # the same picture always keeps the same tiles
    fine = fine_picture(picture)
    return Sighting(whole, tuple(sample_tiles(fine, _TILES_KEPT, np.random.default_rng(seed))))


@dataclass(frozen=True, eq=False)
class Fold:
    """What one fold has learned: of whole pictures, and of tiles where the normal pictures were large."""

    whole: Model[Remembered]
    fine: Model[Remembered] | None = None


def fold_maps(
    eyes: Eyes, heads: Sequence[Head], folds: Sequence[Fold], pictures: Sequence[UInt8Array]
) -> Iterator[tuple[int, list[FloatArray]]]:
    """Yield (index, one anomaly map a fold) of pictures uint8 (H, W, 3) of any size, not in order.

    Maps are float32 (h, w), at working size, or at the size of the tiled picture.
    """
    for look in eyes.look([working_picture(picture) for picture in pictures]):
        columns = (fold.whole.maps(look, heads) for fold in folds)
        for index, *maps in zip(look.indices, *columns, strict=True):
            if is_large(pictures[index]):
                yield index, _refined(eyes, heads, folds, maps, pictures[index])
            else:
                yield index, maps


def _refined(
    eyes: Eyes, heads: Sequence[Head], folds: Sequence[Fold], maps: list[FloatArray], picture: UInt8Array
) -> list[FloatArray]:
    """Put what the tiles show over the maps of the whole picture, where it is higher.

    Both are first brought to the level that nine in ten normal pictures stay under.
    """
    fine = fine_picture(picture)
    where = places(fine.shape)
    found: list[list[tuple[tuple[int, int], FloatArray]]] = [[] for _ in folds]
    looks = eyes.look([cut(fine, place) for place in where])
    for look in looks if any(fold.fine is not None for fold in folds) else ():
        for fold, tiles in zip(folds, found, strict=True):
            if fold.fine is not None:
                rows = zip(look.indices, fold.fine.maps(look, heads), strict=True)
                tiles += [(where[index], own) for index, own in rows]
    shape = fine.shape[:2]
    refined = []
    for fold, tiles, coarse in zip(folds, found, maps, strict=True):
        joined = enlarged(coarse, shape)
        if fold.fine is not None:
            shift = np.float32(fold.whole.level - fold.fine.level)
            np.maximum(joined, stitched(shape, iter(tiles)) + shift, out=joined)
        refined.append(joined)
    return refined
