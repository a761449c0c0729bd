"""Evidence sources: score pictures and turn score and map into `Evidence`, against a profile or without one.

Evidence is p-value, threshold, mask and regions. Also crops the nearest normal patch of a region, for
comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from anomalist.errors import AnomalistError, CalibrationError, MediaError
from anomalist.types.common import DetectorInfo, UInt8Array
from anomalist.types.image import Basis, Evidence, ExpertScore, Media, ProductMatch, Region, is_alarm
from anomalist.types.shift import InputShift
from anomalist.vision.calibration import CalibrationSet, groups_needed
from anomalist.vision.detectors.base import BatchScorer, DetectorOutput, OutputT, score_in_batches
from anomalist.vision.media.images import load_image
from anomalist.vision.media.values import ValueScale
from anomalist.vision.outlines import outline_places
from anomalist.vision.profile import Manifest, MixedProfile, Profile
from anomalist.vision.regions import crop_window, find_regions, resize_roi, segment
from anomalist.vision.shift.model import AssessedInput, warp_back
from anomalist.vision.shift.run_test import RunTest, RunTests, drift_in_run
from anomalist.vision.weak_places import find_weak_places

_LARGER = 1.2  # times the area of the normal pictures, from which the record says so


def validated_rate(profile: Profile, asked: float | None) -> float:
    """The false-alarm rate to decide at: the asked one, or `CalibrationSet.rate_by_default`.

    Raises CalibrationError when an asked rate is not between 0 and 1, or can't be reached.
    """
    if asked is None:
        return profile.calibration.rate_by_default
    if not 0 < asked < 1:
        raise CalibrationError(f"The false-alarm rate must be between 0 and 1, got {asked}.")
    have, needed = profile.calibration.n_groups, groups_needed(asked)
    if have < needed:
        what = "groups of normal pictures" if profile.manifest.grouped else "normal pictures"
        raise CalibrationError(
            f"A false-alarm rate of {asked:g} needs {needed} {what} for calibration; "
            f"this profile has {have}, which support {profile.calibration.lowest_rate:.3g} and above.",
            "Learn from more pictures, or ask for a higher rate.",
        )
    return asked


@dataclass(frozen=True, eq=False)
class ScoredInput:
    """What a detector gave a picture, as it was corrected for small differences from the normal ones."""

    output: DetectorOutput
    assessed: AssessedInput | None = None

    def in_place(self, size: tuple[int, int]) -> DetectorOutput:
        """The output in the frame of the picture that was given, (height, width), less the correction."""
        if self.assessed is None:
            return self.output
        less = self.assessed.shift.score_correction
        score_map = self.output.score_map
        if self.assessed.matrix is not None:
            score_map = warp_back(score_map, self.assessed.matrix, size)
        if not less:
            return replace(self.output, score_map=score_map)
        return replace(self.output, scores=self.output.scores - less, score_map=score_map - np.float32(less))


def score_inputs(profile: Profile, several: Sequence[Media]) -> list[ScoredInput]:
    """Compare pictures as a whole with the normals of a profile, correct them, and score them."""
    model, detector, roi = profile.inputs, profile.detector, profile.roi
    if model is None:
        return [ScoredInput(output) for output in detector.score([each.pixels for each in several], roi)]
    assessed = [model.assess(each.pixels, roi) for each in several]
    outputs = detector.score([each.pixels for each in assessed], roi)
    return [ScoredInput(*each) for each in zip(outputs, assessed, strict=True)]


def _shift_of(profile: Profile, given: ScoredInput) -> InputShift | None:
    """How a picture compares as a whole, with what only its anomaly map shows."""
    if given.assessed is None or profile.inputs is None:
        return None
    shift = given.assessed.shift
    unlike = profile.inputs.unlike(given.output.score_map, profile.roi, corrected=shift.score_correction)
    return shift if shift.changes or unlike is None else shift.replace(changes=(unlike,), corrected=())


def measure(profile: Profile, media: Media, given: ScoredInput, rate: float) -> Evidence:
    """Make calibrated evidence of one scored picture, to be decided at the false-alarm ``rate``.

    No place is marked on a picture that as a whole is not like the normal ones. Raises MediaError when scores
    are not finite or the region of interest vanishes at this size.
    """
    _check_finite(given.output)
    scored, shift = given.in_place(media.size), _shift_of(profile, given)
    calibration, manifest = profile.calibration, profile.manifest
    roi = resize_roi(profile.roi, media.size)
    threshold = calibration.threshold(rate)
    compared = given.assessed.comparison if given.assessed else None
    if shift is not None and shift.changes:
        mask = np.zeros(media.size, np.bool_)
    elif scored.experts and manifest.place is not None:
        level, low = manifest.place, manifest.low
        mask = outline_places(media.pixels, scored.score_map, roi, level=level, low=low)
        if compared is not None:
            mask = compared.outline_missing(mask, scored.score_map, level=level, low=low)
            mask = mask if roi is None else mask & roi
    else:
        # Out of reach: regions are what scores above every normal picture.
        high = threshold if threshold is not None else float(calibration.scores.max())
        mask = segment(scored.score_map, roi, high=max(high, manifest.low), low=manifest.low)
    regions = find_regions(media.pixels, scored.score_map, mask, roi)
    if compared is not None:
        regions = tuple(compared.with_direction(region, mask) for region in regions)
    known = profile.detector.name_regions(media.pixels, regions)
    p_value = calibration.p_value(scored.scores)
    reached = threshold if is_alarm(p_value, rate) else None
    return Evidence(
        detector=DetectorInfo(
            name=manifest.detector, version=manifest.version, digest=manifest.files["detector.safetensors"]
        ),
        score=float(scored.scores.mean()),
        score_map=scored.score_map,
        mask=mask,
        roi_area=int(roi.sum()) if roi is not None else mask.size,
        p_value=p_value,
        threshold=threshold,
        calibration=calibration.summary(scored.scores, rate),
        regions=tuple(region.replace(known=kind) for region, kind in zip(regions, known, strict=True)),
        experts=tuple(
            ExpertScore(name=each.name, score=each.score, weight=each.weight) for each in scored.experts
        ),
        expert_maps={each.name: each.score_map for each in scored.experts},
        input_shift=shift,
        weak_places=find_weak_places(scored.score_map, roi, regions, level=manifest.place, threshold=reached),
        notes=(
            *_cautions(profile),
            *_kept_outliers(manifest),
            *_corrections(shift),
            *_larger_than_normal(profile, media.size),
        ),
    )


def _cautions(profile: Profile) -> Iterator[str]:
    """What a detector has to say about every score that it gives: that its model was learned elsewhere."""
    caution = getattr(profile.detector, "caution", "")
    if caution:
        yield caution


def _corrections(shift: InputShift | None) -> Iterator[str]:
    for change in shift.corrected if shift else ():
        yield f"taken out before scoring: {change.words}"


def _larger_than_normal(profile: Profile, size: tuple[int, int]) -> Iterator[str]:
    """Note where a picture has more places at which to be alarmed than those it was calibrated on."""
    times = profile.inputs.times_as_large(size) if profile.inputs else 1.0
    if times >= _LARGER:
        yield (
            f"{times:.1f} times as large as the normal pictures: the rate of false alarms was calibrated on "
            f"pictures of their size, and may be up to {times:.1f} times as high here"
        )


def watch_run(tests: RunTests, measured: Iterable[MeasuredPicture]) -> Iterator[MeasuredPicture]:
    """Test the pictures of a run for drift, in their order; once it is found, the evidence says so."""
    for path, media, evidence in measured:
        found = drift_in_run(tests, evidence) if isinstance(evidence, Evidence) else None
        if found is not None and isinstance(evidence, Evidence):
            shift, note = found
            evidence = replace(evidence, input_shift=shift, notes=(*evidence.notes, note))
        yield path, media, evidence


def _kept_outliers(manifest: Manifest) -> tuple[str, ...]:
    """Note where pictures that don't belong to the rest were learned from and calibrate."""
    if manifest.check is None or manifest.check.decision != "kept":
        return ()
    count = len(manifest.check.outliers)
    return (f"outliers kept among the normals: {count}; defects like them can pass",)


