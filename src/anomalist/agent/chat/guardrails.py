"""Guardrails as LangChain middleware: limits, tool errors as text, feedback, and the answer check.

Only sentences of the model whose ids and numbers occur in the evidence become the answer; the recorded
verdict stays. Needs langchain and langgraph.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from langchain.agents.middleware import AgentMiddleware
from langchain.agents.middleware.types import AgentState, ModelRequest, ModelResponse, ToolCallRequest
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langgraph.runtime import Runtime
from langgraph.types import Command

from anomalist.agent.asking.draft import filter_supported_claims
from anomalist.agent.asking.intents import classify_intent
from anomalist.agent.asking.question import Question, read_multiple_choice, read_question, strip_quoted
from anomalist.agent.asking.run_intents import match_run_intent
from anomalist.agent.chat.chat_models import answer_by_measurement, last_question, stored_answers
from anomalist.agent.chat.context import (
    ANSWER_KEY,
    FEEDBACK_TOOLS,
    SELECTION_TOOL,
    UNDO_TOOL,
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
    model_answer: ModelAnswer, question: str, subject: Subject, messages: Sequence[BaseMessage], model: str
) -> Answer:
    """Check a model's answer against the evidence.

    Sentences with an id or a number that no tool returned go to ``dropped``. A verdict that differs from the
    recorded one becomes a note; the recorded one stays. The options of a multiple-choice question are decided
    by measurement where possible, and the model's sentences come after that.

    Parameters
    ----------
    model_answer : the model's answer.
    subject : narrowed to what the question refers to.
    messages : of the whole conversation; the tool results in them are the evidence.
    """
    used: list[Result] = [*stored_tool_results(messages), *_recorded_findings(subject)]
    claims = [
        Claim(text=sentence.text, evidence=sentence.evidence, source="model")
        for sentence in model_answer.sentences
        if sentence.evidence
    ]
    kept, dropped = filter_supported_claims(claims, used)
    bare = [f"{each.text} (cites nothing)" for each in model_answer.sentences if not each.evidence]
    verdict = _recorded_label(subject)
    cannot = model_answer.cannot.strip()
    notes = _disagreements(model_answer, kept, verdict, model)
    letter = None
    chosen = _choice_by_evidence(question, subject)
    if chosen is not None:
        letter, noted = _final_letter(chosen, model_answer, model)
        notes = (*notes, *noted)
        kept = (*chosen.claims, *kept)
    lead = f"{letter}: " if letter is not None else ""
    text = " ".join(claim.text for claim in kept)
    return Answer(
        question=question,
        answered=bool(kept),
        text=lead + text if kept else cannot or "Nothing of what the model said has evidence.",
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
    """The choice among the options in a question by measurement; None without options or on an error."""
    choice = read_multiple_choice(question)
    if choice is None:
        return None
    try:
        return choose_option(subject, strip_quoted(choice.question), list(choice.options))
    except AnomalistError:
        return None


def _final_letter(
    chosen: OptionChoice, model_answer: ModelAnswer, model: str
) -> tuple[str | None, tuple[str, ...]]:
    """The final letter, and a note where it is the model's or differs from it."""
    words = " ".join(sentence.text for sentence in model_answer.sentences)
    named = parse_letter(words, [option.text for option in chosen.options])
    if chosen.letter is None:
        why = f"{chosen.why_not or ''} The letter is that of {model}.".strip()
        return named, () if named is None else (why,)
    if named is None or named == chosen.letter:
        return chosen.letter, ()
    text = f"Disagreement: {model} says {named}, what was measured says {chosen.letter}, which stands."
    return chosen.letter, (text,)


def _recorded_findings(subject: Subject) -> list[Result]:
    """The recorded findings on the picture or clip, which are in the prompt and so may be cited."""
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
    model_answer: ModelAnswer, kept: Sequence[Claim], verdict: Label | None, model: str
) -> tuple[str, ...]:
    """A note where the model's verdict, or its sentences, contradict the record."""
    if verdict is None:
        return ()
    text = " ".join(claim.text for claim in kept)
    thinks: str | None = None if model_answer.verdict == "not asked" else model_answer.verdict
    if thinks is None and verdict == "anomalous" and _SAYS_NORMAL.search(text):
        thinks = "normal"
    if thinks is None and verdict == "normal" and _SAYS_ANOMALOUS.search(text):
        thinks = "anomalous"
    if thinks is None or thinks == verdict:
        return ()
    return (f"Disagreement: {model} says {thinks}, the record says {verdict}. The recorded verdict stands.",)


MAX_STEPS = 8
"""Model calls for one question."""

MAX_SECONDS = 180.0
"""Time for one question."""

