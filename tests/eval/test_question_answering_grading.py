"""Grades: right by the labels, wrong, or not to be graded where the detector was wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from anomalist.agent.asking.answering import answer
from anomalist.agent.tools.subject import Subject
from anomalist.eval.question_answering import AskingResult, ask_all, render
from anomalist.eval.question_answering_grading import GroundTruth, grade_answer, labels_stated
from anomalist.eval.question_answering_set import AskingQuestion
from tests.subjects import scratched

RIGHT = GroundTruth(
    label="anomalous",
    kinds=frozenset({"scratch"}),
    boxes=((20, 30, 80, 40), (200, 210, 212, 222)),
    cells=frozenset({"upper left"}),
    found=True,
    counted=True,
    named=True,
)


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return scratched(tmp_path / "part.png")


def question(text: str, check: Any, intent: str = "", **fields: Any) -> AskingQuestion:
    return AskingQuestion(text=text, intent=intent or check, check=check, leading=False, on=("a",), **fields)


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("Is anything wrong?", "label"),
        ("Where is it?", "place"),
        ("What kind of defect is it?", "kind"),
        ("How many are there?", "count"),
        ("How large is R1?", "size"),
        ("How bad is it?", "severity"),
        ("How sure are you?", "confidence"),
        ("What does it cost?", "unanswered"),
    ],
)
def test_right(subject: Subject, text: str, check: str) -> None:
    assert grade_answer(question(text, check), answer(subject, text), RIGHT, subject) is True


def test_wrong_by_the_labels(subject: Subject) -> None:
    there = GroundTruth(**{**vars(RIGHT), "cells": frozenset({"bottom"}), "kinds": frozenset({"dent"})})
    for text, check in (("Where is it?", "place"), ("What kind of defect is it?", "kind")):
        assert grade_answer(question(text, check), answer(subject, text), there, subject) is False


def test_where_the_detector_was_wrong_nothing_is_graded(subject: Subject) -> None:
    missed = GroundTruth(label="normal", found=False)
    for text, check in (
        ("Is it fine?", "label"),
        ("Where is it?", "place"),
        ("How many are there?", "count"),
    ):
        assert grade_answer(question(text, check), answer(subject, text), missed, subject) is None


def test_a_label_is_stated_alone(subject: Subject) -> None:
    reply = answer(subject, "Is it fine?")
    assert labels_stated(reply) == {"anomalous"}
    assert labels_stated(reply.model_copy(update={"text": f"{reply.text} It is normal."})) > {"anomalous"}


def test_figures(subject: Subject) -> None:
    asked = [
        question("Is anything wrong?", "label", "verdict"),
        question("Where is it?", "place", "where"),
        question("What does it cost?", "unanswered", "beyond"),
        question("Where is it then?", "kind", "kind"),
    ]
    result = ask_all(asked, {"a": subject}, {"a": RIGHT})
    assert (result.asked, result.intent_right, result.right_by_labels) == (4, 0.75, 2 / 3)
    assert (result.verdict_unchanged, result.unsupported, result.unanswerable_recognised) == (1, 0, 1)
    assert len(result.wrong) == 1
    text = render(AskingResult(open=result, apart=None))
    assert "intent right 75.0%" in text
