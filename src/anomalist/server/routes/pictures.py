"""Inspecting pictures, and everything about inspected ones: lists, figures, feedback, runs, queries."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Query, UploadFile
from fastapi.responses import FileResponse, Response
from pydantic import ConfigDict, Field

from anomalist.agent.tools.memory import record_feedback, undo_feedback
from anomalist.agent.tools.subject import Subject
from anomalist.audit.recording import record_feedback_case
from anomalist.memory.cases import Case, CaseStore, acting_as
from anomalist.querying.query import QueryResult
from anomalist.querying.runs import query
from anomalist.report.document import report_security_policy
from anomalist.report.figures import resolve_inside
from anomalist.runs import refresh_clip_report, refresh_picture_report
from anomalist.server import figures
from anomalist.server.access import MayView, MayWork, ServicesOf
from anomalist.server.inspecting import Basis
from anomalist.server.problems import NotFoundError, RequestError, TooLargeError
from anomalist.server.services import Services
from anomalist.server.store import Inspected, Listing
from anomalist.server.talks import run_folder
from anomalist.server.uploads import allowed_path
from anomalist.storage.artifacts import composed_name
from anomalist.storage.run_folder import RECORDS
from anomalist.types.common import Frozen
from anomalist.types.image import Record

router = APIRouter(tags=["pictures"])

InspectionId = Annotated[str, Field(pattern=r"^[0-9a-f]{1,32}$")]
RegionId = Annotated[str, Field(pattern=r"^R[1-9]\d{0,5}$")]
RunName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,79}$")]
_SIDE = Query(ge=32, le=2400)


class InspectedPicture(Frozen):
    """An inspected picture."""

    id: str
    run: str
    owner: str
    name: str
    record: Record

    @classmethod
    def of(cls, inspected: Inspected) -> InspectedPicture:
        """As it is told."""
        return cls(
            id=inspected.id,
            run=inspected.run,
            owner=inspected.owner,
            name=inspected.name,
            record=inspected.record,
        )


class InspectedPictures(Frozen):
    """Some inspected pictures; ``next`` is the ``after`` of the next page, where there is one."""

    inspections: tuple[InspectedPicture, ...]
    total: int
    next: str | None = None


class UploadForm(Frozen):
    """Base of forms that come with files, which are parameters of their own."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class InspectOptions(UploadForm):
    """What pictures are compared with; without a profile each with itself alone."""

    profile: str | None = Field(None, max_length=100)
    false_alarm_rate: float | None = Field(None, gt=0, lt=1)

    def basis(self, model: str, reference: Path | None) -> Basis:
        """What pictures are compared with. Raises RequestError unless it is one thing."""
        profile = plain_profile(self.profile)
        if reference is not None and (profile or self.false_alarm_rate):
            raise RequestError(
                "A reference takes the place of a profile, and decides at no false-alarm rate.",
                "Give the reference alone, or the profile.",
            )
        return Basis(profile, self.false_alarm_rate, reference, model)


