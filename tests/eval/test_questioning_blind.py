from __future__ import annotations

import pytest

from anomalist.eval.questioning import longest_option_credits, text_prior_credits
from anomalist.eval.questions import BenchmarkQuestion


def question(
    group: str, right: int, *meanings: str, options: tuple[str, ...] | None = None
) -> BenchmarkQuestion:
    return BenchmarkQuestion("d", "kind", group, group, "Which?", options or meanings, right, meanings)


def test_what_is_common_elsewhere_is_taken() -> None:
    questions = [question(f"g{i}", 0, "crack", "fray") for i in range(9)]
    questions.append(question("g9", 1, "crack", "fray"))
    assert text_prior_credits(questions) == [1.0] * 9 + [0.0]


def test_nothing_is_learned_from_questions_about_the_same_object() -> None:
    questions = [question("a", 0, "crack", "fray")] * 5 + [question("b", 1, "crack", "fray")] * 5
    assert text_prior_credits(questions) == [0.0] * 10


def test_ties_share_the_credit() -> None:
    assert text_prior_credits([question("a", 0, "crack", "fray")]) == [0.5]
    same = question("a", 0, "crack", "fray", options=("abcd", "efgh"))
    assert longest_option_credits([same]) == [0.5]


@pytest.mark.parametrize(("options", "credit"), [(("long one", "one"), 1.0), (("one", "long one"), 0.0)])
def test_the_longest_option_is_taken(options: tuple[str, ...], credit: float) -> None:
    assert longest_option_credits([question("a", 0, "x", "y", options=options)]) == [credit]
