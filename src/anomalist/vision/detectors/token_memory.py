"""Token memory: a memory bank and a Gaussian of the patch tokens of a vision transformer on normals.

Two distances of a patch: to its nearest neighbour in the bank (AnomalyDINO, Damm et al. 2025, after
PatchCore) and the Mahalanobis distance to the Gaussian of all normal patches (Rippel et al. 2021), which is a
soft residual from the subspace that normal patches span. Both can leave the pictures of one object out, so
that a normal picture is scored as if it were new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from anomalist.types.common import BoolArray, FloatArray, UInt8Array
from anomalist.vision.detectors.memory_bank import MemoryBank, PatchSample, join_patches, sample_patches
from anomalist.vision.features.backbones import resolve_device, uses_bfloat16

if TYPE_CHECKING:
    import torch

    from anomalist.vision.features.dinov2 import VisionTransformer

HalfArray = npt.NDArray[np.float16]

BANK_TOKENS = 16_000
"""Patch tokens in a memory at most, the same number of each normal picture."""
LAYERS = (8 / 12, 10 / 12, 1.0)
"""Depths of the layers whose unit tokens are averaged: late ones tell objects, middle ones textures."""
_RIDGE = 0.01  # of the mean variance, added to each: few normals don't span the whole space
_TOP_SHARE = 0.01  # of the patches, whose mean distance is the score of a picture


class NormalTokens:
    """Patch tokens of n normal pictures, from the step of learning that computed them to the one that takes.

    Parameters
    ----------
    digest : of the backbone's weights.
    side : nominal side of its input, pixels.
    grids : float16 (h, w, d) each, unit vectors.
    """

    def __init__(self, digest: str, side: int, grids: Sequence[HalfArray]) -> None:
        self._from, self._grids = (digest, side), list(grids)

    def only(self, rows: Sequence[int]) -> NormalTokens:
        """Those of some of the pictures, by number."""
        return NormalTokens(*self._from, [self._grids[i] for i in rows])

    def take(self, digest: str, side: int) -> dict[int, HalfArray]:
        """All of them by number, where they are of this backbone and side; after that they are gone here."""
        taken = self._grids if (digest, side) == self._from else []
        self._grids = []
        return dict(enumerate(taken))


def token_grids(backbone: VisionTransformer, pictures: Sequence[UInt8Array], side: int) -> FloatArray:
    """Patch tokens for a memory: the mean of the unit tokens of ``LAYERS``, of unit length again.

    ``pictures`` are uint8 (H, W, 3) of one size, B of them; returns float32 (B, h, w, d).
    """
    return describe(backbone, pictures, side)[0]


def describe(
    backbone: VisionTransformer, pictures: Sequence[UInt8Array], side: int
) -> tuple[FloatArray, FloatArray]:
    """Patch tokens as `token_grids` gives them, and class tokens, float32 (B, d), of pictures of one size."""
    layers = [round(depth * backbone.depth) for depth in LAYERS]
    tokens = backbone.tokens(pictures, layers, side)
    return unit_vectors(unit_vectors(tokens.patches).mean(1)), tokens.class_token


def unit_vectors(vectors: FloatArray) -> FloatArray:
    """Vectors along the last axis, brought to unit length; float32, of the same shape."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-6), np.float32)


def top_score(distances: FloatArray, inside: BoolArray | None, share: float = _TOP_SHARE) -> float:
    """Score of a picture: mean of the highest share of its distances, one at least, inside the ROI.

    ``distances`` is float32 (h, w), ``inside`` bool (h, w) or None for all.
    """
    values = distances.ravel() if inside is None else distances[inside]
    top = max(1, round(share * values.size))
    return float(np.partition(values, values.size - top)[values.size - top :].mean())