class InspectPaths(InspectOptions):
    """Pictures that lie on the server, in its allowed folders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    paths: tuple[str, ...] = Field(min_length=1, max_length=100)
    reference: str | None = Field(None, max_length=4000, description="a good picture, in place of a profile")


class ListQuery(Frozen):
    """What is listed; everything given must fit."""

    run: str = ""
    outcome: Literal["", "normal", "anomalous", "undecided", "error"] = ""
    profile: str = ""
    text: str = Field("", max_length=200)
    limit: int = Field(50, ge=1, le=200)
    after: str = Field("", max_length=80, description="`next` of the page before")


class FeedbackBody(Frozen):
    """What a person says about a finding; it changes no verdict, later pictures like it will cite it."""

    judgement: Literal["confirmed", "normal", "corrected"]
    kind: str | None = Field(None, max_length=80)
    severity: int | None = Field(None, ge=0, le=4)
    region: RegionId | None = None
    note: str = Field("", max_length=2000)


class QueryBody(Frozen):
    """A query over runs of this server, as in ``label=anomalous by kind``."""

    runs: tuple[RunName, ...] = Field(min_length=1, max_length=50)
    query: str = Field(min_length=1, max_length=2000)


class RunRow(Frozen):
    """A run of pictures, and when the last one was inspected."""

    name: str
    pictures: int
    time: float


@router.post("/inspections", summary="Inspect uploaded pictures")
async def inspect_uploads(
    services: ServicesOf,
    caller: MayWork,
    files: Annotated[list[UploadFile], File(description="pictures")],
    options: Annotated[InspectOptions, Form()],
    reference: Annotated[
        UploadFile | None, File(description="a good picture of the same thing, in place of a profile")
    ] = None,
) -> InspectedPictures:
    """Keep and inspect pictures; each becomes a record, with its error where it can't be judged.

    Too many requests at a time get 429, with ``Retry-After``.
    """
    if len(files) > services.config.max_files:
        raise TooLargeError(f"{services.config.max_files} files at most come at once.")

    def keep() -> list[Path]:
        named = files if reference is None else [*files, reference]
        return [services.uploads.keep_picture(file.filename, file.file) for file in named]

    paths = await asyncio.to_thread(keep)
    good = None if reference is None else paths.pop()
    return await _inspect(services, options.basis(services.config.model, good), paths, caller.name)


@router.post("/inspections/paths", summary="Inspect pictures that lie on the server")
async def inspect_paths(services: ServicesOf, caller: MayWork, body: InspectPaths) -> InspectedPictures:
    """Inspect single pictures in the allowed folders; whole folders are a job."""
    paths = [allowed_path(path, services.config) for path in body.paths]
    if folder := next((path for path in paths if path.is_dir()), None):
        raise RequestError(f"{folder.name} is a folder.", "Begin a job: POST /v1/jobs/inspect")
    basis = body.basis(services.config.model, named_reference(services, body.reference))
    return await _inspect(services, basis, paths, caller.name)


def named_reference(services: Services, path: str | None) -> Path | None:
    """The good picture that a request names, in the allowed folders. Raises RequestError for a folder."""
    if not path:
        return None
    reference = allowed_path(path, services.config)
    if not reference.is_file():
        raise RequestError(f"{reference.name} is no picture.", "Name one good picture.")
    return reference


async def _inspect(services: Services, basis: Basis, paths: list[Path], owner: str) -> InspectedPictures:
    future = services.inspections.inspect(basis, paths, owner)
    services.metrics.waiting.set(len(services.lane))
    done = await asyncio.wrap_future(future)
    return InspectedPictures(inspections=tuple(map(InspectedPicture.of, done)), total=len(done))


def plain_profile(name: str | None) -> str | None:
    """The name of a profile; None for an empty one. Raises RequestError for a path."""
    if not name:
        return None
    if "/" in name or "\\" in name or name.startswith(".") or "\x00" in name:
        raise RequestError("A profile is named, not given by its path.")
    return composed_name(name)


@router.get("/inspections", summary="List inspected pictures")
def list_inspections(
    services: ServicesOf, _: MayView, asked: Annotated[ListQuery, Query()]
) -> InspectedPictures:
    """The newest first."""
    listing = Listing(
        run=asked.run,
        outcome=asked.outcome,
        profile=asked.profile,
        text=asked.text.replace("\x00", ""),
        most=asked.limit,
        after=_after(asked.after),
    )
    page = services.store.page(listing)
    following = None if page.next is None else f"{page.next[0]!r}_{page.next[1]}"
    return InspectedPictures(
        inspections=tuple(map(InspectedPicture.of, page.rows)), total=page.total, next=following
    )


def _after(text: str) -> tuple[float, str] | None:
    if not text:
        return None
    time, _, id = text.partition("_")
    try:
        return float(time), id.replace("\x00", "")
    except ValueError:
        raise RequestError("That is no place in the list.", "Take `next` of the page before.") from None


@router.get("/inspections/{id}", summary="Get an inspected picture")
def get_inspection(services: ServicesOf, _: MayView, id: InspectionId) -> InspectedPicture:
    """With its whole record."""
    return InspectedPicture.of(services.store.get(id))


JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}
PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}}
HTML: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {}}}}


def image(content: bytes, kind: str) -> Response:
    """A picture that never changes under its address."""
    return Response(content, media_type=kind, headers={"cache-control": "private, max-age=3600"})


@router.get("/inspections/{id}/picture", summary="The picture", response_class=Response, responses=JPEG)
def get_picture(
    services: ServicesOf, _: MayView, id: InspectionId, side: Annotated[int, _SIDE] = figures.MAX_SIDE
) -> Response:
    """As JPEG, its longer side at most ``side`` pixels; small ones are not enlarged."""
    return image(figures.picture_jpeg(services.store.get(id), services.runs, side), "image/jpeg")


@router.get("/inspections/{id}/heat", summary="The anomaly map", response_class=Response, responses=PNG)
def get_heat(
    services: ServicesOf, _: MayView, id: InspectionId, side: Annotated[int, _SIDE] = figures.MAX_SIDE
) -> Response:
    """As PNG in colours, transparent where it is low."""
    return image(figures.heat_png(services.store.get(id), services.runs, side), "image/png")


@router.get("/inspections/{id}/regions/{region}", summary="A region", response_class=Response, responses=JPEG)
def get_region(services: ServicesOf, _: MayView, id: InspectionId, region: RegionId) -> Response:
    """With its surroundings, as JPEG."""
    return image(figures.region_jpeg(services.store.get(id), services.runs, region), "image/jpeg")


@router.get(
    "/inspections/{id}/regions/{region}/normal",
    summary="What is normal there",
    response_class=Response,
    responses=JPEG,
)
def get_normal(services: ServicesOf, _: MayView, id: InspectionId, region: RegionId) -> Response:
    """The nearest normal patch of a region, as JPEG."""
    inspected = services.store.get(id)
    figures.find_region(inspected, region)
    work = services.lane.submit(lambda: figures.normal_jpeg(inspected, services.inspections.loaded, region))
    return image(work.result(), "image/jpeg")


@router.post("/inspections/{id}/feedback", summary="Say what is right")
def give_feedback(services: ServicesOf, caller: MayWork, id: InspectionId, body: FeedbackBody) -> Case:
    """Store a judgement on a picture, or on one of its regions."""
    record = services.store.get(id).record
    with acting_as(caller.name):
        stored = record_feedback(
            Subject(records=(record,)), body.judgement, body.kind, body.severity, body.region, body.note
        )
        return _kept_case(stored.case, undone=False)


@router.delete("/feedback/{case}", summary="Take feedback back")
def take_back(
    services: ServicesOf, caller: MayWork, case: Annotated[str, Field(pattern=r"^case:[1-9]\d{0,8}$")]
) -> Case:
    """The case stays as undone."""
    with acting_as(caller.name):
        undone = undo_feedback(Subject(), case)
        return _kept_case(undone.case, undone=True)


def _kept_case(id: str, *, undone: bool) -> Case:
    """A case, written into the audit log."""
    with CaseStore() as cases:
        said = cases.with_parts(id)
    record_feedback_case(*said, undone=undone)
    return said[0]


@router.get("/runs", summary="List runs of pictures")
def list_runs(services: ServicesOf, _: MayView) -> list[RunRow]:
    """The newest first."""
    return [RunRow(name=name, pictures=number, time=time) for name, number, time in services.store.runs()]


@router.post("/query", summary="Query runs")
def run_query(services: ServicesOf, _: MayView, body: QueryBody) -> QueryResult:
    """Filter, group, count, share, mean, trend, compare: the same as ``anomalist query``."""
    return query([run_folder(services.runs, name) for name in body.runs], body.query)


@router.get("/runs/{run}/report", summary="The report of a run", response_class=Response, responses=HTML)
def get_report(services: ServicesOf, _: MayView, run: RunName) -> Response:
    """Written again from its records, as a page."""
    folder = run_folder(services.runs, run)
    if (folder / RECORDS).is_file():
        page = refresh_picture_report(folder, title=f"Inspection report {run}")
    else:
        page = refresh_clip_report(folder)
    return html_file(page.read_bytes())


def html_file(content: bytes) -> Response:
    """A page of the reports, which styles itself and runs one script of its own at most."""
    headers = {
        "content-security-policy": f"{report_security_policy()}; frame-ancestors 'none'; base-uri 'none'; "
        "form-action 'none'"
    }
    return Response(content, media_type="text/html; charset=utf-8", headers=headers)


_SHOWN = {".jpg": "image/jpeg", ".png": "image/png", ".mp4": "video/mp4"}


@router.get("/runs/{run}/{kind}/{name}", summary="A picture or clip of a run", response_class=FileResponse)
def get_file(
    services: ServicesOf,
    _: MayView,
    run: RunName,
    kind: Literal["frames", "clips", "masks"],
    name: Annotated[str, Field(pattern=r"^[\w.-]{1,160}$")],
) -> FileResponse:
    """A key frame, a short clip or a mask, as records name them."""
    path = resolve_inside(run_folder(services.runs, run) / kind, name)
    if path.suffix not in _SHOWN or not _is_file(path):
        raise NotFoundError("There is no such file.")
    return FileResponse(path, media_type=_SHOWN[path.suffix])


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False
