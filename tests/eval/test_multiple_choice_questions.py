from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from anomalist.agent.choice.option_parsing import parse_terms
from anomalist.eval import multiple_choice_questions as wording
from anomalist.eval.multiple_choice_questions import (
    BenchmarkQuestion,
    QuestionSubject,
    balance_answer_letters,
    detection_question,
    kind_question,
    place_question,
    places_of_one_kind,
    shares_of_boxes,
    shares_of_mask,
)
from anomalist.vision.attributes import POSITION_NAMES

TILE = QuestionSubject("mtd", "tile", "crack/1.jpg", "tile1")


def many(count: int = 40) -> list[BenchmarkQuestion]:
    """Questions of all three kinds; the first option is right in each."""
    rng = np.random.default_rng(0)
    shares = np.eye(9)
    found: list[BenchmarkQuestion | None] = []
    for number in range(count):
        found.append(detection_question(TILE, number % 3 == 0, number))
        found.append(place_question(TILE, shares[number % 9], rng, number))
        found.append(kind_question(TILE, "crack", ["blowhole", "rolled-in_scale"], number))
    return [question for question in found if question is not None]


def test_every_letter_is_right_as_often() -> None:
    for subtask in ("detection", "place", "kind"):
        letters = Counter(q.right for q in balance_answer_letters(many(), 0) if q.subtask == subtask)
        assert max(letters.values()) - min(letters.values()) <= 1


def test_shuffling_keeps_what_options_mean() -> None:
    before, after = many(), balance_answer_letters(many(), 3)
    for one, two in zip(before, after, strict=True):
        assert two.truth == one.truth
        assert dict(zip(one.options, one.meanings, strict=True)) == dict(
            zip(two.options, two.meanings, strict=True)
        )
    assert after != balance_answer_letters(many(), 4)
    assert after == balance_answer_letters(many(), 3)


def test_the_letter_tells_nothing_about_the_truth() -> None:
    found = [q for q in balance_answer_letters(many(300), 0) if q.subtask == "detection"]
    yes = Counter(q.right for q in found if q.truth == "defective")
    assert abs(yes[0] - yes[1]) < 40


def test_every_wording_of_detection_can_be_read() -> None:
    for number in range(len(wording.DETECTION_QUESTIONS)):
        question = detection_question(TILE, True, number)
        assert question.meanings == ("defective", "normal")
        assert all(parse_terms(option) for option in question.options)
        assert "{" not in question.text + "".join(question.options)


def test_every_wording_of_a_place_means_that_place() -> None:
    for place in POSITION_NAMES:
        for number in [0, 1, 4, 5, 8, 9]:
            put = wording.place_wording("tile", place, (), number)
            (term,) = parse_terms(put.options[0])
            assert (term.aspect, term.values) == ("place", {place})


def test_other_places_show_nothing_of_a_defect() -> None:
    shares = [0.7, 0.3, 0, 0, 0, 0, 0, 0, -1.0]
    question = place_question(TILE, shares, np.random.default_rng(0), 0)
    assert question is not None
    assert question.truth == "upper left"
    assert len(question.options) == 4
    assert not {"top", "lower right"} & set(question.meanings)


@pytest.mark.parametrize("shares", [[1 / 9] * 9, [0.0] * 9])
def test_a_defect_everywhere_or_nowhere_is_not_asked_for(shares: list[float]) -> None:
    assert place_question(TILE, shares, np.random.default_rng(0), 0) is None


def test_names_of_kinds_are_written_as_words() -> None:
    question = kind_question(TILE, "rolled-in_scale", ["crack"], 0)
    assert question.options == ("Rolled-in scale", "Crack")
    assert question.truth == "rolled-in_scale"


def test_shares_of_a_mask_sum_to_one() -> None:
    mask = np.zeros((31, 50), bool)
    mask[:12, :20] = True
    shares = shares_of_mask(mask)
    assert sum(shares) == pytest.approx(1)
    assert np.argmax(shares) == POSITION_NAMES.index("upper left")
    assert shares_of_mask(np.zeros((31, 50), bool)) == [0.0] * 9


def test_shares_of_boxes_keep_other_defects_apart() -> None:
    boxes = [(1, 1, 5, 5), (25, 25, 29, 29)]
    shares = shares_of_boxes(boxes, 1, (30, 30))
    assert shares[POSITION_NAMES.index("lower right")] == 1
    assert shares[POSITION_NAMES.index("upper left")] == -1
    assert sum(share == 0 for share in shares) == 7


def test_kinds_are_asked_for_where_only_one_is() -> None:
    boxes = [(1, 1, 5, 5), (8, 1, 14, 5), (25, 25, 29, 29), (22, 22, 26, 26)]
    found = places_of_one_kind(boxes, ["open", "short", "spur", "spur"], (30, 30))
    assert found == {"top": "short", "lower right": "spur"}


def test_every_wording_for_a_kind_at_a_place_names_the_place() -> None:
    for number in range(len(wording.KIND_QUESTIONS_AT)):
        question = kind_question(TILE, "crack", ["fray"], number, "lower right")
        places = [term.values for term in parse_terms(question.text) if term.aspect == "place"]
        assert places == [{"lower right"}]
