"""What every detector can do, and where to find each by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from anomalist.errors import DetectorError
from anomalist.types import BoolArray, Box, FloatArray, KnownKind, Region, UInt8Array
from anomalist.vision.calibration import Partition

if TYPE_CHECKING:
    from anomalist.vision.known import KnownDefect

DETECTORS = {"surface": "anomalist.vision.surface:SurfaceDetector"}
"""Names to import paths; any other ``module:Class`` works too."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many steps are done, and how many there are."""


def silent(what: str, done: int, total: int) -> None:
    """Report no progress."""


@dataclass(frozen=True, eq=False)
class Scored:
    """A picture under the K models of a detector.

    Parameters
    ----------
    scores : float64 (K,), raw image score under each model asked.
    score_map : float32 (H, W), the mean of their anomaly maps, at the size of the picture.
    """

    scores: npt.NDArray[np.float64]
    score_map: FloatArray


@dataclass(frozen=True)
class Alike:
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
    def prepare(picture: UInt8Array) -> Any:  # noqa: ANN401 - its own affair, handed back to `learn`
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
    ) -> list[Scored]:
        """Score pictures, uint8 (H, W, 3) of any size, under one fold's model or all of them."""
        ...

    def most_alike(self, picture: UInt8Array, box: Box) -> Alike | None:
        """Find the normal patch most like the oddest patch in a box of a picture; None if it can't tell."""
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
