"""Remembered scenes: the record, the text that is embedded for it, and the scenes that ship.

Before embedding, who does something is replaced by "a person" or "people": two sentences on the same
activity should be alike whoever is described. For picture queries each polarity gets a prefix of its own
(Flashback's repulsive prompting), which pushes the two apart.

The scenes that ship are pairs that people can read in ``data/scenes.jsonl``, with their vectors beside
them. These carry the hash of the sentences and the name of the encoder: vectors of other sentences are
refused.
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
"""Characters: a scene is a sentence or two."""


def _valid_scene_text(text: str) -> str:
    """The text on one line; raises ValueError unless it is a sentence that can be compared."""
    line = " ".join(text.split())
    if not any(map(str.isalpha, line)):
        raise ValueError("a scene has words")
    if len(line) > MAX_SCENE_CHARACTERS:
        raise ValueError(f"a scene has at most {MAX_SCENE_CHARACTERS} characters, this one has {len(line):,}")
    return line


def _valid_category(text: str) -> str:
    """The category in lower case on one line; raises ValueError for what is no name."""
    name = " ".join(text.lower().split())
    if not any(map(str.isalpha, name)) or len(name) > 60:
        raise ValueError("a category is a name of at most 60 characters")
    return name


SceneText = Annotated[str, AfterValidator(_valid_scene_text)]
SceneCategory = Annotated[str, AfterValidator(_valid_category)]


class SceneDescription(Frozen):
    """One side of a pair: of a normal scene the kind of place, of an anomalous one the kind of anomaly."""

    category: SceneCategory
    description: SceneText


class ScenePair(Frozen):
    """A normal scene and an anomalous one of the same place, as they are written in ``scenes.jsonl``."""

    normal: SceneDescription
    anomalous: SceneDescription


class RememberedScene(Frozen):
    """One remembered scene."""

    id: str = Field(pattern=r"^scene:[a-z0-9-]+$")
    side: ScenePolarity
    category: SceneCategory
    text: SceneText
    source: str = Field("shipped", description="where it comes from: shipped, a file of captions, a model")


FramingMode = Literal["none", "apart"]
"""How scenes are framed: not at all, or each side by words of its own."""

SENTENCE_FRAMING: FramingMode = "none"
"""For queries that are sentences: both are put plainly already, and words that only one of the two has make
them less alike."""

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
    """The text that stands for a scene in the memory of sentences."""
    text = _SEVERAL_PEOPLE.sub(
        "people", _ONE_PERSON.sub("a person", plain_form(description), count=1), count=1
    )
    if frames == "none":
        return text
    return f"Normal scene: {text}" if side == "normal" else f"Anomalous scene: {category}, {text}"


def framing_for(encoder: Encoder) -> FramingMode:
    """How scenes are framed for what this encoder takes for queries."""
    return PICTURE_FRAMING if isinstance(encoder, PictureEncoder) else SENTENCE_FRAMING


SCENES = Path(__file__).parents[1] / "data" / "scenes.jsonl"
VECTORS = SCENES.with_suffix(".safetensors")

_REINSTALL = "Install it again: pip install --force-reinstall anomalist"


@cache
def shipped_pairs() -> tuple[ScenePair, ...]:
    """The pairs in the order of the file."""
    try:
        return tuple(ScenePair.model_validate_json(line) for line in _scene_lines())
    except (OSError, ValidationError) as error:
        raise DataError("The scenes that ship can't be read.", _REINSTALL) from error


@cache
def shipped_scenes() -> tuple[RememberedScene, ...]:
    """Both scenes of pair 1, ``scene:1n`` and ``scene:1a``, of pair 2, and so on."""
    return tuple(
        RememberedScene(
            id=f"scene:{number}{side[0]}", side=side, category=said.category, text=said.description
        )
        for number, pair in enumerate(shipped_pairs(), start=1)
        for side, said in (("normal", pair.normal), ("anomalous", pair.anomalous))
    )


def shipped_scene_vectors(encoder: Encoder | None = None) -> FloatArray:
    """Vectors of `shipped_scenes`, unit float32 (n, d), for the sentence encoder or for another.

    Those of another encoder are made once and kept in the home of the settings.

    Raises
    ------
    DataError : those that ship are missing, damaged, or not those of the sentences.
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
