"""Logging in and out, accounts and API keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import Field

from anomalist.audit.recording import open_trail
from anomalist.memory.cases import acting_as
from anomalist.server.access import COOKIE, MayManage, MayView, ServicesOf
from anomalist.server.accounts import MAX_PASSWORD, MIN_PASSWORD, Account, Caller, NewSession, Role
from anomalist.server.config import ServerConfig
from anomalist.server.problems import RequestError
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


class AccountStatus(Frozen):
    """An account; ``created`` in seconds since 1970, UTC."""

    name: str
    role: Role
    disabled: bool
    created: float

    @classmethod
    def of(cls, account: Account) -> AccountStatus:
        """As it is told."""
        return cls(**vars(account))


class AccountChange(Frozen):
    """What is to become of an account; what is left out stays."""

    role: Role | None = None
    password: str | None = Field(None, min_length=MIN_PASSWORD, max_length=MAX_PASSWORD)
    disabled: bool | None = None


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
def list_accounts(services: ServicesOf, _: MayManage) -> list[AccountStatus]:
    """By name."""
    return [AccountStatus.of(account) for account in services.accounts.people()]


@router.post("/accounts", summary="Make an account", status_code=201)
def add_account(services: ServicesOf, caller: MayManage, body: AccountBody) -> Person:
    """With a first password."""
    services.accounts.add(body.name, body.role, body.password)
    _note(caller, f"account {body.name}: made, {body.role}")
    return Person(name=body.name, role=body.role)


@router.patch("/accounts/{name}", summary="Change an account")
def change_account(
    services: ServicesOf, caller: MayManage, name: PersonName, body: AccountChange
) -> AccountStatus:
    """Role, password, or whether it may log in; a new password and disabling end its sessions."""
    given = {field: value for field, value in dict(body).items() if value is not None}
    if not given:
        raise RequestError("What is to change?", "Give a role, a password, or whether it is disabled.")
    account = services.accounts.change(name, **given)
    what = [f"{field} {value}" for field, value in given.items() if field != "password"]
    _note(caller, f"account {name}: {', '.join(what + ['new password'] * ('password' in given))}")
    return AccountStatus.of(account)


@router.delete("/accounts/{name}", summary="Remove an account", status_code=204)
def remove_account(services: ServicesOf, caller: MayManage, name: PersonName) -> Response:
    """Its sessions end."""
    services.accounts.remove(name)
    _note(caller, f"account {name}: removed")
    return Response(status_code=204)


@router.get("/keys", summary="List API keys")
def list_keys(services: ServicesOf, _: MayManage) -> list[KeyLine]:
    """By their beginnings."""
    return [KeyLine(shown=shown, name=name, role=role) for shown, name, role in services.accounts.api_keys()]


@router.post("/keys", summary="Make an API key", status_code=201)
def add_key(services: ServicesOf, caller: MayManage, body: KeyBody) -> NewKey:
    """It is told once."""
    key = services.accounts.add_key(body.name, body.role)
    _note(caller, f"key {body.name}: made, {body.role}")
    return NewKey(name=body.name, role=body.role, key=key)


@router.delete("/keys/{name}", summary="Remove API keys", status_code=204)
def remove_keys(services: ServicesOf, caller: MayManage, name: PersonName) -> Response:
    """All of a name."""
    services.accounts.remove_keys(name)
    _note(caller, f"key {name}: removed")
    return Response(status_code=204)


def _note(caller: Caller, what: str) -> None:
    """Write a change of who may do what into the audit log."""
    if (trail := open_trail()) is not None:
        with trail, acting_as(caller.name):
            trail.write("setting", {"what": what})
