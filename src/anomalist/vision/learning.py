"""Normal pictures to a learned, calibrated profile."""

from __future__ import annotations

import csv
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from anomalist.errors import AnomalistError, DataError
from anomalist.types import BoolArray, UInt8Array
from anomalist.vision.calibration import CalibrationSet, Partition
from anomalist.vision.detectors import Detector, Progress
from anomalist.vision.media import load_image, source_of
from anomalist.vision.profile import Normal

MOST_NORMALS = 1000
"""More add little and cost memory: a random sample of this many is learned from."""

_LOW_QUANTILE = 0.995


@dataclass(frozen=True, eq=False)
class Normals:
    """Readable normal pictures, reduced to what learning keeps of them.

    ``groups`` is int (n,), 0 to G − 1; ``names`` holds the named groups, or is empty. ``skipped`` says which
    pictures were left out and why.
    """

    paths: tuple[Path, ...]
    pictures: tuple[UInt8Array, ...]
    hashes: tuple[str, ...]
    groups: npt.NDArray[np.int64]
    names: tuple[str, ...]
    skipped: tuple[str, ...]


def sample(paths: Sequence[Path], limit: int | None, seed: int) -> list[Path]:
    """At most ``limit`` (and ``MOST_NORMALS``) of the paths, drawn at random, in their order."""
    if limit is not None and limit < 2:
        raise DataError("At least 2 pictures are needed to learn what is normal.", "Raise --limit.")
    most = min(limit or MOST_NORMALS, MOST_NORMALS)
    if len(paths) <= most:
        return list(paths)
    return [
        paths[i] for i in sorted(np.random.default_rng((seed, 3)).choice(len(paths), most, replace=False))
    ]


def read_groups(file: Path, paths: Sequence[Path]) -> dict[str, str]:
    """Read ``image,group`` rows and give each path its group.

    A row fits a path that is the same or ends with it (``good/a.jpg`` fits ``data/good/a.jpg``); the longest
    fit counts. Raises DataError for a table that can't be read and for pictures without a group.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            rows = list(csv.DictReader(opened))
        table = {Path(row["image"]).parts: row["group"] for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError) as error:
        raise DataError(
            f"The groups {file} can't be read: {error}.", "It must be a CSV file with the header image,group."
        ) from error
    found: dict[str, str] = {}
    for path in paths:
        parts = path.parts
        fitting = [table[parts[i:]] for i in range(len(parts)) if parts[i:] in table]
        if fitting and fitting[0]:
            found[str(path)] = fitting[0]
    missing = [path for path in paths if str(path) not in found]
    if missing:
        raise DataError(f"{len(missing)} pictures have no group in {file}, the first is {missing[0]}.")
    return found


def read_normals(
    paths: Sequence[Path], groups: Mapping[str, str] | None, detector: type[Detector], progress: Progress
) -> Normals:
    """Read the pictures; what can't be read is skipped and listed, never fatal while two remain.

    Without named groups every picture is its own, but copies of one file share theirs.
    """
    kept, pictures, hashes, labels, skipped = [], [], [], [], []
    for done, path in enumerate(paths, 1):
        try:
            media = load_image(path)
            pictures.append(detector.prepare(media.pixels))
        except AnomalistError as error:
            skipped.append(f"{source_of(path)}: {error.message}")
            continue
        finally:
            progress("reading", done, len(paths))
        kept.append(path)
        hashes.append(media.sha256)
        labels.append(groups[str(path)] if groups else media.sha256)
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    if len(numbers) < 2:
        what = "groups of normal pictures" if groups else "different normal pictures"
        reasons = f" Skipped: {'; '.join(skipped[:3])}" if skipped else ""
        raise DataError(
            f"At least 2 {what} that can be read are needed, found {len(numbers)}.{reasons}",
            "20 or more are needed for decisions at the default false-alarm rate.",
        )
    return Normals(
        tuple(kept),
        tuple(pictures),
        tuple(hashes),
        np.array([numbers[label] for label in labels], np.int64),
        tuple(labels) if groups else (),
        tuple(skipped),
    )


def calibrate(
    detector: Detector,
    normals: Normals,
    parts: Partition,
    roi: BoolArray | None,
    seed: int,
    progress: Progress,
) -> tuple[CalibrationSet, float]:
    """Score every calibration picture as a new one, read from its file again, under its fold's model.

    Also returns the map level that few normal pixels reach: the median over pictures of each map's 99.5 %
    quantile.
    """
    places = [(k, i) for k, (_, apart) in enumerate(parts.folds) for i in apart]
    scores, levels = [], []
    for done, (fold, index) in enumerate(places, 1):
        pixels = load_image(normals.paths[index]).pixels
        scored = detector.score([pixels], roi, fold)[0]
        scores.append(scored.scores[0])
        levels.append(np.quantile(scored.score_map, _LOW_QUANTILE))
        progress("calibrating", done, len(places))
    _, renumbered = np.unique(normals.groups[[i for _, i in places]], return_inverse=True)
    calibration = CalibrationSet(
        np.array(scores, np.float64),
        np.array([k for k, _ in places], np.int64),
        renumbered.astype(np.int64),
        seed,
    )
    return calibration, float(np.median(levels))


def listed(normals: Normals, parts: Partition) -> tuple[Normal, ...]:
    """What the manifest says about each picture."""
    learned = {i for learning, _ in parts.folds for i in learning}
    apart = {i for _, kept in parts.folds for i in kept}
    return tuple(
        Normal(
            source=source_of(path),
            sha256=normals.hashes[i],
            group=normals.names[i] if normals.names else None,
            use="both" if i in learned and i in apart else "learn" if i in learned else "calibrate",
        )
        for i, path in enumerate(normals.paths)
    )


def now() -> str:
    """The time, UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
