"""Known defects: classification of regions and pictures by labelled cases.

By the tokens of a vision transformer: logistic regression. By other descriptors: nearest neighbours. There
the signature of a region is the difference of its patches from normal ones with its measured shape and tone,
and a whole picture is compared by its most anomalous patches, or by patches from all over it where there is
no anomaly map. What is less similar to each case than a fitted limit is of no known kind.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from anomalist.errors import DataError
from anomalist.types.common import BoolArray, Box, FloatArray, UInt8Array
from anomalist.types.image import KnownKind, Region
from anomalist.vision.detectors.token_memory import unit_vectors
from anomalist.vision.features.backbones import to_working_size
from anomalist.vision.regions import segment

if TYPE_CHECKING:
    from anomalist.vision.features.extractor import FeatureExtractor


T = TypeVar("T", bound=np.generic)

_NEIGHBOURS = 3
_MIN_CASES, _DEFAULT_LIMIT = 3, 0.5  # with fewer cases no limit can be fitted
_REJECTED_SHARE = 0.1  # of the cases may be less similar to their own kind than the limit
_SHAPE_WEIGHT = 0.5


@dataclass(frozen=True, eq=False)
class KnownKindClassifier:
    """Nearest-neighbour classifier of regions by labelled defects.

    Parameters
    ----------
    vectors : float32 (n, d), unit vectors as `region_signature` gives them.
    ids, kinds : of each.
    limit : cosine similarity below which a region is of no known kind.
    """

    vectors: FloatArray
    ids: tuple[str, ...]
    kinds: tuple[str, ...]
    limit: float

    @classmethod
    def of(
        cls,
        vectors: FloatArray,
        ids: Sequence[str],
        kinds: Sequence[str],
        groups: Sequence[str | None] | None = None,
    ) -> KnownKindClassifier:
        """Fit the limit: it best separates similarities to the own kind from those to other kinds.

        Both are nearest-neighbour similarities of each case. With ``groups``, only to cases of other objects:
        photographs of one object are more similar than those of new objects will be.
        """
        similar = vectors @ vectors.T
        objects = _objects_of(groups, len(ids))
        others = np.array(objects)[:, None] != np.array(objects)[None]
        same = np.array(kinds)[:, None] == np.array(kinds)[None]
        own, foreign = (
            most[np.isfinite(most)]
            for which in (same & others, ~same & others)
            for most in (np.where(which, similar, -np.inf).max(1, initial=-np.inf),)
        )
        return cls(vectors, tuple(ids), tuple(kinds), similarity_limit(own, foreign))

    def classify(self, vector: FloatArray) -> KnownKind:
        """Classify a signature, float32 (d + 6,), by a weighted vote of the three nearest cases."""
        similar = self.vectors @ vector
        nearest = np.argsort(-similar, kind="stable")[:_NEIGHBOURS]
        votes: dict[str, float] = {}
        for i in nearest:
            votes[self.kinds[i]] = votes.get(self.kinds[i], 0.0) + float(np.exp(8 * similar[i]))
        best = float(similar[nearest[0]])
        return KnownKind(
            name=max(votes, key=lambda kind: votes[kind]) if best >= self.limit else None,
            similarity=best,
            cases=tuple(f"case:{self.ids[i]}" for i in nearest),
        )


def _objects_of(groups: Sequence[str | None] | None, count: int) -> list[str]:
    """The object of each case: its group, or itself alone."""
    return [group or f"{at}" for at, group in enumerate(groups or [None] * count)]


def similarity_limit(own: FloatArray, foreign: FloatArray) -> float:
    """Similarity that maximises the share of ``own`` from it on plus the share of ``foreign`` below it.

    With too few of other kinds, nine in ten of the own reach it.
    """
    if len(own) < _MIN_CASES:
        return _DEFAULT_LIMIT
    if len(foreign) < _MIN_CASES:
        return float(np.quantile(own, _REJECTED_SHARE))
    candidates = np.unique(np.concatenate([own, foreign]))
    reached = (own[None] >= candidates[:, None]).mean(1) + (foreign[None] < candidates[:, None]).mean(1)
    return float(candidates[int(reached.argmax())])


def region_signature(
    descriptors: FloatArray, normal: FloatArray, region: Region, size: tuple[int, int]
) -> FloatArray:
    """Signature of a region: how it differs from normal patches, shape and tone; float32 (d + 6,), unit.

    Parameters
    ----------
    descriptors : float32 (h, w, d), of the patches of its picture.
    normal : float32 (d,), mean of normal patches, which is subtracted.
    region : with its attributes.
    size : (height, width) of the picture in pixels.
    """
    patches = tokens_in_box(descriptors, region.box, size)
    far = np.argsort(((patches - normal) ** 2).sum(1))[len(patches) // 2 :]  # the other half are surroundings
    difference = patches[far].mean(0) - normal
    difference = difference / (np.linalg.norm(difference) + 1e-6)
    about = region.attributes
    shape = np.array(
        [
            math.log(about.elongation) - 0.7,
            (math.log10(about.relative_size) + 2.5) / 1.5,
            math.tanh(about.contrast_sigma / 2),
            math.tanh(about.contrast / 40),
            math.tanh(math.log(max(about.texture_ratio, 1e-2))),
            0.5 if about.edges else -0.5,
        ],
        np.float32,
    )
    vector = np.concatenate([difference, _SHAPE_WEIGHT * shape]).astype(np.float32)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


MAX_PATCHES = 80
"""Patches that represent a picture at most."""

_PEAK_SHARE = 0.6

SOFTMAX_SHARPNESS = 40.0
"""Inverse temperature of the softmax over similarities (−2 to 2): 0.05 less weighs a seventh."""

_CITED_CASES = 3


@dataclass(frozen=True, eq=False)
class KindSimilarity:
    """Similarity of a picture to each labelled kind.

    Parameters
    ----------
    shares : by kind, summing to one; they rank kinds and are no calibrated probabilities.
    cases : ids of the nearest labelled cases of the first kind, the nearest first.
    """

    shares: Mapping[str, float]
    cases: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class WeightedPatches:
    """Weighted patches that represent a picture.

    Parameters
    ----------
    vectors : float32 (n, d), descriptors, unit vectors.
    weights : float32 (n,), summing to one.
    """

    vectors: FloatArray
    weights: FloatArray

    def similarity(self, other: WeightedPatches) -> float:
        """Weighted mean cosine similarity of each patch to its nearest in the other, both ways; −2 to 2."""
        similar = self.vectors @ other.vectors.T
        return float(self.weights @ similar.max(1) + other.weights @ similar.max(0))


def describe_picture(
    extractor: FeatureExtractor, pixels: UInt8Array, score_map: FloatArray | None = None
) -> WeightedPatches:
    """Weighted patches of a picture, uint8 (H, W, 3); see `select_patches`.

    Raises MediaError when it is too small.
    """
    (batch,) = extractor.extract([to_working_size(pixels)])
    return select_patches(batch.descriptors[0], score_map)


def select_patches(descriptors: FloatArray, score_map: FloatArray | None = None) -> WeightedPatches:
    """Select the most anomalous patches, weighted by the square of their score above the median.

    Parameters
    ----------
    descriptors : float32 (h, w, d), unit vectors.
    score_map : float32 (H, W), the anomaly map; without one, or with a flat one, patches are taken evenly
        from the whole picture and weigh the same.
    """
    flat = descriptors.reshape(-1, descriptors.shape[2])
    if score_map is not None:
        novelty = _patch_grid_map(score_map, descriptors.shape).ravel()
        beyond = np.maximum(novelty - np.median(novelty), 0)
        if beyond.any():
            taken = np.argsort(-beyond, kind="stable")[:MAX_PATCHES]
            weights = (beyond[taken] / beyond.max()) ** 2
            return WeightedPatches(flat[taken], np.asarray(weights / weights.sum(), np.float32))
    taken = np.unique(np.linspace(0, len(flat) - 1, MAX_PATCHES).astype(np.intp))
    return WeightedPatches(flat[taken], np.full(len(taken), 1 / len(taken), np.float32))


def _patch_grid_map(score_map: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Resize a map to the grid of patches."""
    import cv2

    return np.asarray(cv2.resize(score_map, (shape[1], shape[0]), interpolation=cv2.INTER_AREA), np.float32)


