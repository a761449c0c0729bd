"""The detectors: the ensemble of experts and the surface detector, by what an export holds of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from anomalist.edge.runner.inputs import grid_of
from anomalist.edge.runner.kernels import (
    gaussian,
    grey_of,
    highest_around,
    linear_matrix,
    replicate,
    resize_area,
    resize_linear,
    resize_nearest,
    warp_linear,
    zero,
)
from anomalist.edge.runner.networks import SurfaceFeatures, SurfaceNetwork, TokenNetwork, clipped_z_score
from anomalist.edge.runner.reading import PictureError
from anomalist.edge.runner.registration import TemplateMatcher, band_pass, full_size_matrix
from anomalist.vision.resampling import Size, separable
from anomalist.vision.shift.arithmetic import (
    CONTRAST_BLUR,
    Array,
    match_light,
    shares_of,
    template_size,
    with_contrast,
)

MIN_SIDE = 16
_MAX_WORKING_PIXELS, _MIN_WORKING_PIXELS, _MAX_WORKING_SIDE = 384 * 384, 192 * 192, 2304
_MULTIPLE = 32
_LARGE_PIXELS, _MAX_TILED_PIXELS = 4 * _MAX_WORKING_PIXELS, 8_000_000
_STRIP_RATIO, _STRIP_SIDE = 4.0, 1024
_TILE_SIDE, _TILE_OVERLAP = 384, 64
_MAX_ENLARGEMENT = 1.75
_GREY = np.uint8(118)
_PATCH_BLUR = 0.6
_FAINT_SHARE, _FAINT_BLUR, _FAINT_BOUNDS = 2.0, 4.0, (-2.0, 0.5)
_TOP_SHARE, _TEMPLATE_SHARE, _TOP_PIXELS = 0.01, 0.002, 20
_BANK_SHARE, _BANK_BLUR = 0.5, 1.0
_BROAD_SHARE, _BROAD_BLUR, _BROAD_BOUNDS = 2.0, 4.0, (-4.0, 1.0)
_LEAST_DEVIATION, _TEMPLATE_BLUR = 5.0, 1.2
SURFACE, NEIGHBOURS, MAHALANOBIS, TEMPLATE = "surface", "neighbours", "mahalanobis", "template"

Arrays = Mapping[str, Array]


class PictureScorer(Protocol):
    """Scores a picture under each of its models: float64 (K,), and their map at the picture's size."""

    def score(self, picture: Array, roi: Array | None) -> tuple[Array, Array]:
        """Score a picture, uint8 (H, W, 3), inside a region of interest, bool of any size."""
        ...


def under(arrays: Arrays, prefix: str) -> dict[str, Array]:
    """The arrays whose names begin with ``prefix``, named without it."""
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def working_size(picture: Array) -> Array:
    """A picture at working size: sides in multiples of 32. Raises PictureError when it is too small."""
    height, width = picture.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise PictureError(f"The picture is {width}×{height} pixels; at least {MIN_SIDE} are needed.")
    area = width * height
    if area > _MAX_WORKING_PIXELS:
        scale = math.sqrt(_MAX_WORKING_PIXELS / area)
    else:
        scale = min(2.0, max(1.0, math.sqrt(_MIN_WORKING_PIXELS / area)))
    sides = [
        min(_MAX_WORKING_SIDE, max(_MULTIPLE, round(side * scale / _MULTIPLE) * _MULTIPLE))
        for side in (height, width)
    ]
    if sides == [height, width]:
        return picture
    how = resize_area if sides[0] * sides[1] < area else resize_linear
    return how(picture, (sides[0], sides[1]))


def is_large(picture: Array) -> bool:
    """Whether a picture is scored in tiles, too."""
    return bool(picture.shape[0] * picture.shape[1] > _LARGE_PIXELS)


def tiling_size(picture: Array, *, strips: bool) -> Array:
    """A large picture at the size that it is tiled at."""
    height, width = picture.shape[:2]
    is_strip = strips and max(height, width) >= _STRIP_RATIO * min(height, width)
    finest = _STRIP_SIDE / min(height, width) if is_strip else math.sqrt(_MAX_TILED_PIXELS / (height * width))
    scale = min(1.0, finest)
    sides = [max(_MULTIPLE, round(side * scale / _MULTIPLE) * _MULTIPLE) for side in (height, width)]
    return picture if sides == [height, width] else resize_area(picture, (sides[0], sides[1]))


