"""The context of the tools: the records that a question is about, and access to their pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import Field

from anomalist.agent.reasoning.policy import Policy, load_policy
from anomalist.agent.reasoning.wording import failure_sentence
from anomalist.errors import DataError
from anomalist.settings import Settings
from anomalist.storage.places import here
from anomalist.types.clip import ClipRecord, Event
from anomalist.types.common import Frozen, UInt8Array
from anomalist.types.image import Inspection, Media, Record, Region
from anomalist.types.names import common_folder, names_source
from anomalist.vision.calibration import CalibrationSet

AnyRecord = TypeVar("AnyRecord", Record, ClipRecord)

MAX_NAMES = 12
"""Most names that an error lists."""


class Result(Frozen):
    """Base class of tool results: values, and the ids that a sentence about them may cite."""

    ids: tuple[str, ...] = Field(description="R1, E2, case:12, rule:7, score, or the name of a picture")
    notes: tuple[str, ...] = Field((), description="what could not be told, and why")


class ProbeCell(Frozen):
    """Painted defects of one size and contrast, and how many of them were found.

    ``size`` is a share of the picture's longer side, ``contrast`` a step of the grey level, 0 to 1.
    """

    size: float
    contrast: float
    painted: int
    found: int


class ProbeResult(Frozen):
    """What blind probes of a profile found; ``entry`` is theirs in the audit log, ``time`` UTC, ISO 8601."""

    entry: str
    time: str
    cells: tuple[ProbeCell, ...]


@dataclass(frozen=True, eq=False)
class Subject:
    """The records of a picture, a batch or clips, and access to their pictures and calibration.

    Parameters
    ----------
    records : of pictures; one, or those of a run.
    clips : of videos.
    inspections : by source, with pixels and maps, for pictures that were inspected in this process.
    inspect : inspects another picture in the same way; None where that isn't possible.
    counterpart : returns the normal patch for a region, from a normal picture or the reference; None where
        there is nothing to compare with.
    normal : where it comes from, in words: "the nearest normal picture", "the reference".
    calibrations : what the p-values rest on, by digest of the profile, where available.
    policy : for severity.
    cases : the case file; None for that of the user.
    past : further records that can be searched, such as older ones.
    folder : second base folder for relative paths of sources.
    crops : folder to which crops are written; None writes nothing.
    probes : gives the newest blind probes of each profile that has some, by its name.
    takes_feedback : whether who asks may store what is right, or take it back.
    """

    records: tuple[Record, ...] = ()
    clips: tuple[ClipRecord, ...] = ()
    inspections: Mapping[str, Inspection] = field(default_factory=dict, repr=False)
    inspect: Callable[[str | Path], Inspection] | None = None
    counterpart: Callable[[Media, Region], UInt8Array | None] | None = None
    normal: str = "the nearest normal picture"
    calibrations: Mapping[str, CalibrationSet] = field(default_factory=dict)
    policy: Policy = field(default_factory=load_policy)
    cases: Path | None = None
    past: tuple[Record, ...] = ()
    folder: Path | None = None
    crops: Path | None = None
    probes: Callable[[], Mapping[str, ProbeResult]] = dict
    takes_feedback: bool = True

    def check_feedback(self) -> None:
        """Raise DataError where who asks may not store feedback."""
        if not self.takes_feedback:
            raise DataError("Feedback is not taken here; nothing was stored.", "Ask an operator to give it.")

    @property
    def case_file(self) -> Path:
        """The case file; that of the user where none is named."""
        return Settings().cases if self.cases is None else self.cases

    def picture(self, name: str | None = None) -> Record:
        """The record of a picture, by its path or file name; without a name the only one.

        Raises DataError when there is no such picture, or more than one.
        """
        return _find_record(self.records, name, "picture")

    def clip(self, name: str | None = None) -> ClipRecord:
        """The record of a clip, by its path or file name; without a name the only one.

        Raises DataError when there is no such clip, or more than one.
        """
        return _find_record(self.clips, name, "clip")

    def region(self, id: str | None = None, picture: str | None = None) -> tuple[Record, Region]:
        """A region of a picture with its record; R1 without an id.

        Raises DataError when there is no such region.
        """
        record = self.picture(picture)
        wanted = (id or "R1").upper()
        for region in record.regions:
            if region.id == wanted:
                return record, region
        raise _no_part(record, wanted, [region.id for region in record.regions])

    def event(self, id: str | None = None, clip: str | None = None) -> tuple[ClipRecord, Event]:
        """An event of a clip with its record; E1 without an id. Raises DataError when there is none."""
        record = self.clip(clip)
        wanted = (id or "E1").upper()
        for event in record.events:
            if event.id == wanted:
                return record, event
        raise _no_part(record, wanted, [event.id for event in record.events])

    def media(self, record: Record) -> Media:
        """The picture of a record, read again.

        Raises DataError when the file is missing or has changed since it was inspected.
        """
        inspection = self.inspections.get(record.source)
        if inspection is not None and inspection.media is not None:
            return inspection.media
        from anomalist.vision.media.images import load_image
        from anomalist.vision.media.pages import split_page

        path = self.path_of(record.source)
        if not here(split_page(path)[0]).exists():
            raise DataError(
                f"{record.source} is gone since it was inspected.", "What was recorded can still be asked."
            )
        media = load_image(path)
        if record.sha256 is not None and media.sha256 != record.sha256:
            raise DataError(
                f"{record.source} has changed since it was inspected: its hash differs.", "Inspect it again."
            )
        return media

    def write_crop(self, source: str, name: str, pixels: UInt8Array, what: str) -> str | None:
        """Write pixels, uint8 (H, W, 3), into ``crops``; returns the path, or None without such a folder.

        Raises DataError, which names ``what`` can't be written.
        """
        if self.crops is None:
            return None
        from PIL import Image

        path = self.crops / f"{Path(source).stem}-{name}.png"
        try:
            self.crops.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
        except OSError as error:
            raise DataError(f"{what} can't be written to {path}: {error.strerror or error}.") from error
        return str(path)

    def path_of(self, source: str) -> Path:
        """Path of a record's file: as recorded, or below ``folder``."""
        from anomalist.vision.media.pages import split_page

        path = Path(source)
        if here(split_page(path)[0]).exists() or self.folder is None or path.is_absolute():
            return path
        return self.folder / path


