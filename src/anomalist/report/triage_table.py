"""The ranked list of a triage in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from anomalist.clips import ClipRecord
from anomalist.report.alerts import Alert
from anomalist.report.triage_words import clip_names, severity, span
from anomalist.report.unjudged import unjudged_of
from anomalist.report.wording import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

MOST_ROWS = 25
"""Alerts, and things not judged, that are shown; the report has them all."""

_COLOURS = ("dim", "yellow", "dark_orange", "red", "bold magenta")


def triage_table(alerts: Sequence[Alert], records: Sequence[ClipRecord]) -> RenderableType:
    """The alerts as a table, what to watch first on top, and under it all that could not be judged."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    place, names = clip_names(records)
    named = {record.source: name for record, name in zip(records, names, strict=True)}
    table = Table(title=Text(place) if place else None, title_justify="left", title_style="dim")
    table.add_column("", justify="right")
    for heading in ("severity", "clip", "time", "what"):
        table.add_column(heading, overflow="fold")
    for alert in alerts[:MOST_ROWS]:
        what = Text(printable(alert.caption))
        if alert.watched:
            what.append(f" Asked for: {printable(', '.join(alert.watched))}.", "bold cyan")
        if alert.times > 1:
            what.append(f" Seen {alert.times} times.", "dim")
        level = Text(severity(alert.severity), _COLOURS[alert.severity])
        when = span(alert.start, alert.end)
        table.add_row(alert.id[1:], level, Text(named.get(alert.source, alert.source)), when, what)
    parts: list[RenderableType] = [table] if alerts else [Text("Nothing stood out.", "green")]
    if len(alerts) > MOST_ROWS:
        parts.append(Text(f"And {len(alerts) - MOST_ROWS:,} more in the report.", "dim"))
    open_points = unjudged_of(records)
    for item in open_points[:MOST_ROWS]:
        when = "".join(f" {span(*stretch)}" for stretch in item.spans[:3])
        when += " …" if len(item.spans) > 3 else ""
        name = f"{named.get(item.source, item.source)}{when}"
        parts.append(Text.assemble(("not judged  ", "yellow"), f"{name}: {printable(item.why)}"))
    if len(open_points) > MOST_ROWS:
        parts.append(Text(f"And {len(open_points) - MOST_ROWS:,} more in the report.", "dim"))
    return Group(*parts)
