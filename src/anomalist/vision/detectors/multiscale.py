"""Multiscale scoring: the whole picture reduced and, for large ones, overlapping tiles, joined to one map.

Tiles keep small defects visible that reducing would lose. Where tiles overlap, the higher value counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anomalist.types.common import FloatArray, UInt8Array
from anomalist.vision.detectors.fusion import FusionModel, PatchBank, resize_map
from anomalist.vision.features.backbones import MAX_WORKING_PIXELS, to_working_size
from anomalist.vision.features.extractor import FeatureExtractor

if TYPE_CHECKING:
    from anomalist.vision.features.surface_net import SegmentationHead


LARGE_PIXELS = 4 * MAX_WORKING_PIXELS
"""Pictures with more pixels are also looked at in tiles: reduced, they lose more than half of the detail."""
MAX_TILED_PIXELS = 8_000_000
"""Pixels that are looked at in tiles at most; what is larger is reduced to that first."""
TILE_SIDE, TILE_OVERLAP = 384, 64
_SIDE_MULTIPLE = 32  # sides of tiles are multiples of it, see `network.MULTIPLE`

TileOrigin = tuple[int, int]
"""Top and left of a tile in the fine picture, pixels."""


def is_large(pixels: UInt8Array) -> bool:
    """Whether a picture, uint8 (H, W, 3), is looked at in tiles too."""
    return bool(pixels.shape[0] * pixels.shape[1] > LARGE_PIXELS)


def to_tiling_size(pixels: UInt8Array) -> UInt8Array:
    """A large picture at the size at which it is tiled: at most ``MAX_TILED_PIXELS`` pixels, uint8."""
    import cv2

    height, width = pixels.shape[:2]
    scale = min(1.0, math.sqrt(MAX_TILED_PIXELS / (height * width)))
    size = tuple(
        max(_SIDE_MULTIPLE, round(side * scale / _SIDE_MULTIPLE) * _SIDE_MULTIPLE) for side in (width, height)
    )
    if size == (width, height):
        return pixels
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def tile_origins(shape: Sequence[int]) -> list[TileOrigin]:
    """Where the tiles of a fine picture of shape (H, W, …) lie: evenly, overlapping enough."""
    tops, lefts = (_tile_starts(length) for length in shape[:2])
    return [(top, left) for top in tops for left in lefts]


def crop_tile(fine: UInt8Array, place: TileOrigin) -> UInt8Array:
    """The tile at a place, uint8 (h, w, 3), h and w at most ``TILE_SIDE``."""
    top, left = place
    return fine[top : top + TILE_SIDE, left : left + TILE_SIDE]


def sample_tiles(fine: UInt8Array, count: int, rng: np.random.Generator) -> list[UInt8Array]:
    """At most ``count`` tiles, drawn at random without repeats."""
    able = tile_origins(fine.shape)
    return [crop_tile(fine, able[i]).copy() for i in rng.permutation(len(able))[:count]]


def stitch_tiles(shape: tuple[int, int], maps: Iterator[tuple[TileOrigin, FloatArray]]) -> FloatArray:
    """Join the maps of tiles, float32 (h, w) each, to one (H, W): where they overlap the higher value counts.

    But the outermost pixels of a tile, where the network sees only half of a surrounding, count only
    at the border of the picture.
    """
    joined = np.full(shape, -np.inf, np.float32)
    rim = TILE_OVERLAP // 4
    for (top, left), tile in maps:
        bottom, right = top + tile.shape[0], left + tile.shape[1]
        inner = (
            slice(rim if top else 0, tile.shape[0] - (rim if bottom < shape[0] else 0)),
            slice(rim if left else 0, tile.shape[1] - (rim if right < shape[1] else 0)),
        )
        part = joined[top:bottom, left:right][inner]
        np.maximum(part, tile[inner], out=part)
    return joined


def _tile_starts(length: int) -> list[int]:
    if length <= TILE_SIDE:
        return [0]
    count = math.ceil((length - TILE_OVERLAP) / (TILE_SIDE - TILE_OVERLAP))
    # Multiples of 8 keep the patches of neighbouring tiles on one grid.
    return [round(k * (length - TILE_SIDE) / (count - 1) / 8) * 8 for k in range(count)]


_TILES_KEPT = 4  # of each large normal picture: enough to know its fine structure, little to carry


@dataclass(frozen=True, eq=False)
class MultiscaleImage:
    """A picture at two scales: the whole at working size, and a few tiles if it is large.

    All are uint8 (h, w, 3).
    """

    whole: UInt8Array
    tiles: tuple[UInt8Array, ...] = ()


def multiscale_image(picture: UInt8Array) -> MultiscaleImage:
    """Reduce a picture to what learning keeps of it; MediaError when it is too small."""
    whole = to_working_size(picture)
    if not is_large(picture):
        return MultiscaleImage(whole)
    seed = int(whole.sum(dtype=np.int64))  # the same picture always keeps the same tiles
    fine = to_tiling_size(picture)
    return MultiscaleImage(whole, tuple(sample_tiles(fine, _TILES_KEPT, np.random.default_rng(seed))))


@dataclass(frozen=True, eq=False)
class FoldModel:
    """What one fold has learned: of whole pictures, and of tiles where the normal pictures were large."""

    whole: FusionModel[PatchBank]
    fine: FusionModel[PatchBank] | None = None


def fold_maps(
    extractor: FeatureExtractor,
    heads: Sequence[SegmentationHead],
    folds: Sequence[FoldModel],
    pictures: Sequence[UInt8Array],
) -> Iterator[tuple[int, list[FloatArray]]]:
    """Yield (index, one anomaly map a fold) of pictures uint8 (H, W, 3) of any size, not in order.

    Maps are float32 (h, w), at working size, or at the size of the tiled picture.
    """
    for look in extractor.look([to_working_size(picture) for picture in pictures]):
        columns = (fold.whole.maps(look, heads) for fold in folds)
        for index, *maps in zip(look.indices, *columns, strict=True):
            if is_large(pictures[index]):
                yield index, _merge_tile_maps(extractor, heads, folds, maps, pictures[index])
            else:
                yield index, maps


def _merge_tile_maps(
    extractor: FeatureExtractor,
    heads: Sequence[SegmentationHead],
    folds: Sequence[FoldModel],
    maps: list[FloatArray],
    picture: UInt8Array,
) -> list[FloatArray]:
    """Take the maximum of the tiles' maps and those of the whole picture.

    Both are first brought to the level that nine in ten normal pictures stay under.
    """
    fine = to_tiling_size(picture)
    where = tile_origins(fine.shape)
    found: list[list[tuple[tuple[int, int], FloatArray]]] = [[] for _ in folds]
    looks = extractor.look([crop_tile(fine, place) for place in where])
    for look in looks if any(fold.fine is not None for fold in folds) else ():
        for fold, tiles in zip(folds, found, strict=True):
            if fold.fine is not None:
                rows = zip(look.indices, fold.fine.maps(look, heads), strict=True)
                tiles += [(where[index], own) for index, own in rows]
    shape = fine.shape[:2]
    refined = []
    for fold, tiles, coarse in zip(folds, found, maps, strict=True):
        joined = resize_map(coarse, shape)
        if fold.fine is not None:
            shift = np.float32(fold.whole.level - fold.fine.level)
            np.maximum(joined, stitch_tiles(shape, iter(tiles)) + shift, out=joined)
        refined.append(joined)
    return refined
