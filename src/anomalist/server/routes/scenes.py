"""What was learned: profiles and scenes; zones of scenes, and alerts of triaged clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import AfterValidator, Field

from anomalist.agent.models.loading import cached_models
from anomalist.agent.models.selection import select_model
from anomalist.audit.recording import open_trail, record_feedback_case
from anomalist.errors import AnomalistError, ProfileError
from anomalist.feedback import (
    find_event,
    record_event_feedback,
    stored_rank_adjustments,
    undo_event_feedback,
)
from anomalist.memory.cases import Case, CaseStore, acting_as
from anomalist.report.alerts import rank_alerts
from anomalist.server import figures
from anomalist.server.access import MayView, MayWork, ServicesOf
from anomalist.server.problems import NotFoundError, RequestError
from anomalist.server.routes.pictures import JPEG, RunName
from anomalist.server.scene_zones import draw_zones, drawn_zones
from anomalist.server.services import Services
from anomalist.server.talks import run_folder
from anomalist.settings import Settings
from anomalist.storage.artifacts import composed_name, profile_path
from anomalist.storage.places import bring_profile, share_profiles
from anomalist.storage.run_folder import CLIPS, ClipRunFolder
from anomalist.types.clip import ClipRecord
from anomalist.types.common import Frozen
from anomalist.vision.learned import Learned, describe_learned, learned_folders
from anomalist.vision.motion.scene import SCENE_KIND, Zone

router = APIRouter(tags=["profiles and scenes"])

LearnedName = Annotated[
    str,
    Field(pattern=r"^\w[\w .+-]{0,99}$"),  # \w holds the marks of letters here
    AfterValidator(composed_name),
]


class LearnedSummary(Frozen):
    """Something that was learned, or why it can't be used."""

    name: str
    kind: Literal["profile", "products", "scene", "damaged"]
    learned_from: str = ""
    detector: str = ""
    effort: str = ""
    created: str = ""
    digest: str = ""
    lowest_rate: float | None = None
    error: str = ""


class LearnedDetails(LearnedSummary):
    """The same with its manifest."""

    manifest: dict[str, Any]


class AlertRow(Frozen):
    """One thing worth watching; times are seconds in its clip."""

    id: str
    source: str
    name: str
    event: str
    start: float
    end: float
    peak: float
    duration: float | None
    severity: int
    score: float
    kind: str
    caption: str
    reason: str
    key_frame: str | None = Field(description="address of the picture")
    clip: str | None = Field(description="address of the short clip")


class ClipRow(Frozen):
    """One triaged clip."""

    source: str
    name: str
    label: str | None
    error: str | None
    duration: float | None
    threshold: float | None
    curve: tuple[tuple[float, float | None], ...]


class Alerts(Frozen):
    """The alerts of a run by rank, and its clips."""

    run: str
    alerts: tuple[AlertRow, ...]
    clips: tuple[ClipRow, ...]


class EventFeedback(Frozen):
    """What a person says about an event; what is alike moves in rank with it."""

    verdict: Literal["seen", "dismissed", "escalate", "undo"]
    note: str = Field("", max_length=2000)


class ZonesBody(Frozen):
    """Zones of a scene, in place of those before."""

    zones: tuple[Zone, ...] = Field(max_length=50)


class ModelStatus(Frozen):
    """Who reasons, and why."""

    spec: str
    why: str


class ModelRow(Frozen):
    """A vision-language model that was fetched; ``spec`` is what ``--model`` takes."""

    spec: str
    bytes: int
    revision: str


@router.get("/profiles", summary="List what was learned")
def list_learned(_: MayView) -> list[LearnedSummary]:
    """Profiles of pictures, of several products, and scenes of cameras."""
    share_profiles()
    return [summary_of(path) for path in learned_folders(Settings().profiles)]


def summary_of(path: Path) -> LearnedSummary:
    """What a folder of the home holds, or why it can't be used."""
    try:
        return LearnedSummary(**_fields(describe_learned(path)))
    except ProfileError as error:
        return LearnedSummary(name=path.name, kind="damaged", error=error.message)


def _fields(learned: Learned) -> dict[str, Any]:
    return {name: getattr(learned, name) for name in LearnedSummary.model_fields if name != "error"}


@router.get("/profiles/{name}", summary="Get what was learned")
def get_learned(_: MayView, name: LearnedName) -> LearnedDetails:
    """With its manifest; the list of normal pictures is left out."""
    path = profile_path(name)
    bring_profile(name)
    if not path.is_dir():
        raise NotFoundError(f"There is no profile {name}.")
    learned = describe_learned(path)
    return LearnedDetails(**_fields(learned), manifest=learned.content)


@router.get("/model", summary="Who reasons")
def get_model(services: ServicesOf, _: MayView) -> ModelStatus:
    """The model that is asked, or measurement alone."""
    chosen = select_model(services.config.model)
    return ModelStatus(spec=chosen.spec, why=chosen.why)


