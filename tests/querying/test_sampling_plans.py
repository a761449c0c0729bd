"""Plans of ISO 2859-1 as its tables give them."""

from __future__ import annotations

import pytest

from anomalist.errors import DataError
from anomalist.querying.sampling_plans import sampling_plan


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