def tiles_of(picture: Array) -> list[tuple[tuple[int, int], Array]]:
    """Overlapping tiles that cover a picture, with the top and left of each."""

    def starts(length: int) -> list[int]:
        if length <= _TILE_SIDE:
            return [0]
        count = math.ceil((length - _TILE_OVERLAP) / (_TILE_SIDE - _TILE_OVERLAP))
        return [round(k * (length - _TILE_SIDE) / (count - 1) / 8) * 8 for k in range(count)]

    return [
        ((top, left), picture[top : top + _TILE_SIDE, left : left + _TILE_SIDE])
        for top in starts(picture.shape[0])
        for left in starts(picture.shape[1])
    ]


def stitch(shape: Size, maps: Iterator[tuple[tuple[int, int], Array]]) -> Array:
    """Merge the maps of tiles by their maximum; the rim of a tile counts only at the border."""
    joined = np.full(shape, -np.inf, np.float32)
    rim = _TILE_OVERLAP // 4
    for (top, left), tile in maps:
        bottom, right = top + tile.shape[0], left + tile.shape[1]
        rows = slice(rim if top else 0, tile.shape[0] - (rim if bottom < shape[0] else 0))
        columns = slice(rim if left else 0, tile.shape[1] - (rim if right < shape[1] else 0))
        part = joined[top:bottom, left:right][rows, columns]
        np.maximum(part, tile[rows, columns], out=part)
    return joined


def top_mean(values: Array, inside: Array | None, share: float = 0.0) -> float:
    """Mean of the highest share of a map's values inside a mask, one at least; without a share of 20."""
    flat = values.ravel() if inside is None else values[inside]
    top = max(1, round(share * flat.size)) if share else min(_TOP_PIXELS, flat.size)
    return float(np.partition(flat, flat.size - top)[flat.size - top :].mean())


def level_outside(values: Array, roi: Array | None) -> Array:
    """A map with its median inside a region of interest where nothing counts."""
    inside = grid_of(roi, values.shape)
    return values if inside is None else np.where(inside, values, np.float32(np.median(values[inside])))


class FusedMaps:
    """Fusion of the maps of SurfaceNet, and the bank of normal patches that it compares with."""

    def __init__(self, network: SurfaceNetwork, arrays: Arrays) -> None:
        self._network, self._arrays = network, arrays
        self._head = int(arrays["head"].item())
        self._mean, self._spread, self.level = arrays["numbers"].tolist()
        vectors = arrays["vectors"]
        self._bank, self._squares = np.ascontiguousarray(vectors.T), (vectors * vectors).sum(1)

    def judge(self, features: SurfaceFeatures) -> tuple[Array, Array]:
        """Fused map and self-reference logits of a picture at working size, float32 (H, W)."""
        flat = features.descriptors.reshape(-1, features.descriptors.shape[-1])
        distances = (flat * flat).sum(1) + (self._squares - 2 * (flat @ self._bank)).min(1)
        novelty = clipped_z_score(np.maximum(distances, 0), self._mean, self._spread)
        novelty = novelty.reshape(features.descriptors.shape[:2])
        logits = self._network.logits(0, features, novelty)
        own = self._network.self_reference_logits(self._head, features)
        fine = np.float32(_BANK_SHARE) * self._scaled("bank", gaussian(novelty, _BANK_BLUR))
        broad = self._scaled("broad", gaussian(novelty, _BROAD_BLUR)).clip(*_BROAD_BOUNDS)
        patches = np.asarray(fine + np.float32(_BROAD_SHARE) * broad, np.float32)
        heads = self._scaled("logit", logits) + self._scaled("sight", own)
        return heads + resize_linear(patches, (logits.shape[0], logits.shape[1])), own

    def _scaled(self, name: str, values: Array) -> Array:
        mean, spread = (self._arrays[f"{name}_{part}"] for part in ("mean", "spread"))
        rows, columns = (linear_matrix(*pair) for pair in zip(mean.shape, values.shape, strict=True))
        return np.asarray(
            (values - separable(mean, rows, columns)) / separable(spread, rows, columns), np.float32
        )


class TemplateExpert:
    """Difference of a picture to the mean of normals that lie alike."""

    def __init__(self, arrays: Arrays) -> None:
        self._matcher = TemplateMatcher(arrays["template"])
        self._mean, self._deviation = arrays["mean"], arrays["deviation"]
        self._found = float(arrays["found"][0])

    def differences(self, picture: Array) -> Array | None:
        """Differences in standard deviations, float32 (H, W); None where it does not show the product."""
        if picture.shape[:2] != self._mean.shape:
            return None
        size = self._mean.shape[0], self._mean.shape[1]
        pose = self._matcher.register(band_pass(picture, template_size(*size)))
        if pose.agreement < self._found:
            return None
        matrix = full_size_matrix(pose.matrix, template_size(*size), size)
        moved = warp_linear(grey_of(picture).astype(np.float32), matrix, size, replicate)
        slope, level = match_light(self._mean, moved)
        off = np.asarray((moved - level) / max(slope, 0.1), np.float32) - self._mean
        away = np.abs(gaussian(off, _TEMPLATE_BLUR)) / (self._deviation + np.float32(_LEAST_DEVIATION))
        return warp_linear(away, np.linalg.inv(matrix), size, zero)


