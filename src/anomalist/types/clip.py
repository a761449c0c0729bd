"""Records of video: object tracks (Track), anomalous events (Event), and one row a clip (ClipRecord).

Times are seconds from the first frame of the clip; boxes are pixels of its frames, half-open. The field names
are those of ``clips.jsonl``: they don't change without a new ``CLIP_FORMAT``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from anomalist import __version__
from anomalist.types.common import (
    Box,
    Claim,
    DetectorInfo,
    Frozen,
    Label,
    MediaSummary,
    PromptUsed,
    Recall,
    Recalled,
    StagedRecord,
)

CLIP_FORMAT = 1
EVENT_ID = r"E[1-9]\d*"
"""What the id of an event looks like, as a regular expression."""

MeasureName = Literal[
    "speed",
    "size",
    "direction",
    "place",
    "dwell",
    "appearance",
    "crowding",
    "stillness",
    "dispersal",
    "forbidden zone",
    "activity",
]
TroubleKind = Literal["black", "covered", "frame rate", "frozen", "moved", "moving"]
JumpKind = Literal["gap", "restart", "break"]
Mode = Literal["causal", "offline"]


class Measured(Frozen):
    """One thing measured on an event, against what is usual at that place."""

    name: MeasureName
    surprise: float = Field(description="1 is as unusual as the most unusual of held-out normal footage")
    value: float
    usual: float | None = Field(None, description="what is hardly ever exceeded at that place, same unit")
    unit: str = ""


class Track(Frozen):
    """One object on its way."""

    id: str = Field(pattern=r"^T[1-9]\d*$")
    start: float
    end: float
    path: tuple[tuple[float, Box], ...] = Field(description="its box at some times, in order")
    speed: float = Field(description="median, pixels a second")
    speed_ratio: float = Field(description="the same, by what is hardly ever exceeded where it was")
    height: float = Field(description="median, pixels")
    size_ratio: float = Field(description="its area by that of a usual body there")
    direction: str = Field(description='"from left to right", "towards the camera", …; "" if none is clear')


class ObjectName(Frozen):
    """What the object of a track is: who named it, and how sure that is."""

    track: str = Field(pattern=r"^T[1-9]\d*$")
    name: str | None = Field(description="None: it was not named, see ``why``; never forced")
    by: Literal["examples", "detector"]
    source: str = Field(description="folder of the examples, or the model")
    looks: int = Field(description="frames in which it was looked at")
    agreeing: int = Field(description="how many of them give this name, or none")
    score: float | None = Field(
        None, description="median of these: similarity to the nearest example, or the model's own score"
    )
    limit: float | None = Field(None, description="of the score, below which nothing is named")
    nearest: str = Field("", description="the example that it is most like")
    why: str = Field("", description="why it has no name")


class Caption(Frozen):
    """What was measured, in words: a sentence, and its parts, as Sherlock's quadruple with time and place."""

    text: str
    subject: str
    action: str
    object: str = ""
    scene: str = ""
    when: str
    where: str


class WatchMatch(Frozen):
    """How well an event fits what the user asked to watch for."""

    item: str
    similarity: float = Field(
        description="by sentence embedding, less that to anything else that could be said; above 0 it fits"
    )
    matched: bool | None = Field(description="None: neither what is measured nor a model could tell")
    clause: str = Field("", description="what fits: a statement of what was measured, or of a model")
    by: Literal["measured", "examples", "detector", "model"] | None = Field(
        None, description="who could tell; None: nobody"
    )
    probability: float | None = Field(None, description="of a yes, where a model was asked and answered")


class VisualDescription(Frozen):
    """What a vision-language model sees in an event, in parts as a caption, and what it makes of it."""

    subject: str
    action: str
    object: str
    scene: str
    unusual: Literal["usual", "unusual", "undecided"] = Field(description="for this scene")
    confidence: Literal["low", "medium", "high"]

    @property
    def text(self) -> str:
        """Who does what to what, as one clause."""
        return " ".join(filter(None, (self.subject, self.action, self.object)))