@dataclass(frozen=True, eq=False)
class PatchSetClassifier:
    """Nearest-neighbour classifier of pictures by weighted patches, with the kind and id of each case.

    Raises DataError when there are no cases, or their numbers differ.
    """

    patches: tuple[WeightedPatches, ...]
    kinds: tuple[str, ...]
    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.patches or not len(self.patches) == len(self.kinds) == len(self.ids):
            raise DataError("Labelled cases are needed to tell kinds by, each with a kind and an id.")

    def similarity_to_kinds(self, patches: WeightedPatches) -> KindSimilarity:
        """Softmax over the similarities to all cases, averaged by kind."""
        similarity = np.array([patches.similarity(case) for case in self.patches])
        weights = np.exp(SOFTMAX_SHARPNESS * (similarity - similarity.max()))
        names = sorted(set(self.kinds))
        means = np.array([weights[self._of(name)].mean() for name in names])
        best = self._of(names[int(means.argmax())])
        nearest = best[np.argsort(-similarity[best], kind="stable")][:_CITED_CASES]
        return KindSimilarity(
            dict(zip(names, (means / means.sum()).tolist(), strict=True)),
            tuple(f"case:{self.ids[i]}" for i in nearest),
        )

    def _of(self, name: str) -> npt.NDArray[np.intp]:
        return np.flatnonzero([kind == name for kind in self.kinds])


