"""What an id in an answer stands for, opened: a crop for a region, a frame for an event, else words."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from anomalist.agent.chat.chat import Chat
from anomalist.agent.tools.looking import compare_with_normal, show_findings, zoom
from anomalist.agent.tools.remembering import list_rules
from anomalist.agent.tools.subject import Subject
from anomalist.agent.tools.watching import frame_at
from anomalist.clips import EVENT_ID
from anomalist.errors import AnomalistError, DataError
from anomalist.memory.cases import CaseStore
from anomalist.types import REGION_ID, SEVERITIES

KNOWN = "Ids look like R1, E2, case:12, rule:7, or score."


def open_evidence(chat: Chat, wanted: str, folder: Path) -> str:
    """Show what an id rests on, in a line or two; pictures are written to ``folder`` and named.

    Parameters
    ----------
    wanted : an id, with the name of a picture or clip where several are open: "R1", "R2 in part.png".

    Raises
    ------
    DataError : no such id, it is open which picture is meant, or the picture is gone or has changed.
    """
    id, _, rest = wanted.strip().partition(" ")
    subject = replace(chat.meant(rest or "it"), crops=folder)
    if re.fullmatch(REGION_ID, id, re.I):
        return _region(subject, id.upper())
    if re.fullmatch(EVENT_ID, id, re.I):
        record, event = subject.event(id)
        frame = frame_at(subject, event.peak, record.source)
        return f"{event.id} at its peak, {event.peak:.1f} s: {event.caption.text}\n{frame.file}"
    if id.startswith("case:"):
        return _case(subject, id)
    if id.startswith("rule:"):
        for rule in list_rules(subject).rules:
            if rule.rule == id:
                return f"{id} ({rule.polarity}, severity {rule.severity}): {rule.text}"
        raise DataError(f"There is no {id}.", KNOWN)
    if id == "score":
        return _score(subject)
    raise DataError(f"There is nothing called {id[:40]!r}.", KNOWN)


def _region(subject: Subject, id: str) -> str:
    """A region beside what is normal there, where that is known, else by itself."""
    try:
        beside = compare_with_normal(subject, id)
        text = f"{id} on the left, {beside.against} on the right."
        return f"{text}\n{beside.file}"
    except AnomalistError:
        looked = zoom(subject, id)
        return f"{id} with its surroundings.\n{looked.file}"


def _case(subject: Subject, id: str) -> str:
    from anomalist.settings import Settings

    with CaseStore(subject.cases or Settings().home / "cases.sqlite") as store:
        case = store.get(id)
    parts = [f"{case.id}: {case.source}, {case.action} by {case.who} at {case.created}"]
    parts += [case.kind] if case.kind else []
    parts += [f"severity {SEVERITIES[case.severity]}"] if case.severity is not None else []
    parts += [f"undone by {case.undone_by} at {case.undone}"] if case.undone else []
    return "\n".join(filter(None, [f"{', '.join(parts)}.", case.note, case.text]))


def _score(subject: Subject) -> str:
    found = show_findings(subject)
    parts = [f"score {found.score:.3g}"] if found.score is not None else ["no score"]
    parts += [f"threshold {found.threshold:.3g}"] if found.threshold is not None else []
    parts += [f"p = {found.p_value:.3g}"] if found.p_value is not None else []
    if found.calibration is not None:
        parts.append(f"calibrated on {found.calibration.normals} normal pictures")
    return f"{found.picture}: {', '.join(parts)}."
