"""What is on record, put into lines for a language model, and the ids that it may cite."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from anomalist.agent.chat.focus import sources_of
from anomalist.agent.chat.tooling import Kept
from anomalist.agent.tools.subject import Subject
from anomalist.clips import ClipRecord
from anomalist.types import SEVERITIES, Record

MOST_LISTED = 30
"""Pictures and clips that are listed; the others can be searched."""

MOST_IDS = 80


def told(subject: Subject, meant: Subject) -> str:
    """One line a picture or clip, and the sentences of the verdict of the one that is meant.

    Parameters
    ----------
    subject : everything that the conversation is about.
    meant : the same, narrowed to what the question means.
    """
    lines = [*map(_line, subject.records), *map(_line, subject.clips)]
    shown = lines[:MOST_LISTED]
    if len(lines) > len(shown):
        shown.append(f"and {len(lines) - len(shown)} more, which search_records finds")
    sources = sources_of(meant)
    if len(sources) == 1:
        shown.append(f"The question is taken to be about {Path(sources[0]).name}:")
        claims = [claim for record in meant.records for claim in record.claims]
        claims += [claim for clip in meant.clips for event in clip.events for claim in event.claims]
        shown += [f"- {claim.text} [{', '.join(claim.evidence)}]" for claim in claims[:MOST_LISTED]]
    return "\n".join(shown)


def ids_of(meant: Subject, kept: Iterable[Kept]) -> list[str]:
    """Ids of what is meant, then of what tools returned."""
    ids = ["score"]
    for record in meant.records:
        ids.append(Path(record.source).name)
        if len(meant.records) == 1:
            ids += [region.id for region in record.regions] + [item.id for item in record.recall]
    for clip in meant.clips:
        ids.append(Path(clip.source).name)
        if len(meant.clips) == 1:
            ids += [event.id for event in clip.events]
    ids += [id for result in kept for id in result.ids]
    return list(dict.fromkeys(ids))[:MOST_IDS]


def _line(record: Record | ClipRecord) -> str:
    name = Path(record.source).name
    if record.status == "error":
        return f"{name}: could not be judged: {record.error}"
    if isinstance(record, ClipRecord):
        return f"{name}: {record.label}, {len(record.events)} events"
    parts = [str(record.label)]
    parts += [f"severity {SEVERITIES[record.severity]}"] if record.severity else []
    parts += [record.kind] if record.kind else []
    parts += [f"score {record.score:.3g}"] if record.score is not None else []
    parts += [f"p {record.p_value:.3g}"] if record.p_value is not None else []
    parts += [f"regions {', '.join(region.id for region in record.regions[:12])}"] if record.regions else []
    return f"{name}: {', '.join(parts)}"
