"""From what a model wrote to a checked reply, or to the reason why it is none. A label is never guessed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

LONGEST_REPLY = 100_000
"""Bytes in UTF-8; whatever is longer is refused unread."""

PROBLEMS_TOLD = 5
"""Complaints that are told to the model; more would only confuse it."""

CUT_SHORT = "its JSON is not complete, it breaks off."

_THINKING = re.compile(r"\A\s*<think>.*?(?:</think>|\Z)", re.DOTALL)

_OPENING = re.compile(r'\{(?=\s*["}])')

T = TypeVar("T", bound=BaseModel)


class ReplyError(ValueError):
    """A reply that can't be used; the message says why, in words that the model can act on."""


def read_reply(text: str, schema: type[T]) -> T:
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
    for found in _objects(text):
        try:
            value = schema.model_validate(found)
        except ValidationError as error:
            problems.append(_complaints(error))
        else:
            fitting += [value] if value not in fitting else []
    if len(fitting) > 1:
        raise ReplyError("it holds more than one answer, and they differ.")
    if not fitting:
        # A whole part of an object that breaks off is not what is wrong with it.
        broken = _broken(text)
        raise ReplyError(problems[0] if problems and broken != CUT_SHORT else broken)
    return fitting[0]


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a text that lie in no other one, in their order.

    Once an object that starts at the outermost level is broken, what lies inside it still turns up; it
    doesn't have the form that is asked for, so it is refused by that.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_unique, strict=False)
    start = _OPENING.search(text)
    while start:
        try:
            found, end = decoder.raw_decode(text, start.start())
            json.dumps(found, ensure_ascii=False).encode()  # a lone surrogate can't be stored
            yield found
        except RecursionError as error:
            raise ReplyError("its JSON is nested too deeply.") from error
        except (json.JSONDecodeError, UnicodeEncodeError):
            end = start.end()
        start = _OPENING.search(text, end)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make the dict of an object; json alone would silently take the last of two equal keys."""
    keys = [key for key, _ in pairs]
    if len(keys) != len(set(keys)):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ReplyError(f"the key {twice[:40]!r} is given twice in one object.")
    return dict(pairs)


def _broken(text: str) -> str:
    """Say what is wrong with the first object of a text that holds none to use."""
    start = text.find("{")
    if start < 0:
        return "it holds no JSON object."
    try:
        json.JSONDecoder(strict=False).raw_decode(text, start)
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
            return CUT_SHORT
        return f"its JSON is broken: {error.msg}."
    return "it holds characters that can't be stored."


def _complaints(error: ValidationError) -> str:
    """Put what pydantic found into a line, by place in the reply; what the model wrote is not repeated."""
    lines = []
    for details in error.errors(include_input=False, include_url=False, include_context=False):
        place = ".".join(str(part)[:40] for part in details["loc"]) or "the object"
        lines.append(f"{place}: {details['msg'][:1].lower()}{details['msg'][1:]}")
    more = len(lines) - PROBLEMS_TOLD
    shown = "; ".join(lines[:PROBLEMS_TOLD])
    return f"{shown}; and {more} more." if more > 0 else f"{shown}."
