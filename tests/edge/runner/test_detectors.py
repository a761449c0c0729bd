"""Detectors without the package: all experts of the ensemble, and tiles of large pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from anomalist.edge import export
from anomalist.edge.export import read_arrays
from anomalist.edge.runner.detectors import EnsembleScorer, FusedMapScorer, PictureScorer
from anomalist.types.common import UInt8Array
from anomalist.vision.calibration import Partition, leave_groups_out
from anomalist.vision.detectors.base import LearningData, LearningSettings, no_progress
from anomalist.vision.detectors.ensemble import EnsembleDetector
from anomalist.vision.detectors.experts import MAHALANOBIS, NEIGHBOURS, SURFACE, TEMPLATE
from anomalist.vision.detectors.surface import SurfaceDetector
from anomalist.vision.features.dinov2 import open_shared
from scripts.generated_parts import make_part
from tests.pictures import tile
from tests.vision.detectors.test_ensemble import change_settings


def part(seed: int, defect: str | None = None) -> UInt8Array:
    """A generated plate of 64×64 pixels."""
    picture = make_part("plate", seed, defect)[0]
    return np.asarray(cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA), np.uint8)


def scorer_of(detector: EnsembleDetector | SurfaceDetector, folder: Path) -> PictureScorer:
    """What the runner makes of a detector."""
    detector.save(folder / "detector.safetensors")
    stored, settings = read_arrays(folder / "detector.safetensors")
    if isinstance(detector, EnsembleDetector):
        parts = export._ensemble_parts(detector, stored, settings)
    else:
        parts = export._surface_parts(stored, settings)
    for name, model in parts.networks.items():
        onnx.save(model, str(folder / name))
    kind = EnsembleScorer if isinstance(detector, EnsembleDetector) else FusedMapScorer
    return kind(folder, parts.arrays, parts.settings)


def test_all_experts_of_the_ensemble_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("features.dinov2", "detectors.token_memory"):
        monkeypatch.setattr(f"anomalist.vision.{module}.uses_bfloat16", lambda device: False)
    monkeypatch.setattr("anomalist.vision.detectors.expert_weights._TRIAL_PICTURES", 1)
    monkeypatch.setattr("anomalist.vision.detectors.ensemble.without_idle", lambda model, weights: model)
    open_shared.cache_clear()
    pictures = [part(seed) for seed in range(5)]
    groups = np.arange(len(pictures))
    prepared = [EnsembleDetector.prepare(picture) for picture in pictures]
    data = LearningData(prepared, groups, leave_groups_out(groups))
    detector = EnsembleDetector.learn(data, LearningSettings("normal", 0), no_progress)
    # What the trials say of the experts doesn't matter here: each has a share.
    detector.weights = dict.fromkeys((NEIGHBOURS, MAHALANOBIS, SURFACE, TEMPLATE), 0.25)
    assert detector.whole.template is not None and detector.whole.surface is not None
    scorer = scorer_of(detector, tmp_path)
    for picture in (part(10), part(11, "scratch"), np.full((64, 64, 3), 90, np.uint8)):
        (expected,) = detector.score([picture])
        scores, score_map = scorer.score(picture, None)
        assert scores[0] == pytest.approx(expected.scores[0], abs=5e-3, rel=1e-3)
        assert np.abs(score_map - expected.score_map).max() < 0.05 * max(1, np.abs(score_map).max())
    open_shared.cache_clear()


def test_tiles_keep_to_the_region_of_interest_with_and_without_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("features.dinov2", "detectors.token_memory"):
        monkeypatch.setattr(f"anomalist.vision.{module}.uses_bfloat16", lambda device: False)
    open_shared.cache_clear()
    roi = np.zeros((384, 1600), bool)
    roi[:, 500:] = True
    groups = np.arange(2)
    prepared = [EnsembleDetector.prepare_within(tile(seed, 1600)[:384], roi) for seed in groups]
    data = LearningData(prepared, groups, leave_groups_out(groups), roi)
    detector = EnsembleDetector.learn(data, LearningSettings("fast", 0), no_progress)
    assert detector.fine is not None
    hidden, shown = tile(5, 1600)[:384].copy(), tile(5, 1600)[:384].copy()
    hidden[180:200, 340:360] = 5  # in a tile that lies partly inside
    shown[180:200, 640:660] = 5  # in the same tile
    clean, beside, found = detector.score([tile(5, 1600)[:384], hidden, shown], roi)
    assert beside.scores[0] == clean.scores[0]
    assert found.scores[0] > clean.scores[0] + 5
    place = np.unravel_index(np.where(roi, found.score_map, -np.inf).argmax(), roi.shape)
    assert abs(place[0] - 190) < 40 and abs(place[1] - 650) < 40
    scores, score_map = scorer_of(detector, tmp_path).score(shown, roi)
    assert scores[0] == pytest.approx(found.scores[0], abs=5e-3, rel=1e-3)
    inside = np.abs(score_map - found.score_map)[roi]
    assert inside.max() < 0.05 * np.abs(found.score_map).max()
    change_settings(tmp_path / "detector.safetensors", lambda settings: settings.pop("tiles_in_roi"))
    before = EnsembleDetector.load(tmp_path / "detector.safetensors")  # learned by a version without it
    assert before.score([hidden], roi)[0].scores[0] > clean.scores[0] + 5
    open_shared.cache_clear()


def test_large_pictures_and_strips_are_scored_in_tiles(tmp_path: Path) -> None:
    pictures = [tile(seed, 1600)[:384] for seed in range(2)]
    data = LearningData(
        [SurfaceDetector.prepare(picture) for picture in pictures],
        np.arange(2),
        Partition((((0, 1), ()),)),
    )
    detector = SurfaceDetector.learn(data, LearningSettings("fast", 0), no_progress)
    assert detector.fold_models[0].fine is not None
    bad = tile(5, 1600)[:384].copy()
    bad[300:304, 200:260] = 10
    (expected,) = detector.score([bad])
    scores, score_map = scorer_of(detector, tmp_path).score(bad, None)
    assert scores[0] == pytest.approx(expected.scores[0], abs=1e-3, rel=1e-4)
    assert np.unravel_index(score_map.argmax(), score_map.shape) == np.unravel_index(
        expected.score_map.argmax(), expected.score_map.shape
    )
