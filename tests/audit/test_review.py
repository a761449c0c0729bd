"""Review: asks where an answer narrows most, stops when it is precise enough, and is unbiased."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.audit.promises import Truth
from anomalist.audit.review import Review, known_truth
from anomalist.errors import DataError
from anomalist.types.image import Calibration, Record
from tests.audit.conftest import Logged

CALIBRATION = Calibration(
    method="jackknife", normals=60, groups=60, false_alarm_rate=0.05, reachable=True, normals_needed=19,
    instability=0.0, approximate=True, seed=0,
)  # fmt: skip


def records(alarms: int, quiet: int) -> list[Record]:
    def record(n: int) -> Record:
        row = {"source": f"{n}.png", "sha256": f"{n:064x}", "status": "ok", "score": 1.0}
        return Record(**row, p_value=0.02 if n < alarms else 0.6, calibration=CALIBRATION.model_dump())

    return [record(n) for n in range(alarms + quiet)]


def answered(asking: Review, truth: dict[str, Truth], precision: float) -> int:
    count = 0
    state = asking.state()
    while state.next is not None and state.width > precision:
        asking.answer(state.next, truth[str(state.next.sha256)])
        count += 1
        state = asking.state()
    return count


def test_it_stops_before_everything_is_asked_and_the_interval_holds() -> None:
    rows = records(60, 540)
    chance = np.random.default_rng(0)
    truth: dict[str, Truth] = {}
    for number, row in enumerate(rows):
        false = number < 60 and chance.random() < 0.4
        truth[str(row.sha256)] = (
            "normal" if false or (number >= 60 and chance.random() > 0.02) else "anomalous"
        )
    alarms_false = sum(truth[str(row.sha256)] == "normal" for row in rows[:60])
    normals = sum(each == "normal" for each in truth.values())
    asking = Review(rows, {})
    count = answered(asking, truth, 0.05)
    state = asking.state()
    assert count < 200 and state.width <= 0.05
    assert state.rate.low <= alarms_false / normals <= state.rate.high


def test_what_is_known_or_can_not_be_told_is_not_asked() -> None:
    rows = records(1, 1)
    asking = Review(rows, {str(rows[0].sha256): "anomalous"})
    state = asking.state()
    assert state.next is not None and state.next.source == "1.png"
    asking.answer(state.next, None)
    assert asking.state().next is None


def test_a_run_without_calibration_promises_nothing() -> None:
    with pytest.raises(DataError, match="promises anything"):
        Review([Record(source="a.png", status="ok", score=1.0)], {})


def test_truth_is_read_from_the_log(kept_log: Logged) -> None:
    assert known_truth(kept_log.folder) == {}
    assert known_truth(kept_log.folder / "nothing") == {}