def _no_part(record: Record | ClipRecord, wanted: str, known: list[str]) -> DataError:
    """The error that a picture or clip has no such part; of one that was not judged, that it was not."""
    if not record.judged:
        return DataError(failure_sentence(record))
    name = Path(record.source).name
    nothing = "none: nothing stands out" if record.label == "normal" else "none"
    return DataError(f"There is no {wanted} in {name}.", f"Known: {', '.join(known) or nothing}.")


def _find_record(records: tuple[AnyRecord, ...], name: str | None, what: str) -> AnyRecord:
    """The record with a name, or the only one; raises DataError where there is none or several."""
    found = [r for r in records if name is None or names_source(name, r.source)]
    if name is not None and len(found) > 1:
        found = [r for r in found if r.source == name] or found
    if len(found) == 1:
        return found[0]
    if not records:
        raise DataError(f"There is no {what} here.")
    shared = common_folder(record.source for record in records)
    meant = found or records
    shown = [record.source.removeprefix(f"{shared}/") if shared else record.source for record in meant]
    known = ", ".join(shown[:MAX_NAMES])
    more = f" and {len(shown) - MAX_NAMES} more" if len(shown) > MAX_NAMES else ""
    problem = f"There is no {what} {name}." if not found else f"Which {what}? There are {len(found)}."
    raise DataError(problem, f"Known: {known}{more}.")
