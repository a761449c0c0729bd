"""Another false-alarm rate gives the verdict that inspecting at that rate would; severity has its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from anomalist.agent.tools.decision import change_false_alarm_rate, explain_severity
from anomalist.agent.tools.subject import Subject
from anomalist.errors import AnomalistError
from anomalist.pipeline import Inspector
from anomalist.vision.profile import Profile
from tests.pictures import holed, tile, write
from tests.subjects import judged, scratched


def test_a_rate_changes_verdicts_and_nothing_else(tmp_path: Path) -> None:
    records = (judged(tmp_path / "a.png", 0.03, 3.0), judged(tmp_path / "b.png", 0.4))
    what_if = change_false_alarm_rate(Subject(records=records), 0.02)
    assert what_if.changed == ("a.png",)
    assert [each.after for each in what_if.pictures] == ["normal", "normal"]
    assert what_if.lowest_possible == pytest.approx(1 / 101)
    assert [record.label for record in records] == ["anomalous", "normal"]


def test_a_rate_is_supported_where_it_is_for_every_picture(tmp_path: Path) -> None:
    many, few = judged(tmp_path / "a.png"), judged(tmp_path / "b.png", groups=9)
    for records in ((many, few), (few, many)):
        what_if = change_false_alarm_rate(Subject(records=records), 0.05)
        assert what_if.lowest_possible == pytest.approx(1 / 10)


def test_a_rate_out_of_reach_is_undecided(tmp_path: Path) -> None:
    (one,) = change_false_alarm_rate(Subject(records=(judged(tmp_path / "a.png"),)), 0.001).pictures
    assert one.after == "undecided"
    assert "needs 999 normal pictures" in str(one.why_undecided)


def test_the_verdict_is_that_of_inspecting_again(tiles_profile: Profile, tmp_path: Path) -> None:
    pictures = [write(tmp_path / "hole.png", holed(90)), write(tmp_path / "tile.png", tile(91))]
    inspector = Inspector(tiles_profile, false_alarm_rate=0.2)
    subject = inspector.subject(inspector.inspect_many(pictures))
    stable = []
    for each in change_false_alarm_rate(subject, 0.1).pictures:
        again = Inspector(tiles_profile, false_alarm_rate=0.1).inspect(tmp_path / each.picture).record
        if again.calibration is not None and again.calibration.instability == 0:
            assert each.after == again.label
            stable.append(each.picture)
    assert "hole.png" in stable


@pytest.mark.parametrize("rate", [0, 1, -0.1, 5])
def test_no_rate(tmp_path: Path, rate: float) -> None:
    with pytest.raises(AnomalistError, match="between 0 and 1"):
        change_false_alarm_rate(Subject(records=(judged(tmp_path / "a.png"),)), rate)


def test_severity_with_its_reason(tmp_path: Path) -> None:
    subject = scratched(tmp_path / "part.png")
    graded = explain_severity(subject)
    assert graded.level == subject.records[0].severity
    assert graded.ids == ("R1",)
    assert explain_severity(subject, "R2").level <= graded.level
    assert explain_severity(replace(subject, records=(judged(tmp_path / "b.png"),))).severity == "none"
