"""Blind probes: what is glaring is found, what is faint is missed, and the map says so with intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anomalist.agent.tools.subject import ProbeCell
from anomalist.audit.log import AuditLog
from anomalist.audit.probes import (
    SHAPES,
    SIZES,
    fresh_normals,
    newest_probes,
    paint,
    place_mask,
    probe_results,
    run_probes,
)
from anomalist.errors import DataError
from anomalist.vision.profile import Profile
from tests.audit.conftest import Logged
from tests.pictures import write_tiles


def test_large_contrast_is_found_more_often_than_small(tiles_profile: Profile, tmp_path: Path) -> None:
    normals = write_tiles(tmp_path / "fresh", 3, first=900)
    found = run_probes(tiles_profile, fresh_normals(tiles_profile, [tmp_path / "fresh"]), each=2, seed=1)
    assert len(found.probes) == 2 * 5 * 4 and found.untouched.of == len(normals)
    faint, glaring = found.found(contrast=0.04), found.found(contrast=0.32)
    assert faint.share is not None and glaring.share is not None and glaring.share > faint.share
    assert found.located.share is not None and found.located.share > 0.7
    assert found == run_probes(tiles_profile, normals, each=2, seed=1)


def test_questions_are_answered_by_the_newest_probes_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANOMALIST_HOME", str(tmp_path))
    assert probe_results() == {}
    cell = {"size": 0.02, "contrast": 0.08, "share": 0.25, "low": 0.1, "high": 0.5, "of": 12}
    with AuditLog() as log:
        log.append("probe", {"profile": "housing", "grid": [{**cell, "share": 1.0}]})
        log.append("probe", {"profile": "housing", "grid": [cell]})
        log.append("probe", {"profile": "other", "grid": [cell]})
    newest, found = newest_probes()["housing"], probe_results()["housing"]
    assert found.entry == newest.id
    assert found.cells == (ProbeCell(size=0.02, contrast=0.08, painted=12, found=3),)


def test_pictures_that_were_learned_from_are_no_fresh_normals(tiles_profile: Profile, tmp_path: Path) -> None:
    write_tiles(tmp_path / "same", 2)  # the first of those in the profile
    with pytest.raises(DataError, match="not learned from"):
        fresh_normals(tiles_profile, [tmp_path / "same"])


def test_without_a_folder_pictures_of_the_log_that_were_called_normal_serve(
    kept_log: Logged, tiles_profile: Profile
) -> None:
    normal = [record for record in kept_log.records if record.label == "normal"]
    assert len(fresh_normals(tiles_profile, (), kept_log.folder)) == len(normal)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", SIZES)
def test_a_mask_has_the_asked_size(shape: str, size: float) -> None:
    alpha = place_mask(np.random.default_rng(2), shape, size, (200, 300), None)
    ys, xs = np.nonzero(alpha > 0.3)
    side = max(np.ptp(xs), np.ptp(ys)) + 1
    assert alpha.shape == (200, 300) and alpha.max() == pytest.approx(1)
    assert abs(side - max(2, 300 * size)) <= 4


def test_a_mask_lies_where_it_may(tmp_path: Path) -> None:
    allowed = np.zeros((100, 100), np.bool_)
    allowed[:, 60:] = True
    for seed in range(10):
        alpha = place_mask(np.random.default_rng(seed), "spot", 0.04, (100, 100), allowed)
        assert np.nonzero(alpha > 0.3)[1].mean() > 55


def test_paint_moves_the_grey_level_and_stays_in_range() -> None:
    pixels = np.full((20, 20, 3), 250, np.uint8)
    alpha = np.zeros((20, 20), np.float32)
    alpha[5:9, 5:9] = 1
    assert paint(pixels, alpha, 0.2)[6, 6, 0] == 199  # lighter can't be seen there
