"""``anomalist memory``: scene memories, the shipped ones and a camera's own: build, extend, search, ask."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from anomalist.cli.terminal import JsonOption, RayOption

if TYPE_CHECKING:
    from anomalist.memory.embedding import Encoder
    from anomalist.memory.scenes.memory import SceneMemory, SceneScores
    from anomalist.memory.scenes.scene import RememberedScene
    from anomalist.memory.scenes.store import BuildIndex


SideName = Literal["normal", "anomalous"]

NameOption = Annotated[str, typer.Option("--name", help="Memory of a camera: a name, or a .sqlite file.")]
OptionalNameOption = Annotated[
    str | None,
    typer.Option("--name", help="Memory of a camera: a name, or a .sqlite file; else what ships."),
]
SideOption = Annotated[SideName | None, typer.Option("--side", help="Only this side.")]
CategoryOption = Annotated[
    str | None, typer.Option("--category", help="Only this category, as in: theft, walkway.")
]
EncoderOption = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        help="A CLIP- or SigLIP-like model, for pictures: a folder, or one that was fetched.",
    ),
]


def open_encoder(name: str | None) -> Encoder:
    """See `anomalist.memory.embedding.open_encoder`, which takes a second to import."""
    from anomalist.memory.embedding import open_encoder as opened

    return opened(name)


def scene_table(scenes: Sequence[RememberedScene], similarities: Sequence[float] | None = None) -> Any:  # noqa: ANN401
    """Scenes as people see them."""
    from rich.table import Table
    from rich.text import Text

    table = Table("id", "side", "category", "scene", *(["similarity"] if similarities else []))
    for row, scene in enumerate(scenes):
        more = [f"{similarities[row]:.2f}"] if similarities else []
        table.add_row(scene.id, scene.side, Text(scene.category), Text(scene.text), *more)
    return table


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
    ray: RayOption = None,
) -> None:
    """Remember what a camera's captions say, and calibrate it on the normal ones."""
    from anomalist.errors import DataError
    from anomalist.memory.rules.rule import read_captions
    from anomalist.memory.scenes.memory import (
        MIN_CAPTIONS_TO_CALIBRATE,
        build_memory,
        memory_path,
        scenes_from_captions,
    )
    from anomalist.memory.scenes.store import SceneStore

    if side == "anomalous" and (category is None or false_alarm_rate is not None):
        raise DataError(
            "Anomalous captions need a category, and no camera is calibrated on them.",
            "Say --category, as in --category theft.",
        )
    captions = read_captions(source).captions
    threshold = None
    with ExitStack() as stack:
        embedding, indexing = _on_cluster(encoder, ray, stack)
        store = stack.enter_context(SceneStore(memory_path(name), embedding))
        if side == "anomalous":
            added = store.add(
                scenes_from_captions(captions, side="anomalous", source=source.name, category=category or "")
            )
        else:
            added, threshold = build_memory(store, captions, source.name, rate=false_alarm_rate)
        if indexing is not None:
            store.build_index(indexing)
        typer.echo(f"Remembered {len(added)} new scenes of {len(captions)} captions in {store.place}.")
    if threshold is not None:
        typer.echo(
            f"Alarm from a score of {threshold.value:.3f} on: at most {threshold.rate:g} of normal captions."
        )
    elif side == "normal":
        typer.echo(
            f"No threshold was fitted: it takes {MIN_CAPTIONS_TO_CALIBRATE} captions that say something, "
            "or another --false-alarm-rate."
        )


def _on_cluster(encoder: str | None, ray: str | None, stack: ExitStack) -> tuple[Encoder, BuildIndex | None]:
    """What embeds captions and builds a large index: this process, or a Ray cluster where one is named."""
    if ray is None:
        return open_encoder(encoder), None
    from anomalist.cluster.captions import ClusterEncoder, index_on_cluster
    from anomalist.cluster.connection import RayOptions, connected

    options = RayOptions(ray)
    stack.enter_context(connected(options))
    return ClusterEncoder(encoder, options), partial(index_on_cluster, options=options)


