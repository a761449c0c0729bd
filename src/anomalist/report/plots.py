"""Plot geometry for the HTML reports: a score among calibration scores, and a clip's score over time.

Positions only; the templates draw them (calibration.svg.j2 in user units, y down; timeline.html.j2 in per
cent). Calibration plot: few normal pictures are one dot each, many are a histogram. Far outliers are
brought near by compressing the axis beyond a visible break; the order of all values is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from anomalist.report.document import clip_duration, unjudged_spans
from anomalist.report.wording import (
    UNGRADED,
    count,
    describe_jump,
    format_time,
    format_time_span,
    number,
    severity_word,
)
from anomalist.types.clip import ClipRecord
from anomalist.types.image import Record

CALIBRATION_WIDTH, CALIBRATION_HEIGHT = 480, 142
_AXIS_LEFT, _AXIS_RIGHT = 14.0, CALIBRATION_WIDTH - 14.0
_AXIS_TOP, CALIBRATION_BASELINE = 44.0, 118.0
_DOT_SIZE = 7.0
_MAX_DOTS = 60
_BAR_WIDTH = 8.0
_LABEL_WIDTH = 120.0  # about the width of a label's text

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AxisMark:
    """A labelled position on the axis, in user units of the drawing."""

    x: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True)
class CalibrationPlot:
    """What the template needs: positions, y down, inside ``CALIBRATION_WIDTH`` × ``CALIBRATION_HEIGHT``."""

    dots: tuple[tuple[float, float], ...]
    bars: tuple[tuple[float, float, float, float], ...]
    score: AxisMark
    threshold: AxisMark | None
    ticks: tuple[AxisMark, ...]
    breaks: tuple[float, ...]
    description: str


def calibration_plot(record: Record, scores: Sequence[float]) -> CalibrationPlot | None:
    """Lay out the scores of the normals, the threshold and this record's score.

    Returns None where there is nothing to draw: no score, or no finite score of a normal picture.
    """
    normals = np.array([value for value in scores if math.isfinite(value)], dtype=np.float64)
    if record.score is None or not math.isfinite(record.score) or not normals.size:
        return None
    threshold = record.threshold if record.threshold is not None and math.isfinite(record.threshold) else None
    marked = [record.score] if threshold is None else [record.score, threshold]
    axis = _fit_axis(normals, marked)
    x = axis.place(normals)
    few = normals.size <= _MAX_DOTS
    threshold_mark = None
    if threshold is not None:
        threshold_mark = _avoid_line(
            _axis_mark(axis, threshold, f"threshold {number(threshold)}"), _axis_x(axis, record.score)
        )
    above = int((normals >= record.score).sum())
    limit = "no threshold" if threshold is None else f"threshold {number(threshold)}"
    return CalibrationPlot(
        dots=_stack_dots(x) if few else (),
        bars=() if few else _histogram_bars(x),
        score=_axis_mark(axis, record.score, f"this picture {number(record.score)}"),
        threshold=threshold_mark,
        ticks=axis.ticks(),
        breaks=axis.breaks(),
        description=(
            f"Scores of {normals.size} normal pictures from {number(float(normals.min()))} to "
            f"{number(float(normals.max()))}; {limit}; this picture {number(record.score)}, "
            f"reached by {above} of them."
        ),
    )


@dataclass(frozen=True)
class _Axis:
    """A piecewise linear axis: all that is shown, and the core of it that is drawn to scale."""

    lowest: float
    core_low: float
    core_high: float
    highest: float

    @property
    def _stops(self) -> tuple[list[float], list[float]]:
        span = _AXIS_RIGHT - _AXIS_LEFT
        start = _AXIS_LEFT + 0.18 * span * (self.lowest < self.core_low)
        end = _AXIS_RIGHT - 0.18 * span * (self.highest > self.core_high)
        pairs = [
            (self.lowest, _AXIS_LEFT),
            (self.core_low, start),
            (self.core_high, end),
            (self.highest, _AXIS_RIGHT),
        ]
        pairs = sorted(set(pairs))
        return [value for value, _ in pairs], [x for _, x in pairs]

    def place(self, values: Values) -> Values:
        """Give the x of each value."""
        stops, positions = self._stops
        return np.interp(values, stops, positions)

    def breaks(self) -> tuple[float, ...]:
        """Give the x where the scale changes."""
        return tuple(round(x, 1) for x in self._stops[1][1:-1])

    def ticks(self) -> tuple[AxisMark, ...]:
        """Put round numbers on the core and the outermost value at a squeezed end."""
        rough = (self.core_high - self.core_low) / 4
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999)
        first = math.ceil(self.core_low / step)
        last = math.floor(self.core_high / step)
        values = [round(index * step, 12) for index in range(first, last + 1)]
        marks = [AxisMark(_axis_x(self, value), number(value, 6)) for value in values]
        if self.lowest < self.core_low:
            marks.insert(0, AxisMark(_AXIS_LEFT, number(self.lowest), "start"))
        if self.highest > self.core_high:
            marks.append(AxisMark(_AXIS_RIGHT, number(self.highest), "end"))
        return tuple(marks)


def _fit_axis(normals: Values, marked: Sequence[float]) -> _Axis:
    """Draw to scale what lies within four interquartile ranges, and marks that are not far beyond."""
    quarter, three_quarters = np.quantile(normals, [0.25, 0.75])
    spread = three_quarters - quarter
    low = float(max(normals.min(), quarter - 4 * spread))
    high = float(min(normals.max(), three_quarters + 4 * spread))
    if not high > low:  # one normal, or all alike
        half = max(abs(low) * 0.1, 1e-3)
        low, high = low - half, high + half
    width = high - low
    near = [value for value in marked if low - 1.5 * width <= value <= high + 1.5 * width]
    low, high = min([low, *near]), max([high, *near])
    pad = 0.04 * (high - low)
    low, high = low - pad, high + pad
    everything = [*marked, float(normals.min()), float(normals.max())]
    return _Axis(min([low, *everything]), low, high, max([high, *everything]))


def _axis_x(axis: _Axis, value: float) -> float:
    return round(float(axis.place(np.array([value]))[0]), 1)


def _axis_mark(axis: _Axis, value: float, text: str) -> AxisMark:
    """Label a value, with the text kept inside the drawing."""
    x = _axis_x(axis, value)
    anchor = (
        "start" if x < _LABEL_WIDTH / 2 else "end" if x > CALIBRATION_WIDTH - _LABEL_WIDTH / 2 else "middle"
    )
    return AxisMark(x, text, anchor)


def _avoid_line(mark: AxisMark, line: float) -> AxisMark:
    """Turn a label away from a line that would run through it, where there is room."""
    if abs(mark.x - line) > _LABEL_WIDTH / 2:
        return mark
    if line >= mark.x and mark.x > _LABEL_WIDTH:
        return AxisMark(mark.x, mark.text, "end")
    if line < mark.x and mark.x < CALIBRATION_WIDTH - _LABEL_WIDTH:
        return AxisMark(mark.x, mark.text, "start")
    return mark


def _stack_dots(x: Values) -> tuple[tuple[float, float], ...]:
    """Give each dot its exact x, and stack dots that would touch, closer together where they are many."""
    levels: list[float] = []  # the x of the last dot on each level
    placed = []
    for position in sorted(x.tolist()):
        level = next((i for i, last in enumerate(levels) if position - last >= _DOT_SIZE), len(levels))
        levels[level : level + 1] = [position]
        placed.append((position, level))
    step = min(_DOT_SIZE, (CALIBRATION_BASELINE - _AXIS_TOP - _DOT_SIZE) / len(levels))
    return tuple(
        (round(at, 1), round(CALIBRATION_BASELINE - _DOT_SIZE / 2 - 1 - level * step, 1))
        for at, level in placed
    )


def _histogram_bars(x: Values) -> tuple[tuple[float, float, float, float], ...]:
    """Bars (x, y, width, height) of equal width on the page; none so low that it can't be seen."""
    bins = round((_AXIS_RIGHT - _AXIS_LEFT) / _BAR_WIDTH)
    counts, edges = np.histogram(x, bins=bins, range=(_AXIS_LEFT, _AXIS_RIGHT))
    tallest = CALIBRATION_BASELINE - _AXIS_TOP
    bars = []
    for amount, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        if amount:
            height = max(2.0, tallest * amount / counts.max())
            bars.append(
                (
                    round(float(left) + 0.5, 1),
                    round(float(CALIBRATION_BASELINE - height), 1),
                    round(float(right - left) - 1, 1),
                    round(float(height), 1),
                )
            )
    return tuple(bars)


