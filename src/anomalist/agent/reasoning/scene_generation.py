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
"""Cosine similarity from which two scenes are duplicates."""

SCENES_SHOWN = 12
"""Known scenes in the prompt, so that the model writes different ones."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class GeneratedScenes:
    """Scene pairs that a model generated.

    Parameters
    ----------
    pairs : valid pairs without duplicates.
    dropped : invalid or duplicate pairs and replies, with the reason.
    replies : raw replies, in order.
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
    """Have a model write pairs of scenes for a kind of place, at most `MAX_PAIRS` a call.

    Ends with ``count`` pairs, or after twice the calls that these would need.

    Parameters
    ----------
    model : any chat model.
    place : kind of place, in a few words; the category of the normal scenes.
    count : number of pairs.
    known : scenes of such places that the memory already holds.
    encoder : sentence encoder that detects duplicates; `load_encoder()` by default.
    progress : called with the place, the pairs so far and ``count``.

    Raises ModelError when the model fails.
    """
    encoder = encoder or load_encoder()
    pairs: list[ScenePair] = []
    dropped: list[str] = []
    replies: list[str] = []
    duplicates = _DuplicateFilter(known, encoder)
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
            pair, reason = _validate_pair(written, place, duplicates)
            pairs += [pair] if pair else []
            dropped += [reason] if reason else []
        progress(place, len(pairs), count)
    return GeneratedScenes(tuple(pairs), tuple(dropped), tuple(replies))


class _DuplicateFilter:
    """Embeddings of the scenes so far, to detect near-duplicates."""

    def __init__(self, texts: Sequence[str], encoder: Encoder) -> None:
        self._encoder = encoder
        self._vectors = encoder.encode([apply_frame(text, "normal", "", "none") for text in texts])

    def first_duplicate(self, texts: Sequence[str]) -> str | None:
        """The first text that duplicates a known one or another of these; if all are new, add them."""
        new = self._encoder.encode([apply_frame(text, "normal", "", "none") for text in texts])
        for row, text in enumerate(texts):
            before = np.concatenate([self._vectors, new[:row]])
            if len(before) and float((before @ new[row]).max()) >= DUPLICATE_SIMILARITY:
                return text
        self._vectors = np.concatenate([self._vectors, new])
        return None


def _validate_pair(
    written: WrittenPair, place: str, duplicates: _DuplicateFilter
) -> tuple[ScenePair | None, str]:
    """The pair and "", or None and the reason why it is dropped."""
    try:
        pair = ScenePair(
            normal=SceneDescription(category=place, description=written.normal),
            anomalous=SceneDescription(category=written.kind, description=written.anomalous),
        )
    except ValidationError as error:
        return None, f"{written.normal[:60]!r}: {error.errors(include_input=False)[0]['msg']}."
    duplicate = duplicates.first_duplicate([pair.normal.description, pair.anomalous.description])
    return (None, f"{duplicate[:60]!r} is a duplicate.") if duplicate else (pair, "")
