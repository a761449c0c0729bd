from __future__ import annotations

from pathlib import Path

import pytest

from anomalist.eval.mmad.answering import AnsweredPicture, MmadAnswer
from anomalist.eval.mmad.questions import MmadPicture, MmadQuestion
from anomalist.eval.mmad.reference_scoring import parse_reference_answer, score_by_reference

OPTIONS = ("Yes", "No", "A scratch", "A dent")


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"),
        ("1. Answer: C.", "C"),
        ("A or B", "B"),
        ("A scratch", "A"),
        ("Not D", "D"),
        ("E", "E"),
        ("yes", "A"),
        ("there is a dent", "D"),
        ("b", "A"),
        ("", "A"),
    ],
)
def test_replies_are_read_as_the_reference_reads_them(reply: str, letter: str) -> None:
    assert parse_reference_answer(reply, OPTIONS) == letter


def picture(name: str, *asked: tuple[str, int]) -> MmadPicture:
    questions = tuple(MmadQuestion(subtask, "?", OPTIONS, right) for subtask, right in asked)
    return MmadPicture(name, Path(name), (), None, questions)


def answers(name: str, *replies: str | None) -> AnsweredPicture:
    given = tuple(MmadAnswer(chosen=None, probabilities=None, reply=reply) for reply in replies)
    return AnsweredPicture(picture=name, answers=given)


def test_the_table_is_that_of_the_reference() -> None:
    pictures = [
        picture("VisA/pcb1/test/good/0.png", ("Anomaly Detection", 1), ("Object Analysis", 0)),
        picture("VisA/pcb1/test/bad/0.png", ("Anomaly Detection", 0), ("Defect Analysis", 2)),
        picture("VisA/pcb1/test/bad/1.png", ("Anomaly Detection", 0)),
        picture("GoodsAD/can/test/bad/0.png", ("Anomaly Detection", 0)),
    ]
    given = ["B", "A"], ["A", "C"], ["B"], ["A"]
    answered = [answers(each.name, *replies) for each, replies in zip(pictures, given, strict=True)]
    scores = score_by_reference(pictures, answered)
    assert scores is not None
    visa, goods = scores.table["VisA"], scores.table["GoodsAD"]
    assert visa["Anomaly Detection"] == 75  # normal 1 of 1, anomalous 1 of 2
    assert visa["Average"] == pytest.approx((75 + 100 + 100) / 3)
    # No normal picture counts as 0 right, a subtask without questions too.
    assert goods == {
        "Anomaly Detection": 50,
        "Object Analysis": 0,
        "Defect Analysis": 0,
        "Average": pytest.approx(50 / 3),
    }
    assert scores.average == pytest.approx((275 / 3 + 50 / 3) / 2)
    assert (scores.counted, scores.dropped) == (6, 0)


def test_a_picture_on_which_the_model_failed_leaves_the_denominator() -> None:
    pictures = [picture("VisA/a/test/good/0.png", ("Object Analysis", 0), ("Defect Analysis", 0))] * 2
    answered = [answers("x", "A", None), answers("x", "A", "A")]
    scores = score_by_reference(pictures, answered)
    assert scores is not None
    assert (scores.counted, scores.dropped, scores.average) == (2, 2, 100)
    assert score_by_reference(pictures, [answered[0]] * 2) is None


def test_an_invalid_answer_takes_the_next_one_along() -> None:
    many = tuple("ABCDEFG")
    asked = [MmadQuestion("Object Analysis", "?", many, right) for right in (5, 0, 1)]
    pictures = [MmadPicture("VisA/a/test/good/0.png", Path("x"), (), None, tuple(asked))]
    scores = score_by_reference(pictures, [answers("x", "A", "B", "B")])
    assert scores is not None
    # F is no letter of the reference: its row goes, and the wrong answer after it is never counted.
    assert (scores.counted, scores.average) == (1, 100)
