"""Report document: the content of one report of pictures or clips, and its rendering in HTML and Markdown.

A view makes a `ReportDocument` of stored records. The HTML page, the Markdown file and the table in the
terminal render it. Pictures and plots are on the HTML page only; the view gives them beside the document.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from pydantic import Field

from anomalist import __version__
from anomalist.report import wording
from anomalist.report.wording import TROUBLES, count, format_time_span, outcome, printable
from anomalist.types.clip import ClipRecord
from anomalist.types.common import Claim, Frozen
from anomalist.types.image import Record
from anomalist.vision.media.decoding import MAX_TIMESTAMP_LEAP

if TYPE_CHECKING:
    from jinja2 import Environment

RecordT = TypeVar("RecordT", Record, ClipRecord)

MIN_GAP_SECONDS = 1.0
"""Shortest gap of a clip that is reported, seconds; the first frame never has a score."""

TimeSpan = tuple[float, float]
UnjudgedKind = Literal["error", "undecided", "camera", "no score"]
_KIND_ORDER: tuple[UnjudgedKind, ...] = ("error", "undecided", "camera", "no score")


class Unjudged(Frozen):
    """A picture or clip, or stretches of a clip, about which nothing can be said."""

    source: str
    kind: UnjudgedKind
    why: str
    spans: tuple[TimeSpan, ...] = Field((), description="where nothing is known, seconds; none: all of it")


def find_unjudged(records: Sequence[Record] | Sequence[ClipRecord]) -> tuple[Unjudged, ...]:
    """List all that could not be judged, the worst first; the order of the records doesn't matter.

    Pictures are listed for an error only: undecided ones are among the findings.
    """
    found = [item for record in records for item in _unjudged_of(record)]
    return tuple(sorted(found, key=lambda item: (_KIND_ORDER.index(item.kind), item.source, item.why)))


def unjudged_spans(record: ClipRecord) -> list[TimeSpan]:
    """Time spans without a score, in order: gaps of the curve, and camera trouble."""
    times = [time for time, _ in record.curve]
    ends = [*times[1:], clip_duration(record)]
    unscored = [(time, end) for (time, score), end in zip(record.curve, ends, strict=False) if score is None]
    unscored += [(trouble.start, trouble.end) for trouble in record.troubles]
    troubled = [(trouble.start, trouble.end) for trouble in record.troubles]
    return [
        gap for gap in merge_spans(unscored) if gap[1] - gap[0] >= MIN_GAP_SECONDS or _overlaps(gap, troubled)
    ]


def merge_spans(spans: Iterable[TimeSpan]) -> list[TimeSpan]:
    """Merge time spans that touch or overlap; sorted by start."""
    done: list[TimeSpan] = []
    for start, end in sorted(spans):
        if done and start <= done[-1][1] + 1e-6:
            done[-1] = (done[-1][0], max(done[-1][1], end))
        else:
            done.append((start, end))
    return done


def clip_duration(record: ClipRecord) -> float:
    """Duration of a clip in seconds, as its file says or as far as it was decoded; 0 where unknown.

    Gaps that the clock leaps over are not filmed, and no part of it.
    """
    gaps = [jump.seconds or 0.0 for jump in record.jumps if jump.kind == "gap"]
    unfilmed = sum(gap for gap in gaps if gap > MAX_TIMESTAMP_LEAP)
    seen = [event.end for event in record.events] + [trouble.end for trouble in record.troubles]
    seen += [record.curve[-1][0]] if record.curve else []
    return max([(record.duration or 0.0) - unfilmed, *seen])


def _unjudged_of(record: Record | ClipRecord) -> Iterator[Unjudged]:
    result = outcome(record)
    if result == "error":
        why = record.error or "There is no verdict, and no reason was recorded."
        yield Unjudged(source=record.source, kind="error", why=why)
    if isinstance(record, Record):
        return
    if result == "undecided":
        why = record.why_undecided or "No reason was recorded."
        yield Unjudged(source=record.source, kind="undecided", why=why, spans=tuple(unjudged_spans(record)))
        return
    for kind in sorted({trouble.kind for trouble in record.troubles}):
        spans = merge_spans((t.start, t.end) for t in record.troubles if t.kind == kind)
        why = f"{TROUBLES[kind][0].upper()}{TROUBLES[kind][1:]}."
        yield Unjudged(source=record.source, kind="camera", why=why, spans=tuple(spans))
    for look in sorted({each.kind for each in record.other_pictures}):
        spans = merge_spans((each.start, each.end) for each in record.other_pictures if each.kind == look)
        why = f"The picture was {look}, unlike what was learned: only fast things were looked for."
        yield Unjudged(source=record.source, kind="camera", why=why, spans=tuple(spans))
    troubled = [(trouble.start, trouble.end) for trouble in record.troubles]
    troubled += [(each.start, each.end) for each in record.other_pictures]
    unscored = tuple(gap for gap in unjudged_spans(record) if not _overlaps(gap, troubled))
    if unscored:
        yield Unjudged(source=record.source, kind="no score", why="No score is known there.", spans=unscored)


def _overlaps(span: TimeSpan, others: Iterable[TimeSpan]) -> bool:
    return any(start <= span[1] and span[0] <= end for start, end in others)


@dataclass(frozen=True)
class LinkedClaim:
    """A claim split at its evidence ids: (text, anchor or None); then ids cited but not in the text."""

    pieces: tuple[tuple[str, str | None], ...]
    cited: tuple[tuple[str, str | None], ...]
    by_model: bool


def link_evidence(claim: Claim, links: Mapping[str, str]) -> LinkedClaim:
    """Link the evidence ids in the text of a claim; "score" is also a plain word and is not linked.

    ``links`` says to which anchor each id leads.
    """
    ids = [id_ for id_ in claim.evidence if id_ != "score"]
    pattern = "|".join(rf"(?<!\w){re.escape(id_)}(?!\w)" for id_ in sorted(ids, key=len, reverse=True))
    pieces = re.split(f"({pattern})", claim.text) if ids else [claim.text]
    named = set(pieces[1::2])
    return LinkedClaim(
        pieces=tuple((piece, links.get(piece) if i % 2 else None) for i, piece in enumerate(pieces)),
        cited=tuple((id_, links.get(id_)) for id_ in claim.evidence if id_ not in named),
        by_model=claim.source == "model",
    )


@dataclass(frozen=True, eq=False)
class Section(Generic[RecordT]):
    """One picture or one clip, and where the page says all that is known of it ("" for nowhere)."""

    anchor: str
    name: str
    record: RecordT

    @property
    def outcome(self) -> str:
        """The label, or "error" where there is none."""
        return outcome(self.record)


@dataclass(frozen=True, eq=False)
class Entry(Section[RecordT]):
    """One line of the list: a picture, or an alert of a clip.

    Parameters
    ----------
    severity : 0 to 4.
    reason : one sentence on why it stands there.
    details : sentences of its paragraph in Markdown; none: it stands in the table alone.
    """

    severity: int
    reason: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class UnjudgedEntry:
    """What was not judged, by the name and anchor of its picture or clip."""

    name: str
    anchor: str
    item: Unjudged


def unjudged_entries(
    records: Sequence[Record] | Sequence[ClipRecord], sections: Sequence[Section[Any]]
) -> tuple[UnjudgedEntry, ...]:
    """Give what was not judged with the names and anchors of sections."""
    of_source = {section.record.source: section for section in sections}
    pairs = ((of_source[item.source], item) for item in find_unjudged(records))
    return tuple(UnjudgedEntry(section.name, section.anchor, item) for section, item in pairs)


@dataclass(frozen=True)
class DecisionBasis(Generic[RecordT]):
    """What some decisions rest on: how many, one record of them, and one sentence for Markdown."""

    amount: int
    record: RecordT
    sentence: str


EntryT = TypeVar("EntryT", bound=Entry[Any])
SummaryT = TypeVar("SummaryT", bound=Frozen)


@dataclass(frozen=True, eq=False)
class ReportDocument(Generic[EntryT, SummaryT]):
    """The content of a report.

    Parameters
    ----------
    title, headline, lead, open_points, counts : one line each, from the top of the report; "" is left out.
    place : the folder that all sources share, "" for none.
    records : all of them, in the order given.
    summary : counts, as the JSON file holds them.
    facts : (name, value) for the head of the page.
    entries : all pictures, the most urgent first; or the alerts of clips by rank.
    sections : what the page goes through one by one: the pictures, or the clips.
    unjudged : what needs a person, the worst first.
    bases : what the decisions rest on.
    versions, models : of anomalist, and of what gave words or opinions.
    """

    title: str
    headline: str
    lead: str
    open_points: str
    counts: str
    place: str
    records: tuple[Any, ...]
    summary: SummaryT
    facts: tuple[tuple[str, str], ...]
    entries: tuple[EntryT, ...]
    sections: tuple[Section[Any], ...]
    unjudged: tuple[UnjudgedEntry, ...]
    bases: tuple[DecisionBasis[Any], ...]
    versions: tuple[str, ...]
    models: tuple[str, ...] = ()

    @property
    def flagged(self) -> tuple[EntryT, ...]:
        """The entries that are anomalous or undecided."""
        return tuple(entry for entry in self.entries if entry.outcome in ("anomalous", "undecided"))


def sorted_unique(values: Iterable[str]) -> tuple[str, ...]:
    """Give each value once, sorted."""
    return tuple(sorted(set(values)))


def header_facts(facts: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Give (name, value) of those facts that have a value, with invisible characters shown."""
    return tuple((name, printable(value)) for name, value in facts.items() if value)


