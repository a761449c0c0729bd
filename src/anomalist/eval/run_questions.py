"""Benchmark of questions about runs: intents, right by the records, answers to other questions, asking back.

The questions are about two made-up runs (`anomalist.eval.run_examples`). What a question means is written
as a query in ``run_questions.csv``; the answer is right if its query gives the same as that one. Half of them
are kept apart by a seed.
"""

from __future__ import annotations

import csv
import datetime
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from anomalist import __version__
from anomalist.agent.asking.answering import answer
from anomalist.agent.tools.subject import Subject
from anomalist.eval.run_examples import clip_records, picture_records
from anomalist.memory.cases import list_cases
from anomalist.querying.execution import run_query
from anomalist.querying.parsing import parse_query
from anomalist.querying.query import Query, QueryResult
from anomalist.querying.tables import Tables, tables_of_records
from anomalist.types.common import Answer, Frozen
from anomalist.vision.detectors.base import Progress, no_progress

QUESTIONS_FILE = Path(__file__).with_name("run_questions.csv")
SPLIT_SEED = 19
"""Of the half that is kept apart."""

UNCLEAR = "unclear"
NOT_ANSWERED = ("beyond", UNCLEAR, "unread")
"""Intents of questions that have no answer."""

About = Literal["parts", "picture", "night"]


class RunQuestion(Frozen):
    """One question with what it means."""

    text: str
    about: About = Field(description="the run of pictures, one picture of it, or the run of clips")
    intent: str
    query: str = Field(
        "", description="what gives the right numbers; empty where an intent has no single query"
    )
    after: str = Field("", description="the question before, of a follow-up")


class RunPartResult(Frozen):
    """Results on one half of the questions."""

    questions: int
    intent_right: float = Field(description="share of all questions")
    right_by_records: float | None = Field(
        description="share of those whose intent is right and that have a query"
    )
    n_by_records: int
    another_question: float = Field(description="share answered as if something else had been asked")
    asked_back: float | None = Field(description="share of the unclear ones")
    n_unclear: int
    dropped: int = Field(description="sentences that the check of ids and numbers dropped")
    median_ms: float
    slowest_ms: float
    wrong: tuple[str, ...] = Field(description="one by one")


class RunQuestionsResult(Frozen):
    """Results on the open half and on that kept apart."""

    open: RunPartResult
    apart: RunPartResult | None
    version: str = __version__


