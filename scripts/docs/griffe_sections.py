"""Let griffe read this project's docstrings: sections with ``name : text`` on one line.

numpydoc would take what follows the colon for a type. Types stand in the signatures here, so the text is
moved to where numpydoc expects it: below the name, indented. Paragraphs after a section go before it, where
numpydoc has them.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_HEADING = re.compile(r"(Parameters|Raises|Attributes|Returns|Yields|Examples)\n-{3,}(?:\n|$)")
_ITEM = re.compile(r"^(\*{0,2}[A-Za-z_]\w*(?:, \*{0,2}[A-Za-z_]\w*)*) : (.+)$", re.MULTILINE)


class Sections(griffe.Extension):
    """Rewrites the sections of every docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:  # noqa: ANN401
        """Called for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = rewritten(obj.docstring.value)


def rewritten(text: str) -> str:
    """A docstring with its sections as numpydoc writes them."""
    prose: list[str] = []
    sections: list[str] = []
    for paragraph in re.split(r"\n[ \t]*\n", text):
        listed = _ITEM.match(paragraph) or paragraph.startswith(" ")
        if _HEADING.match(paragraph) or (sections and listed):
            sections.append(_ITEM.sub(r"\1\n    \2", paragraph))
        else:
            prose.append(paragraph)
    return "\n\n".join(prose + sections)
