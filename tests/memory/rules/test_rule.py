from __future__ import annotations

import pytest
from pydantic import ValidationError

from tests.memory.rules.made import rule


def test_text_and_keywords_are_put_on_one_line_and_in_lower_case() -> None:
    made = rule("  a man \n runs ", keywords=("Running", " running", "Kick  scooter"))
    assert made.text == "a man runs"
    assert made.keywords == ("running", "kick scooter")


@pytest.mark.parametrize(
    "wrong",
    [
        {"text": "…"},
        {"text": "x" * 301},
        {"keywords": tuple(map(str, range(21)))},
        {"keywords": ("?!",)},
        {"keywords": ("x" * 61,)},
        {"severity": 5},
        {"polarity": "odd"},
        {"id": "7"},
    ],
)
def test_what_is_no_rule_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        rule(**{"text": "a man runs", **wrong})  # type: ignore[arg-type]
