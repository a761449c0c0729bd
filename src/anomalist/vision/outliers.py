"""Outliers among normal pictures: defects, and pictures of a second product.

A second product is a cluster of class tokens that lies apart from the rest and whose patches are novel all
over. Among what remains, a picture is unlike the rest when its patches lie far from those of all others, by
two distances, each as a robust z-score of its logarithm (median and MAD). The pictures that score highest are
left out of the memory in a second pass, so that defects which resemble each other can't hide each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from anomalist.types.common import BoolArray, FloatArray, Frozen, UInt8Array
from anomalist.vision.detectors.base import Progress
from anomalist.vision.detectors.experts import input_side, paint_outside
from anomalist.vision.detectors.token_memory import HalfArray, TokenMemory, describe, top_score
from anomalist.vision.features.extractor import size_batches
from anomalist.vision.regions import resize_roi_to_grid

if TYPE_CHECKING:
    from anomalist.vision.features.dinov2 import VisionTransformer

MIN_PICTURES = 8
"""Objects that the check needs: among fewer, which of them is unlike the rest can't be said."""
LARGE_SHARE, LARGE_COUNT = 0.05, 3
"""Share of the pictures, and number, from which outliers are too many to go on without a word."""
CHECK_SIDE = 336
"""Nominal side of the backbone's input, pixels: that of the ensemble's default, which takes these tokens."""
_LIMIT = 4.0  # z-score from which one of many pictures is named
_SMALL_SAMPLE = (6.0, 40.0)  # it is higher by a share of these by n and by n²
_MIN_SPREADS = (0.05, 0.02)  # of the logarithms: nearly identical normals differ by next to nothing
_TRIMMED = 0.15  # of the pictures, those that score highest, are left out of the memory in the second pass
_MIN_CLUSTER = 3  # pictures that make a second product; fewer are unlike the rest
_MIN_SEPARATION = 1.4  # distance between clusters, by that of pictures to their neighbours within
_NEIGHBOUR_QUANTILE = 0.98
_COMPARED = 30  # pictures of each of two clusters whose patches are compared
_NOVEL_QUANTILE = 0.99  # of the distances of the patches of the first product, above which one is novel
_MIN_NOVEL_SHARE = 0.2  # of the patches of a second product

Why = Literal["unlike the rest", "second product"]


class Outlier(Frozen):
    """A picture among the normals that does not belong there, as far as can be measured."""

    source: str
    sha256: str
    why: Why
    measure: float = Field(
        description="unlike the rest: robust z-score; second product: share of its patches that the first "
        "product lacks"
    )


class NormalsCheck(Frozen):
    """What the check of the normal pictures found, and what was done about it."""

    pictures: int = Field(description="that were checked")
    outliers: tuple[Outlier, ...] = ()
    decision: Literal["dropped", "kept"] | None = Field(None, description="None where nothing was found")
    not_checked: str | None = Field(None, description="why nothing could be checked")

    @property
    def is_large(self) -> bool:
        """Whether the outliers are so many that somebody should look at them before going on."""
        return len(self.outliers) >= max(LARGE_COUNT, LARGE_SHARE * self.pictures)

    def of(self, why: Why) -> tuple[Outlier, ...]:
        """The outliers of one kind."""
        return tuple(outlier for outlier in self.outliers if outlier.why == why)


@dataclass(frozen=True)
class FoundOutlier:
    """An outlier by its number in the order given; see `Outlier`."""

    picture: int
    why: Why
    measure: float


@dataclass(frozen=True, eq=False)
class DescribedPictures:
    """Tokens of n pictures.

    Parameters
    ----------
    pictures : at working size, uint8 (H, W, 3) each.
    grids : patch tokens, float16 (h, w, d) each, unit vectors.
    class_tokens : float32 (n, d), unit vectors.
    groups : int64 (n,), pictures of the same object share a number.
    roi : bool (H, W), what counts; None for everything.

    Raises
    ------
    ValueError : the numbers of pictures differ.
    """

    pictures: Sequence[UInt8Array]
    grids: Sequence[HalfArray]
    class_tokens: FloatArray
    groups: npt.NDArray[np.int64]
    roi: BoolArray | None = None

    def __post_init__(self) -> None:
        n = len(self.pictures)
        if not len(self.grids) == len(self.class_tokens) == len(self.groups) == n:
            raise ValueError(f"{n} pictures, but other numbers of grids, class tokens or groups")

    @property
    def insides(self) -> list[BoolArray | None]:
        """Which patches of each picture count, bool (h, w); None for all."""
        return [resize_roi_to_grid(self.roi, grid.shape[:2]) for grid in self.grids]

    def only(self, rows: npt.NDArray[np.int64]) -> DescribedPictures:
        """Some of the pictures, by number, int64 (m,)."""
        return DescribedPictures(
            [self.pictures[i] for i in rows],
            [self.grids[i] for i in rows],
            self.class_tokens[rows],
            self.groups[rows],
            self.roi,
        )


