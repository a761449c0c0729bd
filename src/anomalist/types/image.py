"""Records of pictures, one per pipeline stage: Media, Evidence, Recall, Verdict, Record.

Coordinates are pixels of the picture as it is displayed (EXIF rotation applied).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from pydantic import Field

from anomalist import __version__
from anomalist.errors import DataError
from anomalist.types.common import (
    Answer,
    BoolArray,
    Box,
    Claim,
    DetectorInfo,
    FloatArray,
    Frozen,
    Label,
    Opinion,
    PromptUsed,
    Recalled,
    UInt8Array,
    check_array,
)

REGION_ID = r"R[1-9]\d*"
"""What the id of a region looks like, as a regular expression."""
Kind = Literal[
    "spot",
    "line",
    "patch",
    "missing material",
    "extra material",
    "edge damage",
    "discolouration",
    "texture change",
    "diffuse change",
]
"""What a verdict can name. "diffuse change" is an anomaly without any region."""
Basis = Literal["normals", "itself", "folder", "reference"]
RECORD_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Media:
    """One picture, as it is displayed.

    Parameters
    ----------
    source : the path as the user gave it.
    sha256 : hex digest of the file's bytes.
    pixels : uint8 (H, W, 3), RGB.
    notes : what was done to read it ("16 bit reduced to 8", "first of 12 frames"), for the record.
    """

    source: str
    sha256: str
    pixels: UInt8Array
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_array("pixels", self.pixels, np.uint8, (None, None, 3))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]


class Attributes(Frozen):
    """What was measured on a region, against its surroundings (a ring around it inside the picture)."""

    position: str = Field(description='place on a 3×3 grid: "upper left", "centre", "lower right", …')
    edges: tuple[str, ...] = Field((), description="borders of the picture that the region touches")
    relative_size: float = Field(description="area divided by the area that counts (the ROI), 0 to 1")
    elongation: float = Field(description="major axis by minor axis of the second moments, 1 = round")
    orientation: float | None = Field(
        None,
        description="degrees of the major axis, counter-clockwise from horizontal, [0, 180); None if round",
    )
    contrast: float = Field(description="mean grey level inside minus around, grey levels (−255 to 255)")
    contrast_sigma: float = Field(description="the same, in standard deviations of the surroundings")
    tone: Literal["darker", "lighter", "same"]
    colour_shift: float = Field(description="distance of mean (a*, b*) inside and around, CIELAB units")
    colour: str | None = Field(None, description='direction of a notable colour shift: "redder", "bluer", …')
    texture_ratio: float = Field(description="local standard deviation inside divided by around, 1 = same")
    texture: Literal["rougher", "smoother", "same"]


class KnownKind(Frozen):
    """Which labelled defect a region looks like."""

    name: str | None = Field(description="kind of the nearest labelled cases; None: unlike any known kind")
    similarity: float = Field(description="cosine similarity to the nearest labelled case, −1 to 1")
    cases: tuple[str, ...] = Field((), description="ids of the nearest labelled cases, the nearest first")


class Region(Frozen):
    """A connected suspicious area."""

    id: str = Field(pattern=f"^{REGION_ID}$", description="R1 is the one with the highest peak")
    box: Box
    area: int = Field(gt=0, description="pixels")
    peak: float = Field(description="highest value of the anomaly map inside")
    mean: float = Field(description="mean value of the anomaly map inside")
    attributes: Attributes
    change: Literal["missing", "extra", "changed"] | None = Field(
        None, description="against the reference picture, where there is one"
    )
    known: KnownKind | None = Field(None, description="against labelled defects, where there are any")


class Calibration(Frozen):
    """What the p-value of one picture rests on."""

    method: Literal["split", "cv+"] = Field(description='"cv+" is cross-fitted and approximate')
    normals: int = Field(ge=0, description="calibration pictures")
    groups: int = Field(ge=0, description="independent groups among them (= normals when none are named)")
    false_alarm_rate: float = Field(gt=0, lt=1, description="the rate that was asked for")
    reachable: bool = Field(description="whether this many normals support that rate")
    normals_needed: int = Field(description="groups (or ungrouped normals) that the rate needs")
    instability: float = Field(
        ge=0, le=1, description="share of group-wise resamples of the calibration set that flip the decision"
    )
    approximate: bool
    seed: int = Field(description="of the resampling")


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the detector measured on one picture; numbers only, no judgement.

    Parameters
    ----------
    detector : name, version and digest.
    score : raw image score, unclamped; higher is more anomalous.
    score_map : float32 (H, W), anomaly map at the size of the picture, raw.
    mask : bool (H, W), what belongs to a region; may be empty.
    roi_area : pixels that count.
    p_value : conformal p-value in (0, 1], or None when there is no calibration.
    threshold : score at which the asked false-alarm rate is crossed, or None when out of reach.
    calibration : what p-value and threshold rest on, or None.
    regions : by falling peak, ids R1, R2, …
    basis : what the score compares the picture with: the normals of a profile, its own patches ("itself"),
        the other pictures of a folder without labels ("folder"), or one reference picture.
    notes : what a person should know about how it was measured, for the record.
    """

    detector: DetectorInfo
    score: float
    score_map: FloatArray
    mask: BoolArray
    roi_area: int
    p_value: float | None = None
    threshold: float | None = None
    calibration: Calibration | None = None
    regions: tuple[Region, ...] = ()
    basis: Basis = "normals"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_array("score_map", self.score_map, np.float32, (None, None))
        check_array("mask", self.mask, np.bool_, self.score_map.shape)


