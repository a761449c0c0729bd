"""A budget of calls by the minute of footage, of files and of what has no end."""

from __future__ import annotations

import pytest

from anomalist.agent.reasoning.vlm_reasoner import CallAllowance, CallBudget
from anomalist.errors import ModelError
from tests.agent.event_cases import Street, make_event


@pytest.mark.parametrize(
    ("rate", "seconds", "calls"), [(6, 60, 6), (6, 95, 9), (6, 4, 1), (0.1, 60, 1), (0, 600, 0)]
)
def test_a_video_has_calls_by_its_length_and_at_least_one(rate: float, seconds: float, calls: int) -> None:
    assert CallBudget(rate).allowance(Street(seconds=seconds), [make_event()]).left == calls


def test_every_video_has_a_budget_of_its_own() -> None:
    budget = CallBudget(6)
    first = budget.allowance(Street(seconds=60), [make_event()])
    assert first.take(6)
    assert budget.allowance(Street(seconds=60), [make_event()]).left == 6


def test_a_stream_earns_calls_as_it_goes_on_and_saves_up_a_minute_of_them_at_most() -> None:
    budget, stream = CallBudget(6), Street(live=True)
    assert budget.allowance(stream, [make_event(end=5.0)]).take(6)
    soon = budget.allowance(stream, [make_event(end=15.0)])
    assert soon.left == pytest.approx(1)
    assert soon.take(1)
    assert not soon.take(1)
    assert budget.allowance(stream, [make_event(end=9.0)]).left == pytest.approx(0)  # told late
    assert budget.allowance(stream, [make_event(end=9000.0)]).left == 6


def test_calls_are_taken_all_or_none() -> None:
    allowance = CallAllowance(3, "a budget")
    assert not allowance.take(4)
    assert allowance.take(3)
    assert allowance.left == 0


@pytest.mark.parametrize("rate", [-1, float("nan"), float("inf")])
def test_a_budget_is_a_number_from_0_on(rate: float) -> None:
    with pytest.raises(ModelError, match="times a minute"):
        CallBudget(rate)
