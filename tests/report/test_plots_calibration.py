from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalist.report.plots import (
    CALIBRATION_BASELINE,
    CALIBRATION_HEIGHT,
    CALIBRATION_WIDTH,
    calibration_plot,
)
from anomalist.types.image import Record

values = st.floats(-1e6, 1e6).map(lambda value: round(value, 6))


def record(score: float | None, threshold: float | None = None) -> Record:
    return Record(source="a.png", status="ok", score=score, threshold=threshold)


def normals(amount: int) -> list[float]:
    return np.random.default_rng(0).gamma(9, 0.1, amount).tolist()


@pytest.mark.parametrize(("amount", "dots"), [(1, 1), (3, 3), (60, 60), (61, 0), (1000, 0)])
def test_few_normals_are_dots_and_many_are_bars(amount: int, dots: int) -> None:
    plot = calibration_plot(record(2.5, 1.4), normals(amount))
    assert plot is not None
    assert len(plot.dots) == dots
    assert bool(plot.bars) == (dots == 0)


@given(st.lists(values, min_size=1, max_size=120), values, values)
@settings(max_examples=60)
def test_everything_is_inside_and_in_the_order_of_the_values(
    scores: list[float], score: float, threshold: float
) -> None:
    plot = calibration_plot(record(score, threshold), scores)
    assert plot is not None
    assert plot.threshold is not None
    xs = [plot.score.x, plot.threshold.x, *plot.breaks, *(tick.x for tick in plot.ticks)]
    xs += [x for x, _ in plot.dots] + [x for x, *_ in plot.bars] + [x + w for x, _, w, _ in plot.bars]
    assert all(0 <= x <= CALIBRATION_WIDTH for x in xs)
    ys = [y for _, y in plot.dots] + [y for _, y, _, _ in plot.bars]
    assert all(0 <= y <= CALIBRATION_BASELINE < CALIBRATION_HEIGHT for y in ys)
    # Positions are rounded to a tenth of a unit; the order is never turned round.
    assert (plot.score.x - plot.threshold.x) * (score - threshold) >= 0
    if plot.dots:
        for x, value in zip(sorted(x for x, _ in plot.dots), sorted(scores), strict=True):
            assert (x - plot.threshold.x) * (value - threshold) >= 0


def test_dots_of_equal_scores_are_stacked() -> None:
    plot = calibration_plot(record(2.0), [1.0] * 5)
    assert plot is not None
    assert len({x for x, _ in plot.dots}) == 1
    assert len({y for _, y in plot.dots}) == 5


def test_a_score_far_out_squeezes_the_axis_beyond_a_break_and_keeps_the_normals_readable() -> None:
    plot = calibration_plot(record(1000.0, 1.5), normals(40))
    assert plot is not None
    assert len(plot.breaks) == 1
    spread = max(x for x, _ in plot.dots) - min(x for x, _ in plot.dots)
    assert spread > CALIBRATION_WIDTH / 2
    assert plot.score.x > plot.breaks[0] > max(x for x, _ in plot.dots)


def test_without_outliers_the_axis_is_unbroken() -> None:
    plot = calibration_plot(record(1.2, 1.5), normals(40))
    assert plot is not None
    assert plot.breaks == ()


def test_the_label_of_the_threshold_makes_way_for_the_line_of_the_score() -> None:
    scores = np.linspace(0, 2, 40).tolist()
    right = calibration_plot(record(1.02, 1.0), scores)
    left = calibration_plot(record(0.98, 1.0), scores)
    assert right is not None
    assert left is not None
    assert right.threshold is not None
    assert left.threshold is not None
    assert (right.threshold.anchor, left.threshold.anchor) == ("end", "start")


@pytest.mark.parametrize("threshold", [None, math.inf])
def test_a_threshold_out_of_reach_is_not_drawn(threshold: float | None) -> None:
    plot = calibration_plot(record(1.0, threshold), normals(3))
    assert plot is not None
    assert plot.threshold is None
    assert "no threshold" in plot.description


@pytest.mark.parametrize(
    ("score", "scores"), [(None, [1.0]), (math.nan, [1.0]), (1.0, []), (1.0, [math.nan, math.inf])]
)
def test_without_a_score_or_normals_there_is_no_plot(score: float | None, scores: list[float]) -> None:
    assert calibration_plot(record(score), scores) is None


def test_the_description_tells_what_the_plot_shows() -> None:
    plot = calibration_plot(record(2.5, 2.0), [1.0, 2.0, 3.0])
    assert plot is not None
    assert plot.description == (
        "Scores of 3 normal pictures from 1 to 3; threshold 2; this picture 2.5, reached by 1 of them."
    )
