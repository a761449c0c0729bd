"""A folder without labels: its pictures are scored against each other (MuSc, Li et al. 2024).

What most pictures have somewhere is taken for normal, so defects must be the exception. A random sample of
the pictures stands for the folder; that bounds time and memory however large it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from anomalist.errors import AnomalistError, DataError
from anomalist.types import DetectorInfo, Evidence, FloatArray, Media, UInt8Array
from anomalist.vision.detectors import Progress, Scored, silent
from anomalist.vision.examine import examine_uncalibrated
from anomalist.vision.examiners import Examined, examine_all
from anomalist.vision.features import working_picture
from anomalist.vision.fusion import enlarged, fit_model, image_score
from anomalist.vision.media import load_image
from anomalist.vision.weights import SHA256, shipped_network

if TYPE_CHECKING:
    from anomalist.vision.eyes import Eyes

SAMPLE = 48
"""Pictures that stand for the folder."""
FEWEST = 4
"""Pictures that can say what is usual among them."""
_CLOSEST = 0.3  # of the others: a normal patch has kin in some pictures, a defect in none (MuSc's share)


@dataclass(frozen=True, eq=False)
class Others:
    """The sample that patches are compared with; a `fusion.Normality`.

    Parameters
    ----------
    descriptors : float32 (n, d) of each picture.
    middle, spread : of the patches' mutual distances: median, and half the width of the middle 68 %, which
        a few defects don't move.
    """

    descriptors: tuple[FloatArray, ...]
    middle: float
    spread: float

    def strangeness(self, descriptors: FloatArray) -> FloatArray:
        """See `fusion.Normality.strangeness`."""
        flat = self.strangeness_without(descriptors.reshape(-1, 1, descriptors.shape[-1]), _nobody())
        return flat.reshape(descriptors.shape[:-1])

    def strangeness_without(self, descriptors: FloatArray, pictures: npt.NDArray[np.int32]) -> FloatArray:
        """See `fusion.Normality.strangeness_without`."""
        import torch

        from anomalist.vision.novelty import strange

        distances = mutual_distances(descriptors, self.descriptors, pictures)
        return strange(torch.from_numpy(distances), self.middle, self.spread).numpy()


def mutual_distances(
    descriptors: FloatArray, others: Sequence[FloatArray], without: npt.NDArray[np.int32]
) -> FloatArray:
    """Mean distance of each patch to the closest 30 % of the other pictures, by its nearest patch in each.

    Parameters
    ----------
    descriptors : float32 (h, w, d), unit vectors.
    others : float32 (n, d) each.
    without : numbers of others that are left out.

    Returns
    -------
    float32 (h, w), squared distances.
    """
    flat = np.ascontiguousarray(descriptors.reshape(-1, descriptors.shape[-1]), np.float32)
    compared = [own for number, own in enumerate(others) if number not in without]
    nearest = np.stack([2 - 2 * (flat @ own.T).max(1) for own in compared])
    closest = max(1, round(_CLOSEST * len(compared)))
    mean = np.partition(nearest, closest - 1, 0)[:closest].mean(0)
    return np.asarray(np.maximum(mean, 0), np.float32).reshape(descriptors.shape[:-1])


class Unlabelled:
    """Examines pictures of a folder by all of them; see `examiners.Examiner`.

    ``paths`` are the pictures of the folder; what can't be read is left out of the sample. Raises DataError
    when fewer than ``FEWEST`` different ones can be read.
    """

    name = "unlabelled"
    calibration = None

    def __init__(self, paths: Sequence[str | Path], seed: int = 0, progress: Progress = silent) -> None:
        from anomalist.vision.eyes import Eyes

        self._eyes: Eyes = Eyes(shipped_network())
        sample = _sample(paths, seed, progress)
        if len(sample) < FEWEST:
            raise DataError(
                f"{len(sample)} different pictures can be read; scoring them against each other takes "
                f"at least {FEWEST}.",
                "Give more pictures of the same kind, or a --reference.",
            )
        self._numbers = {sha256: number for number, sha256 in enumerate(sample)}
        working = list(sample.values())
        self._others = _compare(self._eyes, working, progress)
        self._model = fit_model(
            self._eyes, [self._eyes.network.head], 0, self._others, working, np.arange(len(working)), seed
        )
        self.digest = hashlib.sha256("".join([SHA256, str(seed), *sample]).encode()).hexdigest()

    def examine(self, paths: Iterable[str | Path]) -> Iterator[Examined]:
        """Measure pictures in order, each as if it were not in the sample."""
        return examine_all(self._score, self._evidence, paths)

    def _score(self, several: list[Media]) -> list[Scored]:
        scored: dict[int, Scored] = {}
        for look in self._eyes.look([working_picture(media.pixels) for media in several]):
            strangeness = np.stack(
                [
                    self._others.strangeness_without(own, self._itself(several[index]))
                    for index, own in zip(look.indices, look.descriptors, strict=True)
                ]
            )
            maps = self._model.maps(look, [self._eyes.network.head], strangeness)
            for index, own in zip(look.indices, maps, strict=True):
                score_map = enlarged(own, several[index].size)
                scored[index] = Scored(np.array([image_score(own, None)]), score_map)
        return [scored[index] for index in range(len(several))]

    def _itself(self, media: Media) -> npt.NDArray[np.int32]:
        number = self._numbers.get(media.sha256)
        return _nobody() if number is None else np.array([number], np.int32)

    def _evidence(self, media: Media, scored: Scored) -> Evidence:
        info = DetectorInfo(name=self.name, digest=self.digest)
        high = max(self._model.level, 0.0)  # marked is what stands out more than in nine of ten pictures
        return examine_uncalibrated(media, scored, info, "folder", high=high, low=high / 2)


def _nobody() -> npt.NDArray[np.int32]:
    return np.empty(0, np.int32)


def _sample(paths: Sequence[str | Path], seed: int, progress: Progress) -> dict[str, UInt8Array]:
    """Different working pictures by their hash, drawn at random, in the order drawn."""
    chosen: dict[str, UInt8Array] = {}
    most = min(SAMPLE, len(paths))
    for index in np.random.default_rng((seed, 4)).permutation(len(paths)).tolist():
        try:
            media = load_image(paths[index])
            chosen.setdefault(media.sha256, working_picture(media.pixels))
        except AnomalistError:  # it gets its row with the error when it is examined
            continue
        progress("sampling", len(chosen), most)
        if len(chosen) == most:
            break
    return chosen


def _compare(eyes: Eyes, working: Sequence[UInt8Array], progress: Progress) -> Others:
    """Describe the sample, and score its pictures against each other to learn what is usual."""
    found: dict[int, FloatArray] = {}
    for look in eyes.look(working):
        found |= dict(zip(look.indices, look.descriptors, strict=True))
    described = [found[index] for index in range(len(working))]
    flat = tuple(own.reshape(-1, own.shape[-1]) for own in described)
    distances = []
    for number, own in enumerate(described):
        distances.append(mutual_distances(own, flat, np.array([number], np.int32)).ravel())
        progress("comparing", number + 1, len(described))
    low, middle, high = np.quantile(np.concatenate(distances), [0.16, 0.5, 0.84])
    return Others(flat, float(middle), float(high - low) / 2)
