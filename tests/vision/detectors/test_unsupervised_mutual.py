"""A folder against itself: the odd one out stands out, copies count once, a few are not enough."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from anomalist.errors import DataError
from anomalist.pipeline import Inspector
from anomalist.types.common import FloatArray
from anomalist.types.image import Evidence
from anomalist.vision.detectors import unsupervised
from anomalist.vision.detectors.unsupervised import (
    MIN_PICTURES,
    SAMPLE_SIZE,
    MutualEvidence,
    MutualNormality,
    mutual_distances,
)
from anomalist.vision.evidence import EvidenceSource
from anomalist.vision.features import dinov2
from tests.pictures import holed, tile, write

pytestmark = pytest.mark.usefixtures("module_in_full")

# --- distances --------------------------------------------------------------------------------------------


def units(*shape: int, seed: int = 0) -> FloatArray:
    drawn = np.random.default_rng(seed).normal(size=shape)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=-1, keepdims=True), np.float32)


def distances_one_by_one(
    descriptors: FloatArray, others: Sequence[FloatArray], without: Sequence[int]
) -> FloatArray:
    """The nearest patch of every other picture; of those the closest 30 %; their mean."""
    found = np.zeros(descriptors.shape[:2], np.float32)
    for place in np.ndindex(*found.shape):
        patch = descriptors[place].astype(float)
        nearest = sorted(
            min(float(((patch - other) ** 2).sum()) for other in own.astype(float))
            for number, own in enumerate(others)
            if number not in without
        )
        closest = nearest[: max(1, round(0.3 * len(nearest)))]
        found[place] = sum(closest) / len(closest)
    return found


@pytest.mark.parametrize(
    ("count", "without"), [(1, []), (2, [0]), (4, []), (7, [2]), (10, [0, 9]), (5, [8]), (12, [])]
)
def test_distances_are_those_of_a_slow_loop(count: int, without: list[int]) -> None:
    others = [units(9 + k, 8, seed=k) for k in range(count)]  # not all of one size
    descriptors = units(3, 4, 8, seed=99)
    found = mutual_distances(descriptors, others, np.array(without, np.int32))
    assert (found.shape, found.dtype) == ((3, 4), np.float32)
    assert found == pytest.approx(distances_one_by_one(descriptors, others, without), abs=1e-5)


def test_patches_that_most_pictures_have_are_at_0_and_never_below() -> None:
    own = units(20, 8)
    found = mutual_distances(
        own.reshape(4, 5, 8), [own, own, own, units(5, 8, seed=1)], np.empty(0, np.int32)
    )
    assert found.min() >= 0
    assert found.max() < 1e-5


def test_a_patch_that_only_one_other_picture_has_is_still_odd() -> None:
    usual, odd = units(1, 8), units(1, 8, seed=1)
    others = [usual] * 9 + [np.concatenate([usual, odd])]
    found = mutual_distances(np.stack([usual, odd])[:, :1], others, np.empty(0, np.int32)).ravel()
    assert found[0] == pytest.approx(0, abs=1e-5)
    assert found[1] == pytest.approx(2 / 3 * ((usual - odd) ** 2).sum(), abs=1e-4)


@pytest.mark.parametrize("shape", [(7,), (2, 3), (2, 3, 4)])
def test_novelty_is_a_z_score_over_the_folder_in_any_shape(shape: tuple[int, ...]) -> None:
    others = MutualNormality(tuple(units(9, 8, seed=k) for k in range(5)), 0.2, 0.1)
    new = units(*shape, 8, seed=50)
    distances = mutual_distances(new.reshape(-1, 1, 8), others.descriptors, np.empty(0, np.int32))
    expected = np.clip((distances.reshape(shape) - 0.2) / (0.1 + 0.02), -4, 12)
    assert others.novelty(new) == pytest.approx(expected, abs=1e-4)
    grid = new.reshape(-1, 1, 8)
    left_out = others.novelty_excluding(grid, np.array([0, 1], np.int32))
    fewer = MutualNormality(others.descriptors[2:], 0.2, 0.1)
    assert left_out == pytest.approx(fewer.novelty(grid), abs=1e-4)


# --- a folder ---------------------------------------------------------------------------------------------

SIDE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Eight similar tiles, the sixth of which has a hole."""
    place = tmp_path_factory.mktemp("folder")
    return [write(place / f"{k}.png", holed(k, SIDE) if k == 5 else tile(k, SIDE)) for k in range(8)]


@pytest.fixture(scope="module")
def unlabelled(folder: list[Path]) -> MutualEvidence:
    return MutualEvidence(folder)


def scores(evidence_source: EvidenceSource, paths: Sequence[Path]) -> list[float]:
    found = [evidence for _, _, evidence in evidence_source.measure(paths)]
    assert all(isinstance(evidence, Evidence) for evidence in found)
    return [evidence.score for evidence in found if isinstance(evidence, Evidence)]