@router.get("/models", summary="List models")
def list_models(_: MayView) -> list[ModelRow]:
    """The vision-language models that were fetched to this machine; the server is started with one."""
    return [
        ModelRow(spec=f"hf:{model.name}", bytes=model.size, revision=model.revision)
        for model in cached_models()
    ]


@router.get("/scenes/{name}/picture", summary="A frame of a scene", response_class=Response, responses=JPEG)
def get_scene_picture(request: Request, _: MayView, name: LearnedName) -> Response:
    """Of the footage that it was learned from, as JPEG."""
    check_scene(name)
    tag = f'"{SCENE_KIND.read_manifest(profile_path(name)).digest}"'
    headers = {"cache-control": "private, no-cache", "etag": tag}  # the scene may be learned again
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(figures.scene_jpeg(name), media_type="image/jpeg", headers=headers)


@router.get("/scenes/{name}/zones", summary="The zones of a scene")
def get_zones(services: ServicesOf, _: MayView, name: LearnedName) -> ZonesBody:
    """As people drew them here, else as it was learned with."""
    check_scene(name)
    drawn = drawn_zones(services.database, name)
    return ZonesBody(zones=SCENE_KIND.read_manifest(profile_path(name)).zones if drawn is None else drawn)


@router.put("/scenes/{name}/zones", summary="Draw the zones of a scene")
def set_zones(services: ServicesOf, caller: MayWork, name: LearnedName, body: ZonesBody) -> ZonesBody:
    """Clips that are triaged from now on go by them; live cameras of the scene begin again."""
    check_scene(name)
    corners = [value for zone in body.zones for corner in zone.polygon for value in corner]
    if not all(0 <= value <= 1 for value in corners):
        raise RequestError("Corners are shares of width and height, from 0 to 1.")
    if len({zone.name for zone in body.zones}) < len(body.zones):
        raise RequestError("Two zones have the same name.", "Name each differently.")
    if any("\x00" in zone.name for zone in body.zones):
        raise RequestError("A name is text.")
    text = draw_zones(services.database, name, body.zones, caller.name)
    services.cameras.restart(name)
    if (trail := open_trail()) is not None:
        with trail, acting_as(caller.name):
            trail.write("setting", {"what": f"zones of {name}", "profile": name, "zones": json.loads(text)})
    return body


def check_scene(name: str) -> None:
    """Raise NotFoundError where nothing of that name was learned from footage, here or by another server."""
    bring_profile(name)
    if not SCENE_KIND.is_at(profile_path(name)):
        raise NotFoundError(f"There is no scene {name}.")


@router.get("/runs/{run}/alerts", summary="The alerts of a triage")
def get_alerts(services: ServicesOf, _: MayView, run: RunName) -> Alerts:
    """Ranked, with the ranks that feedback gives today."""
    records = _clip_records(services, run)
    of_source = {record.source: record for record in records}
    alerts = rank_alerts(records, stored_rank_adjustments(records))
    rows = []
    for alert in alerts:
        record = of_source[alert.source]
        event = next(event for event in record.events if event.id == alert.event)
        shown = {
            what: None if name is None else f"/v1/runs/{run}/{name}"
            for what, name in (("key_frame", event.key_frame), ("clip", event.clip))
        }
        common = {
            name: getattr(alert, name)
            for name in ("id", "source", "event", "start", "end", "peak", "severity", "score", "kind")
        }
        rows.append(
            AlertRow(
                **common,
                **shown,
                name=Path(alert.source).name,
                duration=record.duration,
                caption=alert.caption,
                reason=alert.reason,
            )
        )
    return Alerts(run=run, alerts=tuple(rows), clips=tuple(map(_clip_row, records)))


def _clip_row(record: ClipRecord) -> ClipRow:
    return ClipRow(
        source=record.source,
        name=Path(record.source).name,
        label=record.label,
        error=record.error,
        duration=record.duration,
        threshold=record.threshold,
        curve=record.curve,
    )


def _clip_records(services: Services, run: str) -> list[ClipRecord]:
    folder = run_folder(services.runs, run)
    if not (folder / CLIPS).is_file():
        raise NotFoundError(f"{run} is no run of clips.")
    return ClipRunFolder(folder).records()


@router.post("/runs/{run}/events/feedback", summary="Dismiss or escalate an event")
def give_event_feedback(
    services: ServicesOf,
    caller: MayWork,
    run: RunName,
    event: Annotated[str, Query(max_length=4000, description="E1 of the only clip, or 02.mp4:E1")],
    body: EventFeedback,
) -> Case:
    """Stored with its motion, so that what is alike moves in rank."""
    try:
        record, found = find_event(_clip_records(services, run), event)
    except NotFoundError:
        raise
    except AnomalistError as error:
        raise NotFoundError(error.message, error.remedy) from error
    with acting_as(caller.name):
        with CaseStore() as cases:
            case = (
                undo_event_feedback(cases, record, found)
                if body.verdict == "undo"
                else record_event_feedback(cases, record, found, body.verdict, body.note)
            )
        record_feedback_case(case, undone=body.verdict == "undo")
    return case
