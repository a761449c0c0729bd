"""Ask a model for a reply in a given form; one that doesn't fit goes back with the reason."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from pydantic import BaseModel

from anomalist.agent.messages import model_message, retry_message
from anomalist.agent.parsing import LONGEST_REPLY, ReplyError, read_reply
from anomalist.errors import AnomalistError, ModelError
from anomalist.prompts.rendering import Prompt, render

RETRIES = 2
RETRY = "retry.v1"

LONGEST_REMINDER = 2000
"""Characters of an unusable reply that the model is shown again."""

T = TypeVar("T", bound=BaseModel)
Listener = Callable[[str], None]


@dataclass(frozen=True)
class Reply(Generic[T]):
    """What came of asking.

    Parameters
    ----------
    value : the checked reply, or None when no try gave one.
    raw : every raw reply in its order; the last one is where ``value`` comes from.
    problems : why each of the others could not be used.
    retries : the prompts with which they were sent back.
    """

    value: T | None
    raw: tuple[str, ...]
    problems: tuple[str, ...] = ()
    retries: tuple[Prompt, ...] = ()


def ask(
    model: BaseChatModel,
    messages: Sequence[BaseMessage],
    schema: type[T],
    *,
    retries: int = RETRIES,
    timeout: float | None = None,
    listener: Listener | None = None,
) -> Reply[T]:
    """Ask for a reply in the form ``schema``.

    Parameters
    ----------
    model : any LangChain chat model. It gets ``response_format`` with the JSON schema and may ignore it.
    messages : the conversation so far.
    schema : the form of the reply.
    retries : how often an unusable reply is sent back with the reason.
    timeout : seconds that one reply may take, checked whenever the model has written something.
    listener : hears the reply piece by piece as it is written.

    Raises
    ------
    ModelError : the model can't be reached, broke off, ran out of memory or took too long.
    """
    bound = {"response_format": response_format(schema)}
    conversation = list(messages)
    raw: list[str] = []
    problems: list[str] = []
    sent: list[Prompt] = []
    for attempt in range(retries + 1):
        text = _written(model, conversation, bound, timeout, listener)
        raw.append(text)
        try:
            return Reply(read_reply(text, schema), tuple(raw), tuple(problems), tuple(sent))
        except ReplyError as problem:
            problems.append(str(problem))
        if attempt < retries:
            again = render(RETRY, problem=problems[-1])
            sent.append(again)
            # Only the last unusable reply is shown again, so that the conversation doesn't grow.
            reminder = model_message(text[:LONGEST_REMINDER] or "(nothing)")
            conversation = [*messages, reminder, retry_message(again, messages)]
    return Reply(None, tuple(raw), tuple(problems), tuple(sent))


def response_format(schema: type[BaseModel]) -> dict[str, Any]:
    """Return the request for JSON by schema, as OpenAI-compatible servers and our local model know it."""
    described = {"name": schema.__name__, "strict": True, "schema": schema.model_json_schema()}
    return {"type": "json_schema", "json_schema": described}


def _written(
    model: BaseChatModel,
    messages: Sequence[BaseMessage],
    bound: dict[str, Any],
    timeout: float | None,
    listener: Listener | None,
) -> str:
    """Collect one reply as it is written; one that gets too long is stopped there."""
    deadline = None if timeout is None else time.monotonic() + timeout
    pieces: list[str] = []
    length, late = 0, False
    try:
        stream = cast("Generator[AIMessageChunk]", model.stream(list(messages), **bound))
        with closing(stream):  # which tells the model to stop, after a time-out or ctrl-c too
            for chunk in stream:
                piece = chunk.text or chunk.additional_kwargs.get("refusal") or ""
                if late and piece:
                    raise ModelError(
                        f"The model took longer than {timeout:g} s for one reply.",
                        "Allow more time, or take a smaller model.",
                    )
                pieces.append(piece)
                length += len(piece)
                if listener is not None and piece:
                    listener(piece)
                if length > LONGEST_REPLY:
                    break
                late = deadline is not None and time.monotonic() > deadline
    except AnomalistError:
        raise
    except Exception as error:  # whatever a model's own library raises
        raise _failure(error) from error
    # A lone surrogate could not be stored.
    return "".join(pieces).encode(errors="replace").decode()[: LONGEST_REPLY + 1]


def _failure(error: Exception) -> ModelError:
    """Put what went wrong inside a model into one line."""
    if isinstance(error, MemoryError) or "outofmemory" in type(error).__name__.lower():
        return ModelError(
            "The model ran out of memory.",
            "Take a smaller or more strongly quantised one, or smaller pictures.",
        )
    said = str(error).strip().partition("\n")[0][:200]
    return ModelError(f"The model broke off: {type(error).__name__}{f': {said}' if said else ''}.")
