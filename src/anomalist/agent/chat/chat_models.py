"""LangChain chat models: answers by measurement, and JSON tool calling for models without it.

Needs langchain_core. `EvidenceChatModel` answers the last question without a language model;
`StepwiseChatModel` wraps any chat model and has it reply with its next step, a tool call or an answer, as
JSON by a schema.
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
from anomalist.agent.asking.run_intents import match_picture_intent
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
from anomalist.agent.models.text_only import takes_pictures
from anomalist.agent.tools.subject import Subject
from anomalist.errors import DataError, ModelError
from anomalist.prompts.templates import escape_text, render
from anomalist.types.common import Answer

_SAME_QUESTION = re.compile(
    r"^(?:and |so |ok,? )*(?:what|how) about\b|^and (?:in |on |of |with )?\S+\.\w{3,4}\?*$", re.I
)
"""Matches the last question asked again about another picture: "What about b.png?"."""


class EvidenceChatModel(StreamedReplyModel):
    """Answers the last question of a conversation by measurement, without a language model.

    It calls the tools itself, so its replies hold no tool calls. Each message carries the whole `Answer`.
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
        """Return itself: the tools are called directly."""
        return self

    def _pieces(self, messages: list[BaseMessage]) -> list[AIMessageChunk]:
        reply = answer_by_measurement(self.subject(), last_question(messages), stored_answers(messages))
        sentences = [claim.text for claim in reply.claims] if reply.letter is None else []
        *parts, last = sentences or [reply.text]
        final = AIMessageChunk(content=last, additional_kwargs={ANSWER_KEY: reply.model_dump_json()})
        return [*(AIMessageChunk(content=f"{part} ") for part in parts), final]


def answer_by_measurement(subject: Subject, question: str, earlier: Sequence[Answer]) -> Answer:
    """Answer by measurement about the picture that the question refers to in this conversation."""
    question = _with_last_question(question, earlier)
    meant = narrow_subject(subject, question, earlier)
    if len(sources_of(meant)) == 1 and earlier and _SAME_QUESTION.match(question):
        again = answer(meant, earlier[-1].question)
        return again.replace(question=question)
    focus = last_focus(earlier, sources_of(subject))
    if focus is not None and match_picture_intent(question.casefold()) == "alike":
        meant = only_source(subject, focus)  # "Did the same thing happen on other pictures?"
    reply = answer(meant, question, earlier=earlier)
    if reply.answered or (reply.choices and reply.intent != "unclear"):
        return reply
    if len(sources_of(meant)) == 1:
        # A file name in the question can mislead the intent classifier: "Is exp1_num_43817.jpg fine?"
        plain = replace_file_name(question, sources_of(meant)[0])
        return reply if plain == question else _prefer_second(answer(meant, plain), reply)
    # "How bad?" refers to the last picture of the conversation.
    if focus is None:
        return reply
    return _prefer_second(answer(only_source(subject, focus), question), reply)


def _with_last_question(question: str, earlier: Sequence[Answer]) -> str:
    """The last question with new options, where only options are given: "A) yes B) no"."""
    choice = read_multiple_choice(question)
    if choice is None or choice.question or not earlier:
        return question
    return MultipleChoice(question_without_options(earlier[-1].question), choice.options).text


def _prefer_second(second: Answer, first: Answer) -> Answer:
    """The second answer, with the question of the first, if it answers; else the first."""
    return second.replace(question=first.question) if second.answered else first


def last_question(messages: Sequence[BaseMessage]) -> str:
    """The last question of a conversation. Raises DataError where there is none."""
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            return message.text
    raise DataError("Nothing was asked.")


def stored_answers(messages: Sequence[BaseMessage]) -> tuple[Answer, ...]:
    """The answers stored in the messages of a conversation, in order."""
    stored = (
        message.additional_kwargs.get(ANSWER_KEY) for message in messages if isinstance(message, AIMessage)
    )
    return tuple(Answer.model_validate_json(text) for text in stored if isinstance(text, str))


MAX_EARLIER_TURNS = 6
"""Earlier questions and answers in the prompt."""

