"""The detector protocol, detectors by name, and batched scoring of picture files.

A detector learns from normal pictures, one model a fold, and gives each picture image scores and an
anomaly map. Files are read and scored a batch at a time, in order; an error stands in for what can't be
judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from anomalist.errors import AnomalistError
from anomalist.plugins import load_plugin
from anomalist.types.common import BoolArray, Box, FloatArray, UInt8Array
from anomalist.types.image import KnownKind, Media, Region
from anomalist.vision.calibration import Partition, keep_all_apart, leave_groups_out, partition
from anomalist.vision.media.images import load_image
from anomalist.vision.media.values import ValueScale

if TYPE_CHECKING:
    from anomalist.vision.detectors.labelled_defects import KnownDefect
    from anomalist.vision.detectors.token_memory import NormalTokens

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many steps are done, and how many there are."""


def no_progress(what: str, done: int, total: int) -> None:
    """Report no progress."""


@dataclass(frozen=True, eq=False)
class ExpertOutput:
    """What one expert of an ensemble gave a picture.

    Parameters
    ----------
    name : of the expert.
    score : of the picture, in standard deviations of unseen normals above their median.
    weight : that it has in the ensemble, 0 to 1.
    score_map : float32 (h, w), its map in the same units, on its own grid.
    """

    name: str
    score: float
    weight: float
    score_map: FloatArray


@dataclass(frozen=True, eq=False)
class DetectorOutput:
    """Output of the K models of a detector for one picture.

    Parameters
    ----------
    scores : float64 (K,), raw image score under each model asked.
    score_map : float32 (H, W), the mean of their anomaly maps, at the size of the picture.
    experts : what each expert of an ensemble gave; none of a single detector.
    """

    scores: npt.NDArray[np.float64]
    score_map: FloatArray
    experts: tuple[ExpertOutput, ...] = ()


@dataclass(frozen=True)
class NearestPatch:
    """A patch of a normal picture: the picture's number in the order learned, and the patch's centre.

    ``centre`` is (x, y) relative to that picture, 0 to 1.
    """

    picture: int
    centre: tuple[float, float]


@dataclass(frozen=True, eq=False)
class LearningData:
    """What a detector learns from: n normal pictures, and labelled defects if there are any.

    Parameters
    ----------
    pictures : n of them, as `Detector.prepare` left them.
    groups : int64 (n,), pictures of the same object share a number, 0 to G − 1.
    partition : (learn, calibrate) indices of pictures, one pair for each of the K models.
    roi : bool (H, W), what counts; None for everything. Resize it to the pictures (`resize_roi`).
    defects : pictures of labelled defects, with masks where there are any.
    tokens : of the pictures, where the check of the normals has computed them.
    """

    pictures: Sequence[Any]
    groups: npt.NDArray[np.int64]
    partition: Partition
    roi: BoolArray | None = None
    defects: Sequence[KnownDefect] = ()
    tokens: NormalTokens | None = None


@dataclass(frozen=True)
class LearningSettings:
    """What a user chose for learning.

    Parameters
    ----------
    effort : "fast", "normal" or "thorough".
    seed : of every random choice.
    backbone : for the memory bank, as for `open_backbone`; None for the shipped features alone.
    """

    effort: str = "normal"
    seed: int = 0
    backbone: str | None = None


class Detector(Protocol):
    """Learns from normal pictures and scores new ones. K models when cross-fitted, else one.

    A plug-in of the group ``anomalist.detectors`` is a class with these members; no base class is needed.
    With ``calibration = LEAVE_ONE_GROUP_OUT`` it has one model, and ``score_unseen(number, read, roi)``
    scores a normal picture that it has just learned from without those of the same object, and
    ``score_changed(number, picture, roi)`` a changed one, until ``forget_unseen()`` frees what that needs.
    ``prepare_within(picture, roi)``, where there is one, is called instead of ``prepare`` with a region of
    interest.
    """

    name: str

    @property
    def folds(self) -> int:
        """Number of models."""
        ...

    @staticmethod
    def prepare(picture: UInt8Array) -> Any:  # noqa: ANN401
        """Reduce a picture to what learning keeps of it; MediaError when it can't be judged."""
        ...

    @classmethod
    def learn(cls, data: LearningData, settings: LearningSettings, progress: Progress) -> Self:
        """Learn one model a fold: model k sees the learning pictures of ``data.partition.folds[k]`` alone.

        The pictures that a fold keeps apart calibrate its model; the caller does that with `score`.

        Parameters
        ----------
        data : pictures as `prepare` left them, and what is known of them.
        settings : what a user chose; a detector may ignore what it has no use for.
        progress : called with what is being done, how many steps are done, and how many there are.

        Raises
        ------
        DetectorError : a setting is not one that this detector knows.
        """
        ...

    def score(
        self, pictures: Sequence[UInt8Array], roi: BoolArray | None = None, fold: int | None = None
    ) -> list[DetectorOutput]:
        """Score pictures, uint8 (H, W, 3) of any size, under one fold's model or all of them."""
        ...

    def nearest_normal_patch(self, picture: UInt8Array, box: Box) -> NearestPatch | None:
        """Normal patch nearest to the most novel patch in a box of a picture; None without a memory bank."""
        ...

    def name_regions(self, picture: UInt8Array, regions: Sequence[Region]) -> list[KnownKind | None]:
        """Classify each region of a picture by the labelled defects; None for each when there are none."""
        ...

    def save(self, file: Path) -> None:
        """Write the learned state as safetensors."""
        ...

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `save` wrote."""
        ...


LEAVE_ONE_GROUP_OUT = "leave-one-group-out"
"""Value of a detector's ``calibration`` when it can score each normal picture without those of its object."""


