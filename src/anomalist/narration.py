"""What a model writes, as it writes it, made readable: the sentences of its JSON, one by one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

_STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"\s*([:,}\]])')
"""A complete JSON string and what follows it; a colon means that it was a key."""

LONGEST = 4000
"""Characters that are kept waiting for the end of a sentence."""


class Narration:
    """Hears a streamed reply in pieces and passes on each sentence in it once it is complete.

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
        for found in _STRING.finditer(self._waiting):
            end = found.end() - 1
            if found.group(2) != ":":
                self._pass_on(found.group(1))
        self._waiting = self._waiting[end:][-LONGEST:]

    def _pass_on(self, escaped: str) -> None:
        try:
            text = json.loads(f'"{escaped}"', strict=False)
        except ValueError:
            return
        sentence = "".join(c if c.isprintable() else " " for c in text).strip()
        if len(sentence.split()) > 2:
            self._tell(sentence)