def read_run_questions(file: Path = QUESTIONS_FILE) -> tuple[list[RunQuestion], list[RunQuestion]]:
    """The open half and the half that is kept apart, both in the order of the file."""
    with file.open(encoding="utf-8", newline="") as opened:
        questions = [RunQuestion.model_validate(row) for row in csv.DictReader(opened)]
    places = list(range(len(questions)))
    random.Random(SPLIT_SEED).shuffle(places)
    open_ones = set(places[: len(places) // 2])
    return (
        [each for place, each in enumerate(questions) if place in open_ones],
        [each for place, each in enumerate(questions) if place not in open_ones],
    )


def evaluate_run_questions(
    *, open_only: bool = False, progress: Progress = no_progress
) -> RunQuestionsResult:
    """Ask the questions about the made-up runs and grade the answers."""
    opened, apart = read_run_questions()
    with tempfile.TemporaryDirectory(prefix="anomalist-runs-") as folder:
        cases = Path(folder) / "cases.sqlite"
        return RunQuestionsResult(
            open=_ask_all(opened, cases, progress),
            apart=None if open_only else _ask_all(apart, cases, progress),
        )


def subjects(cases: Path) -> dict[About, Subject]:
    """What the questions are about."""
    today = datetime.datetime.now(datetime.UTC).date()
    records, clips = tuple(picture_records(last_day=today)), tuple(clip_records())
    marked = next(record for record in records if record.severity == 4 and len(record.regions) > 1)
    others = tuple(record for record in records if record.source != marked.source)
    return {
        "parts": Subject(records=records, cases=cases),
        "picture": Subject(records=(marked,), past=others, cases=cases),
        "night": Subject(clips=clips, cases=cases),
    }


def _ask_all(questions: Sequence[RunQuestion], cases: Path, progress: Progress) -> RunPartResult:
    asked_of = subjects(cases)
    tables = {
        name: tables_of_records(
            [*subject.records, *subject.clips, *subject.past], list_cases(cases, undone=True)
        )
        for name, subject in asked_of.items()
    }
    graded, wrong, spent, dropped = [], [], [], 0
    for done, question in enumerate(questions, start=1):
        subject = asked_of[question.about]
        earlier = (answer(subject, question.after),) if question.after else ()
        began = time.perf_counter()
        reply = answer(subject, question.text, earlier=earlier)
        spent.append(1000 * (time.perf_counter() - began))
        dropped += len(reply.dropped)
        grade = _Grade.of(question, reply, tables[question.about])
        graded.append(grade)
        if not grade.right:
            wrong.append(
                f"{question.text} → {reply.intent} {reply.query or ''}: {reply.text[:80]} "
                f"(wanted {question.intent} {question.query})"
            )
        progress("asking", done, len(questions))
    for each in tables.values():
        each.close()
    return _summary(graded, wrong, spent, dropped)


class _Grade(Frozen):
    intent: bool
    by_records: bool | None
    another: bool
    unclear: bool
    asked_back: bool

    @property
    def right(self) -> bool:
        return self.intent and self.by_records is not False

    @classmethod
    def of(cls, question: RunQuestion, reply: Answer, tables: Tables) -> _Grade:
        wanted = "unread" if question.intent == "unknown" else question.intent
        intent = reply.intent == wanted
        by_records = None
        if intent and question.query:
            by_records = _same_numbers(question, reply, tables)
        open_ended = wanted in NOT_ANSWERED
        another = reply.answered and (open_ended or not intent or by_records is False)
        return cls(
            intent=intent,
            by_records=by_records,
            another=another,
            unclear=wanted == UNCLEAR,
            asked_back=bool(reply.choices) and not reply.answered,
        )


def _same_numbers(question: RunQuestion, reply: Answer, tables: Tables) -> bool:
    """Whether the answer's query gives the rows that the right one gives, and its text holds its number."""
    if reply.query is None:
        return False
    wanted = parse_query(question.query, "events" if question.about == "night" else "pictures")
    given = parse_query(reply.query)
    if question.intent in ("ship", "missed"):
        return _rows_of(tables, Query(where=wanted.where)) == _rows_of(
            tables, Query(where=tuple(each for each in given.where if each.column != "label"))
        )
    return _essence(run_query(tables, wanted)) == _essence(run_query(tables, given))


def _rows_of(tables: Tables, query: Query) -> int:
    return run_query(tables, query).matched


def _essence(result: QueryResult) -> object:
    """What an answer is about, without the columns that a list shows."""
    if result.query.compare is not None:
        return sorted((group.of, group.value) for group in result.groups)
    if result.query.measure != "list":
        return result.rows
    place = result.columns.index("name") if "name" in result.columns else 0
    names = [str(row[place]) for row in result.rows]
    return names if result.query.top is not None else sorted(names)


def _summary(
    graded: Sequence[_Grade], wrong: Sequence[str], spent: Sequence[float], dropped: int
) -> RunPartResult:
    by_records = [each.by_records for each in graded if each.by_records is not None]
    unclear = [each.asked_back for each in graded if each.unclear]
    return RunPartResult(
        questions=len(graded),
        intent_right=statistics.mean(each.intent for each in graded),
        right_by_records=statistics.mean(by_records) if by_records else None,
        n_by_records=len(by_records),
        another_question=statistics.mean(each.another for each in graded),
        asked_back=statistics.mean(unclear) if unclear else None,
        n_unclear=len(unclear),
        dropped=dropped,
        median_ms=statistics.median(spent),
        slowest_ms=max(spent),
        wrong=tuple(wrong),
    )


def render(result: RunQuestionsResult) -> str:
    """The results as lines of text."""
    lines = []
    for name, half in (("open", result.open), ("kept apart", result.apart)):
        if half is None:
            continue
        right = "–" if half.right_by_records is None else f"{half.right_by_records:.1%}"
        back = "–" if half.asked_back is None else f"{half.asked_back:.1%}"
        lines += [
            f"{name}: {half.questions} questions",
            f"  intent right {half.intent_right:.1%}",
            f"  right by the records {right} of {half.n_by_records} understood",
            f"  answered another question {half.another_question:.1%}",
            f"  asked back {back} of {half.n_unclear} unclear",
            f"  sentences dropped {half.dropped}",
            f"  {half.median_ms:.0f} ms an answer, {half.slowest_ms:.0f} ms the slowest",
        ]
        lines += [f"  wrong: {text}" for text in half.wrong]
    return "\n".join(lines)
