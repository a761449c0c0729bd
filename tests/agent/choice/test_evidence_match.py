from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalist.agent.choice.evidence_match import CERTAIN_MATCH, RecordMatcher
from anomalist.agent.choice.option_parsing import Term, parse_terms
from anomalist.types.image import Record, Region
from tests.agent.conftest import SIDE, make_region


def findings(*regions: Region, label: str | None = "anomalous", **fields: Any) -> RecordMatcher:
    about: dict[str, Any] = {"severity": 3, "width": SIDE, "height": SIDE, "p_value": 0.01} | fields
    return RecordMatcher(Record(source="a.png", status="ok", label=label, regions=regions, **about))


def fit(text: str, *regions: Region, **fields: Any) -> float | None:
    (term,) = parse_terms(text, counting=True)
    found = findings(*regions, **fields).fit(term)
    return None if found is None else found.value


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("dark", {"tone": "darker"}),
        ("bright", {"tone": "lighter"}),
        ("rough", {"texture": "rougher", "texture_ratio": 2.0}),
        ("smooth", {"texture": "smoother", "texture_ratio": 0.4}),
        ("reddish", {"colour": "redder", "colour_shift": 9.0}),
        ("blue", {"colour": "bluer", "colour_shift": 9.0}),
        ("elongated", {"elongation": 9.0}),
        ("round", {"elongation": 1.0}),
        ("small", {"relative_size": 0.001}),
        ("large", {"relative_size": 0.2}),
        ("horizontal", {"elongation": 3.0, "orientation": 175.0}),
        ("vertical", {"elongation": 3.0, "orientation": 80.0}),
        ("diagonal", {"elongation": 3.0, "orientation": 130.0}),
        ("rising", {"elongation": 3.0, "orientation": 45.0}),
        ("at the left edge", {"edges": ("left",)}),
        ("at the edge", {"edges": ("top", "left")}),
    ],
)
def test_measured_words_fit_what_was_measured(text: str, about: dict[str, Any]) -> None:
    assert fit(text, make_region(**about)) == CERTAIN_MATCH
    assert fit(f"not {text}", make_region(**about)) == pytest.approx(1 - CERTAIN_MATCH)


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("dark", {"tone": "same"}),
        ("red", {"colour": "bluer"}),
        ("rising", {"elongation": 3.0, "orientation": 120.0}),
        ("at the right edge", {"edges": ("left",)}),
        ("at the edge", {}),
        ("large", {"relative_size": 0.001}),
    ],
)
def test_what_was_measured_otherwise_does_not_fit(text: str, about: dict[str, Any]) -> None:
    value = fit(text, make_region(**about))
    assert value is not None and value < 0.1


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_changes_are_known_against_a_reference_only(change: str) -> None:
    region = make_region().model_copy(update={"change": change})
    assert fit(change, region) == CERTAIN_MATCH
    assert fit(change, make_region()) == 0.5


def test_a_region_counts_less_the_lower_its_peak() -> None:
    high, low = make_region(1, tone="darker"), make_region(2, tone="lighter", position="right")
    assert fit("dark", high, low) == CERTAIN_MATCH
    assert fit("bright", high, low) == pytest.approx(CERTAIN_MATCH / 2)


def test_a_region_over_two_places_lies_in_both() -> None:
    wide = make_region(box=(0, 10, 171, 20), area=1710, position="upper left")
    top, left = fit("top", wide), fit("upper left", wide)
    assert left == 1
    assert top == pytest.approx(0.6)  # nearly: the word for the whole side, of what its centre is in
    assert fit("upper middle", wide) == pytest.approx(0.5, abs=0.01)
    assert fit("bottom", wide) == 0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 defect", CERTAIN_MATCH),
        ("two defects", CERTAIN_MATCH),
        ("three", 0.3),
        ("several", CERTAIN_MATCH),
        ("ten", 1 - CERTAIN_MATCH),
        ("2 or more", CERTAIN_MATCH),
        ("fewer than 0", 1 - CERTAIN_MATCH),
        ("more than 99", 1 - CERTAIN_MATCH),
    ],
)
def test_counts_are_those_of_regions(text: str, value: float) -> None:
    regions = (make_region(1), make_region(2))[: 1 if text.startswith("1") else 2]
    found = findings(*regions).fit(parse_terms(text, counting=True)[0])
    assert found is not None and found.value == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "value"), [("major", CERTAIN_MATCH), ("critical", 0.3), ("minor", 1 - CERTAIN_MATCH)]
)
def test_severity_is_that_of_the_record(text: str, value: float) -> None:
    assert fit(text) == pytest.approx(value)
    assert fit(text, label=None, severity=None) is None


@pytest.mark.parametrize("text", ["dark", "upper left", "round", "at the edge", "scratch"])
def test_without_regions_nothing_is_known_of_them(text: str) -> None:
    assert fit(text) is None


@given(low=st.floats(0.001, 1), high=st.floats(0.001, 1), label=st.sampled_from(["normal", "anomalous"]))
def test_a_smaller_p_never_makes_a_defect_less_probable(low: float, high: float, label: str) -> None:
    low, high = sorted((low, high))
    one, two = (findings(label=label, p_value=p).anomalous for p in (low, high))
    assert one is not None and two is not None
    assert one.value >= two.value


def test_the_map_shows_where_values_are_high() -> None:
    strange = np.zeros((90, 90), np.float32)
    strange[5, 5], strange[80, 40] = 2.0, 1.0
    places = RecordMatcher(findings().record, strange).places
    assert [places[at].value for at in ("upper left", "bottom", "right")] == [1, 0.5, 0]


def test_aspects_that_are_no_measurement_have_no_fit() -> None:
    for aspect in ("answer", "others", "unsaid"):
        assert findings(make_region()).fit(Term(aspect, frozenset({"yes"}))) is None
