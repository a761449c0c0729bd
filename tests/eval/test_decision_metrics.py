from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve
from sklearn.metrics import f1_score as sklearn_f1

from anomalist.eval.decision_metrics import (
    SegmentationCounts,
    best_f1_of_scores,
    concordance_index,
    f1_score,
    kendall_tau,
    selective_decision,
)
from anomalist.eval.pixel_metrics import PixelCurve

TRUE = np.ones(3, bool)
FALSE = np.zeros(3, bool)


def random_case(seed: int, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties and labels of both classes."""
    rng = np.random.default_rng(seed)
    labels = rng.random(60) < 0.3
    labels[:2] = True, False
    return rng.integers(0, levels, 60).astype(float) + labels, labels


@given(st.integers(0, 10**6), st.sampled_from([1, 3, 40, 10_000]))
@settings(max_examples=25)
def test_f1_and_its_best_equal_scikit_learns(seed: int, levels: int) -> None:
    scores, labels = random_case(seed, levels)
    flagged = scores >= np.median(scores)
    assert f1_score(flagged, labels) == pytest.approx(sklearn_f1(labels, flagged), abs=1e-12)
    precision, recall, _ = precision_recall_curve(labels, scores)
    best = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-300))
    assert best_f1_of_scores(scores, labels) == pytest.approx(best, abs=1e-12)


@given(st.integers(0, 10**6), st.sampled_from([1, 3, 40]))
@settings(max_examples=20)
def test_average_precision_and_best_f1_of_pixels_are_those_of_all_pixels_together(
    seed: int, levels: int
) -> None:
    scores, labels = random_case(seed, levels)
    curve = PixelCurve()
    for part in (slice(0, 30), slice(30, 60)):
        curve.add(scores[part].reshape(5, 6).astype(np.float32), labels[part].reshape(5, 6))
    counts = curve.counts()
    assert counts.average_precision() == pytest.approx(average_precision_score(labels, scores), abs=1e-9)
    assert counts.best_f1() == pytest.approx(best_f1_of_scores(scores, labels), abs=1e-12)


def test_one_class_alone_has_no_f1_and_no_average_precision() -> None:
    scores = np.array([1.0, 2.0, 3.0])
    assert f1_score(TRUE, FALSE) is None
    assert best_f1_of_scores(scores, FALSE) is None
    assert f1_score(FALSE, TRUE) == 0
    assert best_f1_of_scores(scores, TRUE) == 1
    for mask in (TRUE, FALSE):
        curve = PixelCurve()
        curve.add(scores[None].astype(np.float32), mask[None])
        assert curve.counts().average_precision() is None
    assert PixelCurve().counts().best_f1() is None


def test_seg_f1_is_over_the_pixels_of_all_pictures_together() -> None:
    rng = np.random.default_rng(0)
    counts = SegmentationCounts()
    masks, truths = rng.random((2, 4, 6, 7)) < 0.4
    truths[0] = False  # a normal picture adds its false positives
    for mask, truth in zip(masks, truths, strict=True):
        counts.add(mask, truth)
    assert counts.f1 == pytest.approx(sklearn_f1(truths.ravel(), masks.ravel()), abs=1e-12)
    assert SegmentationCounts().f1 is None


def test_abstaining_costs_coverage_not_error() -> None:
    labels = np.array([True, True, False, False])
    found = selective_decision(["anomalous", "undecided", "anomalous", None], labels)
    assert (found.coverage, found.error) == (0.5, 0.5)
    nothing = selective_decision(["undecided"] * 4, labels)
    assert (nothing.coverage, nothing.error) == (0, None)
    assert selective_decision([], labels[:0]).coverage is None


def naive_concordance(values: np.ndarray, grades: np.ndarray) -> float:
    right, pairs = 0.0, 0
    for i in range(len(values)):
        for j in range(len(values)):
            if grades[i] > grades[j]:
                pairs += 1
                right += 1.0 if values[i] > values[j] else 0.5 if values[i] == values[j] else 0.0
    return right / pairs


def test_rank_agreement_of_severities_equals_the_definitions() -> None:
    rng = np.random.default_rng(1)
    grades = rng.integers(0, 4, 40).astype(float)
    values = grades + rng.integers(0, 3, 40)
    assert concordance_index(values, grades) == pytest.approx(naive_concordance(values, grades), abs=1e-12)
    concordant = np.sign(values[:, None] - values) * np.sign(grades[:, None] - grades)
    untied = [np.count_nonzero(each[:, None] != each) for each in (values, grades)]
    assert kendall_tau(values, grades) == pytest.approx(concordant.sum() / np.sqrt(np.prod(untied)))
    assert kendall_tau(grades, grades) == pytest.approx(1)
    assert concordance_index(-grades, grades) == 0


def test_severities_of_one_grade_have_no_rank_agreement() -> None:
    same, rising = np.ones(3), np.arange(3.0)
    assert concordance_index(rising, same) is None
    assert kendall_tau(rising, same) is None
    assert kendall_tau(same, rising) is None
    assert concordance_index(same, rising) == 0.5
    assert concordance_index(same[:0], same[:0]) is None


def test_shapes_that_differ_are_errors() -> None:
    for measure in (kendall_tau, concordance_index):
        with pytest.raises(ValueError, match="one shape"):
            measure(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="one shape"):
        f1_score(TRUE, TRUE[:2])
    with pytest.raises(ValueError, match="2 decisions"):
        selective_decision(["normal", "normal"], TRUE)
