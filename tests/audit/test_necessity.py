"""Reasons that are tested: cited regions are needed, other places of the same size are not."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.audit.necessity import (
    DISTURBANCES,
    audit_reasons,
    place_of,
    tone_between,
    uncited_place,
)
from anomalist.audit.replay import Replayer
from anomalist.errors import DataError
from tests.audit.conftest import Logged
from tests.pictures import holed


def test_the_hole_is_needed_and_the_control_is_not(kept_log: Logged) -> None:
    replayer = Replayer(kept_log.folder)
    for entry in kept_log.entries("anomalous")[:2]:
        found = audit_reasons(entry, replayer)
        assert found.needed_together and "R1" in found.needed and found.control_keeps
        (without,) = [trial for trial in found.trials if trial.cited == ("R1",)]
        assert without.score < found.before.score / 2
        assert any(text.startswith("Without R1: the score falls from") for text in found.sentences())
        assert [trial.what for trial in found.disturbed] == list(DISTURBANCES)


def test_a_control_lies_where_nothing_is_cited() -> None:
    taken = np.zeros((40, 40), np.bool_)
    taken[:, :20] = True
    box = uncited_place(taken, (2, 3, 12, 9), np.random.default_rng(0))
    assert box is not None and box[0] >= 20 and (box[2] - box[0], box[3] - box[1]) == (10, 6)
    assert uncited_place(np.ones((40, 40), np.bool_), (2, 3, 12, 9), np.random.default_rng(0)) is None
    assert uncited_place(taken, (0, 0, 60, 6), np.random.default_rng(0)) is None


@pytest.mark.parametrize("name", DISTURBANCES)
def test_disturbances_change_the_picture_a_little(name: str) -> None:
    before = holed(3)
    after = DISTURBANCES[name](before, np.random.default_rng(0))
    assert after.shape == before.shape and after.dtype == np.uint8
    assert 0 < np.abs(after.astype(int) - before).mean() < 15


def test_a_decision_without_normals_is_refused(logged: Logged) -> None:
    for picture in (logged.folder.parent).glob("nothing"):
        picture.unlink()
    from anomalist.audit.recording import AuditTrail, RunTrail
    from anomalist.composition import InspectionSettings
    from anomalist.pipeline import Inspector

    inspector = Inspector(InspectionSettings(model="evidence"))
    trail = AuditTrail(logged.folder)
    trail.begin_inspection(inspector, "inspect")
    with RunTrail(trail, None) as kept:
        list(kept.keep([inspector.inspect(logged.pictures[0]).record]))
    entry = logged.entries()[-1]
    with pytest.raises(DataError, match="no calibrated normals"):
        audit_reasons(entry, Replayer(logged.folder))
    assert Replayer(logged.folder).replay(entry).equal


def test_a_peak_that_no_cited_region_names_is_tried_too(kept_log: Logged) -> None:
    """The verdict rests on a place that nobody named: the audit must say so."""
    from anomalist.audit.necessity import try_reasons, unnamed_peak

    entry = kept_log.entries("anomalous")[0]
    inspector, inspection = Replayer(kept_log.folder).inspect(entry)
    media, evidence = inspection.media, inspection.evidence
    assert media is not None and evidence is not None
    assert unnamed_peak(evidence, list(evidence.regions)) is None
    found = try_reasons(inspector, media, evidence, [])
    (trial,) = [trial for trial in found.trials if "which no cited region names" in trial.what]
    assert not found.needed_together and trial.score < found.before.score / 2


def test_a_region_is_replaced_with_what_is_connected_to_it_above_the_level_of_regions(
    kept_log: Logged,
) -> None:
    from dataclasses import replace

    _, inspection = Replayer(kept_log.folder).inspect(kept_log.entries("anomalous")[0])
    evidence = inspection.evidence
    assert evidence is not None
    bump = np.zeros(evidence.score_map.shape, np.float32)
    bump[20:40, 10:26] = 6.0
    bump[25:30, 15:20] = 10.0
    bump[50:60, 40:60] = 9.0
    region = evidence.regions[0].replace(box=(16, 26, 19, 29), peak=10.0)
    bump[20:40, 4:10] = 3.0
    assert place_of(replace(evidence, score_map=bump), region) == (10, 20, 26, 40)
    assert place_of(replace(evidence, score_map=bump), region, 2.5) == (4, 20, 26, 40)
    everywhere = np.full_like(bump, 9.0)
    everywhere[:30] = 0
    assert place_of(replace(evidence, score_map=everywhere - 1), region.replace(box=(3, 40, 9, 45))) == (
        3, 40, 9, 45,
    )  # fmt: skip


def test_the_tone_of_a_patch_goes_on_as_a_plane_and_at_the_edge_of_the_picture_as_a_mean() -> None:
    y, x = np.mgrid[:30, :40].astype(np.float32)
    around = np.stack([100 + x, 50 + 2 * y, 90 - x + y], -1)
    ring = np.ones((30, 40), np.bool_)
    ring[8:22, 10:30] = False
    flat = np.full_like(around, 80)
    assert np.abs(flat + tone_between(flat, around, ring) - around).max() < 0.01
    ring[:22] = False  # nothing of the picture above
    assert np.ptp(tone_between(flat, around, ring), axis=(0, 1)).max() == 0