def measure_uncalibrated(
    media: Media,
    scored: DetectorOutput,
    detector: DetectorInfo,
    basis: Basis,
    *,
    high: float,
    low: float,
    outlined: bool = False,
) -> Evidence:
    """Make evidence of one scored picture without calibration.

    ``high`` and ``low`` are the levels of `regions.segment`, or, of a map that is coarser than the picture,
    with ``outlined`` those of `outlines.outline_places`. Raises MediaError as `measure` does.
    """
    _check_finite(scored)
    if outlined:
        mask = outline_places(media.pixels, scored.score_map, None, level=high, low=low)
    else:
        mask = segment(scored.score_map, None, high=high, low=low)
    return Evidence(
        detector=detector,
        score=float(scored.scores.mean()),
        score_map=scored.score_map,
        mask=mask,
        roi_area=mask.size,
        regions=find_regions(media.pixels, scored.score_map, mask),
        basis=basis,
        notes=("uncalibrated: scores rank pictures, they decide nothing",),
    )


def _check_finite(scored: DetectorOutput) -> None:
    if not np.isfinite(scored.scores).all() or not np.isfinite(scored.score_map).all():
        raise MediaError("The detector gave no finite score for this picture.")


NormalCrop = Callable[[Media, Region], UInt8Array | None]
"""Cuts what is normal at the place of a region out of a picture, uint8 (h, w, 3); None if none is known."""

