"""Records of how a picture as a whole differs from what was learned, and of how a run of pictures drifts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from anomalist.types.common import Frozen

Characteristic = Literal[
    "brightness",
    "colour",
    "contrast",
    "sharpness",
    "noise",
    "compression",
    "shift",
    "rotation",
    "scale",
    "format",
    "blank",
    "product",
]
"""What of a whole picture can differ."""


class InputChange(Frozen):
    """One characteristic of a picture that differs from that of the normal pictures."""

    name: Characteristic
    value: float = Field(
        allow_inf_nan=False,
        description="brightness, contrast and scale: factor; shift: share of the longer side; rotation: "
        "degrees clockwise; compression: JPEG quality; else the logarithm of a factor",
    )
    words: str = Field(description='as a person reads it: "brighter by 50 %"')


class RunDrift(Frozen):
    """That the pictures of a run are no longer like the normal ones, by a test that is valid at any time."""

    name: Characteristic
    since: int = Field(ge=1, description="number of the picture in the run from which the evidence grew")
    noticed: int = Field(ge=1, description="number of the picture at which the evidence sufficed")
    evidence: float = Field(description="capital of the test martingale there, of 1 at the start")
    words: str


class InputShift(Frozen):
    """How a picture as a whole compares with the normal ones."""

    statistics: Mapping[str, float] = Field(description="of the whole picture, by name")
    changes: tuple[InputChange, ...] = Field(
        (), description="beyond what was learned; with one, no place is judged"
    )
    corrected: tuple[InputChange, ...] = Field(
        (), description="small ones that were taken out before scoring"
    )
    score_correction: float = Field(
        0.0, description="taken off the score for what the corrections could not take out"
    )
    drift: RunDrift | None = None

    @property
    def words(self) -> str:
        """The changes in one phrase."""
        return ", ".join(change.words for change in self.changes)
