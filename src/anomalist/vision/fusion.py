"""One fold of the surface detector: what its normals look like, and two maps against them, added."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from anomalist.types import BoolArray, FloatArray, UInt8Array
from anomalist.vision.bank import CANDIDATES, MemoryBank, Patches, build_bank, join_patches, sample_patches
from anomalist.vision.eyes import Eyes, Look
from anomalist.vision.roi import covering_roi
from anomalist.vision.scaling import PositionScale, cell_peaks

if TYPE_CHECKING:
    from anomalist.vision.network import Head

TOP_PIXELS = 20
"""The image score is the mean of this many highest values of the fused map at working size."""

_SCALING_PICTURES = 100
_BANK_SHARE, _BANK_BLUR = 0.5, 1.0  # in patches: neighbours that agree count more than a lone outlier
_BROAD_SHARE, _BROAD_BLUR, _BROAD_BOUNDS = 2.0, 4.0, (-4.0, 1.0)

Tick = Callable[[int, int], None]
"""Called with how many pictures are done and how many there are."""


class Normality(Protocol):
    """Knows what normal patches look like."""

    def strangeness(self, descriptors: FloatArray) -> FloatArray:
        """How strange each patch is, float32 (…, d) to float32 (…), as `novelty.strange` scales it."""
        ...

    def strangeness_without(self, descriptors: FloatArray, pictures: npt.NDArray[np.int32]) -> FloatArray:
        """The same for one picture's patches (h, w, d) as if ``pictures``, by number, were not known."""
        ...


@dataclass(frozen=True, eq=False)
class Remembered:
    """The patches of normal pictures, and how far a new normal picture's patches usually are from them.

    Parameters
    ----------
    bank : of the patches.
    mean, spread : of the distances of normal patches as if they were new.
    """

    bank: MemoryBank
    mean: float
    spread: float

    def strangeness(self, descriptors: FloatArray) -> FloatArray:
        """Distance to the nearest; see `Normality.strangeness`."""
        flat = descriptors.reshape(-1, descriptors.shape[-1])
        return self._scaled(self.bank.distances(flat)).reshape(descriptors.shape[:-1])

    def strangeness_without(self, descriptors: FloatArray, pictures: npt.NDArray[np.int32]) -> FloatArray:
        """See `Normality.strangeness_without`."""
        return self._scaled(distances_without(self.bank, descriptors, pictures))

    def _scaled(self, distances: FloatArray) -> FloatArray:
        import torch

        from anomalist.vision.novelty import strange

        return strange(torch.from_numpy(distances), self.mean, self.spread).numpy()


N = TypeVar("N", bound=Normality)


@dataclass(frozen=True, eq=False)
class Model(Generic[N]):
    """What one fold has learned: its normality, and how high its maps usually are.

    Parameters
    ----------
    head : number of the head that looks at first sight: the shipped one, 0, or an adapted one.
    logit_scale, sight_scale, bank_scale, broad_scale : of its four maps, see `fuse`.
    level : image score that nine in ten normal pictures stay under.
    """

    head: int
    normality: N
    logit_scale: PositionScale
    sight_scale: PositionScale
    bank_scale: PositionScale
    broad_scale: PositionScale
    level: float = 0.0

    def maps(
        self, look: Look, heads: Sequence[Head], strangeness: FloatArray | None = None
    ) -> Iterator[FloatArray]:
        """Anomaly maps float32 (H, W), one a picture of the look.

        ``strangeness`` is that of its patches, float32 (B, h, w), where it is known already.
        """
        import torch

        if strangeness is None:
            strangeness = self.normality.strangeness(look.descriptors)
        with torch.inference_mode():
            logits = look.logits(look.network.head, strangeness).numpy()
        for maps in zip(logits, look.first_sight(heads[self.head]), strangeness, strict=True):
            yield self.fuse(*maps)

    def fuse(self, logits: FloatArray, first_sight: FloatArray, strangeness: FloatArray) -> FloatArray:
        """Anomaly map float32 (H, W) of a picture.

        Parameters
        ----------
        logits : float32 (H, W), of the shipped head, told how novel patches are.
        first_sight : float32 (H, W), `eyes.Look.first_sight` of its own head, which is not told.
        strangeness : float32 (h, w), of the patches. It counts half, as it is in the logits already; and once
            more broadly smoothed, within bounds: that orders the pixels of large faint defects, but no peak
            rests on it.
        """
        judged = self.logit_scale.apply(logits) + self.sight_scale.apply(first_sight)
        unusual = _BANK_SHARE * self.bank_scale.apply(_smooth(strangeness, _BANK_BLUR))
        broad = self.broad_scale.apply(_smooth(strangeness, _BROAD_BLUR)).clip(*_BROAD_BOUNDS)
        patches = np.asarray(unusual + _BROAD_SHARE * broad, np.float32)
        return judged + enlarged(patches, logits.shape)


