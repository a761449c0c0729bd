"""Learning: read normal pictures, score the calibration pictures as new ones, list them for the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from anomalist.errors import AnomalistError, DataError, MediaError
from anomalist.types.common import BoolArray, FloatArray, UInt8Array
from anomalist.vision.calibration import DEFAULT_RATE, CalibrationSet, Partition, groups_needed
from anomalist.vision.detectors.base import Detector, DetectorOutput, Progress, leaves_out
from anomalist.vision.detectors.labelled_defects import KnownDefect
from anomalist.vision.detectors.token_memory import NormalTokens
from anomalist.vision.media.images import (
    IMAGE_SUFFIXES,
    list_images,
    load_image,
    match_groups,
    source_of,
    visible_entries,
)
from anomalist.vision.media.values import ValueScale
from anomalist.vision.profile import NormalPicture
from anomalist.vision.regions import resize_roi
from anomalist.vision.shift.model import COMPRESSION, LIGHT, POSE, SIZE, InputModel, InputSample
from anomalist.vision.shift.nuisances import NUISANCES

_NO_PRODUCTS = {"good", "train", "test", "ground_truth"}  # what data sets call the parts of one product
MAX_NORMALS = 1000
"""Normal pictures that are learned from at most, a random sample; more add little and cost memory."""

PLACE_SHARE = 0.003
"""Share of the pixels of normal pictures that lie above the level from which a place is shown."""
_LOW_QUANTILE = 0.995
_MAX_COUNTED = 4_000_000  # pixels of a map that its quantiles rest on; of more, every second, third, …
_TAIL = 0.05  # of the pixels of a map, its highest, stand for it where levels are set
_TAIL_QUANTILES = 1 - _TAIL * (np.arange(500) + 0.5) / 500


@dataclass(frozen=True, eq=False)
class NormalSet:
    """Readable normal pictures, reduced for learning; n of each but ``skipped``.

    Parameters
    ----------
    paths : their files.
    pictures : reduced by the detector's ``prepare``.
    hashes : hex SHA-256 of the files.
    groups : int64 (n,), pictures of the same object share a number; 0 to G − 1.
    names : of the groups; empty when they have none.
    skipped : which pictures were left out and why.
    samples : of the whole pictures, for the model of the input.
    scale : of values of more than 8 bit; None where there are none.
    tokens : of the pictures, where they are computed already.
    """

    paths: tuple[Path, ...]
    pictures: tuple[Any, ...]
    hashes: tuple[str, ...]
    groups: npt.NDArray[np.int64]
    names: tuple[str, ...]
    skipped: tuple[str, ...]
    samples: tuple[InputSample, ...] = ()
    scale: ValueScale | None = None
    tokens: NormalTokens | None = None


def sample_paths(paths: Sequence[Path], limit: int | None, seed: int) -> list[Path]:
    """Draw at most ``limit`` (and ``MAX_NORMALS``) of the paths at random; their order stays."""
    if limit is not None and limit < 2:
        raise DataError("At least 2 pictures are needed to learn what is normal.", "Raise --limit.")
    most = min(limit or MAX_NORMALS, MAX_NORMALS)
    if len(paths) <= most:
        return list(paths)
    drawn = np.random.default_rng((seed, 3)).choice(len(paths), most, replace=False)
    return [paths[i] for i in sorted(drawn)]


def list_products(folder: Path) -> dict[str, tuple[Path, ...]]:
    """The normal pictures of each product, by name: the folders directly in ``folder``.

    Where a product's folder has ``train/good`` or ``good`` in it, the pictures of that one count.

    Raises
    ------
    DataError : pictures beside the folders, fewer than two products, or fewer than two pictures of one.
    """
    if not folder.is_dir():
        raise DataError(
            f"{source_of(folder)} is not a folder.", "Give a folder with a folder for each product."
        )
    entries = visible_entries(folder)[::-1]
    loose = [entry for entry in entries if entry.suffix.lower() in IMAGE_SUFFIXES and not entry.is_dir()]
    products = {entry.name: entry for entry in entries if entry.is_dir()}
    if loose:
        raise DataError(
            f"{source_of(loose[0])} belongs to no product.",
            "Put every picture into the folder of its product.",
        )
    if _NO_PRODUCTS & products.keys():
        raise DataError(
            f"{source_of(folder)} is of one product: it has a folder {min(_NO_PRODUCTS & products.keys())}.",
            "Give the folder above it, or learn its good pictures without --products.",
        )
    if len(products) < 2:
        raise DataError(
            f"At least 2 products are needed, found {len(products)} in {source_of(folder)}.",
            "Give a folder with a folder for each product.",
        )
    found = {}
    for name, place in products.items():
        good = next((sub for sub in (place / "train" / "good", place / "good") if sub.is_dir()), place)
        found[name] = list_images([good]).images
        if len(found[name]) < 2:
            raise DataError(
                f"The product {name} has too few pictures: {len(found[name])} in {source_of(good)}.",
                "Give at least 2, or take that folder away.",
            )
    return found


def read_normals(
    paths: Sequence[Path],
    groups: Mapping[str, str] | None,
    detector: type[Detector],
    progress: Progress,
    scale: ValueScale | None = None,
    roi: BoolArray | None = None,
) -> NormalSet:
    """Read the pictures; unreadable ones are skipped and listed while two groups remain.

    Without named groups every picture is a group, but copies of one file share theirs.

    Parameters
    ----------
    groups : group of each path, found as in `match_groups`; None for none.
    scale : of values of more than 8 bit, see `learn_scale`.
    roi : bool (H, W), what counts; None for everything.

    Raises
    ------
    DataError : fewer than two groups are left, a picture has no group, or copies of one have different ones.
    """
    named = None if groups is None else match_groups(groups, paths)
    kept: list[Path] = []
    pictures: list[Any] = []
    hashes: list[str] = []
    skipped: list[str] = []
    samples: list[InputSample] = []
    for done, path in enumerate(paths, 1):
        try:
            media = load_image(path, scale=scale)
            pictures.append(_prepare(detector, media.pixels, roi))
            samples.append(InputSample.of(media.pixels, roi))
            kept.append(path)
            hashes.append(media.sha256)
        except AnomalistError as error:
            skipped.append(f"{source_of(path)}: {error.message}")
        progress("reading", done, len(paths))
    labels = hashes if named is None else [named[str(path)] for path in kept]
    _refuse_copies_apart(kept, hashes, labels)
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    if len(numbers) < 2:
        what = "different normal pictures" if named is None else "groups of normal pictures"
        reasons = f" Skipped: {'; '.join(skipped[:3])}" if skipped else ""
        raise DataError(
            f"At least 2 {what} that can be read are needed, found {len(numbers)}.{reasons}",
            f"Decisions at the default false-alarm rate need {groups_needed(DEFAULT_RATE)} or more.",
        )
    return NormalSet(
        tuple(kept),
        tuple(pictures),
        tuple(hashes),
        np.array([numbers[label] for label in labels], np.int64),
        () if named is None else tuple(labels),
        tuple(skipped),
        tuple(samples),
        scale,
    )


def _prepare(detector: type[Detector], pixels: UInt8Array, roi: BoolArray | None) -> Any:  # noqa: ANN401
    """What learning keeps of a picture; a detector that keeps parts of it takes them from inside the ROI."""
    within = getattr(detector, "prepare_within", None)
    return detector.prepare(pixels) if roi is None or within is None else within(pixels, roi)


def _refuse_copies_apart(paths: Sequence[Path], hashes: Sequence[str], labels: Sequence[str]) -> None:
    """Raise DataError for copies of a picture in different groups: none of them could be scored as new."""
    first: dict[str, int] = {}
    for number, digest in enumerate(hashes):
        other = first.setdefault(digest, number)
        if labels[other] != labels[number]:
            raise DataError(
                f"{source_of(paths[other])} and {source_of(paths[number])} are the same picture in the "
                f"groups {labels[other]} and {labels[number]}.",
                "Take one of them away, or give them the same group.",
            )


def refuse_defects_among(normals: NormalSet, defects: Sequence[KnownDefect]) -> None:
    """Raise DataError for a normal picture that is a labelled defect, too: what it shows would pass."""
    sources = dict(zip(normals.hashes, normals.paths, strict=True))
    both = [defect for defect in defects if defect.sha256 in sources]
    if both:
        more = f", and so are {len(both) - 1} others" * (len(both) > 1)
        raise DataError(
            f"{source_of(sources[both[0].sha256])} is a normal picture and the labelled defect {both[0].id}"
            f"{more}.",
            "Take it away from the normal pictures, or from the defects.",
        )


@dataclass(frozen=True)
class MapLevels:
    """Levels of the anomaly maps of unseen normal pictures.

    Parameters
    ----------
    low : that few normal pixels reach: the median over pictures of the 99.5 % quantile of each map.
    place : that ``PLACE_SHARE`` of all normal pixels reach; a place above it is shown, whatever the label.
    typical : median and highest, over pictures, of the median of each map.
    """

    low: float
    place: float
    typical: tuple[float, float]


def calibrate(
    detector: Detector,
    normals: NormalSet,
    parts: Partition,
    roi: BoolArray | None,
    seed: int,
    progress: Progress,
) -> tuple[CalibrationSet, MapLevels]:
    """Score every calibration picture as a new one, by a model that has not seen it; also the maps' levels.

    A detector with folds reads it from its file again and uses its fold's model; one that leaves groups out
    scores every picture that it learned from without those of the same object.
    """
    places = [(fold, index) for fold, (_, apart) in enumerate(parts.folds) for index in apart]
    scores: list[float] = []
    quantiles: list[float] = []
    pixels: list[FloatArray] = []
    medians: list[float] = []
    for done, (fold, index) in enumerate(places, 1):
        scored = _score_as_new(detector, normals, index, roi, fold)
        scores.append(float(scored.scores[0]))
        inside = resize_roi(roi, scored.score_map.shape)
        counting = scored.score_map.ravel() if inside is None else scored.score_map[inside]
        counting = counting[:: max(1, counting.size // _MAX_COUNTED)]
        quantiles.append(float(np.quantile(counting, _LOW_QUANTILE)))
        medians.append(float(np.median(counting)))
        # Quantiles stand for the pixels of a picture, so that pictures count the same whatever their size.
        pixels.append(np.quantile(counting, _TAIL_QUANTILES).astype(np.float32))
        progress("calibrating", done, len(places))
    if leaves_out(detector):
        detector.forget_unseen()  # type: ignore[attr-defined]
    _, groups = np.unique(normals.groups[[index for _, index in places]], return_inverse=True)
    calibration = CalibrationSet(
        np.array(scores, np.float64),
        np.array([fold for fold, _ in places], np.int64),
        groups.astype(np.int64),
        seed,
        left_out=leaves_out(detector),
    )
    low = float(np.median(quantiles))
    place = max(low, float(np.quantile(np.concatenate(pixels), 1 - PLACE_SHARE / _TAIL)))
    return calibration, MapLevels(low, place, (float(np.median(medians)), max(medians)))


_CORRECTION_PICTURES = 8  # normal pictures, at most, on which what a correction leaves is measured
_CORRECTION_SPREAD = 1.5  # standard deviations of what it leaves, on top of the mean
_CORRECTION_CHANGES = {
    LIGHT: "brighter",
    POSE: "turned",
    SIZE: "halved",
    COMPRESSION: "compressed",
}


def measure_corrections(
    detector: Detector,
    normals: NormalSet,
    parts: Partition,
    model: InputModel,
    roi: BoolArray | None,
    progress: Progress,
) -> InputModel:
    """The model with what small changes leave in the score when they have been taken out of the picture.

    Measured on normal pictures that are scored as new ones, with the change and without it.
    """
    places = [(fold, index) for fold, (_, apart) in enumerate(parts.folds) for index in apart]
    step = max(1, len(places) // _CORRECTION_PICTURES)
    chosen = places[::step][:_CORRECTION_PICTURES]
    left: dict[str, list[float]] = {kind: [] for kind in _CORRECTION_CHANGES}
    for done, (fold, index) in enumerate(chosen, 1):
        picture = load_image(normals.paths[index], scale=normals.scale).pixels
        usual = _score_picture_as_new(detector, picture, index, roi, fold)
        for kind, name in _CORRECTION_CHANGES.items():
            seen = model.assess(NUISANCES[name](picture), roi)
            if not seen.shift.changes:
                score = _score_picture_as_new(detector, seen.pixels, index, roi, fold)
                left[kind].append(score - usual)
        progress("correcting", done, len(chosen))
    corrections = {
        kind: max(0.0, float(np.mean(each) + _CORRECTION_SPREAD * np.std(each)))
        for kind, each in left.items()
        if each
    }
    return replace(model, corrections=corrections)


def _score_picture_as_new(
    detector: Detector, picture: UInt8Array, index: int, roi: BoolArray | None, fold: int
) -> float:
    """Score of a changed normal picture by what has not seen the picture."""
    if leaves_out(detector):
        return float(detector.score_changed(index, picture, roi).scores[0])  # type: ignore[attr-defined]
    return float(detector.score([picture], roi, fold)[0].scores[0])


def _score_as_new(
    detector: Detector, normals: NormalSet, index: int, roi: BoolArray | None, fold: int
) -> DetectorOutput:
    path = normals.paths[index]

    def read() -> UInt8Array:
        return load_image(path, scale=normals.scale).pixels

    if leaves_out(detector):
        scored: DetectorOutput = detector.score_unseen(index, read, roi)  # type: ignore[attr-defined]
    else:
        (scored,) = detector.score([read()], roi, fold)
    if not np.isfinite(scored.scores).all() or not np.isfinite(scored.score_map).all():
        raise MediaError(f"The detector gave no finite score for the normal picture {source_of(path)}.")
    return scored


def normal_entries(normals: NormalSet, parts: Partition) -> tuple[NormalPicture, ...]:
    """Entries of the manifest, one for each picture."""
    learned = {i for learning, _ in parts.folds for i in learning}
    apart = {i for _, kept in parts.folds for i in kept}
    return tuple(
        NormalPicture(
            source=source_of(path),
            sha256=normals.hashes[i],
            group=normals.names[i] if normals.names else None,
            use="both" if i in learned and i in apart else "learn" if i in learned else "calibrate",
        )
        for i, path in enumerate(normals.paths)
    )
