"""Structured output: ask a chat model for JSON by a pydantic schema, validate it, retry with the reason.

Messages carry prompts as text and pictures as LangChain's standard image blocks. A reply is parsed strictly:
a label is never guessed, and a reply that does not fit goes back to the model with the reason. While it is
streamed, the sentences in its JSON can be passed on one by one.
"""

from __future__ import annotations

import base64
import io
import json
import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage
from pydantic import BaseModel, ValidationError

from anomalist.errors import AnomalistError, ModelError
from anomalist.prompts.templates import Prompt, escape_text, render
from anomalist.types.common import UInt8Array

PROMPT_KEY = "prompt"
"""Under this name a message carries the id of its prompt, for whoever replays; it is not sent anywhere."""


def image_block(pixels: UInt8Array) -> dict[str, Any]:
    """Encode uint8 (H, W, 3), RGB, as a PNG in a standard content block."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)  # it is not kept: fast before small
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return {"type": "image", "base64": encoded, "mime_type": "image/png"}


def system_message(prompt: Prompt) -> SystemMessage:
    """Make the message that sets the rules."""
    return SystemMessage(prompt.text, additional_kwargs={PROMPT_KEY: prompt.id})


def user_message(prompt: Prompt, pictures: Sequence[UInt8Array] = ()) -> HumanMessage:
    """Make a message of pictures, in this order, and the prompt after them.

    Parameters
    ----------
    prompt : what is asked.
    pictures : uint8 (H, W, 3) each, any size.
    """
    content: list[str | dict[Any, Any]] = [
        *(image_block(pixels) for pixels in pictures),
        {"type": "text", "text": prompt.text},
    ]
    return HumanMessage(content=content, additional_kwargs={PROMPT_KEY: prompt.id})


def retry_message(prompt: Prompt, messages: Sequence[BaseMessage]) -> HumanMessage:
    """Make the message that sends a reply to ``messages`` back; it still stands for the same question."""
    return HumanMessage(prompt.text, additional_kwargs={PROMPT_KEY: prompt_id(messages)})


def model_message(text: str) -> AIMessage:
    """Make a message of what the model said before, without anything that a tokeniser takes for a command."""
    return AIMessage(escape_text(text))


def prompt_id(messages: Sequence[BaseMessage]) -> str | None:
    """Return the id of the prompt that is to be answered, or None where there is none."""
    asked = [message.additional_kwargs.get(PROMPT_KEY) for message in messages if message.type == "human"]
    return asked[-1] if asked else None


LONGEST_REPLY = 100_000
"""Bytes in UTF-8; whatever is longer is refused unread."""

MAX_PROBLEMS = 5
"""Complaints that are told to the model; more would only confuse it."""

TRUNCATED_JSON = "its JSON is not complete, it breaks off."

_THINKING = re.compile(r"\A\s*<think>.*?(?:</think>|\Z)", re.DOTALL)

_OBJECT_START = re.compile(r'\{(?=\s*["}])')

T = TypeVar("T", bound=BaseModel)


class ReplyError(ValueError):
    """A reply that can't be used; the message says why, in words that the model can act on."""


def parse_reply(text: str, schema: type[T]) -> T:
    """Find the one JSON object that fits ``schema`` in a reply.

    Prose and code fences around it are skipped, and so is a leading ``<think>`` block. Two objects that fit
    and differ are two answers, which is none. A key that is given twice in one object is refused too.

    Parameters
    ----------
    text : the raw reply.
    schema : the form that was asked for.

    Raises
    ------
    ReplyError : empty, too long, without JSON, cut short, not in this form, or more than one answer.
    """
    if len(text.encode(errors="replace")) > LONGEST_REPLY:
        raise ReplyError(f"it is longer than {LONGEST_REPLY:,} bytes.")
    text = _THINKING.sub("", text)
    if not text.strip():
        raise ReplyError("it is empty.")
    fitting: list[T] = []
    problems: list[str] = []
    for found in _json_objects(text):
        try:
            value = schema.model_validate(found)
        except ValidationError as error:
            problems.append(_validation_problems(error))
        else:
            fitting += [value] if value not in fitting else []
    if len(fitting) > 1:
        raise ReplyError("it holds more than one answer, and they differ.")
    if not fitting:
        # A whole part of an object that breaks off is not what is wrong with it.
        broken = _json_problem(text)
        raise ReplyError(problems[0] if problems and broken != TRUNCATED_JSON else broken)
    return fitting[0]


