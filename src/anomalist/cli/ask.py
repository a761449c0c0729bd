"""``anomalist ask``: one question about a picture, a run or a clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomalist.cli.terminal import EXIT_NOT_JUDGED, RateOption
from anomalist.errors import DataError

if TYPE_CHECKING:
    from anomalist.agent.asking.run_decisions import Plan
    from anomalist.types.common import Answer


def ask(
    what: Annotated[
        Path,
        typer.Argument(metavar="IMAGE|CLIP|RUN", help="A picture, a clip, or a folder written by --out."),
    ],
    question: Annotated[
        str,
        typer.Argument(
            help='In plain words, in English; options may follow: "Where is it? A) left B) right".'
        ),
    ],
    options: Annotated[
        list[str] | None,
        typer.Option(help="An option to choose from; repeat it. Letters are given in order."),
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="What was learned: a profile for a picture, a scene for a clip.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Instead of a profile: one good picture of the same thing.")
    ] = None,
    picture: Annotated[
        str | None, typer.Option(help="Which picture or clip of a run; all when left out.")
    ] = None,
    false_alarm_rate: RateOption = None,
    aql: Annotated[
        float | None,
        typer.Option(help="Of a batch: accept it by ISO 2859-1, normal inspection, at this AQL in per cent."),
    ] = None,
    level: Annotated[str, typer.Option(help="Inspection level for --aql: I, II, III, S-1 to S-4.")] = "II",
    sample: Annotated[
        int | None, typer.Option(help="Of a batch: a plan of one's own looks at so many pieces,", min=1)
    ] = None,
    accept: Annotated[
        int | None, typer.Option(help="… and accepts it with so many bad ones among them at most.", min=0)
    ] = None,
    crops: Annotated[Path | None, typer.Option(help="Folder for the closer looks that were taken.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of text.")] = False,
) -> None:
    """Ask about a picture, a run or a clip: whether something is wrong, where, why, how sure, how large, …

    Answers come from what was measured; each sentence names what it rests on. Exits with 3 when a question
    can't be answered.
    """
    from dataclasses import replace

    from anomalist.agent.asking.answering import answer
    from anomalist.agent.asking.question import read_question
    from anomalist.audit.probes import probe_results
    from anomalist.audit.recording import record_answer, record_said_feedback
    from anomalist.subjects import load_subject

    read_question(question)  # refused before the long work
    plan = _plan(aql, level, sample, accept)
    subject = load_subject(what, profile, reference, picture, false_alarm_rate)
    subject = replace(subject, crops=crops, probes=probe_results)
    reply = answer(subject, question, options or (), plan=plan)
    record_said_feedback(reply, subject.case_file)
    record_answer(reply, profile)
    print(reply.model_dump_json() if json else format_answer(reply))
    if not reply.answered:
        raise typer.Exit(EXIT_NOT_JUDGED)


def _plan(aql: float | None, level: str, sample: int | None, accept: int | None) -> Plan | None:
    """The acceptance plan that the options set."""
    from anomalist.agent.asking.run_decisions import AcceptancePlan, OwnPlan

    if (sample is None) != (accept is None):
        raise DataError("A plan of one's own needs both numbers.", "For instance: --sample 50 --accept 1")
    if sample is None or accept is None:
        return None if aql is None else AcceptancePlan(aql, level)
    if aql is not None:
        raise DataError("Which plan?", "Give --aql, or --sample and --accept.")
    return OwnPlan(sample, accept)


def format_answer(reply: Answer) -> str:
    """An answer as text, with what each sentence rests on in brackets."""
    lines = [f"({reply.reading})"] if reply.reading else []
    if reply.letter is not None or not reply.claims:
        lines.append(reply.text)
    lines += [f"{claim.text} [{', '.join(claim.evidence)}]" for claim in reply.claims if reply.letter is None]
    lines += [f"  {option.letter}. {option.text} ({option.probability:.0%})" for option in reply.options]
    lines += _table_lines(reply.table)
    lines += [reply.helps] if reply.helps else []
    lines += [f"  {number}. {choice}" for number, choice in enumerate(reply.choices, start=1)]
    lines += [f"  anomalist query RUN '{reply.query}'"] if reply.query and reply.answered else []
    lines += [f"Note: {note}" for note in reply.notes]
    lines += [f"Left out, for lack of evidence: {len(reply.dropped)}"] if reply.dropped else []
    return "\n".join(lines)


def _table_lines(table: Sequence[Sequence[str]]) -> list[str]:
    """Headings and rows in columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
