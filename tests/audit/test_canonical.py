"""Canonical JSON: the same bytes as the library that implements the standard, for anything JSON can hold."""

from __future__ import annotations

import json
import math

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as some

from anomalist.audit.canonical import REDACTED, canonical_json
from anomalist.errors import DataError

LEAVES = (
    some.none()
    | some.booleans()
    | some.integers(-(2**53) + 1, 2**53 - 1)
    | some.floats(allow_nan=False, allow_infinity=False)
    | some.floats(1e-8, 1e-3)
    | some.text(some.characters(exclude_categories=["Cs"]))
)
NAMES = some.text(some.characters(exclude_categories=["Cs"]), max_size=4)


def as_json(value: object) -> object:
    """Numbers as JSON knows them: a whole float is an integer, and very large ones are text here."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, list):
        return [as_json(each) for each in value]
    return {key: as_json(each) for key, each in value.items()} if isinstance(value, dict) else value


@settings(max_examples=300)
@given(
    some.recursive(
        LEAVES, lambda inner: some.lists(inner, max_size=4) | some.dictionaries(NAMES, inner, max_size=4)
    )
)
def test_the_bytes_are_those_of_the_reference_implementation(value: object) -> None:
    assert canonical_json(value) == rfc8785.dumps(as_json(value))


@pytest.mark.parametrize(
    "number", [0.00005, 5e-7, 1e-7, 1e16, 1e21, 1.5e300, -0.0, 2.0**60, 0.1 + 0.2, 4.35, 1 / 3]
)
def test_numbers_are_written_as_in_ecmascript(number: float) -> None:
    assert canonical_json([number]) == rfc8785.dumps([number if number else 0])


def test_what_json_cannot_hold_is_replaced() -> None:
    value = {"a": math.nan, "b": -math.inf, "c": 2**70, "d": "tile\udcff.png"}
    assert json.loads(canonical_json(value)) == {
        "a": None,
        "b": None,
        "c": str(2**70),
        "d": "tile\\udcff.png",
    }


def test_a_backslash_before_what_looks_like_a_surrogate_stays_as_it_is() -> None:
    value = {"\x80": {"\\udc": None}, "path": "C:\\udcff"}
    assert canonical_json(value) == rfc8785.dumps(value)


def test_a_type_that_is_no_json_is_a_clear_error() -> None:
    with pytest.raises(DataError, match="can't hold this"):
        canonical_json({"a": object()})


def test_redacted_fields_leave_no_trace_at_any_depth() -> None:
    value = {"note": "Mrs Jones", "deep": [{"who": "anna", "note": 7, "kept": 1}]}
    assert json.loads(canonical_json(value, ("note", "who"))) == {
        "note": REDACTED,
        "deep": [{"who": REDACTED, "note": None, "kept": 1}],
    }


def test_astral_names_sort_by_their_code_units() -> None:
    value = {"\U0001f600": 1, "\ufb33": 2, "a": 1e-7}
    assert canonical_json(value) == rfc8785.dumps(value)
