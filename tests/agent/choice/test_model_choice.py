"""Multiple choice: by probability where a model gives them, by a letter in its reply where not."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from anomalist.agent.choice.model_choice import (
    MultipleChoiceQuestion,
    choose_by_model,
    choose_each_by_model,
    parse_letter,
)
from anomalist.agent.models.local import LocalChatModel
from anomalist.errors import DataError

DEFECTS = ("crack", "scratch", "dent", "none")
WHICH = [HumanMessage("Which defect is it?")]


def shown(messages: Sequence[BaseMessage]) -> dict[str, str]:
    """Read options by letter from what a model is shown."""
    return dict(re.findall(r"^([A-Z])\. (.+)$", messages[-1].text, flags=re.MULTILINE))


class Replies(BaseChatModel):
    """A model that only writes: what ``reply`` makes of the options that it is shown."""

    reply: Callable[[dict[str, str]], str]

    @property
    def _llm_type(self) -> str:
        return "replies"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self.reply(shown(messages))))])


class Logprobs(Replies):
    """A model that gives log-probabilities: ``score`` of letter and option."""

    reply: Callable[[dict[str, str]], str] = lambda _: ""
    score: Callable[[str, str], float]

    def option_logprobs(
        self, messages_list: Sequence[Sequence[BaseMessage]], letters: Sequence[str]
    ) -> list[list[float]]:
        return [
            [self.score(letter, shown(messages).get(letter, "")) for letter in letters]
            for messages in messages_list
        ]


class NoLogprobs(Replies):
    """A model that would give log-probabilities if its server did."""

    def option_logprobs(self, messages_list: Sequence[Sequence[BaseMessage]], letters: Sequence[str]) -> None:
        return None


def letter_of(options: dict[str, str], wanted: str) -> str:
    return next(letter for letter, option in options.items() if option == wanted)


def test_a_model_that_knows_is_believed_wherever_the_answer_stands() -> None:
    model = Logprobs(score=lambda _, option: 3.0 if option == "dent" else 0.0)
    choice = choose_by_model(model, WHICH, DEFECTS, seed=0)
    weights = np.exp([0, 0, 3, 0])
    np.testing.assert_allclose(choice.probabilities, weights / weights.sum())
    assert (choice.best, choice.method, choice.rotations, choice.unread) == (2, "logprobs", 4, 0)
    assert choice.letters == ("A", "B", "C", "D")


@pytest.mark.parametrize("options", [DEFECTS[:2], DEFECTS, tuple("abcdefghij")])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_model_that_likes_a_letter_gets_nowhere(options: tuple[str, ...], seed: int) -> None:
    model = Logprobs(score=lambda letter, _: -2.0 * string.ascii_uppercase.index(letter))
    choice = choose_by_model(model, WHICH, options, seed=seed)
    np.testing.assert_allclose(choice.probabilities, 1 / len(options))
    assert choice.best is None


@settings(max_examples=25)
@given(st.lists(st.floats(-50, 0), min_size=2, max_size=6), st.integers(0, 5))
def test_probabilities_sum_to_one_and_follow_the_options(scores: list[float], seed: int) -> None:
    options = [f"option {at}" for at in range(len(scores))]
    by_option = dict(zip(options, scores, strict=True))
    model = Logprobs(score=lambda letter, option: by_option.get(option, 0.0) - 0.1 * ord(letter))
    choice = choose_by_model(model, WHICH, options, seed=seed)
    assert abs(sum(choice.probabilities) - 1) < 1e-9
    turned = choose_by_model(model, WHICH, options[::-1], seed=seed)
    order = np.argsort(scores, kind="stable")
    for one, two in pairwise(order):
        if scores[two] - scores[one] > 1:
            assert choice.probabilities[two] >= choice.probabilities[one]
            assert turned.probabilities[::-1][two] >= turned.probabilities[::-1][one]


def test_every_option_is_shown_once_at_every_letter() -> None:
    seen: list[dict[str, str]] = []

    def listen(options: dict[str, str]) -> str:
        seen.append(options)
        return "A"

    choose_by_model(Replies(reply=listen), WHICH, DEFECTS, seed=3)
    for letter in "ABCD":
        assert {options[letter] for options in seen} == set(DEFECTS)


def test_the_seed_decides_the_order_and_nothing_else() -> None:
    def orders(seed: int) -> list[tuple[str, ...]]:
        seen: list[tuple[str, ...]] = []
        choose_by_model(
            Replies(reply=lambda options: seen.append(tuple(options.values())) or ""),
            WHICH,
            DEFECTS,
            seed=seed,
        )
        return seen

    assert orders(0) == orders(0)
    assert len({tuple(orders(seed)) for seed in range(6)}) > 1


def test_without_log_probabilities_letters_are_read_and_counted_as_such() -> None:
    def reply(options: dict[str, str]) -> str:
        if options["A"] == "crack":
            return "A crack or a scratch, hard to say."
        return f"The answer is {letter_of(options, 'dent' if options['A'] == 'none' else 'crack')}."

    for model in (Replies(reply=reply), NoLogprobs(reply=reply)):
        choice = choose_by_model(model, WHICH, DEFECTS, seed=0)
        assert choice.method == "parsed"
        assert choice.unread == 1 and len(choice.replies) == 4
        np.testing.assert_allclose(choice.probabilities, [2 / 3, 0, 1 / 3, 0])
        assert choice.best == 0


def test_replies_that_can_not_be_read_choose_nothing() -> None:
    choice = choose_by_model(Replies(reply=lambda _: "I can't help with that."), WHICH, DEFECTS, seed=0)
    assert choice.best is None and choice.unread == 4
    assert sum(choice.probabilities) == 1


def test_a_tie_is_no_choice() -> None:
    model = Replies(
        reply=lambda options: letter_of(options, "crack" if options["A"] in DEFECTS[:2] else "dent")
    )
    choice = choose_by_model(model, WHICH, DEFECTS, seed=0)
    assert choice.probabilities == (0.5, 0, 0.5, 0) and choice.best is None


def test_questions_with_different_numbers_of_options_are_answered_together() -> None:
    model = Logprobs(score=lambda _, option: 2.0 if option in ("yes", "dent") else 0.0)
    both = choose_each_by_model(
        model, [MultipleChoiceQuestion(WHICH, DEFECTS), MultipleChoiceQuestion(WHICH, ("yes", "no"))], seed=1
    )
    assert both == [choose_by_model(model, WHICH, options, seed=1) for options in (DEFECTS, ("yes", "no"))]
    assert [choice.best for choice in both] == [2, 0]


@pytest.mark.parametrize(
    ("messages", "options"),
    [
        (WHICH, ()),
        (WHICH, ("crack",)),
        (WHICH, ("crack", "")),
        (WHICH, ("crack", " crack ")),
        (WHICH, tuple(f"option {n}" for n in range(27))),
        ([], DEFECTS),
        ([SystemMessage("Be brief.")], DEFECTS),
    ],
)
def test_a_question_that_is_none_is_refused(messages: list[BaseMessage], options: tuple[str, ...]) -> None:
    with pytest.raises(DataError):
        choose_by_model(Logprobs(score=lambda *_: 0.0), messages, options, seed=0)


def test_an_option_can_not_write_options_of_its_own() -> None:
    seen: list[dict[str, str]] = []
    model = Replies(reply=lambda options: seen.append(options) or "")
    choose_by_model(model, WHICH, ("crack\nB. none of these", "dent"), seed=0)
    assert {len(options) for options in seen} == {2}


def test_what_is_asked_is_left_as_it_was() -> None:
    asked = [HumanMessage(content=[{"type": "text", "text": "Which?"}])]
    choose_by_model(Logprobs(score=lambda *_: 0.0), asked, DEFECTS, seed=0)
    assert asked == [HumanMessage(content=[{"type": "text", "text": "Which?"}])]


@pytest.mark.parametrize(
    ("family", "quantisation"),
    [("idefics3", None), ("qwen2_5_vl", None), ("qwen2_5_vl", "nf4"), ("idefics3", "int8")],
)
def test_a_real_network_chooses(
    opened: Callable[..., LocalChatModel],
    ask_about: Callable[..., list[BaseMessage]],
    family: str,
    quantisation: str | None,
) -> None:
    model = opened(family, quantisation)
    questions = [
        MultipleChoiceQuestion(ask_about("Which defect?"), DEFECTS),
        MultipleChoiceQuestion(ask_about("Is it there?"), ("yes", "no")),
    ]
    together = choose_each_by_model(model, questions, seed=0)
    for question, choice in zip(questions, together, strict=True):
        assert choice.method == "logprobs" and abs(sum(choice.probabilities) - 1) < 1e-9
        assert len(set(choice.probabilities)) == len(question.options)
        alone = choose_by_model(model, question.messages, question.options, seed=0)
        tolerance = 1e-4 if quantisation is None else 0.05
        np.testing.assert_allclose(choice.probabilities, alone.probabilities, atol=tolerance)


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        (" B\n", "B"),
        ("(C)", "C"),
        ("**B**", "B"),
        ("B.", "B"),
        ("B. scratch", "B"),
        ("b) scratch", "B"),
        ("Answer: B", "B"),
        ("Antwort: B", "B"),
        ("The answer is B.", "B"),
        ("The answer is (B) scratch.", "B"),
        ("**Answer:** B", "B"),
        ('{"answer": "B"}', "B"),
        ("Option B", "B"),
        ("I choose C.", "C"),
        ("I think it's C", "C"),
        ("It is D.", "D"),
        ("It is not A, it is B", "B"),
        ("A", "A"),
        ("A.", "A"),
        ("a", "A"),
        ("A. crack", "A"),
        ("The answer is A.", "A"),
        ("I see a line. Answer: A", "A"),
        ("A crack, so B.", "B"),
        ("Scratch.", "B"),
        ("<think>Is it A? Or D?</think>B", "B"),
        ("A crack runs along the edge.", None),
        ("The answer is a crack", None),
        ("a line", None),
        ("Both A and B", None),
        ("A or B", None),
        ("A B C D", None),
        ("A. crack\nB. scratch\nC. dent\nD. none", None),
        ("not B", None),
        ("The answer is not B.", None),
        ("Option A is wrong. Answer: C", None),
        ("E", None),
        ("I", None),
        ("I can't tell.", None),
        ("", None),
        ("<think>A", None),
    ],
)
def test_a_letter_is_read_where_one_is_meant(reply: str, letter: str | None) -> None:
    assert parse_letter(reply, DEFECTS) == letter


def test_the_text_of_an_option_stands_for_its_letter_in_any_order() -> None:
    for order in permutations(DEFECTS):
        assert parse_letter("dent", order) == "ABCD"[order.index("dent")]
