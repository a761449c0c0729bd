"""Multiple choice by a model: option-letter probabilities averaged over rotations of the options.

Models favour certain letters and positions (Zheng et al. 2024, "Large Language Models Are Not Robust Multiple
Choice Selectors"). Every question is therefore asked once for each rotation of its options, which puts each
option at each letter once, and the probabilities are averaged. Without log-probabilities, the letter is
parsed from the replies.
"""

from __future__ import annotations

import itertools
import math
import random
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from anomalist.errors import DataError

Rotations = list[tuple[list[int], list[BaseMessage]]]
"""The rotations of a question: each order of its options (indices, as shown) with its conversation."""

MOST_OPTIONS = len(string.ascii_uppercase)
INSTRUCTION = "Answer with the letter of the right option only."

LONE_LETTER = re.compile(r"(?<![\w'])[A-Z](?![\w'])(?!\s+(?!(?:and|or|is)\b)[a-z])")
"""A single capital letter, except the first word of "A crack" or "I think"."""

LOWER_CASE = re.compile(r"[(\[\"'`]*([a-z])(?:[)\].:\"'`]+(?:\s|$)|$)")
NEGATION_BEFORE = re.compile(r"(?i)\b(?:not|neither|nor|except|than|isn't)\s+(?:the\s+|option\s+)*\W*$")
ANSWER_CUE = re.compile(r"(?i)\b(?:answer|option|choice)\W*(?:is|=)?\W*$")


@runtime_checkable
class SupportsOptionLogprobs(Protocol):
    """A chat model that gives log-probabilities of option letters as the first token of its reply."""

    def option_logprobs(
        self, messages_list: Sequence[Sequence[BaseMessage]], letters: Sequence[str]
    ) -> list[list[float]] | None:
        """Return a row per conversation, a log-probability per letter; None where not supported."""
        ...


@dataclass(frozen=True)
class ModelChoice:
    """How a model chose among options.

    Parameters
    ----------
    options : as given; option ``i`` is ``letters[i]``, whatever letter it was shown with.
    probabilities : of each option, averaged over the rotations; they sum to one.
    method : "logprobs", or "parsed" where letters were parsed from replies (shares of the replies).
    rotations : how often the question was asked.
    unread : replies without a letter; they count for no option.
    replies : raw replies, for "parsed".
    """

    options: tuple[str, ...]
    probabilities: tuple[float, ...]
    method: Literal["logprobs", "parsed"]
    rotations: int
    unread: int = 0
    replies: tuple[str, ...] = ()

    @property
    def letters(self) -> tuple[str, ...]:
        """The letters A, B, C, … of the options, in order."""
        return tuple(string.ascii_uppercase[: len(self.options)])

    @property
    def best(self) -> int | None:
        """Index of the most probable option; None for a tie, or where no reply had a letter."""
        top = max(self.probabilities)
        first = [at for at, value in enumerate(self.probabilities) if math.isclose(value, top, abs_tol=1e-9)]
        return first[0] if len(first) == 1 and self.unread < self.rotations else None


@dataclass(frozen=True)
class MultipleChoiceQuestion:
    """A conversation that ends with a question, and the options to choose from."""

    messages: Sequence[BaseMessage]
    options: Sequence[str]


def choose_by_model(
    model: BaseChatModel, messages: Sequence[BaseMessage], options: Sequence[str], *, seed: int
) -> ModelChoice:
    """Have a model choose among options; see `choose_each_by_model`."""
    return choose_each_by_model(model, [MultipleChoiceQuestion(messages, options)], seed=seed)[0]


def choose_each_by_model(
    model: BaseChatModel, questions: Sequence[MultipleChoiceQuestion], *, seed: int
) -> list[ModelChoice]:
    """Have a model answer multiple-choice questions; questions on the same pictures share a prefix cache.

    Parameters
    ----------
    model : any chat model; where it has no ``option_logprobs``, letters are parsed from its replies.
    questions : each with 2 to 26 distinct options, which are appended to its last message.
    seed : of the initial order, which is rotated.

    Raises
    ------
    DataError : too few, too many, empty or equal options, or no question before them.
    ModelError : the model fails.
    """
    rotated = [option_rotations(question, seed) for question in questions]
    logprobs = rotation_logprobs(model, rotated) if isinstance(model, SupportsOptionLogprobs) else None
    choices = []
    for at, (question, rotations) in enumerate(zip(questions, rotated, strict=True)):
        orders = [order for order, _ in rotations]
        if logprobs is None:
            replies = [model.invoke(list(messages)).text for _, messages in rotations]
            choices.append(_choice_from_replies(question.options, orders, replies))
        else:
            choices.append(choice_from_logprobs(question.options, orders, logprobs[at]))
    return choices