END_NODE = "GuardrailMiddleware.after_agent"
"""Node of the LangGraph graph that ends a turn."""

_UNDO_REQUEST = re.compile(r"\b(?:undo|take (?:\S+ ){1,4}back|forget|withdraw|revoke)\b")


class GuardrailMiddleware(AgentMiddleware[AgentState[Any], Any, Any]):
    """Enforces limits and checks answers of one conversation.

    Parameters
    ----------
    subject : returns the current subject of the conversation.
    name : of the model, for the record.
    steps, seconds : limits for one question; beyond them it is answered by measurement.
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
        """Reset the limits at the start of a turn."""
        self._taken = 0
        self._began = time.monotonic()
        return {"structured_response": None}

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any] | AIMessage:
        """Call the model within the limits; beyond them, or where it fails, answer by measurement."""
        if self._taken >= self._steps:
            return self._by_measurement(request.messages, f"The model gave no answer in {self._steps} steps.")
        if not self.seconds_left():
            return self._by_measurement(request.messages, f"The model gave no answer in {self._seconds:g} s.")
        self._taken += 1
        try:
            return handler(request)
        except ModelError as error:
            return self._by_measurement(request.messages, f"The model failed: {error}")

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        """Call a tool; its errors go back to the model as text."""
        call = request.tool_call
        messages: list[BaseMessage] = list(request.state["messages"])
        if call["name"] in FEEDBACK_TOOLS:
            question = last_question(messages)
            if not _asks_for(call["name"], read_question(question)):
                return _refusal_message(
                    call, "The person did not say so in this question; nothing was stored."
                )
            if call["name"] != UNDO_TOOL:
                # The person's own words are stored, not the model's paraphrase.
                words = {**call["args"], "note": f"in words: {question}"}
                request = request.override(tool_call={**call, "args": words})
        try:
            return handler(request)
        except AnomalistError as error:
            return _refusal_message(call, str(error))
        except Exception as error:  # a failing tool must not end the conversation
            return _refusal_message(call, f"{type(error).__name__}: {error}"[:500])

    def after_agent(self, state: AgentState[Any], runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Check the model's answer against the evidence; ends the turn."""
        messages = list(state["messages"])
        last = messages[-1]
        if isinstance(last, AIMessage) and ANSWER_KEY in last.additional_kwargs:
            return None
        model_answer = state.get("structured_response")
        if not isinstance(model_answer, ModelAnswer):
            return {"messages": [self._by_measurement(messages, "The model gave no answer.")]}
        question, earlier = last_question(messages), stored_answers(messages)
        subject = narrow_subject(self._subject(), question, earlier)
        reply = check_model_answer(model_answer, question, subject, messages, self._name)
        if not reply.answered and not model_answer.cannot.strip():
            why = f"Of what the model said, nothing had evidence ({len(reply.dropped)} left out)."
            fallen_back = self._by_measurement(messages, why, reply)
            return {"messages": [fallen_back], "structured_response": None}
        return {"messages": [answer_message(self._timed(reply))], "structured_response": None}

    def _by_measurement(self, messages: list[Any], why: str, model_reply: Answer | None = None) -> AIMessage:
        """The answer by measurement, with a note on why there is none by the model."""
        reply = answer_by_measurement(self._subject(), last_question(messages), stored_answers(messages))
        notes = (
            *reply.notes,
            f"{why} This is answered by measurement alone.",
            *(model_reply.notes if model_reply else ()),
        )
        dropped = (*(model_reply.dropped if model_reply else ()), *reply.dropped)
        return answer_message(self._timed(reply.replace(notes=notes, dropped=dropped)))

    def _timed(self, reply: Answer) -> Answer:
        return reply.replace(milliseconds=round(1000 * (time.monotonic() - self._began), 1))


def answer_message(reply: Answer) -> AIMessage:
    """The message that stores an answer."""
    return AIMessage(reply.text, additional_kwargs={ANSWER_KEY: reply.model_dump_json()})


def gives_feedback(question: str) -> bool:
    """Whether a text says what is right, or takes that back: only then may feedback be stored."""
    read = read_question(question)
    return any(_asks_for(tool, read) for tool in FEEDBACK_TOOLS)


def _asks_for(tool: str, question: Question) -> bool:
    """Whether a text says what one of `FEEDBACK_TOOLS` would store."""
    if tool == UNDO_TOOL:
        return _UNDO_REQUEST.search(question.plain) is not None
    if tool == SELECTION_TOOL:
        return match_run_intent(question.plain) == "feedback"
    return classify_intent(question, "picture").intent == "feedback"


def _refusal_message(call: Any, why: str) -> ToolMessage:  # noqa: ANN401
    return ToolMessage(why, tool_call_id=call["id"], name=call["name"], status="error")