MeasuredPicture = tuple[str | Path, Media | None, Evidence | AnomalistError]
"""A path, its picture (None when it could not be read), and its evidence or the error in its place."""


class EvidenceSource(Protocol):
    """A source of evidence on pictures."""

    @property
    def name(self) -> str:
        """Name of the profile, or what replaces it in records."""
        ...

    @property
    def digest(self) -> str:
        """Hex SHA-256 of everything but the picture that the evidence depends on."""
        ...

    @property
    def calibrations(self) -> Mapping[str, CalibrationSet]:
        """Calibration scores by the digest of the profile; empty without calibration."""
        ...

    @property
    def rate(self) -> float | None:
        """The false-alarm rate that is decided at; None where nothing was calibrated."""
        ...

    @property
    def normal_crop(self) -> NormalCrop | None:
        """What a region can be compared with; None where there is no normal picture."""
        ...

    @property
    def compared_with(self) -> str:
        """Where that comes from, in words: "the nearest normal picture", "the reference"."""
        ...

    def measure(self, paths: Iterable[str | Path]) -> Iterator[MeasuredPicture]:
        """Measure pictures in order; an error replaces the evidence of what can't be judged."""
        ...


@runtime_checkable
class RunWatcher(Protocol):
    """An evidence source that also tests its run for drift, for which it must see the pictures in order."""

    def measure_each(self, paths: Iterable[str | Path]) -> Iterator[MeasuredPicture]:
        """Measure as `EvidenceSource.measure` does, each picture without those before it."""

    def run_tests(self) -> RunTests:
        """New tests for drift, for what `measure_each` gave, wherever that was done."""


@dataclass(frozen=True)
class ProfileEvidence:
    """Evidence by the detector and calibration of a profile, to be decided at a false-alarm ``rate``."""

    profile: Profile
    rate: float
    compared_with = "the nearest normal picture"

    @property
    def name(self) -> str:
        """Name of the profile."""
        return self.profile.name

    @property
    def digest(self) -> str:
        """Digest of the profile; the rate belongs to the settings."""
        return self.profile.digest

    @property
    def calibrations(self) -> Mapping[str, CalibrationSet]:
        """Calibration of the profile."""
        return {self.profile.digest: self.profile.calibration}

    @property
    def normal_crop(self) -> NormalCrop:
        """The normal patch that is most like a region."""
        return NearestNormalCrop(self.profile)

    def measure(self, paths: Iterable[str | Path]) -> Iterator[MeasuredPicture]:
        """Score a batch at a time; see `EvidenceSource.measure`."""
        return watch_run(self.run_tests(), self.measure_each(paths))

    def measure_each(self, paths: Iterable[str | Path]) -> Iterator[MeasuredPicture]:
        """See `RunWatcher.measure_each`."""
        return measure_all(
            lambda several: score_inputs(self.profile, several),
            lambda media, scored: measure(self.profile, media, scored, self.rate),
            paths,
            self.profile.manifest.scale,
        )

    def run_tests(self) -> RunTests:
        """See `RunWatcher.run_tests`."""
        test = RunTest(self.profile.inputs) if self.profile.inputs is not None else None
        return lambda evidence: test


