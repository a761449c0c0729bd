"""What a person says about a finding, and how it is kept: the records of the case store."""

from __future__ import annotations

import getpass
from typing import Literal, Self

from pydantic import Field, model_validator

from anomalist.types import Frozen

Action = Literal["seen", "dismissed", "escalate", "confirmed", "corrected"]


def current_user() -> str:
    """Name of the person at the keyboard, or "unknown"."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without a user of that number
        return "unknown"


class Feedback(Frozen):
    """What a person says about one finding: an event of a video, or a picture or a region of it."""

    action: Action = Field(
        description="of events: seen, dismissed (not worth watching), escalate; "
        "of pictures: confirmed, corrected (kind and severity are the person's)"
    )
    media: Literal["picture", "event"]
    source: str = Field(description="path or address of the picture or video")
    who: str = Field(default_factory=current_user, min_length=1)
    sha256: str | None = Field(None, description="hex digest of the file")
    key: str | None = Field(None, description="key of the record that it is about")
    part: str | None = Field(None, description="id of the event or region in that record: E1, R2")
    start: float | None = Field(None, ge=0, allow_inf_nan=False, description="seconds")
    end: float | None = Field(None, ge=0, allow_inf_nan=False, description="seconds")
    text: str = Field("", description="caption of the event, or of what is seen in the picture")
    kind: str | None = Field(None, description="kind of anomaly")
    severity: int | None = Field(None, ge=0, le=4, description="index into SEVERITIES; 0: it is normal")
    profile: str | None = Field(None, description="name of the profile or scene")
    note: str = ""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start is not None and self.end is not None and self.end < self.start:
            raise ValueError(f"the end, {self.end} s, is before the start, {self.start} s")
        return self


class Case(Feedback):
    """Feedback as it is stored."""

    id: str = Field(pattern=r"^case:[1-9]\d*$")
    created: str = Field(description="UTC, ISO 8601")
    undone: str | None = Field(None, description="when it was undone, UTC, ISO 8601; None: it holds")
    undone_by: str | None = None
