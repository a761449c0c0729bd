"""``anomalist models``: which language models are here, and fetching one."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from anomalist.commands.options import JsonOption
from anomalist.errors import ModelError

app = typer.Typer(help="Vision-language models on this machine.", no_args_is_help=True)


@app.command("list")
def list_models(json: JsonOption = False) -> None:
    """List the vision-language models that were fetched, as --model takes them."""
    from json import dumps

    from rich.table import Table

    from anomalist.agent.hub import cached_models, in_bytes
    from anomalist.terminal import out

    table = Table("--model", "size", "revision")
    for model in cached_models():
        if json:
            row = {"model": f"hf:{model.name}", "bytes": model.size, "revision": model.revision}
            print(dumps(row))
        table.add_row(f"hf:{model.name}", in_bytes(model.size), model.revision[:12])
    if not json:
        nothing = "No vision-language models here yet. Fetch one: anomalist models pull NAME"
        out.print(table if table.row_count else nothing, highlight=False)


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="As on the Hugging Face Hub: Qwen/Qwen3-VL-2B-Instruct")],
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Fetch a model from the Hugging Face Hub, after showing its size and licence."""
    from anomalist.agent.hub import fetch, in_bytes, look_up
    from anomalist.terminal import err

    offer = look_up(name)
    size = f"{in_bytes(offer.size)} in {len(offer.files)} files"
    err.print(
        f"{offer.name}: {size}, licence: {offer.licence}.", markup=False, highlight=False, soft_wrap=True
    )
    if not yes and not sys.stdin.isatty():
        raise ModelError("Nothing was fetched.", "Say --yes where nobody can be asked.")
    if not yes and not typer.confirm("Fetch it?", err=True):
        raise typer.Exit
    fetch(offer)
    typer.echo(f"--model hf:{offer.name}")