def describe_pictures(
    backbone: VisionTransformer,
    working: Sequence[UInt8Array],
    groups: npt.NDArray[np.int64],
    roi: BoolArray | None,
    progress: Progress,
) -> DescribedPictures:
    """Tokens of pictures at working size, uint8 (H, W, 3); ``groups`` are int64 (n,), ``roi`` bool (H, W)."""
    grids: dict[int, HalfArray] = {}
    classes: dict[int, FloatArray] = {}
    for batch in size_batches(working):
        painted = [paint_outside(working[i], roi) for i in batch]
        patches, tokens = describe(backbone, painted, input_side(painted[0], CHECK_SIDE))
        for place, index in enumerate(batch):
            grids[index], classes[index] = patches[place].astype(np.float16), tokens[place]
            progress("checking", len(grids), len(working))
    order = range(len(working))
    return DescribedPictures(
        working, [grids[i] for i in order], np.stack([classes[i] for i in order]), groups, roi
    )


def find_outliers(described: DescribedPictures, seed: int) -> tuple[FoundOutlier, ...]:
    """Find the pictures that don't belong with the rest, in their order; none among too few objects.

    ``seed`` is of the sample of patches in memory.
    """
    remaining = np.arange(len(described.grids))
    found: list[FoundOutlier] = []
    while len(np.unique(described.groups[remaining])) >= MIN_PICTURES:
        second = _second_product(described.only(remaining))
        if second is None:
            break
        rows, share = second
        found += [FoundOutlier(int(i), "second product", round(share, 3)) for i in remaining[rows]]
        remaining = np.delete(remaining, rows)
    if len(np.unique(described.groups[remaining])) >= MIN_PICTURES:
        z = outlier_scores(described.only(remaining), seed)
        unlike = np.flatnonzero(z > named_from(len(z)))
        found += [FoundOutlier(int(remaining[i]), "unlike the rest", round(float(z[i]), 1)) for i in unlike]
    return tuple(sorted(found, key=lambda one: one.picture))


def named_from(count: int) -> float:
    """The z-score above which one of so many pictures is named: few normals scatter by chance."""
    by_count, by_square = _SMALL_SAMPLE
    return _LIMIT * (1 + by_count / count + by_square / count**2)


def outlier_scores(described: DescribedPictures, seed: int) -> npt.NDArray[np.float64]:
    """How unlike the rest each picture is: a robust z-score, float64 (n,), the larger of two passes."""
    memory = TokenMemory.fit(described.grids, described.insides, seed)
    nobody = np.empty(0, np.int64)
    first = robust_z_scores(_distances(memory, described, nobody))
    suspects = np.argsort(-first, kind="stable")[: int(_TRIMMED * len(first))]
    return np.maximum(first, robust_z_scores(_distances(memory, described, suspects)))


