"""The question set of the question-answering benchmark, and its subjects: learn, inspect, triage.

Questions in plain words about real pictures and clips, which are identified by relative path and hash.
Learned profiles can be reused.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from anomalist.agent.models.selection import EVIDENCE
from anomalist.agent.tools.subject import Subject
from anomalist.errors import DataError, ProfileError
from anomalist.eval.image_datasets import LabelledImage, load_folder
from anomalist.storage.files import changed_since
from anomalist.types.common import Frozen
from anomalist.types.image import Inspection
from anomalist.vision.detectors.base import Progress

QUESTION_SET_FILE = Path(__file__).with_name("questions.json")

Check = Literal[
    "label", "place", "kind", "count", "size", "change", "search", "events", "when", "record", "severity",
    "confidence", "history", "action", "rate", "feedback", "unanswered",
]  # fmt: skip
"""How an answer is graded: by labels of the data set, or, where there are none, by the record."""


class LearningSetup(Frozen):
    """What is learned before the pictures are inspected, without the groups of the question set."""

    tiles: int = Field(description="least number of good pictures")
    cases: int = Field(description="labelled defects of each kind")
    boards: int = Field(description="pairs to learn labelled changes from")
    clips: int = Field(description="normal clips of the scene")
    seed: int


class AskedSubject(Frozen):
    """A picture, clip or batch of the question set; paths are relative to the data folder."""

    id: str
    kind: Literal["tile", "board", "clip", "batch"]
    path: str = ""
    sha256: str = ""
    reference: str = ""
    reference_sha256: str = ""
    of: tuple[str, ...] = Field((), description="ids of the pictures of a batch")


class AskingQuestion(Frozen):
    """One question with its labelled intent and the ids of its subjects."""

    text: str
    intent: str
    check: Check
    leading: bool = Field(description="it suggests an answer")
    expects: str = Field("", description="for a search, what is listed; for another rate, the rate")
    on: tuple[str, ...] = Field(description="ids of its subjects")


class QuestionSet(Frozen):
    """The question set: what to learn, subjects, development and test questions."""

    learn: LearningSetup
    records: tuple[AskedSubject, ...]
    open: tuple[AskingQuestion, ...] = Field(description="development set: intents were tuned on it")
    apart: tuple[AskingQuestion, ...] = Field(description="test set: written after the intents were frozen")


def read_questions(file: Path = QUESTION_SET_FILE) -> QuestionSet:
    """Read the question set that ships."""
    return QuestionSet.model_validate_json(file.read_text(encoding="utf-8"))


def check_files(data: Path, records: Sequence[AskedSubject]) -> None:
    """Raise DataError unless every file of the subjects exists with the recorded hash."""
    for record in records:
        for name, want in ((record.path, record.sha256), (record.reference, record.reference_sha256)):
            if not name:
                continue
            try:
                happened = changed_since(data / name, want)
            except OSError as error:
                raise DataError(
                    f"{data / name} can't be read: {error.strerror}.", "Is --data right?"
                ) from error
            if happened == "is gone":
                raise DataError(f"{data / name} can't be read: it is not there.", "Is --data right?")
            if happened is not None:
                raise DataError(f"{data / name} is not the picture that the questions are about.")


def make_subjects(data: Path, questions: QuestionSet, work: Path, progress: Progress) -> dict[str, Subject]:
    """Learn what is not in ``work`` yet, and inspect all subjects; returns subjects by id.

    Parameters
    ----------
    data : folder with mtd/, deeppcb/ and ped2/.
    work : folder for learned profiles and scenes; existing ones are reused.
    """
    by_kind = {
        kind: [record for record in questions.records if record.kind == kind]
        for kind in ("tile", "board", "clip", "batch")
    }
    cases = work / "cases.sqlite"
    subjects = _tile_subjects(data, by_kind["tile"], questions, work, progress)
    subjects |= _board_subjects(data, by_kind["board"], questions, progress)
    subjects |= _clip_subjects(data, by_kind["clip"], questions, work, progress)
    for batch in by_kind["batch"]:
        several = [subjects[id] for id in batch.of]
        subjects[batch.id] = replace(
            several[0],
            records=tuple(record for one in several for record in one.records),
            inspections={key: value for one in several for key, value in one.inspections.items()},
        )
    return {id: replace(subject, cases=cases) for id, subject in subjects.items()}


def _tile_subjects(
    data: Path, asked: Sequence[AskedSubject], questions: QuestionSet, work: Path, progress: Progress
) -> dict[str, Subject]:
    from anomalist.pipeline import Inspector, learn
    from anomalist.vision.evidence import NearestNormalCrop
    from anomalist.vision.profile import load_profile

    if not asked:
        return {}
    items = load_folder(data / "mtd", data / "mtd" / "groups.csv").items
    good, defects = tile_training_set(items, asked, questions)
    try:
        profile = load_profile(work / "tiles")
    except ProfileError:
        folder = work / "defects"
        shutil.rmtree(folder, ignore_errors=True)
        for item in defects:
            _copy_file(item.path, folder / item.defect / item.path.name)
            if item.mask is not None:
                _copy_file(item.mask, folder / "ground_truth" / item.defect / item.mask.name)
        profile = learn(
            [item.path for item in good],
            profile=work / "tiles",
            groups={str(item.path): item.group for item in good},
            effort="fast",
            seed=questions.learn.seed,
            defects=folder,
            outliers="keep",
            progress=progress,
        )
    inspector = Inspector(profile, model=EVIDENCE, memory=False)
    base = Subject(
        inspect=inspector.inspect,
        counterpart=NearestNormalCrop(profile),
        calibrations=inspector.evidence_source.calibrations,
    )
    return {
        record.id: _with_inspection(base, inspection)
        for record, inspection in zip(
            asked, inspector.inspect_many(data / record.path for record in asked), strict=True
        )
    }


def tile_training_set(
    items: Sequence[LabelledImage], asked: Sequence[AskedSubject], questions: QuestionSet
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Training pictures and labelled defects, without the tiles of the question set and their groups."""
    names = {record.path.removeprefix("mtd/") for record in asked}
    groups = {item.group for item in items if item.name in names}
    free = [item for item in items if item.group not in groups]
    chance = random.Random(questions.learn.seed)
    order = sorted({item.group for item in free if item.normal})
    chance.shuffle(order)
    good: list[LabelledImage] = []
    for group in order:
        if len(good) >= questions.learn.tiles:
            break
        good += [item for item in free if item.normal and item.group == group]
    defects: list[LabelledImage] = []
    for kind in sorted({item.defect for item in free if not item.normal}):
        same = [item for item in free if item.defect == kind]
        defects += chance.sample(same, min(questions.learn.cases, len(same)))
    return good, defects


