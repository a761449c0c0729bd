"""From when on a score is an alarm, by the camera's own normal captions.

Similarities drift from scene to scene, so no threshold holds for two cameras.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from anomalist.errors import CalibrationError
from anomalist.types import FloatArray, Frozen

DEFAULT_RATE = 0.05


class Threshold(Frozen):
    """A score from which on a caption is anomalous, and what it rests on."""

    value: float
    rate: float = Field(gt=0, lt=1, description="share of normal captions that may be called anomalous")
    captions: int = Field(ge=1, description="normal captions that it was measured on")


def captions_needed(rate: float) -> int:
    """The fewest normal captions that support a false-alarm rate."""
    return math.ceil(1 / rate) - 1


def threshold_for(scores: FloatArray, rate: float = DEFAULT_RATE) -> Threshold:
    """The lowest threshold whose conformal p-value is at most ``rate``.

    Parameters
    ----------
    scores : float32 (n,) of normal captions that the memory does not know; NaN is left out.
    rate : share of normal captions that may be called anomalous, above 0 and below 1.

    Raises
    ------
    CalibrationError : so few captions can't support that rate.
    """
    if not 0 < rate < 1:
        raise CalibrationError(f"A false-alarm rate lies between 0 and 1, got {rate:g}.")
    known = np.sort(scores[np.isfinite(scores)])[::-1]
    above = math.floor(rate * (len(known) + 1) + 1e-9) - 1
    if above < 0:
        raise CalibrationError(
            f"{len(known)} normal captions can't support a false-alarm rate of {rate:g}.",
            f"Give at least {captions_needed(rate)}, or ask for a higher rate.",
        )
    value = float(np.nextafter(known[above], np.float32(np.inf)))
    return Threshold(value=value, rate=rate, captions=len(known))


def halves(captions: Sequence[str]) -> tuple[tuple[Sequence[str], Sequence[str]], ...]:
    """What to know and what to score, twice: each half is scored by a memory that knows the other.

    Neighbouring captions of a video say the same, so the halves are the earlier and the later ones.
    """
    middle = len(captions) // 2
    earlier, later = captions[:middle], captions[middle:]
    return (earlier, later), (later, earlier)