def _json_objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a text that lie in no other one, in their order.

    Once an object that starts at the outermost level is broken, what lies inside it still turns up; it
    doesn't have the form that is asked for, so it is refused by that.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_reject_duplicate_keys, strict=False)
    start = _OBJECT_START.search(text)
    while start:
        try:
            found, end = decoder.raw_decode(text, start.start())
            json.dumps(found, ensure_ascii=False).encode()  # a lone surrogate can't be stored
            yield found
        except RecursionError as error:
            raise ReplyError("its JSON is nested too deeply.") from error
        except (json.JSONDecodeError, UnicodeEncodeError):
            end = start.end()
        start = _OBJECT_START.search(text, end)


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make the dict of an object; json alone would silently take the last of two equal keys."""
    keys = [key for key, _ in pairs]
    if len(keys) != len(set(keys)):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ReplyError(f"the key {twice[:40]!r} is given twice in one object.")
    return dict(pairs)


def _json_problem(text: str) -> str:
    """Say what is wrong with the first object of a text that holds none to use."""
    start = text.find("{")
    if start < 0:
        return "it holds no JSON object."
    try:
        json.JSONDecoder(strict=False).raw_decode(text, start)
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
            return TRUNCATED_JSON
        return f"its JSON is broken: {error.msg}."
    return "it holds characters that can't be stored."


def _validation_problems(error: ValidationError) -> str:
    """Put what pydantic found into a line, by place in the reply; what the model wrote is not repeated."""
    lines = []
    for details in error.errors(include_input=False, include_url=False, include_context=False):
        place = ".".join(str(part)[:40] for part in details["loc"]) or "the object"
        lines.append(f"{place}: {details['msg'][:1].lower()}{details['msg'][1:]}")
    more = len(lines) - MAX_PROBLEMS
    shown = "; ".join(lines[:MAX_PROBLEMS])
    return f"{shown}; and {more} more." if more > 0 else f"{shown}."


RETRIES = 2
RETRY_PROMPT = "retry.v1"

LONGEST_REMINDER = 2000
"""Characters of an unusable reply that the model is shown again."""

Listener = Callable[[str], None]


@dataclass(frozen=True)
class StructuredReply(Generic[T]):
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


def ask_structured(
    model: BaseChatModel,
    messages: Sequence[BaseMessage],
    schema: type[T],
    *,
    retries: int = RETRIES,
    timeout: float | None = None,
    listener: Listener | None = None,
) -> StructuredReply[T]:
    """Ask for a reply in the form ``schema``.

    Parameters
    ----------
    model : any LangChain chat model. It gets ``response_format`` with the JSON schema and may ignore it.
    messages : the conversation so far.
    schema : the form of the reply.
    retries : how often an unusable reply is sent back with the reason.
    timeout : seconds that one reply may take, checked whenever the model has written something.
    listener : called with each chunk of the reply as it is streamed.

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
        text = _stream_reply(model, conversation, bound, timeout, listener)
        raw.append(text)
        try:
            return StructuredReply(parse_reply(text, schema), tuple(raw), tuple(problems), tuple(sent))
        except ReplyError as problem:
            problems.append(str(problem))
        if attempt < retries:
            again = render(RETRY_PROMPT, problem=problems[-1])
            sent.append(again)
            # Only the last unusable reply is shown again, so that the conversation doesn't grow.
            reminder = model_message(text[:LONGEST_REMINDER] or "(nothing)")
            conversation = [*messages, reminder, retry_message(again, messages)]
    return StructuredReply(None, tuple(raw), tuple(problems), tuple(sent))


def response_format(schema: type[BaseModel]) -> dict[str, Any]:
    """Return the request for JSON by schema, as OpenAI-compatible servers and our local model know it."""
    described = {"name": schema.__name__, "strict": True, "schema": schema.model_json_schema()}
    return {"type": "json_schema", "json_schema": described}


def _stream_reply(
    model: BaseChatModel,
    messages: Sequence[BaseMessage],
    bound: dict[str, Any],
    timeout: float | None,
    listener: Listener | None,
) -> str:
    """Collect one streamed reply; one that gets too long is stopped there."""
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
        raise _model_failure(error) from error
    # A lone surrogate could not be stored.
    return "".join(pieces).encode(errors="replace").decode()[: LONGEST_REPLY + 1]


def _model_failure(error: Exception) -> ModelError:
    """Put what went wrong inside a model into one line."""
    if isinstance(error, MemoryError) or "outofmemory" in type(error).__name__.lower():
        return ModelError(
            "The model ran out of memory.",
            "Take a smaller or more strongly quantised one, or smaller pictures.",
        )
    said = str(error).strip().partition("\n")[0][:200]
    return ModelError(f"The model broke off: {type(error).__name__}{f': {said}' if said else ''}.")


_JSON_STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"\s*([:,}\]])')
"""A complete JSON string and what follows it; a colon means that it was a key."""

MAX_PENDING_CHARACTERS = 4000
"""Characters that are kept waiting for the end of a sentence."""


class SentenceStream:
    """Splits a streamed JSON reply into sentences and passes on each one once it is complete.

    Keys, ids and names of one or two words are left out, and so is everything that is not a JSON string.

    Parameters
    ----------
    tell : gets each sentence, without control characters: a picture may have put them into a model's mouth.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._waiting = ""

    def hear(self, piece: str) -> None:
        """Take the next piece of a reply."""
        self._waiting += piece
        end = 0
        for found in _JSON_STRING.finditer(self._waiting):
            end = found.end() - 1
            if found.group(2) != ":":
                self._pass_on(found.group(1))
        self._waiting = self._waiting[end:][-MAX_PENDING_CHARACTERS:]

    def _pass_on(self, escaped: str) -> None:
        try:
            text = json.loads(f'"{escaped}"', strict=False)
        except ValueError:
            return
        sentence = "".join(c if c.isprintable() else " " for c in text).strip()
        if len(sentence.split()) > 2:
            self._tell(sentence)
