"""A sentence stands only where its ids exist and its numbers are those of the evidence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalist.agent.asking.draft import filter_supported_claims, make_claim, number_texts
from anomalist.agent.tools.subject import Result


class Measured(Result):
    value: float
    text: str = ""


def kept(text: str, value: float, ids: tuple[str, ...] = ("R1",)) -> bool:
    claims, dropped = filter_supported_claims([make_claim(text, ids)], [Measured(ids=("R1",), value=value)])
    assert len(claims) + len(dropped) == 1
    return bool(claims)


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("It is 40 px long.", 40, True),
        ("It is 41 px long.", 40, False),
        ("It covers 0.4 % of it.", 0.00412, True),
        ("It covers 0.5 % of it.", 0.00412, False),
        ("p = 0.013", 0.0125, True),
        ("−3.2 grey levels", -3.21, True),
        ("1,234 px in area", 1234, True),
        ("It scores 1.23e+03.", 1234, True),
        ("It scores 1.24e+03.", 1234, False),
        ("R1 is like case:scratch/7, see part-12.png.", 1, True),
        ("No number here.", 1, True),
    ],
)
def test_numbers(text: str, value: float, holds: bool) -> None:
    assert kept(text, value) is holds


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_another_whole_number_is_never_taken_for_it(said: int, measured: int) -> None:
    assert kept(f"It is {said} px long.", measured) is (said in (measured, 100 * measured))


def test_an_id_that_does_not_exist_drops_the_sentence() -> None:
    assert not kept("It is there.", 1, ("R1", "R7"))


def test_numbers_in_names_are_no_numbers() -> None:
    assert number_texts("exp6_num_37675.jpg: R12, E3, case:12, rule:7 and 5 px") == ["5"]
