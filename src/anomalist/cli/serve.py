"""``anomalist serve`` and ``anomalist accounts``: the server, and who may use it."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anomalist.cli.terminal import JsonOption

if TYPE_CHECKING:
    from anomalist.server.accounts import Accounts
    from anomalist.server.config import ServerConfig

app = typer.Typer(help="Who may use the server: accounts and API keys.", no_args_is_help=True)


class RoleChoice(StrEnum):
    """What somebody may do; each but the auditor may do what those before may."""

    viewer = "viewer"
    operator = "operator"
    auditor = "auditor"
    admin = "admin"


RoleOption = Annotated[
    RoleChoice,
    typer.Option(
        help="viewer sees and asks; operator inspects, learns and corrects as well; auditor sees and uses "
        "the audit log; admin may do everything."
    ),
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME")]


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; another than this machine's needs an account.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="8765 when not asked; 0 takes a free one.")] = None,
    root: Annotated[
        list[Path] | None, typer.Option(help="Folder whose files may be named by path. Repeat it for more.")
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="Host name that the server is called by. Repeat it for more.")
    ] = None,
    camera: Annotated[
        list[str] | None,
        typer.Option(help="Address of a live camera that may be followed. Repeat it for more."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Who reasons and answers, as in inspect.")] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Measure on a Ray cluster, by Ray Serve: pictures of several requests in one batch, up to a "
            "replica a core. The address as in inspect.",
        ),
    ] = None,
    ray_gpus: Annotated[
        float | None,
        typer.Option(min=0, help="With --ray: GPUs that each replica takes, 0.25 for four on one."),
    ] = None,
) -> None:
    """Serve a page and an HTTP API: inspect, ask, learn, triage, rules, audit.

    Settings are also read from ANOMALIST_SERVER_HOST, _PORT, _ROOTS, _DATABASE and so on.
    """
    config = _config(
        host=host,
        port=port,
        roots=root,
        names=name,
        cameras=camera,
        model=model,
        ray=ray,
        ray_gpus=ray_gpus,
    )
    from anomalist.server.running import run_server

    run_server(config, lambda address: print(f"anomalist is at {address}", file=sys.stderr, flush=True))


def _config(**given: Any) -> ServerConfig:  # noqa: ANN401
    from pydantic import ValidationError

    from anomalist.errors import DataError
    from anomalist.server.config import ServerConfig

    try:
        return ServerConfig(**{field: value for field, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise DataError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}.") from error


@app.command()
def add(
    name: NameArgument,
    role: RoleOption,
    password: Annotated[
        str | None,
        typer.Option(envvar="ANOMALIST_PASSWORD", help="Asked for when not given.", show_envvar=True),
    ] = None,
) -> None:
    """Make an account that logs in with a password."""
    from anomalist.server.accounts import MIN_PASSWORD

    if password is None:
        password = typer.prompt(
            f"Password, {MIN_PASSWORD} characters at least",
            hide_input=True,
            confirmation_prompt=True,
            err=True,
        )
    _accounts().add(name, role.value, password)
    typer.echo(f"{name} may log in as {role.value}.", err=True)


@app.command("list")
def list_accounts(json: JsonOption = False) -> None:
    """List accounts and API keys with their roles."""
    from json import dumps

    from rich.table import Table

    from anomalist.cli.terminal import out

    accounts = _accounts()
    table = Table("name", "role", "logs in with")
    rows: list[tuple[str, str, str]] = [
        (each.name, each.role, "nothing: disabled" if each.disabled else "a password")
        for each in accounts.people()
    ]
    rows += [(name, role, f"a key, {shown}…") for shown, name, role in accounts.api_keys()]
    for row in rows:
        if json:
            print(dumps(dict(zip(("name", "role", "by"), row, strict=True))))
        table.add_row(*row)
    if not json:
        out.print(table if rows else "No accounts yet. Make one: anomalist accounts add NAME --role admin")


@app.command()
def change(
    name: NameArgument,
    role: Annotated[RoleChoice | None, typer.Option(help="Another role.")] = None,
    password: Annotated[bool, typer.Option("--password", help="Ask for a new password.")] = False,
    disable: Annotated[
        bool | None, typer.Option("--disable/--enable", help="Whether nobody may log in with it.")
    ] = None,
) -> None:
    """Change an account; a new password and disabling log out who is logged in."""
    asked = "New password"
    new = typer.prompt(asked, hide_input=True, confirmation_prompt=True, err=True) if password else None
    _accounts().change(name, role=None if role is None else role.value, password=new, disabled=disable)
    typer.echo(f"{name} is changed.", err=True)


@app.command()
def remove(name: NameArgument) -> None:
    """Remove an account; who is logged in is logged out."""
    _accounts().remove(name)
    typer.echo(f"{name} is removed.", err=True)


@app.command()
def key(name: NameArgument, role: RoleOption) -> None:
    """Make an API key for a program, and print it; it can't be seen again."""
    print(_accounts().add_key(name, role.value))


@app.command("remove-keys")
def remove_keys(name: NameArgument) -> None:
    """Remove all API keys of a name."""
    typer.echo(f"{_accounts().remove_keys(name)} removed.", err=True)


def _accounts() -> Accounts:
    from anomalist.server.accounts import Accounts
    from anomalist.server.database import Database

    return Accounts(Database(_config().database_url))
