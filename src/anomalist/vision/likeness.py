"""Which labelled kind a picture is like, from a handful of cases of each, with masks or without.

Two pictures are alike when each patch that stands out in one has a patch like it among those of the other.
Where no map tells what stands out, patches from all over the picture are taken: a texture is its patches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from anomalist.errors import DataError
from anomalist.types import FloatArray, UInt8Array
from anomalist.vision.features import working_picture

if TYPE_CHECKING:
    from anomalist.vision.eyes import Eyes

PATCHES = 80
"""Patches that a picture is compared by, at most."""

SHARPNESS = 40.0
"""How fast likeness (−2 to 2) counts for less: what is 0.05 less alike weighs a seventh."""

_CITED = 3


@dataclass(frozen=True, eq=False)
class Likeness:
    """How like each labelled kind a picture is.

    Parameters
    ----------
    shares : by kind; they sum to one. They rank kinds, and are no calibrated probabilities.
    cases : ids of the labelled cases of the first kind that are most alike, the most alike first.
    """

    shares: Mapping[str, float]
    cases: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Patches:
    """What a picture is compared by.

    Parameters
    ----------
    vectors : float32 (n, d), unit vectors that describe patches.
    weights : float32 (n,), how much each counts; they sum to one.
    """

    vectors: FloatArray
    weights: FloatArray

    def alike(self, other: Patches) -> float:
        """Mean cosine similarity of each patch to its like in the other picture, both ways; −2 to 2."""
        similar = self.vectors @ other.vectors.T
        return float(self.weights @ similar.max(1) + other.weights @ similar.max(0))


def look_at(eyes: Eyes, pixels: UInt8Array, score_map: FloatArray | None = None) -> Patches:
    """Describe a picture, uint8 (H, W, 3), by its patches; see `patches_of`.

    Raises MediaError when it is too small to look at.
    """
    (look,) = eyes.look([working_picture(pixels)])
    return patches_of(look.descriptors[0], score_map)


def patches_of(descriptors: FloatArray, score_map: FloatArray | None = None) -> Patches:
    """Take the patches that stand out most, each weighted by the square of how much it does.

    Parameters
    ----------
    descriptors : float32 (h, w, d), unit vectors.
    score_map : float32 (H, W), the anomaly map; without one, or with an even one, patches are taken evenly
        from the whole picture and weigh the same.
    """
    flat = descriptors.reshape(-1, descriptors.shape[2])
    if score_map is not None:
        strange = _reduced(score_map, descriptors.shape).ravel()
        beyond = np.maximum(strange - np.median(strange), 0)
        if beyond.any():
            taken = np.argsort(-beyond, kind="stable")[:PATCHES]
            weights = (beyond[taken] / beyond.max()) ** 2
            return Patches(flat[taken], np.asarray(weights / weights.sum(), np.float32))
    taken = np.unique(np.linspace(0, len(flat) - 1, PATCHES).astype(np.intp))
    return Patches(flat[taken], np.full(len(taken), 1 / len(taken), np.float32))


def _reduced(score_map: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """A map with one value a patch."""
    import cv2

    return np.asarray(cv2.resize(score_map, (shape[1], shape[0]), interpolation=cv2.INTER_AREA), np.float32)


@dataclass(frozen=True, eq=False)
class LabelledLooks:
    """What labelled pictures look like; ``ids`` and ``kinds`` are those of each.

    Raises DataError when there are none, or numbers don't fit each other.
    """

    patches: tuple[Patches, ...]
    kinds: tuple[str, ...]
    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.patches or not len(self.patches) == len(self.kinds) == len(self.ids):
            raise DataError("Labelled cases are needed to tell kinds by, each with a kind and an id.")

    def likeness(self, patches: Patches) -> Likeness:
        """Compare a picture with every case: a kind weighs as much as its cases are alike, on average."""
        alike = np.array([patches.alike(case) for case in self.patches])
        weights = np.exp(SHARPNESS * (alike - alike.max()))
        names = sorted(set(self.kinds))
        means = np.array([weights[self._of(name)].mean() for name in names])
        best = self._of(names[int(means.argmax())])
        nearest = best[np.argsort(-alike[best], kind="stable")][:_CITED]
        return Likeness(
            dict(zip(names, (means / means.sum()).tolist(), strict=True)),
            tuple(f"case:{self.ids[i]}" for i in nearest),
        )

    def _of(self, name: str) -> npt.NDArray[np.intp]:
        return np.flatnonzero([kind == name for kind in self.kinds])