def robust_z_scores(distances: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean over two distances, float64 (n, 2), of the robust z-scores of their logarithms; float64 (n,)."""
    logs = np.log(np.maximum(distances, 1e-9))
    away = logs - np.median(logs, 0)
    spread = np.maximum(1.4826 * np.median(abs(away), 0), _MIN_SPREADS)
    return np.asarray((away / spread).mean(1))


def _distances(
    memory: TokenMemory, described: DescribedPictures, without: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Distances of each picture to a memory without its object and without some pictures, float64 (n, 2)."""
    rows = np.empty((len(described.grids), 2))
    insides = described.insides
    for number in np.argsort(described.groups, kind="stable"):  # a memory serves all pictures of an object
        same = described.groups == described.groups[number]
        left_out = np.union1d(np.flatnonzero(same), without).astype(np.int32)
        tokens = described.grids[number].astype(np.float32)
        maps = memory.neighbour_distances(tokens, left_out), memory.mahalanobis_distances(tokens, left_out)
        rows[number] = [top_score(each, insides[number]) for each in maps]
    return rows


def _second_product(described: DescribedPictures) -> tuple[npt.NDArray[np.int64], float] | None:
    """Numbers of the pictures of a second product and the novel share of their patches, if any.

    A defect changes the class token and, in an even texture, even the tokens of all patches. So what is novel
    goes by SurfaceNet, whose descriptors see little beyond their patch.
    """
    cluster = separate_cluster(described.class_tokens)
    if cluster is None:
        return None
    first = np.setdiff1d(np.arange(len(described.grids)), cluster)
    if len(np.unique(described.groups[first])) < 2:
        return None
    known, new = _spread(first, _COMPARED), _spread(cluster, _COMPARED)
    grids = _surface_grids([described.pictures[i] for i in (*known, *new)])
    insides = [resize_roi_to_grid(described.roi, grid.shape[:2]) for grid in grids]
    memory = TokenMemory.fit(grids[: len(known)], insides[: len(known)], seed=0)

    def novelty(number: int) -> FloatArray:
        same = described.groups[known] == described.groups[(*known, *new)[number]]
        found = memory.neighbour_distances(grids[number], np.flatnonzero(same).astype(np.int32))
        inside = insides[number]
        return found.ravel() if inside is None else found[inside]

    limit = np.quantile(np.concatenate([novelty(i) for i in range(len(known))]), _NOVEL_QUANTILE)
    share = float(np.median([(novelty(i) > limit).mean() for i in range(len(known), len(grids))]))
    return (cluster, share) if share >= _MIN_NOVEL_SHARE else None


def _spread(rows: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """At most so many of the rows, evenly spread over them."""
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round())
    return np.asarray(rows[chosen.astype(np.int64)])


def _surface_grids(working: Sequence[UInt8Array]) -> list[FloatArray]:
    """Descriptors of SurfaceNet, float32 (h, w, d), of pictures at working size."""
    from anomalist.vision.features.extractor import FeatureExtractor, shipped_network

    grids: dict[int, FloatArray] = {}
    for batch in FeatureExtractor(shipped_network()).extract(working):
        grids |= dict(zip(batch.indices, batch.descriptors, strict=True))
    return [grids[i] for i in range(len(working))]


def separate_cluster(tokens: FloatArray) -> npt.NDArray[np.int64] | None:
    """Numbers of a cluster that lies apart from all other class tokens, float32 (n, d); None if none does.

    It is the smaller one of two; of two as large, the one that comes later.
    """
    from scipy.cluster.hierarchy import linkage, to_tree
    from scipy.spatial.distance import pdist, squareform

    if len(tokens) < 2 * _MIN_CLUSTER:
        return None
    condensed = pdist(tokens.astype(np.float64))
    node = to_tree(linkage(condensed, "average"))
    strays: list[int] = []
    while True:
        left, right = node.get_left(), node.get_right()
        assert left is not None and right is not None  # it has several pictures
        small, node = sorted((left, right), key=lambda part: part.get_count())
        if small.get_count() >= _MIN_CLUSTER:
            break
        strays += small.pre_order()
        if node.get_count() < 2 * _MIN_CLUSTER:
            return None
    distances = squareform(condensed)
    one, other = (np.array(sorted(part.pre_order())) for part in (small, node))
    between = float(distances[np.ix_(one, other)].min())
    within = max(_neighbour_distance(distances[np.ix_(part, part)]) for part in (one, other))
    if between < _MIN_SEPARATION * within:
        return None
    nearer = [int(i) for i in strays if distances[i, one].min() < distances[i, other].min()]
    farther = [int(i) for i in strays if int(i) not in nearer]
    one, other = np.sort(np.append(one, nearer)), np.sort(np.append(other, farther))
    return np.asarray(min((one, other), key=lambda part: (len(part), -int(part[0]))), np.int64)


def _neighbour_distance(distances: npt.NDArray[np.float64]) -> float:
    """Distance to the nearest other one that nearly all of n stay under; ``distances`` are (n, n)."""
    nearest = (distances + np.diag(np.full(len(distances), np.inf))).min(1)
    return max(float(np.quantile(nearest, _NEIGHBOUR_QUANTILE)), 1e-6)
