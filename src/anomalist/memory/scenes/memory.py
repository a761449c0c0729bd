"""Scene memory: captions or pictures scored against remembered scenes, without a language model.

Every statement of a caption is scored by itself, and the most anomalous one decides: of twelve walkers and
one cyclist, the cyclist. A negated statement ("no one is running") is compared only with negated scenes. The
memory of a camera holds the scenes that ship and those of its memory file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from anomalist.errors import DataError
from anomalist.memory.embedding import Encoder, load_encoder
from anomalist.memory.rules.appearance import appearance_nouns
from anomalist.memory.rules.statements import CaptionStatement, statements
from anomalist.memory.scenes.scene import (
    MAX_SCENE_CHARACTERS,
    RememberedScene,
    ScenePolarity,
    apply_frame,
    framing_for,
    shipped_scene_vectors,
    shipped_scenes,
)
from anomalist.memory.scenes.scene_index import SceneIndex, SceneMatches, SceneScoringConfig
from anomalist.memory.scenes.store import (
    DEFAULT_FALSE_ALARM_RATE,
    SceneStore,
    SceneThreshold,
    conformal_threshold,
    cross_fit_halves,
)
from anomalist.settings import Settings
from anomalist.storage.row_store import is_stored
from anomalist.types.common import FloatArray, Frozen

SAYS_NOTHING_SCORE = -0.3
"""Score of a caption that only denies, or only describes looks: at the low end of normal captions."""

OWN_CATEGORY = "own normality"
"""Category of scenes that come from the camera's own normal captions."""

SCENES_IN_RATIONALE = 5
"""Remembered scenes that a rationale lists."""

MIN_CAPTIONS_TO_CALIBRATE = 40
"""Captions with statements for the default rate: each half covers what is usual."""


class RecalledScene(Frozen):
    """A remembered scene that supports the label of a caption."""

    id: str
    text: str
    side: ScenePolarity
    category: str
    similarity: float = Field(description="cosine similarity of statement and scene, −1 to 1")


class SceneRationale(Frozen):
    """Why a caption got its label: the statement that decides, and the nearest scenes of that polarity."""

    side: ScenePolarity | None = Field(description="the label; None where the caption says nothing")
    clause: str = Field("", description="the deciding statement, as the caption words it")
    score: float = Field(description="score of the caption, as in `SceneScores.scores`")
    memories: tuple[RecalledScene, ...] = Field(
        (), description="the most similar first, all of that polarity"
    )


@dataclass(frozen=True, eq=False)
class SceneScores:
    """Anomaly scores of captions, each with a rationale.

    Parameters
    ----------
    scores : float32 (n,), similarity to anomalous scenes minus similarity to normal ones; NaN for a caption
        without statements.
    rationale : one for each caption.
    """

    scores: FloatArray
    rationale: tuple[SceneRationale, ...]


