"""The pages: Inspect, Learn, Watch, Rules and scenes, Audit, Accounts. Rendered here; scripts add what moves.

They share styles and macros with the reports, and use the services and routes of the API.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles

from anomalist import __version__
from anomalist.audit.log import ENTRY_KINDS
from anomalist.audit.reading import Search
from anomalist.audit.rows import entry_row
from anomalist.errors import AnomalistError
from anomalist.report.document import link_evidence, template_environment
from anomalist.report.wording import explain_score
from anomalist.server.access import COOKIE, ServicesOf, find_caller, known_caller, services_of
from anomalist.server.accounts import MIN_PASSWORD, ROLE_WORDS, Caller, Permission
from anomalist.server.jobs import JobKind
from anomalist.server.problems import ForbiddenError, NotFoundError, RequestError
from anomalist.server.routes.audit import (
    DecisionStep,
    EntryId,
    EntryQuery,
    found_entry,
    is_decision,
    search_entries,
    steps_of,
)
from anomalist.server.routes.cameras import CameraName
from anomalist.server.routes.people import list_keys, set_cookie
from anomalist.server.routes.pictures import InspectionId, ListQuery, RunName, list_inspections
from anomalist.server.routes.review import get_review
from anomalist.server.routes.rules import list_memory, list_rules
from anomalist.server.routes.scenes import (
    LearnedName,
    LearnedSummary,
    get_alerts,
    get_model,
    get_zones,
    list_learned,
    list_models,
)
from anomalist.server.services import Services
from anomalist.types.common import SEVERITIES
from anomalist.types.image import Kind, Record
from anomalist.vision.media.images import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from jinja2 import Environment

STATIC = Path(__file__).parent / "static"
MAX_LOGIN = 4096
"""Bytes of a login form."""

LEARNING: tuple[JobKind, ...] = ("learn", "learn-products", "learn-scene", "check")

router = APIRouter(include_in_schema=False)

AnyCaller = Annotated[Caller, Depends(known_caller)]


@dataclass(frozen=True)
class NavigationEntry:
    """One entry of the navigation, and what a role must be allowed for it."""

    name: str
    address: str
    needs: Permission


VIEWS = (
    NavigationEntry("Inspect", "/", "see"),
    NavigationEntry("Learn", "/learn", "work"),
    NavigationEntry("Watch", "/watch", "see"),
    NavigationEntry("Rules and scenes", "/rules", "see"),
    NavigationEntry("Audit", "/audit", "audit"),
    NavigationEntry("Accounts", "/accounts", "manage"),
)


def pages(app: FastAPI) -> None:
    """Add the pages and their files to an application."""
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")


def wants_page(request: Request) -> bool:
    """Whether a request is of a person before a browser, who is sent to the login."""
    return not request.url.path.startswith("/v1/") and "text/html" in request.headers.get("accept", "")


@cache
def _environment() -> Environment:
    from jinja2 import ChoiceLoader, PackageLoader

    environment = template_environment()
    environment.loader = ChoiceLoader([PackageLoader("anomalist.server"), PackageLoader("anomalist.report")])
    environment.globals |= {"severities": SEVERITIES, "version": __version__}
    environment.filters["query"] = urlencode
    return environment


def render(template: str, caller: Caller | None, view: str = "", **content: Any) -> HTMLResponse:  # noqa: ANN401
    """A page as HTML, with those views in its navigation that the caller may see."""
    views = [each for each in VIEWS if caller is not None and caller.may(each.needs)]
    text = _environment().get_template(template).render(caller=caller, views=views, view=view, **content)
    return HTMLResponse(text.encode("utf-8", "backslashreplace"))


def _allow(caller: Caller, permission: Permission) -> None:
    if not caller.may(permission):
        raise ForbiddenError(f"The role {caller.role} may not see that.", "Ask an admin.")


@router.get("/static/report.css")
def report_styles() -> Response:
    """The styles of the reports, which the pages share."""
    templates = files("anomalist.report").joinpath("templates")
    text = "\n".join(
        templates.joinpath(name).read_text(encoding="utf-8")
        for name in ("report.css", "triage.css", "audit.css")
    )
    return Response(text, media_type="text/css")


@router.get("/login")
def login_page(request: Request) -> Response:
    """Where people log in; whoever is known already goes on."""
    if find_caller(request) is not None:
        return RedirectResponse("/", status_code=303)
    return render("login.html.j2", None, error="")


@router.post("/login")
async def login(request: Request) -> Response:
    """Log in by a form."""
    services = services_of(request)
    client = request.client.host if request.client else "unknown"
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_LOGIN:
            raise RequestError("That is no login.")
    form = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    name, password = (form.get(field, [""])[0] for field in ("name", "password"))
    try:
        services.logins.take(client)
        session = services.accounts.login(name, password)
    except RequestError as error:
        page = render("login.html.j2", None, error=str(error))
        page.status_code = error.status
        return page
    response = RedirectResponse("/", status_code=303)
    set_cookie(response, session, services.config, request)
    return response


@router.post("/logout")
async def logout(request: Request) -> Response:
    """Log out by a form; the guard has refused what comes from another site."""
    services_of(request).accounts.logout(request.cookies.get(COOKIE, ""))
    response = RedirectResponse("/login", status_code=303)
    response.delete_cookie(COOKIE, path="/")
    return response


@router.get("/")
def inspect_page(services: ServicesOf, caller: AnyCaller, asked: Annotated[ListQuery, Query()]) -> Response:
    """Drop pictures, see verdicts."""
    listed = list_inspections(services, caller, asked)
    given = {name: value for name, value in dict(asked).items() if value and name not in ("after", "limit")}
    return render(
        "inspect.html.j2",
        caller,
        "Inspect",
        profiles=_learned(caller, "profile", "products"),
        listed=listed,
        asked=asked,
        more=urlencode({**given, "after": listed.next}) if listed.next else "",
        filtered=bool(given),
        counts=services.store.counts(),
    )


@router.get("/inspections/{id}")
def inspection_page(services: ServicesOf, caller: AnyCaller, id: InspectionId) -> Response:
    """One picture: overlay, regions, what is normal, reasons, a chat, and feedback."""
    inspected = services.store.get(id)
    record = inspected.record
    links = {region.id: region.id for region in record.regions} | {"score": "score", "input": "score"}
    links |= {item.id: f"m{number}" for number, item in enumerate(record.recall.items, start=1)}
    return render(
        "inspection.html.j2",
        caller,
        "Inspect",
        inspected=inspected,
        record=record,
        claims=[link_evidence(claim, links) for claim in record.claims],
        score_sentences=explain_score(record) if record.status == "ok" else [],
        kinds=get_args(Kind),
        entry=_entry_of(services, caller, record),
    )


def _entry_of(services: Services, caller: Caller, record: Record) -> str:
    """Id of the audit entry of an inspection; "" where there is none, or the caller may not see it."""
    if not caller.may("audit") or record.time is None:
        return ""
    key = str(record.key)
    page = services.audit.search(Search(text=key, kinds=("inspection",)), most=50)
    fits = (row for row in page.rows if record.time.casefold() in row.text)
    return next((row.id for row in fits), "")


@router.get("/learn")
def learn_page(services: ServicesOf, caller: AnyCaller) -> Response:
    """Drop normals, see progress, outliers and the promise."""
    _allow(caller, "work")
    return render(
        "learn.html.j2",
        caller,
        "Learn",
        learned=list_learned(caller),
        jobs=services.jobs.latest(20, LEARNING),
        suffixes=sorted(IMAGE_SUFFIXES),
        roots=[str(root) for root in services.config.roots],
        reasons=get_model(services, caller),
        models=list_models(caller),
    )


@router.get("/watch")
def watch_page(services: ServicesOf, caller: AnyCaller) -> Response:
    """Live cameras, scenes, and what was triaged."""
    return render(
        "watch.html.j2",
        caller,
        "Watch",
        cameras=services.cameras.all(),
        addresses=services.cameras.addresses,
        scenes=_learned(caller, "scene"),
        jobs=services.jobs.latest(30, ("triage",)),
        roots=[str(root) for root in services.config.roots],
    )


@router.get("/watch/{run}")
def alerts_page(services: ServicesOf, caller: AnyCaller, run: RunName) -> Response:
    """Ranked alerts with clip and timeline."""
    return render("alerts.html.j2", caller, "Watch", found=get_alerts(services, caller, run))


@router.get("/cameras/{name}")
def camera_page(services: ServicesOf, caller: AnyCaller, name: CameraName) -> Response:
    """The alerts of a live camera, as they come."""
    camera = services.cameras.get(name)
    found = None
    with contextlib.suppress(NotFoundError):
        found = get_alerts(services, caller, camera.run) if camera.run else None
    return render("camera.html.j2", caller, "Watch", camera=camera, found=found)


@router.get("/scenes/{name}")
def scene_page(services: ServicesOf, caller: AnyCaller, name: LearnedName) -> Response:
    """Zones, drawn on a picture of the scene."""
    return render("scene.html.j2", caller, "Watch", name=name, zones=get_zones(services, caller, name).zones)


@router.get("/rules")
def rules_page(
    services: ServicesOf,
    caller: AnyCaller,
    profile: str = "",
    text: Annotated[str, Query(max_length=200)] = "",
    scene_text: Annotated[str, Query(max_length=1000)] = "",
) -> Response:
    """Rules of a profile, with what a change would have changed; and remembered scenes."""
    learned = [each for each in list_learned(caller) if each.kind != "damaged"]
    chosen = next((each.name for each in learned if each.name == profile), learned[0].name if learned else "")
    known = list_rules(caller, chosen, text=text) if chosen else []
    return render(
        "rules.html.j2",
        caller,
        "Rules and scenes",
        learned=learned,
        chosen=chosen,
        text=text,
        rules=sorted(known, key=lambda rule: rule.origin == "shipped"),  # what people wrote stands first
        runs=_runs(services),
        scene_text=scene_text,
        remembered=list_memory(caller, text=scene_text, limit=12) if scene_text.strip() else [],
    )


def _runs(services: Services) -> list[str]:
    """Names of the newest runs, of pictures and of clips."""
    triaged = [job for job in services.jobs.latest(30, ("triage",)) if "run" in job.result]
    times = {str(job.result["run"]): job.finished or job.created for job in triaged}
    times |= {name: time for name, _, time in services.store.runs(20)}
    return sorted(times, key=lambda name: times[name], reverse=True)[:20]


@router.get("/audit")
def audit_page(services: ServicesOf, caller: AnyCaller, asked: Annotated[EntryQuery, Query()]) -> Response:
    """Search the log; verify, replay, export."""
    _allow(caller, "audit")
    found = search_entries(services, caller, asked)
    given = {name: value for name, value in dict(asked).items() if value and name != "offset"}
    following, before = asked.offset + asked.limit, asked.offset - asked.limit
    return render(
        "audit.html.j2",
        caller,
        "Audit",
        found=found,
        asked=asked,
        kinds=ENTRY_KINDS,
        following=urlencode({**given, "offset": following}) if following < found.total else "",
        before=urlencode({**given, "offset": max(before, 0)}) if asked.offset else "",
        runs=[name for name, _, _ in services.store.runs(30)],
    )


@router.get("/review")
def review_page(services: ServicesOf, caller: AnyCaller, run: RunName) -> Response:
    """Ask about the picture whose answer narrows the promise of a run most; its verdict is not shown."""
    _allow(caller, "audit")
    return render("review.html.j2", caller, "Audit", found=get_review(services, caller, run))


@router.get("/accounts")
def accounts_page(services: ServicesOf, caller: AnyCaller) -> Response:
    """Who may do what: accounts and API keys."""
    _allow(caller, "manage")
    return render(
        "accounts.html.j2",
        caller,
        "Accounts",
        people=services.accounts.people(),
        api_keys=list_keys(services, caller),
        roles=ROLE_WORDS,
        shortest=MIN_PASSWORD,
    )


@router.get("/audit/{id}")
def entry_page(caller: AnyCaller, id: EntryId) -> Response:
    """One entry: the steps of a decision, replay and export, and all that it holds."""
    _allow(caller, "audit")
    entry = found_entry(id)
    steps: tuple[DecisionStep, ...] = ()
    trouble = ""
    try:
        steps = steps_of(entry)
    except AnomalistError as error:
        trouble = str(error)
    return render(
        "entry.html.j2",
        caller,
        "Audit",
        entry=entry,
        decision=is_decision(entry),
        steps=steps,
        trouble=trouble,
        body=json.dumps(entry_row(entry), indent=1, ensure_ascii=False),
    )


def _learned(caller: Caller, *kinds: Literal["profile", "products", "scene"]) -> list[LearnedSummary]:
    return [each for each in list_learned(caller) if each.kind in kinds]
