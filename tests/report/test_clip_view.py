from __future__ import annotations

import random

from anomalist.report.alerts import rank_alerts
from anomalist.report.clip_view import headline, lead, summarise_triage, unjudged_sentences
from anomalist.report.document import find_unjudged, unjudged_spans
from anomalist.report.wording import outcome
from anomalist.types.clip import Trouble
from tests.report.clip_records import clip, dark, event, failed


def test_errors_undecided_clips_and_camera_trouble_are_all_listed_in_any_order() -> None:
    moved = Trouble(kind="moved", start=5, end=6.5)
    records = [
        clip("calm.mp4"),
        clip("eventful.mp4", event(), troubles=(moved, moved.model_copy(update={"start": 8, "end": 8}))),
        dark(),
        failed(),
        clip("strange.mp4", label=None),
    ]
    found = find_unjudged(records)
    assert [(item.source, item.kind) for item in found] == [
        ("broken.mp4", "error"),
        ("strange.mp4", "error"),
        ("dark.mp4", "undecided"),
        ("eventful.mp4", "camera"),
    ]
    assert found[0].why == "This is <not> a video."
    assert found[2].spans == ((1.0, 10.0),)
    assert found[3].spans == ((5, 6.5), (8, 8))
    assert found[3].why == "The camera had been moved."
    random.Random(0).shuffle(records)
    assert find_unjudged(records) == found


def test_a_record_without_a_label_is_never_normal() -> None:
    assert outcome(clip(label=None)) == "error"
    assert outcome(failed()) == "error"


def test_the_first_frame_without_a_score_is_no_gap_but_a_long_silence_is() -> None:
    assert unjudged_spans(clip()) == []
    silent = clip(curve=tuple((t / 10, None if 30 <= t < 50 else 0.1) for t in range(100)))
    assert unjudged_spans(silent) == [(3.0, 5.0)]
    (item,) = find_unjudged([silent])
    assert (item.kind, item.spans) == ("no score", ((3.0, 5.0),))


def test_a_clip_without_a_curve_has_no_gaps() -> None:
    assert unjudged_spans(failed()) == []


def words(*records: object) -> tuple[str, str, str]:
    alerts, unjudged = rank_alerts(records), find_unjudged(records)  # type: ignore[arg-type]
    summary = summarise_triage(records, alerts)  # type: ignore[arg-type]
    return headline(summary), lead(summary), unjudged_sentences(summary, unjudged)


def test_the_headline_never_takes_a_failure_for_calm() -> None:
    assert words() == ("No clips were looked at", "", "")
    assert words(clip())[0] == "Nothing stood out in 1 clip"
    assert words(clip(), dark())[0] == "Nothing stood out in 1 of 2 clips; the others could not be judged"
    assert words(dark())[0] == "The clip could not be judged"
    assert words(dark(), failed())[0] == "None of 2 clips could be judged"
    assert words(clip("a.mp4", event()), failed()) == (
        "1 thing to watch in 2 clips, moderate",
        "10.0 s of footage.",
        "1 clip could not be judged and needs a person: broken.mp4.",
    )
    assert words(dark())[2] == (
        "1 clip could not be judged and needs a person: dark.mp4. In all, 9.0 s could not be judged."
    )


def test_clips_of_several_cameras_that_have_the_same_name_are_counted_one_by_one() -> None:
    same = [clip(f"cam{number}/00.mp4", label=None) for number in (1, 2)]
    assert words(*same)[2].startswith("2 clips could not be judged and need a person")


def test_the_summary_counts_each_clip_once() -> None:
    records = [
        clip("a.mp4", event("E1"), event("E2", 3, 4)),
        clip("b.mp4", event()),
        clip(),
        dark(),
        failed(),
    ]
    alerts = rank_alerts(records)
    summary = summarise_triage(records, alerts)
    assert (summary.anomalous, summary.undecided, summary.normal, summary.errors) == (2, 1, 1, 1)
    assert (summary.events, summary.alerts) == (3, 1)
    assert summary.by_severity == {"moderate": 1}
    assert (summary.footage_seconds, summary.unjudged_seconds) == (40, 9)
    assert words(*records)[1].startswith("3 events in 40.0 s, merged")