def extend(
    model: Annotated[str, typer.Option("--model", help="Who writes: hf:…, openai:… or scripted:FILE.")],
    place: Annotated[str, typer.Option(help="Kind of place, as in: swimming pool.")],
    name: NameOption,
    count: Annotated[int, typer.Option(min=1, max=1000, help="Pairs of scenes.")] = 10,
    encoder: EncoderOption = None,
    json: JsonOption = False,
) -> None:
    """Have a language model write pairs of scenes for a kind of place, and remember them."""
    from anomalist.agent.models.selection import open_model
    from anomalist.agent.reasoning.memory_generation import generate_scenes
    from anomalist.cli.terminal import err, progress_bars
    from anomalist.errors import DataError, ModelError
    from anomalist.memory.scenes.memory import memory_path
    from anomalist.memory.scenes.scene import RememberedScene, shipped_scenes
    from anomalist.memory.scenes.store import SceneStore, filter_scenes

    kind = " ".join(place.lower().split())
    if not any(map(str.isalpha, kind)) or len(kind) > 60:
        raise DataError("A kind of place is a name of at most 60 characters.", "As in: --place garage")
    with SceneStore(memory_path(name), open_encoder(encoder)) as store, progress_bars() as progress:
        known = [scene.text for scene in (*filter_scenes(shipped_scenes(), None, kind), *store.list())]
        written = generate_scenes(open_model(model), kind, count, known=known, progress=progress)
        stored = store.add(
            [
                RememberedScene(
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


def ask(
    what: Annotated[list[str], typer.Argument(help="Captions; with --encoder, picture files.")],
    name: OptionalNameOption = None,
    encoder: EncoderOption = None,
    json: JsonOption = False,
) -> None:
    """Score captions or pictures by remembered scenes, and show the scenes behind each score."""
    from anomalist.cli.terminal import out

    response = _query_memory(what, name, open_encoder(encoder))
    for text, each in zip(what, response.rationale, strict=True):
        if json:
            print(each.model_dump_json())
            continue
        verdict = f"{each.side} ({each.score:+.3f})" if each.side else "nothing is said"
        out.print(f"{verdict}: {each.clause or text}", markup=False, highlight=False, soft_wrap=True)
        for memory in each.memories:
            line = f"  {memory.similarity:.2f} {memory.id} {memory.category}: {memory.text}"
            out.print(line, markup=False, highlight=False, soft_wrap=True)


def _query_memory(what: list[str], name: str | None, encoder: Encoder) -> SceneScores:
    from anomalist.memory.scenes.memory import SceneMemory, camera_memory, existing_memory_path
    from anomalist.memory.scenes.store import SceneStore

    if name is None:
        return _respond(SceneMemory(encoder=encoder), what)
    with SceneStore(existing_memory_path(name), encoder) as store:
        return _respond(camera_memory(store), what)


def _respond(memory: SceneMemory, what: list[str]) -> SceneScores:
    from anomalist.memory.embedding import PictureEncoder

    if not isinstance(memory.encoder, PictureEncoder):
        return memory.score_captions(what)
    from anomalist.vision.media.images import load_image

    pictures = [load_image(path).pixels for path in what]
    return memory.score_vectors(memory.encoder.encode_pictures(pictures))


def groups(
    cases: Annotated[
        Path | None, typer.Option(help="The case file; the one of the settings by default.")
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(help="Which embeddings; those of regions of pictures and of events by default."),
    ] = None,
    profile: Annotated[str | None, typer.Option(help="Only cases of this profile or scene.")] = None,
    likeness: Annotated[float, typer.Option(min=0, max=1, help="Mean similarity within a group.")] = 0.6,
    json: JsonOption = False,
) -> None:
    """Group past findings that nobody named yet, and propose a name for each group."""
    from rich.table import Table
    from rich.text import Text

    from anomalist.agent.reasoning.recall import REGION_VECTOR_SPACE
    from anomalist.cli.terminal import out
    from anomalist.memory.cases import CaseStore
    from anomalist.memory.ranking import novel_kinds
    from anomalist.vision.motion.events import SIGNATURE_SPACE

    with CaseStore(cases) as store:
        found = [
            kind
            for each in ([space] if space else [REGION_VECTOR_SPACE, SIGNATURE_SPACE])
            for kind in novel_kinds(*store.vectors(each, profile=profile), likeness=likeness)
        ]
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


app = typer.Typer(help="Remembered scenes: what ships, and a camera's own.", no_args_is_help=True)
app.command()(build)
app.command()(extend)
app.command()(ask)
app.command()(groups)


@app.command()
def add(
    text: Annotated[str, typer.Argument(help="One scene, a sentence or two.")],
    name: NameOption,
    category: Annotated[str, typer.Option(help="Kind of place, or kind of anomaly.")],
    side: Annotated[SideName, typer.Option(help="Whether it is normal there.")] = "anomalous",
    encoder: EncoderOption = None,
) -> None:
    """Remember one scene of a camera."""
    from anomalist.memory.scenes.memory import memory_path
    from anomalist.memory.scenes.scene import new_scene
    from anomalist.memory.scenes.store import SceneStore

    scene = new_scene(side, category, text, "a person")
    with SceneStore(memory_path(name), open_encoder(encoder)) as store:
        stored = store.add([scene])
    typer.echo(f"Stored as {stored[0].id}." if stored else "That was remembered already.")


@app.command()
def delete(
    ids: Annotated[list[str], typer.Argument(help="Ids, as in scene:7.")],
    name: NameOption,
    encoder: EncoderOption = None,
) -> None:
    """Forget scenes of a camera: all that are named, or none."""
    from anomalist.memory.scenes.memory import existing_memory_path
    from anomalist.memory.scenes.store import SceneStore

    with SceneStore(existing_memory_path(name), open_encoder(encoder)) as store:
        typer.echo(f"Forgot {store.delete(ids)} of {name}.")


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="What to look for, in words.")],
    name: OptionalNameOption = None,
    side: SideOption = None,
    category: CategoryOption = None,
    most: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many.")] = 10,
    encoder: EncoderOption = None,
    json: JsonOption = False,
) -> None:
    """Find the scenes that are most like a text."""
    from json import dumps

    from anomalist.cli.terminal import out
    from anomalist.memory.scenes.memory import existing_memory_path
    from anomalist.memory.scenes.store import SceneStore, search_shipped

    if name is None:
        found = search_shipped(text, most, side=side, category=category, encoder=open_encoder(encoder))
    else:
        with SceneStore(existing_memory_path(name), open_encoder(encoder)) as store:
            found = store.search(text, most, side=side, category=category)
    if json:
        for near in found:
            print(dumps({**near.scene.model_dump(), "similarity": round(near.similarity, 4)}))
        return
    scenes, similarities = [near.scene for near in found], [near.similarity for near in found]
    out.print(scene_table(scenes, similarities) if found else "Nothing is remembered there.")


