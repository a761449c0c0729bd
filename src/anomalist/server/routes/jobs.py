"""Jobs: learning, checking, inspecting folders and triaging clips, with their progress."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Query, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import Field

from anomalist.server.access import MayView, MayWork, ServicesOf
from anomalist.server.events import event_response, event_text
from anomalist.server.jobs import JOB_KINDS, Job, JobKind
from anomalist.server.problems import ConflictError, RequestError, TooLargeError
from anomalist.server.routes.pictures import InspectOptions, UploadForm, named_reference
from anomalist.server.routes.scenes import LearnedName
from anomalist.server.scene_zones import drawn_zones
from anomalist.server.services import Services
from anomalist.server.uploads import allowed_path
from anomalist.server.work import InspectSpec, LearnSpec, SceneSpec, TriageSpec
from anomalist.storage.artifacts import profile_path
from anomalist.types.common import Frozen

router = APIRouter(tags=["jobs"], prefix="/jobs")

JobId = Annotated[str, Field(pattern=r"^[0-9a-f]{1,32}$")]
Paths = Annotated[list[str], Field(max_length=100)]

_POLL = 0.3


class JobStatus(Frozen):
    """A job as it is now; times are seconds since 1970, UTC."""

    id: str
    kind: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    owner: str
    progress: dict[str, Any]
    result: dict[str, Any]
    error: str
    attempts: int
    created: float
    started: float | None
    finished: float | None

    @classmethod
    def of(cls, job: Job) -> JobStatus:
        """As it is told; what it was asked for is left out."""
        return cls(**{name: value for name, value in asdict(job).items() if name != "spec"})


class LearnForm(UploadForm):
    """How a profile is learned."""

    name: LearnedName
    effort: Literal["fast", "normal", "thorough"] = "normal"
    outliers: Literal["ask", "drop", "keep"] = Field(
        "ask", description="ask: a few stay, many end the job with their names"
    )
    overwrite: bool = False


class SceneForm(UploadForm):
    """How a scene is learned."""

    name: LearnedName
    overwrite: bool = False


class InspectJob(Frozen):
    """Folders and pictures in the allowed folders, and what they are compared with."""

    paths: Paths = Field(min_length=1)
    profile: str | None = Field(None, max_length=100)
    false_alarm_rate: float | None = Field(None, gt=0, lt=1)
    reference: str | None = Field(None, max_length=4000, description="a good picture, in place of a profile")


class TriageForm(UploadForm):
    """By which scene clips are triaged; with the zones that people drew on it."""

    scene: LearnedName
    false_events_per_hour: float | None = Field(None, gt=0, le=10_000)
    causal: bool = False


Uploaded = Annotated[list[UploadFile] | None, File()]
Named = Annotated[list[str] | None, Form(description="in the allowed folders, in place of files")]


def _sources(
    services: Services,
    files: list[UploadFile] | None,
    paths: list[str] | None,
    what: Literal["picture", "video"],
) -> tuple[Path, ...]:
    """What was uploaded, or is named by path. Raises RequestError unless it is one of the two."""
    named = [path for path in paths or () if path]
    if bool(files) == bool(named):
        raise RequestError("What is it about?", "Upload files, or name paths in the allowed folders.")
    if named:
        return tuple(allowed_path(path, services.config) for path in named)
    _refuse_many(services, files or [])
    keep = services.uploads.keep_picture if what == "picture" else services.uploads.keep_video
    kept = tuple(dict.fromkeys(keep(file.filename, file.file) for file in files or ()))
    for path in kept:  # whichever server does the job finds them
        services.place.keep(path)
    return kept


def _refuse_many(services: Services, files: list[UploadFile]) -> None:
    if len(files) > services.config.max_files:
        raise TooLargeError(f"{services.config.max_files} files at most come at once.")


def _refuse_twin(name: str, *, overwrite: bool) -> None:
    if not overwrite and profile_path(name).exists():
        raise ConflictError(f"{name} is there already.", "Choose another name, or replace it.")


@router.post("/learn", summary="Learn a profile", status_code=202)
def learn(
    services: ServicesOf,
    caller: MayWork,
    form: Annotated[LearnForm, Form()],
    files: Uploaded = None,
    paths: Named = None,
) -> JobStatus:
    """From pictures without defects: uploaded, or folders in the allowed folders."""
    _refuse_twin(form.name, overwrite=form.overwrite)
    spec = _learn_spec(form, _sources(services, files, paths, "picture"))
    return _submit(services, "learn", spec, caller.name)


@router.post("/learn-products", summary="Learn several products", status_code=202)
def learn_products(
    services: ServicesOf,
    caller: MayWork,
    form: Annotated[LearnForm, Form()],
    files: Uploaded = None,
    paths: Named = None,
) -> JobStatus:
    """From a folder with a folder of good pictures for each product: uploaded with their names, as in
    ``housing/01.png``, or in the allowed folders.
    """
    _refuse_twin(form.name, overwrite=form.overwrite)
    spec = _learn_spec(form, (_products(services, files, paths),))
    return _submit(services, "learn-products", spec, caller.name)


def _learn_spec(form: LearnForm, paths: tuple[Path, ...]) -> LearnSpec:
    return LearnSpec(
        name=form.name,
        paths=paths,
        effort=form.effort,
        outliers=None if form.outliers == "ask" else form.outliers,
        force=form.overwrite,
    )


def _products(services: Services, files: list[UploadFile] | None, paths: list[str] | None) -> Path:
    """The folder with a folder for each product. Raises RequestError for what holds none."""
    if not files:
        folders = _sources(services, None, paths, "picture")
        if len(folders) > 1 or not folders[0].is_dir():
            raise RequestError("Name one folder, with a folder for each product.")
        return folders[0]
    _refuse_many(services, files)
    if any(paths or ()):
        raise RequestError("What is it about?", "Upload files, or name a folder in the allowed folders.")
    folder = services.uploads.keep_products([(file.filename or "", file.file) for file in files])
    services.place.keep(folder)
    return folder


@router.post("/check", summary="Look for outliers among normals", status_code=202)
def check(services: ServicesOf, caller: MayWork, files: Uploaded = None, paths: Named = None) -> JobStatus:
    """Learns nothing."""
    spec = LearnSpec(name="check", paths=_sources(services, files, paths, "picture"))
    return _submit(services, "check", spec, caller.name)


@router.post("/learn-scene", summary="Learn a scene", status_code=202)
def learn_scene(
    services: ServicesOf,
    caller: MayWork,
    form: Annotated[SceneForm, Form()],
    files: Uploaded = None,
    paths: Named = None,
) -> JobStatus:
    """From normal footage of one camera."""
    _refuse_twin(form.name, overwrite=form.overwrite)
    sources = _sources(services, files, paths, "video")
    return _submit(
        services, "learn-scene", SceneSpec(name=form.name, paths=sources, force=form.overwrite), caller.name
    )


@router.post("/inspect", summary="Inspect folders", status_code=202)
def inspect(services: ServicesOf, caller: MayWork, body: InspectJob) -> JobStatus:
    """Folders in the allowed folders, into a run of their own."""
    paths = tuple(allowed_path(path, services.config) for path in body.paths)
    options = InspectOptions(profile=body.profile, false_alarm_rate=body.false_alarm_rate)
    basis = options.basis(services.config.model, named_reference(services, body.reference))
    spec = InspectSpec(paths=paths, profile=basis.profile, rate=basis.rate, reference=basis.reference)
    return _submit(services, "inspect", spec, caller.name)


@router.post("/triage", summary="Triage clips", status_code=202)
def triage(
    services: ServicesOf,
    caller: MayWork,
    form: Annotated[TriageForm, Form()],
    files: Uploaded = None,
    paths: Named = None,
) -> JobStatus:
    """Find the stretches of video worth watching, into a run of their own."""
    spec = TriageSpec(
        scene=form.scene,
        paths=_sources(services, files, paths, "video"),
        false_events_per_hour=form.false_events_per_hour,
        causal=form.causal,
        zones=drawn_zones(services.database, form.scene),
    )
    return _submit(services, "triage", spec, caller.name)


def _submit(services: Services, kind: JobKind, spec: Frozen, owner: str) -> JobStatus:
    return JobStatus.of(services.jobs.submit(kind, spec.model_dump(mode="json"), owner))


@router.get("", summary="List jobs")
def list_jobs(
    services: ServicesOf,
    _: MayView,
    kind: Literal["", *JOB_KINDS] = "",  # type: ignore[valid-type]
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> list[JobStatus]:
    """The newest first."""
    return [JobStatus.of(job) for job in services.jobs.latest(limit, (kind,) if kind else ())]


@router.get("/{id}", summary="Get a job")
def get_job(services: ServicesOf, _: MayView, id: JobId) -> JobStatus:
    """With its progress, and its result once it is done."""
    return JobStatus.of(services.jobs.get(id))


@router.post("/{id}/cancel", summary="Call a job off")
def cancel_job(services: ServicesOf, _: MayWork, id: JobId) -> JobStatus:
    """What it did so far stays."""
    return JobStatus.of(services.jobs.cancel(id))


@router.get(
    "/{id}/events",
    summary="Follow a job",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def follow_job(services: ServicesOf, _: MayView, id: JobId) -> StreamingResponse:
    """Server-sent events ``job``, one for each change, until it has ended."""
    first = await asyncio.to_thread(services.jobs.get, id)

    async def events() -> AsyncIterator[str]:
        last, job = None, first
        while True:
            status = JobStatus.of(job).model_dump(mode="json")
            if status != last:
                yield event_text("job", status)
            if job.state in ("done", "failed", "cancelled"):
                return
            last = status
            await asyncio.sleep(_POLL)
            job = await asyncio.to_thread(services.jobs.get, id)

    return event_response(events())