TIMELINE_WIDTH, TIMELINE_HEIGHT = 1000, 100
"""Size of the drawing that the curve's path is given in."""

MAX_CURVE_POINTS = 500  # of a curve; peaks are kept
_MAX_TICKS = 6  # at most, between the first and the last
_TICK_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
_HEADROOM = 1.08
_MIN_MARK_WIDTH = 0.4  # per cent of the width: what is shorter could not be seen
_TICK_MARGIN = 7.0  # per cent of the width next to an end, where no other tick has room


_ROW_HEIGHT, _MAX_ROWS = 16, 6  # pixels, and rows, of events that overlap in time


@dataclass(frozen=True)
class TimelineMark:
    """A stretch or a moment: left edge and width in per cent, and its words.

    ``top`` is in per cent for a moment, in pixels for the stretch of an event.
    """

    left: float
    width: float
    text: str
    event: str = ""
    severity: int = 0
    top: float = 0.0


@dataclass(frozen=True)
class TimelinePlot:
    """What the template draws."""

    line: str
    threshold: float | None
    threshold_text: str
    top_text: str
    events: tuple[TimelineMark, ...]
    peaks: tuple[TimelineMark, ...]
    unscored: tuple[TimelineMark, ...]
    jumps: tuple[TimelineMark, ...]
    ticks: tuple[TimelineMark, ...]
    description: str