class SceneMemory:
    """Remembered scenes, indexed for scoring captions and pictures.

    Parameters
    ----------
    scenes, vectors : remembered scenes and their vectors, unit float32 (n, d), by the same encoder; the
        scenes that ship when None.
    own : the camera's own scenes and their vectors; these count even where they are few.
    normal : normal captions of the camera, whose statements are added to the own scenes.
    threshold : captions with at least this score are anomalous; see `build_memory`.
    scoring_config : how the nearest scenes are scored.
    encoder : the sentence encoder; `load_encoder()` by default.
    """

    def __init__(
        self,
        scenes: Sequence[RememberedScene] | None = None,
        vectors: FloatArray | None = None,
        *,
        own: tuple[Sequence[RememberedScene], FloatArray] | None = None,
        normal: Sequence[str] = (),
        threshold: float = 0.0,
        scoring_config: SceneScoringConfig | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        if isinstance(normal, str):
            raise TypeError("normal must be a sequence of texts, got one string")
        self.encoder = encoder or load_encoder()
        self.threshold = threshold
        self.scoring_config = scoring_config or SceneScoringConfig()
        if scenes is None or vectors is None:
            scenes, vectors = shipped_scenes(), shipped_scene_vectors(self.encoder)
        self.scenes = tuple(scenes)
        self._scene_index = SceneIndex(self.scenes, vectors, self.scoring_config)
        added = scenes_from_captions(normal)
        given, known = own or ((), np.empty((0, self.encoder.dimensions), np.float32))
        self.own = (*given, *added)
        vectors = np.concatenate([known, self.encoder.encode(_framed_texts(added, self.encoder))])
        self._spoken_of = appearance_nouns(scene.text for scene in self.own if scene.side == "anomalous")
        self._own = SceneIndex(self.own, vectors, self.scoring_config)

    def score_captions(self, captions: Sequence[str]) -> SceneScores:
        """Score captions against the memory; equal statements are searched once."""
        if isinstance(captions, str):
            raise TypeError("captions must be a sequence of texts, got one string")
        by_caption = {caption: statements(caption, self._spoken_of) for caption in dict.fromkeys(captions)}
        parts = list(dict.fromkeys(part for found in by_caption.values() for part in found))
        queries = list(dict.fromkeys(part.key for part in parts))
        vectors = self.encoder.encode([plain for plain, _ in queries])
        matches = self._query(vectors, np.array([has_negation for _, has_negation in queries], np.bool_))
        row = {key: number for number, key in enumerate(queries)}
        found = {caption: self._rationale(parts, matches, row) for caption, parts in by_caption.items()}
        return _scene_scores([found[caption] for caption in captions])

    def score_vectors(self, vectors: FloatArray) -> SceneScores:
        """Score pictures, given as unit vectors float32 (n, d) in the encoder's space."""
        matches = self._query(vectors, np.zeros(len(vectors), np.bool_))
        return _scene_scores(
            [
                self._make_rationale("", float(matches.differences[row]), matches, row)
                for row in range(len(vectors))
            ]
        )

    def _query(self, vectors: FloatArray, has_negation: np.typing.NDArray[np.bool_]) -> SceneMatches:
        return self._scene_index.query(vectors, has_negation).with_own_scenes(
            self._own.query(vectors, has_negation)
        )

    def _rationale(
        self, parts: Sequence[CaptionStatement], matches: SceneMatches, row: dict[tuple[str, bool], int]
    ) -> SceneRationale:
        """Rationale of one caption by its most anomalous statement; negated ones count only above 0."""
        if not parts:
            return SceneRationale(side=None, score=float("nan"))
        rows = {part: row[part.key] for part in parts}
        stated = [part for part in parts if not part.appearance]
        counted = [part for part in stated if not part.has_negation or matches.differences[rows[part]] > 0]
        if not counted:
            return self._make_rationale(parts[0].clause, SAYS_NOTHING_SCORE, matches, rows[parts[0]])
        best = max(counted, key=lambda part: matches.differences[rows[part]])
        return self._make_rationale(best.clause, float(matches.differences[rows[best]]), matches, rows[best])

    def _make_rationale(self, clause: str, score: float, matches: SceneMatches, row: int) -> SceneRationale:
        side: ScenePolarity = "anomalous" if score >= self.threshold else "normal"
        memories = tuple(
            RecalledScene(
                id=scene.id,
                text=scene.text,
                side=scene.side,
                category=scene.category,
                similarity=round(similarity, 4),
            )
            for scene, similarity in matches.nearest(row, side, SCENES_IN_RATIONALE)
        )
        return SceneRationale(side=side, clause=clause, score=score, memories=memories)


def _framed_texts(scenes: Sequence[RememberedScene], encoder: Encoder) -> list[str]:
    frames = framing_for(encoder)
    return [apply_frame(scene.text, scene.side, scene.category, frames) for scene in scenes]


def scenes_from_captions(
    captions: Sequence[str],
    *,
    side: ScenePolarity = "normal",
    source: str = "the camera's own",
    category: str = OWN_CATEGORY,
) -> tuple[RememberedScene, ...]:
    """Scenes from a camera's own captions: each distinct statement, with the row where it occurs first.

    Negated statements are left out: that no one runs today shows nothing to be usual. So are those on looks.
    """
    rows: dict[str, int] = {}
    for number, caption in enumerate(captions, start=1):
        for part in statements(caption):
            text = " ".join(part.plain.split())[:MAX_SCENE_CHARACTERS]
            if not (part.has_negation or part.appearance) and any(map(str.isalpha, text)):
                rows.setdefault(text, number)
    return tuple(
        RememberedScene(
            id=f"scene:own-{row}-{place}",
            side=side,
            category=category,
            text=text,
            source=f"caption {row} of {source}",
        )
        for place, (text, row) in enumerate(rows.items(), start=1)
    )


def _scene_scores(rationale: Sequence[SceneRationale]) -> SceneScores:
    return SceneScores(np.array([each.score for each in rationale], np.float32), tuple(rationale))


def memory_path(name: str | Path) -> Path:
    """The memory file for a name, in the home of the settings; a path is returned as it is."""
    text = str(name)
    if re.fullmatch(r"[\w-][\w.-]*", text) and not text.endswith(".sqlite"):
        return Settings().home / "memory" / f"{text}.sqlite"
    return Path(text)


def existing_memory_path(name: str | Path) -> Path:
    """`memory_path` of an existing file; raises DataError where there is none."""
    path = memory_path(name)
    if not is_stored(path):
        raise DataError(
            f'There is no memory "{name}".', f"Make one: anomalist memory build --from FILE --name {name}"
        )
    return path


def camera_memory(store: SceneStore) -> SceneMemory:
    """The memory of a camera: the scenes that ship, its own from a store, and the threshold stored there."""
    threshold = store.threshold()
    return SceneMemory(
        own=store.scenes_and_vectors(),
        threshold=0.0 if threshold is None else threshold.value,
        encoder=store.encoder,
    )


def load_memory(name: str) -> SceneMemory:
    """The memory of a camera by its name; only the scenes that ship where it has no memory file."""
    path = memory_path(name)
    if not is_stored(path):
        return SceneMemory()
    with SceneStore(path) as store:
        return camera_memory(store)


def memory_digest(name: str) -> str:
    """Hex SHA-256 of a camera's own scenes and threshold; "" where it has no memory file."""
    path = memory_path(name)
    if not is_stored(path):
        return ""
    with SceneStore(path) as store:
        lines = [f"{scene.id} {scene.side} {scene.text}" for scene in store.list()]
        threshold = store.threshold()
    # as 0.1.0 wrote it: clips that were triaged with this memory count as done
    lines.append(
        f"Threshold(value={threshold.value!r}, rate={threshold.rate!r}, captions={threshold.captions!r})"
        if threshold is not None
        else "None"
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def build_memory(
    store: SceneStore, captions: Sequence[str], source: str, *, rate: float | None = None
) -> tuple[tuple[RememberedScene, ...], SceneThreshold | None]:
    """Store a camera's normal captions as scenes; calibrate its threshold on them (conformal, cross-fitted).

    Parameters
    ----------
    store : takes the scenes and the threshold.
    captions : normal captions of the camera, in the order of time.
    source : where they come from, for people.
    rate : false-alarm rate, the share of normal captions that may be called anomalous. None means 0.05, and
        no threshold where too few captions say something.

    Returns
    -------
    The new scenes, and the threshold.

    Raises
    ------
    CalibrationError : too few captions for the given rate; nothing is stored then.
    """
    threshold = None
    said = [caption for caption in captions if statements(caption)]
    if rate is not None or len(said) >= MIN_CAPTIONS_TO_CALIBRATE:
        scores = [
            SceneMemory(normal=known, encoder=store.encoder).score_captions(unseen).scores
            for known, unseen in cross_fit_halves(said)
        ]
        asked = DEFAULT_FALSE_ALARM_RATE if rate is None else rate
        threshold = conformal_threshold(np.concatenate(scores), asked)
    added = store.add(scenes_from_captions(captions, source=source))
    if threshold is not None:
        store.calibrate(threshold)
    return added, threshold
