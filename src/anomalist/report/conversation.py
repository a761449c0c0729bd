"""A conversation as Markdown, and the report of the pictures that it is about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anomalist.report.markdown import literal, write_markdown
from anomalist.report.writing import write_whole
from anomalist.types import Answer, Record


def save(answers: Sequence[Answer], records: Sequence[Record], folder: Path, name: str) -> tuple[Path, ...]:
    """Write ``conversation.md``, and ``report.md`` where there are pictures; returns their paths.

    Raises DataError when they can't be written.
    """
    lines = [f"# {literal(name)}", "", *conversation_lines(answers)]
    written = [write_whole(folder / "conversation.md", "\n".join(lines).rstrip() + "\n")]
    if records:
        written.append(write_markdown(records, folder / "report.md"))
    return tuple(written)


def conversation_lines(answers: Sequence[Answer]) -> list[str]:
    """Questions as quotes, answers below them with the ids that each sentence rests on."""
    lines: list[str] = []
    for answer in answers:
        lines += [f"> {literal(answer.question)}", "", answer_paragraph(answer), ""]
        lines += [f"*{literal(note)}*\n" for note in answer.notes]
        if answer.dropped:
            lines += [f"*Left out, for lack of evidence: {len(answer.dropped)}*", ""]
    return lines


def answer_paragraph(answer: Answer) -> str:
    """The sentences of an answer, each with its ids; what would help where it is not answered."""
    if answer.letter is not None or not answer.claims:
        parts = [literal(answer.text)]
    else:
        parts = [
            f"{literal(claim.text)} {literal('[' + ', '.join(claim.evidence) + ']')}"
            for claim in answer.claims
        ]
    parts += [literal(answer.helps)] if answer.helps else []
    return " ".join(parts)
