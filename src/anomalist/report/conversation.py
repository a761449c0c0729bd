"""A conversation as Markdown, and the report of the pictures that it is about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anomalist.report.markdown import literal, write_markdown
from anomalist.types import Answer, Claim, Record
from anomalist.writing import write_whole

MOST_IN_A_PARAGRAPH = 4
"""Sentences; more are a list."""

MOST_IDS = 3
"""Ids that are named behind a sentence."""


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
        lines += [f"> {literal(answer.question)}", "", *answer_lines(answer), ""]
        for note in answer.notes:
            lines += [f"*{literal(note)}*", ""]
        if answer.dropped:
            lines += [f"*Left out, for lack of evidence: {len(answer.dropped)}*", ""]
    return lines


def answer_lines(answer: Answer) -> list[str]:
    """An answer as a paragraph, or as a list where it has many sentences; its options; what would help."""
    if answer.letter is not None or not answer.claims:
        told = " ".join(literal(text) for text in (answer.text, answer.helps) if text)
        options = [literal(f"{o.letter}: {o.text} ({o.probability:.0%})") for o in answer.options]
        return [told, *(["", *(f"- {option}" for option in options)] if options else [])]
    first, *others = map(_sentence, answer.claims)
    helps = [literal(answer.helps)] if answer.helps else []
    if len(others) < MOST_IN_A_PARAGRAPH:
        return [" ".join([first, *others, *helps])]
    return [first, "", *(f"- {sentence}" for sentence in others), *(["", *helps] if helps else [])]


def _sentence(claim: Claim) -> str:
    """A sentence with the ids that it does not name itself."""
    cited = [id for id in claim.evidence if id not in claim.text]
    if not cited:
        return literal(claim.text)
    more = f" and {len(cited) - MOST_IDS} more" if len(cited) > MOST_IDS else ""
    return f"{literal(claim.text)} {literal('[' + ', '.join(cited[:MOST_IDS]) + more + ']')}"