def _is_empty(values: Sequence[object]) -> bool:
    """Whether a field that rows of before lack is left out of a row, so that it stays as it was."""
    return not values


class Event(Frozen):
    """A stretch of time in which something stood out."""

    id: str = Field(pattern=f"^{EVENT_ID}$", description="E1 is the first in time")
    start: float
    end: float
    peak: float = Field(description="when it stood out most")
    score: float = Field(description="highest smoothed surprise; 1: as the highest of normal footage")
    false_events_per_hour: float | None = Field(
        description="how often normal footage gets this high; None where it never did: see the calibration"
    )
    throughout: bool = Field(False, description="from the first judged frame to the last")
    kind: MeasureName
    measures: tuple[Measured, ...] = Field(description="what stood out, the most surprising first")
    tracks: tuple[Track, ...] = Field((), description="who did it, the most involved first")
    names: tuple[ObjectName, ...] = Field(
        (), description="what the objects of its tracks are, where that was asked for", exclude_if=_is_empty
    )
    box: Box | None = Field(None, description="where, at the peak")
    zone: str | None = None
    caption: Caption
    severity: int = Field(0, ge=0, le=4)
    claims: tuple[Claim, ...] = ()
    watched: tuple[WatchMatch, ...] = ()
    recalled: tuple[Recalled, ...] = Field((), description="rules and scenes that memory holds against it")
    opinion: str | None = Field(None, description="of a vision-language model, where one was asked")
    seen: VisualDescription | None = Field(None, description="the same in parts")
    disagreements: tuple[str, ...] = Field((), description="of the model with what was measured")
    model: str | None = Field(None, description="the one that was asked")
    prompts: tuple[PromptUsed, ...] = Field((), description="that were sent, each once")
    replies: tuple[str, ...] = Field((), description="of the model, raw, unreadable ones included")
    dropped: tuple[str, ...] = Field((), description="sentences of the model that rest on nothing")
    notes: tuple[str, ...] = Field((), description="what could not be told or was not asked, and why")
    key_frame: str | None = Field(None, description="path of the picture, relative to the record file")
    clip: str | None = Field(None, description="path of the short clip, relative to the record file")

    def names_of(self, track: str) -> tuple[str, ...]:
        """What the object of a track was named, by examples first; empty where it has no name."""
        return tuple(dict.fromkeys(each.name for each in self.names if each.track == track and each.name))


def event_key(source: str, event_id: str) -> str:
    """Name an event across sources: "yard.mp4#E2"."""
    return f"{source}#{event_id}"


class Trouble(Frozen):
    """A stretch that could not be judged, because of the camera."""

    kind: TroubleKind
    start: float
    end: float


class OtherPicture(Frozen):
    """A stretch in which the picture was of another kind than what was learned."""

    kind: str = Field(description='"black-and-white", "infra-red", "dark and noisy", …')
    start: float
    end: float


class TimeJump(Frozen):
    """A place where footage or clock break off: no track, event or duration reaches across it."""

    time: float = Field(description="of the first frame after it")
    seconds: float | None = Field(
        None, description="by which the clock jumps (negative: back), or for which nothing was filmed"
    )
    kind: JumpKind = Field(
        description="gap: nothing was filmed for a while; restart: the clock began again; break: the source "
        "broke off, or its format changed"
    )


class EventCalibration(Frozen):
    """What the threshold rests on: maxima of non-overlapping blocks of held-out normal footage."""

    blocks: int
    block_seconds: float
    footage_seconds: float
    asked_per_hour: float = Field(description="false events per hour that were asked for")
    promised_per_hour: float = Field(description="what this footage supports, at least")
    supported: bool


class ClipMediaSummary(MediaSummary):
    """Which clip it was, and how long."""

    duration: float | None = Field(None, description="seconds")


