from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalist.report.document import clip_duration
from anomalist.report.plots import MAX_CURVE_POINTS, timeline_plot
from anomalist.types.clip import TimeJump, Trouble
from tests.report.clip_records import clip, dark, event, failed


def test_everything_stands_where_its_time_is() -> None:
    line = timeline_plot(clip("a.mp4", event("E1", 1, 2), event("E2", 8, 9.5, severity=4)))
    assert line is not None
    assert [(m.event, m.left, m.width, m.severity) for m in line.events] == [
        ("E1", 10, 10, 2),
        ("E2", 80, 15, 4),
    ]
    assert line.events[1].text == "E2, 0:08–0:09, critical"
    assert [m.left for m in line.peaks] == [15, 87.5]
    assert [(m.left, m.text) for m in line.ticks] == [
        (0, "0:00"),
        (20, "0:02"),
        (40, "0:04"),
        (60, "0:06"),
        (80, "0:08"),
        (100, "0:10"),
    ]
    assert line.threshold_text == "threshold 0.5"
    assert "2 events" in line.description


def test_a_calm_clip_looks_calm() -> None:
    line = timeline_plot(clip(curve=((0.0, None), (0.1, 0.05), (0.2, 0.05))))
    assert line is not None
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", line.line)]
    assert min(heights) > 90
    assert line.threshold == pytest.approx(33.33)


def test_the_line_breaks_where_nothing_was_judged() -> None:
    line = timeline_plot(clip(curve=tuple((t / 10, None if 30 <= t < 50 else 0.1) for t in range(100))))
    assert line is not None
    assert line.line.count("M") == 2
    assert [(m.left, m.width) for m in line.unscored] == [(30, 20)]
    assert "1 stretch not judged" in line.description


def test_camera_trouble_is_marked_however_short() -> None:
    line = timeline_plot(clip(troubles=(Trouble(kind="frozen", start=4, end=4),)))
    assert line is not None
    assert [m.left for m in line.unscored] == [40]
    assert line.unscored[0].width > 0


def test_without_a_length_there_is_no_timeline() -> None:
    assert timeline_plot(failed()) is None
    assert timeline_plot(dark()) is not None


def test_long_curves_are_thinned_and_keep_their_peak() -> None:
    curve = tuple((t / 10, 5.0 if t == 1234 else 0.1) for t in range(4000))
    line = timeline_plot(clip(curve=curve, duration=400.0))
    assert line is not None
    assert line.line.count("L") + 1 <= MAX_CURVE_POINTS
    assert min(float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", line.line)) < 10


@settings(max_examples=50)
@given(st.floats(0.01, 500_000), st.floats(0, 1), st.floats(0, 1), st.sampled_from([None, 0.0, 0.5, 1e9]))
def test_nothing_lies_outside(duration: float, one: float, other: float, threshold: float | None) -> None:
    start, end = sorted((one * duration, other * duration))
    line = timeline_plot(
        clip("a.mp4", event("E1", start, end), duration=duration, threshold=threshold, curve=((0.0, 0.2),))
    )
    assert line is not None
    for mark in (*line.events, *line.peaks, *line.ticks):
        assert 0 <= mark.left <= 100
        assert mark.left + mark.width <= 100.01
        assert 0 <= mark.top <= 100
    assert len(line.ticks) <= 8


@pytest.mark.parametrize(("gap", "length"), [(3600.0, 10.0), (6.0, 3610.0)])
def test_an_hour_that_nobody_filmed_is_no_part_of_the_clip(gap: float, length: float) -> None:
    record = clip(duration=3610.0, jumps=(TimeJump(time=7.0, seconds=gap, kind="gap"),))
    assert clip_duration(record) == pytest.approx(length)
