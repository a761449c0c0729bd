"""A strict reader of HTML pages for tests."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "img", "input", "br", "hr", "link"}
SVG_LEAVES = {"rect", "circle", "path"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, tag: str = "", **attributes: str) -> list[Element]:
        """Every descendant of this tag whose class (or other attribute) holds the given words."""
        found = []
        for child in self.children:
            fits = all(
                value in (child.attributes.get(name.rstrip("_")) or "").split()
                for name, value in attributes.items()
            )
            found += [child] if tag in ("", child.tag) and fits else []
            found += child.all(tag, **attributes)
        return found

    def words(self) -> str:
        inner = " ".join([self.text, *(child.words() for child in self.children)])
        return re.sub(r"\s+", " ", inner).strip()


class StrictParser(HTMLParser):
    """Builds a tree and refuses tags that don't match."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SVG_LEAVES, f"<{tag}/> closes itself"
        self.open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        # Inline elements follow their text without a space; for these tests a space does no harm.
        self.open[-1].text += data


def parse(path: Path) -> Element:
    parser = StrictParser()
    parser.feed(path.read_text("utf-8"))
    parser.close()
    assert len(parser.open) == 1, f"<{parser.open[-1].tag}> is never closed"
    return parser.root