class ExpertsModel:
    """The experts' models of whole pictures or of tiles."""

    def __init__(
        self,
        networks: tuple[TokenNetwork, SurfaceNetwork | None],
        side: int,
        arrays: Arrays,
        settings: Mapping[str, Any],
    ) -> None:
        self._tokens, surface = networks
        self._side = side
        self._bank = arrays["tokens"].astype(np.float32)
        self._searched = np.ascontiguousarray(self._bank.T)
        self._mean, self._whitening = arrays["gaussian_mean"], arrays["whitening"]
        fused, template = under(arrays, "surface."), under(arrays, "template.")
        self._network = surface
        self._fused = FusedMaps(surface, fused) if surface is not None and fused else None
        self._template = TemplateExpert(template) if template else None
        self.scales: Mapping[str, list[float]] = settings["scales"]
        self.level: float = settings["level"]

    def judge(self, picture: Array, roi: Array | None) -> tuple[dict[str, Array], dict[str, float]]:
        """Map and score of each expert for a picture at working size."""
        inside = grid_of(roi, picture.shape)
        painted = picture if inside is None else np.where(inside[..., None], picture, _GREY).astype(np.uint8)
        most = round(_MAX_ENLARGEMENT * math.sqrt(math.prod(picture.shape[:2])))
        grid = self._tokens.tokens(painted, min(self._side, most))
        flat = grid.reshape(-1, grid.shape[-1])
        difference = flat - self._bank[(flat @ self._searched).argmax(1)]
        white = (flat - self._mean) @ self._whitening
        maps = {
            NEIGHBOURS: np.asarray((difference * difference).sum(1) / 2, np.float32),
            MAHALANOBIS: np.sqrt((white * white).sum(1)).astype(np.float32),
        }
        maps = {name: values.reshape(grid.shape[:2]) for name, values in maps.items()}
        different = self._template.differences(picture) if self._template is not None else None
        if different is not None:
            maps[TEMPLATE] = different
        scores = {
            name: top_mean(own, grid_of(roi, own.shape), _TEMPLATE_SHARE if name == TEMPLATE else _TOP_SHARE)
            for name, own in maps.items()
        }
        if self._fused is not None and self._network is not None:
            maps[SURFACE], logits = self._fused.judge(self._network.features(picture))
            scores[SURFACE] = top_mean(logits, grid_of(roi, logits.shape))
        return maps, scores

    def combined_score(self, scores: Mapping[str, float], weights: Mapping[str, float]) -> float:
        """Weighted mean of the standardised scores."""
        combined = 0.0
        for name, share in shares_of(scores, weights).items():
            centre, spread, *_ = self.scales[name]
            combined += share * (scores[name] - centre) / spread
        return combined

    def joined_map(
        self, maps: Mapping[str, Array], weights: Mapping[str, float], working: Array, roi: Array | None
    ) -> Array:
        """Weighted mean of the standardised maps at working size, its peak localised in the picture."""
        shape = max((each.shape for each in maps.values()), key=math.prod)
        joined = np.zeros(shape, np.float32)
        for name, share in shares_of(maps, weights).items():
            own, (_, spread, mean, top) = maps[name], self.scales[name]
            standard = np.asarray((own - top) / spread, np.float32)
            if name not in (SURFACE, TEMPLATE):
                faint = np.clip((gaussian(own, _FAINT_BLUR) - mean) / spread, *_FAINT_BOUNDS)
                standard = gaussian(highest_around(standard), _PATCH_BLUR)
                standard = np.asarray(standard + np.float32(_FAINT_SHARE) * faint, np.float32)
            joined += np.float32(share) * resize_linear(standard, (shape[0], shape[1]))
        joined = resize_linear(joined, (working.shape[0], working.shape[1]))
        patch, grey = working.shape[0] / maps[NEIGHBOURS].shape[0], grey_of(working)
        blurred = gaussian(grey, CONTRAST_BLUR), gaussian(grey, patch / 2)
        return with_contrast(joined, *blurred, grid_of(roi, working.shape))


