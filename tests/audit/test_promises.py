"""What a promise is worth: exact intervals, truth by stratum, drift, and the planner."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomalist.audit.promises import (
    Decided,
    Interval,
    Truth,
    clopper_pearson,
    false_alarm_rate,
    footage_hours,
    next_steps,
    plan_normals,
    weigh,
    weigh_promises,
)
from anomalist.audit.recording import AuditTrail
from anomalist.memory.cases import CaseStore, Feedback
from tests.audit.conftest import Logged
from tests.vision.shift.watched_runs import model, shift


def decided(number: int, *, p: float = 0.5, truth: Truth | None = None, score: float = 0.0) -> Decided:
    return Decided(
        entry=number,
        time=f"2026-05-01T00:{number // 60:02d}:{number % 60:02d}",
        source=f"{number}.png",
        sha256=str(number),
        label="anomalous" if p <= 0.05 else "normal",
        score=score,
        p_value=p,
        threshold=2.0,
        rate=0.05,
        rules=("rule:7",) if p <= 0.05 else (),
        opinions={},
        error=False,
        truth=truth,
    )


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"), [(0, 10, 0, 0.3085), (5, 10, 0.1871, 0.8129), (10, 10, 0.6915, 1)]
)
def test_intervals_are_those_of_clopper_and_pearson(hits: int, of: int, low: float, high: float) -> None:
    found = clopper_pearson(hits, of)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_the_interval_holds_as_often_as_it_says() -> None:
    chance = np.random.default_rng(1)
    held = [
        interval.low <= 0.1 <= interval.high
        for interval in (clopper_pearson(int(chance.binomial(40, 0.1)), 40) for _ in range(300))
    ]
    assert np.mean(held) >= 0.95


def test_without_any_answer_nothing_is_known() -> None:
    assert clopper_pearson(0, 0) == Interval(None, 0.0, 1.0, 0)
    promise = weigh("tiles", "ab", [decided(n) for n in range(5)], [])
    assert promise.kept is None and promise.drift is None


def test_a_picture_that_is_inspected_again_and_again_counts_once() -> None:
    rows = [decided(n, p=0.01, truth="normal") if n < 2 else decided(n, truth="normal") for n in range(20)]
    again = [replace(rows[0], entry=100 + n) for n in range(50)]
    once, often = (weigh("tiles", "ab", each, []) for each in (rows, [*rows, *again]))
    assert (often.pictures, often.alarms) == (once.pictures, once.alarms) == (20, 2)
    assert (often.false_alarms, often.kept) == (once.false_alarms, once.kept)


def test_false_alarms_are_counted_among_normals_and_not_among_answers() -> None:
    """People looked at all ten alarms, of which five were false, and at none of ninety others."""
    rows = [decided(n, p=0.01, truth="normal" if n < 5 else "anomalous") for n in range(10)]
    rows += [decided(n) for n in range(10, 100)]
    promise = weigh("tiles", "ab", rows, [])
    assert promise.false_alarms.share == pytest.approx(5 / 95)
    assert (promise.rules[0].hits, promise.rules[0].known, promise.rules[0].false) == (10, 10, 5)


def test_a_promise_is_kept_broken_or_open() -> None:
    rows = [decided(n, p=0.01, truth="anomalous") for n in range(200)] + [
        decided(n) for n in range(200, 4000)
    ]
    assert weigh("tiles", "ab", rows, []).kept is True
    rows = [replace(row, truth="normal") if row.alarm else row for row in rows]
    rows = rows[:200] + rows[200:1000]
    assert weigh("tiles", "ab", rows, []).kept is False


def test_what_nobody_looked_at_is_unknown_when_strict() -> None:
    false = clopper_pearson(5, 10)
    assert false_alarm_rate(10, 90, false, clopper_pearson(0, 0)).high < 0.1
    assert false_alarm_rate(10, 90, false, clopper_pearson(0, 0), strict=True).high == 1


def test_drift_is_dated_by_entry_and_alarms_do_not_count_as_drift_of_the_rest() -> None:
    chance = np.random.default_rng(0)
    normals = chance.normal(size=60).tolist()
    rows = [decided(n, score=float(chance.normal())) for n in range(100)]
    late = [decided(100 + n, score=float(chance.normal()) + 1.5) for n in range(60)]
    moved = weigh("tiles", "ab", [*rows, *late], normals)
    assert moved.drift is not None and moved.drift.since is not None
    assert 90 <= moved.drift.since[0] <= 110
    defects = [decided(100 + n, p=0.001, score=9.0) for n in range(40)]
    mixed = weigh("tiles", "ab", [*rows, *defects], normals)
    assert mixed.drift is not None and mixed.drift.since is not None
    assert mixed.quiet_drift is not None and mixed.quiet_drift.since is None


def test_a_rise_of_the_light_over_many_runs_is_dated_by_entry() -> None:
    """Every picture is a run of its own, in which nothing can drift; scores stay as they were."""
    chance = np.random.default_rng(0)
    rows = [replace(decided(n), input_shift=shift(chance)) for n in range(100)]
    inputs = model(chance)
    quiet = weigh("tiles", "ab", rows, [], inputs).input_drift
    assert quiet is not None and (quiet.tested, quiet.since, quiet.words) == (100, None, "")
    late = [replace(decided(n), input_shift=shift(chance, 0.2)) for n in range(100, 150)]
    found = weigh("tiles", "ab", [*rows, *late], [], inputs).input_drift
    assert found is not None and found.since is not None and found.noticed is not None
    assert 90 <= found.since[0] <= found.noticed[0] <= 150 and "the light is brighter" in found.words
    assert weigh("tiles", "ab", [decided(0)], [], inputs).input_drift is None


def test_feedback_in_the_log_is_the_truth_until_it_is_taken_back(logged: Logged, tmp_path: Path) -> None:
    alarm = next(record for record in logged.records if record.label == "anomalous")
    with CaseStore(tmp_path / "cases.sqlite") as store, AuditTrail(logged.folder) as trail:
        case = store.add(
            Feedback(
                action="corrected", media="picture", source=alarm.source, sha256=alarm.sha256, severity=0
            )
        )
        trail.feedback(case)
        (promise,) = weigh_promises(logged.folder)
        assert (promise.pictures, promise.false_among_alarms.of) == (10, 1)
        trail.feedback(store.undo(case.id), undone=True)
    (promise,) = weigh_promises(logged.folder)
    assert promise.false_among_alarms.of == 0 and promise.drift is not None


def test_what_was_said_last_holds_when_something_older_is_taken_back(logged: Logged, tmp_path: Path) -> None:
    alarm = next(record for record in logged.records if record.label == "anomalous")
    about = {"action": "corrected", "media": "picture", "source": alarm.source, "sha256": alarm.sha256}
    with CaseStore(tmp_path / "cases.sqlite") as store, AuditTrail(logged.folder) as trail:
        for severity in (3, 0):
            trail.feedback(store.add(Feedback.model_validate(about | {"severity": severity})))
        trail.feedback(store.undo("case:1"), undone=True)
        (promise,) = weigh_promises(logged.folder)
        assert (promise.false_among_alarms.share, promise.false_among_alarms.of) == (1, 1)
        trail.feedback(store.add(Feedback.model_validate(about | {"severity": 3})))
        trail.feedback(store.undo("case:3"), undone=True)
    (promise,) = weigh_promises(logged.folder)
    assert (promise.false_among_alarms.share, promise.false_among_alarms.of) == (1, 1)


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ({"severity": 0}, 1),
        ({"severity": 0, "part": "R2"}, 0),  # the other regions may be wrong
        ({"severity": 2, "part": "R2", "kind": "scratch"}, 1),
        ({"severity": None, "kind": "scratch"}, 1),
    ],
)
def test_what_is_said_of_a_region_is_the_truth_of_the_picture_only_where_it_is_wrong(
    logged: Logged, tmp_path: Path, said: dict[str, Any], known: int
) -> None:
    alarm = next(record for record in logged.records if record.label == "anomalous")
    about = {"action": "corrected", "media": "picture", "source": alarm.source, "sha256": alarm.sha256}
    with CaseStore(tmp_path / "cases.sqlite") as store, AuditTrail(logged.folder) as trail:
        trail.feedback(store.add(Feedback.model_validate(about | said)))
    (promise,) = weigh_promises(logged.folder)
    assert promise.false_among_alarms.of == known


def test_the_planner_says_what_normals_support_and_what_more_would_buy() -> None:
    plan = plan_normals(8, 0.05)
    assert (plan.lowest, plan.reachable, plan.needed) == (pytest.approx(1 / 9), False, 19)
    steps = next_steps(8, 0.05)
    assert [step.normals for step in steps] == [8, 12, 16, 19, 32, 64]
    assert steps[3].reachable and steps[3].realised is not None
    widths = [step.realised[1] - step.realised[0] for step in next_steps(40, 0.05) if step.realised]
    assert widths[-1] < widths[0]
    assert footage_hours(0.5) == 2
