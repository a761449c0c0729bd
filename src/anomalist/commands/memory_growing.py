"""``anomalist memory build`` and ``extend``: from a camera's captions, and by a language model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anomalist.commands.memory_options import EncoderOption, NameOption, SideName, encoder_of
from anomalist.commands.options import JsonOption


def build(
    source: Annotated[
        Path, typer.Option("--from", help="Captions: lines of text, or a CSV with a column caption.")
    ],
    name: NameOption = "camera",
    side: Annotated[SideName, typer.Option("--side", help="What the captions show.")] = "normal",
    category: Annotated[
        str | None, typer.Option(help="Of the scenes; a kind of anomaly where they show one.")
    ] = None,
    false_alarm_rate: Annotated[
        float | None,
        typer.Option(help="Share of normal captions that may be called anomalous; 0.05 when not asked."),
    ] = None,
    encoder: EncoderOption = None,
) -> None:
    """Remember what a camera's captions say, and calibrate it on the normal ones."""
    from anomalist.errors import DataError
    from anomalist.memory.rules.captions import read_captions
    from anomalist.memory.scenes.camera import build_memory, memory_path
    from anomalist.memory.scenes.memory import own_scenes
    from anomalist.memory.scenes.store import SceneStore

    if side == "anomalous" and (category is None or false_alarm_rate is not None):
        raise DataError(
            "Anomalous captions need a category, and no camera is calibrated on them.",
            "Say --category, as in --category theft.",
        )
    captions = read_captions(source).captions
    threshold = None
    with SceneStore(memory_path(name), encoder_of(encoder)) as store:
        if side == "anomalous":
            added = store.add(
                own_scenes(captions, side="anomalous", source=source.name, category=category or "")
            )
        else:
            added, threshold = build_memory(store, captions, source.name, rate=false_alarm_rate)
        typer.echo(f"Remembered {len(added)} new scenes of {len(captions)} captions in {store.path}.")
    if threshold is not None:
        typer.echo(
            f"Alarm from a score of {threshold.value:.3f} on: at most {threshold.rate:g} of normal captions."
        )


def extend(
    model: Annotated[str, typer.Option("--model", help="Who writes: hf:…, openai:… or scripted:FILE.")],
    place: Annotated[str, typer.Option(help="Kind of place, as in: swimming pool.")],
    name: NameOption,
    count: Annotated[int, typer.Option(min=1, max=1000, help="Pairs of scenes.")] = 10,
    encoder: EncoderOption = None,
    json: JsonOption = False,
) -> None:
    """Have a language model write pairs of scenes for a kind of place, and remember them."""
    from anomalist.agent.models import open_model
    from anomalist.agent.scene_writing import write_scenes
    from anomalist.errors import DataError, ModelError
    from anomalist.memory.scenes.camera import memory_path
    from anomalist.memory.scenes.scene import Scene
    from anomalist.memory.scenes.searching import of
    from anomalist.memory.scenes.shipped import shipped_scenes
    from anomalist.memory.scenes.store import SceneStore
    from anomalist.terminal import err, progress_bars

    kind = " ".join(place.lower().split())
    if not any(map(str.isalpha, kind)) or len(kind) > 60:
        raise DataError("A kind of place is a name of at most 60 characters.", "As in: --place garage")
    with SceneStore(memory_path(name), encoder_of(encoder)) as store, progress_bars() as progress:
        known = [scene.text for scene in (*of(shipped_scenes(), None, kind), *store.list())]
        written = write_scenes(open_model(model), kind, count, known=known, progress=progress)
        stored = store.add(
            [
                Scene(
                    id="scene:new",
                    side=side,
                    category=said.category,
                    text=said.description,
                    source=f"written by {model}",
                )
                for pair in written.pairs
                for side, said in (("normal", pair.normal), ("anomalous", pair.anomalous))
            ]
        )
    for reason in written.dropped:
        err.print(f"Dropped {reason}", markup=False, soft_wrap=True)
    if not stored:
        raise ModelError("The model wrote no scene that can be used.", "Try again, or take another model.")
    for scene in stored:
        print(scene.model_dump_json() if json else f"{scene.id} {scene.side}, {scene.category}: {scene.text}")