_NOVELTY_POWER = 4  # a box holds surroundings, too: what is half as novel weighs a sixteenth
_FOLDS = 5  # of the objects of the cases, at most
_PENALTY = 0.1
"""Of the squared weights, against the summed loss: unit differences of tokens have weights of some ten."""


@dataclass(frozen=True, eq=False)
class TokenKindClassifier:
    """Classifier of places and pictures by the mean tokens of labelled cases.

    Multinomial logistic regression names the kind, the nearest cases say whether it is known at all. With one
    kind, or fewer than three cases of one, the nearest cases vote for the kind, too.

    Parameters
    ----------
    cases : of the unit differences of the mean tokens from ``centre``.
    centre : float32 (d,), the mean normal token, or that of the cases where no normal picture is known.
    mirrored : float32 (n, c, d), the same of the n cases in mirrored pictures, which the regression learns
        from, too; None where they would mislead, as where one kind is at the left and another at the right.
    """

    cases: KnownKindClassifier
    centre: FloatArray
    mirrored: FloatArray | None = None

    @classmethod
    def of(
        cls,
        tokens: FloatArray,
        ids: Sequence[str],
        kinds: Sequence[str],
        groups: Sequence[str | None] | None = None,
        centre: FloatArray | None = None,
        mirrored: FloatArray | None = None,
    ) -> TokenKindClassifier:
        """Fit to the mean tokens of n cases, float32 (n, d); see `KnownKindClassifier.of`.

        Those of the cases in mirrored pictures, float32 (n, c, d), are learned from where cross-validation
        by objects names at least as many of the cases rightly with them.
        """
        middle = np.asarray(tokens.mean(0) if centre is None else centre, np.float32)
        cases = KnownKindClassifier.of(unit_vectors(tokens - middle), ids, kinds, groups)
        plain = cls(cases, middle)
        if mirrored is None or plain._regression is None:
            return plain
        turned = unit_vectors(mirrored - middle)
        folds = _folds_of(_objects_of(groups, len(ids)))
        helps = _right_share(cases, folds, turned) >= _right_share(cases, folds, None)
        return cls(cases, middle, turned) if helps else plain

    def classify(self, token: FloatArray) -> KnownKind:
        """Classify the mean token of a place, float32 (d,)."""
        difference = unit_vectors(token - self.centre)
        found = self.cases.classify(difference)
        if found.name is None or self._regression is None:
            return found
        shares = self._shares(difference)
        name = max(shares, key=lambda kind: shares[kind])
        nearest, similarity = self._nearest_of(name, difference)
        return KnownKind(name=name, similarity=similarity, cases=nearest)

    def similarity_to_kinds(self, token: FloatArray) -> KindSimilarity:
        """Probabilities of the kinds, whether or not the mean token, float32 (d,), is like a known one."""
        difference = unit_vectors(token - self.centre)
        shares = self._shares(difference)
        nearest, _ = self._nearest_of(max(shares, key=lambda kind: shares[kind]), difference)
        return KindSimilarity(shares, nearest)

    @cached_property
    def _regression(self) -> tuple[FloatArray, FloatArray] | None:
        """Weights, float32 (d, k), and intercepts, float32 (k,), by kind; None with too few cases."""
        kinds, numbers, counts = np.unique(self.cases.kinds, return_inverse=True, return_counts=True)
        if len(kinds) < 2 or counts.min() < _MIN_CASES:
            return None
        return logistic_regression(*_with_mirrored(self.cases.vectors, numbers, self.mirrored))

    def _shares(self, difference: FloatArray) -> dict[str, float]:
        names = sorted(set(self.cases.kinds))
        if self._regression is None:
            similar = self.cases.vectors @ difference
            logits = np.array([8 * similar[self._rows(name)].max() for name in names])
        else:
            weights, intercepts = self._regression
            logits = difference @ weights + intercepts
        powers = np.exp(logits - logits.max())
        return dict(zip(names, (powers / powers.sum()).tolist(), strict=True))

    def _nearest_of(self, name: str, difference: FloatArray) -> tuple[tuple[str, ...], float]:
        """Ids of the nearest cases of a kind, and the similarity to the first."""
        rows = self._rows(name)
        similar = self.cases.vectors[rows] @ difference
        order = np.argsort(-similar, kind="stable")[:_CITED_CASES]
        return tuple(f"case:{self.cases.ids[i]}" for i in rows[order]), float(similar[order[0]])

    def _rows(self, name: str) -> npt.NDArray[np.intp]:
        return np.flatnonzero([kind == name for kind in self.cases.kinds])


