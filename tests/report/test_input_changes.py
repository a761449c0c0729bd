"""What a report says first of a run whose input changed."""

from __future__ import annotations

from anomalist.report.input_changes import input_headline, input_sentences
from anomalist.report.picture_view import PictureReportView
from anomalist.types.common import MediaSummary, Verdict
from anomalist.types.image import EvidenceSummary, Record
from anomalist.types.shift import InputChange, InputShift, RunDrift


def record(number: int, *changes: InputChange, drift: RunDrift | None = None) -> Record:
    """One record."""
    shift = InputShift(statistics={}, changes=changes, drift=drift)
    return Record(
        media=MediaSummary(source=f"/in/{number}.png", width=9, height=9),
        evidence=EvidenceSummary(score=1.0, p_value=0.5, input_shift=shift),
        verdict=Verdict(label="undecided" if changes else "normal", severity=0, reasoner="evidence"),
        status="ok",
    )


MOVED = InputChange(name="shift", value=0.05, words="moved by 12 px")
DARK = InputChange(name="brightness", value=0.6, words="darker by 40 %")


def test_when_many_pictures_changed_that_is_the_headline() -> None:
    records = [record(number, MOVED) for number in range(8)] + [record(number) for number in (8, 9)]
    document = PictureReportView().document(records)
    assert document.headline == "The camera or the parts moved: 8 of 10 pictures were not judged"
    assert "8 pictures, typically moved by 12 px." in document.lead
    assert "need a person" not in document.lead


def test_a_few_changed_pictures_are_said_below_the_verdicts() -> None:
    records = [record(0, DARK), *(record(number) for number in range(1, 20))]
    assert input_headline(records) is None
    assert input_sentences(records)[0] == "1 picture is darker by 40 %."


def test_a_drift_is_said_once() -> None:
    words = "the light is brighter by 10 % since about picture 6"
    drift = RunDrift(name="brightness", since=6, noticed=20, evidence=300, words=words)
    sentences = input_sentences([record(number, drift=drift) for number in range(3)])
    assert len(sentences) == 1
    assert words in sentences[0]


def test_of_several_profiles_the_one_that_drifts_is_named() -> None:
    words = "the light is brighter by 10 % since about picture 6"
    drift = RunDrift(name="brightness", since=6, noticed=20, evidence=300, words=words)
    calm = [record(number).replace(profile="brick") for number in range(3)]
    drifting = [record(number, drift=drift).replace(profile="grass") for number in range(3)]
    (said,) = input_sentences([*calm, *drifting])
    assert "grass" in said and "brick" not in said
    assert len(input_sentences([*drifting, *(one.replace(profile="gravel") for one in drifting)])) == 2


def test_a_run_as_learned_needs_no_word() -> None:
    assert input_sentences([record(0), record(1)]) == []
