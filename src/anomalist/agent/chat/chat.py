"""A chat session: a LangChain agent over one subject, with checked answers and stored messages.

Also resolves evidence ids of answers: a crop for a region, a frame for an event, text for other ids.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.messages import HumanMessage

from anomalist.agent.asking.answering import REASONER, answer
from anomalist.agent.asking.question import read_multiple_choice, read_question
from anomalist.agent.chat.chat_models import EvidenceChatModel, stored_answers
from anomalist.agent.chat.context import (
    ANSWER_KEY,
    ModelAnswer,
    as_langchain_tools,
    last_focus,
    narrow_subject,
    only_source,
    sources_of,
    stored_cases,
)
from anomalist.agent.chat.conversations import Conversations, check_sources
from anomalist.agent.chat.guardrails import (
    END_NODE,
    MAX_SECONDS,
    MAX_STEPS,
    GuardrailMiddleware,
    answer_message,
)
from anomalist.agent.tools import TOOLS
from anomalist.agent.tools.clips import frame_at
from anomalist.agent.tools.memory import find_rule
from anomalist.agent.tools.pictures import compare_with_normal, show_findings, zoom
from anomalist.agent.tools.records import query_records
from anomalist.agent.tools.subject import Result, Subject
from anomalist.errors import AnomalistError, DataError
from anomalist.memory.cases import CaseStore
from anomalist.storage.row_store import is_stored
from anomalist.types.clip import EVENT_ID
from anomalist.types.common import SEVERITIES, Answer
from anomalist.types.image import REGION_ID, Inspection

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.runnables import RunnableConfig


FIRST_QUESTION = "What is the verdict?"
"""Asked about a picture that is added to a conversation."""


@dataclass(frozen=True)
class ChatStreamEvent:
    """A streamed part of an answer.

    Parameters
    ----------
    what : "text", which is unchecked where a language model wrote it, or "tool" for a tool call.
    text : the text, or the name of the tool.
    """

    what: Literal["text", "tool"]
    text: str


@dataclass(frozen=True)
class LoopSettings:
    """Settings of the agent loop.

    Parameters
    ----------
    steps, seconds : limits for one question.
    tools : what a model may call.
    """

    steps: int = MAX_STEPS
    seconds: float = MAX_SECONDS
    tools: tuple[Callable[..., Result], ...] = TOOLS


class Chat:
    """A conversation about a picture, a batch or clips.

    Parameters
    ----------
    subject : what it is about.
    conversations : the store, which the caller closes.
    name : an existing conversation of that name is resumed.
    model : a chat model, see `anomalist.agent.models.selection.open_model`; None answers by measurement
        alone.
    model_name : name of the model in the record.
    about : how the conversation was started, stored for resuming it.
    loop : limits and tools of the agent loop.
    """

    def __init__(
        self,
        subject: Subject,
        conversations: Conversations,
        name: str,
        *,
        model: BaseChatModel | None = None,
        model_name: str = REASONER,
        about: dict[str, Any] | None = None,
        loop: LoopSettings = LoopSettings(),
    ) -> None:
        check_sources(subject)
        self.subject = subject
        self.name = name
        self._about = about or {}
        self._conversations = conversations
        conversations.save_subject(name, self._about, subject)
        self._answers = list(stored_answers(conversations.messages(name)))
        guardrails = GuardrailMiddleware(
            lambda: self.subject, model_name, steps=loop.steps, seconds=loop.seconds
        )
        self._agent = self._build_agent(model, guardrails, loop.tools)

    @property
    def answers(self) -> tuple[Answer, ...]:
        """All answers so far, those of earlier sessions first."""
        return tuple(self._answers)

    def ask(self, question: str, listener: Callable[[ChatStreamEvent], None] | None = None) -> Answer:
        """Answer a question; ``listener`` receives sentences and tool calls as they are streamed.

        The question may contain options: "Where is it? A) upper left B) lower right".

        Raises
        ------
        DataError : the question is empty or too long, or the file of conversations can't be used.
        """
        text = read_question(question).text
        if (choice := read_multiple_choice(question)) is not None:
            text = choice.text  # parsed from the original, because `read_question` joins its lines
        config: RunnableConfig = {"configurable": {"thread_id": self.name}, "recursion_limit": 1000}
        message = {"role": "user", "content": text}
        with self._conversations.database_errors():
            for mode, part in self._agent.stream(
                {"messages": [message]}, config, stream_mode=["messages", "updates"], durability="exit"
            ):
                if listener is not None:
                    _forward_events(listener, mode, part)
        reply = stored_answers(self._conversations.messages(self.name))[-1]
        self._answers.append(reply)
        self._conversations.finish_turn(self.name, len(self._answers))
        return reply

    def look_at(self, inspection: Inspection) -> Answer:
        """Add another inspected picture to the conversation; returns the verdict on it as an answer."""
        record = inspection.record
        others = tuple(each for each in self.subject.records if each.source != record.source)
        self.subject = replace(
            self.subject,
            records=(*others, record),
            inspections={**self.subject.inspections, record.source: inspection},
        )
        self._conversations.save_subject(self.name, self._about, self.subject)
        question = f"Look at {Path(record.source).name}."
        reply = answer(only_source(self.subject, record.source), FIRST_QUESTION)
        reply = reply.replace(question=question, intent="look")
        turn = {"messages": [HumanMessage(question), answer_message(reply)]}
        with self._conversations.database_errors():
            self._agent.update_state({"configurable": {"thread_id": self.name}}, turn, as_node=END_NODE)
        self._answers.append(reply)
        self._conversations.finish_turn(self.name, len(self._answers))
        return reply

    def cases(self) -> dict[str, bool]:
        """Ids of the cases that this conversation stored or took back, and whether each is undone."""
        stored = dict.fromkeys(stored_cases(self._conversations.messages(self.name)))
        if not stored or not is_stored(self.subject.case_file):
            return {}
        found: dict[str, bool] = {}
        with CaseStore(self.subject.case_file) as store:
            for id in stored:
                with contextlib.suppress(DataError):  # it was in another file of cases
                    found[id] = bool(store.get(id).undone)
        return found

    def last_case(self) -> str | None:
        """Id of the last case that was stored in this conversation and isn't undone."""
        return next((case for case, undone in reversed(self.cases().items()) if not undone), None)

    def resolve_subject(self, text: str = "it") -> Subject:
        """The picture or clip that a text refers to, by name or as the last one; all where that is open."""
        found = narrow_subject(self.subject, text, self._answers)
        sources = sources_of(self.subject)
        if len(sources_of(found)) > 1 and (last := last_focus(self._answers, sources)) is not None:
            return only_source(self.subject, last)
        return found

    def _build_agent(
        self,
        model: BaseChatModel | None,
        guardrails: GuardrailMiddleware,
        tools: tuple[Callable[..., Result], ...],
    ) -> Any:  # noqa: ANN401
        from langchain.agents import create_agent
        from langchain.agents.structured_output import ToolStrategy

        from anomalist.agent.chat.chat_models import StepwiseChatModel

        def subject() -> Subject:
            return self.subject

        chat_model: BaseChatModel
        if model is None:
            chat_model = EvidenceChatModel(subject=subject)
        else:
            chat_model = StepwiseChatModel(
                inner=model,
                subject=subject,
                steps_left=guardrails.steps_left,
                seconds_left=guardrails.seconds_left,
            )
        return create_agent(
            chat_model,
            as_langchain_tools(subject, tools),
            middleware=[guardrails],
            response_format=ToolStrategy(ModelAnswer, tool_message_content="Answered."),
            checkpointer=self._conversations.saver,
        )