def decision_bases(
    records: Sequence[RecordT], key: Callable[[RecordT], Hashable], sentence: Callable[[RecordT], str]
) -> tuple[DecisionBasis[RecordT], ...]:
    """Group the judged records by what their decisions rest on; each group is shown by its first record."""
    groups: dict[Hashable, list[RecordT]] = {}
    for record in records:
        if outcome(record) != "error":
            groups.setdefault(key(record), []).append(record)
    return tuple(DecisionBasis(len(group), group[0], sentence(group[0])) for group in groups.values())


def template_environment() -> Environment:
    """Jinja2 environment of all pages: autoescaped, and an undefined name is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("anomalist.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["w"] = wording
    environment.filters["number"] = wording.number
    environment.filters["percent"] = wording.percent
    environment.filters["printable"] = printable
    return environment


class PageContent(Protocol):
    """What the frame of every page shows: title, headline and lead, facts, and versions at its foot."""

    @property
    def title(self) -> str:
        """Above the headline."""
        ...

    @property
    def headline(self) -> str:
        """The outcome in one line."""
        ...

    @property
    def lead(self) -> str:
        """What to know first; "" is left out."""
        ...

    @property
    def open_points(self) -> str:
        """What stays open; "" is left out."""
        ...

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """(name, value) for the head."""
        ...

    @property
    def versions(self) -> tuple[str, ...]:
        """Of anomalist."""
        ...


@dataclass(frozen=True)
class PageHead:
    """The frame of a page that is made of no records: a `PageContent`."""

    title: str
    headline: str
    lead: str
    facts: tuple[tuple[str, str], ...] = ()
    versions: tuple[str, ...] = (__version__,)
    open_points: str = ""


def render_html(
    document: PageContent,
    template: str,
    page: Mapping[str, Any],
    *,
    script: str | None = None,
    media: bool = False,
) -> str:
    """Render a page that works offline. The same document and pictures give the same text.

    Parameters
    ----------
    document : what the page says.
    template : file name of the template.
    page : pictures, plots and what else only the page shows, by the names that the template knows.
    script : file name of the one script that may run; the page is complete without it.
    media : whether short clips beside the page may be played.
    """
    environment = template_environment()
    code = environment.get_template(script).render() if script else ""
    environment.globals["script"] = code
    environment.globals["security"] = _content_security_policy(code, media=media)
    return environment.get_template(template).render(document=document, **page)


def report_security_policy() -> str:
    """The content security policy that fits every page of the reports, for a server that sends them."""
    script = template_environment().get_template("report.js").render()
    return _content_security_policy(script, media=True).replace("img-src data:", "img-src 'self' data:")


def _content_security_policy(script: str, *, media: bool) -> str:
    """Admit one inline script by its hash; nothing is loaded from elsewhere, should anything slip through."""
    parts = ["default-src 'none'", "img-src data:"]
    parts += ["media-src 'self' file:"] if media else []
    parts += ["style-src 'unsafe-inline'"]
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        parts += [f"script-src 'sha256-{digest}'"]
    return "; ".join(parts)


def escape_markdown(text: str) -> str:
    """Take Markdown's and HTML's special characters literally, on one line."""
    return re.sub(r"([\\`*_\[\]<>|~&#])", r"\\\1", printable(text))


def code_span(name: str) -> str:
    """Show a file name as code, with a fence longer than any run of backticks in it."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", name)), default=0))
    return f"{fence} {name} {fence}" if len(fence) > 1 else f"`{name}`"


