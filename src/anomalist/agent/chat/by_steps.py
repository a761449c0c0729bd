"""Any chat model in the loop, also one that knows no tools: it says its next step as JSON by a schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, cast

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import Field

from anomalist.agent.chat.by_evidence import answers_in, question_of
from anomalist.agent.chat.focus import narrowed
from anomalist.agent.chat.replies import Said, Step
from anomalist.agent.chat.telling import ids_of, told
from anomalist.agent.chat.tooling import kept_results
from anomalist.agent.chat.views import views_of
from anomalist.agent.messages import model_message, system_message, user_message
from anomalist.agent.structured import ask
from anomalist.agent.tools.subject import Subject
from anomalist.errors import ModelError
from anomalist.narration import Narration
from anomalist.prompts.fence import defuse
from anomalist.prompts.rendering import render

EARLIER = 6
"""Questions and answers of the conversation that the model is shown again."""

SYSTEM, PROMPT = "chat_system.v1", "chat.v1"


class StepModel(BaseChatModel):
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
        """The same model, told of these tools."""
        described = [_described(tool) for tool in tools if tool.name != Said.__name__]
        return self.model_copy(update={"tools": tuple(described)})

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

        # Its raw JSON is not for people: only sentences are told.
        quiet = cast("BaseChatModel", self.inner.with_config(tags=["nostream"]))
        reply = ask(
            quiet, self._asked(messages), Step, timeout=self.seconds_left(), listener=Narration(tell).hear
        )
        if reply.value is None:
            raise ModelError(f"The model gave no readable reply: {reply.problems[-1]}")
        return ChatResult(generations=[ChatGeneration(message=_called(reply.value, len(messages)))])

    def _asked(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        """What the model is shown: the rules, the last questions and answers, pictures, and the question."""
        question = question_of(messages)
        earlier = answers_in(messages)
        subject = self.subject()
        meant = narrowed(subject, question, earlier)
        turn = _turn(messages)
        pictures, words = views_of(meant, turn)
        prompt = render(
            PROMPT,
            views=words,
            records=told(subject, meant),
            steps=[
                {"tool": str(message.name), "result": str(message.content)}
                for message in turn
                if isinstance(message, ToolMessage)
            ],
            question=question,
            ids=ids_of(meant, kept_results(turn)),
            left=self.steps_left(),
        )
        history: list[BaseMessage] = []
        for answer in earlier[-EARLIER:]:
            history += [HumanMessage(defuse(answer.question)), model_message(answer.text)]
        rules = system_message(render(SYSTEM, tools=self.tools))
        return [rules, *history, user_message(prompt, pictures)]


def _turn(messages: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
    """The messages since the last question."""
    asked = [number for number, message in enumerate(messages) if isinstance(message, HumanMessage)]
    return messages[asked[-1] + 1 :] if asked else messages


def _called(step: Step, number: int) -> AIMessage:
    """A step as the loop knows it: a call of a tool, or of the one that takes the answer."""
    if step.tool:
        call = {"name": step.tool, "args": step.arguments, "id": f"call-{number}", "type": "tool_call"}
    else:
        said = step.said().model_dump(mode="json")
        call = {"name": Said.__name__, "args": said, "id": f"call-{number}", "type": "tool_call"}
    return AIMessage("", tool_calls=[call])


def _described(tool: BaseTool) -> str:
    """A tool in one line: name, arguments with their types, what it does."""
    arguments = ", ".join(
        f"{name}{'' if 'default' in schema else ' (needed)'}: {_type(schema)}"
        for name, schema in tool.args.items()
    )
    return f"{tool.name}({arguments}): {' '.join(tool.description.split())}"


def _type(schema: dict[str, Any]) -> str:
    options = schema.get("anyOf", [schema])
    names = [json.dumps(o["enum"]) if "enum" in o else str(o.get("type", "any")) for o in options]
    return " or ".join(dict.fromkeys(name for name in names if name != "null"))
