"""The application: routes, errors, and what begins and ends with it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from anomalist import __version__
from anomalist.errors import AnomalistError, DataError
from anomalist.server.access import MayView, ServicesOf
from anomalist.server.config import ServerConfig
from anomalist.server.guard import Guard
from anomalist.server.pages import pages, wants_page
from anomalist.server.problems import BusyError, NotLoggedInError, Problem, RequestError, UnavailableError
from anomalist.server.routes import audit, cameras, jobs, people, pictures, questions, review, rules, scenes
from anomalist.server.services import Services, check_memory
from anomalist.server.uploads import not_kept
from anomalist.storage.places import PlaceUnreachableError
from anomalist.types.common import Frozen

_log = logging.getLogger(__name__)

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The request can't be used"},
    401: {"model": Problem, "description": "Nobody is logged in"},
    403: {"model": Problem, "description": "The role may not do that"},
    404: {"model": Problem, "description": "There is no such thing"},
    409: {"model": Problem, "description": "It is there already, or in another state"},
    413: {"model": Problem, "description": "Too large"},
    422: {"model": Problem, "description": "What was asked can't be done, and why"},
    503: {"model": Problem, "description": "The store that servers share can't be reached; try again"},
    429: {"model": Problem, "description": "Too much at once; Retry-After says when it may work"},
}


class Health(Frozen):
    """Whether the server works."""

    status: str
    version: str


class Ready(Frozen):
    """Whether the server can take work."""

    ready: bool
    waiting: int
    why: str = ""


health = APIRouter(tags=["health"])


@health.get("/healthz", summary="Is it alive")
def healthz() -> Health:
    """Needs no login."""
    return Health(status="ok", version=__version__)


@health.get("/readyz", summary="Can it work", responses={503: {"model": Ready}})
def readyz(services: ServicesOf) -> Response:
    """503 where a database or the shared store can't be used, a part has ended, or no more can wait.

    Needs no login.
    """
    waiting = len(services.lane)
    why = "" if waiting < services.config.waiting else "No more can wait."
    try:
        services.jobs.latest(1)
    except Exception:
        _log.exception("The database can't be read.")
        why = "The database can't be read."
    try:
        check_memory()
    except DataError:
        why = "Rules and cases can't be read; the server's log says why."
        _log.exception("Rules and cases can't be read.")
    why = services.jobs.trouble or services.cameras.trouble or why
    if services.place.trouble:
        why = "The shared store can't be used; the server's log says why."
    body = Ready(ready=not why, waiting=waiting, why=why)
    return JSONResponse(body.model_dump(), status_code=503 if why else 200)


@health.get("/metrics", summary="Figures for Prometheus", response_class=PlainTextResponse)
def metrics(services: ServicesOf, _: MayView) -> Response:
    """In Prometheus' text format."""
    services.metrics.waiting.set(len(services.lane))
    return Response(services.metrics.text(), media_type=services.metrics.content_type)


def create_app(config: ServerConfig | None = None) -> FastAPI:
    """The application of a server.

    Parameters
    ----------
    config : what it may do; by default from the environment.

    The services are opened when it starts, which raises DataError as `Services` does.
    """
    settings = config or ServerConfig()
    services = Services(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with services:
            app.state.services = services
            yield

    app = FastAPI(
        title="anomalist",
        version=__version__,
        summary="Looks at pictures and videos, finds what is wrong, and explains it.",
        lifespan=lifespan,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        form_limits={"max_files": settings.max_files + 2},  # one more is told by the routes; and a reference
    )
    app.state.services = services
    for module in (pictures, questions, jobs, cameras, scenes, rules, review, audit, people):
        app.include_router(module.router, prefix="/v1", responses=_PROBLEMS)
    app.include_router(health, responses={429: _PROBLEMS[429], 403: _PROBLEMS[403], 401: _PROBLEMS[401]})
    pages(app)
    _add_handlers(app)
    app.add_middleware(Guard, config=settings, metrics=services.metrics)
    return app


def _add_handlers(app: FastAPI) -> None:
    @app.exception_handler(AnomalistError)
    async def _problem(request: Request, error: AnomalistError) -> Response:
        if isinstance(error, NotLoggedInError) and wants_page(request):
            return Response(status_code=303, headers={"location": "/login"})
        if isinstance(error, PlaceUnreachableError):
            error = UnavailableError(error.message, "Try again in a while.")
        status = error.status if isinstance(error, RequestError) else 422
        headers = (
            {"retry-after": str(error.after)} if isinstance(error, BusyError | UnavailableError) else None
        )
        return problem(error.message, error.remedy, status, headers)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
        return problem(f"{where or 'The request'}: {first['msg']}", "", 422)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        cause = error.__cause__  # FastAPI hides why a body can't be read
        if isinstance(cause, OSError):
            cause = not_kept("The request", cause)
        if isinstance(cause, AnomalistError):
            return await _problem(request, cause)
        return problem(str(error.detail), "", error.status_code, dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def _fault(request: Request, error: Exception) -> Response:
        _log.error("%s %s failed.", request.method, request.url.path, exc_info=error)
        return problem("That is a fault of anomalist.", "The server's log says more.", 500)


def problem(message: str, remedy: str, status: int, headers: dict[str, str] | None = None) -> Response:
    """An error as JSON."""
    body = Problem(error=_text(message), remedy=_text(remedy)).model_dump()
    return JSONResponse(body, status_code=status, headers=headers)


def _text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
