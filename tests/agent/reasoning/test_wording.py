from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from anomalist.agent.reasoning.wording import join_words, percent, region_sentence, shorten_quote
from anomalist.types.image import KnownKind, Region

SIZE = (256, 256)
DARK = {"tone": "darker", "contrast": -40.0, "contrast_sigma": -3.25}
LIGHT = {"tone": "lighter", "contrast": 90.0, "contrast_sigma": 55.0}


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0, "0 %"),
        (0.00001, "under 0.1 %"),
        (0.00099, "under 0.1 %"),
        (0.001, "0.1 %"),
        (0.0042, "0.4 %"),
        (0.0994, "9.9 %"),
        (0.0996, "10 %"),
        (0.234, "23 %"),
        (1, "100 %"),
    ],
)
def test_shares_are_rounded_but_something_is_never_nothing(share: float, said: str) -> None:
    assert percent(share) == said


@pytest.mark.parametrize(
    ("words", "said"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_listing_joins_words_as_in_speech(words: Sequence[str], said: str) -> None:
    assert join_words(words) == said


@pytest.mark.parametrize(
    ("about", "said"),
    [
        (
            {"box": (30, 30, 60, 60), "area": 180, "elongation": 20.0, "orientation": 45.0} | DARK,
            "R1: a thin dark line at the upper left, about 60 px long and 3 px wide (0.3 % of the picture), "
            "rising to the right at 45°, 3.2σ darker than its surroundings.",
        ),
        (
            {"box": (30, 30, 60, 50), "area": 90, "elongation": 2.0, "orientation": 160.0} | DARK,
            "R1: a winding dark line at the upper left, 30 × 20 px (0.1 % of the picture), "
            "falling to the right at 20°, 3.2σ darker than its surroundings.",
        ),
        (
            {"box": (30, 30, 34, 34), "area": 15, "position": "centre"} | LIGHT,
            "R1: a small bright spot in the centre, 4 × 4 px (under 0.1 % of the picture), "
            "more than 20σ lighter than its surroundings.",
        ),
        (
            {
                "box": (0, 0, 60, 40),
                "area": 2000,
                "edges": ("left", "top"),
                "texture": "rougher",
                "texture_ratio": 2.06,
            }
            | DARK,
            "R1: a dark place that looks like edge damage at the upper left, "
            "touching the left and top edges, 60 × 40 px (3.1 % of the picture), 3.2σ darker "
            "than its surroundings, rougher (2.1 times the local variation).",
        ),
        (
            {"area": 20000, "box": (0, 40, 256, 140), "edges": ("left", "top", "right", "bottom")},
            "R1: a large patch at the upper left, touching all four edges of the picture, 256 × 100 px "
            "(31 % of the picture), about as bright as its surroundings.",
        ),
        (
            {"colour": "redder", "colour_shift": 13.6, "position": "bottom", "edges": ("bottom",)},
            "R1: a discoloured place at the bottom, touching the bottom edge, 20 × 20 px (0.6 % of the "
            "picture), about as bright as its surroundings, redder by 14 CIELAB units.",
        ),
        (
            {"texture": "smoother", "texture_ratio": 0.043, "position": "right"},
            "R1: a place with a different texture on the right, 20 × 20 px (0.6 % of the picture), "
            "about as bright as its surroundings, smoother (0.043 times the local variation).",
        ),
    ],
)
def test_a_region_reads_as_a_sentence(
    about: dict[str, object], said: str, region: Callable[..., Region]
) -> None:
    assert region_sentence(region(**about), SIZE, "the picture") == said


@pytest.mark.parametrize(
    ("angle", "said"),
    [
        (0.0, "running horizontally"),
        (9.0, "running horizontally"),
        (172.0, "running horizontally"),
        (84.0, "running vertically"),
        (97.0, "running vertically"),
        (30.0, "rising to the right at 30°"),
        (120.0, "falling to the right at 60°"),
    ],
)
def test_directions_near_an_axis_go_by_its_name(
    angle: float, said: str, region: Callable[..., Region]
) -> None:
    line = region(box=(30, 30, 80, 80), area=180, elongation=20.0, orientation=angle)
    assert f", {said}, " in region_sentence(line, SIZE, "the picture")


@pytest.mark.parametrize(
    ("change", "known", "said"),
    [
        ("missing", None, "R1: missing against the reference: a dark place at the upper left, "),
        ("extra", None, "R1: extra against the reference: a dark place at the upper left, "),
        (
            "missing",
            KnownKind(name="open", similarity=0.981),
            'R1: missing against the reference, like known cases of "open" (similarity 0.98): a dark place',
        ),
        (
            "changed",
            KnownKind(name=None, similarity=0.5),
            "R1: changed against the reference, unlike any known kind (similarity 0.50): a dark place",
        ),
    ],
)
def test_a_change_against_a_reference_is_said_first_and_material_is_not_guessed(
    change: str, known: KnownKind | None, said: str, region: Callable[..., Region]
) -> None:
    plain = region(area=2000, **DARK)
    assert "looks like missing material" in region_sentence(plain, SIZE, "the picture")
    changed = plain.model_copy(update={"change": change, "known": known})
    sentence = region_sentence(changed, SIZE, "the picture")
    assert sentence.startswith(said)
    assert "looks like" not in sentence


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("a red van", "a red van"),
        ("a red van stands here", "a red van …"),
        ("走廊里一个人" * 3, "走廊里一个人走廊里一个…"),
    ],
)
def test_a_quote_is_cut_between_words_where_there_are_any(text: str, short: str) -> None:
    assert shorten_quote(text, 12) == short