def _forward_events(listener: Callable[[ChatStreamEvent], None], mode: str, part: Any) -> None:  # noqa: ANN401
    """Forward text and tool calls of the agent's stream to the listener."""
    if mode == "messages":
        message, metadata = part
        if metadata.get("langgraph_node") == "model" and message.type == "AIMessageChunk" and message.text:
            listener(ChatStreamEvent("text", message.text))
        return
    for message in (part.get("model") or {}).get("messages", ()):
        for call in getattr(message, "tool_calls", ()):
            if call["name"] != ModelAnswer.__name__ and ANSWER_KEY not in message.additional_kwargs:
                listener(ChatStreamEvent("tool", call["name"]))


ID_FORMATS = "Ids look like R1, E2, case:12, rule:7, score, or query."


def open_evidence(chat: Chat, wanted: str, folder: Path) -> str:
    """Show the evidence behind an id in a line or two; pictures are written to ``folder``.

    Parameters
    ----------
    wanted : an id, with the name of a picture or clip where there are several: "R1", "R2 in part.png".

    Raises
    ------
    DataError : no such id, the picture is ambiguous, missing, or has changed.
    """
    id, _, rest = wanted.strip().partition(" ")
    subject = replace(chat.resolve_subject(rest or "it"), crops=folder)
    if re.fullmatch(REGION_ID, id, re.I):
        return _open_region(subject, id.upper())
    if re.fullmatch(EVENT_ID, id, re.I):
        record, event = subject.event(id)
        frame = frame_at(subject, event.peak, record.source)
        return f"{event.id} at its peak, {event.peak:.1f} s: {event.caption.text}\n{frame.file}"
    if id.startswith("case:"):
        return _open_case(subject, id)
    if id.startswith("rule:"):
        rule = find_rule(subject, id)
        off = "" if rule.enabled else ", disabled now"
        return f"{id} ({rule.polarity}, severity {SEVERITIES[rule.severity]}{off}): {rule.text}"
    if id == "score":
        return _open_score(subject)
    if id == "query":
        return _open_query(chat)
    raise DataError(f"There is nothing called {id[:40]!r}.", ID_FORMATS)


