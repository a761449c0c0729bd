"""The questions about runs: their file, and how answers are graded."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomalist.agent.asking.answering import answer
from anomalist.eval.run_questions import (
    RunQuestion,
    _Grade,
    evaluate_run_questions,
    read_run_questions,
    render,
    subjects,
)
from anomalist.querying.parsing import parse_query
from anomalist.querying.tables import tables_of_records


def test_the_file_is_readable_and_half_of_it_is_kept_apart() -> None:
    opened, apart = read_run_questions()
    assert abs(len(opened) - len(apart)) <= 1
    assert len(opened) + len(apart) >= 190
    assert not {(each.text, each.after) for each in opened} & {(each.text, each.after) for each in apart}
    for each in (*opened, *apart):
        if each.query:
            parse_query(each.query, "events" if each.about == "night" else "pictures")


def test_the_open_half_is_answered() -> None:
    result = evaluate_run_questions(open_only=True)
    assert result.apart is None
    assert result.open.intent_right >= 0.9
    assert result.open.right_by_records == 1.0
    assert result.open.another_question <= 0.02
    assert (result.open.asked_back or 0) >= 0.8
    assert result.open.dropped == 0
    assert "intent right" in render(result)


@pytest.mark.parametrize(
    ("query", "right"), [("count label=anomalous", True), ("count label=normal", False), ("by label", False)]
)
def test_an_answer_is_right_if_its_query_gives_the_same(query: str, right: bool, tmp_path: Path) -> None:
    subject = subjects(tmp_path / "cases.sqlite")["parts"]
    asked = RunQuestion(text="How many are anomalous?", about="parts", intent="search", query=query)
    with tables_of_records(subject.records) as tables:
        grade = _Grade.of(asked, answer(subject, asked.text), tables)
    assert (grade.intent, grade.by_records, grade.another) == (True, right, not right)
