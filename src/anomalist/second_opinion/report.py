"""A second opinion on an export: its clips triaged, and a verdict on each thing that the recorder says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pydantic import Field

from anomalist.agent.tools.claims import Status
from anomalist.errors import AnomalistError
from anomalist.ranking import ClipRanking
from anomalist.second_opinion.checking import SeenClip, SentenceOpinion, opinions_on
from anomalist.second_opinion.frigate import ClipChoice, NvrExport, NvrItem, clip_of
from anomalist.storage.files import write_atomically
from anomalist.triage import Triage
from anomalist.types.clip import ClipRecord, Track
from anomalist.types.common import Frozen, Label
from anomalist.vision.media.video import open_video
from anomalist.vision.motion.clip_tracks import clip_tracks

_MAX_MISSING = 2.0  # seconds by which a clip may be shorter than what is told

TriageClip = Callable[[Path], ClipRecord]


class ItemOpinion(Frozen):
    """What is to be said of one event or review."""

    id: str
    kind: str
    camera: str
    clip: str | None
    label: Label | None = Field(None, description="verdict of the triage on the clip")
    measured: tuple[str, ...] = Field((), description="what stood out in the clip, a sentence an event")
    opinions: tuple[SentenceOpinion, ...]

    def count(self, status: Status) -> int:
        """How many things have a verdict."""
        return sum(each.status == status for each in self.opinions)


class SecondOpinion(Frozen):
    """The second opinion on an export."""

    export: str
    scene: str | None = Field(description="that the clips were judged with; None: uncalibrated")
    items: tuple[ItemOpinion, ...]
    problems: tuple[str, ...] = Field((), description="what of the export could not be read")

    @property
    def counts(self) -> dict[str, int]:
        """How many things are borne out, contradicted, and not testable."""
        found = Counter(each.status for item in self.items for each in item.opinions)
        return {status: found[status] for status in ("borne out", "contradicted", "not testable")}


class Examiner:
    """Examines what a recorder exported.

    Parameters
    ----------
    triage : judges the clips, or ranks them where nothing was learned.
    clip : triages one file; ``triage.clip`` by itself.
    """

    def __init__(self, triage: Triage | ClipRanking, clip: TriageClip | None = None) -> None:
        self._triage = triage
        self._clip: TriageClip = clip or triage.clip
        self._seen: dict[Path, tuple[ClipRecord, tuple[Track, ...]]] = {}

    def examine(self, export: NvrExport) -> Iterator[ItemOpinion]:
        """Yield the opinion on each item; a clip that several are about is triaged once."""
        for item in export.items:
            yield self._opinion(item, clip_of(item, export.clips))

    def _opinion(self, item: NvrItem, choice: ClipChoice) -> ItemOpinion:
        if choice.clip is None:
            opinions = opinions_on(item, choice.why)
            return ItemOpinion(id=item.id, kind=item.kind, camera=item.camera, clip=None, opinions=opinions)
        record, tracks = self._measured(choice.clip)
        part = choice.part or _is_short(record, item)
        zones = self._triage.zones if isinstance(self._triage, Triage) else ()
        return ItemOpinion(
            id=item.id,
            kind=item.kind,
            camera=item.camera,
            clip=str(choice.clip),
            label=record.label,
            measured=tuple(f"{event.id}: {event.caption.text}" for event in record.events),
            opinions=opinions_on(item, SeenClip(record, tracks, zones, part)),
        )

    def _measured(self, clip: Path) -> tuple[ClipRecord, tuple[Track, ...]]:
        if clip not in self._seen:
            record = self._clip(clip)
            self._seen[clip] = record, self._tracks(clip, record)
        return self._seen[clip]

    def _tracks(self, clip: Path, record: ClipRecord) -> tuple[Track, ...]:
        """What was followed, where a scene tells how; nothing of a clip that could not be judged."""
        if record.label not in ("normal", "anomalous") or not isinstance(self._triage, Triage):
            return ()
        try:
            return clip_tracks(open_video(clip), self._triage.scene)
        except AnomalistError:  # it could be read a moment ago
            return ()


def _is_short(record: ClipRecord, item: NvrItem) -> bool:
    """Whether a clip is shorter than what is told of."""
    if record.duration is None or item.start is None or item.end is None:
        return item.end is None
    return record.duration < item.end - item.start - _MAX_MISSING


def write_opinion(opinion: SecondOpinion, folder: Path) -> Path:
    """Write ``second-opinion.json``, ``.md`` and ``.html``; DataError where that is not possible.

    Returns
    -------
    The page; it links to the report on the clips where that is beside it.
    """
    write_atomically(folder / "second-opinion.json", opinion.model_dump_json(indent=2) + "\n")
    write_atomically(folder / "second-opinion.md", opinion_text(opinion))
    report = "triage.html" if (folder / "triage.html").is_file() else ""
    return write_atomically(folder / "second-opinion.html", opinion_page(opinion, report))


def opinion_page(opinion: SecondOpinion, report: str = "") -> str:
    """The whole as a page that works offline; ``report`` is the address of the one on the clips."""
    from anomalist.report.document import PageHead, render_html

    counts = opinion.counts
    head = PageHead(
        title="Second opinion",
        headline=", ".join(f"{number} {status}" for status, number in counts.items()),
        lead="What the recorder says of its events, held against what is measured in their clips.",
        facts=(("export", opinion.export), ("judged with", opinion.scene or "no scene: uncalibrated")),
    )
    return render_html(head, "second_opinion.html.j2", {"opinion": opinion, "report": report})


def opinion_text(opinion: SecondOpinion) -> str:
    """The whole as Markdown."""
    from anomalist.report.document import escape_markdown as plain

    counts: Mapping[str, int] = opinion.counts
    judged = f"the scene {opinion.scene}" if opinion.scene else "no scene: uncalibrated"
    lines = [
        "# Second opinion",
        "",
        f"{', '.join(f'{number} {status}' for status, number in counts.items())}. Judged with {judged}.",
    ]
    lines += ["", *(f"- {plain(problem)}" for problem in opinion.problems)] if opinion.problems else []
    for item in opinion.items:
        clip = Path(item.clip).name if item.clip else "no clip"
        lines += ["", f"## {plain(item.camera)}, {item.kind} {plain(item.id)} ({plain(clip)})", ""]
        lines += [f"Measured: {plain(' '.join(item.measured))}", ""] if item.measured else []
        lines += ["| said | where | verdict | why | rests on |", "|---|---|---|---|---|"]
        for each in item.opinions:
            cells = (each.sentence, each.where, each.status, each.why, ", ".join(each.ids))
            lines.append(f"| {' | '.join(plain(cell) for cell in cells)} |")
    return "\n".join(lines) + "\n"
