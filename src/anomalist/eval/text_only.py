"""What questions give away without any picture: a result that doesn't clearly beat this shows nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from anomalist.eval.questions import Question

_FOLDS = 2


def by_text(questions: Sequence[Question]) -> list[float]:
    """Credit of taking, of each question, the option whose meaning was right most often elsewhere.

    "Elsewhere" are the questions about the other half of the objects that offered it: where defects mostly
    are and which kinds are common can be known without looking. Ties share the credit.
    """
    groups = sorted({question.group for question in questions})
    fold_of = {group: at % _FOLDS for at, group in enumerate(groups)}
    rates = [_rates([q for q in questions if fold_of[q.group] != fold]) for fold in range(_FOLDS)]
    return [
        _credit(q, [rates[fold_of[q.group]].get(meaning, 0.0) for meaning in q.meanings]) for q in questions
    ]


def by_length(questions: Sequence[Question]) -> list[float]:
    """Credit of taking the longest option of each question; ties share it."""
    return [_credit(question, [len(option) for option in question.options]) for question in questions]


def _rates(questions: Sequence[Question]) -> dict[str, float]:
    offered: dict[str, int] = defaultdict(int)
    right: dict[str, int] = defaultdict(int)
    for question in questions:
        right[question.truth] += 1
        for meaning in question.meanings:
            offered[meaning] += 1
    return {meaning: right[meaning] / count for meaning, count in offered.items()}


def _credit(question: Question, values: Sequence[float]) -> float:
    best = [at for at, value in enumerate(values) if value == max(values)]
    return 1 / len(best) if question.right in best else 0.0