@app.command("list")
def list_scenes(
    name: OptionalNameOption = None,
    side: SideOption = None,
    category: CategoryOption = None,
    most: Annotated[int, typer.Option("--most", min=1, help="How many.")] = 100,
    encoder: EncoderOption = None,
    json: JsonOption = False,
) -> None:
    """List remembered scenes in the order of their ids."""
    from anomalist.cli.terminal import out
    from anomalist.memory.scenes.memory import existing_memory_path
    from anomalist.memory.scenes.scene import shipped_scenes
    from anomalist.memory.scenes.store import SceneStore, filter_scenes

    if name is None:
        scenes = filter_scenes(shipped_scenes(), side, category)[:most]
    else:
        with SceneStore(existing_memory_path(name), open_encoder(encoder)) as store:
            scenes = store.list(side=side, category=category, most=most)
    if json:
        for scene in scenes:
            print(scene.model_dump_json())
    else:
        out.print(scene_table(scenes) if scenes else "Nothing is remembered there.")


@app.command()
def stats(name: OptionalNameOption = None, encoder: EncoderOption = None, json: JsonOption = False) -> None:
    """Say how many scenes of which categories are remembered, and how a camera is calibrated."""
    from collections import Counter
    from json import dumps

    from anomalist.cli.terminal import out
    from anomalist.memory.scenes.memory import existing_memory_path
    from anomalist.memory.scenes.scene import POLARITIES, shipped_scenes
    from anomalist.memory.scenes.store import SceneStore

    threshold, place = None, "the scenes that ship"
    if name is None:
        scenes = shipped_scenes()
    else:
        with SceneStore(existing_memory_path(name), open_encoder(encoder)) as store:
            scenes, threshold, place = store.list(), store.threshold(), store.place
    counts = {side: Counter(s.category for s in scenes if s.side == side) for side in POLARITIES}
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
