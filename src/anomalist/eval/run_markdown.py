"""Saved runs as a page of Markdown: every figure from the runs, beside the command that gives them."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

from anomalist import __version__
from anomalist.eval.run_page import plain_figures, shown_figures
from anomalist.eval.saved_runs import SavedRun
from anomalist.storage.files import write_atomically

TITLES = {
    "detection": "Pictures",
    "video": "Video",
    "mmad": "MMAD",
    "reasons": "Reasons",
    "checks": "Checks in context",
    "reference": "Pictures with a reference",
    "questions": "Kinds of defects, by ten cases each",
    "sentences": "Sentences",
    "captions": "Captions",
}
"""Headings by benchmark, in order."""


def write_markdown(
    runs: Sequence[SavedRun],
    target: Path,
    skipped: Sequence[tuple[str, str]] = (),
    only: Sequence[str] = (),
) -> Path:
    """Write the page; returns the file.

    Parameters
    ----------
    runs : in any order.
    target : the file, which is replaced.
    skipped : sets that were not measured, with the reason.
    only : names of the sets that were asked for; none for all.

    Raises
    ------
    DataError : it can't be written.
    """
    return write_atomically(target, "\n".join(_lines(runs, skipped, only)) + "\n")


def _lines(
    runs: Sequence[SavedRun], skipped: Sequence[tuple[str, str]], only: Sequence[str]
) -> Iterator[str]:
    yield "# Benchmarks: every set, by one command"
    yield ""
    yield "Written by the command itself; nothing here is typed."
    yield ""
    yield "```"
    yield " ".join(
        ("anomalist eval all --data $ANOMALIST_DATA --out results", *(f"--only {n}" for n in only))
    )
    yield "```"
    yield ""
    yield (
        f"Version {__version__}, {processor()}, {os.cpu_count()} cores. In brackets: 95 % intervals by "
        "bootstrap over groups. Times are of the clock, whatever else ran."
    )
    for benchmark, title in TITLES.items():
        for run in sorted((each for each in runs if each.benchmark == benchmark), key=lambda each: each.name):
            yield from ("", f"## {title}: {run.name}", "", "| figure | value |", "|---|---|")
            rows = _rows(run)
            yield from (f"| {table_cell(name)} | {table_cell(text)} |" for name, text in rows)
            notes = run.result.get("notes") or ()
            yield from ("", *(f"- {table_cell(str(note))}" for note in notes)) if notes else ()
    if skipped:
        yield from ("", "## Not measured", "")
        yield from (f"- {table_cell(name)}: {table_cell(why)}" for name, why in skipped)


def _rows(run: SavedRun) -> list[tuple[str, str]]:
    if run.benchmark in ("detection", "video"):
        return list(shown_figures(run.result))
    if run.benchmark == "reasons":
        return [
            (each["name"], share_cell(each["share"], each["interval"], each["of"]))
            for each in run.result["shares"]
        ]
    if run.benchmark == "mmad":
        return [
            (name, share_cell(each["value"], each["interval"], each["n"]))
            for name, each in run.result["ours"]["by_subtask"].items()
        ]
    if run.benchmark == "questions":
        return [
            (f"{each['subtask']}: {each['measure']}", share_cell(each["value"], each["interval"], each["n"]))
            for each in run.result["results"]
        ]
    return list(plain_figures(run.result))


def share_cell(value: float | None, interval: Sequence[float] | None, of: int) -> str:
    """A share of so many, 0 to 1, with its interval."""
    if value is None:
        return "–"
    span = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    return f"{value:.3f}{span} of {of}"


def table_cell(text: str) -> str:
    """Text within a table: on one line, without what would end the cell or start a link or code."""
    plain = " ".join(text.split())
    for mark in "\\`|[]<>*_":
        plain = plain.replace(mark, f"\\{mark}")
    return plain


def processor() -> str:
    """The processor, as it calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
