"""``anomalist memory``: remembered scenes, those that ship and a camera's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anomalist.commands import memory_asking, memory_growing
from anomalist.commands.memory_options import (
    EncoderOption,
    MaybeCategory,
    MaybeName,
    MaybeSide,
    NameOption,
    SideName,
    encoder_of,
    scene_table,
)
from anomalist.commands.options import JsonOption

app = typer.Typer(help="Remembered scenes: what ships, and a camera's own.", no_args_is_help=True)
app.command()(memory_growing.build)
app.command()(memory_growing.extend)
app.command()(memory_asking.ask)
app.command()(memory_asking.groups)


@app.command()
def add(
    text: Annotated[str, typer.Argument(help="One scene, a sentence or two.")],
    name: NameOption,
    category: Annotated[str, typer.Option(help="Kind of place, or kind of anomaly.")],
    side: Annotated[SideName, typer.Option(help="Whether it is normal there.")] = "anomalous",
    encoder: EncoderOption = None,
) -> None:
    """Remember one scene of a camera."""
    from pydantic import ValidationError

    from anomalist.errors import DataError
    from anomalist.memory.scenes.camera import memory_path
    from anomalist.memory.scenes.scene import Scene
    from anomalist.memory.scenes.store import SceneStore

    try:
        scene = Scene(id="scene:new", side=side, category=category, text=text, source="a person")
    except ValidationError as error:
        raise DataError(f"That scene can't be stored: {error.errors()[0]['msg']}.") from error
    with SceneStore(memory_path(name), encoder_of(encoder)) as store:
        stored = store.add([scene])
    typer.echo(f"Stored as {stored[0].id}." if stored else "That was remembered already.")


@app.command()
def delete(
    ids: Annotated[list[str], typer.Argument(help="Ids, as in scene:7.")],
    name: NameOption,
    encoder: EncoderOption = None,
) -> None:
    """Forget scenes of a camera: all that are named, or none."""
    from anomalist.memory.scenes.camera import existing_memory
    from anomalist.memory.scenes.store import SceneStore

    with SceneStore(existing_memory(name), encoder_of(encoder)) as store:
        typer.echo(f"Forgot {store.delete(ids)} of {name}.")


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="What to look for, in words.")],
    name: MaybeName = None,
    side: MaybeSide = None,
    category: MaybeCategory = None,
    most: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many.")] = 10,
    encoder: EncoderOption = None,
    json: JsonOption = False,
) -> None:
    """Find the scenes that are most like a text."""
    from json import dumps

    from anomalist.memory.scenes.camera import existing_memory
    from anomalist.memory.scenes.searching import search_shipped
    from anomalist.memory.scenes.store import SceneStore
    from anomalist.terminal import out

    if name is None:
        found = search_shipped(text, most, side=side, category=category, encoder=encoder_of(encoder))
    else:
        with SceneStore(existing_memory(name), encoder_of(encoder)) as store:
            found = store.search(text, most, side=side, category=category)
    if json:
        for near in found:
            print(dumps({**near.scene.model_dump(), "similarity": round(near.similarity, 4)}))
        return
    scenes, similarities = [near.scene for near in found], [near.similarity for near in found]
    out.print(scene_table(scenes, similarities) if found else "Nothing is remembered there.")


@app.command("list")
def list_scenes(
    name: MaybeName = None,
    side: MaybeSide = None,
    category: MaybeCategory = None,
    most: Annotated[int, typer.Option("--most", min=1, help="How many.")] = 100,
    encoder: EncoderOption = None,
    json: JsonOption = False,
) -> None:
    """List remembered scenes in the order of their ids."""
    from anomalist.memory.scenes.camera import existing_memory
    from anomalist.memory.scenes.searching import of
    from anomalist.memory.scenes.shipped import shipped_scenes
    from anomalist.memory.scenes.store import SceneStore
    from anomalist.terminal import out

    if name is None:
        scenes = of(shipped_scenes(), side, category)[:most]
    else:
        with SceneStore(existing_memory(name), encoder_of(encoder)) as store:
            scenes = store.list(side=side, category=category, most=most)
    if json:
        for scene in scenes:
            print(scene.model_dump_json())
    else:
        out.print(scene_table(scenes) if scenes else "Nothing is remembered there.")


@app.command()
def stats(name: MaybeName = None, encoder: EncoderOption = None, json: JsonOption = False) -> None:
    """Say how many scenes of which categories are remembered, and how a camera is calibrated."""
    from collections import Counter
    from json import dumps

    from anomalist.memory.scenes.camera import existing_memory
    from anomalist.memory.scenes.scene import SIDES
    from anomalist.memory.scenes.shipped import shipped_scenes
    from anomalist.memory.scenes.store import SceneStore
    from anomalist.terminal import out

    threshold, place = None, "the scenes that ship"
    if name is None:
        scenes = shipped_scenes()
    else:
        path: Path = existing_memory(name)
        with SceneStore(path, encoder_of(encoder)) as store:
            scenes, threshold, place = store.list(), store.threshold(), str(path)
    counts = {side: Counter(s.category for s in scenes if s.side == side) for side in SIDES}
    if json:
        about = {side: dict(count.most_common()) for side, count in counts.items()}
        calibration = threshold.model_dump() if threshold else None
        print(dumps({"memory": place, "scenes": len(scenes), **about, "threshold": calibration}))
        return
    out.print(f"{place}: {len(scenes):,} scenes", markup=False, highlight=False)
    for side, count in counts.items():
        listed = ", ".join(f"{category} {number}" for category, number in count.most_common())
        out.print(f"{side}, {len(count)} categories: {listed or 'none'}", markup=False, highlight=False)
    if threshold:
        out.print(
            f"alarm from {threshold.value:.3f} on: at most {threshold.rate:g} of normal captions, "
            f"measured on {threshold.captions}",
            highlight=False,
        )
