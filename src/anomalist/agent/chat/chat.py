"""One conversation: questions go in, checked answers come out, everything is kept by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.messages import HumanMessage

from anomalist.agent.asking.answering import REASONER, answer
from anomalist.agent.asking.lettered import read_lettered
from anomalist.agent.asking.question import read_question
from anomalist.agent.chat.by_evidence import EvidenceChatModel, answers_in
from anomalist.agent.chat.conversations import Conversations
from anomalist.agent.chat.focus import focus_of, narrowed, only, sources_of
from anomalist.agent.chat.keeping import END_NODE, MOST_SECONDS, MOST_STEPS, Keeping, as_message
from anomalist.agent.chat.replies import ANSWER, Said
from anomalist.agent.chat.tooling import bound_tools, stored_cases
from anomalist.agent.tools import TOOLS
from anomalist.agent.tools.subject import Result, Subject
from anomalist.errors import DataError
from anomalist.types import Answer, Inspection

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.runnables import RunnableConfig


FIRST_QUESTION = "What is the verdict?"
"""What is asked of a picture that is taken into a conversation."""


@dataclass(frozen=True)
class Heard:
    """Something of an answer while it is in the making.

    Parameters
    ----------
    what : "text" is said, not yet checked where a language model says it; "tool" is being called.
    text : the words, or the name of the tool.
    """

    what: Literal["text", "tool"]
    text: str


class Chat:
    """A conversation about a picture, a batch or clips.

    Parameters
    ----------
    subject : what it is about.
    conversations : the file that keeps it; closed by whoever opened it.
    name : a conversation of that name goes on, a new one begins.
    model : a chat model as of `models.open_model`; None answers by measurement alone.
    model_name : how the record calls the model.
    about : what the conversation was begun with, for whoever resumes it.
    steps, seconds : limits of the loop for one question.
    tools : what a model may call.
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
        steps: int = MOST_STEPS,
        seconds: float = MOST_SECONDS,
        tools: tuple[Callable[..., Result], ...] = TOOLS,
    ) -> None:
        if not sources_of(subject):
            raise DataError("There is nothing to talk about.", "Name a picture, a clip, or a run folder.")
        self.subject = subject
        self.name = name
        self._about = about or {}
        self._conversations = conversations
        conversations.keep(name, self._about, subject)
        self._answers = list(answers_in(conversations.messages(name)))
        keeping = Keeping(lambda: self.subject, model_name, steps=steps, seconds=seconds)
        self._agent = self._loop(model, keeping, tools)

    @property
    def answers(self) -> tuple[Answer, ...]:
        """All answers so far, those of earlier sessions first."""
        return tuple(self._answers)

    def ask(self, question: str, listener: Callable[[Heard], None] | None = None) -> Answer:
        """Ask; ``listener`` hears sentences and calls of tools as they come.

        Options may be in the question: "Where is it? A) upper left B) lower right".

        Raises
        ------
        DataError : the question is empty or too long, or the file of conversations can't be used.
        """
        text = read_question(question).text
        if (lettered := read_lettered(question)) is not None:
            text = lettered.text  # while its lines are still known
        config: RunnableConfig = {"configurable": {"thread_id": self.name}, "recursion_limit": 1000}
        message = {"role": "user", "content": text}
        with self._conversations.storing():
            for mode, part in self._agent.stream(
                {"messages": [message]}, config, stream_mode=["messages", "updates"], durability="exit"
            ):
                if listener is not None:
                    _tell(listener, mode, part)
        said = answers_in(self._conversations.messages(self.name))[-1]
        self._answers.append(said)
        self._conversations.turned(self.name, len(self._answers))
        return said

    def look_at(self, inspection: Inspection) -> Answer:
        """Take another inspected picture into the conversation; returns what there is to say of it."""
        record = inspection.record
        others = tuple(each for each in self.subject.records if each.source != record.source)
        self.subject = replace(
            self.subject,
            records=(*others, record),
            inspections={**self.subject.inspections, record.source: inspection},
        )
        self._conversations.keep(self.name, self._about, self.subject)
        asked = f"Look at {Path(record.source).name}."
        said = answer(only(self.subject, record.source), FIRST_QUESTION)
        said = said.model_copy(update={"question": asked, "intent": "look"})
        turn = {"messages": [HumanMessage(asked), as_message(said)]}
        with self._conversations.storing():
            self._agent.update_state({"configurable": {"thread_id": self.name}}, turn, as_node=END_NODE)
        self._answers.append(said)
        self._conversations.turned(self.name, len(self._answers))
        return said

    def last_case(self) -> str | None:
        """Id of the last case that was stored in this conversation and holds still."""
        from anomalist.memory.cases import CaseStore
        from anomalist.settings import Settings

        path = self.subject.cases or Settings().home / "cases.sqlite"
        told = stored_cases(self._conversations.messages(self.name))
        if not told or not path.exists():
            return None
        with CaseStore(path) as store:
            holding = {case.id for case in store.list()}
        return next((case for case in reversed(told) if case in holding), None)

    def meant(self, text: str = "it") -> Subject:
        """The picture or clip that was talked about last, or that a text names; all where that is open."""
        found = narrowed(self.subject, text, self._answers)
        sources = sources_of(self.subject)
        if len(sources_of(found)) > 1 and (last := focus_of(self._answers, sources)) is not None:
            return only(self.subject, last)
        return found

    def _loop(
        self, model: BaseChatModel | None, keeping: Keeping, tools: tuple[Callable[..., Result], ...]
    ) -> Any:  # noqa: ANN401 - a compiled graph of LangGraph
        from langchain.agents import create_agent
        from langchain.agents.structured_output import ToolStrategy

        from anomalist.agent.chat.by_steps import StepModel

        def subject() -> Subject:
            return self.subject

        speaker: BaseChatModel
        if model is None:
            speaker = EvidenceChatModel(subject=subject)
        else:
            speaker = StepModel(
                inner=model,
                subject=subject,
                steps_left=keeping.steps_left,
                seconds_left=keeping.seconds_left,
            )
        return create_agent(
            speaker,
            bound_tools(subject, tools),
            middleware=[keeping],
            response_format=ToolStrategy(Said, tool_message_content="Answered."),
            checkpointer=self._conversations.saver,
        )


def _tell(listener: Callable[[Heard], None], mode: str, part: Any) -> None:  # noqa: ANN401 - LangGraph's
    """Pass on what a person wants to hear of the loop."""
    if mode == "messages":
        message, about = part
        if about.get("langgraph_node") == "model" and message.type == "AIMessageChunk" and message.text:
            listener(Heard("text", message.text))
        return
    for message in (part.get("model") or {}).get("messages", ()):
        for call in getattr(message, "tool_calls", ()):
            if call["name"] != Said.__name__ and ANSWER not in message.additional_kwargs:
                listener(Heard("tool", call["name"]))
