"""Metrics of decisions: F1 at a threshold and at the best one, coverage and error with abstention, severity.

A metric that is undefined (nothing to find, nothing decided, one grade only) is None, not 0.5 or 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomalist.eval.metrics import Floats
from anomalist.types.common import BoolArray, Label


def f1_score(flagged: BoolArray, labels: BoolArray) -> float | None:
    """F1, 2·TP / (2·TP + FP + FN), the harmonic mean of precision and recall.

    Parameters
    ----------
    flagged, labels : bool, of one shape; True is called anomalous, and is anomalous.

    Returns
    -------
    0 to 1; 0 where nothing anomalous is flagged. None without anything anomalous.

    Raises
    ------
    ValueError : shapes that differ.
    """
    if flagged.shape != labels.shape:
        raise ValueError(f"decisions and labels must have one shape, got {flagged.shape}, {labels.shape}")
    if not labels.any():
        return None
    hits = np.count_nonzero(flagged & labels)
    return float(2 * hits / (np.count_nonzero(flagged) + np.count_nonzero(labels)))


def best_f1(normal: Floats, anomalous: Floats) -> float | None:
    """Highest F1 that any threshold reaches; what is at the threshold or above it is flagged.

    Parameters
    ----------
    normal, anomalous : float (n,), counts at each distinct score, in increasing order of the score.

    Returns
    -------
    0 to 1; None without anything anomalous. It is found on the labels: an upper bound, no result.
    """
    positives = float(anomalous.sum())
    if not positives:
        return None
    hits, alarms = np.cumsum(anomalous[::-1]), np.cumsum(normal[::-1])
    return float((2 * hits / (hits + alarms + positives)).max())


def best_f1_of_scores(scores: Floats, labels: BoolArray) -> float | None:
    """`best_f1` of scores float (n,) with labels bool (n,)."""
    distinct, inverse = np.unique(scores, return_inverse=True)
    sides = [np.bincount(inverse[side], minlength=distinct.size).astype(float) for side in (~labels, labels)]
    return best_f1(*sides)


@dataclass
class SegmentationCounts:
    """Pixels of predicted masks and ground truths, summed over pictures; no mask is stored."""

    hits: int = 0
    flagged: int = 0
    true: int = 0

    def add(self, mask: BoolArray, truth: BoolArray) -> None:
        """Add one picture: predicted mask and ground truth, bool (H, W)."""
        self.hits += int(np.count_nonzero(mask & truth))
        self.flagged += int(np.count_nonzero(mask))
        self.true += int(np.count_nonzero(truth))

    @property
    def f1(self) -> float | None:
        """SegF1, the F1 over the pixels of all pictures together; None without an anomalous pixel.

        Heckler-Kram et al., "The MVTec AD 2 Dataset", 2025.
        """
        return 2 * self.hits / (self.flagged + self.true) if self.true else None


@dataclass(frozen=True)
class SelectiveDecision:
    """Coverage and error of decisions that may abstain (El-Yaniv and Wiener, JMLR 11, 2010).

    Parameters
    ----------
    coverage : share of the cases that are decided; None without a case.
    error : share of the decided cases that are wrong; None where nothing is decided.
    """

    coverage: float | None
    error: float | None


def selective_decision(decided: Sequence[Label | None], labels: BoolArray) -> SelectiveDecision:
    """Coverage and error; "undecided" and None abstain.

    Parameters
    ----------
    decided : the label that was given to each case.
    labels : bool (n,), True is anomalous.
    """
    if len(decided) != len(labels):
        raise ValueError(f"{len(decided)} decisions and {len(labels)} labels")
    wrong = [
        (label == "anomalous") != bool(truth)
        for label, truth in zip(decided, labels, strict=True)
        if label in ("anomalous", "normal")
    ]
    return SelectiveDecision(
        coverage=len(wrong) / len(decided) if decided else None,
        error=sum(wrong) / len(wrong) if wrong else None,
    )


def kendall_tau(values: Floats, grades: Floats) -> float | None:
    """Kendall's τ_b between measured severities and graded labels, −1 to 1; ties are corrected for.

    None where either has one value only, or with fewer than two cases.
    """
    from scipy.stats import kendalltau

    if values.shape != grades.shape:
        raise ValueError(f"severities and grades must have one shape, got {values.shape}, {grades.shape}")
    if len(np.unique(values)) < 2 or len(np.unique(grades)) < 2:
        return None
    return float(kendalltau(values, grades).statistic)


def concordance_index(values: Floats, grades: Floats) -> float | None:
    """C-index: share of the pairs of different grades that the values put in the right order, ties half.

    Harrell et al., "Evaluating the yield of medical tests", JAMA 247, 1982, without censoring.

    Returns
    -------
    0 to 1, 0.5 for a random order; None without two cases of different grades.
    """
    if values.shape != grades.shape:
        raise ValueError(f"severities and grades must have one shape, got {values.shape}, {grades.shape}")
    worse = grades[:, None] > grades[None]
    pairs = int(worse.sum())
    if not pairs:
        return None
    order = values[:, None] - values[None]
    return float(((order > 0)[worse].sum() + 0.5 * (order == 0)[worse].sum()) / pairs)
