"""Plans of ISO 2859-1 as its tables give them."""

from __future__ import annotations

import tomllib

import pytest

from anomalist.errors import DataError
from anomalist.querying.sampling_plans import PLANS_FILE, own_plan, sampling_plan


@pytest.mark.parametrize(
    ("lot", "aql", "level", "letter", "row", "sample", "accept"),
    [
        (500, 1.0, "II", "H", "H", 50, 1),
        (1200, 2.5, "II", "J", "J", 80, 5),
        (3200, 1.0, "II", "K", "K", 125, 3),
        (10_000, 0.65, "II", "L", "L", 200, 3),
        (96, 1.0, "II", "F", "E", 13, 0),
        (300, 0.065, "II", "H", "L", 200, 0),
        (150, 2.5, "I", "D", "C", 5, 0),
        (150, 4.0, "I", "D", "E", 13, 1),
        (35_000, 0.4, "III", "N", "N", 500, 5),
        (600_000, 0.015, "III", "R", "P", 800, 0),
        (8, 6.5, "I", "A", "A", 2, 0),
        (150_000, 10, "S-4", "J", "J", 80, 14),
        (5, 1.0, "II", "A", "E", 5, 0),
    ],
)
def test_plans(lot: int, aql: float, level: str, letter: str, row: str, sample: int, accept: int) -> None:
    plan = sampling_plan(lot, aql, level)
    assert (plan.letter, plan.row, plan.sample, plan.accept) == (letter, row, sample, accept)
    assert plan.reject == accept + 1
    assert plan.accepts(accept)
    assert not plan.accepts(accept + 1)
    assert f"code letter {letter}; table 2-A: row {letter}" in plan.cited


def test_what_the_standard_lacks_is_refused() -> None:
    with pytest.raises(DataError, match="is no AQL"):
        sampling_plan(500, 1.1)
    with pytest.raises(DataError, match='no inspection level "IV"'):
        sampling_plan(500, 1.0, "IV")
    with pytest.raises(DataError, match="can't be sampled"):
        sampling_plan(1, 1.0)


def test_the_table_follows_the_diagonals_of_the_standard() -> None:
    """In table 2-A each row is the one above, moved left by one AQL; n doubles about every second row."""
    tables = tomllib.loads(PLANS_FILE.read_text(encoding="utf-8"))
    rows = tables["row"]
    assert [row["letter"] for row in rows] == list("ABCDEFGHJKLMNPQR")
    numbers = [2, 3, 5, 8, 13, 20, 32, 50, 80, 125, 200, 315, 500, 800, 1250, 2000]
    assert [row["sample"] for row in rows] == numbers
    diagonal = ["0", "^", "v", "1", "2", "3", "5", "7", "10", "14", "21"]
    for number, row in enumerate(rows):
        cells = {place: cell for place, cell in enumerate(row["accept"]) if cell not in "v^"}
        start = 14 - number  # the column of Ac = 0
        expected = {
            start + place: cell
            for place, cell in enumerate([*diagonal, "30", "44"])
            if cell not in "v^" and 0 <= start + place < len(tables["aql"])
        }
        if number >= 5:  # 30 and 44 only stand in the first rows
            expected = {place: cell for place, cell in expected.items() if cell not in ("30", "44")}
        assert cells == expected, row["letter"]


def test_code_letters_never_fall_with_the_lot_or_the_level() -> None:
    lots = tomllib.loads(PLANS_FILE.read_text(encoding="utf-8"))["lot"]
    order = "ABCDEFGHJKLMNPQR"
    for level in lots[0]["letters"]:
        letters = [order.index(lot["letters"][level]) for lot in lots]
        assert letters == sorted(letters)
    for lot in lots:
        row = [order.index(lot["letters"][level]) for level in ("S-1", "S-2", "S-3", "S-4", "I", "II", "III")]
        assert row == sorted(row)


def test_a_plan_of_ones_own_needs_numbers_that_make_one() -> None:
    plan = own_plan(500, 50, 1)
    assert (plan.sample, plan.accept, plan.reject, plan.letter) == (50, 1, 2, None)
    assert own_plan(20, 50, 1).sample == 20
    for sample, accept in ((0, 0), (5, 5), (5, -1)):
        with pytest.raises(DataError, match="is no plan"):
            own_plan(500, sample, accept)