def test_the_odd_one_out_scores_highest_and_is_marked_where_it_is_odd(
    unlabelled: MutualEvidence, folder: list[Path]
) -> None:
    found = scores(unlabelled, folder)
    assert int(np.argmax(found)) == 5
    assert found[5] > sorted(found)[-2] + 1
    ((_, _, evidence),) = unlabelled.measure([folder[5]])
    assert isinstance(evidence, Evidence)
    row, column = np.unravel_index(evidence.score_map.argmax(), (SIDE, SIDE))
    assert abs(row - SIDE // 4) < 9 and abs(column - SIDE // 4) < 9
    assert evidence.regions
    assert evidence.mask[: SIDE // 2, : SIDE // 2].any()


def test_without_a_transformer_the_surface_network_finds_it(
    folder: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANOMALIST_BACKBONE")
    monkeypatch.setattr(dinov2, "find_spec", lambda name: None)  # as where the carrier is not installed
    found = scores(by_surface := MutualEvidence(folder), folder)
    assert int(np.argmax(found)) == 5
    assert by_surface.digest != MutualEvidence(folder, seed=1).digest


def test_nothing_is_decided_and_the_reason_is_told(unlabelled: MutualEvidence, folder: list[Path]) -> None:
    record = Inspector(unlabelled).inspect(folder[5]).record
    assert (record.label, record.p_value, record.basis) == ("undecided", None, "folder")
    assert "compared with each other" in (record.why_undecided or "")
    assert (record.profile, record.profile_digest) == ("unlabelled", unlabelled.digest)
    assert unlabelled.calibrations == {}


def test_a_copy_of_a_picture_does_not_make_it_normal(
    unlabelled: MutualEvidence, folder: list[Path], tmp_path: Path
) -> None:
    copy = Path(shutil.copy(folder[5], tmp_path / "copy.png"))
    assert scores(unlabelled, [copy]) == scores(unlabelled, [folder[5]])
    with_copies = MutualEvidence(
        [*folder, copy, *(Path(shutil.copy(p, tmp_path / p.name)) for p in folder[:3])]
    )
    assert scores(with_copies, folder) == pytest.approx(scores(unlabelled, folder), abs=1e-3)


def test_a_new_picture_is_compared_with_all_of_them(unlabelled: MutualEvidence, tmp_path: Path) -> None:
    good, bad = write(tmp_path / "a.png", tile(60, SIDE)), write(tmp_path / "b.png", holed(60, SIDE))
    lower, higher = scores(unlabelled, [good, bad])
    assert higher > lower + 1


def test_scores_follow_the_seed_and_not_the_batch(folder: list[Path]) -> None:
    few = folder[:4]
    one, again, other = MutualEvidence(few), MutualEvidence(few), MutualEvidence(few, seed=1)
    assert again.digest == one.digest != other.digest
    found = scores(one, few)
    assert scores(again, few) == found
    assert found[:2] == pytest.approx([scores(one, [path])[0] for path in few[:2]], abs=1e-3)


def test_of_a_large_folder_a_sample_is_drawn_that_follows_the_seed(
    folder: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SAMPLE_SIZE > MIN_PICTURES
    monkeypatch.setattr(unsupervised, "SAMPLE_SIZE", 5)
    told: list[tuple[str, int, int]] = []
    samples = [
        set(unsupervised.draw_sample(folder, seed, lambda *what: told.append(what)))
        for seed in (0, 0, 1, 2, 3)
    ]
    assert [len(sample) for sample in samples] == [5] * 5
    assert samples[0] == samples[1]
    assert len({frozenset(sample) for sample in samples}) > 1
    assert told[:5] == [("sampling", k, 5) for k in range(1, 6)]


def test_progress_is_told(folder: list[Path]) -> None:
    told: list[tuple[str, int, int]] = []
    MutualEvidence(folder[:4], progress=lambda *what: told.append(what))
    assert told == [(what, k, 4) for what in ("sampling", "comparing") for k in range(1, 5)]


# --- what can't be used -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("good", "copies", "broken", "found"),
    [(0, 0, 0, 0), (3, 0, 0, 3), (3, 4, 0, 3), (3, 0, 2, 3), (0, 0, 9, 0)],
)
def test_too_few_different_pictures_are_an_error_that_counts_them(
    tmp_path: Path, good: int, copies: int, broken: int, found: int
) -> None:
    paths = [write(tmp_path / f"{k}.png", tile(k)) for k in range(good)]
    paths += [Path(shutil.copy(paths[0], tmp_path / f"copy{k}.png")) for k in range(copies)]
    paths += [tmp_path / f"gone{k}.png" for k in range(broken)]
    with pytest.raises(DataError, match=rf"^{found} different pictures .* at least {MIN_PICTURES}"):
        MutualEvidence(paths)


def test_what_can_not_be_read_counts_for_nothing_and_gets_its_error(
    folder: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a picture")
    paths = [*folder[:4], broken, write(tmp_path / "speck.png", tile(1)[:4, :4])]
    kinds = [type(evidence).__name__ for _, _, evidence in MutualEvidence(paths).measure(paths)]
    assert kinds == ["Evidence"] * 4 + ["MediaError"] * 2
