"""Remembered scenes: the record, the text that is embedded for it, and the scenes that ship.

Before embedding, the subject is replaced by "a person" or "people": two sentences on the same activity should
have similar vectors whoever is described. For picture queries each polarity gets a prefix of its own, which
moves the two apart (repulsive prompting; Flashback, Lee et al. 2025).

The scenes that ship are pairs in ``data/scenes.jsonl``, with their vectors in ``data/scenes.safetensors``.
The metadata of the vectors hold the hash of the sentences and the name of the encoder; vectors of other
sentences are refused.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field, ValidationError

from anomalist.errors import DataError
from anomalist.memory import embedding
from anomalist.memory.embedding import ENCODER_NAME, Encoder, PictureEncoder, load_encoder
from anomalist.memory.rules.statements import plain_form
from anomalist.settings import Settings
from anomalist.types.common import FloatArray, Frozen

ScenePolarity = Literal["normal", "anomalous"]
POLARITIES: tuple[ScenePolarity, ScenePolarity] = ("normal", "anomalous")

MAX_SCENE_CHARACTERS = 600
"""Longest scene description: a sentence or two."""


def _valid_scene_text(text: str) -> str:
    """The text on one line; raises ValueError unless it is a sentence that can be compared."""
    line = " ".join(text.split())
    if not any(map(str.isalpha, line)):
        raise ValueError("a scene has words")
    if len(line) > MAX_SCENE_CHARACTERS:
        raise ValueError(f"a scene has at most {MAX_SCENE_CHARACTERS} characters, this one has {len(line):,}")
    return line


def _valid_category(text: str) -> str:
    """The category in lower case on one line; raises ValueError for a text that is no name."""
    name = " ".join(text.lower().split())
    if not any(map(str.isalpha, name)) or len(name) > 60:
        raise ValueError("a category is a name of at most 60 characters")
    return name


SceneText = Annotated[str, AfterValidator(_valid_scene_text)]
SceneCategory = Annotated[str, AfterValidator(_valid_category)]


class SceneDescription(Frozen):
    """One scene of a pair; its category is the kind of place (normal) or the kind of anomaly (anomalous)."""

    category: SceneCategory
    description: SceneText


class ScenePair(Frozen):
    """A normal and an anomalous scene of the same place: one line of ``scenes.jsonl``."""

    normal: SceneDescription
    anomalous: SceneDescription


class RememberedScene(Frozen):
    """A scene description with id, polarity, category and source."""

    id: str = Field(pattern=r"^scene:[a-z0-9-]+$")
    side: ScenePolarity
    category: SceneCategory
    text: SceneText
    source: str = Field("shipped", description="where it comes from: shipped, a file of captions, a model")


def new_scene(side: ScenePolarity, category: str, text: str, source: str) -> RememberedScene:
    """A scene to be stored. Raises DataError, which says what is wrong with it."""
    try:
        return RememberedScene(id="scene:new", side=side, category=category, text=text, source=source)
    except ValidationError as error:
        raise DataError(f"That scene can't be stored: {error.errors()[0]['msg']}.") from error


FramingMode = Literal["none", "apart"]
"""How scenes are framed before embedding: not at all, or each polarity by a prefix of its own."""

SENTENCE_FRAMING: FramingMode = "none"
"""For queries that are sentences, which have no prefix: one on the scenes alone would lower all
similarities."""

PICTURE_FRAMING: FramingMode = "apart"
"""For queries that are pictures, which have no words."""

_PEOPLE = r"(?:people|men|women|boys|girls|children|persons|teenagers|workers|adults|individuals|pedestrians)"
_SEVERAL_PEOPLE = re.compile(
    rf"^(?:(?:two|three|four|five|\w+ ten|several|some|many|a few|a (?:large |small )?group of)"
    rf" (?:young )?{_PEOPLE}|an? man and an? (?:wo)?man)\b(?= \w)",
    re.I,
)
_ONE_PERSON = re.compile(
    r"^(?:(?:an?|one|the) (?:young |elderly |old |small |little )*"
    r"(?:man|woman|person|boy|girl|teenager|child|toddler|worker|adult)|someone|somebody)"
    r"(?: (?:in|with) (?:an? |the )?(?:\w+ )?\w+)?(?= (?!in\b|with\b)\w+s\b)",
    re.I,
)


def apply_frame(description: str, side: ScenePolarity, category: str, frames: FramingMode) -> str:
    """The text that is embedded for a scene."""
    text = _SEVERAL_PEOPLE.sub(
        "people", _ONE_PERSON.sub("a person", plain_form(description), count=1), count=1
    )
    if frames == "none":
        return text
    return f"Normal scene: {text}" if side == "normal" else f"Anomalous scene: {category}, {text}"


def framing_for(encoder: Encoder) -> FramingMode:
    """The framing that suits the queries of this encoder, pictures or sentences."""
    return PICTURE_FRAMING if isinstance(encoder, PictureEncoder) else SENTENCE_FRAMING


SCENES = Path(__file__).parents[1] / "data" / "scenes.jsonl"
"""The scenes that ship, one `ScenePair` a line."""

VECTORS = SCENES.with_suffix(".safetensors")
"""Their vectors, float16 (n, d), in the order of `shipped_scenes`."""

_REINSTALL = "Install it again: pip install --force-reinstall anomalist"


@cache
def shipped_pairs() -> tuple[ScenePair, ...]:
    """The pairs of scenes that ship, in the order of the file."""
    try:
        return tuple(ScenePair.model_validate_json(line) for line in _scene_lines())
    except (OSError, ValidationError) as error:
        raise DataError("The scenes that ship can't be read.", _REINSTALL) from error


@cache
def shipped_scenes() -> tuple[RememberedScene, ...]:
    """Both scenes of each pair that ships: ``scene:1n`` (normal), ``scene:1a`` (anomalous), ``scene:2n`` …"""
    return tuple(
        RememberedScene(
            id=f"scene:{number}{side[0]}", side=side, category=scene.category, text=scene.description
        )
        for number, pair in enumerate(shipped_pairs(), start=1)
        for side, scene in (("normal", pair.normal), ("anomalous", pair.anomalous))
    )


def shipped_scene_vectors(encoder: Encoder | None = None) -> FloatArray:
    """Vectors of `shipped_scenes`, unit float32 (n, d), for the sentence encoder or for another.

    Vectors of another encoder are computed once and cached in the home of the settings.

    Raises
    ------
    DataError : the vectors that ship are missing, damaged, or of other sentences.
    """
    if encoder is None or encoder.name == ENCODER_NAME:
        return _sentence_vectors()
    path = Settings().home / "memory" / f"{re.sub(r'[^A-Za-z0-9._-]', '_', encoder.name)}.safetensors"
    try:
        return _read_scene_vectors(path, encoder)
    except DataError:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_scene_vectors(path, encoder)
        return _read_scene_vectors(path, encoder)


@cache
def _sentence_vectors() -> FloatArray:
    return _read_scene_vectors(VECTORS, load_encoder())


def _read_scene_vectors(path: Path, encoder: Encoder) -> FloatArray:
    shape = (len(shipped_scenes()), encoder.dimensions)
    return embedding.read_vectors(path, _vector_metadata(encoder), shape, "the scenes that ship")


def write_scene_vectors(path: Path = VECTORS, encoder: Encoder | None = None) -> None:
    """Embed the scenes that ship and write their vectors, float16; the file appears whole or not at all."""
    encoder = encoder or load_encoder()
    frames = framing_for(encoder)
    texts = [apply_frame(scene.text, scene.side, scene.category, frames) for scene in shipped_scenes()]
    embedding.write_vectors(path, encoder.encode(texts).astype(np.float16), _vector_metadata(encoder))


def _vector_metadata(encoder: Encoder) -> dict[str, str]:
    digest = embedding.lines_sha256(_scene_lines())
    return {"encoder": encoder.name, "frames": framing_for(encoder), "sentences": digest}


def _scene_lines() -> list[str]:
    return SCENES.read_text(encoding="utf-8").splitlines()
