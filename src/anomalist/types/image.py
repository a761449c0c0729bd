"""Records of pictures, one per pipeline stage: Media, Evidence, Recall, Verdict, Record.

Coordinates are pixels of the picture as it is displayed (EXIF rotation applied).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Self

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
    Recall,
    StagedRecord,
    UInt8Array,
    Verdict,
    check_array,
)
from anomalist.types.shift import InputShift

REGION_ID = r"R[1-9]\d*"
"""What the id of a region looks like, as a regular expression."""
WEAK_PLACE_ID = r"W[1-9]\d*"
"""What the id of a weak place looks like, as a regular expression."""
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

    @property
    def width(self) -> int:
        """In pixels."""
        return self.size[1]

    @property
    def height(self) -> int:
        """In pixels."""
        return self.size[0]


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

    name: str | None = Field(description="kind of the most similar labelled cases; None: unlike any")
    similarity: float = Field(description="cosine similarity to the first of the cases, −1 to 1")
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


class WeakPlace(Frozen):
    """A place beside the regions where the anomaly map reaches the threshold of the score, too.

    It has no outline, as it is less than half as high as the highest place; without the regions it might be
    enough for an alarm.
    """

    id: str = Field(pattern=f"^{WEAK_PLACE_ID}$", description="W1 is the one with the highest peak")
    box: Box
    peak: float = Field(description="highest value of the anomaly map inside")
    position: str = Field(description='place on a 3×3 grid: "upper left", "centre", "lower right", …')


Place = Region | WeakPlace
"""What of a picture a claim can cite."""

MAX_STRANGE_SHARE = 0.4
"""Share of a picture that a defect covers at most; what is another thing altogether is strange all over."""


class ProductMatch(Frozen):
    """Which product of a profile of several a picture shows."""

    name: str = Field(description="the product that it is most like")
    digest: str = Field(description="of that product's profile, hex SHA-256")
    distance: float = Field(ge=0, description="to its normals, relative to the one that is accepted: up to 1")
    next: str = Field(description="the second most similar product")
    next_ratio: float = Field(ge=1, description="how many times as far the normals of the next product are")
    strange_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the picture that is at least half as far beyond its normals as the worst place",
    )

    @property
    def recognised(self) -> bool:
        """Whether it shows the product: as a whole, or in most places, as with a defect; else it is none."""
        return self.distance <= 1 or self.strange_share <= MAX_STRANGE_SHARE


TIE_TOLERANCE = 1e-9
"""Relative rounding allowed in p ≤ rate: p is a sum of 1/m_g and may miss an exact tie by the last bit."""


def is_alarm(p_value: float, rate: float) -> bool:
    """Whether a p-value is at or under the asked false-alarm rate; an exact tie is an alarm."""
    return p_value <= rate * (1 + TIE_TOLERANCE)


class Calibration(Frozen):
    """What the p-value of one picture rests on."""

    method: Literal["split", "cv+", "jackknife"] = Field(
        description='"cv+" (cross-fitted) and "jackknife" (each object left out in turn) are approximate'
    )
    normals: int = Field(ge=0, description="calibration pictures")
    reached: int | None = Field(None, ge=0, description="of them score as high; null in records of before")
    groups: int = Field(ge=0, description="independent groups among them (= normals when none are named)")
    false_alarm_rate: float = Field(gt=0, lt=1, description="the rate that is decided at")
    default_rate: float | None = Field(
        None, description="the default rate, where it is out of reach and the lowest that is not replaces it"
    )
    reachable: bool = Field(description="whether this many normals support that rate")
    normals_needed: int = Field(
        description="groups (or ungrouped normals) that the rate needs, or the default if that is lower"
    )
    instability: float = Field(
        ge=0, le=1, description="share of group-wise resamples of the calibration set that flip the decision"
    )
    approximate: bool
    seed: int = Field(description="of the resampling")


class ExpertScore(Frozen):
    """What one expert of an ensemble says of a picture."""

    name: str
    score: float = Field(description="standard deviations above the median of unseen normal pictures")
    weight: float = Field(ge=0, le=1, description="of its score in that of the ensemble")


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
    experts : of an ensemble, with their scores; none of a single detector.
    expert_maps : the anomaly maps of the experts by name, float32 on grids of their own.
    product : which product it was measured against, where the profile has several.
    input_shift : how the picture as a whole compares with the normal ones, where that is known.
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
    experts: tuple[ExpertScore, ...] = ()
    expert_maps: Mapping[str, FloatArray] = field(default_factory=dict)
    product: ProductMatch | None = None
    input_shift: InputShift | None = None
    weak_places: tuple[WeakPlace, ...] = ()

    @property
    def places(self) -> tuple[Place, ...]:
        """Regions and weak places."""
        return *self.regions, *self.weak_places

    @property
    def changed_input(self) -> bool:
        """Whether the picture as a whole is not like what was learned, so that no place can be judged."""
        return self.input_shift is not None and bool(self.input_shift.changes)

    def __post_init__(self) -> None:
        check_array("score_map", self.score_map, np.float32, (None, None))
        check_array("mask", self.mask, np.bool_, self.score_map.shape)


class EvidenceSummary(Frozen):
    """What was measured on a picture, without the arrays; None where nothing was."""

    score: float | None = Field(None, description="raw image score, unclamped; higher is more anomalous")
    p_value: float | None = Field(None, description="conformal, in (0, 1]; None without a calibration")
    threshold: float | None = Field(None, description="score at which the asked rate is crossed")
    regions: tuple[Region, ...] = Field((), description="by falling peak")
    detector: DetectorInfo | None = None
    experts: tuple[ExpertScore, ...] = Field((), description="of an ensemble, with their scores")
    calibration: Calibration | None = Field(None, description="what p-value and threshold rest on")
    basis: Basis | None = Field(None, description="what the score compares the picture with")
    roi_area: int | None = Field(None, description="pixels that count")
    product: ProductMatch | None = Field(None, description="where the profile has several")
    input_shift: InputShift | None = Field(
        None, description="how the picture as a whole compares with the normal ones"
    )
    weak_places: tuple[WeakPlace, ...] = Field((), description="of an alarm, beside its regions")

    @property
    def changed_input(self) -> bool:
        """Whether the picture as a whole is not like what was learned."""
        return self.input_shift is not None and bool(self.input_shift.changes)

    @classmethod
    def of(cls, evidence: Evidence) -> Self:
        """Read the fields off what a detector measured."""
        return cls.model_validate(evidence, from_attributes=True)


class Record(StagedRecord):
    """One row of ``records.jsonl``: everything needed to report, score and question a decision later.

    The properties below read fields of its stages; what was not reached is None or empty.
    """

    STAGES = ("media", "evidence", "recall", "verdict")
    ROW = (
        "source", "status", "label", "score", "p_value", "threshold", "severity", "kind", "regions", "claims",
        "error",  # what people read ends here
        "format", "key", "sha256", "width", "height", "notes", "reasoner", "disagreements", "why_undecided",
        "dropped_claims", "model", "opinions", "prompts", "replies", "dropped", "recall", "detector",
        "experts",
        "calibration", "basis", "roi_area", "product", "input_shift", "weak_places", "profile",
        "profile_digest", "policy", "map", "mask", "time", "milliseconds", "version",
    )  # fmt: skip
    FILLED_IN = MappingProxyType({"severity": 0, "reasoner": ""})

    evidence: EvidenceSummary = EvidenceSummary()
    recall: Recall = Recall()
    verdict: Verdict | None = None
    error: str | None = Field(None, description="why there is no verdict, or none of a model that was asked")
    notes: tuple[str, ...] = Field((), description="on how it was read and measured")
    format: int = RECORD_FORMAT
    key: str | None = Field(None, description="hash of source, picture, profile and settings: done is done")
    profile: str | None = Field(None, description="name of the profile, or of what stood in for one")
    profile_digest: str | None = None
    map: str | None = Field(None, description="path of the .npy anomaly map, relative to the record file")
    mask: str | None = Field(None, description="path of the .png mask, relative to the record file")
    time: str | None = Field(None, description="when it was inspected, UTC, ISO 8601")
    milliseconds: float | None = None
    version: str = __version__

    @property
    def score(self) -> float | None:
        """Raw image score."""
        return self.evidence.score

    @property
    def p_value(self) -> float | None:
        """Conformal p-value."""
        return self.evidence.p_value

    @property
    def threshold(self) -> float | None:
        """Score from which the picture is anomalous."""
        return self.evidence.threshold

    @property
    def regions(self) -> tuple[Region, ...]:
        """By falling peak."""
        return self.evidence.regions

    @property
    def weak_places(self) -> tuple[WeakPlace, ...]:
        """Beside the regions, by falling peak."""
        return self.evidence.weak_places

    @property
    def places(self) -> tuple[Place, ...]:
        """Regions and weak places."""
        return *self.regions, *self.weak_places

    @property
    def detector(self) -> DetectorInfo | None:
        """Name, version and digest."""
        return self.evidence.detector

    @property
    def experts(self) -> tuple[ExpertScore, ...]:
        """Of an ensemble."""
        return self.evidence.experts

    @property
    def calibration(self) -> Calibration | None:
        """What the p-value rests on."""
        return self.evidence.calibration

    @property
    def basis(self) -> Basis | None:
        """What the score compares the picture with."""
        return self.evidence.basis

    @property
    def roi_area(self) -> int | None:
        """Pixels that count."""
        return self.evidence.roi_area

    @property
    def product(self) -> ProductMatch | None:
        """Which product of the profile it was measured against."""
        return self.evidence.product

    @property
    def input_shift(self) -> InputShift | None:
        """How the picture as a whole compares with the normal ones."""
        return self.evidence.input_shift

    @property
    def product_name(self) -> str | None:
        """Name of the product that it was recognised as; None where it was none, or there is but one."""
        return self.product.name if self.product and self.product.recognised else None

    @property
    def calibration_digest(self) -> str | None:
        """Digest of the profile that the p-value rests on: that of the product, where there are several."""
        return self.product.digest if self.product else self.profile_digest

    @property
    def label(self) -> Label | None:
        """Normal, anomalous or undecided."""
        return self.verdict.label if self.verdict else None

    @property
    def severity(self) -> int | None:
        """Index into SEVERITIES."""
        return self.verdict.severity if self.verdict else None

    @property
    def kind(self) -> str | None:
        """Kind of anomaly."""
        return self.verdict.kind if self.verdict else None

    @property
    def claims(self) -> tuple[Claim, ...]:
        """Sentences of the verdict with their evidence."""
        return self.verdict.claims if self.verdict else ()

    @property
    def why_undecided(self) -> str | None:
        """Why nothing was decided."""
        return self.verdict.why_undecided if self.verdict else None

    @property
    def reasoner(self) -> str | None:
        """Who reasoned."""
        return self.verdict.reasoner if self.verdict else None

    @property
    def disagreements(self) -> tuple[str, ...]:
        """Between score, regions and model."""
        return self.verdict.disagreements if self.verdict else ()

    @property
    def dropped_claims(self) -> int:
        """Claims that rested on nothing."""
        return self.verdict.dropped_claims if self.verdict else 0

    @property
    def dropped(self) -> tuple[str, ...]:
        """What was dropped, and why."""
        return self.verdict.dropped if self.verdict else ()

    @property
    def policy(self) -> str | None:
        """Digest of the policy."""
        return self.verdict.policy if self.verdict else None

    @property
    def model(self) -> str | None:
        """The language model that was asked."""
        return self.verdict.model if self.verdict else None

    @property
    def opinions(self) -> tuple[Opinion, ...]:
        """Of detector and model."""
        return self.verdict.opinions if self.verdict else ()

    @property
    def prompts(self) -> tuple[PromptUsed, ...]:
        """As sent to the model."""
        return self.verdict.prompts if self.verdict else ()

    @property
    def replies(self) -> tuple[str, ...]:
        """Of the model, raw."""
        return self.verdict.replies if self.verdict else ()


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
