"""Live cameras: added from the list of addresses, started, stopped, and their alerts as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, Field

from anomalist.errors import AnomalistError
from anomalist.server.access import MayView, MayWork, ServicesOf
from anomalist.server.cameras import CameraState, KeptCamera
from anomalist.server.events import event_response, event_text
from anomalist.server.routes.scenes import LearnedName, check_scene, get_alerts
from anomalist.server.services import Services
from anomalist.storage.artifacts import composed_name
from anomalist.types.common import Frozen

router = APIRouter(tags=["cameras"], prefix="/cameras")

CameraName = Annotated[
    str,
    Field(pattern=r"^\w[\w .-]{0,79}$"),  # \w holds the marks of letters here
    AfterValidator(composed_name),
]

_POLL = 0.5


class KeptCameraStatus(Frozen):
    """A live camera as it is now; ``run`` holds what was seen, see ``/v1/runs/{run}/alerts``."""

    name: str
    scene: str
    address: str = Field(description="without its password")
    owner: str
    wanted: bool
    state: CameraState
    note: str = Field(description="why it is lost, or what is wrong with its picture")
    run: str
    alerts: int = Field(description="changes of alerts that were told")
    changed: float = Field(description="seconds since 1970, UTC")

    @classmethod
    def of(cls, camera: KeptCamera) -> KeptCameraStatus:
        """As it is told."""
        return cls(**vars(camera))


class CameraBody(Frozen):
    """A camera to be followed."""

    name: CameraName
    scene: LearnedName
    address: str = Field(max_length=2000, description="one of those that the server was started with")


class CameraChange(Frozen):
    """Whether a camera is to be followed."""

    wanted: bool


@router.get("", summary="List live cameras")
def list_cameras(services: ServicesOf, _: MayView) -> list[KeptCameraStatus]:
    """By name, each with how it is."""
    return [KeptCameraStatus.of(camera) for camera in services.cameras.all()]


@router.get("/addresses", summary="List addresses of cameras")
def list_addresses(services: ServicesOf, _: MayView) -> list[str]:
    """Those that the server was started with, without their passwords; no other can be followed."""
    return list(services.cameras.addresses)


@router.post("", summary="Add a live camera", status_code=201)
def add_camera(services: ServicesOf, caller: MayWork, body: CameraBody) -> KeptCameraStatus:
    """It is followed from now on, also after the server was started again."""
    check_scene(body.scene)
    return KeptCameraStatus.of(services.cameras.add(body.name, body.scene, body.address, caller.name))


@router.patch("/{name}", summary="Start or stop a live camera")
def change_camera(services: ServicesOf, _: MayWork, name: CameraName, body: CameraChange) -> KeptCameraStatus:
    """What was seen stays."""
    return KeptCameraStatus.of(services.cameras.want(name, body.wanted))


@router.delete("/{name}", summary="Remove a live camera", status_code=204)
def remove_camera(services: ServicesOf, _: MayWork, name: CameraName) -> Response:
    """What was seen stays in its runs."""
    services.cameras.remove(name)
    return Response(status_code=204)


@router.get(
    "/events",
    summary="Follow all live cameras",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def follow_cameras(services: ServicesOf, caller: MayView, once: bool = False) -> StreamingResponse:
    """Server-sent events: ``camera`` when one changes, ``alerts`` with the ranked alerts of one when they do.

    With ``once`` it ends after how they are now.
    """

    async def events() -> AsyncIterator[str]:
        known: dict[str, KeptCameraStatus] = {}
        while True:
            listed = await asyncio.to_thread(services.cameras.all)
            now = {each.name: KeptCameraStatus.of(each) for each in listed}
            for name in known.keys() - now.keys():
                yield event_text("removed", {"name": name})
            for name, camera in now.items():
                before = known.get(name)
                if before == camera:
                    continue
                yield event_text("camera", camera.model_dump(mode="json"))
                seen = None if before is None else (before.run, before.alerts)
                if camera.run and seen != (camera.run, camera.alerts):
                    found = await asyncio.to_thread(_alerts, services, caller, camera)
                    if found is not None:
                        yield event_text("alerts", found)
            known = now
            if once:
                return
            await asyncio.sleep(_POLL)

    return event_response(events())


def _alerts(services: Services, caller: MayView, camera: KeptCameraStatus) -> dict[str, object] | None:
    try:
        found = get_alerts(services, caller, camera.run)
    except AnomalistError:  # its page says why; the other cameras are told all the same
        return None
    return {"camera": camera.name, **found.model_dump(mode="json", exclude={"clips"})}
