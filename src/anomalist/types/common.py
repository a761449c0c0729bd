"""What records of pictures and of video share: arrays, labels, claims, recall, verdicts, answers.

What holds arrays is a frozen dataclass whose shapes are checked once, at construction. What crosses a
boundary (JSON, HTTP, a model's reply) is a frozen pydantic model. Coordinates are pixels of the picture or
frame as it is displayed: x to the right, y down, origin at the top left corner, boxes half-open
``(x0, y0, x1, y1)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
import numpy.typing as npt
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

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

    def replace(self, **changes: Any) -> Self:  # noqa: ANN401
        """The same with some fields changed, validated again, which pydantic's ``model_copy`` does not do.

        Raises
        ------
        pydantic.ValidationError : a field is unknown, or its new value is not allowed.
        """
        return self.model_validate(dict(self) | changes, by_name=True)


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
    policy: str | None = Field(None, description="digest of the policy file that set the severity")
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
    query: str | None = Field(None, description="of a question about a run: gives the same numbers again")
    reading: str | None = Field(None, description="what such a question was read as, in one line")
    choices: tuple[str, ...] = Field((), description="questions to choose from, where it is asked back")
    table: tuple[tuple[str, ...], ...] = Field(
        (), description="headings and rows, where a table was asked for"
    )
    notes: tuple[str, ...] = ()
    dropped: tuple[str, ...] = Field((), description="sentences left out: an id or number had no evidence")
    reasoner: str = ""
    milliseconds: float | None = None


class MediaSummary(Frozen):
    """Which picture or clip it was."""

    source: str = Field(description="the path or address as the user gave it")
    sha256: str | None = Field(None, description="hex digest of the file's bytes")
    width: int | None = Field(None, description="pixels")
    height: int | None = Field(None, description="pixels")

    @classmethod
    def of(cls, media: object) -> Self:
        """Read the fields off what has them as attributes, a `Media` for instance."""
        return cls.model_validate(media, from_attributes=True)


class StagedRecord(Frozen):
    """A record nested by pipeline stage that is read from and written to one flat row of JSON.

    A stage is a field of its own (``media``, ``evidence``, ``recall``, ``verdict``). In the row stand the
    fields of all stages and those of the record itself, in the order of ``ROW``. A stage that was not reached
    is None; in the row its fields are then null or empty. Rows can also be given as keyword arguments:
    ``Record(source="a.png", status="ok", label="normal")``.
    """

    STAGES: ClassVar[tuple[str, ...]]
    """The fields that are stages, in the order of the pipeline."""
    ROW: ClassVar[tuple[str, ...]]
    """The keys of a row, in order."""
    FILLED_IN: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Keys that every row of today has and rows of before may lack, with what is read in their place."""
    ADDED_LATER: ClassVar[tuple[str, ...]] = ()
    """Keys that rows of before lack; they are left out of a row where they are empty, so that it stays."""
    _places: ClassVar[Mapping[str, tuple[str | None, str]]]
    """Key of a row to (stage, field); the stage is None for a field of the record itself."""
    _unreached: ClassVar[Mapping[str, Any]]
    """Key of a row to its value where the stage was not reached."""

    media: MediaSummary
    status: Literal["ok", "error"]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401
        super().__pydantic_init_subclass__(**kwargs)
        places: dict[str, tuple[str | None, str]] = {}
        unreached: dict[str, Any] = {}
        for stage in cls.STAGES:
            annotation = cls.model_fields[stage].annotation
            (model,) = (each for each in (annotation, *get_args(annotation)) if hasattr(each, "model_fields"))
            for name, field in model.model_fields.items():
                key = stage if name == "items" else name
                places[key] = stage, name
                unreached[key] = None if field.is_required() else field.default
        own = [name for name in cls.model_fields if name not in cls.STAGES]
        places |= {name: (None, name) for name in own}
        if sorted(places) != sorted(cls.ROW) or len(places) != len(cls.ROW):
            raise TypeError(f"{cls.__name__}.ROW must name {sorted(places)}")
        cls._places, cls._unreached = places, unreached

    @model_validator(mode="before")
    @classmethod
    def _nest(cls, row: Any) -> Any:  # noqa: ANN401
        """Sort the keys of a flat row into stages; what is nested already stays as it is."""
        if not isinstance(row, Mapping) or cls.STAGES[0] in row:
            return row
        nested: dict[str, Any] = {}
        parts: dict[str, dict[str, Any]] = {stage: {} for stage in cls.STAGES}
        for key, value in row.items():
            if key not in cls._places:
                raise ValueError(f"unknown key {key!r}")
            stage, field = cls._places[key]
            if stage is None:
                nested[field] = value
            elif value is not None and value != cls._unreached[key] and value != []:
                parts[stage][field] = value
        for key, value in cls.FILLED_IN.items():
            stage, field = cls._places[key]
            if stage is not None and parts[stage]:
                parts[stage].setdefault(field, value)
        return nested | {stage: part for stage, part in parts.items() if part or stage == "media"}

    @model_serializer(mode="wrap")
    def _flatten(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        nested = write(self)
        row = {}
        for key in self.ROW:
            stage, field = self._places[key]
            part = nested if stage is None else nested.get(stage, {})
            if key in self.ADDED_LATER and not (part or {}).get(field):
                continue
            if part is None:
                row[key] = self._unreached[key]
            elif field in part:
                row[key] = part[field]
        return row

    def replace(self, **changes: Any) -> Self:  # noqa: ANN401
        """The same with some keys of its row, or whole stages, changed; validated again.

        Raises
        ------
        pydantic.ValidationError : a key is unknown, or its new value is not allowed.
        """
        stages: dict[str, dict[str, Any]] = {}
        whole: dict[str, Any] = {}
        for key, value in changes.items():
            stage, field = self._places.get(key, (None, key))
            if stage is None or (isinstance(value, Frozen) and key in self.STAGES):
                whole[key] = value
            else:
                stages.setdefault(stage, {})[field] = value
        for stage, part in stages.items():
            before = getattr(self, stage)
            whole[stage] = part if before is None else before.replace(**part)
        return super().replace(**whole)

    @property
    def label(self) -> Label | None:
        """Normal, anomalous or undecided; None where it could not be judged."""
        raise NotImplementedError

    @property
    def judged(self) -> bool:
        """Whether it could be judged: what failed, or has no label for another reason, is never normal."""
        return self.status == "ok" and self.label is not None

    @property
    def source(self) -> str:
        """The path or address as the user gave it."""
        return self.media.source

    @property
    def sha256(self) -> str | None:
        """Hex digest of the file's bytes."""
        return self.media.sha256

    @property
    def width(self) -> int | None:
        """Of the picture or the frames, pixels."""
        return self.media.width

    @property
    def height(self) -> int | None:
        """Of the picture or the frames, pixels."""
        return self.media.height