def leaves_out(detector: Detector | type[Detector]) -> bool:
    """Whether a detector calibrates on all its normals, each scored by `score_unseen`, and not by folds."""
    return getattr(detector, "calibration", "") == LEAVE_ONE_GROUP_OUT


LEARNED_ELSEWHERE = "learned-elsewhere"
"""Value of a detector's ``calibration`` when its model comes from elsewhere: all normals calibrate it."""


def partition_for(detector: type[Detector], groups: npt.NDArray[np.int64], seed: int) -> Partition:
    """Which normals a detector learns from and which calibrate it, by how it is calibrated."""
    if leaves_out(detector):
        return leave_groups_out(groups)
    if getattr(detector, "calibration", "") == LEARNED_ELSEWHERE:
        return keep_all_apart(groups)
    return partition(groups, seed)


def detector_class(name: str, *, stored_in: str | None = None) -> type[Detector]:
    """Find a detector by name, entry point or ``module:Class``; see `anomalist.plugins.load_plugin`."""
    found: type[Detector] = load_plugin("anomalist.detectors", name, stored_in=stored_in)
    return found


def default_detector(backbone: str | None) -> str:
    """Name of the detector where none is asked for: the ensemble, where DINOv2 is at hand.

    A named backbone is for the memory bank of the surface detector.
    """
    from anomalist.vision.features.dinov2 import find_dinov2

    return "surface" if backbone is not None or find_dinov2() is None else "ensemble"


MAX_BATCH_PICTURES = 16
MAX_BATCH_PIXELS = 8_000_000
"""Pixels of a batch of pictures together, which bounds its memory."""

OutputT = TypeVar("OutputT")
BatchScorer = Callable[[list[Media]], list[OutputT]]
"""Scores pictures together; AnomalistError when one of them can't be judged."""

_LoadedPicture = tuple[str | Path, Media | AnomalistError]
_BatchResult = tuple[str | Path, Media | None, OutputT | AnomalistError]


def score_in_batches(
    score: BatchScorer[OutputT], paths: Iterable[str | Path], scale: ValueScale | None = None
) -> Iterator[_BatchResult[OutputT]]:
    """Yield (path, media, its scores or the error that stands in for them), in the order of ``paths``.

    ``media`` is None when the picture could not be read. A batch is read before any of it is yielded.
    ``scale`` is that of values of more than 8 bit.
    """
    batch: list[_LoadedPicture] = []
    pixels = 0
    for path in paths:
        media = _load_or_error(path, scale)
        batch.append((path, media))
        pixels += media.pixels.shape[0] * media.pixels.shape[1] if isinstance(media, Media) else 0
        if len(batch) >= MAX_BATCH_PICTURES or pixels >= MAX_BATCH_PIXELS:
            yield from _score_batch(score, batch)
            batch, pixels = [], 0
    yield from _score_batch(score, batch)


def _load_or_error(path: str | Path, scale: ValueScale | None) -> Media | AnomalistError:
    try:
        return load_image(path, scale=scale)
    except AnomalistError as error:
        return error


def _score_batch(score: BatchScorer[OutputT], batch: list[_LoadedPicture]) -> Iterator[_BatchResult[OutputT]]:
    readable = [media for _, media in batch if isinstance(media, Media)]
    scored = _score_or_split(score, readable)
    results = iter(scored)
    for path, media in batch:
        if isinstance(media, Media):
            yield path, media, next(results)
        else:
            yield path, None, media


def _score_or_split(score: BatchScorer[OutputT], several: list[Media]) -> list[OutputT | AnomalistError]:
    """Score all at once; when that fails, one by one, so that only those that can't be judged are errors."""
    try:
        return [*score(several)] if several else []
    except AnomalistError as error:
        if len(several) == 1:
            return [error]
        parts = [_score_or_split(score, [media]) for media in several]
        return [result for part in parts for result in part]
