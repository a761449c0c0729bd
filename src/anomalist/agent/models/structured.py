"""Structured output: ask a chat model for JSON by a pydantic schema, validate it, retry with the reason.

Messages carry prompts as text and pictures as LangChain's standard image blocks. Replies are parsed strictly:
a label is never guessed, and an invalid reply goes back to the model with the reason. While a reply is
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
"""Key of the prompt's id in a message's ``additional_kwargs``, for scripted models; it isn't sent."""


def image_block(pixels: UInt8Array) -> dict[str, Any]:
    """Encode a picture, uint8 (H, W, 3), RGB, as a PNG in a standard content block."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(
        buffer, "PNG", compress_level=1
    )  # not stored, so speed matters more than size
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return {"type": "image", "base64": encoded, "mime_type": "image/png"}


def system_message(prompt: Prompt) -> SystemMessage:
    """Make the system message."""
    return SystemMessage(prompt.text, additional_kwargs={PROMPT_KEY: prompt.id})


def user_message(prompt: Prompt, pictures: Sequence[UInt8Array] = ()) -> HumanMessage:
    """Make a human message of pictures, in this order, followed by the prompt.

    Parameters
    ----------
    prompt : the rendered prompt.
    pictures : uint8 (H, W, 3) each, any size.
    """
    content: list[str | dict[Any, Any]] = [
        *(image_block(pixels) for pixels in pictures),
        {"type": "text", "text": prompt.text},
    ]
    return HumanMessage(content=content, additional_kwargs={PROMPT_KEY: prompt.id})


def retry_message(prompt: Prompt, messages: Sequence[BaseMessage]) -> HumanMessage:
    """Make the message that sends an invalid reply to ``messages`` back, under the id of the same prompt."""
    return HumanMessage(prompt.text, additional_kwargs={PROMPT_KEY: prompt_id(messages)})


def model_message(text: str) -> AIMessage:
    """Make an AI message of an earlier reply, with control tokens escaped."""
    return AIMessage(escape_text(text))


def prompt_id(messages: Sequence[BaseMessage]) -> str | None:
    """Return the id of the last prompt, or None where there is none."""
    ids = [message.additional_kwargs.get(PROMPT_KEY) for message in messages if message.type == "human"]
    return ids[-1] if ids else None


LONGEST_REPLY = 100_000
"""Longest reply that is parsed, bytes in UTF-8."""

MAX_PROBLEMS = 5
"""Validation errors that the model is told; more would only confuse it."""

TRUNCATED_JSON = "its JSON is not complete, it breaks off."

MAX_DIGITS = 18
"""Digits of a whole number in a reply; longer ones are runaway repetition, and can't be stored."""

_THINKING = re.compile(r"\A\s*<think>.*?(?:</think>|\Z)", re.DOTALL)

_OBJECT_START = re.compile(r'\{(?=\s*["}])')

T = TypeVar("T", bound=BaseModel)


class ReplyError(ValueError):
    """An invalid reply; the message goes back to the model."""


def parse_reply(text: str, schema: type[T]) -> T:
    """Parse the one JSON object in a reply that is valid by ``schema``.

    Prose and code fences around it are skipped, and so is a leading ``<think>`` block. Two different valid
    objects, or duplicate keys in one object, are an error.

    Parameters
    ----------
    text : the raw reply.
    schema : the expected form.

    Raises
    ------
    ReplyError : the reply is empty, too long, without JSON, truncated, invalid or ambiguous.
    """
    if len(text.encode(errors="replace")) > LONGEST_REPLY:
        raise ReplyError(f"it is longer than {LONGEST_REPLY:,} bytes.")
    text = _THINKING.sub("", text)
    if not text.strip():
        raise ReplyError("it is empty.")
    valid: list[T] = []
    problems: list[str] = []
    for found in _json_objects(text):
        try:
            value = schema.model_validate(found)
        except ValidationError as error:
            problems.append(_validation_problems(error))
        else:
            valid += [value] if value not in valid else []
    if len(valid) > 1:
        raise ReplyError("it holds more than one answer, and they differ.")
    if not valid:
        # Of a truncated object, a complete inner object is not the problem to report.
        broken = _json_problem(text)
        raise ReplyError(problems[0] if problems and broken != TRUNCATED_JSON else broken)
    return valid[0]