def timeline_plot(record: ClipRecord) -> TimelinePlot | None:
    """Lay out the curve, events and unjudged spans of a clip; None where its length is unknown.

    The height is that of the highest score, or 1.5 times the threshold where nothing gets that high, so that
    a calm clip looks calm.
    """
    duration, unjudged = clip_duration(record), unjudged_spans(record)
    if not duration > 0:
        return None
    known = [score for _, score in record.curve if score is not None and math.isfinite(score)]
    threshold = record.threshold
    top = max([_HEADROOM * max(known, default=0.0), 1.5 * (threshold or 0.0), 1e-6])

    def left(time: float) -> float:
        return round(100 * min(max(time / duration, 0), 1), 2)

    def mark(start: float, end: float, text: str) -> TimelineMark:
        width = max(left(end) - left(start), _MIN_MARK_WIDTH)
        return TimelineMark(min(left(start), 100 - _MIN_MARK_WIDTH), round(width, 2), text)

    rows = _rows([(e.start, e.end) for e in record.events])
    events = [
        replace(
            mark(
                e.start,
                e.end,
                f"{e.id}, {format_time_span(e.start, e.end)}, {severity_word(e.severity, UNGRADED)}",
            ),
            event=e.id,
            severity=e.severity,
            top=_ROW_HEIGHT * row,
        )
        for e, row in zip(record.events, rows, strict=True)
    ]
    peaks = [
        TimelineMark(
            left=left(e.peak),
            width=0,
            text=f"peak {format_time(e.peak)}",
            event=e.id,
            severity=e.severity,
            top=round(100 * (1 - min(max(_curve_value_at(record, e.peak, e.score) / top, 0), 1)), 2),
        )
        for e in record.events
    ]
    unscored = [mark(start, end, f"not judged {format_time_span(start, end)}") for start, end in unjudged]
    return TimelinePlot(
        line=_svg_path(_downsample_curve(record.curve), duration, top),
        threshold=None if threshold is None else round(100 * (1 - min(max(threshold / top, 0), 1)), 2),
        threshold_text="" if threshold is None else f"threshold {number(threshold, 2)}",
        top_text=number(max(known), 2) if known else "",
        events=tuple(events),
        peaks=tuple(peaks),
        unscored=tuple(unscored),
        jumps=tuple(TimelineMark(left(j.time), 0, describe_jump(j)) for j in record.jumps),
        ticks=_time_ticks(duration),
        description=_describe_timeline(record, duration, known, len(unjudged)),
    )