@dataclass(frozen=True, eq=False)
class TokenMemory:
    """Memory of the patch tokens of normal pictures.

    Parameters
    ----------
    bank : of unit tokens, rounded to half precision, in which they are stored.
    """

    bank: MemoryBank
    _last: dict[bytes, tuple[FloatArray, FloatArray]] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def fit(
        cls, grids: Sequence[FloatArray | HalfArray], insides: Sequence[BoolArray | None], seed: int
    ) -> TokenMemory:
        """Sample the tokens of n pictures, float (h, w, d) each; ``insides`` say which patches count."""
        most = max(1, BANK_TOKENS // len(grids))
        rng = np.random.default_rng((seed, 5))
        samples = [
            sample_patches(grid, number, inside, most, rng)
            for number, (grid, inside) in enumerate(zip(grids, insides, strict=True))
        ]
        joined: PatchSample = join_patches(samples)
        vectors = joined.vectors.astype(np.float16).astype(np.float32)
        return cls(MemoryBank(vectors, joined.pictures, joined.places))

    def neighbour_distances(
        self, tokens: FloatArray, excluded: npt.NDArray[np.int32] | None = None
    ) -> FloatArray:
        """Half the squared distance of each token to its nearest neighbour: one minus the cosine similarity.

        ``tokens`` are float32 (h, w, d); returns float32 (h, w). ``excluded`` pictures of the bank are left
        out; where they are all there is, none is. The neighbour is looked up in bfloat16 where that is fast;
        its distance is exact.
        """
        import torch

        flat = torch.from_numpy(np.ascontiguousarray(tokens.reshape(-1, tokens.shape[-1]), np.float32))
        similar = flat.to(self._searched.device, self._searched.dtype) @ self._searched
        kept = self._kept(excluded)
        if kept is not None:
            columns = torch.from_numpy(np.flatnonzero(~kept)).to(similar.device)
            similar.index_fill_(1, columns, -torch.inf)
        # torch's argmax takes ten times as long on a processor.
        nearest = similar.float().cpu().numpy().argmax(1)
        difference = flat.numpy() - self.bank.vectors[nearest]
        half = np.einsum("ij,ij->i", difference, difference) / 2
        return np.asarray(half, np.float32).reshape(tokens.shape[:-1])

    def mahalanobis_distances(
        self, tokens: FloatArray, excluded: npt.NDArray[np.int32] | None = None
    ) -> FloatArray:
        """Mahalanobis distance of each token, float32 (h, w, d), to the normal ones; float32 (h, w)."""
        kept = self._kept(excluded)
        mean, whitening = self.gaussian if kept is None else self._gaussian_of(kept)
        white = (tokens.reshape(-1, tokens.shape[-1]) - mean) @ whitening
        return np.asarray(np.sqrt(np.einsum("ij,ij->i", white, white)), np.float32).reshape(tokens.shape[:-1])

    def nearest(self, tokens: FloatArray) -> int:
        """Row in the bank of the neighbour of the most novel of some tokens, float32 (n, d)."""
        similar = tokens @ self.bank.vectors.T
        return int(similar[int(similar.max(1).argmin())].argmax())

    def _kept(self, excluded: npt.NDArray[np.int32] | None) -> BoolArray | None:
        """Rows that stay, bool (n,); None for all."""
        if excluded is None:
            return None
        kept = ~np.isin(self.bank.pictures, excluded)
        return kept if kept.any() and not kept.all() else None

    @cached_property
    def _searched(self) -> torch.Tensor:
        """Tokens of the bank on the device that searches, (d, n)."""
        import torch

        device = resolve_device()
        dtype = torch.bfloat16 if uses_bfloat16(device) else torch.float32
        return torch.from_numpy(self.bank.vectors).to(device, dtype).T.contiguous()

    @cached_property
    def _moments(self) -> tuple[int, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Number, sum (d,) and sum of outer products (d, d) of all tokens of the bank."""
        return _moments(self.bank.vectors)

    @cached_property
    def gaussian(self) -> tuple[FloatArray, FloatArray]:
        """Mean (d,) and whitening matrix (d, d): the Mahalanobis distance is ‖(x − mean) @ matrix‖."""
        return _whitening(*self._moments)

    def _gaussian_of(self, kept: BoolArray) -> tuple[FloatArray, FloatArray]:
        """The Gaussian without the rows that are not kept, by subtracting their moments."""
        key = kept.tobytes()
        found = self._last.get(key)  # pictures of one object follow each other where that can be had
        if found is None:
            count, total, squares = self._moments
            own_count, own_total, own_squares = _moments(self.bank.vectors[~kept])
            found = _whitening(count - own_count, total - own_total, squares - own_squares)
            self._last.clear()
            self._last[key] = found
        return found


def _moments(vectors: FloatArray) -> tuple[int, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    exact = vectors.astype(np.float64)  # alike normals have a variance of next to nothing
    return len(vectors), exact.sum(0), exact.T @ exact


def _whitening(
    count: int, total: npt.NDArray[np.float64], squares: npt.NDArray[np.float64]
) -> tuple[FloatArray, FloatArray]:
    """Mean (d,) and whitening matrix (d, d), float32: the Mahalanobis distance is ‖(x − mean) @ matrix‖."""
    from scipy.linalg import solve_triangular

    mean = total / count
    covariance = squares / count - np.outer(mean, mean)
    ridge = max(_RIDGE * float(np.trace(covariance)) / len(mean), 1e-8)
    lower = np.linalg.cholesky(covariance + ridge * np.eye(len(mean)))
    whitening = solve_triangular(lower, np.eye(len(mean)), lower=True).T
    return mean.astype(np.float32), whitening.astype(np.float32)
