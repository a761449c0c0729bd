"""What is seen is data: text from files, pictures and people goes into a prompt inside a fence.

A fence is ``<data kind="…">``, the text, ``</data>``. Inside, every ``<`` and ``>`` is written as ``&lt;``
and ``&gt;``, so no text can close its fence, and the control tokens of chat templates (``<|im_start|>``,
``<image>``, ``</s>``, ``[INST]``) are never read as such by a tokeniser.
"""

from __future__ import annotations

import re
import unicodedata

MOST_CHARACTERS = 4000
"""What is longer is cut, and says so."""

_BRACKET_TOKEN = re.compile(r"\[(?=/?[A-Z][A-Z_]*\])")


class Fenced(str):
    """Text that has been made safe and goes into a prompt as it is."""

    __slots__ = ()


def defuse(text: str) -> Fenced:
    """Write out what a tokeniser or a reader could take for something else; the rest stays as it is.

    Angle brackets become entities, the bracket of ``[INST]``-like tokens too, and characters that nobody sees
    (except line feeds and tabs) become ``\\u`` codes. Text that is already safe is returned unchanged.
    """
    if isinstance(text, Fenced):
        return text
    plain = text.replace("\r\n", "\n").replace("<", "&lt;").replace(">", "&gt;")
    plain = _BRACKET_TOKEN.sub("&#91;", plain)
    return Fenced("".join(char if _is_seen(char) else f"\\u{ord(char):04x}" for char in plain))


def fence(text: str, kind: str, limit: int = MOST_CHARACTERS) -> Fenced:
    """Fence text as data.

    Parameters
    ----------
    text : anything; longer than ``limit`` characters it is cut.
    kind : what it is, in our words ("file name"), never text from elsewhere.
    """
    cut = len(text) - limit
    shown = defuse(text[:limit]) + (f" … ({cut} more characters)" if cut > 0 else "")
    return Fenced(f'<data kind="{kind}">\n{shown}\n</data>')


def _is_seen(char: str) -> bool:
    category = unicodedata.category(char)  # C: control, format, surrogate, private, unassigned; Z: separators
    return char in "\n\t" or (category[0] != "C" and category not in ("Zl", "Zp"))
