"""Canonical JSON (RFC 8785) at the speed of the standard library, and redaction of fields.

Python's encoder already writes strings, literals and most numbers as RFC 8785 wants them. Numbers that it
writes otherwise go through `rfc8785`, one by one.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection
from typing import Any

from anomalist.errors import DataError

REDACTED = "[redacted]"
"""Stands for a text whose field is on the redaction list; anything else of such a field becomes null."""
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LONG_NUMBER = re.compile("[0-9]{16}")
_SAFE_INTEGER = 2**53
_EXPONENT_FROM = 1e16
"""From here on Python writes whole numbers with an exponent."""


def canonical_json(value: Any, redact: Collection[str] = ()) -> bytes:  # noqa: ANN401
    """The bytes of a value as RFC 8785 wants them; the same value gives the same bytes everywhere.

    What JSON can't hold is replaced: numbers that are not finite by null, integers beyond 2⁵³ by text, lone
    surrogates (file names that aren't text) by ``\\udcXX``.

    Parameters
    ----------
    value : of what `json.dumps` writes.
    redact : names of fields, at any depth, whose content is left out.

    Raises
    ------
    DataError : for a type that JSON doesn't know.
    """
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise DataError(f"The audit log can't hold this: {error}.") from error
    text = _SURROGATE.sub(lambda found: f"\\\\u{ord(found[0]):04x}", text)
    mark = secrets.token_hex(8)

    def number(written: str) -> float | int | str:
        value = float(written)
        if value.is_integer() and -_EXPONENT_FROM < value < _EXPONENT_FROM:
            return int(value)
        return value if "e" not in written else _marked(mark, value)

    def integer(written: str) -> int | str:
        value = int(written)
        return value if -_SAFE_INTEGER < value < _SAFE_INTEGER else written

    hook = _redaction(redact) if redact else None
    clean = json.loads(
        text,
        parse_float=number,
        parse_int=integer if _LONG_NUMBER.search(text) else None,
        parse_constant=lambda _: None,
        object_pairs_hook=hook,
    )
    if _ASTRAL.search(text):  # names of fields may then sort otherwise
        return _canonical_by_library(clean, mark)
    dumped = json.dumps(clean, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    first, *others = dumped.split(f'"{mark}:')
    return "".join([first, *(part.replace('"', "", 1) for part in others)]).encode()


def _marked(mark: str, value: float) -> str:
    import rfc8785

    return f"{mark}:{rfc8785.dumps(value).decode()}"


def _canonical_by_library(value: Any, mark: str) -> bytes:  # noqa: ANN401
    import rfc8785

    def restored(each: Any) -> Any:  # noqa: ANN401
        if isinstance(each, str) and each.startswith(f"{mark}:"):
            return float(each.partition(":")[2])
        if type(each) is int and abs(each) >= _SAFE_INTEGER:
            return float(each)
        if isinstance(each, list):
            return [restored(item) for item in each]
        return {key: restored(item) for key, item in each.items()} if isinstance(each, dict) else each

    return rfc8785.dumps(restored(value))


def _redaction(redact: Collection[str]) -> Any:  # noqa: ANN401
    def hook(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {
            key: (REDACTED if isinstance(each, str) else None) if key in redact else each
            for key, each in pairs
        }

    return hook