def _json_objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the outermost JSON objects of a text, in order.

    Of a malformed object, its inner objects are yielded instead; the schema refuses these.
    """
    decoder = json.JSONDecoder(
        object_pairs_hook=_reject_duplicate_keys, parse_int=_short_integer, strict=False
    )
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
    """Object hook that refuses duplicate keys, of which json would silently take the last."""
    keys = [key for key, _ in pairs]
    if len(keys) != len(set(keys)):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ReplyError(f"the key {twice[:40]!r} is given twice in one object.")
    return dict(pairs)


def _short_integer(digits: str) -> int:
    """Integer hook that refuses numbers beyond 64 bits; `int` itself raises for very long ones."""
    if len(digits) > MAX_DIGITS:
        raise ReplyError(f"a whole number in it has more than {MAX_DIGITS} digits.")
    return int(digits)


def _json_problem(text: str) -> str:
    """Why the first JSON object of a text is invalid, for a text without a valid one."""
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
    """Validation errors as one line, by location in the reply, without the model's input."""
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
"""Characters of an invalid reply that are sent back."""

Listener = Callable[[str], None]


@dataclass(frozen=True)
class StructuredReply(Generic[T]):
    """A validated reply, or the reasons why there is none.

    Parameters
    ----------
    value : the validated reply; None when no attempt gave one.
    raw : every raw reply in order; ``value`` is from the last one.
    problems : why each of the others was invalid.
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
    """Ask a chat model for a reply by a schema; invalid replies are sent back with the reason.

    Parameters
    ----------
    model : any LangChain chat model. It gets ``response_format`` with the JSON schema and may ignore it.
    messages : the conversation so far.
    schema : pydantic model of the reply.
    retries : how often an invalid reply is sent back.
    timeout : seconds that one reply may take, checked at every chunk.
    listener : called with each chunk of the reply as it is streamed.

    Raises
    ------
    ModelError : the model can't be reached, failed, ran out of memory or timed out.
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
            # Only the last invalid reply is sent back, so that the conversation doesn't grow.
            reminder = model_message(text[:LONGEST_REMINDER] or "(nothing)")
            conversation = [*messages, reminder, retry_message(again, messages)]
    return StructuredReply(None, tuple(raw), tuple(problems), tuple(sent))


def response_format(schema: type[BaseModel]) -> dict[str, Any]:
    """Return the OpenAI-style ``response_format`` for a JSON schema."""
    json_schema = {"name": schema.__name__, "strict": True, "schema": schema.model_json_schema()}
    return {"type": "json_schema", "json_schema": json_schema}


def _stream_reply(
    model: BaseChatModel,
    messages: Sequence[BaseMessage],
    bound: dict[str, Any],
    timeout: float | None,
    listener: Listener | None,
) -> str:
    """Collect one streamed reply; stops at `LONGEST_REPLY`."""
    deadline = None if timeout is None else time.monotonic() + timeout
    pieces: list[str] = []
    length, late = 0, False
    try:
        stream = cast("Generator[AIMessageChunk]", model.stream(list(messages), **bound))
        with closing(stream):  # closing stops the model, also after a timeout or ctrl-c
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
    except Exception as error:  # libraries of models raise anything
        raise _model_failure(error) from error
    # Lone surrogates can't be stored.
    return "".join(pieces).encode(errors="replace").decode()[: LONGEST_REPLY + 1]


def _model_failure(error: Exception) -> ModelError:
    """A `ModelError` of one line for an error inside a model."""
    if isinstance(error, MemoryError) or "outofmemory" in type(error).__name__.lower():
        return ModelError(
            "The model ran out of memory.",
            "Take a smaller or more strongly quantised one, or smaller pictures.",
        )
    reason = str(error).strip().partition("\n")[0][:200]
    return ModelError(f"The model broke off: {type(error).__name__}{f': {reason}' if reason else ''}.")


_JSON_STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"\s*([:,}\]])')
"""A complete JSON string and the character after it; a colon means that it is a key."""

MAX_PENDING_CHARACTERS = 4000
"""Characters that are buffered for the end of a sentence."""


class SentenceStream:
    """Extracts the sentences of a streamed JSON reply and passes on each one once it is complete.

    JSON strings of one or two words (ids, names), keys and everything that is no JSON string are left out.

    Parameters
    ----------
    listener : called with each sentence, without control characters, which text in a picture may cause.
    """

    def __init__(self, listener: Callable[[str], None]) -> None:
        self._listener = listener
        self._buffer = ""

    def feed(self, piece: str) -> None:
        """Add the next piece of a streamed reply."""
        self._buffer += piece
        end = 0
        for found in _JSON_STRING.finditer(self._buffer):
            end = found.end() - 1
            if found.group(2) != ":":
                self._pass_on(found.group(1))
        self._buffer = self._buffer[end:][-MAX_PENDING_CHARACTERS:]

    def _pass_on(self, escaped: str) -> None:
        try:
            text = json.loads(f'"{escaped}"', strict=False)
        except ValueError:
            return
        sentence = "".join(c if c.isprintable() else " " for c in text).strip()
        if len(sentence.split()) > 2:
            self._listener(sentence)
