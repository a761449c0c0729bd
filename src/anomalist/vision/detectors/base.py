"""The detector protocol, detectors by name or dotted path, and batched scoring of picture files.

A detector learns from normal pictures, one model a fold, and gives each picture image scores and an
anomaly map. Files are read and scored a batch at a time, in order; an error stands in for what can't be
judged.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from anomalist.errors import AnomalistError, DetectorError
from anomalist.types.image import BoolArray, Box, FloatArray, KnownKind, Media, Region, UInt8Array
from anomalist.vision.calibration import Partition
from anomalist.vision.media.images import load_image

if TYPE_CHECKING:
    from anomalist.vision.detectors.known_kinds import KnownDefect


DETECTORS = {"surface": "anomalist.vision.detectors.surface:SurfaceDetector"}
"""Names to import paths; any other ``module:Class`` works too."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many steps are done, and how many there are."""


def no_progress(what: str, done: int, total: int) -> None:
    """Report no progress."""


@dataclass(frozen=True, eq=False)
class DetectorOutput:
    """A picture under the K models of a detector.

    Parameters
    ----------
    scores : float64 (K,), raw image score under each model asked.
    score_map : float32 (H, W), the mean of their anomaly maps, at the size of the picture.
    """

    scores: npt.NDArray[np.float64]
    score_map: FloatArray


@dataclass(frozen=True)
class NearestPatch:
    """A patch of a normal picture: the picture's number in the order learned, and the patch's centre.

    ``centre`` is (x, y) relative to that picture, 0 to 1.
    """

    picture: int
    centre: tuple[float, float]


class Detector(Protocol):
    """Learns from normal pictures and scores new ones. Holds K models when cross-fitted, else one."""

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
    def learn(
        cls,
        pictures: Sequence[Any],
        groups: npt.NDArray[np.int64],
        partition: Partition,
        *,
        roi: BoolArray | None,
        effort: str,
        seed: int,
        backbone: str | None,
        defects: Sequence[KnownDefect],
        progress: Progress,
    ) -> Self:
        """Learn one model a fold of ``partition`` from its learning pictures, prepared by `prepare`.

        ``defects`` are labelled ones to learn from as well; there may be none.
        """
        ...

    def score(
        self, pictures: Sequence[UInt8Array], roi: BoolArray | None = None, fold: int | None = None
    ) -> list[DetectorOutput]:
        """Score pictures, uint8 (H, W, 3) of any size, under one fold's model or all of them."""
        ...

    def nearest_normal_patch(self, picture: UInt8Array, box: Box) -> NearestPatch | None:
        """Nearest normal patch of the most novel patch in a box of a picture; None if it can't tell."""
        ...

    def name_regions(self, picture: UInt8Array, regions: Sequence[Region]) -> list[KnownKind | None]:
        """What each region of a picture looks like among the labelled defects that were learned from."""
        ...

    def save(self, file: Path) -> None:
        """Write the learned state as safetensors."""
        ...

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `save` wrote."""
        ...


def detector_class(name: str) -> type[Detector]:
    """Find a detector by its name in ``DETECTORS`` or by ``module:Class``."""
    module, _, attribute = DETECTORS.get(name, name).partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        known = ", ".join(sorted(DETECTORS))
        raise DetectorError(f"there is no detector {name!r}.", f"Known: {known}, or module:Class.") from error
    return found  # type: ignore[no-any-return]


_MAX_BATCH_PICTURES = 16
MAX_BATCH_PIXELS = 8_000_000
"""Bounds the memory of a batch: maps and pictures of large photographs are heavy."""

BatchScorer = Callable[[list[Media]], list[DetectorOutput]]
"""Scores pictures together; AnomalistError when one of them can't be judged."""

_LoadedPicture = tuple[str | Path, Media | AnomalistError]
_BatchResult = tuple[str | Path, Media | None, DetectorOutput | AnomalistError]


def score_in_batches(score: BatchScorer, paths: Iterable[str | Path]) -> Iterator[_BatchResult]:
    """Yield (path, media, its scores or the error that stands in for them), in the order of ``paths``.

    ``media`` is None when the picture could not be read. A batch is read before any of it is yielded.
    """
    batch: list[_LoadedPicture] = []
    pixels = 0
    for path in paths:
        media = _load_or_error(path)
        batch.append((path, media))
        pixels += media.pixels.shape[0] * media.pixels.shape[1] if isinstance(media, Media) else 0
        if len(batch) >= _MAX_BATCH_PICTURES or pixels >= MAX_BATCH_PIXELS:
            yield from _score_batch(score, batch)
            batch, pixels = [], 0
    yield from _score_batch(score, batch)


def _load_or_error(path: str | Path) -> Media | AnomalistError:
    try:
        return load_image(path)
    except AnomalistError as error:
        return error


def _score_batch(score: BatchScorer, batch: list[_LoadedPicture]) -> Iterator[_BatchResult]:
    results = iter(_score_or_split(score, [media for _, media in batch if isinstance(media, Media)]))
    for path, media in batch:
        if isinstance(media, Media):
            yield path, media, next(results)
        else:
            yield path, None, media


def _score_or_split(score: BatchScorer, several: list[Media]) -> list[DetectorOutput | AnomalistError]:
    """Score all at once; when one of them can't be judged, one by one to find out which."""
    try:
        return [*score(several)] if several else []
    except AnomalistError as error:
        if len(several) == 1:
            return [error]
        return [result for media in several for result in _score_or_split(score, [media])]
