"""Re-ranking of events by similar past cases, and clustering of unnamed cases into novel kinds.

Vectors and cases in, numbers out; nothing is stored. Feedback on past events moves the rank of similar
ones. Findings that nobody has named are clustered by average linkage, as AnomalyNCD does for defects; a
name for each cluster is only proposed, a person decides.
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
"""Cosine similarity up to which sentences of MiniLM are about different things: such cases don't count."""

HALF_LIFE_DAYS = 90.0
"""Days after which a case counts half, reckoned back from the newest that counts."""

_CASES_IN_REASON = 5  # cases in a reason


class RankAdjustment(Frozen):
    """What past feedback says about the rank of one event."""

    value: float = Field(ge=-1, le=1, description="below 0: rank it lower; above 0: higher; 0: no opinion")
    cases: tuple[str, ...] = Field((), description="ids of the cases that caused it, the weightiest first")
    reason: str = Field("", description="one sentence; empty where no case counts")


def rank_adjustments(
    vectors: FloatArray, cases: Sequence[Case], case_vectors: FloatArray, *, floor: float = SIMILARITY_FLOOR
) -> tuple[RankAdjustment, ...]:
    """How cases move events in rank, one adjustment an event.

    A case weighs t²(3 − 2t) with t the share of the way from ``floor`` to 1 that its similarity has gone,
    halved for every 90 days that it is older than the newest that counts. With M the largest weight of the
    dismissed cases and S their sum, they lower by D = M(1 − 2^(−S/M)): one by half its weight, many by nearly
    the largest, never more. Escalated ones raise by E, reckoned alike. The value is E − D(1 − m), m the
    largest weight of an escalated case: what is just like an escalated event isn't lowered however often such
    things were dismissed, and the reason names both sides. Cases that are seen, confirmed, corrected or
    undone don't count.

    Parameters
    ----------
    vectors : float32 (n, d), unit, of the events.
    cases : of the same scene.
    case_vectors : float32 (len(cases), d), unit, in the same space; as `CaseStore.vectors` gives both.
    floor : similarity up to which a case doesn't count, −1 to below 1; every space has its own.

    Raises
    ------
    ValueError : lengths or dimensions that don't fit, or such a floor.
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
    """What the age of each case leaves of its weight, (m,) in (0, 1]."""
    created = [datetime.datetime.fromisoformat(case.created) for case in cases]
    newest = max(created)
    days = np.array([(newest - time).total_seconds() / 86400 for time in created])
    return np.exp2(-days / HALF_LIFE_DAYS)


def _event_adjustment(weights: npt.NDArray[np.float64], cases: Sequence[Case]) -> RankAdjustment:
    """Of one event, from the weight of each case (m,)."""
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
    """Rows of the cases with this action that weigh anything, the weightiest first."""
    rows = [row for row, case in enumerate(cases) if case.action == action and weights[row] > 0]
    return sorted(rows, key=lambda row: -weights[row])


def _saturating_sum(weights: npt.NDArray[np.float64]) -> float:
    largest = float(weights.max(initial=0))
    return largest * (1 - 2 ** (-float(weights.sum()) / largest)) if largest else 0.0


def _join_ids(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_CASES_IN_REASON]) + (", …" if len(ids) > _CASES_IN_REASON else "")


GROUP_SIMILARITY = 0.6
"""Mean cosine similarity from which on findings are of one group."""

MAX_CLUSTERED_CASES = 5_000
"""Of the newest: every pair of them is compared."""

_WORDS_IN_NAME = 2


class NovelKind(Frozen):
    """A group of like findings without a name."""

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
    """Group the unnamed cases, the largest group first.

    Parameters
    ----------
    cases, vectors : as `CaseStore.vectors` gives both, unit float32 (n, d); named ones only lend names.
    likeness : mean similarity from which on two groups become one, −1 to 1.
    fewest : cases in a group; what stands alone is no kind.
    """
    if len(cases) != len(vectors):
        raise ValueError(f"got {len(cases)} cases and {len(vectors)} vectors")
    rows = [row for row, case in enumerate(cases) if case.kind is None and case.action != "dismissed"]
    named = [row for row, case in enumerate(cases) if case.kind is not None]
    rows = rows[:MAX_CLUSTERED_CASES]
    groups = _cluster(vectors[rows], likeness) if rows else []
    found = [
        _novel_kind([rows[member] for member in group], named, cases, vectors, likeness)
        for group in groups
        if len(group) >= fewest
    ]
    return tuple(sorted(found, key=lambda kind: (-len(kind.cases), kind.cases)))


def _cluster(vectors: FloatArray, likeness: float) -> list[list[int]]:
    """Rows by group, average linkage."""
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
    """The telling words that most of the texts have, in the order of the first text that has them."""
    counts = Counter(word for text in texts for word in dict.fromkeys(content_words(text)))
    common = [word for word, count in counts.most_common(_WORDS_IN_NAME) if count * 2 > len(texts)]
    return " ".join(common) or "unnamed"