@dataclass(frozen=True)
class Column(Generic[EntryT]):
    """A column of a Markdown table: its heading, and the text of an entry in it.

    ``numeric`` columns are right-aligned; ``code`` ones hold names, which are shown as code.
    """

    heading: str
    text: Callable[[EntryT], str]
    numeric: bool = False
    code: bool = False


@dataclass(frozen=True)
class MarkdownLayout(Generic[EntryT]):
    """How a view's Markdown is laid out.

    Parameters
    ----------
    columns : of the table of entries.
    entries_heading, unjudged_heading : of the two lists.
    page : file name of the HTML page, where everything is listed.
    max_rows : rows of the table, and things not judged, that are listed; None for all. The rest is counted.
    basis_unit : counted before what its decisions rest on ("3 clips."); "" for no count.
    """

    columns: tuple[Column[EntryT], ...]
    entries_heading: str
    unjudged_heading: str
    page: str
    max_rows: int | None = None
    basis_unit: str = ""


def render_markdown(document: ReportDocument[EntryT, Any], layout: MarkdownLayout[EntryT]) -> str:
    """Render GitHub-flavoured Markdown: headline, entries, what was not judged, and what decisions rest on.

    The same findings, order and reasons as on the HTML page, without pictures. All text is escaped.
    """
    lines = [f"# {escape_markdown(document.title)}", "", f"**{document.headline}.**"]
    lines += [escape_markdown(text) for text in (document.lead, document.open_points) if text] + [""]
    if document.counts:
        lines += [escape_markdown(document.counts), ""]
    if flagged := document.flagged:
        table = _markdown_table(flagged[: layout.max_rows], layout.columns)
        lines += [f"## {layout.entries_heading}", "", *table, *_more_line(flagged, layout), ""]
        for entry in flagged:
            if entry.details:
                points = [f"- {escape_markdown(sentence)}" for sentence in entry.details]
                lines += [f"### {code_span(entry.name)}", "", *points, ""]
    if document.unjudged:
        lines += [f"## {layout.unjudged_heading}", ""]
        lines += [
            f"- {code_span(each.name)}{format_spans(each.item.spans)}: {escape_markdown(each.item.why)}"
            for each in document.unjudged[: layout.max_rows]
        ]
        lines += [*_more_line(document.unjudged, layout), ""]
    lines += _basis_lines(document.bases, layout.basis_unit)
    return "\n".join(lines).rstrip() + "\n"


