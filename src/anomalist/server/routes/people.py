"""Logging in and out, accounts and API keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import Field

from anomalist.server.access import COOKIE, MayManage, MayView, ServicesOf
from anomalist.server.accounts import MAX_PASSWORD, MIN_PASSWORD, NewSession, Role
from anomalist.server.config import ServerConfig
from anomalist.types.common import Frozen

router = APIRouter(tags=["people"])

PersonName = Annotated[str, Field(pattern=r"^[\w.@+-]{1,80}$")]


class LoginBody(Frozen):
    """Who logs in."""

    name: str = Field(max_length=80)
    password: str = Field(max_length=MAX_PASSWORD)


class Person(Frozen):
    """Who makes requests: name, role, and the token to send back in ``x-csrf-token``, if any."""

    name: str
    role: Role
    csrf: str = ""


class AccountBody(Frozen):
    """A new account."""

    name: PersonName
    role: Role
    password: str = Field(min_length=MIN_PASSWORD, max_length=MAX_PASSWORD)


class KeyBody(Frozen):
    """A new API key."""

    name: PersonName
    role: Role


class NewKey(Frozen):
    """An API key; it can't be seen again."""

    name: str
    role: Role
    key: str


class KeyLine(Frozen):
    """An API key by its beginning."""

    shown: str
    name: str
    role: str


@router.post("/login", summary="Log in")
def login(request: Request, services: ServicesOf, body: LoginBody, response: Response) -> Person:
    """Sets a cookie; what changes something must then send the token back in ``x-csrf-token``."""
    client = request.client.host if request.client else "unknown"
    services.logins.take(client)
    session = services.accounts.login(body.name, body.password)
    set_cookie(response, session, services.config, request)
    caller = session.caller
    return Person(name=caller.name, role=caller.role, csrf=caller.csrf)


def set_cookie(response: Response, session: NewSession, config: ServerConfig, request: Request) -> None:
    """Put the token of a session into a cookie that scripts can't read."""
    response.set_cookie(
        COOKIE,
        session.token,
        max_age=round(config.session_hours * 3600),
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
        path="/",
    )


@router.post("/logout", summary="Log out", status_code=204)
def logout(request: Request, services: ServicesOf, _: MayView) -> Response:
    """Ends the session."""
    services.accounts.logout(request.cookies.get(COOKIE, ""))
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, path="/")
    return response


@router.get("/me", summary="Who am I")
def get_me(caller: MayView) -> Person:
    """Name and role."""
    return Person(name=caller.name, role=caller.role, csrf=caller.csrf)


@router.get("/accounts", summary="List accounts")
def list_accounts(services: ServicesOf, _: MayManage) -> list[Person]:
    """By name."""
    return [Person.model_validate({"name": name, "role": role}) for name, role in services.accounts.people()]


@router.post("/accounts", summary="Make an account", status_code=201)
def add_account(services: ServicesOf, _: MayManage, body: AccountBody) -> Person:
    """With a first password."""
    services.accounts.add(body.name, body.role, body.password)
    return Person(name=body.name, role=body.role)


@router.delete("/accounts/{name}", summary="Remove an account", status_code=204)
def remove_account(services: ServicesOf, _: MayManage, name: PersonName) -> Response:
    """Its sessions end."""
    services.accounts.remove(name)
    return Response(status_code=204)


@router.get("/keys", summary="List API keys")
def list_keys(services: ServicesOf, _: MayManage) -> list[KeyLine]:
    """By their beginnings."""
    return [KeyLine(shown=shown, name=name, role=role) for shown, name, role in services.accounts.api_keys()]


@router.post("/keys", summary="Make an API key", status_code=201)
def add_key(services: ServicesOf, _: MayManage, body: KeyBody) -> NewKey:
    """It is told once."""
    return NewKey(name=body.name, role=body.role, key=services.accounts.add_key(body.name, body.role))


@router.delete("/keys/{name}", summary="Remove API keys", status_code=204)
def remove_keys(services: ServicesOf, _: MayManage, name: PersonName) -> Response:
    """All of a name."""
    services.accounts.remove_keys(name)
    return Response(status_code=204)
