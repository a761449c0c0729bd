"""The audit log: search, decisions step by step, verification, replay and export."""

from __future__ import annotations

import io
import tempfile
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import Field

from anomalist.audit.decision import decision_steps
from anomalist.audit.export import export_bundle
from anomalist.audit.log import ENTRY_KINDS
from anomalist.audit.page import write_decision_page
from anomalist.audit.reading import LogEntry, Search, find_entry, verify_log
from anomalist.audit.replay import Replayer
from anomalist.audit.rows import entry_row, replay_row
from anomalist.errors import DataError
from anomalist.memory.cases import acting_as
from anomalist.server.access import MayAudit, ServicesOf
from anomalist.server.problems import NotFoundError, RequestError
from anomalist.server.routes.pictures import HTML, html_file
from anomalist.types.common import Frozen

router = APIRouter(tags=["audit"], prefix="/audit")

EntryId = Annotated[str, Field(pattern=r"^[0-9]{1,12}(-[0-9a-f]{4,64})?$|^[0-9a-f]{6,64}$")]
Moment = Annotated[str, Field(pattern=r"^[0-9TZ:.+-]{0,40}$")]


class EntryQuery(Frozen):
    """What is looked for; everything given must fit."""

    text: str = Field("", max_length=200)
    kind: Literal["", *ENTRY_KINDS] = ""  # type: ignore[valid-type]
    since: Moment = ""
    until: Moment = ""
    label: Literal["", "normal", "anomalous", "undecided", "error"] = ""
    profile: str = Field("", max_length=120)
    offset: int = Field(0, ge=0, le=10_000_000)
    limit: int = Field(50, ge=1, le=500)


class EntryLine(Frozen):
    """One line of the list of entries."""

    id: str
    position: int
    kind: str
    time: str
    source: str
    said: str
    outcome: str
    actor: str


class EntryLines(Frozen):
    """Entries, the newest first."""

    entries: tuple[EntryLine, ...]
    total: int


class DecisionStep(Frozen):
    """One step from the picture to the label."""

    number: int
    title: str
    lines: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]


class EntryDetails(Frozen):
    """An entry with its body; of a decision, how it came about."""

    entry: dict[str, Any]
    steps: tuple[DecisionStep, ...]


class VerificationResult(Frozen):
    """What was changed, is missing, was moved, inserted or cut off."""

    sound: bool
    log: str
    entries: int
    segments: int
    signatures: int
    removed: int
    withheld: int
    head: str
    keys: tuple[str, ...]
    findings: tuple[str, ...]
    notes: tuple[str, ...]


class ReplayBody(Frozen):
    """Which decisions are taken again; ``today`` uses what is there today in place of what was used then."""

    ids: tuple[EntryId, ...] = Field(min_length=1, max_length=50)
    today: bool = False


class ExportBody(Frozen):
    """Which entries go along with their content."""

    ids: tuple[EntryId, ...] = Field(min_length=1, max_length=2000)
    profiles: bool = True


@router.get("/entries", summary="Search the audit log")
def search_entries(services: ServicesOf, _: MayAudit, asked: Annotated[EntryQuery, Query()]) -> EntryLines:
    """The newest first."""
    search = Search(
        asked.text,
        (asked.kind,) if asked.kind else (),
        asked.since,
        asked.until,
        asked.label,
        asked.profile,
    )
    page = services.audit.search(search, asked.offset, asked.limit)
    lines = (EntryLine(**{name: getattr(row, name) for name in EntryLine.model_fields}) for row in page.rows)
    return EntryLines(entries=tuple(lines), total=page.total)


@router.get("/entries/{id}", summary="Get an entry")
def get_entry(_: MayAudit, id: EntryId) -> EntryDetails:
    """With its whole body, and the steps of a decision."""
    entry = found_entry(id)
    return EntryDetails(entry=entry_row(entry), steps=steps_of(entry))


def steps_of(entry: LogEntry) -> tuple[DecisionStep, ...]:
    """How a decision came about; nothing of other entries."""
    if not is_decision(entry):
        return ()
    return tuple(
        DecisionStep(
            number=step.number, title=step.title, lines=tuple(step.lines), versions=tuple(step.versions)
        )
        for step in decision_steps(entry)
    )


def found_entry(id: str) -> LogEntry:
    """An entry of the log. Raises NotFoundError."""
    try:
        return find_entry(id)
    except DataError as error:
        raise NotFoundError(error.message, error.remedy) from error


def is_decision(entry: LogEntry) -> bool:
    """Whether an entry is a decision whose content is there."""
    return entry.kind in ("inspection", "clip") and entry.body is not None


@router.get("/entries/{id}/page", summary="The decision page", response_class=Response, responses=HTML)
def get_decision_page(services: ServicesOf, _: MayAudit, id: EntryId) -> Response:
    """One page on how a decision came about; it is taken again for its pictures."""
    entry = found_entry(id)
    if not is_decision(entry):
        raise RequestError(f"{entry.id} is no decision, or its content was removed.")

    def work() -> bytes:
        with tempfile.TemporaryDirectory(prefix="anomalist-") as folder:
            return write_decision_page(entry, Path(folder) / "decision.html").read_bytes()

    return html_file(services.lane.submit(work).result())


@router.post("/verify", summary="Verify the log")
def verify(_: MayAudit) -> VerificationResult:
    """The whole log and its media."""
    found = verify_log()
    fields = asdict(found) | {"findings": tuple(map(str, found.findings)), "sound": found.sound}
    return VerificationResult(**{name: fields[name] for name in VerificationResult.model_fields})


@router.post("/replay", summary="Take decisions again")
def replay(services: ServicesOf, _: MayAudit, body: ReplayBody) -> list[dict[str, Any]]:
    """Says what is equal, what differs and why; no model is asked."""
    entries = [found_entry(id) for id in body.ids]
    if wrong := next((entry for entry in entries if not is_decision(entry)), None):
        raise RequestError(f"{wrong.id} is no decision, or its content was removed.")

    def work() -> list[dict[str, Any]]:
        again = Replayer()
        return [replay_row(again.replay(entry, today=body.today)) for entry in entries]

    rows: list[dict[str, Any]] = services.lane.submit(work).result()
    return rows


@router.post(
    "/export",
    summary="Export a bundle",
    response_class=Response,
    responses={200: {"content": {"application/zip": {}}}},
)
def export(caller: MayAudit, body: ExportBody) -> Response:
    """A ZIP file for an outsider, with a verifier of one file that needs no packages."""
    entries = [found_entry(id) for id in body.ids]
    buffer = io.BytesIO()
    with tempfile.TemporaryDirectory(prefix="anomalist-") as folder, acting_as(caller.name):
        bundle = export_bundle(Path(folder) / "bundle", entries, profiles=body.profiles)
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(path for path in bundle.rglob("*") if path.is_file()):
                archive.write(file, file.relative_to(bundle.parent))
    headers = {"content-disposition": 'attachment; filename="audit-bundle.zip"'}
    return Response(buffer.getvalue(), media_type="application/zip", headers=headers)
