"""Options in plain text are read strictly; what may be an ordinary question stays one."""

from __future__ import annotations

import pytest

from anomalist.agent.asking.question import (
    MultipleChoice,
    join_option_lines,
    question_without_options,
    read_multiple_choice,
)


@pytest.mark.parametrize(
    ("text", "question", "options"),
    [
        ("Where is it? A) upper left B) lower right", "Where is it?", ["upper left", "lower right"]),
        ("Is anything wrong? A. yes B. no", "Is anything wrong?", ["yes", "no"]),
        ("Is anything wrong? A. Yes. B. No.", "Is anything wrong?", ["Yes", "No"]),
        ("Is anything wrong?\nA: yes\nB: no\n", "Is anything wrong?", ["yes", "no"]),
        ("A) yes B) no", "", ["yes", "no"]),
        ("Which kind a) scratch b) hole c) stain", "Which kind", ["scratch", "hole", "stain"]),
        ("Which kind? a) scratch, b) hole, or c) stain?", "Which kind?", ["scratch", "hole", "stain"]),
        ("Which kind? (a) scratch (b) hole", "Which kind?", ["scratch", "hole"]),
        ("Is it (A) fine, (B) scratched or (C) broken?", "Is it", ["fine", "scratched", "broken"]),
        ("What is it A) a hole B) a stain", "What is it", ["a hole", "a stain"]),
        ("What is it? [A] a hole [B] a stain", "What is it?", ["a hole", "a stain"]),
        (
            "What is it?\n\n  A. a hole\n  B. a stain\n  C. none of these",
            "What is it?",
            ["a hole", "a stain", "none of these"],
        ),
        ("What is it?\r\n- a. a hole\r\n- b. a stain", "What is it?", ["a hole", "a stain"]),
        (
            "What is it?\nA) a dark spot\n   at the top\nB) a line",
            "What is it?",
            ["a dark spot at the top", "a line"],
        ),
        (
            "Is it bad?\nA) yes\nB) no\nAnswer with the letter only.",
            "Is it bad? Answer with the letter only.",
            ["yes", "no"],
        ),
        (
            "Is it bad? A) yes B) no. Answer with the letter only.",
            "Is it bad? Answer with the letter only.",
            ["yes", "no"],
        ),
        ("A) scratch B) hole. Which is it?", "Which is it?", ["scratch", "hole"]),
        ("How many? A) 1 B) 2 C) 3 D) 4 E) 5", "How many?", ["1", "2", "3", "4", "5"]),
        (
            'The label says "A) ok B) bad". Is it bad? A) yes B) no',
            'The label says "A) ok B) bad". Is it bad?',
            ["yes", "no"],
        ),
        ("How long is R1: A) 1.5 mm B) 2.5 mm", "How long is R1", ["1.5 mm", "2.5 mm"]),
        ("Where is it? A)upper left B)lower right", "Where is it?", ["upper left", "lower right"]),
    ],
)
def test_options_in_a_question(text: str, question: str, options: list[str]) -> None:
    found = read_multiple_choice(text)
    assert found is not None
    assert found == MultipleChoice(question, tuple(options))
    assert read_multiple_choice(found.text) == found


@pytest.mark.parametrize(
    "text",
    [
        "Where is it?",
        "",
        "Is there a scratch on part A. Or on part B. Tell me.",
        "Is there a scratch? A) yes",
        "Is there a scratch? B) yes C) no",
        "Is there a scratch? A) yes C) no",
        "Is there a scratch? A) yes B) no B) maybe",
        "Is there a scratch? A) yes B. no",
        "Is there a scratch? A) yes b) no",
        "Compare the pictures (a) and (b).",
        "Is region (A) larger than region (B)?",
        "Is the mark at (A) darker than the one at (B) here?",
        "Compare (region A) with (region B) please.",
        "What does f(a) or f(b) mean?",
        'The label says "A) ok B) bad". Is anything wrong?',
        "Is grade A or grade B right?",
        "Is it a crack, e.g. a. b. c?",
        "A defect? B sides?",
        "Where is it? A) B)",
        "It's 10:15 a.m. or b.c.?",
    ],
)
def test_ordinary_questions(text: str) -> None:
    assert read_multiple_choice(text) is None
    assert question_without_options(text) == text


def test_what_is_asked_leaves_the_options_out() -> None:
    assert question_without_options("Where is it? A) all over B) in gate.mp4") == "Where is it?"


def test_options_line_by_line() -> None:
    lines = [
        "Where is it?\n",
        "A) left\n",
        "B) right\n",
        "\n",
        "A. yes\n",
        "Is it fine?\n",
        "a) one\n",
        "b) two\n",
    ]
    assert list(join_option_lines(lines)) == [
        "Where is it?\n",
        "A) left\nB) right",
        "\n",
        "A. yes",
        "Is it fine?\n",
        "a) one\nb) two",
    ]
