"""Who measures a picture: evidence or an error for each, in order, by a profile or anything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anomalist.errors import AnomalistError, MediaError
from anomalist.types.common import DetectorInfo
from anomalist.types.image import Evidence, Media
from anomalist.vision.calibration import CalibrationSet
from anomalist.vision.detectors.base import DetectorOutput
from anomalist.vision.evidence import EvidenceSource, ProfileEvidence, ScoredInput, measure, measure_all
from anomalist.vision.media.images import load_image
from anomalist.vision.profile import Manifest, Profile
from tests.detectors import NAME, GreyDetector
from tests.pictures import write


def profile(left: bool = False) -> Profile:
    """Grey 100 is normal; calibration scores 1 … 40. With a region of interest: the left half."""
    manifest = Manifest(
        name="grey", created="", detector=NAME, effort="fast", seed=0, backbone=None, grouped=False,
        low=0.5, normals=(), files={"detector.safetensors": "ab12"},
    )  # fmt: skip
    calibration = CalibrationSet(np.arange(1.0, 41), np.zeros(40, np.int64), np.arange(40))
    roi = np.arange(16)[None].repeat(16, 0) < 8 if left else None
    return Profile(manifest, Path("p"), GreyDetector(np.array([100.0])), calibration, roi)


def even(folder: Path, grey: int, side: int = 16) -> Path:
    return write(folder / f"{grey:03d}.png", np.full((side, side, 3), grey, np.uint8))


def scored_by(media: Media) -> DetectorOutput:
    return DetectorOutput(np.array([1.0]), np.zeros(media.size, np.float32))


def evidence_of(media: Media, scored: DetectorOutput) -> Evidence:
    mask = np.zeros(media.size, bool)
    return Evidence(DetectorInfo(name="n", digest="d"), float(media.pixels.mean()), scored.score_map, mask, 1)


# --- by a profile -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [False, True])
def test_a_profile_measures_every_picture_as_it_would_alone(tmp_path: Path, left: bool) -> None:
    paths = [even(tmp_path, grey) for grey in range(90, 190, 5)]  # more than one batch
    evidence_source: EvidenceSource = ProfileEvidence(profile(left), 0.05)
    found = list(evidence_source.measure(iter(paths)))
    assert [path for path, _, _ in found] == paths
    for path, media, evidence in found:
        read, used = load_image(path), profile(left)
        (scored,) = used.detector.score([read.pixels], used.roi)
        expected = measure(used, read, ScoredInput(scored), 0.05)
        assert media is not None and media.sha256 == read.sha256
        assert isinstance(evidence, Evidence)
        assert (evidence.score, evidence.p_value) == (expected.score, expected.p_value)
        assert (evidence.threshold, evidence.regions) == (expected.threshold, expected.regions)
        assert evidence.roi_area == (128 if left else 256)


def test_a_profile_is_named_and_calibrated_by_itself_and_the_rate_sets_the_threshold() -> None:
    used = profile()
    lax, strict = ProfileEvidence(used, 0.3), ProfileEvidence(used, 0.05)
    for evidence_source in (lax, strict):
        assert (evidence_source.name, evidence_source.digest) == ("grey", used.digest)
        assert evidence_source.calibrations == {used.digest: used.calibration}
    assert used.calibration.threshold(0.3) < used.calibration.threshold(0.05)  # type: ignore[operator]


def test_the_rate_is_that_of_the_evidence(tmp_path: Path) -> None:
    path = even(tmp_path, 130)
    for rate in (0.05, 0.3):
        ((_, _, evidence),) = ProfileEvidence(profile(), rate).measure([path])
        assert isinstance(evidence, Evidence)
        assert evidence.threshold == profile().calibration.threshold(rate)


# --- whatever scores ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 16, 17])
def test_every_picture_gets_its_own_evidence_in_order(tmp_path: Path, n: int) -> None:
    paths = [even(tmp_path, grey) for grey in range(n)]
    found = list(measure_all(lambda several: [scored_by(m) for m in several], evidence_of, paths))
    assert [path for path, _, _ in found] == paths
    assert [evidence.score for _, _, evidence in found if isinstance(evidence, Evidence)] == list(range(n))


def test_errors_of_reading_scoring_and_measuring_stand_in_for_their_picture_alone(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a picture")
    paths: list[str | Path] = [
        even(tmp_path, 1),
        broken,
        even(tmp_path, 2),
        even(tmp_path, 3),
        even(tmp_path, 4),
    ]

    def score(several: list[Media]) -> list[DetectorOutput]:
        if any(media.pixels.max() == 2 for media in several):
            raise MediaError("can't score")
        return [scored_by(media) for media in several]

    def measure(media: Media, scored: DetectorOutput) -> Evidence:
        if media.pixels.max() == 3:
            raise MediaError("can't measure")
        return evidence_of(media, scored)

    found = list(measure_all(score, measure, paths))
    assert [path for path, _, _ in found] == paths
    said = [e.message if isinstance(e, AnomalistError) else e.score for _, _, e in found]
    assert said[0] == 1 and said[2:] == ["can't score", "can't measure", 4]
    assert "broken.png" in str(said[1])
    assert [media is None for _, media, _ in found] == [False, True, False, False, False]


def test_what_is_no_fault_of_a_picture_is_not_hidden(tmp_path: Path) -> None:
    def measure(media: Media, scored: DetectorOutput) -> Evidence:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(measure_all(lambda several: [scored_by(m) for m in several], measure, [even(tmp_path, 1)]))
