"""``anomalist mcp``: the agent's tools for any assistant that speaks the Model Context Protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anomalist.errors import DataError


def mcp(
    what: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN|PICTURES|CLIP]…", help="What is open from the start."),
    ] = None,
    profile: Annotated[str | None, typer.Option(help="Profile (or scene) to compare with.")] = None,
    reference: Annotated[Path | None, typer.Option(help="One good picture to compare with.")] = None,
    root: Annotated[
        list[Path] | None,
        typer.Option(help="Folder whose files may be opened; this one when not asked. Repeat it for more."),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Serve streamable HTTP at http://127.0.0.1:PORT/mcp, not stdio.")
    ] = None,
) -> None:
    """Serve the agent's tools to an assistant, by the Model Context Protocol (stdio, or HTTP on loopback).

    The assistant reads findings with the ids that they rest on, sees pictures as resources, and has its own
    sentences checked (check_claim): borne out, contradicted, or not testable.
    """
    from anomalist.server.mcp_server import build_server

    roots = [Path.cwd()] if root is None else root
    missing = next((each for each in roots if not each.is_dir()), None)
    if missing is not None:
        raise DataError(f"There is no folder {missing}.", "--root names a folder.")
    server = build_server(roots, what or (), profile=profile, reference=reference)
    if port is None:
        server.run("stdio")
    else:
        typer.echo(f"Serving http://127.0.0.1:{port}/mcp", err=True)
        server.run("streamable-http", host="127.0.0.1", port=port)
