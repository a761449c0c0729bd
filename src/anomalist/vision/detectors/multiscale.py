"""Multiscale scoring: the whole picture reduced and, for large ones, overlapping tiles, merged to one map.

Tiles keep small defects that reducing would lose. Where tiles overlap, the maximum counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anomalist.types.common import BoolArray, FloatArray, UInt8Array
from anomalist.vision.detectors.fusion import FusionModel, PatchBank, resize_map
from anomalist.vision.features.backbones import MAX_WORKING_PIXELS, to_working_size
from anomalist.vision.features.extractor import FeatureExtractor
from anomalist.vision.regions import resize_roi_to_grid

if TYPE_CHECKING:
    from anomalist.vision.features.surface_net import SegmentationHead


LARGE_PIXELS = 4 * MAX_WORKING_PIXELS
"""Pictures with more pixels are scored in tiles, too: reduced, they lose more than half of the detail."""
MAX_TILED_PIXELS = 8_000_000
"""Pixels of a tiled picture at most; larger ones are reduced to that first, but for strips."""
STRIP_RATIO, STRIP_SIDE = 4.0, 1024
"""From this ratio of its sides on a picture is a strip, reduced to this shorter side however long it is:
its resolution depends on the width of what is filmed, not on how much of it is in one picture."""
TILE_SIDE, TILE_OVERLAP = 384, 64
"""Side of a tile, and least overlap of neighbours, pixels."""
_SIDE_MULTIPLE = 32  # of a tiled picture's sides, see `surface_net.SIZE_MULTIPLE`

TileOrigin = tuple[int, int]
"""Top and left of a tile in the tiled picture, pixels."""


def is_large(pixels: UInt8Array) -> bool:
    """Whether a picture, uint8 (H, W, 3), is scored in tiles, too."""
    return bool(pixels.shape[0] * pixels.shape[1] > LARGE_PIXELS)


def to_tiling_size(pixels: UInt8Array, *, strips: bool = True) -> UInt8Array:
    """Reduce a large picture to at most ``MAX_TILED_PIXELS`` pixels for tiling, a strip to ``STRIP_SIDE``.

    ``strips`` is False for what was learned before strips were told from other pictures. Takes and returns
    uint8 (H, W, 3).
    """
    import cv2

    height, width = pixels.shape[:2]
    is_strip = strips and max(height, width) >= STRIP_RATIO * min(height, width)
    finest = STRIP_SIDE / min(height, width) if is_strip else math.sqrt(MAX_TILED_PIXELS / (height * width))
    scale = min(1.0, finest)
    size = tuple(
        max(_SIDE_MULTIPLE, round(side * scale / _SIDE_MULTIPLE) * _SIDE_MULTIPLE) for side in (width, height)
    )
    if size == (width, height):
        return pixels
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def tile_origins(shape: Sequence[int]) -> list[TileOrigin]:
    """Origins of evenly spaced tiles that cover a picture of shape (H, W, …) and overlap enough."""
    tops, lefts = (_tile_starts(length) for length in shape[:2])
    return [(top, left) for top in tops for left in lefts]


def crop_tile(fine: UInt8Array, place: TileOrigin) -> UInt8Array:
    """Crop the tile at an origin: uint8 (h, w, 3), h and w at most ``TILE_SIDE``."""
    top, left = place
    return fine[top : top + TILE_SIDE, left : left + TILE_SIDE]


def crop_roi(inside: BoolArray | None, place: TileOrigin) -> BoolArray | None:
    """What counts of the tile at an origin, bool (h, w), by that of the tiled picture; None for all."""
    top, left = place
    return None if inside is None else inside[top : top + TILE_SIDE, left : left + TILE_SIDE]


def sample_origins(
    shape: Sequence[int], count: int, rng: np.random.Generator, inside: BoolArray | None = None
) -> list[TileOrigin]:
    """Draw the origins of at most ``count`` tiles at random without replacement.

    ``inside``, bool (H, W), says what counts; None for all. A tile of which nothing counts isn't drawn.
    """
    able = tile_origins(shape)
    drawn = [able[i] for i in rng.permutation(len(able))]
    counts = [crop_roi(inside, place) for place in drawn]
    return [place for place, own in zip(drawn, counts, strict=True) if own is None or own.any()][:count]


def sample_tiles(fine: UInt8Array, count: int, rng: np.random.Generator) -> list[UInt8Array]:
    """Draw at most ``count`` tiles at random without replacement."""
    return [crop_tile(fine, place).copy() for place in sample_origins(fine.shape, count, rng)]


def stitch_tiles(shape: tuple[int, int], maps: Iterator[tuple[TileOrigin, FloatArray]]) -> FloatArray:
    """Merge the maps of tiles, float32 (h, w) each, to one (H, W), by their maximum where they overlap.

    The rim of a tile, where the network lacks context, counts only at the border of the picture.
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


