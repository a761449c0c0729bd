"""Generate pairs of normal and anomalous scene descriptions by a chat model, deduplicated by embedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from langchain_core.language_models import BaseChatModel
from pydantic import ValidationError

from anomalist.agent.models.structured import ask_structured, system_message, user_message
from anomalist.agent.reasoning.vlm_reasoner import REPLY_TIMEOUT
from anomalist.memory.embedding import Encoder, load_encoder
from anomalist.memory.scenes.scene import SceneDescription, ScenePair, apply_frame
from anomalist.prompts.schemas import MAX_PAIRS, WrittenPair, WrittenPairs
from anomalist.prompts.templates import render

SCENES_SYSTEM_PROMPT, WRITE_SCENES_PROMPT = "scenes_system.v1", "scenes_write.v1"

DUPLICATE_SIMILARITY = 0.92
"""Cosine similarity from which a scene is a duplicate of another."""

SCENES_SHOWN = 12
"""Known scenes that a model reads, so that it writes about other things."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class GeneratedScenes:
    """What a model wrote.

    Parameters
    ----------
    pairs : that are new and can be used.
    dropped : what can't, with the reason.
    replies : raw, in their order.
    """

    pairs: tuple[ScenePair, ...]
    dropped: tuple[str, ...]
    replies: tuple[str, ...]


def generate_scenes(
    model: BaseChatModel,
    place: str,
    count: int,
    *,
    known: Sequence[str] = (),
    encoder: Encoder | None = None,
    progress: Progress = lambda *_: None,
) -> GeneratedScenes:
    """Have a model write pairs of scenes for a kind of place, at most fifteen a call.

    It ends when ``count`` pairs are there, or after as many calls as twice that would take.

    Parameters
    ----------
    model : any chat model.
    place : kind of place, in a few words; the category of the normal scenes.
    count : pairs that are wanted.
    known : scenes of such places that are remembered already.
    encoder : tells whether two scenes tell the same; `load_encoder()` by default.
    progress : told how many pairs there are.

    Raises ModelError when the model fails.
    """
    encoder = encoder or load_encoder()
    pairs: list[ScenePair] = []
    dropped: list[str] = []
    replies: list[str] = []
    told = _DuplicateFilter(known, encoder)
    for _ in range(2 * -(-count // MAX_PAIRS)):
        wanted = min(count - len(pairs), MAX_PAIRS)
        if not wanted:
            break
        recent = [*known, *(pair.anomalous.description for pair in pairs)][-SCENES_SHOWN:]
        prompt = render(WRITE_SCENES_PROMPT, place=place, count=wanted, known=recent)
        messages = [system_message(render(SCENES_SYSTEM_PROMPT)), user_message(prompt)]
        reply = ask_structured(model, messages, WrittenPairs, timeout=REPLY_TIMEOUT)
        replies += reply.raw
        if reply.value is None:
            dropped += reply.problems[-1:]
            continue
        for written in reply.value.pairs[:wanted]:
            pair, reason = _validate_pair(written, place, told)
            pairs += [pair] if pair else []
            dropped += [reason] if reason else []
        progress(place, len(pairs), count)
    return GeneratedScenes(tuple(pairs), tuple(dropped), tuple(replies))


class _DuplicateFilter:
    """Embeddings of the scenes so far, to detect near-duplicates."""

    def __init__(self, texts: Sequence[str], encoder: Encoder) -> None:
        self._encoder = encoder
        self._vectors = encoder.encode([apply_frame(text, "normal", "", "none") for text in texts])

    def first(self, texts: Sequence[str]) -> str | None:
        """Return the first text that duplicates a known one or one of these; else None, and remember all."""
        new = self._encoder.encode([apply_frame(text, "normal", "", "none") for text in texts])
        for row, text in enumerate(texts):
            before = np.concatenate([self._vectors, new[:row]])
            if len(before) and float((before @ new[row]).max()) >= DUPLICATE_SIMILARITY:
                return text
        self._vectors = np.concatenate([self._vectors, new])
        return None


def _validate_pair(written: WrittenPair, place: str, told: _DuplicateFilter) -> tuple[ScenePair | None, str]:
    """The pair, or why it isn't taken."""
    try:
        pair = ScenePair(
            normal=SceneDescription(category=place, description=written.normal),
            anomalous=SceneDescription(category=written.kind, description=written.anomalous),
        )
    except ValidationError as error:
        return None, f"{written.normal[:60]!r}: {error.errors(include_input=False)[0]['msg']}."
    again = told.first([pair.normal.description, pair.anomalous.description])
    return (None, f"{again[:60]!r} was told before.") if again else (pair, "")