def _markdown_table(entries: Sequence[EntryT], columns: Sequence[Column[EntryT]]) -> Iterator[str]:
    yield f"| {' | '.join(column.heading for column in columns)} |"
    yield f"| {' | '.join('---:' if column.numeric else '---' for column in columns)} |"
    for entry in entries:
        cells = (
            code_span(column.text(entry)).replace("|", "\\|")
            if column.code
            else escape_markdown(column.text(entry))
            for column in columns
        )
        yield f"| {' | '.join(cells)} |"


def _more_line(items: Sequence[object], layout: MarkdownLayout[Any]) -> list[str]:
    rest = 0 if layout.max_rows is None else len(items) - layout.max_rows
    return ["", f"And {rest:,} more in {layout.page}."] if rest > 0 else []


def format_spans(spans: Sequence[TimeSpan]) -> str:
    """Write up to three time spans of a clip, each after a space: " 0:04–0:06 0:08–0:09 …"; "" for none."""
    shown = "".join(f" {format_time_span(start, end)}" for start, end in spans[:3])
    return shown + (" …" if len(spans) > 3 else "")


def _basis_lines(bases: Sequence[DecisionBasis[Any]], unit: str) -> Iterator[str]:
    amounts: dict[str, int] = {}
    for basis in bases:
        amounts[basis.sentence] = amounts.get(basis.sentence, 0) + basis.amount
    if amounts:
        yield "## How this was decided"
        yield ""
    for sentence, amount in amounts.items():
        yield f"- {count(amount, unit) + '. ' if unit else ''}{escape_markdown(sentence)}"
