"""Feedback moves what is alike, within bounds, in one direction, and says why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalist.memory.cases import Action, Case, CaseStore, Feedback
from anomalist.memory.embedding import SentenceEncoder
from anomalist.memory.ranking import HALF_LIFE_DAYS, SIMILARITY_FLOOR, RankAdjustment, rank_adjustments
from anomalist.types.common import FloatArray

EVENT = np.array([[1.0, 0.0]], np.float32)


def case(number: int, action: Action, day: int = 1, undone: bool = False) -> Case:
    return Case(
        id=f"case:{number}",
        created=f"2026-{1 + (day - 1) // 28:02}-{1 + (day - 1) % 28:02}T12:00:00+00:00",
        action=action,
        media="event",
        source="yard.mp4",
        who="Ines",
        undone="2026-02-01T00:00:00+00:00" if undone else None,
    )


def at(*similarities: float) -> FloatArray:
    """Unit vectors with these similarities to EVENT."""
    s = np.array(similarities, np.float64).reshape(-1)
    return np.stack([s, np.sqrt(1 - s**2)], 1).astype(np.float32)


def adjusted(*cases: tuple[Action, float]) -> RankAdjustment:
    """Of EVENT by cases of one day: their actions and similarities."""
    known = [case(1 + number, action) for number, (action, _) in enumerate(cases)]
    return rank_adjustments(EVENT, known, at(*(s for _, s in cases)))[0]


def test_dismissed_lowers_and_escalated_raises_what_is_alike() -> None:
    assert adjusted(("dismissed", 1)).value == pytest.approx(-0.5)
    assert adjusted(("escalate", 1)).value == pytest.approx(0.5)
    assert adjusted(*[("dismissed", 1.0)] * 3).value == pytest.approx(-0.875)
    middle = (1 + SIMILARITY_FLOOR) / 2
    assert adjusted(("dismissed", middle)).value == pytest.approx(-0.25, abs=1e-6)


@pytest.mark.parametrize(
    "cases",
    [
        [],
        [case(1, "seen"), case(2, "confirmed"), case(3, "corrected")],
        [case(1, "dismissed", undone=True), case(2, "escalate", undone=True)],
    ],
)
def test_what_does_not_count_leaves_the_rank_alone(cases: Sequence[Case]) -> None:
    vectors = at(*[1.0] * len(cases)) if cases else np.empty((0, 0), np.float32)
    assert rank_adjustments(EVENT, cases, vectors) == (RankAdjustment(value=0),)


@pytest.mark.parametrize("similarity", [-1, 0, SIMILARITY_FLOOR - 0.01, SIMILARITY_FLOOR])
def test_what_is_not_alike_does_not_count(similarity: float) -> None:
    assert adjusted(("dismissed", similarity)).value == pytest.approx(0, abs=1e-9)


def test_the_reason_names_the_weightiest_cases_first() -> None:
    lowered = adjusted(("dismissed", 0.8), ("dismissed", 0.2), ("dismissed", 0.9), ("seen", 1))
    assert lowered.cases == ("case:3", "case:1")
    assert lowered.reason == "alike to 2 dismissed (case:3, case:1)"
    assert adjusted(("escalate", 0.9)).reason == "alike to 1 escalated (case:1)"
    many = adjusted(*[("dismissed", 0.9)] * 7)
    assert many.reason == "alike to 7 dismissed (case:1, case:2, case:3, case:4, case:5, …)"
    assert len(many.cases) == 7


def test_a_conflict_is_said_and_an_escalation_is_not_outvoted() -> None:
    both = adjusted(*[("dismissed", 1.0)] * 50, ("escalate", 1))
    assert both.value == pytest.approx(0.5)
    assert both.reason.startswith("alike to 1 escalated (case:51) and to 50 dismissed (case:1, ")
    assert both.reason.endswith("), which count less beside an escalated one")
    assert (
        adjusted(("dismissed", 1), ("escalate", SIMILARITY_FLOOR + 0.05)).value < 0
    )  # hardly alike: a hint, named


def test_the_newest_counts_most() -> None:
    days = [case(1, "dismissed", day=1), case(2, "dismissed", day=1 + 28)]
    old_alike, new_alike = (rank_adjustments(EVENT, days, at(*s))[0].value for s in ((1, 0), (0, 1)))
    assert new_alike < old_alike < 0
    assert old_alike == pytest.approx(-0.5 * 2 ** (-31 / HALF_LIFE_DAYS))


def test_each_event_has_its_own() -> None:
    found = rank_adjustments(at(1, 0, 0.9), [case(1, "dismissed")], EVENT)
    assert [bool(one.cases) for one in found] == [True, False, True]
    assert found[0].value < found[2].value < found[1].value == 0
    assert rank_adjustments(np.empty((0, 2), np.float32), [case(1, "dismissed")], EVENT) == ()


def test_feedback_from_the_store_and_its_undoing(tmp_path: Path, encoder: SentenceEncoder) -> None:
    text, same, other = "A cat walks along the wall", "a cat is walking on the wall", "Two men are fighting"
    with CaseStore(tmp_path / "cases.sqlite") as store:
        given = Feedback(action="dismissed", media="event", source="a.mp4", profile="yard", text=text)
        store.add(given, {encoder.name: encoder.encode([text])[0]})
        events = encoder.encode([same, other])

        def values(profile: str) -> list[float]:
            known = store.vectors(encoder.name, profile=profile)
            return [one.value for one in rank_adjustments(events, *known)]

        lowered, untouched = values("yard")
        assert lowered < -0.3
        assert untouched == 0
        assert values("gate") == [0, 0]
        store.undo("case:1")
        assert values("yard") == [0, 0]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="got 1 cases and 2 vectors"):
        rank_adjustments(EVENT, [case(1, "seen")], at(1, 1))
    with pytest.raises(ValueError, match="not of one space"):
        rank_adjustments(np.ones((1, 3), np.float32), [case(1, "dismissed")], EVENT)
    with pytest.raises(ValueError, match=r"floor must be in \[-1, 1\)"):
        rank_adjustments(EVENT, [case(1, "dismissed")], EVENT, floor=1)


# --- laws -------------------------------------------------------------------------------------------------

_SIMILARITY = st.floats(-1, 1, width=32)
_CASES = st.lists(
    st.tuples(st.sampled_from(["dismissed", "escalate", "seen"]), _SIMILARITY, st.integers(1, 300)),
    max_size=8,
)


def value_of(given_cases: Sequence[tuple[Action, float, int]]) -> float:
    known = [case(1 + n, action, day) for n, (action, _, day) in enumerate(given_cases)]
    vectors = at(*(s for _, s, _ in given_cases)) if known else np.empty((0, 0), np.float32)
    return rank_adjustments(EVENT, known, vectors)[0].value


@given(_CASES)
def test_it_is_bounded_and_each_side_only_pulls_its_own_way(
    cases: list[tuple[Action, float, int]],
) -> None:
    value = value_of(cases)
    assert -1 <= value <= 1
    actions = {action for action, _, _ in cases}
    assert value <= 0 or "escalate" in actions
    assert value >= 0 or "dismissed" in actions


@given(_CASES.filter(bool), st.data())
def test_more_alike_pulls_more(cases: list[tuple[Action, float, int]], data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(cases) - 1))
    action, similarity, day = cases[number]
    nearer = data.draw(st.floats(similarity, 1, width=32))
    moved = value_of(cases) - value_of([*cases[:number], (action, nearer, day), *cases[number + 1 :]])
    sign = {"dismissed": 1, "escalate": -1, "seen": 0}[action]
    assert moved * sign >= -1e-6 if sign else moved == 0


@given(_CASES, st.sampled_from(["dismissed", "escalate"]), _SIMILARITY)
def test_one_more_case_pulls_its_own_way(
    cases: list[tuple[Action, float, int]], action: Action, similarity: float
) -> None:
    more = value_of([*cases, (action, similarity, 1)]) - value_of([("seen", 1.0, 1), *cases])
    assert more <= 1e-6 if action == "dismissed" else more >= -1e-6


@given(_CASES, st.randoms(use_true_random=False))
def test_the_order_of_cases_does_not_matter(
    cases: list[tuple[Action, float, int]], random: np.random.Generator
) -> None:
    shuffled = list(cases)
    random.shuffle(shuffled)
    assert value_of(shuffled) == pytest.approx(value_of(cases), abs=1e-6)