def image_score(score_map: FloatArray, inside: BoolArray | None) -> float:
    """Mean of the ``TOP_PIXELS`` highest values of a map, float32 (H, W), inside the ROI."""
    values = score_map.ravel() if inside is None else score_map[inside]
    top = min(TOP_PIXELS, values.size)
    return float(np.partition(values, values.size - top)[values.size - top :].mean())


def distances_without(
    bank: MemoryBank, descriptors: FloatArray, pictures: npt.NDArray[np.int32]
) -> FloatArray:
    """Distances of patches float32 (h, w, d) to a bank as if it had not seen ``pictures``; (h, w).

    When nothing else is in the bank nothing is left out.
    """
    if np.isin(bank.pictures, pictures).all():
        pictures = np.empty(0, np.int32)
    flat = descriptors.reshape(-1, descriptors.shape[-1]).astype(np.float32)
    return bank.distances_without(flat, pictures).reshape(descriptors.shape[:-1])


def remember(
    eyes: Eyes,
    working: Sequence[UInt8Array],
    groups: npt.NDArray[np.int64],
    roi: BoolArray | None,
    seed: int,
    tick: Tick,
) -> Remembered:
    """Build the bank, then look its own pictures up as if their groups were new.

    ``working`` are a fold's learning pictures at working size, ``groups`` int (n,) their groups.
    """
    rng = np.random.default_rng(seed)
    most = max(1, CANDIDATES // len(working))
    sampled = set(_sampled(len(working), seed))
    patches: list[Patches] = []
    kept: dict[int, FloatArray] = {}
    done = 0
    for look in eyes.look(working):
        for index, descriptors in zip(look.indices, look.descriptors, strict=True):
            inside = covering_roi(roi, descriptors.shape[:2])
            patches.append(sample_patches(descriptors, index, inside, most, rng))
            if index in sampled:
                kept[index] = descriptors.astype(np.float16)
            done += 1
            tick(done, len(working))
    bank = build_bank(join_patches(patches), seed)
    usual: list[FloatArray] = []
    for index in sorted(kept):
        distances = distances_without(bank, kept[index], together(groups, index))
        inside = covering_roi(roi, distances.shape)
        usual.append(distances.ravel() if inside is None else distances[inside])
    every = np.concatenate(usual)
    return Remembered(bank, float(every.mean()), float(every.std()))


def together(groups: npt.NDArray[np.int64], index: int) -> npt.NDArray[np.int32]:
    """Pictures that picture ``index`` can't be new to: its group, or itself when there is but one group."""
    members = np.flatnonzero(groups == groups[index])
    return (members if len(members) < len(groups) else np.array([index])).astype(np.int32)


def fit_model(
    eyes: Eyes,
    heads: Sequence[Head],
    head: int,
    normality: N,
    working: Sequence[UInt8Array],
    groups: npt.NDArray[np.int64],
    seed: int,
    *,
    aligned: bool = True,
) -> Model[N]:
    """Fit the scales of both maps on a sample of the learning pictures, as if their groups were new.

    Where pictures are not ``aligned`` (tiles are not), all places share one scale.
    """
    import torch

    chosen = _sampled(len(working), seed)
    seen: list[tuple[FloatArray, FloatArray, FloatArray]] = []
    peaks: list[tuple[FloatArray, ...]] = []
    for look in eyes.look([working[i] for i in chosen]):
        rows = zip(look.indices, look.descriptors, strict=True)
        strangeness = [normality.strangeness_without(d, together(groups, chosen[i])) for i, d in rows]
        with torch.inference_mode():
            logits = look.logits(look.network.head, np.stack(strangeness)).numpy()
        sights = look.first_sight(heads[head])
        for own, sight, patches in zip(logits, sights, strangeness, strict=True):
            smoothed = (_smooth(patches, blur) for blur in (_BANK_BLUR, _BROAD_BLUR))
            peaks.append(tuple(cell_peaks(m) for m in (own, sight, *smoothed)))
            seen.append((own[::2, ::2], sight[::2, ::2], patches))  # enough for the level, a quarter to keep
    fit = PositionScale.fit if aligned else PositionScale.flat
    logit, sight, bank, broad = (fit(np.stack(column)) for column in zip(*peaks, strict=True))
    model = Model(head, normality, logit, sight, bank, broad)
    scores = [image_score(model.fuse(*maps), None) for maps in seen]
    return replace(model, level=float(np.quantile(scores, 0.9)))


def _sampled(count: int, seed: int) -> list[int]:
    """Pictures that usual distances and scales are estimated on."""
    return sorted(np.random.default_rng((seed, 1)).permutation(count)[:_SCALING_PICTURES].tolist())


def _smooth(strangeness: FloatArray, blur: float) -> FloatArray:
    import cv2

    return np.asarray(cv2.GaussianBlur(strangeness, (0, 0), blur), np.float32)


def enlarged(grid: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """A map at another size (H, W), smoothly; float32."""
    import cv2

    return np.asarray(cv2.resize(grid, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), np.float32)
