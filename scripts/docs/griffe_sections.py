"""Let griffe read this project's docstrings: in sections, ``name : text`` on one line.

numpydoc would take what follows the colon for a type. Types stand in the signatures here, so the text is
moved to where numpydoc expects it: below the name, indented.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_SECTION = re.compile(r"^(Parameters|Raises|Yields|Returns|Attributes)\n-+\n", re.MULTILINE)
_ITEM = re.compile(r"^(\*{0,2}[A-Za-z_]\w*(?:, \*{0,2}[A-Za-z_]\w*)*) : (.+)$")


class Sections(griffe.Extension):
    """Rewrites the sections of every docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:  # noqa: ANN401
        """Called for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = rewritten(obj.docstring.value)


def rewritten(text: str) -> str:
    """A docstring with its sections as numpydoc writes them."""
    if not _SECTION.search(text):
        return text
    lines: list[str] = []
    inside = False
    rows = text.split("\n")
    for number, line in enumerate(rows):
        underlined = number + 1 < len(rows) and re.fullmatch(r"-{3,}", rows[number + 1]) is not None
        if underlined:
            inside = line in ("Parameters", "Raises", "Attributes")
        found = _ITEM.match(line) if inside else None
        lines += [found[1], f"    {found[2]}"] if found else [line]
    return "\n".join(lines)