class EnsembleScorer:
    """The ensemble of experts."""

    def __init__(self, folder: Path, arrays: Arrays, settings: Mapping[str, Any]) -> None:
        heads = [folder / name for name in settings["heads"]]
        surface = SurfaceNetwork(folder / "trunk.onnx", heads) if heads else None
        tokens = TokenNetwork(
            folder / "tokens.onnx", arrays["positions"], arrays["class_position"], settings["tokens"]
        )
        models = {
            part: ExpertsModel((tokens, surface), settings["side"], under(arrays, f"{part}."), own)
            for part, own in settings["models"].items()
        }
        self._whole, self._fine = models["whole"], models.get("fine")
        self._weights, self._map_weights = settings["weights"], settings["map_weights"]
        self._strips: bool = settings["strips"]
        self._tiles_in_roi: bool = settings.get("tiles_in_roi", False)

    def score(self, picture: Array, roi: Array | None) -> tuple[Array, Array]:
        """Score a picture; see `PictureScorer.score`."""
        working = working_size(picture)
        maps, scores = self._whole.judge(working, roi)
        score = self._whole.combined_score(scores, self._weights)
        joined = self._whole.joined_map(maps, self._map_weights, working, roi)
        if self._fine is not None and is_large(picture):
            score, joined = self._with_tiles(self._fine, (score, joined), picture, roi)
        return np.array([score]), resize_linear(joined, (picture.shape[0], picture.shape[1]))

    def _with_tiles(
        self, fine: ExpertsModel, coarse: tuple[float, Array], picture: Array, roi: Array | None
    ) -> tuple[float, Array]:
        score, joined = coarse
        large = tiling_size(picture, strips=self._strips)
        shape = large.shape[0], large.shape[1]
        inside = grid_of(roi, shape)
        shift = self._whole.level - fine.level
        maps = []
        for (top, left), tile in tiles_of(large):
            height, width = tile.shape[:2]
            counts = None if inside is None else inside[top : top + height, left : left + width]
            if self._tiles_in_roi and counts is not None and not counts.any():
                continue
            found, scores = fine.judge(tile, counts if self._tiles_in_roi else None)
            rows, columns = found[NEIGHBOURS].shape
            if (
                self._tiles_in_roi
                and counts is not None
                and not resize_nearest(counts, (rows, columns)).any()
            ):
                continue  # no token of the tile counts
            if self._tiles_in_roi:
                found = {name: level_outside(each, counts) for name, each in found.items()}
            tile_map = fine.joined_map(found, self._map_weights, tile, counts)
            maps.append(((top, left), tile_map + np.float32(shift)))
            if counts is None or counts.any():
                score = max(score, fine.combined_score(scores, self._weights) + shift)
        return score, np.maximum(resize_linear(joined, shape), stitch(shape, iter(maps)))


class FusedMapScorer:
    """The surface detector: one fused map a fold."""

    def __init__(self, folder: Path, arrays: Arrays, settings: Mapping[str, Any]) -> None:
        self._network = SurfaceNetwork(folder / "trunk.onnx", [folder / name for name in settings["heads"]])
        self._folds: list[tuple[FusedMaps, FusedMaps | None]] = []
        for number in range(settings["folds"]):
            whole, fine = (under(arrays, f"fold.{number}.{part}.") for part in ("whole", "fine"))
            tiled = FusedMaps(self._network, fine) if fine else None
            self._folds.append((FusedMaps(self._network, whole), tiled))

    def score(self, picture: Array, roi: Array | None) -> tuple[Array, Array]:
        """Score a picture; see `PictureScorer.score`."""
        features = self._network.features(working_size(picture))
        maps = [whole.judge(features)[0] for whole, _ in self._folds]
        if is_large(picture):
            maps = self._with_tiles(maps, tiling_size(picture, strips=True))
        inside = grid_of(roi, maps[0].shape)
        scores = np.array([top_mean(each, inside) for each in maps])
        mean = np.asarray(np.mean(maps, axis=0, dtype=np.float32))
        return scores, resize_linear(mean, (picture.shape[0], picture.shape[1]))

    def _with_tiles(self, maps: list[Array], large: Array) -> list[Array]:
        shape = large.shape[0], large.shape[1]
        refined = [resize_linear(each, shape) for each in maps]
        found: list[list[tuple[tuple[int, int], Array]]] = [[] for _ in maps]
        if any(fine is not None for _, fine in self._folds):
            for place, tile in tiles_of(large):
                features = self._network.features(tile)
                for (_, fine), tiles in zip(self._folds, found, strict=True):
                    if fine is not None:
                        tiles.append((place, fine.judge(features)[0]))
        for (whole, fine), tiles, joined in zip(self._folds, found, refined, strict=True):
            if fine is not None:
                np.maximum(
                    joined, stitch(shape, iter(tiles)) + np.float32(whole.level - fine.level), out=joined
                )
        return refined
