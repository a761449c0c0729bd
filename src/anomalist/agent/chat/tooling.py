"""The tools of the agent as LangChain tools: the subject is bound, results are JSON with their ids."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import BaseModel, create_model

from anomalist.agent.chat.replies import ANSWER
from anomalist.agent.tools import TOOLS
from anomalist.agent.tools.subject import Result, Subject
from anomalist.types import Answer

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from langchain_core.tools import BaseTool

LONGEST_RESULT = 8000
"""Characters of a result that a model is told and a conversation keeps."""

FEEDBACK = frozenset({"record_feedback", "undo_feedback"})
"""Tools that change what is remembered: only a person's own words may lead to them."""

_IDS = re.compile(r'"ids":\s*\[([^\]]*)\]')


class Kept(Result):
    """What a tool returned earlier in a conversation, as it is kept there."""

    said: str


def bound_tools(
    subject: Callable[[], Subject], tools: Sequence[Callable[..., Result]] = TOOLS
) -> list[BaseTool]:
    """Wrap tools for a language model; ``subject`` gives what the conversation is about right now."""
    from langchain_core.tools import StructuredTool

    def bind(tool: Callable[..., Result]) -> BaseTool:
        def call(**arguments: Any) -> str:  # noqa: ANN401 - checked by the schema
            return as_text(tool(subject(), **arguments))

        return StructuredTool.from_function(
            call,
            name=tool.__name__,
            description=inspect.getdoc(tool),
            args_schema=_arguments(tool),
            infer_schema=False,
        )

    return [bind(tool) for tool in tools]


def as_text(result: Result) -> str:
    """A result as JSON without what is empty, cut where it is too long, its ids first."""
    content = result.model_dump(mode="json", exclude_none=True)
    text = json.dumps(content, ensure_ascii=False)
    if len(text) <= LONGEST_RESULT:
        return text
    return f"{text[:LONGEST_RESULT]} … (cut: ask for less)"


def kept_results(messages: Iterable[BaseMessage]) -> tuple[Kept, ...]:
    """What tools returned in a conversation: ids and numbers that an answer may rest on."""
    from langchain_core.messages import ToolMessage

    found = []
    for message in messages:
        if isinstance(message, ToolMessage) and message.status == "success":
            text = str(message.content)
            ids = [id for listed in _IDS.findall(text) for id in re.findall(r'"([^"]+)"', listed)]
            found.append(Kept(ids=tuple(dict.fromkeys(ids)), said=text))
    return tuple(found)


def stored_cases(messages: Iterable[BaseMessage]) -> list[str]:
    """Ids of the cases that were stored in a conversation, by a model's call or by measurement."""
    from langchain_core.messages import ToolMessage

    found: list[str] = []
    for message in messages:
        if isinstance(message, ToolMessage):
            if message.name == "record_feedback" and message.status == "success":
                found += [id for kept in kept_results([message]) for id in kept.ids]
        elif text := message.additional_kwargs.get(ANSWER):
            answer = Answer.model_validate_json(text)
            if answer.intent == "feedback" and answer.answered:
                found += [id for claim in answer.claims[:1] for id in claim.evidence]
    return [id for id in found if id.startswith("case:")]


def _arguments(tool: Callable[..., Result]) -> type[BaseModel]:
    """The arguments of a tool as a model, without the subject."""
    hints = get_type_hints(tool)
    fields: dict[str, Any] = {
        name: (hints[name], ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in list(inspect.signature(tool).parameters.items())[1:]
    }
    return create_model(f"Arguments of {tool.__name__}", **fields)
