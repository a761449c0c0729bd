"""LangChain chat models: answers by measurement, and JSON tool calling for models without it.

Needs langchain_core. `EvidenceChatModel` answers the last question where there is no language model;
`StepwiseChatModel` puts a conversation to any chat model, which replies with its next step as JSON by a
schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, cast

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import Field

from anomalist.agent.asking.answering import answer
from anomalist.agent.asking.question import MultipleChoice, question_without_options, read_multiple_choice
from anomalist.agent.chat.context import (
    ANSWER_KEY,
    ModelAnswer,
    ModelStep,
    citable_ids,
    describe_records,
    last_focus,
    narrow_subject,
    only_source,
    question_views,
    replace_file_name,
    sources_of,
    stored_tool_results,
)
from anomalist.agent.models.scripted import StreamedReplyModel
from anomalist.agent.models.structured import (
    SentenceStream,
    ask_structured,
    model_message,
    system_message,
    user_message,
)
from anomalist.agent.tools.subject import Subject
from anomalist.errors import DataError, ModelError
from anomalist.prompts.templates import escape_text, render
from anomalist.types.common import Answer

_SAME_QUESTION = re.compile(
    r"^(?:and |so |ok,? )*(?:what|how) about\b|^and (?:in |on |of |with )?\S+\.\w{3,4}\?*$", re.I
)
"""The last question again, of another picture, as in "What about b.png?"."""


class EvidenceChatModel(StreamedReplyModel):
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
        """Ignore the tools: it calls them by itself."""
        return self

    def _pieces(self, messages: list[BaseMessage]) -> list[AIMessageChunk]:
        reply = answer_by_measurement(self.subject(), last_question(messages), stored_answers(messages))
        sentences = [claim.text for claim in reply.claims] if reply.letter is None else []
        *parts, last = sentences or [reply.text]
        kept = AIMessageChunk(content=last, additional_kwargs={ANSWER_KEY: reply.model_dump_json()})
        return [*(AIMessageChunk(content=f"{part} ") for part in parts), kept]


def answer_by_measurement(subject: Subject, question: str, earlier: Sequence[Answer]) -> Answer:
    """Answer by measurement, about the picture that the question means in this conversation."""
    question = _with_last_question(question, earlier)
    meant = narrow_subject(subject, question, earlier)
    if len(sources_of(meant)) == 1 and earlier and _SAME_QUESTION.match(question):
        said = answer(meant, earlier[-1].question)
        return said.replace(question=question)
    reply = answer(meant, question)
    if reply.answered:
        return reply
    if len(sources_of(meant)) == 1:
        # A file name in the middle can hide what is asked: "Is exp1_num_43817.jpg fine?"
        plain = replace_file_name(question, sources_of(meant)[0])
        return reply if plain == question else _prefer_second(answer(meant, plain), reply)
    # "How bad?" after a picture was talked about means that one.
    last = last_focus(earlier, sources_of(subject))
    if last is None:
        return reply
    return _prefer_second(answer(only_source(subject, last), question), reply)


def _with_last_question(question: str, earlier: Sequence[Answer]) -> str:
    """The last question again where only options for it are given: "A) yes B) no"."""
    lettered = read_multiple_choice(question)
    if lettered is None or lettered.question or not earlier:
        return question
    return MultipleChoice(question_without_options(earlier[-1].question), lettered.options).text


def _prefer_second(second: Answer, first: Answer) -> Answer:
    """The second answer where it is one, to the question as it was put."""
    return second.replace(question=first.question) if second.answered else first


def last_question(messages: Sequence[BaseMessage]) -> str:
    """The last question of a conversation. Raises DataError where there is none."""
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            return message.text
    raise DataError("Nothing was asked.")


def stored_answers(messages: Sequence[BaseMessage]) -> tuple[Answer, ...]:
    """The answers that were given in a conversation, in order."""
    kept = (
        message.additional_kwargs.get(ANSWER_KEY) for message in messages if isinstance(message, AIMessage)
    )
    return tuple(Answer.model_validate_json(text) for text in kept if isinstance(text, str))


MAX_EARLIER_TURNS = 6
"""Questions and answers of the conversation that the model is shown again."""

SYSTEM_PROMPT, TURN_PROMPT = "chat_system.v1", "chat.v1"


class StepwiseChatModel(BaseChatModel):
    """Puts a conversation to another chat model, one step a call.

    Tools are described in the prompt and called by name in the reply, so that a local model, a server
    without tools and a script all work. Pictures are read when the model is asked and are in no message.

    Parameters
    ----------
    inner : the model that is asked.
    subject : what the conversation is about right now.
    steps_left : how many calls the model still has in this turn.
    seconds_left : how long it may take; checked while it writes.
    """

    inner: BaseChatModel = Field(exclude=True, repr=False)
    subject: Callable[[], Subject] = Field(exclude=True, repr=False)
    steps_left: Callable[[], int] = Field(exclude=True, repr=False)
    seconds_left: Callable[[], float] = Field(exclude=True, repr=False)
    tools: tuple[str, ...] = ()

    @property
    def _llm_type(self) -> str:
        return "steps"

    def bind_tools(
        self,
        tools: Sequence[Any],
        *,
        tool_choice: str | None = None,
        **kwargs: object,
    ) -> Runnable[Any, AIMessage]:
        """The same model with descriptions of these tools in its prompt."""
        described = [_describe_tool(tool) for tool in tools if tool.name != ModelAnswer.__name__]
        return type(self)(**(dict(self) | {"tools": tuple(described)}))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> ChatResult:
        def tell(sentence: str) -> None:
            if run_manager:
                piece = AIMessageChunk(content=f"{sentence} ")
                run_manager.on_llm_new_token(piece.text, chunk=ChatGenerationChunk(message=piece))

        # Its raw JSON is not for people: only sentences are streamed.
        quiet = cast("BaseChatModel", self.inner.with_config(tags=["nostream"]))
        reply = ask_structured(
            quiet,
            self._asked(messages),
            ModelStep,
            timeout=self.seconds_left(),
            listener=SentenceStream(tell).hear,
        )
        if reply.value is None:
            raise ModelError(f"The model gave no readable reply: {reply.problems[-1]}")
        return ChatResult(generations=[ChatGeneration(message=_as_tool_call(reply.value, len(messages)))])

    def _asked(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        """What the model is shown: the rules, the last questions and answers, pictures, and the question."""
        question = last_question(messages)
        earlier = stored_answers(messages)
        subject = self.subject()
        meant = narrow_subject(subject, question, earlier)
        turn = _current_turn(messages)
        pictures, words = question_views(meant, turn)
        prompt = render(
            TURN_PROMPT,
            views=words,
            records=describe_records(subject, meant),
            steps=[
                {"tool": str(message.name), "result": str(message.content)}
                for message in turn
                if isinstance(message, ToolMessage)
            ],
            question=question,
            ids=citable_ids(meant, stored_tool_results(turn)),
            left=self.steps_left(),
        )
        history: list[BaseMessage] = []
        for past in earlier[-MAX_EARLIER_TURNS:]:
            history += [HumanMessage(escape_text(past.question)), model_message(past.text)]
        rules = system_message(render(SYSTEM_PROMPT, tools=self.tools))
        return [rules, *history, user_message(prompt, pictures)]


def _current_turn(messages: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
    """The messages since the last question."""
    asked = [number for number, message in enumerate(messages) if isinstance(message, HumanMessage)]
    return messages[asked[-1] + 1 :] if asked else messages


def _as_tool_call(step: ModelStep, number: int) -> AIMessage:
    """A step as a LangChain tool call: of a tool, or of the response schema."""
    if step.tool:
        call = {"name": step.tool, "args": step.arguments, "id": f"call-{number}", "type": "tool_call"}
    else:
        said = step.said().model_dump(mode="json")
        call = {"name": ModelAnswer.__name__, "args": said, "id": f"call-{number}", "type": "tool_call"}
    return AIMessage("", tool_calls=[call])


def _describe_tool(tool: BaseTool) -> str:
    """A tool in one line: name, arguments with their types, what it does."""
    arguments = ", ".join(
        f"{name}{'' if 'default' in schema else ' (needed)'}: {_type_names(schema)}"
        for name, schema in tool.args.items()
    )
    return f"{tool.name}({arguments}): {' '.join(tool.description.split())}"


def _type_names(schema: dict[str, Any]) -> str:
    options = schema.get("anyOf", [schema])
    names = [json.dumps(o["enum"]) if "enum" in o else str(o.get("type", "any")) for o in options]
    return " or ".join(dict.fromkeys(name for name in names if name != "null"))
