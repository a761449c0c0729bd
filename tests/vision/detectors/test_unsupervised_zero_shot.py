"""Without normals: pictures are ranked by what stands out in them, and nothing is decided."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from anomalist.errors import MediaError
from anomalist.pipeline import Inspector
from anomalist.types.image import Evidence
from anomalist.vision.detectors.unsupervised import ZeroShotEvidence
from anomalist.vision.evidence import EvidenceSource
from anomalist.vision.features.extractor import WEIGHTS_SHA256
from tests.pictures import holed, tile, write


@pytest.fixture(scope="module")
def zero_shot() -> ZeroShotEvidence:
    return ZeroShotEvidence()


def measured(evidence_source: EvidenceSource, paths: Sequence[Path]) -> list[Evidence]:
    found = [evidence for _, _, evidence in evidence_source.measure(paths)]
    assert all(isinstance(evidence, Evidence) for evidence in found)
    return [evidence for evidence in found if isinstance(evidence, Evidence)]


def test_it_stands_in_for_a_profile_and_says_what_it_rests_on(zero_shot: ZeroShotEvidence) -> None:
    evidence_source: EvidenceSource = zero_shot
    assert (evidence_source.name, evidence_source.digest, evidence_source.calibrations) == (
        "zero-shot",
        WEIGHTS_SHA256,
        {},
    )


def test_nothing_is_calibrated_and_the_reason_is_told(zero_shot: ZeroShotEvidence, tmp_path: Path) -> None:
    path = write(tmp_path / "bad.png", holed(1))
    (evidence,) = measured(zero_shot, [path])
    assert evidence.p_value is evidence.threshold is evidence.calibration is None
    assert evidence.basis == "itself"
    assert any("uncalibrated" in note for note in evidence.notes)
    record = Inspector(zero_shot).inspect(path).record
    assert (record.label, record.p_value, record.calibration) == ("undecided", None, None)
    assert "Uncalibrated" in (record.why_undecided or "")
    assert record.score == pytest.approx(evidence.score)
    assert (record.profile, record.profile_digest) == ("zero-shot", WEIGHTS_SHA256)


def test_a_hole_is_marked_where_it_is_and_ranks_above_good_tiles(
    zero_shot: ZeroShotEvidence, tmp_path: Path
) -> None:
    paths = [write(tmp_path / f"{k}.png", tile(k)) for k in range(4)]
    paths += [write(tmp_path / f"bad{k}.png", holed(k)) for k in range(4, 8)]
    found = measured(zero_shot, paths)
    scores = [evidence.score for evidence in found]
    assert min(scores[4:]) > max(scores[:4])
    for evidence in found[4:]:
        assert evidence.score_map.shape == evidence.mask.shape == (64, 64)
        assert evidence.roi_area == 64 * 64
        row, column = np.unravel_index(evidence.score_map.argmax(), (64, 64))
        assert abs(row - 16) < 9 and abs(column - 16) < 9
        assert evidence.regions
        assert evidence.mask[:32, :32].sum() > 0.9 * evidence.mask.sum()


def test_pictures_of_all_sizes_get_what_they_get_alone(zero_shot: ZeroShotEvidence, tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{side}.png", tile(side, side)) for side in (64, 96, 64 + 1, 17)]
    together = measured(zero_shot, paths)
    for path, evidence in zip(paths, together, strict=True):
        (alone,) = measured(zero_shot, [path])
        assert evidence.score == pytest.approx(alone.score, abs=1e-3)
        assert evidence.score_map == pytest.approx(alone.score_map, abs=1e-3)
        assert evidence.score_map.shape == (int(path.stem),) * 2


def test_a_small_defect_of_a_large_picture_is_seen_in_its_tile(
    zero_shot: ZeroShotEvidence, tmp_path: Path
) -> None:
    import cv2

    noise = np.random.default_rng(0).normal(0, 1, (800, 1000)).astype(np.float32)
    grey = np.clip(140 + 60 * cv2.GaussianBlur(noise, (0, 0), 4) + 3 * noise, 0, 255).astype(np.uint8)
    cv2.circle(grey, (707, 303), 6, 40, -1)
    (evidence,) = measured(zero_shot, [write(tmp_path / "large.png", np.repeat(grey[..., None], 3, 2))])
    row, column = np.unravel_index(evidence.score_map.argmax(), (800, 1000))
    assert evidence.score_map.shape == (800, 1000)
    assert abs(row - 303) <= 16 and abs(column - 707) <= 16
    without = evidence.score_map.copy()
    without[270:336, 674:740] = -np.inf
    assert evidence.score_map.max() > without.max() + 0.5


def test_what_can_not_be_read_becomes_an_error_and_the_rest_goes_on(
    zero_shot: ZeroShotEvidence, tmp_path: Path
) -> None:
    broken = tmp_path / "b.png"
    broken.write_bytes(b"not a picture")
    speck = write(tmp_path / "c.png", tile(1)[:4, :4])
    paths = [write(tmp_path / "a.png", tile(1)), broken, speck, write(tmp_path / "d.png", tile(2))]
    found = list(zero_shot.measure(paths))
    assert [path for path, _, _ in found] == paths
    kinds = [type(evidence) for _, _, evidence in found]
    assert kinds == [Evidence, MediaError, MediaError, Evidence]
    assert [media is None for _, media, _ in found] == [False, True, False, False]
    records = [inspection.record for inspection in Inspector(zero_shot).inspect_many(paths)]
    assert [record.status for record in records] == ["ok", "error", "error", "ok"]
