"""What records of pictures and of video share: arrays, labels, claims, recall, verdicts, answers.

What holds arrays is a frozen dataclass whose shapes are checked once, at construction. What crosses a
boundary (JSON, HTTP, a model's reply) is a frozen pydantic model. Coordinates are pixels of the picture or
frame as it is displayed: x to the right, y down, origin at the top left corner, boxes half-open
``(x0, y0, x1, y1)``.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from anomalist import __version__

UInt8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]
Label = Literal["normal", "anomalous", "undecided"]
SEVERITIES = ("none", "minor", "moderate", "major", "critical")


class Frozen(BaseModel):
    """A pydantic model that can't be changed and refuses fields that it doesn't know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def check_array(name: str, array: np.ndarray, dtype: type, shape: tuple[int | None, ...]) -> None:
    """Raise TypeError unless ``array`` has this dtype and shape (None stands for any size)."""
    fits = array.ndim == len(shape) and all(
        want is None or want == got for want, got in zip(shape, array.shape, strict=False)
    )
    if array.dtype != dtype or not fits:
        want = tuple("any" if n is None else n for n in shape)
        raise TypeError(f"{name} must be {np.dtype(dtype).name} {want}, got {array.dtype.name} {array.shape}")


class DetectorInfo(Frozen):
    """Which detector spoke: name, version of its code, digest of its learned state (hex)."""

    name: str
    version: str = __version__
    digest: str


class Recalled(Frozen):
    """One remembered thing: a normal picture, a past case, a rule or a scene, by id."""

    id: str = Field(pattern=r"^(normal|case|rule|scene):.+$")
    text: str
    similarity: float
    source: str | None = None
    side: Literal["normal", "anomalous"] | None = Field(None, description="of a rule or a scene")
    version: int | None = Field(None, description="of a rule")
    severity: int = Field(0, ge=0, le=4, description="floor that a rule asks for where it surely holds")


class Recall(Frozen):
    """What memory holds about this evidence."""

    items: tuple[Recalled, ...] = ()


class Claim(Frozen):
    """One sentence and the ids that it rests on: R1, E2, rule:7, case:12, scene:803, or "score"."""

    text: str
    evidence: tuple[str, ...] = Field(min_length=1)
    source: Literal["measured", "model"] = Field("measured", description="who put it into words")


class Opinion(Frozen):
    """What one side thinks by itself, before the policy: who disagreed with whom can be read off."""

    by: str = Field(description='"detector", or the name of the model')
    label: Label


class PromptUsed(Frozen):
    """A prompt that was sent to a model, by its template."""

    id: str = Field(description='name and version, "judge.v1"')
    sha256: str = Field(description="hex digest of the template")


class Verdict(Frozen):
    """The judgement over evidence and recall."""

    label: Label
    severity: int = Field(ge=0, le=4, description="index into SEVERITIES; 0 when normal")
    kind: str | None = Field(None, description="kind of anomaly; None when there is nothing to name")
    claims: tuple[Claim, ...] = ()
    reasoner: str = Field(description="who reasoned")
    disagreements: tuple[str, ...] = ()
    why_undecided: str | None = None
    dropped_claims: int = Field(0, ge=0, description="claims removed because an id did not exist")
    policy: str = Field("", description="digest of the policy file that set the severity")
    model: str | None = Field(None, description="the language model; None where none was asked")
    opinions: tuple[Opinion, ...] = Field((), description="of detector and model, where a model was asked")
    prompts: tuple[PromptUsed, ...] = Field((), description="as sent: the rules first, then one a reply")
    replies: tuple[str, ...] = Field((), description="of the model, raw, unreadable ones included")
    dropped: tuple[str, ...] = Field((), description="what was dropped from the replies, and why")


class OptionScore(Frozen):
    """One option of a multiple-choice question."""

    letter: str
    text: str
    probability: float = Field(ge=0, le=1)


class Answer(Frozen):
    """The reply to a question; every sentence of it cites ids, every number is one of the evidence."""

    question: str
    answered: bool = Field(description="False: it is out of reach, or something was missing")
    text: str = Field(description="the sentences of the claims, or why it can't be answered")
    claims: tuple[Claim, ...] = ()
    letter: str | None = Field(None, description="of the option chosen; None where none was, or none given")
    options: tuple[OptionScore, ...] = ()
    helps: str | None = Field(None, description="what would help where it is not answered")
    intent: str = Field(description='what the question was taken for; "choice" with options')
    subjects: tuple[str, ...] = Field((), description="sources of the pictures or clips it is about")
    verdict: Label | None = Field(None, description="as recorded; a question never changes it")
    notes: tuple[str, ...] = ()
    dropped: tuple[str, ...] = Field((), description="sentences left out: an id or number had no evidence")
    reasoner: str = ""
    milliseconds: float | None = None
