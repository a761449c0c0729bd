"""The surface detector: learned from normal pictures and, if there are any, known defects."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from anomalist.errors import DetectorError
from anomalist.types import BoolArray, Box, FloatArray, KnownKind, Region, UInt8Array
from anomalist.vision.calibration import Partition
from anomalist.vision.detectors import Alike, Progress, Scored
from anomalist.vision.eyes import Eyes
from anomalist.vision.features import TransformersBackbone, working_picture
from anomalist.vision.fusion import Model, Remembered, enlarged, fit_model, image_score, remember
from anomalist.vision.known import Cases, KnownDefect, signature
from anomalist.vision.layers import Fold, Sighting, fold_maps, sighting
from anomalist.vision.regions import find_regions, segment
from anomalist.vision.roi import covering_roi

if TYPE_CHECKING:
    from anomalist.vision.network import Head

EFFORTS = {"fast": 0, "normal": 500, "thorough": 2000}
"""Training steps, shared by all folds; 0 takes the shipped network as it is."""


class SurfaceDetector:
    """Finds what does not belong on a surface that it has seen normal pictures of."""

    name = "surface"

    def __init__(
        self, eyes: Eyes, heads: Sequence[Head], folds: Sequence[Fold], cases: Cases | None = None
    ) -> None:
        self.eyes = eyes
        self.heads = tuple(heads)
        self.fitted = tuple(folds)
        self.cases = cases

    @property
    def folds(self) -> int:
        """Number of models."""
        return len(self.fitted)

    @staticmethod
    def prepare(picture: UInt8Array) -> Sighting:
        """Reduce a picture to working size, and keep a few tiles of a large one."""
        return sighting(picture)

    @classmethod
    def learn(
        cls,
        pictures: Sequence[Sighting],
        groups: npt.NDArray[np.int64],
        partition: Partition,
        *,
        roi: BoolArray | None,
        effort: str,
        seed: int,
        backbone: str | None,
        defects: Sequence[KnownDefect] = (),
        progress: Progress,
    ) -> Self:
        """Learn one model a fold; see `Detector.learn`.

        Each fold's head, bank and scales see only that fold's learning pictures. Known defects teach the
        heads of all folds (with an effort that trains) and give regions their names.
        """
        from anomalist.vision.weights import shipped_network

        if effort not in EFFORTS:
            raise DetectorError(f"effort {effort!r} is unknown.", f"Known: {', '.join(EFFORTS)}.")
        network = shipped_network()
        eyes = Eyes(network, TransformersBackbone(backbone) if backbone else None)
        heads, folds = [network.head], []
        steps = EFFORTS[effort] // len(partition.folds)
        for k, (learning, _) in enumerate(partition.folds):
            chosen, own = [pictures[i] for i in learning], groups[list(learning)]
            whole = [one.whole for one in chosen]
            normality = remember(eyes, whole, own, roi, seed, _part(progress, "remembering", k, partition))
            if steps:
                tick = _part(progress, "adapting", k, partition)
                heads.append(_adapted(eyes, normality, whole, own, defects, steps, seed + k, tick))
            head = len(heads) - 1
            model = fit_model(eyes, heads, head, normality, whole, own, seed)
            numbers = np.array(learning, np.int32)
            fine = _learn_tiles(eyes, heads, head, chosen, own, seed)
            folds.append(Fold(_numbered(model, numbers), fine))
        detector = cls(eyes, heads, folds)
        return cls(eyes, heads, folds, detector._remember_cases(defects)) if defects else detector

    def score(
        self, pictures: Sequence[UInt8Array], roi: BoolArray | None = None, fold: int | None = None
    ) -> list[Scored]:
        """Score pictures of any size; see `Detector.score`."""
        folds = self.fitted if fold is None else (self.fitted[fold],)
        scored: dict[int, Scored] = {}
        for index, maps in fold_maps(self.eyes, self.heads, folds, pictures):
            inside = covering_roi(roi, maps[0].shape)
            scores = np.array([image_score(m, inside) for m in maps])
            mean = np.asarray(np.mean(maps, axis=0, dtype=np.float32))
            scored[index] = Scored(scores, enlarged(mean, pictures[index].shape))
        return [scored[index] for index in range(len(pictures))]

    def most_alike(self, picture: UInt8Array, box: Box) -> Alike:
        """Find the normal patch most like the oddest patch in a box of a picture, by the first model."""
        bank = self.fitted[0].whole.normality.bank
        (look,) = self.eyes.look([working_picture(picture)])
        descriptors = look.descriptors[0]
        height, width = descriptors.shape[:2]
        down, across = height / picture.shape[0], width / picture.shape[1]
        top, bottom = int(box[1] * down), max(int(box[1] * down) + 1, math.ceil(box[3] * down))
        left, right = int(box[0] * across), max(int(box[0] * across) + 1, math.ceil(box[2] * across))
        inside = descriptors[top:bottom, left:right].reshape(-1, descriptors.shape[2])
        row = bank.nearest(inside[int(bank.distances(inside).argmax())])
        x, y = bank.places[row].tolist()
        return Alike(int(bank.pictures[row]), (x, y))

    def name_regions(self, picture: UInt8Array, regions: Sequence[Region]) -> list[KnownKind | None]:
        """What each region looks like among the known defects; None for each when none are known."""
        if self.cases is None or not regions:
            return [None] * len(regions)
        return [self.cases.name(vector) for vector in self._signatures(picture, regions)]

    def save(self, file: Path) -> None:
        """Write the learned state as safetensors."""
        from anomalist.vision.surface_file import save

        save(self, file)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `save` wrote; the same scores come out."""
        from anomalist.vision.surface_file import load

        return cls(*load(file))

    def _signatures(self, picture: UInt8Array, regions: Sequence[Region]) -> list[FloatArray]:
        (look,) = self.eyes.look([working_picture(picture)])
        normal = self.fitted[0].whole.normality.bank.vectors.mean(0)
        size = picture.shape[0], picture.shape[1]
        return [signature(look.descriptors[0], normal, region, size) for region in regions]

    def _remember_cases(self, defects: Sequence[KnownDefect]) -> Cases:
        """One case a known defect: its largest marked region, or the most suspicious place without a mask."""
        vectors = []
        for defect in defects:
            (scored,) = self.score([defect.picture])
            mask = defect.mask
            if mask is None:
                peak, usual = float(scored.score_map.max()), float(np.median(scored.score_map))
                level = usual + 0.6 * (peak - usual)
                mask = segment(scored.score_map, None, high=level, low=level, min_area=0)
            regions = find_regions(defect.picture, scored.score_map, mask)
            largest = max(regions, key=lambda region: region.area)
            vectors += self._signatures(defect.picture, [largest])
        return Cases.of(
            np.stack(vectors),
            [defect.id for defect in defects],
            [defect.kind for defect in defects],
            [defect.group for defect in defects],
        )


