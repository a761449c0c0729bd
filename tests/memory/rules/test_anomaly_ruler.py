from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anomalist.errors import DataError
from anomalist.memory.rules.anomaly_ruler import (
    EMA_ALPHA,
    HALF_WINDOW,
    anomaly_ruler_scores,
    contrastive_keywords,
    ema_majority_smoothing,
    exponential_average,
    read_rule_file,
    smooth_over_time,
)

RULES = """
**Normal activities:**
1. Workers stand at machines.
## Anomalous human activities
1. Juggling
- A worker stands on a shelf
**Anomalous objects:**
* Bagpipes or drums
"""


def test_rules_are_read_under_their_headings(tmp_path: Path) -> None:
    (tmp_path / "rules.txt").write_text(RULES, encoding="utf-8")
    rules = read_rule_file(tmp_path / "rules.txt")
    assert [(rule.polarity, rule.kind) for rule in rules] == [
        ("normal", "activity"),
        ("anomalous", "activity"),
        ("anomalous", "activity"),
        ("anomalous", "object"),
    ]
    # What a normal rule says, and what is usual nearly everywhere, is no keyword.
    assert contrastive_keywords(rules) == ("juggling", "bagpipes", "drums")


def test_a_rule_without_spaces_has_no_keyword(tmp_path: Path) -> None:
    text = "一个穿着蓝色工作服的人正在推着一辆装满纸箱的手推车慢慢走向电梯" * 3
    (tmp_path / "rules.txt").write_text(f"Anomalies:\n1. {text}\n2. juggling\n", encoding="utf-8")
    rules = read_rule_file(tmp_path / "rules.txt")
    assert [(rule.text, rule.keywords) for rule in rules] == [(text, ()), ("juggling", ("juggling",))]


@pytest.mark.parametrize("text", ["", "Just prose.", "Normal:\n1. walking\n"])
def test_a_file_without_anomalies_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "rules.txt").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="no anomaly rules"):
        read_rule_file(tmp_path / "rules.txt")


def test_the_average_is_the_published_sum() -> None:
    hits = np.array([0, 1, 1, 0, 1], float)
    averages = exponential_average(hits, EMA_ALPHA)
    assert averages.shape == hits.shape
    for t, found in enumerate(averages):
        weights = (1 - EMA_ALPHA) ** (t - np.arange(t + 1))
        assert found == pytest.approx((weights * hits[: t + 1]).sum() / weights.sum())


def test_smoothing_is_step_five() -> None:
    hits = (np.random.default_rng(3).random(60) < 0.4).astype(float)
    first = exponential_average(hits, EMA_ALPHA)
    threshold = first.mean()
    votes = [
        (first[max(0, t - HALF_WINDOW) : t + HALF_WINDOW + 1] > threshold).mean() > 0.5 for t in range(60)
    ]
    assert ema_majority_smoothing(hits) == pytest.approx(
        exponential_average(np.array(votes, float), threshold)
    )


def test_a_clip_that_is_anomalous_throughout_is_missed_by_the_published_base() -> None:
    assert not anomaly_ruler_scores(["A man is juggling."] * 30, ["juggling"]).any()


def test_odd_clips() -> None:
    assert len(anomaly_ruler_scores([], ["juggling"])) == 0
    assert anomaly_ruler_scores(["", "…"], ["juggling"]).tolist() == [0, 0]


NAN = float("nan")


def scores(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@pytest.mark.parametrize("mode", ["causal", "offline"])
def test_a_constant_stays_what_it_is_also_where_all_is_anomalous(mode: str) -> None:
    out = smooth_over_time(np.full(200, 0.3, np.float32), mode)  # type: ignore[arg-type]
    assert out == pytest.approx(0.3)
    assert out.dtype == np.float32


def test_causal_scores_do_not_change_when_the_future_does() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=100).astype(np.float32)
    other = one.copy()
    other[60:] += 5
    assert smooth_over_time(one, "causal")[:60] == pytest.approx(smooth_over_time(other, "causal")[:60])
    assert smooth_over_time(one, "offline")[50] < smooth_over_time(other, "offline")[50]


def test_a_caption_that_says_nothing_is_spoken_for_by_its_neighbours() -> None:
    assert smooth_over_time(scores(0.2, NAN, 0.2), "offline") == pytest.approx(0.2)
    causal = smooth_over_time(scores(NAN, 0.2, NAN), "causal")
    assert np.isnan(causal[0])
    assert causal[1:] == pytest.approx(0.2)
    assert np.isnan(smooth_over_time(scores(NAN, NAN), "offline")).all()


@pytest.mark.parametrize("mode", ["causal", "offline"])
def test_no_captions_no_scores(mode: str) -> None:
    assert len(smooth_over_time(scores(), mode)) == 0  # type: ignore[arg-type]


def test_a_slip_counts_less_than_what_goes_on() -> None:
    slip, long = np.zeros(200, np.float32), np.zeros(200, np.float32)
    slip[100], long[80:120] = 1, 1
    assert smooth_over_time(slip, "offline").max() < 0.1 < smooth_over_time(long, "offline").max()
