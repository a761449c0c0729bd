"""The scene memory: captions or pictures held against remembered scenes, without any language model.

A caption of twelve walkers and one cyclist is about a cyclist: every statement asks the memory by itself,
and the one that speaks most for an anomaly decides. What denies ("no one is running") is compared only with
scenes that deny.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from anomalist.memory.embedding import Encoder, load_encoder
from anomalist.memory.rules.statements import Statement, statements
from anomalist.memory.scenes.framing import framed, frames_for
from anomalist.memory.scenes.responding import Weighing
from anomalist.memory.scenes.scene import LONGEST_SCENE, Scene, Side
from anomalist.memory.scenes.shelves import Answers, Shelves
from anomalist.memory.scenes.shipped import shipped_scenes, shipped_vectors
from anomalist.types import FloatArray, Frozen

SILENT = -0.3
"""Score of a caption that only denies: about as ordinary as can be."""

OWN = "own normality"

SHOWN = 5
"""Memories in a rationale."""


class Memory(Frozen):
    """A remembered scene that speaks for a verdict."""

    id: str
    text: str
    side: Side
    category: str
    similarity: float = Field(description="cosine similarity of statement and scene, −1 to 1")


class Rationale(Frozen):
    """Why a caption is taken as it is: the statement that decides, and memories that agree."""

    side: Side | None = Field(description="the verdict; None where nothing is said")
    clause: str = Field("", description="as the caption says it")
    score: float = Field(description="of the caption; as in `Response.scores`")
    memories: tuple[Memory, ...] = Field((), description="the most similar first, all on that side")


@dataclass(frozen=True, eq=False)
class Response:
    """What the memory says to some captions.

    Parameters
    ----------
    scores : float32 (n,), similarity to anomalous scenes less similarity to normal ones; NaN for a caption
        that says nothing.
    rationale : one a caption.
    """

    scores: FloatArray
    rationale: tuple[Rationale, ...]


class SceneMemory:
    """Remembered scenes, ready to be asked.

    Parameters
    ----------
    scenes, vectors : what is remembered and its vectors, unit float32 (n, d), by the same encoder; the
        scenes that ship when None.
    own : the camera's own scenes and their vectors; these count even where they are few.
    normal : captions of the camera as it usually is, which are taken for own scenes too.
    threshold : captions with a score of at least this are anomalous; see `calibrated`.
    weighing : how memories count.
    encoder : what makes vectors of texts; `load_encoder()` by default.
    """

    def __init__(
        self,
        scenes: Sequence[Scene] | None = None,
        vectors: FloatArray | None = None,
        *,
        own: tuple[Sequence[Scene], FloatArray] | None = None,
        normal: Sequence[str] = (),
        threshold: float = 0.0,
        weighing: Weighing | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        if isinstance(normal, str):
            raise TypeError("normal must be a sequence of texts, got one string")
        self.encoder = encoder or load_encoder()
        self.threshold = threshold
        self.weighing = weighing or Weighing()
        if scenes is None or vectors is None:
            scenes, vectors = shipped_scenes(), shipped_vectors(self.encoder)
        self.scenes = tuple(scenes)
        self._shelves = Shelves(self.scenes, vectors, self.weighing)
        said = own_scenes(normal)
        given, known = own or ((), np.empty((0, self.encoder.dimensions), np.float32))
        self.own = (*given, *said)
        vectors = np.concatenate([known, self.encoder.encode(_texts(said, self.encoder))])
        self._own = Shelves(self.own, vectors, self.weighing)

    def respond(self, captions: Sequence[str]) -> Response:
        """Hold captions against the memory; equal statements are asked once."""
        if isinstance(captions, str):
            raise TypeError("captions must be a sequence of texts, got one string")
        said = {caption: statements(caption) for caption in dict.fromkeys(captions)}
        parts = list(dict.fromkeys(part for found in said.values() for part in found))
        asked = list(dict.fromkeys((part.plain, part.denies) for part in parts))
        vectors = self.encoder.encode([plain for plain, _ in asked])
        answers = self._answers(vectors, np.array([denies for _, denies in asked], np.bool_))
        row = {key: number for number, key in enumerate(asked)}
        found = {caption: self._rationale(parts, answers, row) for caption, parts in said.items()}
        return _response([found[caption] for caption in captions])

    def respond_to_vectors(self, vectors: FloatArray) -> Response:
        """Hold pictures, as unit vectors float32 (n, d) of the encoder's space, against the memory."""
        answers = self._answers(vectors, np.zeros(len(vectors), np.bool_))
        return _response(
            [
                self._explained("", float(answers.differences[row]), answers, row)
                for row in range(len(vectors))
            ]
        )

    def _answers(self, vectors: FloatArray, denies: np.typing.NDArray[np.bool_]) -> Answers:
        return self._shelves.ask(vectors, denies).anchored(self._own.ask(vectors, denies))

    def _rationale(
        self, parts: Sequence[Statement], answers: Answers, row: dict[tuple[str, bool], int]
    ) -> Rationale:
        """Of one caption: of what it says, what speaks most for an anomaly. A denial can only accuse."""
        if not parts:
            return Rationale(side=None, score=float("nan"))
        rows = {part: row[part.plain, part.denies] for part in parts}
        counted = [part for part in parts if not part.denies or answers.differences[rows[part]] > 0]
        if not counted:
            return self._explained(parts[0].clause, SILENT, answers, rows[parts[0]])
        best = max(counted, key=lambda part: answers.differences[rows[part]])
        return self._explained(best.clause, float(answers.differences[rows[best]]), answers, rows[best])

    def _explained(self, clause: str, score: float, answers: Answers, row: int) -> Rationale:
        side: Side = "anomalous" if score >= self.threshold else "normal"
        memories = tuple(
            Memory(
                id=scene.id,
                text=scene.text,
                side=scene.side,
                category=scene.category,
                similarity=round(similarity, 4),
            )
            for scene, similarity in answers.nearest(row, side, SHOWN)
        )
        return Rationale(side=side, clause=clause, score=score, memories=memories)


def _texts(scenes: Sequence[Scene], encoder: Encoder) -> list[str]:
    frames = frames_for(encoder)
    return [framed(scene.text, scene.side, scene.category, frames) for scene in scenes]


def own_scenes(
    captions: Sequence[str], *, side: Side = "normal", source: str = "the camera's own", category: str = OWN
) -> tuple[Scene, ...]:
    """What a camera's own captions say, each statement once, with the row that says it first.

    Denials are left out of normal ones: that no one runs today makes nothing usual.
    """
    rows: dict[str, int] = {}
    for number, caption in enumerate(captions, start=1):
        for part in statements(caption):
            text = " ".join(part.plain.split())[:LONGEST_SCENE]
            if not part.denies and any(map(str.isalpha, text)):
                rows.setdefault(text, number)
    return tuple(
        Scene(
            id=f"scene:own-{row}-{place}",
            side=side,
            category=category,
            text=text,
            source=f"caption {row} of {source}",
        )
        for place, (text, row) in enumerate(rows.items(), start=1)
    )


def _response(rationale: Sequence[Rationale]) -> Response:
    return Response(np.array([each.score for each in rationale], np.float32), tuple(rationale))