def rotation_logprobs(
    model: SupportsOptionLogprobs, questions: Sequence[Rotations]
) -> list[list[list[float]]] | None:
    """Log-probabilities by question, rotation and letter; None where the model doesn't support them."""
    conversations = [messages for rotations in questions for _, messages in rotations]
    most = max(map(len, questions), default=0)  # as many rotations as options
    rows = model.option_logprobs(conversations, string.ascii_uppercase[:most]) if conversations else []
    if rows is None:
        return None
    following = iter(rows)
    return [list(itertools.islice(following, len(rotations))) for rotations in questions]


def parse_letter(reply: str, options: Sequence[str]) -> str | None:
    """Parse the letter of an option from a reply.

    Parameters
    ----------
    reply : of a model; text in ``<think>`` tags is ignored.
    options : in the order in which they were shown; a reply that equals the text of one counts, too.

    Returns
    -------
    A capital letter, or None: no letter, several, "not B". The article in "A crack" and the pronoun in "I
    think" are no letters. Letters after "answer", "option" or "choice" take precedence.
    """
    letters = string.ascii_uppercase[: len(options)]
    text = re.sub(r"<think>.*?(</think>|$)", " ", reply, flags=re.DOTALL).replace("*", "").strip()
    plain = [_words_only(option) for option in options]
    if plain.count(_words_only(text)) == 1:
        return letters[plain.index(_words_only(text))]
    if found := LOWER_CASE.match(text):
        text = text.replace(found[1], found[1].upper(), 1)
    mentions = [
        found for found in LONE_LETTER.finditer(text) if not NEGATION_BEFORE.search(text[: found.start()])
    ]
    marked = [found for found in mentions if ANSWER_CUE.search(text[: found.start()])]
    named = {found[0] for found in marked or mentions}
    return named.pop() if len(named) == 1 and named <= set(letters) else None


def option_rotations(question: MultipleChoiceQuestion, seed: int) -> Rotations:
    """Return the rotations of a question from a shuffled initial order."""
    options = [" ".join(option.split()) for option in question.options]
    if not 2 <= len(options) <= MOST_OPTIONS:
        raise DataError(f"A question needs 2 to {MOST_OPTIONS} options, not {len(options)}.")
    if "" in options or len(set(options)) < len(options):
        raise DataError(f"The options of a question must differ and not be empty: {options}.")
    if not question.messages or question.messages[-1].type != "human":
        raise DataError("Options need a question before them: a message of a person at the end.")
    order = list(range(len(options)))
    random.Random(seed).shuffle(order)
    rotated = [order[at:] + order[:at] for at in range(len(order))]
    return [(each, _with_options(question.messages, [options[at] for at in each])) for each in rotated]


def format_options(options: Sequence[str]) -> str:
    """Options with letters, a line each, and the instruction to answer with a letter."""
    lines = [f"{letter}. {option}" for letter, option in zip(string.ascii_uppercase, options, strict=False)]
    return "\n".join([*lines, INSTRUCTION])


def _with_options(messages: Sequence[BaseMessage], options: Sequence[str]) -> list[BaseMessage]:
    """Append the options to the last message."""
    *before, last = messages
    content = [last.content] if isinstance(last.content, str) else last.content
    text = {"type": "text", "text": f"\n{format_options(options)}"}
    blocks = [{"type": "text", "text": block} if isinstance(block, str) else block for block in content]
    return [*before, type(last)(**(dict(last) | {"content": [*blocks, text]}))]


def choice_from_logprobs(
    options: Sequence[str], orders: Sequence[Sequence[int]], rows: Sequence[Sequence[float]]
) -> ModelChoice:
    """Average the normalised letter probabilities over the rotations."""
    total = [0.0] * len(options)
    for order, row in zip(orders, rows, strict=True):
        shown = row[: len(order)]
        weights = [math.exp(each - max(shown)) for each in shown]
        for at, weight in zip(order, weights, strict=True):
            total[at] += weight / sum(weights) / len(orders)
    return ModelChoice(tuple(options), tuple(total), "logprobs", len(orders))


def _choice_from_replies(
    options: Sequence[str], orders: Sequence[Sequence[int]], replies: Sequence[str]
) -> ModelChoice:
    """Shares of the letters in the replies; uniform where no reply has one."""
    votes = [0] * len(options)
    for order, reply in zip(orders, replies, strict=True):
        letter = parse_letter(reply, [options[at] for at in order])
        if letter is not None:
            votes[order[string.ascii_uppercase.index(letter)]] += 1
    read = sum(votes)
    shares = [vote / read if read else 1 / len(votes) for vote in votes]
    unread = len(replies) - read
    return ModelChoice(tuple(options), tuple(shares), "parsed", len(orders), unread, tuple(replies))


def _words_only(text: str) -> str:
    """The words of a text in lower case."""
    return " ".join(re.findall(r"\w+", text.lower()))
