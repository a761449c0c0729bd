"""Figure and ground: what is structure in a picture of two tones, and in its reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from anomalist.types import BoolArray, FloatArray

Tone = Literal["dark", "light"]

TWO_TONED = 0.93
"""Share of the variance that two tones explain (Otsu's η) from which a picture is figure and ground."""

CLEAR_GROUND = 0.55
"""The larger of two tones is the ground when it covers at least this share."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A picture and its aligned reference, and what is structure in them.

    Parameters
    ----------
    reference, picture : float32 (H, W), grey levels, matched in light.
    before, after : bool (H, W), the structure (figure) in reference and picture, or None where the
        reference is not of two tones.
    """

    reference: FloatArray
    picture: FloatArray
    before: BoolArray | None
    after: BoolArray | None


def paired(reference: FloatArray, picture: FloatArray, valid: BoolArray, figure: Tone | None = None) -> Pair:
    """Split figure from ground by the two tones of a reference, if it has two.

    Parameters
    ----------
    reference, picture : float32 (H, W), grey levels, matched in light.
    valid : bool (H, W), where the reference shows anything.
    figure : which of the tones is structure; by default the rarer one.
    """
    level, rarer = two_tones(reference[valid])
    if level is None or not (figure or rarer):
        return Pair(reference, picture, None, None)
    figure_is_dark = (figure or rarer) == "dark"
    return Pair(
        reference,
        picture,
        (reference <= level) == figure_is_dark,
        (picture <= level) == figure_is_dark,
    )


def two_tones(grey: FloatArray) -> tuple[float | None, Tone | None]:
    """Return the level that parts two tones, None if there are no two, and the rarer tone, None if unclear.

    Parameters
    ----------
    grey : float32 of any shape, grey levels.
    """
    level, explained = otsu(grey)
    if explained < TWO_TONED:
        return None, None
    dark = float((grey <= level).mean())
    if max(dark, 1 - dark) < CLEAR_GROUND:
        return level, None
    return level, "dark" if dark < 0.5 else "light"


def otsu(values: FloatArray) -> tuple[float, float]:
    """Return the level that parts values into two tones best, and the share of the variance that explains.

    Otsu 1979. The level belongs to the lower tone. Without any variance nothing is explained.
    """
    counts, edges = np.histogram(values, bins=256, range=(0, 256))
    share = counts / max(1, counts.sum())
    below = np.cumsum(share)
    sums = np.cumsum(share * (edges[:-1] + 0.5))
    mean = sums[-1]
    variance = float((share * (edges[:-1] + 0.5 - mean) ** 2).sum())
    if variance <= 0:
        return float(mean), 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.nan_to_num((mean * below - sums) ** 2 / (below * (1 - below)), posinf=0.0)
    # Any level in an empty gap is as good; its middle is the safest against noise.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float(edges[best].mean() + 1), float(between.max() / variance)