_TILES_KEPT = 4  # of each large normal picture: enough of its fine structure at little memory; of a strip
# as many for each ``MAX_TILED_PIXELS``


@dataclass(frozen=True, eq=False)
class MultiscaleImage:
    """A picture at two scales: at working size, and a few tiles at full size if it is large.

    Parameters
    ----------
    whole, tiles : uint8 (h, w, 3).
    origins : of the tiles in the tiled picture.
    tiled_size : height and width of the tiled picture.
    """

    whole: UInt8Array
    tiles: tuple[UInt8Array, ...] = ()
    origins: tuple[TileOrigin, ...] = ()
    tiled_size: tuple[int, int] = (0, 0)

    def tile_rois(self, roi: BoolArray | None) -> list[BoolArray | None]:
        """What counts of each tile, bool (h, w), by the region of interest of the picture; None for all."""
        inside = resize_roi_to_grid(roi, self.tiled_size) if self.tiles else None
        return [crop_roi(inside, place) for place in self.origins]


def multiscale_image(picture: UInt8Array, roi: BoolArray | None = None) -> MultiscaleImage:
    """Reduce a picture to what learning keeps of it; MediaError when it is too small.

    Tiles outside the region of interest, bool of any size, aren't kept.
    """
    whole = to_working_size(picture)
    if not is_large(picture):
        return MultiscaleImage(whole)
    seed = int(whole.sum(dtype=np.int64))  # the same picture always keeps the same tiles
    fine = to_tiling_size(picture)
    count = _TILES_KEPT * max(1, round(fine.shape[0] * fine.shape[1] / MAX_TILED_PIXELS))
    rng, inside = np.random.default_rng(seed), resize_roi_to_grid(roi, fine.shape)
    origins = tuple(sample_origins(fine.shape, count, rng, inside))
    tiles = tuple(crop_tile(fine, place).copy() for place in origins)
    return MultiscaleImage(whole, tiles, origins, (fine.shape[0], fine.shape[1]))


@dataclass(frozen=True, eq=False)
class FoldModel:
    """Models of one fold: of whole pictures, and of tiles where the normal pictures were large."""

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
    for batch in extractor.extract([to_working_size(picture) for picture in pictures]):
        columns = (fold.whole.maps(batch, heads) for fold in folds)
        for index, *maps in zip(batch.indices, *columns, strict=True):
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
    """Maximum of the tiles' maps and the whole picture's, for each fold.

    The tiles' are shifted so that both have the same level that nine in ten normal pictures stay under.
    """
    fine = to_tiling_size(picture)
    where = tile_origins(fine.shape)
    found: list[list[tuple[tuple[int, int], FloatArray]]] = [[] for _ in folds]
    batches = extractor.extract([crop_tile(fine, place) for place in where])
    for batch in batches if any(fold.fine is not None for fold in folds) else ():
        for fold, tiles in zip(folds, found, strict=True):
            if fold.fine is not None:
                rows = zip(batch.indices, fold.fine.maps(batch, heads), strict=True)
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
