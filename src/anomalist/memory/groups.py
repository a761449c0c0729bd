"""Past findings that nobody has named yet, grouped by likeness, each group with a name to propose.

What AnomalyNCD does for defects: new kinds show as groups. A person names a group; here a name is only
proposed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from anomalist.memory.feedback import Case
from anomalist.memory.rules.keywords import telling_words
from anomalist.types import FloatArray, Frozen

LIKENESS = 0.6
"""Mean cosine similarity from which on findings are of one group."""

MOST_CASES = 5_000
"""Of the newest: every pair of them is compared."""

_WORDS = 2


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
    cases: Sequence[Case], vectors: FloatArray, *, likeness: float = LIKENESS, fewest: int = 2
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
    rows = rows[:MOST_CASES]
    groups = _grouped(vectors[rows], likeness) if rows else []
    found = [
        _described([rows[member] for member in group], named, cases, vectors, likeness)
        for group in groups
        if len(group) >= fewest
    ]
    return tuple(sorted(found, key=lambda kind: (-len(kind.cases), kind.cases)))


def _grouped(vectors: FloatArray, likeness: float) -> list[list[int]]:
    """Rows by group, average linkage."""
    if len(vectors) == 1:
        return [[0]]
    from scipy.cluster.hierarchy import fcluster, linkage

    upper = np.triu_indices(len(vectors), 1)
    distances = np.maximum(1 - (vectors @ vectors.T)[upper], 0).astype(np.float64)
    labels = fcluster(linkage(distances, "average"), 1 - likeness, "distance")
    return [np.flatnonzero(labels == label).tolist() for label in np.unique(labels)]


def _described(
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
    counts = Counter(word for text in texts for word in dict.fromkeys(telling_words(text)))
    common = [word for word, count in counts.most_common(_WORDS) if count * 2 > len(texts)]
    return " ".join(common) or "unnamed"
