"""How feedback on past events moves the rank of what is alike. Numbers in, numbers out; nothing is stored."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import Field

from anomalist.memory.feedback import Action, Case
from anomalist.types import FloatArray, Frozen

FLOOR = 0.6
"""Cosine similarity up to which sentences of MiniLM are about different things: such cases don't count."""

HALF_LIFE = 90.0
"""Days after which a case counts half, reckoned back from the newest that counts."""

_NAMED = 5  # cases in a reason


class Adjustment(Frozen):
    """What past feedback says about the rank of one event."""

    value: float = Field(ge=-1, le=1, description="below 0: rank it lower; above 0: higher; 0: no opinion")
    cases: tuple[str, ...] = Field((), description="ids of the cases that caused it, the weightiest first")
    reason: str = Field("", description="one sentence; empty where no case counts")


def adjustments(
    vectors: FloatArray, cases: Sequence[Case], case_vectors: FloatArray, *, floor: float = FLOOR
) -> tuple[Adjustment, ...]:
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
    rows = [row for row, case in enumerate(cases) if _counts(case)]
    if not rows:
        return tuple(Adjustment(value=0) for _ in vectors)
    if vectors.ndim != 2 or vectors.shape[1] != case_vectors.shape[1]:
        raise ValueError(
            f"vectors {vectors.shape} and case_vectors {case_vectors.shape} are not of one space"
        )
    counted = [cases[row] for row in rows]
    way = np.clip((vectors.astype(np.float64) @ case_vectors[rows].T - floor) / (1 - floor), 0, 1)
    weights = way**2 * (3 - 2 * way) * _freshness(counted)
    return tuple(_adjustment(row, counted) for row in weights)


def _counts(case: Case) -> bool:
    return case.undone is None and case.action in {"dismissed", "escalate"}


def _freshness(cases: Sequence[Case]) -> npt.NDArray[np.float64]:
    """What the age of each case leaves of its weight, (m,) in (0, 1]."""
    created = [datetime.datetime.fromisoformat(case.created) for case in cases]
    newest = max(created)
    days = np.array([(newest - time).total_seconds() / 86400 for time in created])
    return np.exp2(-days / HALF_LIFE)


def _adjustment(weights: npt.NDArray[np.float64], cases: Sequence[Case]) -> Adjustment:
    """Of one event, from the weight of each case (m,)."""
    lowering = _side(weights, cases, "dismissed")
    raising = _side(weights, cases, "escalate")
    largest = weights[raising].max(initial=0)
    value = _saturated(weights[raising]) - _saturated(weights[lowering]) * (1 - largest)
    parts = [
        f"{len(rows)} {name} ({_listed([cases[row].id for row in rows])})"
        for rows, name in ((raising, "escalated"), (lowering, "dismissed"))
        if rows
    ]
    both = ", which count less beside an escalated one" if len(parts) == 2 else ""
    caused = sorted([*raising, *lowering], key=lambda row: -weights[row])
    return Adjustment(
        value=float(value),
        cases=tuple(cases[row].id for row in caused),
        reason=f"alike to {' and to '.join(parts)}{both}" if parts else "",
    )


def _side(weights: npt.NDArray[np.float64], cases: Sequence[Case], action: Action) -> list[int]:
    """Rows of the cases with this action that weigh anything, the weightiest first."""
    rows = [row for row, case in enumerate(cases) if case.action == action and weights[row] > 0]
    return sorted(rows, key=lambda row: -weights[row])


def _saturated(weights: npt.NDArray[np.float64]) -> float:
    largest = float(weights.max(initial=0))
    return largest * (1 - 2 ** (-float(weights.sum()) / largest)) if largest else 0.0


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_NAMED]) + (", …" if len(ids) > _NAMED else "")