def _with_mirrored(
    vectors: FloatArray, numbers: npt.NDArray[np.intp], mirrored: FloatArray | None
) -> tuple[FloatArray, npt.NDArray[np.intp]]:
    """Vectors (n, d) and classes (n,) with those of mirrored pictures, (n, c, d), behind them."""
    if mirrored is None:
        return vectors, numbers
    turned = mirrored.reshape(-1, vectors.shape[1])
    return np.concatenate([vectors, turned]), np.concatenate([numbers, numbers.repeat(mirrored.shape[1])])


def _folds_of(objects: Sequence[str]) -> npt.NDArray[np.intp]:
    """The fold of each case, intp (n,): objects in their order take turns."""
    order = {name: at for at, name in enumerate(dict.fromkeys(objects))}
    return np.array([order[name] % _FOLDS for name in objects], np.intp)


def _right_share(
    cases: KnownKindClassifier, folds: npt.NDArray[np.intp], mirrored: FloatArray | None
) -> float:
    """Share of the cases that a regression on those of the other folds names rightly."""
    kinds, right = np.array(cases.kinds), 0
    for fold in np.unique(folds):
        asked = folds == fold
        names, numbers = np.unique(kinds[~asked], return_inverse=True)
        if len(names) < 2:
            continue
        turned = None if mirrored is None else mirrored[~asked]
        weights, intercepts = logistic_regression(*_with_mirrored(cases.vectors[~asked], numbers, turned))
        found = names[(cases.vectors[asked] @ weights + intercepts).argmax(1)]
        right += int((found == kinds[asked]).sum())
    return right / len(kinds)


def mirror_images(picture: npt.NDArray[T]) -> list[npt.NDArray[T]]:
    """A picture or a map of one, (H, W, …), mirrored from left to right, from top to bottom, and both."""
    return [np.ascontiguousarray(each) for each in (picture[:, ::-1], picture[::-1], picture[::-1, ::-1])]


def mirrored_boxes(box: Box, size: Sequence[int]) -> list[Box]:
    """Where a box of a picture of size (H, W, …) lies in each of its `mirror_images`."""
    x0, y0, x1, y1 = box
    across, down = (size[1] - x1, size[1] - x0), (size[0] - y1, size[0] - y0)
    return [
        (across[0], y0, across[1], y1),
        (x0, down[0], x1, down[1]),
        (across[0], down[0], across[1], down[1]),
    ]


