from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalist.agent.reasoning.wording import reference_kind, region_kind, shape_kind
from anomalist.types.image import Attributes, Kind, KnownKind, Region

SIZE = (256, 256)
DARK = {"tone": "darker", "contrast": -60.0, "contrast_sigma": -4.0}
LIGHT = {"tone": "lighter", "contrast": 60.0, "contrast_sigma": 4.0}
FAINT = {"tone": "darker", "contrast": -8.0, "contrast_sigma": -1.0}
SMALL = {"box": (20, 20, 30, 30), "area": 80}
MEDIUM = {"box": (20, 20, 60, 60), "area": 1400}
LARGE = {"box": (0, 0, 200, 200), "area": 36000}


@pytest.mark.parametrize(
    ("expected", "about"),
    [
        ("spot", SMALL | DARK),
        ("spot", SMALL | LIGHT),
        ("line", {"box": (20, 20, 80, 23), "area": 180, "elongation": 20.0} | DARK),
        ("line", {"box": (20, 20, 80, 70), "area": 300, "elongation": 2.0} | FAINT),  # winding
        ("line", {"box": (0, 20, 60, 23), "area": 180, "elongation": 20.0, "edges": ("left",)} | DARK),
        ("spot", {"box": (20, 20, 24, 21), "area": 4, "elongation": 4.0} | DARK),  # too short for a line
        ("patch", {"box": (0, 100, 256, 140), "area": 9000, "elongation": 6.4} | FAINT),  # a stripe
        ("missing material", MEDIUM | DARK),
        ("extra material", MEDIUM | LIGHT),
        ("patch", MEDIUM | FAINT),
        ("patch", LARGE | DARK),
        ("edge damage", MEDIUM | DARK | {"edges": ("top",)}),
        ("edge damage", SMALL | LIGHT | {"edges": ("left", "top")}),
        ("patch", MEDIUM | FAINT | {"edges": ("top",)}),
        ("patch", LARGE | DARK | {"edges": ("top",)}),
        ("discolouration", MEDIUM | {"colour": "redder", "colour_shift": 12.0}),
        ("discolouration", SMALL | FAINT | {"colour": "bluer", "colour_shift": 12.0}),
        ("texture change", MEDIUM | {"texture": "rougher", "texture_ratio": 2.0}),
        ("texture change", SMALL | {"texture": "smoother", "texture_ratio": 0.3}),
        ("patch", MEDIUM),
    ],
)
def test_kind_follows_shape_and_contrast(
    expected: str, about: dict[str, object], region: Callable[..., Region]
) -> None:
    assert shape_kind(region(**about), SIZE) == expected


def test_how_long_a_line_must_be_depends_on_the_picture(region: Callable[..., Region]) -> None:
    short = region(box=(20, 20, 40, 22), area=40, elongation=10.0, **DARK)
    assert shape_kind(short, (256, 256)) == "line"
    assert shape_kind(short, (2048, 2048)) == "spot"
    assert shape_kind(short, (20_000, 128)) == "line"  # but not on the length of a strip


@st.composite
def regions(draw: st.DrawFn) -> Region:
    x0, y0 = draw(st.integers(0, 250)), draw(st.integers(0, 250))
    x1, y1 = draw(st.integers(x0 + 1, 256)), draw(st.integers(y0 + 1, 256))
    number = st.floats(-1e6, 1e6)
    return Region(
        id="R1",
        box=(x0, y0, x1, y1),
        area=draw(st.integers(1, (x1 - x0) * (y1 - y0))),
        peak=1.0,
        mean=0.5,
        attributes=Attributes(
            position="centre",
            edges=draw(st.sampled_from([(), ("left",), ("top", "right")])),
            relative_size=draw(st.floats(0, 1)),
            elongation=draw(st.floats(1, 1e4)),
            orientation=None,
            contrast=draw(number),
            contrast_sigma=draw(number),
            tone=draw(st.sampled_from(["darker", "lighter", "same"])),
            colour_shift=abs(draw(number)),
            colour=draw(st.sampled_from([None, "redder"])),
            texture_ratio=abs(draw(number)),
            texture=draw(st.sampled_from(["rougher", "smoother", "same"])),
        ),
    )


@settings(max_examples=100)
@given(any_region=regions())
def test_every_region_has_a_kind_and_it_is_never_the_one_without_regions(any_region: Region) -> None:
    assert shape_kind(any_region, SIZE) in set(get_args(Kind)) - {"diffuse change"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [("missing", "missing material"), ("extra", "extra material"), ("changed", "spot"), (None, "spot")],
)
def test_what_a_reference_shows_needs_no_guess(
    change: str | None, expected: str, region: Callable[..., Region]
) -> None:
    changed = region(**SMALL, **DARK).model_copy(update={"change": change})
    assert reference_kind(changed, SIZE) == region_kind(changed, SIZE) == expected


@pytest.mark.parametrize(("known", "expected"), [("mousebite", "mousebite"), (None, "missing material")])
def test_labelled_cases_name_a_kind_unless_none_is_alike(
    known: str | None, expected: str, region: Callable[..., Region]
) -> None:
    like = KnownKind(name=known, similarity=0.5)
    changed = region(**SMALL, **DARK).model_copy(update={"change": "missing", "known": like})
    assert region_kind(changed, SIZE) == expected
    assert reference_kind(changed, SIZE) == "missing material"
