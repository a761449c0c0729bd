"""``anomalist memory ask`` and ``groups``: what memories say of captions or pictures, and what is new."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomalist.commands.memory_options import EncoderOption, MaybeName, encoder_of
from anomalist.commands.options import JsonOption

if TYPE_CHECKING:
    from anomalist.memory.embedding import Encoder
    from anomalist.memory.scenes.memory import Response, SceneMemory


def ask(
    what: Annotated[list[str], typer.Argument(help="Captions; with --encoder, picture files.")],
    name: MaybeName = None,
    encoder: EncoderOption = None,
    json: JsonOption = False,
) -> None:
    """Say what remembered scenes make of captions or pictures, and which scenes that rests on."""
    from anomalist.terminal import out

    response = _response(what, name, encoder_of(encoder))
    for text, each in zip(what, response.rationale, strict=True):
        if json:
            print(each.model_dump_json())
            continue
        verdict = f"{each.side} ({each.score:+.3f})" if each.side else "nothing is said"
        out.print(f"{verdict}: {each.clause or text}", markup=False, highlight=False, soft_wrap=True)
        for memory in each.memories:
            line = f"  {memory.similarity:.2f} {memory.id} {memory.category}: {memory.text}"
            out.print(line, markup=False, highlight=False, soft_wrap=True)


def _response(what: list[str], name: str | None, encoder: Encoder) -> Response:
    from anomalist.memory.scenes.camera import camera_memory, existing_memory
    from anomalist.memory.scenes.memory import SceneMemory
    from anomalist.memory.scenes.store import SceneStore

    if name is None:
        return _asked(SceneMemory(encoder=encoder), what)
    with SceneStore(existing_memory(name), encoder) as store:
        return _asked(camera_memory(store), what)


def _asked(memory: SceneMemory, what: list[str]) -> Response:
    from anomalist.memory.scenes.pictures import PictureEncoder

    if not isinstance(memory.encoder, PictureEncoder):
        return memory.respond(what)
    from anomalist.vision.media import load_image

    pictures = [load_image(path).pixels for path in what]
    return memory.respond_to_vectors(memory.encoder.encode_pictures(pictures))


def groups(
    cases: Annotated[
        Path | None, typer.Option(help="The case file; the one of the settings by default.")
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="Which embeddings; those of sentences by default.")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="Only cases of this profile or scene.")] = None,
    likeness: Annotated[float, typer.Option(min=0, max=1, help="Mean similarity within a group.")] = 0.6,
    json: JsonOption = False,
) -> None:
    """Group past findings that nobody named yet, and propose a name for each group."""
    from rich.table import Table
    from rich.text import Text

    from anomalist.memory.cases import CaseStore
    from anomalist.memory.embedding import NAME
    from anomalist.memory.groups import novel_kinds
    from anomalist.terminal import out

    with CaseStore(cases) as store:
        found = novel_kinds(*store.vectors(space or NAME, profile=profile), likeness=likeness)
    table = Table("proposed name", "cases", "likeness", "the most typical")
    for kind in found:
        if json:
            print(kind.model_dump_json())
        listed = ", ".join(kind.cases[:5]) + (", …" if len(kind.cases) > 5 else "")
        table.add_row(
            Text(kind.name), f"{len(kind.cases)}: {listed}", f"{kind.likeness:.2f}", Text(kind.example)
        )
    if not json:
        out.print(table if found else "No unnamed findings that are alike.")
