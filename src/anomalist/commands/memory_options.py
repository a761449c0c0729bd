"""Options that the commands on scene memories have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from anomalist.memory.embedding import Encoder
    from anomalist.memory.scenes.scene import Scene


SideName = Literal["normal", "anomalous"]

NameOption = Annotated[str, typer.Option("--name", help="Memory of a camera: a name, or a .sqlite file.")]
MaybeName = Annotated[
    str | None,
    typer.Option("--name", help="Memory of a camera: a name, or a .sqlite file; else what ships."),
]
MaybeSide = Annotated[SideName | None, typer.Option("--side", help="Only this side.")]
MaybeCategory = Annotated[
    str | None, typer.Option("--category", help="Only this category, as in: theft, walkway.")
]
EncoderOption = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        help="A CLIP- or SigLIP-like model, for pictures: a folder, or one that was fetched.",
    ),
]


def encoder_of(name: str | None) -> Encoder:
    """The encoder of this name; the one for sentences when None."""
    if name is None:
        from anomalist.memory.embedding import load_encoder

        return load_encoder()
    from anomalist.memory.scenes.pictures import open_picture_encoder

    return open_picture_encoder(name)


def scene_table(scenes: Sequence[Scene], similarities: Sequence[float] | None = None) -> Any:  # noqa: ANN401
    """Scenes as people see them."""
    from rich.table import Table
    from rich.text import Text

    table = Table("id", "side", "category", "scene", *(["similarity"] if similarities else []))
    for row, scene in enumerate(scenes):
        more = [f"{similarities[row]:.2f}"] if similarities else []
        table.add_row(scene.id, scene.side, Text(scene.category), Text(scene.text), *more)
    return table
