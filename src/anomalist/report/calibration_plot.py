"""Where a score stands among the scores of normal pictures: the geometry of one small plot.

The template draws it. Few normals are drawn one dot each, many as a histogram. Far outliers are brought
near by squeezing the axis beyond a visible break; the order of all values is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalist.report.wording import number
from anomalist.types import Record

WIDTH, HEIGHT = 480, 142
_LEFT, _RIGHT = 14.0, WIDTH - 14.0
_TOP, BASELINE = 44.0, 118.0
_DOT = 7.0
_MOST_DOTS = 60
_BAR = 8.0
_LABEL = 120.0  # about the width of a label's text

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Mark:
    """A labelled position on the axis, in user units of the drawing."""

    x: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True)
class CalibrationPlot:
    """What the template needs: positions only, y down, inside ``WIDTH`` by ``HEIGHT``."""

    dots: tuple[tuple[float, float], ...]
    bars: tuple[tuple[float, float, float, float], ...]
    score: Mark
    threshold: Mark | None
    ticks: tuple[Mark, ...]
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
    axis = _axis(normals, marked)
    x = axis.place(normals)
    few = normals.size <= _MOST_DOTS
    threshold_mark = None
    if threshold is not None:
        threshold_mark = _clear_of(
            _mark(axis, threshold, f"threshold {number(threshold)}"), _at(axis, record.score)
        )
    above = int((normals >= record.score).sum())
    limit = "no threshold" if threshold is None else f"threshold {number(threshold)}"
    return CalibrationPlot(
        dots=_stack(x) if few else (),
        bars=() if few else _histogram(x),
        score=_mark(axis, record.score, f"this picture {number(record.score)}"),
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
        span = _RIGHT - _LEFT
        start = _LEFT + 0.18 * span * (self.lowest < self.core_low)
        end = _RIGHT - 0.18 * span * (self.highest > self.core_high)
        pairs = [(self.lowest, _LEFT), (self.core_low, start), (self.core_high, end), (self.highest, _RIGHT)]
        pairs = sorted(set(pairs))
        return [value for value, _ in pairs], [x for _, x in pairs]

    def place(self, values: Values) -> Values:
        """Give the x of each value."""
        stops, positions = self._stops
        return np.interp(values, stops, positions)

    def breaks(self) -> tuple[float, ...]:
        """Give the x where the scale changes."""
        return tuple(round(x, 1) for x in self._stops[1][1:-1])

    def ticks(self) -> tuple[Mark, ...]:
        """Put round numbers on the core and the outermost value at a squeezed end."""
        rough = (self.core_high - self.core_low) / 4
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999)
        first = math.ceil(self.core_low / step)
        last = math.floor(self.core_high / step)
        values = [round(index * step, 12) for index in range(first, last + 1)]
        marks = [Mark(_at(self, value), number(value, 6)) for value in values]
        if self.lowest < self.core_low:
            marks.insert(0, Mark(_LEFT, number(self.lowest), "start"))
        if self.highest > self.core_high:
            marks.append(Mark(_RIGHT, number(self.highest), "end"))
        return tuple(marks)


def _axis(normals: Values, marked: Sequence[float]) -> _Axis:
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


def _at(axis: _Axis, value: float) -> float:
    return round(float(axis.place(np.array([value]))[0]), 1)


def _mark(axis: _Axis, value: float, text: str) -> Mark:
    """Label a value, with the text kept inside the drawing."""
    x = _at(axis, value)
    anchor = "start" if x < _LABEL / 2 else "end" if x > WIDTH - _LABEL / 2 else "middle"
    return Mark(x, text, anchor)


def _clear_of(mark: Mark, line: float) -> Mark:
    """Turn a label away from a line that would run through it, where there is room."""
    if abs(mark.x - line) > _LABEL / 2:
        return mark
    if line >= mark.x and mark.x > _LABEL:
        return Mark(mark.x, mark.text, "end")
    if line < mark.x and mark.x < WIDTH - _LABEL:
        return Mark(mark.x, mark.text, "start")
    return mark


def _stack(x: Values) -> tuple[tuple[float, float], ...]:
    """Give each dot its exact x, and stack dots that would touch, closer together where they are many."""
    levels: list[float] = []  # the x of the last dot on each level
    placed = []
    for position in sorted(x.tolist()):
        level = next((i for i, last in enumerate(levels) if position - last >= _DOT), len(levels))
        levels[level : level + 1] = [position]
        placed.append((position, level))
    step = min(_DOT, (BASELINE - _TOP - _DOT) / len(levels))
    return tuple((round(at, 1), round(BASELINE - _DOT / 2 - 1 - level * step, 1)) for at, level in placed)


def _histogram(x: Values) -> tuple[tuple[float, float, float, float], ...]:
    """Bars (x, y, width, height) of equal width on the page; none so low that it can't be seen."""
    bins = round((_RIGHT - _LEFT) / _BAR)
    counts, edges = np.histogram(x, bins=bins, range=(_LEFT, _RIGHT))
    tallest = BASELINE - _TOP
    bars = []
    for amount, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        if amount:
            height = max(2.0, tallest * amount / counts.max())
            bars.append(
                (
                    round(float(left) + 0.5, 1),
                    round(float(BASELINE - height), 1),
                    round(float(right - left) - 1, 1),
                    round(float(height), 1),
                )
            )
    return tuple(bars)
