"""P-values, thresholds and their stability; which normals calibrate and which are learned from."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalist.types.image import is_alarm
from anomalist.vision.calibration import DEFAULT_RATE, CalibrationSet, groups_needed, partition
from anomalist.vision.conformal import falling_counts, interpolated_thresholds

Ints = npt.NDArray[np.int64]


def numbered(labels: npt.ArrayLike) -> Ints:
    """Renumber labels from 0 without gaps."""
    return np.asarray(np.unique(np.asarray(labels), return_inverse=True)[1], np.int64)


def split(scores: npt.ArrayLike, groups: npt.ArrayLike | None = None, seed: int = 0) -> CalibrationSet:
    values = np.asarray(scores, np.float64)
    own = np.arange(len(values)) if groups is None else numbered(groups)
    return CalibrationSet(values, np.zeros(len(values), np.int64), own, seed)


@st.composite
def calibration_sets(draw: st.DrawFn, most_folds: int = 3) -> CalibrationSet:
    """Few whole-numbered scores, so that ties are common; groups of any size, each in one fold."""
    n = draw(st.integers(1, 25))
    scores = draw(st.lists(st.integers(-4, 4), min_size=n, max_size=n))
    groups = numbered(draw(st.lists(st.integers(0, 9), min_size=n, max_size=n)))
    folds = draw(st.lists(st.integers(0, most_folds - 1), min_size=n, max_size=n))
    return CalibrationSet(np.array(scores, np.float64), numbered(np.array(folds)[groups]), groups)


# --- p-values -----------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(calibration_sets(), st.floats(-6, 6), st.floats(0, 6))
def test_a_p_value_is_in_0_to_1_and_does_not_rise_with_the_score(
    calibration: CalibrationSet, score: float, more: float
) -> None:
    lower, higher = (calibration.p_value(np.full(calibration.n_folds, s)) for s in (score, score + more))
    assert 1 / (calibration.n_groups + 1) - 1e-12 <= higher <= lower <= 1 + 1e-12


def literal_p_value(calibration: CalibrationSet, scores: npt.NDArray[np.float64]) -> float:
    """The formula of the design, one picture after the other."""
    total = 0.0
    for group in set(calibration.groups.tolist()):
        members = np.flatnonzero(calibration.groups == group)
        reached = [i for i in members if calibration.scores[i] >= scores[calibration.folds[i]]]
        total += len(reached) / len(members)
    return (1 + total) / (len(set(calibration.groups.tolist())) + 1)


@settings(max_examples=60)
@given(calibration_sets(), st.lists(st.integers(-5, 5), min_size=3, max_size=3))
def test_p_values_equal_the_formula_of_the_design(calibration: CalibrationSet, scores: list[int]) -> None:
    new = np.array(scores[: calibration.n_folds], np.float64)
    assert calibration.p_value(new) == pytest.approx(literal_p_value(calibration, new))


def test_cross_fitted_scores_are_compared_under_the_model_that_left_the_picture_out() -> None:
    calibration = CalibrationSet(np.array([1.0, 2, 11, 12]), np.array([0, 0, 1, 1]), np.arange(4))
    assert calibration.method == "cv+"
    assert calibration.p_value([1.5, 11.5]) == pytest.approx((1 + 1 + 1) / 5)
    assert calibration.p_value([11.5, 1.5]) == pytest.approx((1 + 0 + 2) / 5)


def test_a_group_counts_once_however_many_pictures_it_has() -> None:
    calibration = split([5, 5, 5, 5, 1, 9], ["a", "a", "a", "a", "b", "c"])
    assert calibration.p_value([7]) == pytest.approx((1 + 1) / 4)
    assert calibration.p_value([5]) == pytest.approx((1 + 1 + 1) / 4)
    assert split([5, 3, 1, 9], ["a", "a", "b", "c"]).p_value([4]) == pytest.approx((1 + 0.5 + 1) / 4)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.25])
def test_new_normals_raise_false_alarms_at_the_asked_rate(rate: float) -> None:
    n, trials = 39, 4000
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((trials, n + 1))
    alarms = np.mean([is_alarm(split(row[1:]).p_value(row[:1]), rate) for row in drawn])
    exact = np.floor(rate * (n + 1) + 1e-9) / (n + 1)  # for continuous scores the level is known
    assert abs(alarms - exact) < 3.5 * np.sqrt(exact * (1 - exact) / trials)


@pytest.mark.parametrize("rate", [0.05, 0.1])
def test_alike_pictures_of_one_object_do_not_raise_the_false_alarm_rate(rate: float) -> None:
    n_groups, trials = 40, 3000
    rng = np.random.default_rng(1)
    alarms = []
    for _ in range(trials):
        groups = np.repeat(np.arange(n_groups), rng.integers(1, 7, n_groups))
        objects = rng.standard_normal(n_groups + 1)
        scores = objects[groups] + 0.3 * rng.standard_normal(len(groups))
        new = objects[-1] + 0.3 * rng.standard_normal()
        alarms.append(is_alarm(split(scores, groups).p_value([new]), rate))
    assert rate / 2 < np.mean(alarms) < rate + 3.5 * np.sqrt(rate * (1 - rate) / trials)


def test_cross_fitting_is_at_most_about_twice_the_asked_rate() -> None:
    """The models here are medians of their learning scores, the score is the distance to it."""
    n, trials, rate = 24, 1500, 0.1
    rng = np.random.default_rng(2)
    alarms = []
    for _ in range(trials):
        values = rng.standard_normal(n + 1)
        folds = np.arange(n) % 4
        models = np.array([np.median(values[:n][folds != k]) for k in range(4)])
        calibration = CalibrationSet(np.abs(values[:n] - models[folds]), folds, np.arange(n))
        alarms.append(is_alarm(calibration.p_value(np.abs(values[n] - models)), rate))
    assert 0.5 * rate < np.mean(alarms) < 2 * rate


# --- thresholds ---------------------------------------------------------------------------------------------


@settings(max_examples=80)
@given(calibration_sets(most_folds=1), st.integers(-10, 10), st.integers(1, 40), st.integers(2, 41))
def test_a_score_is_above_the_threshold_exactly_when_its_p_value_is_an_alarm(
    calibration: CalibrationSet, doubled: int, above: int, below: int
) -> None:
    rate, score = min(above, below - 1) / below, doubled / 2
    threshold = calibration.threshold(rate)
    alarm = is_alarm(calibration.p_value([score]), rate)
    assert alarm == (threshold is not None and score > threshold)


@pytest.mark.parametrize("n", [19, 20, 39, 59, 99, 199])
def test_an_exact_tie_with_the_rate_is_an_alarm(n: int) -> None:
    calibration = split(np.arange(n))
    count = round(DEFAULT_RATE * (n + 1) - 1e-9)  # as many as may score at least as high, with the new one
    if count / (n + 1) > DEFAULT_RATE + 1e-9:
        count -= 1
    threshold = calibration.threshold(DEFAULT_RATE)
    assert threshold == n - count
    assert is_alarm(calibration.p_value([threshold + 0.5]), DEFAULT_RATE)
    assert not is_alarm(calibration.p_value([threshold]), DEFAULT_RATE)


def test_thirds_and_sevenths_that_miss_a_tie_by_the_last_bit_are_alarms() -> None:
    groups = np.repeat(np.arange(20), 7)
    scores = np.where(np.arange(140) % 7 < 1, 5.0, 0.0)[:140]
    calibration = split(scores, groups)  # p of 5: (1 + 20/7) / 21
    rate = (1 + 20 / 7) / 21
    assert is_alarm(calibration.p_value([5]), rate)
    assert calibration.threshold(rate) == 0.0


@pytest.mark.parametrize(
    ("rate", "needed"),
    [
        (0.05, 19),
        (0.01, 99),
        (0.1, 9),
        (0.5, 1),
        (1 / 3, 2),
        (0.049, 20),
        (0.051, 19),
        (0.9, 1),
        (1e-6, 999_999),
    ],
)
def test_the_normals_that_a_rate_needs(rate: float, needed: int) -> None:
    assert groups_needed(rate) == needed


def test_one_in_k_needs_k_minus_1_normals_and_no_fewer_reach_it() -> None:
    for k in [2, 3, 7, 49, 93, 98, 103, 1000]:
        assert groups_needed(1 / k) == k - 1
        assert split(np.zeros(k - 1)).threshold(1 / k) is not None
        assert split(np.zeros(k)).threshold(1 / k) is not None
        assert k == 2 or split(np.zeros(k - 2)).threshold(1 / k) is None


def test_the_summary_says_what_the_decision_rests_on() -> None:
    calibration = split(np.arange(12), np.arange(12) // 2, seed=7)
    summary = calibration.summary([3], 0.05)
    assert (summary.method, summary.normals, summary.groups, summary.seed) == ("split", 12, 6, 7)
    assert (summary.reachable, summary.normals_needed, summary.approximate) == (False, 19, False)
    crossed = CalibrationSet(np.arange(12.0), np.arange(12) % 2, np.arange(12)).summary([3, 3], 0.2)
    assert (crossed.method, crossed.reachable, crossed.approximate) == ("cv+", True, True)


def test_what_scores_as_high_is_counted_and_not_turned_back_from_the_p_value() -> None:
    groups = np.arange(12) // 2
    assert split(np.arange(12), groups).summary([8], 0.05).reached == 4
    crossed = CalibrationSet(np.arange(12.0), np.arange(12) % 2, np.arange(12))
    assert crossed.summary([8, 11], 0.2).reached == 3  # 8 and 10 of the one fold, 11 of the other
    left_out = CalibrationSet(np.arange(12.0), np.zeros(12, np.int64), groups, left_out=True)
    for score, reached in ((11.5, 0), (10.9, 1), (9.0, 3)):
        assert left_out.summary([score], 0.05).reached == reached


# --- stability ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [19, 28, 40, 100, 300])
def test_a_decision_is_unstable_at_the_threshold_and_certain_far_from_it(n: int) -> None:
    calibration = split(np.random.default_rng(n).standard_normal(n))
    threshold = calibration.threshold(DEFAULT_RATE)
    assert threshold is not None
    for near in (threshold, threshold + 1e-9):
        assert calibration.instability([near], DEFAULT_RATE) > 0.2
    for far in (threshold - 10, threshold + 10):
        assert calibration.instability([far], DEFAULT_RATE) == 0


def test_instability_comes_near_to_the_share_of_fresh_calibration_sets_that_decide_otherwise() -> None:
    rng = np.random.default_rng(3)
    n, errors = 40, []
    fresh = rng.standard_normal((4000, n))
    for seed in range(12):
        calibration = split(np.random.default_rng(seed).standard_normal(n))
        for score in (1.0, 1.5, 2.0, 2.5, 3.0):
            decided = is_alarm(calibration.p_value([score]), DEFAULT_RATE)
            otherwise = ((1 + (fresh >= score).sum(1)) / (n + 1) <= DEFAULT_RATE) != decided
            errors.append(calibration.instability([score], DEFAULT_RATE) - otherwise.mean())
    assert abs(np.mean(errors)) < 0.1
    assert np.mean(np.abs(errors)) < 0.2


def test_instability_is_the_same_every_time_and_depends_on_the_seed_only_a_little() -> None:
    scores = np.random.default_rng(0).standard_normal(50)
    first, again, other = (split(scores, seed=s).instability([1.6], 0.05) for s in (1, 1, 2))
    assert first == again != other
    assert abs(first - other) < 0.1


@pytest.mark.parametrize("score", [0.75, 1.25, 1.5])
def test_more_pictures_of_the_same_objects_do_not_make_a_decision_more_certain(score: float) -> None:
    scores = np.random.default_rng(0).standard_normal(30)
    objects = np.repeat(np.arange(30), 8)
    once, often, apart = split(scores), split(scores[objects], objects), split(scores[objects])
    expected = once.instability([score], 0.1)
    assert often.instability([score], 0.1) == pytest.approx(expected, abs=0.03)
    assert apart.instability([score], 0.1) < expected / 2


def test_equal_scores_and_rates_out_of_reach_are_no_problem() -> None:
    assert split(np.ones(30)).instability([2.0], 0.05) == 0
    assert split(np.arange(5)).instability([9.0], 0.05) == 0


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "folds", "groups", "message"),
    [
        ([], [], [], "n > 0"),
        ([1.0, 2.0], [0], [0, 1], "must be"),
        ([1.0, 2.0], [0, 0], [0, 1, 2], "must be"),
        ([1.0, np.nan], [0, 0], [0, 1], "finite"),
        ([1.0, np.inf], [0, 0], [0, 1], "finite"),
        ([1.0, 2.0], [0, 0], [0, 2], "groups must be whole numbers"),
        ([1.0, 2.0], [0, 0], [-1, 0], "groups must be whole numbers"),
        ([1.0, 2.0], [0, 2], [0, 1], "folds must be whole numbers"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    scores: list[float], folds: list[int], groups: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        CalibrationSet(np.array(scores, np.float64), np.array(folds, np.int64), np.array(groups, np.int64))


def test_a_new_picture_needs_one_score_a_model() -> None:
    with pytest.raises(ValueError, match="expected 1 scores"):
        split([1, 2]).p_value([1, 2])


# --- interpolation, after a jackknife -----------------------------------------------------------------------


def jackknife(scores: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> CalibrationSet:
    return replace(split(scores, groups), left_out=True)


def test_a_p_value_is_linear_between_the_scores_of_the_normals() -> None:
    calibration = jackknife([1, 2, 4])
    found = [calibration.p_value([score]) for score in (9, 4, 3, 2.5, 2, 1.25, 1, 0)]
    assert found == pytest.approx(np.array([1, 1, 1.5, 1.75, 2, 2.75, 3, 4]) / 4)


def test_a_new_picture_counts_as_much_as_those_that_score_high_share_with_their_group() -> None:
    alike, apart = np.repeat([1.0, 2, 3, 4], 4), np.arange(16.0)
    groups = np.repeat(np.arange(4), 4)
    assert jackknife(alike, groups).p_value([3.5]) == pytest.approx((1 + 1 / 2) / 5)
    assert jackknife(apart, np.tile(np.arange(4), 4)).p_value([12]) == pytest.approx((1 / 4 + 3 / 4) / 5)


@settings(max_examples=60)
@given(calibration_sets(most_folds=1), st.floats(-6, 6), st.floats(0, 6))
def test_an_interpolated_p_value_is_at_most_that_of_steps_and_does_not_rise_with_the_score(
    steps: CalibrationSet, score: float, more: float
) -> None:
    calibration = replace(steps, left_out=True)
    lower, higher = calibration.p_value([score]), calibration.p_value([score + more])
    assert 1 / (calibration.n_groups + 1) - 1e-12 <= higher <= lower + 1e-12
    assert lower <= steps.p_value([score]) + 1e-12


@settings(max_examples=80)
@given(calibration_sets(most_folds=1), st.integers(-10, 10), st.integers(1, 40), st.integers(2, 41))
def test_a_score_is_above_the_interpolated_threshold_exactly_when_its_p_value_is_an_alarm(
    steps: CalibrationSet, doubled: int, above: int, below: int
) -> None:
    calibration = replace(steps, left_out=True)
    rate, score = min(above, below - 1) / below, doubled / 2
    threshold = calibration.threshold(rate)
    alarm = is_alarm(calibration.p_value([score]), rate)
    assert alarm == (threshold is not None and score > threshold)


@pytest.mark.parametrize(("normals", "rate"), [(8, 1 / 9), (20, 0.05), (30, 0.05), (45, 0.05)])
def test_new_normals_raise_about_as_many_false_alarms_as_asked_for(normals: int, rate: float) -> None:
    drawn = np.random.default_rng(normals).exponential(size=(20_000, normals))
    falling = falling_counts(drawn, np.ones_like(drawn), own=1.0)
    alarms = np.exp(-interpolated_thresholds(*falling, rate * (normals + 1) + 1e-9)).mean()
    assert 0.85 * rate < alarms < 1.01 * rate


@pytest.mark.parametrize("own", [0.0, 0.5, 0.95])
def test_few_groups_make_about_as_many_false_alarms_as_asked_for(own: float) -> None:
    """Four pictures of one object share ``own`` of the variance of their scores; 28 objects, 5 % asked."""
    groups, draws, alarms = 28, 400, []
    rng, numbers = np.random.default_rng(4), np.repeat(np.arange(groups), 4)
    for _ in range(draws):
        shared, each = rng.normal(size=(groups, 1)), rng.normal(size=(groups, 4))
        scores = (np.sqrt(own) * shared + np.sqrt(1 - own) * each).ravel()
        alarms.append(NormalDist().cdf(-(jackknife(scores, numbers).threshold(0.05) or 0)))
    assert 0.04 < np.mean(alarms) < 0.055


@pytest.mark.parametrize("n", [19, 28, 100])
def test_an_interpolated_decision_is_unstable_at_the_threshold_and_certain_far_from_it(n: int) -> None:
    calibration = jackknife(np.random.default_rng(n).standard_normal(n))
    threshold = calibration.threshold(DEFAULT_RATE)
    assert threshold is not None
    assert calibration.instability([threshold + 1e-9], DEFAULT_RATE) > 0.2
    for far in (threshold - 10, threshold + 10):
        assert calibration.instability([far], DEFAULT_RATE) == 0
    assert jackknife(np.arange(5)).instability([9.0], 0.05) == 0


# --- which normals do what ----------------------------------------------------------------------------------


def test_every_fold_learns_from_and_calibrates_on_different_whole_groups() -> None:
    for size in [1, 6]:
        for n in [2, 3, 7, 99, 100, 119, 300]:
            groups = numbered(np.arange(n) // size) if n > size else np.arange(n)
            divided = partition(groups, seed=5)
            calibrated: list[int] = []
            for learning, apart in divided.folds:
                assert learning
                assert apart
                assert sorted(learning + apart) == list(range(n))
                assert not set(groups[list(learning)]) & set(groups[list(apart)])
                calibrated += apart
            assert len(calibrated) == len(set(calibrated))
            if len(divided.folds) > 1:
                assert sorted(calibrated) == list(range(n))


@pytest.mark.parametrize(
    ("n", "n_groups", "folds", "kept"),
    [
        (2, 2, 2, 2),
        (3, 3, 3, 3),
        (99, 99, 4, 99),
        (100, 100, 1, 28),
        (300, 300, 1, 75),
        (300, 60, 1, 28),
        (300, 55, 4, 55),  # half of the groups would not be left to learn from
        (1000, 1000, 1, 250),
    ],
)
def test_a_quarter_is_kept_for_calibration_where_that_is_enough(
    n: int, n_groups: int, folds: int, kept: int
) -> None:
    groups = np.arange(n) % n_groups
    divided = partition(groups, seed=0)
    assert len(divided.folds) == folds
    assert len({groups[i] for _, apart in divided.folds for i in apart}) == kept
    assert kept >= groups_needed(DEFAULT_RATE) or n < 19


def test_the_division_follows_the_seed() -> None:
    groups = np.arange(120)
    assert partition(groups, 1) == partition(groups, 1) != partition(groups, 2)


def test_one_group_can_not_be_divided() -> None:
    with pytest.raises(ValueError, match="one group"):
        partition(np.zeros(5, np.int64), 0)


@pytest.mark.parametrize(("groups", "least", "most"), [(28, 0.01, 0.03), (57, 0.033, 0.053)])
def test_few_groups_make_alarms_rarer_than_asked_for(groups: int, least: float, most: float) -> None:
    """Four pictures of one object share half of the variance of their scores; 5 % is asked for."""
    rng, alarms, draws = np.random.default_rng(0), 0, 2000
    numbers = np.repeat(np.arange(groups), 4)
    for _ in range(draws):
        scores = (rng.normal(size=(groups + 1, 1)) + rng.normal(size=(groups + 1, 4))).ravel()
        normals = CalibrationSet(scores[4:], np.zeros(4 * groups, np.int64), numbers)
        alarms += is_alarm(normals.p_value(scores[0]), 0.05)
    assert least < alarms / draws < most
