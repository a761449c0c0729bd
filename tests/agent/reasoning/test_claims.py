from __future__ import annotations

from collections.abc import Callable

import pytest

from anomalist.agent.reasoning.claims import citable_ids, filter_claims
from anomalist.types.common import Claim, Recall, Recalled
from anomalist.types.image import Evidence, Region


@pytest.mark.parametrize(
    ("cited", "kept"),
    [
        (("score",), True),
        (("R1", "case:12"), True),
        (("R9",), False),
        (("R1", "R9"), False),
        (("r1",), False),
        (("R1 ",), False),
    ],
)
def test_a_claim_needs_all_of_its_ids_to_exist(cited: tuple[str, ...], kept: bool) -> None:
    claim = Claim(text="Something.", evidence=cited)
    assert filter_claims([claim], {"score", "R1", "case:12"}) == (
        (claim,) if kept else (),
        () if kept else (claim,),
    )


@pytest.mark.parametrize(
    ("text", "cited", "kept"),
    [
        ("R2 shows a scratch.", ("R2",), True),
        ("R2 shows a scratch.", ("R3",), False),
        ("R2 is darker than R3.", ("R3",), True),
        ("R2 shows a scratch.", ("R3", "R2"), True),
        ("R2 shows a scratch.", ("score",), True),
        ("The resistor R47 is missing.", ("R3",), True),
        ("A scratch on part PR2.", ("R3",), True),
        ("A scratch.", ("R3",), True),
    ],
)
def test_a_claim_that_names_regions_cites_one_of_them(text: str, cited: tuple[str, ...], kept: bool) -> None:
    claim = Claim(text=text, evidence=cited)
    assert bool(filter_claims([claim], {"score", "R2", "R3"})[0]) is kept


def test_claims_keep_their_order_and_the_dropped_are_given_apart() -> None:
    claims = [Claim(text=str(i), evidence=(f"R{i}",)) for i in (3, 1, 9, 2, 8)]
    kept, dropped = filter_claims(iter(claims), ("R1", "R2", "R3"))
    assert [claim.text for claim in kept] == ["3", "1", "2"]
    assert [claim.text for claim in dropped] == ["9", "8"]


def test_score_regions_and_what_was_recalled_can_be_cited(
    evidence: Callable[..., Evidence], region: Callable[..., Region]
) -> None:
    recall = Recall(items=(Recalled(id="normal:4", text="tile", similarity=0.9),))
    ids = citable_ids(evidence(regions=[region(1), region(2)]), recall)
    assert ids == {"score", "R1", "R2", "normal:4"}
