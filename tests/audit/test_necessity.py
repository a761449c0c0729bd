"""Reasons that are tested: cited regions are needed, other places of the same size are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anomalist.audit.necessity import (
    DISTURBANCES,
    audit_reasons,
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
    (trial,) = [trial for trial in found.trials if "which nothing that is cited names" in trial.what]
    assert not found.needed_together and trial.score < found.before.score / 2


def test_a_patch_that_stands_out_itself_is_replaced_by_the_next(
    kept_log: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked is how the picture would be judged if nothing were wrong there."""
    from anomalist.audit import necessity

    real = necessity.normal_patches

    def with_a_hole_first(profile: Any, pixels: Any, box: Any) -> Any:
        fitting = real(profile, pixels, box)
        odd = fitting[0].copy()
        y0, x0 = (max(0, round(at / 3)) for at in odd.shape[:2])
        odd[y0 : 2 * y0, x0 : 2 * x0] = 0
        return [odd, *fitting]

    monkeypatch.setattr(necessity, "normal_patches", with_a_hole_first)
    replayer = Replayer(kept_log.folder)
    found = audit_reasons(kept_log.entries("anomalous")[0], replayer)
    assert found.needed_together and found.control_keeps
    monkeypatch.setattr(necessity, "MAX_PATCHES", 1)
    assert not audit_reasons(kept_log.entries("anomalous")[0], replayer).needed_together