@dataclass(frozen=True)
class MixedEvidence:
    """Evidence by the profile of the product that a picture shows, to be decided at that product's rate.

    Parameters
    ----------
    profile : of several products.
    rates : false-alarm rate by product.
    """

    profile: MixedProfile
    rates: Mapping[str, float]
    compared_with = "the nearest normal picture"

    @classmethod
    def at(cls, profile: MixedProfile, asked: float | None) -> MixedEvidence:
        """Decide at an asked rate or the default; raises CalibrationError as `validated_rate` does."""
        rates = {}
        for product in profile.products:
            try:
                rates[product.name] = validated_rate(product, asked)
            except CalibrationError as error:
                raise CalibrationError(f"{product.name}: {error.message}", error.remedy) from error
        return cls(profile, rates)

    @property
    def name(self) -> str:
        """Name of the whole profile."""
        return self.profile.name

    @property
    def digest(self) -> str:
        """Digest of the whole profile."""
        return self.profile.digest

    @property
    def calibrations(self) -> Mapping[str, CalibrationSet]:
        """Calibration of each product."""
        return {product.digest: product.calibration for product in self.profile.products}

    @property
    def rate(self) -> float:
        """The highest of the products' rates."""
        return max(self.rates.values())

    @property
    def normal_crop(self) -> NormalCrop:
        """The patch of the product's normals that is most like a region."""

        def crop(media: Media, region: Region) -> UInt8Array | None:
            ((_, product),) = self.profile.recognise([media.pixels])
            return NearestNormalCrop(product)(media, region)

        return crop

    def measure(self, paths: Iterable[str | Path]) -> Iterator[MeasuredPicture]:
        """Recognise and score a batch at a time; see `EvidenceSource.measure`."""
        return watch_run(self.run_tests(), self.measure_each(paths))

    def measure_each(self, paths: Iterable[str | Path]) -> Iterator[MeasuredPicture]:
        """See `RunWatcher.measure_each`."""
        scale = self.profile.products[0].manifest.scale  # one for all, see `pipeline.learn_products`
        return measure_all(self._score, self._evidence, paths, scale)

    def run_tests(self) -> RunTests:
        """See `RunWatcher.run_tests`."""
        tests = {
            product.name: RunTest(product.inputs)
            for product in self.profile.products
            if product.inputs is not None
        }
        return lambda evidence: tests.get(evidence.product.name) if evidence.product else None

    def _score(self, several: list[Media]) -> list[_ProductOutput]:
        found = self.profile.recognise([media.pixels for media in several])
        scored: dict[int, ScoredInput] = {}
        for product in self.profile.products:
            chosen = [i for i, (_, profile) in enumerate(found) if profile is product]
            if chosen:
                outputs = score_inputs(product, [several[i] for i in chosen])
                scored.update(zip(chosen, outputs, strict=True))
        return [_ProductOutput(*each, scored[i]) for i, each in enumerate(found)]

    def _evidence(self, media: Media, given: _ProductOutput) -> Evidence:
        evidence = measure(given.profile, media, given.scored, self.rates[given.match.name])
        inside = resize_roi(given.profile.roi, media.size)
        counting = evidence.score_map if inside is None else evidence.score_map[inside]
        low, peak = given.profile.manifest.low, float(counting.max())
        strange = float((counting > (low + peak) / 2).mean()) if peak > low else 0.0
        match = given.match.replace(strange_share=round(strange, 4))
        return replace(evidence, product=match, notes=(*evidence.notes, *_product_notes(match)))


@dataclass(frozen=True, eq=False)
class _ProductOutput:
    """What the detector of the product that a picture shows gave."""

    match: ProductMatch
    profile: Profile
    scored: ScoredInput


TIE_RATIO = 1.3
"""How many times as far the next product must be, not to be named as nearly as similar."""


def _product_notes(match: ProductMatch) -> Iterator[str]:
    if not match.recognised:
        return
    yield (
        f"product: {match.name} (at {match.distance:.2f} times the distance that is accepted; "
        f"next {match.next}, {match.next_ratio:.1f} times as far)"
    )
    if match.distance > 1:
        share = f"{100 * match.strange_share:.0f} %"
        yield f"the picture as a whole is unlike {match.name}, but only {share} of it stands out"
    if match.next_ratio < TIE_RATIO:
        yield f"{match.next} is nearly as similar as {match.name}: it is judged as {match.name}"


def measure_all(
    score: BatchScorer[OutputT],
    evidence_of: Callable[[Media, OutputT], Evidence],
    paths: Iterable[str | Path],
    scale: ValueScale | None = None,
) -> Iterator[MeasuredPicture]:
    """Read and score pictures in batches and make evidence of each, or yield the error in its place.

    ``scale`` is that of values of more than 8 bit.
    """
    for path, media, scored in score_in_batches(score, paths, scale):
        if media is None or isinstance(scored, AnomalistError):
            assert isinstance(scored, AnomalistError)  # what could not be read has its error
            yield path, media, scored
            continue
        try:
            yield path, media, evidence_of(media, scored)
        except AnomalistError as error:
            yield path, media, error


@dataclass(frozen=True, eq=False)
class NearestNormalCrop:
    """Crops the nearest normal patch of a region from the pictures that a profile was learned from."""

    profile: Profile

    def __call__(self, media: Media, region: Region) -> UInt8Array | None:
        """Crop around the nearest normal patch, uint8 (h, w, 3), of the size of the region's own crop.

        None when the detector has no memory bank, or the normal picture is gone or has changed.
        """
        nearest = self.profile.detector.nearest_normal_patch(media.pixels, region.box)
        if nearest is None:
            return None
        learned = self.profile.manifest.normals[nearest.picture]
        try:
            normal = load_image(learned.source, scale=self.profile.manifest.scale)
        except MediaError:
            return None
        if normal.sha256 != learned.sha256:
            return None
        height, width = normal.size
        x0, y0, x1, y1 = region.box
        scale = max(normal.size) / max(media.size)
        across, down = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
        x, y = round(nearest.centre[0] * width - across / 2), round(nearest.centre[1] * height - down / 2)
        left, top, right, bottom = crop_window((x, y, x + across, y + down), normal.size)
        return normal.pixels[top:bottom, left:right]
