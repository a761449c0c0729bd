"""Re-ranking of events by similar past cases, and clustering of unnamed cases into novel kinds.

Pure functions of vectors and cases; nothing is stored. Feedback on past events moves the rank of similar
ones. Findings without a name are clustered by average linkage; AnomalyNCD (Huang et al., CVPR 2025) clusters
defects for the same purpose. The name of each cluster is a proposal, a person decides.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import Field

from anomalist.memory.cases import Action, Case
from anomalist.memory.rules.statements import content_words
from anomalist.types.common import FloatArray, Frozen

SIMILARITY_FLOOR = 0.6
"""Cosine similarity of MiniLM sentence vectors up to which cases don't count: they are about something
else."""

HALF_LIFE_DAYS = 90.0
"""Days after which the weight of a case is halved, relative to the newest case that counts."""

_CASES_IN_REASON = 5  # ids that a reason lists


class RankAdjustment(Frozen):
    """By how much past feedback moves one event in rank."""

    value: float = Field(ge=-1, le=1, description="below 0: rank it lower; above 0: higher; 0: no opinion")
    cases: tuple[str, ...] = Field((), description="ids of the cases that caused it, by falling weight")
    reason: str = Field("", description="one sentence; empty where no case counts")


def rank_adjustments(
    vectors: FloatArray, cases: Sequence[Case], case_vectors: FloatArray, *, floor: float = SIMILARITY_FLOOR
) -> tuple[RankAdjustment, ...]:
    """Rank adjustments of events by similar cases, one per event.

    A case has weight t²(3 − 2t) (smoothstep) with t = (similarity − floor) / (1 − floor) clipped to [0, 1],
    halved for every 90 days that it is older than the newest case that counts. With M the largest weight of
    the dismissed cases and S the sum of their weights, these lower the event by D = M(1 − 2^(−S/M)): a single
    case by half its weight, many by nearly the largest weight, never by more. Escalated cases raise it by E,
    computed in the same way. The value is E − D(1 − m), with m the largest weight of an escalated case: an
    event that equals an escalated one is not lowered however often similar ones were dismissed, and the
    reason names both kinds. Cases with other actions (seen, confirmed, corrected) and undone cases don't
    count.

    Parameters
    ----------
    vectors : float32 (n, d), unit, of the events.
    cases : of the same scene.
    case_vectors : float32 (len(cases), d), unit, in the same space; as `CaseStore.vectors` gives both.
    floor : similarity up to which a case doesn't count, in [−1, 1); it depends on the embedding space.

    Raises
    ------
    ValueError : lengths or dimensions don't fit, or the floor is out of range.
    """
    if len(cases) != len(case_vectors):
        raise ValueError(f"got {len(cases)} cases and {len(case_vectors)} vectors")
    if not -1 <= floor < 1:
        raise ValueError(f"floor must be in [-1, 1), got {floor}")
    rows = [row for row, case in enumerate(cases) if _affects_rank(case)]
    if not rows:
        return tuple(RankAdjustment(value=0) for _ in vectors)
    if vectors.ndim != 2 or vectors.shape[1] != case_vectors.shape[1]:
        raise ValueError(
            f"vectors {vectors.shape} and case_vectors {case_vectors.shape} are not of one space"
        )
    counted = [cases[row] for row in rows]
    way = np.clip((vectors.astype(np.float64) @ case_vectors[rows].T - floor) / (1 - floor), 0, 1)
    weights = way**2 * (3 - 2 * way) * _age_weights(counted)
    return tuple(_event_adjustment(row, counted) for row in weights)


def _affects_rank(case: Case) -> bool:
    return case.undone is None and case.action in {"dismissed", "escalate"}


def _age_weights(cases: Sequence[Case]) -> npt.NDArray[np.float64]:
    """Decay factor of each case by its age, float64 (m,) in (0, 1]."""
    created = [datetime.datetime.fromisoformat(case.created) for case in cases]
    newest = max(created)
    days = np.array([(newest - time).total_seconds() / 86400 for time in created])
    return np.exp2(-days / HALF_LIFE_DAYS)


def _event_adjustment(weights: npt.NDArray[np.float64], cases: Sequence[Case]) -> RankAdjustment:
    """The adjustment of one event from the weights of the cases, (m,)."""
    lowering = _cases_with_action(weights, cases, "dismissed")
    raising = _cases_with_action(weights, cases, "escalate")
    largest = weights[raising].max(initial=0)
    value = _saturating_sum(weights[raising]) - _saturating_sum(weights[lowering]) * (1 - largest)
    parts = [
        f"{len(rows)} {name} ({_join_ids([cases[row].id for row in rows])})"
        for rows, name in ((raising, "escalated"), (lowering, "dismissed"))
        if rows
    ]
    both = ", which count less beside an escalated one" if len(parts) == 2 else ""
    caused = sorted([*raising, *lowering], key=lambda row: -weights[row])
    return RankAdjustment(
        value=float(value),
        cases=tuple(cases[row].id for row in caused),
        reason=f"alike to {' and to '.join(parts)}{both}" if parts else "",
    )


def _cases_with_action(weights: npt.NDArray[np.float64], cases: Sequence[Case], action: Action) -> list[int]:
    """Rows of the cases with this action and a positive weight, by falling weight."""
    rows = [row for row, case in enumerate(cases) if case.action == action and weights[row] > 0]
    return sorted(rows, key=lambda row: -weights[row])


def _saturating_sum(weights: npt.NDArray[np.float64]) -> float:
    """M(1 − 2^(−S/M)) with the largest weight M and the sum S, 0 for none."""
    largest = float(weights.max(initial=0))
    return largest * (1 - 2 ** (-float(weights.sum()) / largest)) if largest else 0.0


def _join_ids(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_CASES_IN_REASON]) + (", …" if len(ids) > _CASES_IN_REASON else "")


GROUP_SIMILARITY = 0.6
"""Mean cosine similarity from which findings form one group."""

MAX_CLUSTERED_CASES = 5_000
"""Newest unnamed cases that are clustered; the distance matrix holds every pair of them."""

_WORDS_IN_NAME = 2  # words of a proposed name


class NovelKind(Frozen):
    """A cluster of similar findings without a name."""

    name: str = Field(
        description="proposed: the kind of the named case that is most alike, or words they share"
    )
    like: str | None = Field(None, description="id of that named case; None where none is alike")
    cases: tuple[str, ...] = Field(description="ids, the most typical first")
    likeness: float = Field(description="mean cosine similarity within, −1 to 1")
    example: str = Field(description="text of the most typical one")


def novel_kinds(
    cases: Sequence[Case], vectors: FloatArray, *, likeness: float = GROUP_SIMILARITY, fewest: int = 2
) -> tuple[NovelKind, ...]:
    """Cluster the unnamed cases, the largest cluster first.

    Parameters
    ----------
    cases, vectors : as `CaseStore.vectors` gives both, unit float32 (n, d); named cases only provide
        names.
    likeness : mean cosine similarity from which two groups are merged, −1 to 1.
    fewest : cases that a cluster needs to be reported.
    """
    if len(cases) != len(vectors):
        raise ValueError(f"got {len(cases)} cases and {len(vectors)} vectors")
    rows = [row for row, case in enumerate(cases) if case.kind is None and not _is_normal(case)]
    named = [row for row, case in enumerate(cases) if case.kind is not None]
    rows = rows[:MAX_CLUSTERED_CASES]
    groups = _cluster(vectors[rows], likeness) if rows else []
    found = [
        _novel_kind([rows[member] for member in group], named, cases, vectors, likeness)
        for group in groups
        if len(group) >= fewest
    ]
    return tuple(sorted(found, key=lambda kind: (-len(kind.cases), kind.cases)))


def _is_normal(case: Case) -> bool:
    return case.action == "dismissed" or case.severity == 0


def _cluster(vectors: FloatArray, likeness: float) -> list[list[int]]:
    """Rows by group, by agglomerative clustering with average linkage on cosine distances."""
    if len(vectors) == 1:
        return [[0]]
    from scipy.cluster.hierarchy import fcluster, linkage

    upper = np.triu_indices(len(vectors), 1)
    distances = np.maximum(1 - (vectors @ vectors.T)[upper], 0).astype(np.float64)
    labels = fcluster(linkage(distances, "average"), 1 - likeness, "distance")
    return [np.flatnonzero(labels == label).tolist() for label in np.unique(labels)]


def _novel_kind(
    rows: list[int], named: list[int], cases: Sequence[Case], vectors: FloatArray, likeness: float
) -> NovelKind:
    centre = vectors[rows].mean(0)
    typical = [rows[place] for place in np.argsort(-(vectors[rows] @ centre), kind="stable")]
    inside = vectors[rows] @ vectors[rows].T
    pairs = inside[np.triu_indices(len(rows), 1)]
    alike = vectors[named] @ centre / max(float(np.linalg.norm(centre)), 1e-9)
    nearest = named[int(alike.argmax())] if len(named) and alike.max() >= likeness else None
    kind = None if nearest is None else cases[nearest].kind
    return NovelKind(
        name=kind or _shared_words([cases[row].text for row in rows]),
        like=None if nearest is None else cases[nearest].id,
        cases=tuple(cases[row].id for row in typical),
        likeness=round(float(pairs.mean()) if len(pairs) else 1.0, 4),
        example=cases[typical[0]].text,
    )


def _shared_words(texts: Sequence[str]) -> str:
    """The content words that more than half of the texts share, the most frequent first."""
    counts = Counter(word for text in texts for word in dict.fromkeys(content_words(text)))
    common = [word for word, count in counts.most_common(_WORDS_IN_NAME) if count * 2 > len(texts)]
    return " ".join(common) or "unnamed"
