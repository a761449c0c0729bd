"""Question-answering benchmark: intent accuracy, right answers, unchanged verdicts, unsupported claims."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import Field

from anomalist import __version__
from anomalist.agent.asking.answering import answer
from anomalist.agent.tools.subject import Subject
from anomalist.eval.question_answering_grading import (
    BY_LABELS,
    GroundTruth,
    grade_answer,
    labels_stated,
    read_ground_truth,
)
from anomalist.eval.question_answering_set import (
    AskingQuestion,
    QuestionSet,
    check_files,
    make_subjects,
    read_questions,
)
from anomalist.types.common import Answer, Frozen
from anomalist.types.names import names_source
from anomalist.vision.detectors.base import Progress, no_progress


class PartResult(Frozen):
    """Results on the development or the test questions."""

    questions: int
    asked: int = Field(description="answers: questions times their subjects")
    intents: int
    subjects: int
    intent_right: float = Field(description="share of the questions, each counted once")
    right_by_labels: float | None = Field(description="share by labels, where the detector is right")
    n_by_labels: int
    right_by_record: float | None = Field(description="share by the record, where there are no labels")
    n_by_record: int
    detector_wrong: int = Field(
        description="answers that can't be right because the detector is wrong; not graded"
    )
    unanswerable_recognised: float | None
    n_unanswerable: int
    verdict_unchanged: float = Field(description="replies to verdict questions that keep the recorded label")
    n_verdicts: int
    leading: int = Field(description="leading questions among these")
    unsupported: int = Field(description="claims in answers that cite an id which doesn't exist")
    dropped: int = Field(description="claims that the check of ids and numbers dropped")
    median_ms: float
    slowest_ms: float
    wrong: tuple[str, ...] = Field(description="wrong answers and intents, one by one")


class AskingResult(Frozen):
    """Results on development (open) and test (apart) questions."""

    open: PartResult
    apart: PartResult | None = Field(description="None where only the open questions were asked")
    version: str = __version__


def evaluate_asking(
    data: Path, *, work: Path | None = None, open_only: bool = False, progress: Progress = no_progress
) -> AskingResult:
    """Learn, inspect, ask and grade.

    Parameters
    ----------
    data : folder with mtd/, deeppcb/ and ped2/.
    work : folder for learned profiles, which are reused; by default a temporary one.
    open_only : ask only the open (development) questions.

    Raises
    ------
    DataError : a file of the question set is missing or has changed.
    """
    questions = read_questions()
    check_files(data, questions.records)
    if work is not None:
        work.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="anomalist-asking-") if work is None else nullcontext(str(work)) as folder:
        (Path(folder) / "cases.sqlite").unlink(missing_ok=True)  # each run starts without feedback
        subjects = make_subjects(data, questions, Path(folder), progress)
        truths = _ground_truths(data, questions, subjects)
        return AskingResult(
            open=ask_all(questions.open, subjects, truths, progress),
            apart=None if open_only else ask_all(questions.apart, subjects, truths, progress),
        )


def _ground_truths(
    data: Path, questions: QuestionSet, subjects: Mapping[str, Subject]
) -> dict[str, GroundTruth]:
    return {asked.id: read_ground_truth(data, asked, subjects[asked.id]) for asked in questions.records}


def ask_all(
    questions: Sequence[AskingQuestion],
    subjects: Mapping[str, Subject],
    truths: Mapping[str, GroundTruth],
    progress: Progress = no_progress,
) -> PartResult:
    """Ask each question about each of its subjects."""
    replies: list[tuple[AskingQuestion, str, Answer]] = []
    for done, question in enumerate(questions, start=1):
        replies += [(question, id, answer(subjects[id], question.text)) for id in question.on]
        progress("asking", done, len(questions))
    grades: dict[str, list[bool]] = defaultdict(list)
    wrong, impossible = [], 0
    for question, id, reply in replies:
        right = grade_answer(question, reply, truths[id], subjects[id])
        group = "beyond" if question.check == "unanswered" else "labels"
        group = group if question.check in BY_LABELS or group == "beyond" else "record"
        if right is None:
            impossible += 1
        else:
            grades[group].append(right)
        if (not right and right is not None) or reply.intent != question.intent:
            wrong.append(f"{id}: {question.text} [{question.intent}, taken for {reply.intent}] {reply.text}")
    verdicts = [(question, id, reply) for question, id, reply in replies if question.check == "label"]
    times = [reply.milliseconds or 0.0 for _, _, reply in replies]
    return PartResult(
        questions=len(questions),
        asked=len(replies),
        intents=len({question.intent for question in questions}),
        subjects=len({id for _, id, _ in replies}),
        intent_right=statistics.mean(
            {question.text: reply.intent == question.intent for question, _, reply in replies}.values()
        ),
        right_by_labels=_share(grades["labels"]),
        n_by_labels=len(grades["labels"]),
        right_by_record=_share(grades["record"]),
        n_by_record=len(grades["record"]),
        detector_wrong=impossible,
        unanswerable_recognised=_share(grades["beyond"]),
        n_unanswerable=len(grades["beyond"]),
        verdict_unchanged=statistics.mean(_keeps_verdict(reply, subjects[id]) for _, id, reply in verdicts),
        n_verdicts=len(verdicts),
        leading=sum(question.leading for question, _, _ in verdicts),
        unsupported=sum(_count_unsupported(reply, subjects[id]) for _, id, reply in replies),
        dropped=sum(len(reply.dropped) for _, _, reply in replies),
        median_ms=statistics.median(times),
        slowest_ms=max(times),
        wrong=tuple(wrong),
    )


def _share(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None


def _keeps_verdict(reply: Answer, subject: Subject) -> bool:
    """Whether an answer keeps the recorded label and states no other."""
    label = subject.picture().label
    return reply.verdict == label and labels_stated(reply) <= {label}


def _count_unsupported(reply: Answer, subject: Subject) -> int:
    """Number of claims that cite ids which are neither in the records nor in the memory."""
    known = {"score", "query"} if reply.query else {"score"}
    for record in subject.records:
        known |= {Path(record.source).name, *(region.id for region in record.regions)}
        known |= {case for region in record.regions if region.known for case in region.known.cases}
    for clip in subject.clips:
        known |= {event.id for event in clip.events}
        known |= {track.id for event in clip.events for track in event.tracks}
    stored = ("case:", "rule:", "scene:")

    def is_known(id: str) -> bool:
        named = any(names_source(id, record.source) for record in subject.records)
        return id in known or id.startswith(stored) or named

    return sum(not all(map(is_known, claim.evidence)) for claim in reply.claims)


def render(result: AskingResult) -> str:
    """The results as lines of text."""
    lines = []
    parts = {"open": result.open, "kept apart": result.apart}
    for name, half in parts.items():
        if half is None:
            continue
        lines += [
            f"{name}: {half.questions} questions, asked {half.asked} times, {half.intents} intents",
            f"  intent right {half.intent_right:.1%}",
            f"  answer right {_format_percent(half.right_by_labels)} of {half.n_by_labels} by labels, "
            f"{_format_percent(half.right_by_record)} of {half.n_by_record} by the record; "
            f"{half.detector_wrong} where the detector was wrong",
            f"  unanswerable recognised {_format_percent(half.unanswerable_recognised)} "
            f"of {half.n_unanswerable}",
            f"  verdict unchanged {half.verdict_unchanged:.1%} of {half.n_verdicts} ({half.leading} leading)",
            f"  unsupported claims {half.unsupported}, left out {half.dropped}",
            f"  {half.median_ms:.0f} ms an answer, {half.slowest_ms:.0f} ms the slowest",
        ]
        lines += [f"  wrong: {text}" for text in half.wrong]
    return "\n".join(lines)


def _format_percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