SYSTEM_PROMPT, TURN_PROMPT = "chat_system.v1", "chat.v1"

NO_PICTURES = "There is no picture here: you read text only. What is known of it was measured."
"""What a model that reads text only is told in the place of pictures."""


class StepwiseChatModel(BaseChatModel):
    """Wraps a chat model without native tool calling; one call is one step.

    Tools are described in the prompt and named in the JSON reply, so that local models, servers without tool
    calling and scripted models work. Pictures are read at each call and stored in no message.

    Parameters
    ----------
    inner : the wrapped model.
    subject : returns the current subject of the conversation.
    steps_left : returns how many calls the model has left in this turn.
    seconds_left : returns the time limit of the next reply.
    tools, tool_names : descriptions for the prompt, and names for the schema; see `bind_tools`.
    """

    inner: BaseChatModel = Field(exclude=True, repr=False)
    subject: Callable[[], Subject] = Field(exclude=True, repr=False)
    steps_left: Callable[[], int] = Field(exclude=True, repr=False)
    seconds_left: Callable[[], float] = Field(exclude=True, repr=False)
    tools: tuple[str, ...] = ()
    tool_names: tuple[str, ...] = ()

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
        """A copy with descriptions of these tools for its prompt."""
        offered = [tool for tool in tools if tool.name != ModelAnswer.__name__]
        described = {
            "tools": tuple(map(_describe_tool, offered)),
            "tool_names": tuple(tool.name for tool in offered),
        }
        return type(self)(**(dict(self) | described))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> ChatResult:
        def stream_sentence(sentence: str) -> None:
            if run_manager:
                piece = AIMessageChunk(content=f"{sentence} ")
                run_manager.on_llm_new_token(piece.text, chunk=ChatGenerationChunk(message=piece))

        # Only the sentences in the raw JSON are streamed.
        quiet = cast("BaseChatModel", self.inner.with_config(tags=["nostream"]))
        reply = ask_structured(
            quiet,
            self._build_prompt(messages),
            ModelStep.with_tools(self.tool_names if self.steps_left() else ()),
            timeout=self.seconds_left(),
            listener=SentenceStream(stream_sentence).feed,
        )
        if reply.value is None:
            raise ModelError(f"The model gave no readable reply: {reply.problems[-1]}")
        return ChatResult(generations=[ChatGeneration(message=_as_tool_call(reply.value, len(messages)))])

    def _build_prompt(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        """Messages for the model: system prompt, last questions and answers, pictures, and the question."""
        question = last_question(messages)
        earlier = stored_answers(messages)
        subject = self.subject()
        meant = narrow_subject(subject, question, earlier)
        turn = _current_turn(messages)
        pictures, words = question_views(meant, turn) if takes_pictures(self.inner) else ([], [NO_PICTURES])
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
    questions = [number for number, message in enumerate(messages) if isinstance(message, HumanMessage)]
    return messages[questions[-1] + 1 :] if questions else messages


def _as_tool_call(step: ModelStep, number: int) -> AIMessage:
    """A step as a LangChain tool call: of a tool, or of the response schema."""
    if step.tool:
        call = {"name": step.tool, "args": step.arguments, "id": f"call-{number}", "type": "tool_call"}
    else:
        args = step.answer().model_dump(mode="json")
        call = {"name": ModelAnswer.__name__, "args": args, "id": f"call-{number}", "type": "tool_call"}
    return AIMessage("", tool_calls=[call])


def _describe_tool(tool: BaseTool) -> str:
    """A tool in one line: name, arguments with types, description."""
    arguments = ", ".join(
        f"{name}{'' if 'default' in schema else ' (needed)'}: {_type_names(schema)}"
        for name, schema in tool.args.items()
    )
    return f"{tool.name}({arguments}): {' '.join(tool.description.split())}"


def _type_names(schema: dict[str, Any]) -> str:
    options = schema.get("anyOf", [schema])
    names = [json.dumps(o["enum"]) if "enum" in o else str(o.get("type", "any")) for o in options]
    return " or ".join(dict.fromkeys(name for name in names if name != "null"))
