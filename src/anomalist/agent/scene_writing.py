"""New scenes for a memory by a language model, any that chats: asked place by place, and read with doubt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from langchain_core.language_models import BaseChatModel
from pydantic import ValidationError

from anomalist.agent.messages import system_message, user_message
from anomalist.agent.structured import ask
from anomalist.agent.vlm import TIMEOUT
from anomalist.memory.embedding import Encoder, load_encoder
from anomalist.memory.scenes.framing import framed
from anomalist.memory.scenes.scene import Described, Pair
from anomalist.prompts.rendering import render
from anomalist.prompts.scene_replies import MOST_PAIRS, WrittenPair, WrittenPairs

SYSTEM, WRITE = "scenes_system.v1", "scenes_write.v1"

SAME = 0.92
"""Cosine similarity from which on a scene tells what another one told."""

SHOWN = 12
"""Known scenes that a model reads, so that it writes about other things."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Written:
    """What a model wrote.

    Parameters
    ----------
    pairs : that are new and can be used.
    dropped : what can't, with the reason.
    replies : raw, in their order.
    """

    pairs: tuple[Pair, ...]
    dropped: tuple[str, ...]
    replies: tuple[str, ...]


def write_scenes(
    model: BaseChatModel,
    place: str,
    count: int,
    *,
    known: Sequence[str] = (),
    encoder: Encoder | None = None,
    progress: Progress = lambda *_: None,
) -> Written:
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
    pairs: list[Pair] = []
    dropped: list[str] = []
    replies: list[str] = []
    told = _Told(known, encoder)
    for _ in range(2 * -(-count // MOST_PAIRS)):
        wanted = min(count - len(pairs), MOST_PAIRS)
        if not wanted:
            break
        recent = [*known, *(pair.anomalous.description for pair in pairs)][-SHOWN:]
        prompt = render(WRITE, place=place, count=wanted, known=recent)
        messages = [system_message(render(SYSTEM)), user_message(prompt)]
        reply = ask(model, messages, WrittenPairs, timeout=TIMEOUT)
        replies += reply.raw
        if reply.value is None:
            dropped += reply.problems[-1:]
            continue
        for written in reply.value.pairs[:wanted]:
            pair, reason = _checked(written, place, told)
            pairs += [pair] if pair else []
            dropped += [reason] if reason else []
        progress(place, len(pairs), count)
    return Written(tuple(pairs), tuple(dropped), tuple(replies))


class _Told:
    """What was told already; scenes that tell the same are noticed whoever does it."""

    def __init__(self, texts: Sequence[str], encoder: Encoder) -> None:
        self._encoder = encoder
        self._vectors = encoder.encode([framed(text, "normal", "", "none") for text in texts])

    def first(self, texts: Sequence[str]) -> str | None:
        """The first of the texts that was told before, or that two of them tell; else they are noted."""
        new = self._encoder.encode([framed(text, "normal", "", "none") for text in texts])
        for row, text in enumerate(texts):
            before = np.concatenate([self._vectors, new[:row]])
            if len(before) and float((before @ new[row]).max()) >= SAME:
                return text
        self._vectors = np.concatenate([self._vectors, new])
        return None


def _checked(written: WrittenPair, place: str, told: _Told) -> tuple[Pair | None, str]:
    """The pair, or why it isn't taken."""
    try:
        pair = Pair(
            normal=Described(category=place, description=written.normal),
            anomalous=Described(category=written.kind, description=written.anomalous),
        )
    except ValidationError as error:
        return None, f"{written.normal[:60]!r}: {error.errors(include_input=False)[0]['msg']}."
    again = told.first([pair.normal.description, pair.anomalous.description])
    return (None, f"{again[:60]!r} was told before.") if again else (pair, "")
