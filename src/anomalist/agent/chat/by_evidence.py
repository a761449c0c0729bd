"""The evidence reasoner as a chat model: the same conversation where there is no language model."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.runnables import Runnable
from pydantic import Field

from anomalist.agent.asking.answering import answer
from anomalist.agent.asking.lettered import Lettered, asked_in, read_lettered
from anomalist.agent.chat.focus import focus_of, narrowed, only, sources_of, without_name
from anomalist.agent.chat.replies import ANSWER
from anomalist.agent.spoken import SpokenModel
from anomalist.agent.tools.subject import Subject
from anomalist.errors import DataError
from anomalist.types import Answer

_SAME = re.compile(
    r"^(?:and |so |ok,? )*(?:what|how) about\b|^and (?:in |on |of |with )?\S+\.\w{3,4}\?*$", re.I
)
"""The last question again, of another picture, as in "What about b.png?"."""


class EvidenceChatModel(SpokenModel):
    """Answers the last question of a conversation by measurement; says that it is no language model.

    It calls the same tools, but by itself: its replies never ask for one. Each carries the whole `Answer`.
    """

    subject: Callable[[], Subject] = Field(exclude=True, repr=False)

    @property
    def _llm_type(self) -> str:
        return "evidence"

    def bind_tools(
        self,
        tools: Sequence[Any],
        *,
        tool_choice: str | None = None,
        **kwargs: object,
    ) -> Runnable[Any, AIMessage]:
        """Take notice of the tools; it knows them anyway."""
        return self

    def _pieces(self, messages: list[BaseMessage]) -> list[AIMessageChunk]:
        reply = measured(self.subject(), question_of(messages), answers_in(messages))
        sentences = [claim.text for claim in reply.claims] if reply.letter is None else []
        *parts, last = sentences or [reply.text]
        kept = AIMessageChunk(content=last, additional_kwargs={ANSWER: reply.model_dump_json()})
        return [*(AIMessageChunk(content=f"{part} ") for part in parts), kept]


def measured(subject: Subject, question: str, earlier: Sequence[Answer]) -> Answer:
    """Answer by measurement, about the picture that the question means in this conversation."""
    question = _completed(question, earlier)
    meant = narrowed(subject, question, earlier)
    if len(sources_of(meant)) == 1 and earlier and _SAME.match(question):
        said = answer(meant, earlier[-1].question)
        return said.model_copy(update={"question": question})
    reply = answer(meant, question)
    if reply.answered:
        return reply
    if len(sources_of(meant)) == 1:
        # A file name in the middle can hide what is asked: "Is exp1_num_43817.jpg fine?"
        plain = without_name(question, sources_of(meant)[0])
        return reply if plain == question else _again(answer(meant, plain), reply)
    # "How bad?" after a picture was talked about means that one.
    last = focus_of(earlier, sources_of(subject))
    if last is None:
        return reply
    return _again(answer(only(subject, last), question), reply)


def _completed(question: str, earlier: Sequence[Answer]) -> str:
    """The last question again where only options for it are given: "A) yes B) no"."""
    lettered = read_lettered(question)
    if lettered is None or lettered.question or not earlier:
        return question
    return Lettered(asked_in(earlier[-1].question), lettered.options).text


def _again(second: Answer, first: Answer) -> Answer:
    """The second answer where it is one, to the question as it was put."""
    return second.model_copy(update={"question": first.question}) if second.answered else first


def question_of(messages: Sequence[BaseMessage]) -> str:
    """The last question of a conversation. Raises DataError where there is none."""
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            return message.text
    raise DataError("Nothing was asked.")


def answers_in(messages: Sequence[BaseMessage]) -> tuple[Answer, ...]:
    """The answers that were given in a conversation, in order."""
    kept = (message.additional_kwargs.get(ANSWER) for message in messages if isinstance(message, AIMessage))
    return tuple(Answer.model_validate_json(text) for text in kept if isinstance(text, str))
