"""Questions about drawn cases have one right option, which says what is true."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from anomalist.training.defect_renderers import DefectFacts
from anomalist.training.small_model import questions
from anomalist.training.small_model.descriptions import KIND_NAMES
from anomalist.training.small_model.questions import (
    TrainingQuestion,
    region_questions,
    whole_picture_questions,
)

SCRATCH = DefectFacts(
    "scratch",
    tone="darker",
    hue="redder",
    shape="line",
    direction="rising",
    count=2,
    faint=False,
    place="top",
)


def _ask(facts: DefectFacts, times: int = 60) -> list[TrainingQuestion]:
    return [
        each for seed in range(times) for each in region_questions(np.random.default_rng(seed), "R1", facts)
    ]


def _plain(option: str) -> str:
    return option.rstrip(".").casefold()


@pytest.mark.parametrize(
    "facts", [SCRATCH, DefectFacts("nothing", place="left"), DefectFacts("hole"), DefectFacts(None)]
)
def test_options_differ_and_the_right_one_is_among_them(facts: DefectFacts) -> None:
    for asked in _ask(facts):
        assert 2 <= len(asked.options) <= 26
        assert len({_plain(option) for option in asked.options}) == len(asked.options)
        assert 0 <= asked.right < len(asked.options)
        assert "{" not in asked.text


def test_the_right_option_says_what_is_true() -> None:
    names = {
        "kind": KIND_NAMES["scratch"],
        "tone": questions.TONE_NAMES["darker"],
        "shape": questions.SHAPE_NAMES["line"],
        "direction": questions.DIRECTION_NAMES["rising"],
        "hue": questions.HUE_NAMES["redder"],
        "count": ("2", "two"),
        "unanswerable": questions.CANNOT_TELL_OPTIONS,
    }
    seen = set()
    for asked in _ask(SCRATCH):
        if asked.about in names:
            seen.add(asked.about)
            assert _plain(asked.options[asked.right]) in {_plain(name) for name in names[asked.about]}
            others = [option for at, option in enumerate(asked.options) if at != asked.right]
            assert not {_plain(option) for option in others} & {_plain(name) for name in names[asked.about]}
    assert seen == set(names)


@pytest.mark.parametrize(("kind", "fine"), [("scratch", False), ("nothing", True)])
def test_yes_depends_on_how_it_is_asked(kind: str, fine: bool) -> None:
    for asked in _ask(DefectFacts(kind)):  # type: ignore[arg-type]
        if asked.about == "wrong":
            for_normal = any(
                words in asked.text for words in ("normal?", "all right", "as it should", "is fine")
            )
            says_yes = _plain(asked.options[asked.right]).startswith("yes")
            assert says_yes == (for_normal == fine)


def test_what_is_unclear_is_not_asked_for() -> None:
    about = {asked.about for asked in _ask(DefectFacts("hole"))}

    assert about == {"kind", "wrong", "present", "unanswerable"}


def test_of_a_spoilt_picture_nothing_can_be_told() -> None:
    untold = {_plain(words) for words in questions.CANNOT_TELL_OPTIONS}
    for asked in _ask(DefectFacts(None)):
        assert _plain(asked.options[asked.right]) in untold


def test_right_letters_are_spread() -> None:
    counts = Counter(asked.right for asked in _ask(SCRATCH, 200) if len(asked.options) == 2)

    assert 0.4 < counts[0] / (counts[0] + counts[1]) < 0.6


def test_a_whole_picture_is_asked_where_its_place_is() -> None:
    grey = np.full((20, 30, 3), 20, np.uint8)
    asked = whole_picture_questions(np.random.default_rng(0), "R1", SCRATCH, grey)

    right = {each.about: _plain(each.options[each.right]) for each in asked}
    assert right["place"] in {_plain(name) for name in questions.PLACE_NAMES["top"]}
    assert right["brightness"] in questions.BRIGHTNESS_NAMES["dark"]
    assert right["colour"] in questions.COLOUR_NAMES["grey"]
