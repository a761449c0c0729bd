"""The policy file (TOML) that people edit, and the decision rules that give pictures and clips their label.

The label of a picture follows from the conformal p-value against the asked false-alarm rate, that of a clip
from its events; or it is "undecided" with the reason. `Policy` holds thresholds, severity floors and zones;
each field is explained in ``policy.toml``.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from anomalist.errors import PolicyError
from anomalist.types.clip import Event, MeasureName, OtherPicture, Trouble
from anomalist.types.common import Frozen, Label
from anomalist.types.image import (
    TIE_TOLERANCE,
    Basis,
    Calibration,
    Evidence,
    EvidenceSummary,
    Kind,
    ProductMatch,
    is_alarm,
)
from anomalist.types.shift import InputShift
from anomalist.vision.motion.temporal import MIN_DURATION

DEFAULT_POLICY = Path(__file__).with_name("policy.toml")
"""The shipped policy: every line explained, its values the defaults of `Policy`."""

Share = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
SeverityName = Literal["minor", "moderate", "major", "critical"]

DEFAULT_FLOORS: dict[Kind, SeverityName] = {
    "line": "moderate",
    "missing material": "moderate",
    "extra material": "minor",
    "edge damage": "moderate",
    "spot": "minor",
    "patch": "minor",
    "discolouration": "minor",
    "texture change": "minor",
    "diffuse change": "minor",
}

UNCALIBRATED: Mapping[Basis, str] = {
    "normals": "There is no calibration on normal pictures to judge the score by.",
    "itself": "Uncalibrated: the picture was only compared with itself. Scores rank, they decide nothing.",
    "folder": "Uncalibrated: the pictures were compared with each other. Scores rank, they decide nothing.",
}
"""Why a score without calibration decides nothing, by what it compares with."""

_FRAME_RATE_TOO_LOW = "too low a frame rate: things move too far between two frames to be followed"
MIN_JUDGED_SHARE = 0.5
"""Share of a clip without events that must have been judged, to call it normal."""


class AreaSteps(Frozen):
    """Shares of the area that counts from which a region is at least so severe."""

    moderate: Share = 0.005
    major: Share = 0.02
    critical: Share = 0.1

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if not self.moderate <= self.major <= self.critical:
            raise ValueError("moderate, major and critical must rise")
        return self


class PolicyZone(Frozen):
    """A part of the picture where a defect matters more."""

    name: str = Field(min_length=1)
    box: tuple[Share, Share, Share, Share] = Field(description="x0, y0, x1, y1 as shares of width and height")
    raise_by: Annotated[int, Field(alias="raise", strict=True, ge=0, le=3, description="steps")] = 0
    severity_at_least: SeverityName | None = None

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        x0, y0, x1, y1 = self.box
        if x0 >= x1 or y0 >= y1:
            raise ValueError("the box must run from left to right and from top to bottom")
        if not self.raise_by and self.severity_at_least is None:
            raise ValueError("a zone needs 'raise' or 'severity_at_least'")
        return self


DEFAULT_EVENT_FLOORS: dict[MeasureName, SeverityName] = {
    "speed": "minor",
    "size": "minor",
    "direction": "minor",
    "place": "minor",
    "dwell": "moderate",
    "appearance": "minor",
    "crowding": "moderate",
    "stillness": "minor",
    "dispersal": "major",
    "forbidden zone": "major",
}


class EventSteps(Frozen):
    """What makes an event in a video severe."""

    moderate_speed: Annotated[float, Field(strict=True, gt=1, allow_inf_nan=False)] = 1.8
    major_speed: Annotated[float, Field(strict=True, gt=1, allow_inf_nan=False)] = 4.0
    long_seconds: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] = 60.0
    floors: Mapping[MeasureName, SeverityName] = DEFAULT_EVENT_FLOORS

    @field_validator("floors")
    @classmethod
    def _complete(cls, given: Mapping[MeasureName, SeverityName]) -> Mapping[MeasureName, SeverityName]:
        return {**DEFAULT_EVENT_FLOORS, **given}


class Policy(Frozen):
    """What turns evidence into a label and a severity; each field is explained in ``policy.toml``."""

    max_instability: Share = 0.3
    doubted_alarm: Literal["anomalous", "undecided"] = "anomalous"
    several_regions: Annotated[int, Field(strict=True, ge=2)] = 3
    area: AreaSteps = AreaSteps()
    floors: Mapping[Kind, SeverityName] = DEFAULT_FLOORS
    zones: tuple[PolicyZone, ...] = ()
    events: EventSteps = EventSteps()

    @field_validator("floors")
    @classmethod
    def _complete(cls, given: Mapping[Kind, SeverityName]) -> Mapping[Kind, SeverityName]:
        return {**DEFAULT_FLOORS, **given}

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the content, whatever the order, comments and layout of the file."""
        content = self.model_dump(mode="json", by_alias=True)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def load_policy(path: Path | None = None) -> Policy:
    """Read a policy file (TOML); None gives the shipped one.

    Raises
    ------
    PolicyError : the file can't be read, is not TOML (names the line), or holds an unknown key or a value
        that is not allowed (names the field).
    """
    path = DEFAULT_POLICY if path is None else path
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PolicyError(f"The policy {path} can't be read: {error.strerror or error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PolicyError(f"The policy {path} is not TOML: {error}.") from error
    try:
        return Policy.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(_field_problem(details["loc"], details["msg"]) for details in error.errors())
        raise PolicyError(
            f"The policy {path} has a mistake: {problems}.",
            f"Every allowed key is explained in {DEFAULT_POLICY}.",
        ) from error


def decide_label(evidence: Evidence | EvidenceSummary, policy: Policy) -> tuple[Label, str | None]:
    """Return the label, and why if it is "undecided".

    Anomalous when the conformal p-value is at most the asked false-alarm rate; an exact tie is anomalous.
    Undecided when there is no usable score or calibration, when the normals can't support the asked rate,
    when the decision flips too easily, or where the picture as a whole is unlike what was learned. A failure
    is never "normal". Against one reference picture the differences themselves decide.
    """
    calibration, p = evidence.calibration, evidence.p_value
    if evidence.score is None or not math.isfinite(evidence.score):
        return "undecided", f"The detector gave no usable score ({evidence.score})."
    if evidence.product is not None and not evidence.product.recognised:
        return "undecided", _unlike_every_product(evidence.product)
    if evidence.input_shift is not None and evidence.input_shift.changes:
        return "undecided", changed_input_words(evidence.input_shift)
    if evidence.basis == "reference":
        return ("anomalous" if evidence.regions else "normal"), None
    if calibration is None:
        return "undecided", UNCALIBRATED[evidence.basis or "normals"]
    if not calibration.reachable:
        return "undecided", _rate_unreachable(calibration)
    if p is None or not 0 < p <= 1 + TIE_TOLERANCE:
        return "undecided", f"The calibration gave no usable p-value ({p})."
    if calibration.instability > policy.max_instability:
        return "undecided", (
            f"The score is too close to the threshold: with the calibration pictures drawn again, "
            f"{100 * calibration.instability:.3g} % of the decisions flip "
            f"({100 * policy.max_instability:.3g} % are allowed)."
        )
    return ("anomalous" if is_alarm(p, calibration.false_alarm_rate) else "normal"), None


def decide_clip_label(
    events: Sequence[Event],
    troubles: Sequence[Trouble],
    frames: int,
    judged: float,
    other_pictures: Sequence[OtherPicture] = (),
    *,
    lost: float = 0.0,
    longest: float = math.inf,
) -> tuple[Label, str | None]:
    """Return the label of a clip, and why if it is "undecided".

    Anomalous with an event; normal only where enough could be judged. A failure is never "normal".

    Parameters
    ----------
    events : what is left to stand as anomalous.
    troubles : when the camera hid everything.
    frames : that were analysed.
    judged : share of the clip that has a score by all that was learned, 0 to 1.
    other_pictures : when the picture was of another kind than what was learned.
    lost : seconds of the clip that could not be read.
    longest : seconds that were judged at a stretch at most.
    """
    if events:
        return "anomalous", None
    if frames < 2:
        return "undecided", "One frame alone shows no motion." if frames else "There is no frame."
    if judged < MIN_JUDGED_SHARE:
        kinds = sorted({trouble.kind for trouble in troubles})
        reasons = [_FRAME_RATE_TOO_LOW] if "frame rate" in kinds else []
        if others := ", ".join(sorted({each.kind for each in other_pictures})):
            reasons.append(f"{others} picture, unlike what was learned: only fast things were looked for")
        if faults := ", ".join(kind for kind in kinds if kind != "frame rate"):
            reasons.append(f"camera: {faults}")
        if lost:
            reasons.append(f"{lost:.1f} s of it can't be read")
        why = "; ".join(reasons) or "the picture hardly changes, or breaks off"
        return "undecided", f"Only {judged:.0%} of the clip could be judged ({why})."
    if longest < MIN_DURATION:
        return "undecided", (
            f"Less than {MIN_DURATION:g} s could be judged at a stretch: too short for any event to be found."
        )
    return "normal", None


def changed_input_words(shift: InputShift) -> str:
    """Say what of the whole picture changed, and what follows."""
    return (
        f"The picture as a whole is not like those that were learned: {shift.words}. "
        "No place of it was judged, and the promised rate of false alarms does not hold for it."
    )


def _unlike_every_product(match: ProductMatch) -> str:
    """Say which product comes nearest, and how far off it is."""
    return (
        f"It looks like none of the products: the nearest is {match.name}, "
        f"at {match.distance:.1f} times the distance that is accepted, and "
        f"{100 * match.strange_share:.0f} % of the picture stands out, not one place."
    )


def _rate_unreachable(calibration: Calibration) -> str:
    """Say how many normals the asked rate needs, and how many there are."""
    grouped = calibration.groups < calibration.normals
    unit = "groups of normal pictures" if grouped else "normal pictures"
    return (
        f"A false-alarm rate of {calibration.false_alarm_rate:g} needs {calibration.normals_needed} {unit} "
        f"to calibrate on; there are {calibration.groups}."
    )


def _field_problem(where: tuple[Any, ...], message: str) -> str:
    """Phrase one complaint of pydantic: ``zones[0].box: …``."""
    place = ""
    for part in where:
        if isinstance(part, int):
            place += f"[{part}]"
        elif part != "[key]":
            place += f".{part}" if place else str(part)
    known = {"Extra inputs are not permitted": "unknown key"}
    text = known.get(message, message.removeprefix("Value error, "))
    return f"{place}: {text[:1].lower()}{text[1:]}" if place else text
