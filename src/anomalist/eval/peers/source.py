"""Peers as evidence sources: what they give is calibrated as other detectors are, on normals kept apart.

A peer learns one model a fold; the normals that a fold keeps apart, and all test pictures, are scored by it.
So its p-values, decisions and masks are made as those of any detector without a calibration of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from anomalist.errors import AnomalistError, DetectorError
from anomalist.eval.detection import Contender, MeasuredCost
from anomalist.eval.image_datasets import Split
from anomalist.eval.peers.baselines import PyodPeer, neighbours
from anomalist.eval.peers.protocol import PeerScores, script_peer
from anomalist.eval.result_cache import files_digest
from anomalist.storage.files import digest_of
from anomalist.types.common import DetectorInfo, FloatArray
from anomalist.types.image import Evidence
from anomalist.vision.calibration import CalibrationSet, partition
from anomalist.vision.detectors.base import Progress
from anomalist.vision.detectors.fusion import resize_map
from anomalist.vision.evidence import MeasuredPicture
from anomalist.vision.media.images import load_image, source_of
from anomalist.vision.regions import find_regions, segment

NEIGHBOURS, PYOD = "neighbours", "pyod"
NORMAL_PIXELS = 0.99
"""Share of the pixels of normal pictures below the level from which a region grows."""

PeerRun = Callable[[Sequence[Path], Sequence[Path], int, Path], PeerScores]
"""Learns from pictures, scores others; given a seed and an empty folder."""


def is_peer(name: str) -> bool:
    """Whether a detector's name is that of a peer: a baseline, or KIND:WHAT."""
    return name == NEIGHBOURS or ":" in name


def peer_contender(name: str, python: Path | None, rate: float | None) -> Contender:
    """A peer as a contender: ``neighbours``, ``pyod:KNN``, ``anomalib:Patchcore``, ``peer:SCRIPT``.

    Parameters
    ----------
    name : see above.
    python : interpreter of those that have an environment of their own.
    rate : false-alarm rate that is asked for; None for the default, or the lowest that can be reached.

    Raises
    ------
    DetectorError : the name is not known, or no interpreter is named.
    """
    run: PeerRun
    made_by = ""
    kind, _, what = name.partition(":")
    if name == NEIGHBOURS:
        run = neighbours
    elif kind == PYOD:
        run = PyodPeer(what)
    else:
        run = script = script_peer(name, python)
        made_by = f"{script.python} {files_digest([script.script])}"
    make = partial(make_peer_evidence, run=run, name=name, rate=rate)
    return Contender(name, make, rate=rate, learns=True, made_by=made_by)


def make_peer_evidence(
    parts: Split, seed: int, folder: Path, progress: Progress, *, run: PeerRun, name: str, rate: float | None
) -> PeerEvidence:
    """Let a peer learn, and score the calibration and test pictures, fold by fold."""
    normals = [item for item in parts.train if _is_readable(item.path)]
    learn = [item.path for item in normals]
    test = [item.path for item in parts.test if _is_readable(item.path)]
    if len({item.group for item in normals}) < 2:
        raise DetectorError(f"{name} needs normal pictures of two objects or more.")
    _, groups = np.unique([item.group for item in normals], return_inverse=True)
    folds = partition(groups.astype(np.int64), seed).folds
    apart = np.zeros(len(learn), np.int64) - 1
    known = np.zeros(len(learn))
    scores, maps, cost = [], list[list[FloatArray | None]](), list[PeerScores]()
    high, low = [], []
    for number, (learning, calibrating) in enumerate(folds):
        progress(f"{name} learns and scores", number, len(folds))
        given = run(
            [learn[at] for at in learning],
            [*(learn[at] for at in calibrating), *test],
            seed,
            folder / f"fold-{number}",
        )
        kept = len(calibrating)
        apart[list(calibrating)], known[list(calibrating)] = number, given.scores[:kept]
        scores.append(given.scores[kept:])
        maps.append(list(given.maps[kept:]))
        normal = [one for one in given.maps[:kept] if one is not None]
        high += [float(one.max()) for one in normal]
        low += [float(np.quantile(one, NORMAL_PIXELS)) for one in normal]
        cost.append(given)
    progress(f"{name} learns and scores", len(folds), len(folds))
    used = apart >= 0
    _, numbers = np.unique(groups[used], return_inverse=True)
    calibration = CalibrationSet(known[used], apart[used], numbers.astype(np.int64), seed)
    decided = rate or calibration.rate_by_default
    pictures = max(1, sum(len(each.scores) for each in cost))
    memory = [each.peak_memory_mb for each in cost if each.peak_memory_mb is not None]
    return PeerEvidence(
        name=name,
        version=cost[0].version,
        calibration=calibration,
        rate=decided,
        levels=(float(np.quantile(high, 1 - decided)), float(np.median(low))) if high else None,
        scores={source_of(path): [each[at] for each in scores] for at, path in enumerate(test)},
        maps={source_of(path): [each[at] for each in maps] for at, path in enumerate(test)},
        cost=MeasuredCost(
            learn_seconds=sum(each.learn_seconds for each in cost),
            ms_per_image=1000 * sum(each.score_seconds for each in cost) / pictures * len(folds),
            peak_memory_mb=max(memory, default=None),
        ),
    )


