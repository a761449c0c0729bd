"""Guardrails as LangChain middleware: limits, tool errors as text, feedback, and the answer check.

Of what a model says, only sentences whose ids and numbers are in the evidence become the answer; the recorded
verdict stays. Needs langchain and langgraph.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from langchain.agents.middleware import AgentMiddleware
from langchain.agents.middleware.types import AgentState, ModelRequest, ModelResponse, ToolCallRequest
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langgraph.runtime import Runtime
from langgraph.types import Command

from anomalist.agent.asking.draft import filter_supported_claims
from anomalist.agent.asking.intents import classify_intent
from anomalist.agent.asking.question import read_multiple_choice, read_question, strip_quoted
from anomalist.agent.chat.chat_models import answer_by_measurement, last_question, stored_answers
from anomalist.agent.chat.context import (
    ANSWER_KEY,
    FEEDBACK_TOOLS,
    ModelAnswer,
    narrow_subject,
    sources_of,
    stored_tool_results,
)
from anomalist.agent.choice.model_choice import parse_letter
from anomalist.agent.tools.clips import list_events
from anomalist.agent.tools.decision import OptionChoice, choose_option
from anomalist.agent.tools.pictures import show_findings
from anomalist.agent.tools.subject import Result, Subject
from anomalist.errors import AnomalistError, ModelError
from anomalist.types.common import Answer, Claim, Label

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage


_SAYS_NORMAL = re.compile(
    r"\b(?:is|it's|looks|seems|are) (?:perfectly |completely |just |all )?"
    r"(?:normal|fine|ok|okay|good|flawless)\b"
    r"|\bnothing (?:is )?wrong\b|\bno (?:defect|anomaly|fault)s?\b",
    re.I,
)
_SAYS_ANOMALOUS = re.compile(
    r"\b(?:is|it's|looks|seems) (?:clearly |definitely )?(?:anomalous|defective|faulty)\b", re.I
)


def check_model_answer(
    said: ModelAnswer, question: str, subject: Subject, messages: Sequence[BaseMessage], model: str
) -> Answer:
    """The answer that the evidence allows.

    Sentences with an id or a number that no tool returned are left out and kept in ``dropped``. A verdict
    that is not the recorded one is a note that people see; the recorded one stays. Among options of a
    question what was measured chooses, where it can tell, and the model's words come after it.

    Parameters
    ----------
    said : by the model.
    subject : narrowed to what the question means.
    messages : of the whole conversation; the results of tools in them are the evidence.
    """
    used: list[Result] = [*stored_tool_results(messages), *_recorded_findings(subject)]
    claims = [
        Claim(text=sentence.text, evidence=sentence.evidence, source="model")
        for sentence in said.sentences
        if sentence.evidence
    ]
    kept, dropped = filter_supported_claims(claims, used)
    bare = [f"{each.text} (cites nothing)" for each in said.sentences if not each.evidence]
    verdict = _recorded_label(subject)
    cannot = said.cannot.strip()
    notes = _disagreements(said, kept, verdict, model)
    letter = None
    chosen = _choice_by_evidence(question, subject)
    if chosen is not None:
        letter, noted = _final_letter(chosen, said, model)
        notes = (*notes, *noted)
        kept = (*chosen.claims, *kept)
    lead = f"{letter}: " if letter is not None else ""
    told = " ".join(claim.text for claim in kept)
    return Answer(
        question=question,
        answered=bool(kept),
        text=lead + told if kept else cannot or "Nothing of what the model said has evidence.",
        claims=kept,
        letter=letter if kept else None,
        options=() if chosen is None else chosen.options,
        helps=cannot or None if kept else None,
        intent="model",
        subjects=sources_of(subject),
        verdict=verdict,
        notes=notes,
        dropped=(*dropped, *bare),
        reasoner=model,
    )


def _choice_by_evidence(question: str, subject: Subject) -> OptionChoice | None:
    """What was measured makes of the options in a question; None without any, or where it can't be asked."""
    lettered = read_multiple_choice(question)
    if lettered is None:
        return None
    try:
        return choose_option(subject, strip_quoted(lettered.question), list(lettered.options))
    except AnomalistError:
        return None


def _final_letter(chosen: OptionChoice, said: ModelAnswer, model: str) -> tuple[str | None, tuple[str, ...]]:
    """The letter that counts, and a note where it is the model's or the model has another."""
    words = " ".join(sentence.text for sentence in said.sentences)
    named = parse_letter(words, [option.text for option in chosen.options])
    if chosen.letter is None:
        why = f"{chosen.why_not or ''} The letter is that of {model}.".strip()
        return named, () if named is None else (why,)
    if named is None or named == chosen.letter:
        return chosen.letter, ()
    text = f"Disagreement: {model} says {named}, what was measured says {chosen.letter}, which stands."
    return chosen.letter, (text,)