class ClipEvidenceSummary(Frozen):
    """What was measured on a clip. Its events carry what memory recalls and a model says of each."""

    events: tuple[Event, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    jumps: tuple[TimeJump, ...] = Field((), description="where the time can't be trusted")
    other_pictures: tuple[OtherPicture, ...] = Field(
        (), description="where only fast things are looked for, as what was learned does not hold"
    )
    frames: int | None = Field(None, description="that were judged, or could not be because of the camera")
    mode: Mode = "offline"
    latency: float | None = Field(None, description="seconds by which scores lag; 0: the future is used")
    threshold: float | None = None
    calibration: EventCalibration | None = None
    curve: tuple[tuple[float, float | None], ...] = Field(
        (), description="(seconds, score), thinned to 2,000 points at most, peaks kept; None: not judged"
    )
    detector: DetectorInfo | None = None


class ClipVerdict(Frozen):
    """The judgement over a whole clip; how bad it is, its events say."""

    label: Label
    why_undecided: str | None = None


class ClipRecord(StagedRecord):
    """One row of ``clips.jsonl``.

    The properties below read fields of its stages; what was not reached is None or empty.
    """

    STAGES = ("media", "evidence", "verdict")
    ADDED_LATER = ("jumps", "other_pictures")
    ROW = (
        "source", "status", "error", "label", "why_undecided", "events", "troubles",  # what people read
        "jumps", "other_pictures",
        "format", "key", "sha256", "width", "height", "duration", "frames", "notes", "mode", "latency",
        "threshold", "calibration", "curve", "detector", "scene", "scene_digest", "time", "seconds",
        "version",
    )  # fmt: skip

    media: ClipMediaSummary
    evidence: ClipEvidenceSummary = ClipEvidenceSummary()
    verdict: ClipVerdict | None = None
    error: str | None = None
    notes: tuple[str, ...] = Field((), description="on how it was read, and on what a report lacks")
    format: int = CLIP_FORMAT
    key: str | None = Field(None, description="hash of source, file, scene and settings: done is done")
    scene: str | None = Field(None, description="name of the scene profile")
    scene_digest: str | None = None
    time: str | None = None
    seconds: float | None = Field(None, description="that it took")
    version: str = __version__

    @property
    def duration(self) -> float | None:
        """Seconds."""
        return self.media.duration

    @property
    def events(self) -> tuple[Event, ...]:
        """In order of time."""
        return self.evidence.events

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """Where the camera hid everything."""
        return self.evidence.troubles

    @property
    def jumps(self) -> tuple[TimeJump, ...]:
        """Where footage or clock break off."""
        return self.evidence.jumps

    @property
    def other_pictures(self) -> tuple[OtherPicture, ...]:
        """Where the picture was of another kind than what was learned."""
        return self.evidence.other_pictures

    @property
    def frames(self) -> int | None:
        """How many were seen."""
        return self.evidence.frames

    @property
    def mode(self) -> Mode:
        """With the whole clip or with the past alone."""
        return self.evidence.mode

    @property
    def latency(self) -> float | None:
        """Seconds by which scores lag."""
        return self.evidence.latency

    @property
    def threshold(self) -> float | None:
        """Score from which an event begins."""
        return self.evidence.threshold

    @property
    def calibration(self) -> EventCalibration | None:
        """What the threshold rests on."""
        return self.evidence.calibration

    @property
    def curve(self) -> tuple[tuple[float, float | None], ...]:
        """(seconds, score)."""
        return self.evidence.curve

    @property
    def detector(self) -> DetectorInfo | None:
        """Name, version and digest."""
        return self.evidence.detector

    @property
    def label(self) -> Label | None:
        """Normal, anomalous or undecided."""
        return self.verdict.label if self.verdict else None

    @property
    def why_undecided(self) -> str | None:
        """Why nothing was decided."""
        return self.verdict.why_undecided if self.verdict else None

    @property
    def recall(self) -> Recall:
        """What memory holds against its events, each once."""
        return Recall(items=tuple(dict.fromkeys(item for event in self.events for item in event.recalled)))
