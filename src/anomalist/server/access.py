"""Who makes a request, and whether they may: dependencies of the routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, cast

from fastapi import Depends, Request

from anomalist.server.accounts import Caller, Permission, same_token
from anomalist.server.guard import SAFE_METHODS
from anomalist.server.problems import ForbiddenError, NotLoggedInError
from anomalist.server.services import Services

COOKIE = "anomalist_session"
CSRF_HEADER = "x-csrf-token"


def services_of(request: Request) -> Services:
    """The services of the application that handles a request."""
    return cast(Services, request.app.state.services)


def find_caller(request: Request) -> Caller | None:
    """Who makes a request; None where nobody is known.

    Raises NotLoggedInError for a key that is none.
    """
    services = services_of(request)
    accounts = services.accounts
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme:
        caller = accounts.of_key(key.strip()) if scheme.lower() == "bearer" else None
        if caller is None:
            raise NotLoggedInError("That key is none.", "Make one: anomalist accounts key NAME --role ROLE")
        return caller
    token = request.cookies.get(COOKIE)
    caller = None if token is None else accounts.of_session(token)
    if caller is None and services.config.is_local and not accounts.any():
        from anomalist.memory.cases import current_user

        return Caller(current_user(), "admin", "machine")
    return caller


def known_caller(request: Request) -> Caller:
    """Who makes a request.

    Raises NotLoggedInError, or ForbiddenError without the token against other sites.
    """
    caller = find_caller(request)
    if caller is None:
        raise NotLoggedInError("Log in first.", "Or send an API key: Authorization: Bearer KEY")
    if caller.via == "session" and request.method not in SAFE_METHODS:
        given = request.headers.get(CSRF_HEADER, "")
        if not given or not same_token(given, caller.csrf):
            raise ForbiddenError(
                "The token of the page is missing or old.", f"Load the page again; it sends {CSRF_HEADER}."
            )
    return caller


def needs(permission: Permission) -> Callable[[Caller], Caller]:
    """A dependency that lets only those pass who may do something."""

    def allowed(caller: Annotated[Caller, Depends(known_caller)]) -> Caller:
        if not caller.may(permission):
            raise ForbiddenError(f"The role {caller.role} may not do that.", "Ask an admin.")
        return caller

    return allowed


ServicesOf = Annotated[Services, Depends(services_of)]
MayView = Annotated[Caller, Depends(needs("see"))]
MayWork = Annotated[Caller, Depends(needs("work"))]
MayAudit = Annotated[Caller, Depends(needs("audit"))]
MayManage = Annotated[Caller, Depends(needs("manage"))]
