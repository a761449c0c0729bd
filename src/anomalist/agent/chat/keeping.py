"""The rules of the loop, as LangChain middleware: limits, errors as text, feedback, the checked answer."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from langchain.agents.middleware import AgentMiddleware
from langchain.agents.middleware.types import AgentState, ModelRequest, ModelResponse, ToolCallRequest
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langgraph.runtime import Runtime
from langgraph.types import Command

from anomalist.agent.asking.intents import read_intent
from anomalist.agent.asking.question import read_question
from anomalist.agent.chat.by_evidence import answers_in, measured, question_of
from anomalist.agent.chat.facts import checked_answer
from anomalist.agent.chat.focus import narrowed
from anomalist.agent.chat.replies import ANSWER, Said
from anomalist.agent.chat.tooling import FEEDBACK
from anomalist.agent.tools.subject import Subject
from anomalist.errors import AnomalistError, ModelError
from anomalist.types import Answer

MOST_STEPS = 8
"""Calls of the model for one question."""

MOST_SECONDS = 180.0

END_NODE = "Keeping.after_agent"
"""Name of the node of the graph that ends a turn."""

_TAKEN_BACK = re.compile(r"\b(?:undo|take (?:it|that|this) back|forget|withdraw)\b", re.I)


class Keeping(AgentMiddleware[AgentState[Any], Any, Any]):
    """Keeps one conversation to the rules.

    Parameters
    ----------
    subject : what the conversation is about right now.
    name : of the model, for the record.
    steps, seconds : limits of one question; past them it is answered by measurement.
    """

    def __init__(
        self,
        subject: Callable[[], Subject],
        name: str,
        *,
        steps: int = MOST_STEPS,
        seconds: float = MOST_SECONDS,
    ) -> None:
        super().__init__()
        self._subject = subject
        self._name = name
        self._steps = steps
        self._seconds = seconds
        self._taken = 0
        self._began = time.monotonic()

    def steps_left(self) -> int:
        """Calls that the model has left after this one."""
        return max(0, self._steps - self._taken)

    def seconds_left(self) -> float:
        """Time that the model has left."""
        return max(0.0, self._seconds - (time.monotonic() - self._began))

    def before_agent(self, state: AgentState[Any], runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Begin a turn."""
        self._taken = 0
        self._began = time.monotonic()
        return {"structured_response": None}

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any] | AIMessage:
        """Ask the model while there are steps and time; else, or where it fails, answer by measurement."""
        if self._taken >= self._steps:
            return self._by_measurement(request.messages, f"The model gave no answer in {self._steps} steps.")
        if not self.seconds_left():
            return self._by_measurement(request.messages, f"The model gave no answer in {self._seconds:g} s.")
        self._taken += 1
        try:
            return handler(request)
        except ModelError as error:
            return self._by_measurement(request.messages, f"The model could not be heard: {error}")

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        """Call a tool; what it raises goes back to the model as text."""
        call = request.tool_call
        messages: list[BaseMessage] = list(request.state["messages"])
        if call["name"] in FEEDBACK:
            question = question_of(messages)
            if not _gives_feedback(question):
                return _refused(call, "The person did not say so in this question; nothing was stored.")
            if call["name"] == "record_feedback":
                # The person's own words are what is kept, not what a model made of them.
                words = {**call["args"], "note": f"in words: {question}"}
                request = request.override(tool_call={**call, "args": words})
        try:
            return handler(request)
        except AnomalistError as error:
            return _refused(call, str(error))
        except Exception as error:  # a tool that breaks off must not take the conversation with it
            return _refused(call, f"{type(error).__name__}: {error}"[:500])

    def after_agent(self, state: AgentState[Any], runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Turn what the model said into the answer that the evidence allows; it ends the turn."""
        messages = list(state["messages"])
        last = messages[-1]
        if isinstance(last, AIMessage) and ANSWER in last.additional_kwargs:
            return None
        said = state.get("structured_response")
        if not isinstance(said, Said):
            return {"messages": [self._by_measurement(messages, "The model gave no answer.")]}
        question, earlier = question_of(messages), answers_in(messages)
        subject = narrowed(self._subject(), question, earlier)
        reply = checked_answer(said, question, subject, messages, self._name)
        if not reply.answered and not said.cannot.strip():
            why = f"Of what the model said, nothing had evidence ({len(reply.dropped)} left out)."
            fallen_back = self._by_measurement(messages, why, reply)
            return {"messages": [fallen_back], "structured_response": None}
        return {"messages": [as_message(self._timed(reply))], "structured_response": None}

    def _by_measurement(self, messages: list[Any], why: str, said: Answer | None = None) -> AIMessage:
        """The answer of the evidence reasoner, with the reason why the model's is not there."""
        reply = measured(self._subject(), question_of(messages), answers_in(messages))
        notes = (*reply.notes, f"{why} This is answered by measurement alone.", *(said.notes if said else ()))
        dropped = (*(said.dropped if said else ()), *reply.dropped)
        return as_message(self._timed(reply.model_copy(update={"notes": notes, "dropped": dropped})))

    def _timed(self, reply: Answer) -> Answer:
        return reply.model_copy(update={"milliseconds": round(1000 * (time.monotonic() - self._began), 1)})


def as_message(reply: Answer) -> AIMessage:
    """An answer as the message that is kept."""
    return AIMessage(reply.text, additional_kwargs={ANSWER: reply.model_dump_json()})


def _gives_feedback(question: str) -> bool:
    read = read_question(question)
    return _TAKEN_BACK.search(read.plain) is not None or read_intent(read, "picture").intent == "feedback"


def _refused(call: Any, why: str) -> ToolMessage:  # noqa: ANN401 - LangChain's ToolCall
    return ToolMessage(why, tool_call_id=call["id"], name=call["name"], status="error")