class Record(Frozen):
    """One row of ``records.jsonl``: everything needed to report, score and question a decision later.

    The order of the fields is the order of the keys in a row; those up to ``error`` are what people read.
    """

    source: str
    status: Literal["ok", "error"]
    label: Label | None = None
    score: float | None = None
    p_value: float | None = None
    threshold: float | None = None
    severity: int | None = None
    kind: str | None = None
    regions: tuple[Region, ...] = ()
    claims: tuple[Claim, ...] = ()
    error: str | None = None

    format: int = RECORD_FORMAT
    key: str | None = Field(None, description="hash of source, picture, profile and settings: done is done")
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    notes: tuple[str, ...] = ()
    reasoner: str | None = None
    disagreements: tuple[str, ...] = ()
    why_undecided: str | None = None
    dropped_claims: int = 0
    model: str | None = None
    opinions: tuple[Opinion, ...] = ()
    prompts: tuple[PromptUsed, ...] = ()
    replies: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    recall: tuple[Recalled, ...] = ()
    detector: DetectorInfo | None = None
    calibration: Calibration | None = None
    basis: Basis | None = Field(None, description="what the score compares the picture with")
    roi_area: int | None = None
    profile: str | None = Field(None, description="name of the profile, or of what stood in for one")
    profile_digest: str | None = None
    policy: str | None = None
    map: str | None = Field(None, description="path of the .npy anomaly map, relative to the record file")
    mask: str | None = Field(None, description="path of the .png mask, relative to the record file")
    time: str | None = Field(None, description="when it was inspected, UTC, ISO 8601")
    milliseconds: float | None = None
    version: str = __version__


@dataclass(frozen=True, eq=False)
class Inspection:
    """One inspected picture with its arrays; ``record`` is what gets stored, ``answering`` what replies."""

    record: Record
    media: Media | None = field(default=None, repr=False)
    evidence: Evidence | None = field(default=None, repr=False)
    answering: Callable[[Inspection, str, Sequence[str]], Answer] | None = field(default=None, repr=False)

    def ask(self, question: str, options: Sequence[str] = ()) -> Answer:
        """Ask about this picture in plain words, or with options to choose from.

        Raises DataError for an empty or overlong question, or where nothing is at hand that answers.
        """
        if self.answering is None:
            raise DataError("Nothing is at hand that answers.", "Inspect with pipeline.Inspector, then ask.")
        return self.answering(self, question, options)