def _is_readable(path: Path) -> bool:
    try:
        load_image(path)
    except AnomalistError:
        return False
    return True


@dataclass(frozen=True, eq=False)
class PeerEvidence:
    """Evidence from the scores and maps of a peer.

    Parameters
    ----------
    name, version : of the peer.
    calibration : scores of the normals that were kept apart.
    rate : that is decided at.
    levels : from which a region starts, and to which it grows, on the map; None without maps.
    scores, maps : by source, one of each a fold.
    cost : what it took.
    """

    name: str
    version: str
    calibration: CalibrationSet
    rate: float
    levels: tuple[float, float] | None
    scores: Mapping[str, Sequence[float]]
    maps: Mapping[str, Sequence[FloatArray | None]]
    cost: MeasuredCost
    normal_crop = None
    compared_with = "nothing"

    @property
    def digest(self) -> str:
        """Over its name, version and calibration."""
        return digest_of(self.name, self.version, repr(self.calibration.scores.tolist()))

    @property
    def calibrations(self) -> Mapping[str, CalibrationSet]:
        """Its calibration."""
        return {self.digest: self.calibration}

    @property
    def gives_maps(self) -> bool:
        """Whether it says where something is."""
        return self.levels is not None

    def measure(self, paths: Iterable[str | Path]) -> Iterator[MeasuredPicture]:
        """See `EvidenceSource.measure`; only test pictures of the split are known."""
        digest = self.digest
        for path in paths:
            try:
                media = load_image(path)
                scores = self.scores[source_of(path)]
            except (AnomalistError, KeyError) as error:
                wrong = error if isinstance(error, AnomalistError) else DetectorError("It was not scored.")
                yield path, None, wrong
                continue
            found = [one for one in self.maps[source_of(path)] if one is not None]
            score = float(np.mean(scores))
            if found and self.levels is not None:
                several = np.stack([resize_map(one, media.size) for one in found])
                score_map = np.asarray(several.mean(0), np.float32)
                high, low = self.levels
                mask = segment(score_map, None, high=max(high, low), low=low)
            else:
                score_map = np.full(media.size, score, np.float32)
                mask = np.zeros(media.size, np.bool_)
            evidence = Evidence(
                detector=DetectorInfo(name=self.name, version=self.version or "unknown", digest=digest),
                score=score,
                score_map=score_map,
                mask=mask,
                roi_area=mask.size,
                p_value=self.calibration.p_value(scores),
                threshold=self.calibration.threshold(self.rate),
                calibration=self.calibration.summary(scores, self.rate),
                regions=find_regions(media.pixels, score_map, mask),
            )
            yield path, media, evidence