def logistic_regression(vectors: FloatArray, numbers: npt.NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
    """Fit a multinomial logistic regression with an L2 penalty in which each class counts the same.

    Parameters
    ----------
    vectors : float32 (n, d), unit vectors.
    numbers : intp (n,), classes from 0 to k − 1, each at least once.

    Returns
    -------
    Weights, float32 (d, k), and intercepts, float32 (k,).
    """
    from scipy.optimize import minimize

    x = np.hstack([vectors, np.ones((len(vectors), 1))]).astype(np.float64)
    counts = np.bincount(numbers)
    truth = np.eye(len(counts))[numbers]
    balance = (len(numbers) / (len(counts) * counts))[numbers][:, None]
    penalty = np.full((x.shape[1], 1), _PENALTY)
    penalty[-1] = 0  # the intercepts are free

    def loss(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        weights = flat.reshape(x.shape[1], len(counts))
        logits = x @ weights
        logits -= logits.max(1, keepdims=True)
        logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        gradient = x.T @ (balance * (np.exp(logs) - truth)) + penalty * weights
        value = -(balance * truth * logs).sum() + (penalty * weights**2).sum() / 2
        return float(value), gradient.ravel()

    start = np.zeros(x.shape[1] * len(counts))
    fitted = minimize(loss, start, jac=True, method="L-BFGS-B").x.reshape(x.shape[1], len(counts))
    return fitted[:-1].astype(np.float32), fitted[-1].astype(np.float32)


def tokens_in_box(tokens: FloatArray, box: Box, size: Sequence[int]) -> FloatArray:
    """Tokens of a grid (h, w, d) inside a box of a picture of size (H, W, …), float32 (n, d), n > 0."""
    down, across = tokens.shape[0] / size[0], tokens.shape[1] / size[1]
    top, left = min(tokens.shape[0] - 1, int(box[1] * down)), min(tokens.shape[1] - 1, int(box[0] * across))
    bottom, right = max(top + 1, math.ceil(box[3] * down)), max(left + 1, math.ceil(box[2] * across))
    return tokens[top:bottom, left:right].reshape(-1, tokens.shape[2])


def place_token(tokens: FloatArray, novelty: FloatArray, box: Box, size: Sequence[int]) -> FloatArray:
    """Mean token in a box of a picture of size (H, W, …), weighted by novelty, float32 (d,).

    ``tokens`` is float32 (h, w, d), ``novelty`` float32 (h, w).
    """
    beyond = np.maximum(novelty - np.median(novelty), 0)[..., None]
    return _mean_token(tokens_in_box(tokens, box, size), tokens_in_box(beyond, box, size))


def picture_token(tokens: FloatArray, score_map: FloatArray | None = None) -> FloatArray:
    """Mean of the tokens of a picture, float32 (h, w, d), weighted by its anomaly map, float32 (H, W)."""
    flat = tokens.reshape(-1, tokens.shape[2])
    if score_map is None:
        return np.asarray(flat.mean(0), np.float32)
    novelty = _patch_grid_map(score_map, tokens.shape)
    return _mean_token(flat, np.maximum(novelty - np.median(novelty), 0).reshape(-1, 1))


def _mean_token(tokens: FloatArray, beyond: FloatArray) -> FloatArray:
    """Mean of tokens (n, d) by their novelty beyond the usual, (n, 1); evenly where there is none."""
    if not beyond.any():
        return np.asarray(tokens.mean(0), np.float32)
    weights = (beyond / beyond.max()) ** _NOVELTY_POWER
    return np.asarray((weights * tokens).sum(0) / weights.sum(), np.float32)


def peak_mask(score_map: FloatArray) -> BoolArray:
    """Pixels above three fifths of the way from the median of an anomaly map, float32 (H, W), to its peak."""
    usual, peak = float(np.median(score_map)), float(score_map.max())
    level = usual + _PEAK_SHARE * (peak - usual)
    return segment(score_map, None, high=level, low=level, min_area=0)


def largest_box(mask: BoolArray) -> Box:
    """Box of the largest connected part of a mask, bool (H, W), that is not empty."""
    import cv2

    _, _, found, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    left, top, width, height, _ = found[1:][int(found[1:, cv2.CC_STAT_AREA].argmax())].tolist()
    return left, top, left + width, top + height