def _adapted(
    eyes: Eyes,
    normality: Remembered,
    whole: Sequence[UInt8Array],
    groups: npt.NDArray[np.int64],
    defects: Sequence[KnownDefect],
    steps: int,
    seed: int,
    tick: Callable[[int, int], None],
) -> Head:
    from anomalist.vision.adaptation import adapt
    from anomalist.vision.lessons import Teacher, known_lessons

    teacher = Teacher(whole, known_lessons(eyes, normality, defects))
    return adapt(eyes, eyes.network.head, teacher, groups, steps, seed, tick)


def _learn_tiles(
    eyes: Eyes,
    heads: Sequence[Head],
    head: int,
    sightings: Sequence[Sighting],
    groups: npt.NDArray[np.int64],
    seed: int,
) -> Model[Remembered] | None:
    """The same for the tiles of large pictures; None where there are none."""
    tiles = [tile for one in sightings for tile in one.tiles]
    if not tiles:
        return None
    own = np.repeat(groups, [len(one.tiles) for one in sightings])
    normality = remember(eyes, tiles, own, None, seed, lambda done, total: None)
    return fit_model(eyes, heads, head, normality, tiles, own, seed, aligned=False)


def _numbered(model: Model[Remembered], numbers: npt.NDArray[np.int32]) -> Model[Remembered]:
    """The same, the pictures of its bank numbered as in the profile."""
    normality = model.normality
    bank = replace(normality.bank, pictures=numbers[normality.bank.pictures])
    return replace(model, normality=replace(normality, bank=bank))


def _part(progress: Progress, what: str, k: int, partition: Partition) -> Callable[[int, int], None]:
    """Progress of fold ``k`` as a part of that of all folds."""
    folds = len(partition.folds)
    return lambda done, total: progress(what, k * total + done, total * folds)