def _open_region(subject: Subject, id: str) -> str:
    """A region beside its normal counterpart, or with its surroundings where there is none."""
    try:
        beside = compare_with_normal(subject, id)
        text = f"{id} on the left, {beside.against} on the right."
        return f"{text}\n{beside.file}"
    except AnomalistError:
        close_up = zoom(subject, id)
        return f"{id} with its surroundings.\n{close_up.file}"


def _open_case(subject: Subject, id: str) -> str:
    with CaseStore(subject.case_file) as store:
        case = store.get(id)
    parts = [f"{case.id}: {case.source}, {case.action} by {case.who} at {case.created}"]
    parts += [case.kind] if case.kind else []
    parts += [f"severity {SEVERITIES[case.severity]}"] if case.severity is not None else []
    parts += [f"undone by {case.undone_by} at {case.undone}"] if case.undone else []
    return "\n".join(filter(None, [f"{', '.join(parts)}.", case.note, case.text]))


def _open_query(chat: Chat) -> str:
    """The rows of the last query of a conversation."""
    asked = next((answer.query for answer in reversed(chat.answers) if answer.query), None)
    if asked is None:
        raise DataError("Nothing was asked about the run yet.", ID_FORMATS)
    found = query_records(chat.subject, asked)
    rows = [", ".join("" if cell is None else f"{cell}" for cell in row) for row in found.rows]
    return "\n".join([found.reading, ", ".join(found.columns), *rows, *found.notes, found.query])


def _open_score(subject: Subject) -> str:
    found = show_findings(subject)
    parts = [f"score {found.score:.3g}"] if found.score is not None else ["no score"]
    parts += [f"threshold {found.threshold:.3g}"] if found.threshold is not None else []
    parts += [f"p = {found.p_value:.3g}"] if found.p_value is not None else []
    if found.calibration is not None:
        parts.append(f"calibrated on {found.calibration.normals} normal pictures")
    return f"{found.picture}: {', '.join(parts)}."