def _curve_value_at(record: ClipRecord, time: float, score: float) -> float:
    """The curve's height next to a time, so that a marker sits on it; the score where there is no curve."""
    near = [(abs(t - time), value) for t, value in record.curve if value is not None]
    return min(near)[1] if near else score


def _downsample_curve(curve: Sequence[tuple[float, float | None]]) -> list[tuple[float, float | None]]:
    """The highest of every few points; a group counts as not judged only if none of it was."""
    size = math.ceil(len(curve) / MAX_CURVE_POINTS) or 1
    groups = [curve[i : i + size] for i in range(0, len(curve), size)]
    return [max(group, key=lambda point: -math.inf if point[1] is None else point[1]) for group in groups]


def _svg_path(curve: Sequence[tuple[float, float | None]], duration: float, top: float) -> str:
    """An SVG path that breaks off where nothing was judged."""
    steps, pen_down = [], False
    for time, score in curve:
        if score is None or not math.isfinite(score):
            pen_down = False
            continue
        x, y = (
            TIMELINE_WIDTH * min(max(time / duration, 0), 1),
            TIMELINE_HEIGHT * (1 - min(max(score / top, 0), 1)),
        )
        # A lone point is drawn as a dot: a line of no length with round ends.
        steps.append(f"{'L' if pen_down else 'M'}{x:.1f} {y:.1f}" + ("" if pen_down else "h0"))
        pen_down = True
    return "".join(steps)


def _time_ticks(duration: float) -> tuple[TimelineMark, ...]:
    step = next(
        (step for step in _TICK_STEPS if duration / step <= _MAX_TICKS), 86400 * math.ceil(duration / 518400)
    )
    times = [step * i for i in range(1, math.ceil(duration / step))]
    places = [(100 * time / duration, format_time(time)) for time in times]
    inner = [
        TimelineMark(round(x, 2), 0, text) for x, text in places if _TICK_MARGIN < x < 100 - _TICK_MARGIN
    ]
    return (TimelineMark(0, 0, format_time(0)), *inner, TimelineMark(100, 0, format_time(duration)))


def _rows(spans: Sequence[tuple[float, float]]) -> list[int]:
    """Row of each time span, in order of their starts, so that those of one row don't overlap."""
    ends: list[float] = []
    rows = []
    for start, end in spans:
        row = next((row for row, last in enumerate(ends) if last <= start), len(ends))
        if row == len(ends):
            ends.append(end)
        ends[row] = end
        rows.append(row % _MAX_ROWS)
    return rows


def _describe_timeline(record: ClipRecord, duration: float, known: Sequence[float], unjudged: int) -> str:
    parts = [f"Score over {format_time(duration)}"]
    if known and record.threshold is not None:
        parts.append(f"highest {number(max(known), 2)}, threshold {number(record.threshold, 2)}")
    parts.append(count(len(record.events), "event"))
    if record.jumps:
        parts.append(count(len(record.jumps), "jump of time", "jumps of time"))
    if unjudged:
        parts.append(f"{count(unjudged, 'stretch', 'stretches')} not judged")
    return ", ".join(parts)