def _board_subjects(
    data: Path, asked: Sequence[AskedSubject], questions: QuestionSet, progress: Progress
) -> dict[str, Subject]:
    from anomalist.eval.image_datasets import read_pairs
    from anomalist.eval.reference import fit_reference
    from anomalist.pipeline import Inspector
    from anomalist.vision.detectors.reference import AlignedCrop, load_reference

    if not asked:
        return {}
    begins = {Path(record.path).name[:5] for record in asked}
    pairs = [pair for pair in read_pairs(data / "deeppcb") if pair.name[:5] not in begins]
    chosen = random.Random(questions.learn.seed).sample(pairs, questions.learn.boards)
    known = fit_reference(chosen, questions.learn.seed, progress).known
    subjects = {}
    for record in asked:
        against = load_reference(data / record.reference, known)
        inspector = Inspector(against, model=EVIDENCE)
        base = Subject(
            inspect=inspector.inspect, counterpart=AlignedCrop(against.reference), normal="the reference"
        )
        subjects[record.id] = _with_inspection(base, inspector.inspect(data / record.path))
    return subjects


def _clip_subjects(
    data: Path, asked: Sequence[AskedSubject], questions: QuestionSet, work: Path, progress: Progress
) -> dict[str, Subject]:
    from anomalist.composition import TriageSettings
    from anomalist.triage import Triage
    from anomalist.vision.media.sources import list_videos
    from anomalist.vision.media.video import open_video
    from anomalist.vision.motion.learning import learn_scene
    from anomalist.vision.motion.scene import load_scene

    if not asked:
        return {}
    try:
        scene = load_scene(work / "walkway")
    except ProfileError:
        normal = list_videos([data / "ped2" / "training"]).videos[: questions.learn.clips]
        scene = learn_scene([open_video(path) for path in normal], work / "walkway", progress=progress)
    triage = Triage(TriageSettings(scene, model=EVIDENCE, memory=False))
    return {record.id: Subject(clips=(triage.clip(open_video(data / record.path)),)) for record in asked}


def _with_inspection(base: Subject, inspection: Inspection) -> Subject:
    record = inspection.record
    if record.status == "error":
        raise DataError(f"{record.source} could not be inspected: {record.error}")
    return replace(base, records=(record,), inspections={record.source: inspection})


def _copy_file(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)
