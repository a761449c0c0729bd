"""What the notes say on the product that a picture shows."""

from __future__ import annotations

import pytest

from anomalist.types.image import ProductMatch
from anomalist.vision.evidence import _product_notes


def match(distance: float, next_ratio: float, strange_share: float) -> ProductMatch:
    return ProductMatch(
        name="nut",
        digest="0" * 64,
        distance=distance,
        next="bolt",
        next_ratio=next_ratio,
        strange_share=strange_share,
    )


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            match(0.5, 4, 0.1),
            ["product: nut (at 0.50 times the distance that is accepted; next bolt, 4.0 times"],
        ),
        (match(0.5, 1.1, 0.9), ["product: nut", "bolt is nearly as similar as nut: it is judged as nut"]),
        (match(3, 2, 0.12), ["product: nut", "as a whole is unlike nut, but only 12 % of it stands out"]),
        (match(3, 2, 0.9), []),
    ],
)
def test_notes_name_the_product_and_what_speaks_against_it(found: ProductMatch, said: list[str]) -> None:
    notes = list(_product_notes(found))
    assert found.recognised == bool(said)
    assert len(notes) == len(said)
    assert all(part in note for part, note in zip(said, notes, strict=True))