def _recorded_findings(subject: Subject) -> list[Result]:
    """What is on record about the picture or clip that is meant: a model was told it at the start."""
    found: list[Result] = []
    if len(subject.records) == 1:
        found.append(show_findings(subject, subject.records[0].source))
    if len(subject.clips) == 1:
        found.append(list_events(subject, subject.clips[0].source))
    return found


def _recorded_label(subject: Subject) -> Label | None:
    labels = [*(record.label for record in subject.records), *(clip.label for clip in subject.clips)]
    return labels[0] if len(labels) == 1 else None


def _disagreements(
    said: ModelAnswer, kept: Sequence[Claim], verdict: Label | None, model: str
) -> tuple[str, ...]:
    """Say where the model's verdict, or its words, contradict the record."""
    if verdict is None:
        return ()
    text = " ".join(claim.text for claim in kept)
    thinks: str | None = None if said.verdict == "not asked" else said.verdict
    if thinks is None and verdict == "anomalous" and _SAYS_NORMAL.search(text):
        thinks = "normal"
    if thinks is None and verdict == "normal" and _SAYS_ANOMALOUS.search(text):
        thinks = "anomalous"
    if thinks is None or thinks == verdict:
        return ()
    return (f"Disagreement: {model} says {thinks}, the record says {verdict}. The recorded verdict stands.",)


MAX_STEPS = 8
"""Calls of the model for one question."""

MAX_SECONDS = 180.0

END_NODE = "GuardrailMiddleware.after_agent"
"""Name of the node of the graph that ends a turn."""

_UNDO_REQUEST = re.compile(r"\b(?:undo|take (?:it|that|this) back|forget|withdraw)\b", re.I)


class GuardrailMiddleware(AgentMiddleware[AgentState[Any], Any, Any]):
    """Enforces limits and checks answers of one conversation.

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
        steps: int = MAX_STEPS,
        seconds: float = MAX_SECONDS,
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
        if call["name"] in FEEDBACK_TOOLS:
            question = last_question(messages)
            if not _gives_feedback(question):
                return _refusal_message(
                    call, "The person did not say so in this question; nothing was stored."
                )
            if call["name"] == "record_feedback":
                # The person's own words are what is kept, not what a model made of them.
                words = {**call["args"], "note": f"in words: {question}"}
                request = request.override(tool_call={**call, "args": words})
        try:
            return handler(request)
        except AnomalistError as error:
            return _refusal_message(call, str(error))
        except Exception as error:  # a tool that breaks off must not take the conversation with it
            return _refusal_message(call, f"{type(error).__name__}: {error}"[:500])

    def after_agent(self, state: AgentState[Any], runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Turn what the model said into the answer that the evidence allows; it ends the turn."""
        messages = list(state["messages"])
        last = messages[-1]
        if isinstance(last, AIMessage) and ANSWER_KEY in last.additional_kwargs:
            return None
        said = state.get("structured_response")
        if not isinstance(said, ModelAnswer):
            return {"messages": [self._by_measurement(messages, "The model gave no answer.")]}
        question, earlier = last_question(messages), stored_answers(messages)
        subject = narrow_subject(self._subject(), question, earlier)
        reply = check_model_answer(said, question, subject, messages, self._name)
        if not reply.answered and not said.cannot.strip():
            why = f"Of what the model said, nothing had evidence ({len(reply.dropped)} left out)."
            fallen_back = self._by_measurement(messages, why, reply)
            return {"messages": [fallen_back], "structured_response": None}
        return {"messages": [answer_message(self._timed(reply))], "structured_response": None}

    def _by_measurement(self, messages: list[Any], why: str, said: Answer | None = None) -> AIMessage:
        """The answer of the evidence reasoner, with the reason why the model's is not there."""
        reply = answer_by_measurement(self._subject(), last_question(messages), stored_answers(messages))
        notes = (*reply.notes, f"{why} This is answered by measurement alone.", *(said.notes if said else ()))
        dropped = (*(said.dropped if said else ()), *reply.dropped)
        return answer_message(self._timed(reply.replace(notes=notes, dropped=dropped)))

    def _timed(self, reply: Answer) -> Answer:
        return reply.replace(milliseconds=round(1000 * (time.monotonic() - self._began), 1))


def answer_message(reply: Answer) -> AIMessage:
    """An answer as the message that is kept."""
    return AIMessage(reply.text, additional_kwargs={ANSWER_KEY: reply.model_dump_json()})


def _gives_feedback(question: str) -> bool:
    read = read_question(question)
    return (
        _UNDO_REQUEST.search(read.plain) is not None or classify_intent(read, "picture").intent == "feedback"
    )


def _refusal_message(call: Any, why: str) -> ToolMessage:  # noqa: ANN401
    return ToolMessage(why, tool_call_id=call["id"], name=call["name"], status="error")
