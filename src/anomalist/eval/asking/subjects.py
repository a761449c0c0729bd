"""From the question set to subjects: learn what is needed, inspect, triage; what is learned can be kept."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from anomalist.agent.tools.subject import Subject
from anomalist.errors import DataError, ProfileError
from anomalist.eval.asking.question_set import Asked, QuestionSet
from anomalist.eval.datasets import Item, load_folder
from anomalist.types import Inspection
from anomalist.vision.detectors import Progress


def make_subjects(data: Path, questions: QuestionSet, work: Path, progress: Progress) -> dict[str, Subject]:
    """Learn what is not in ``work`` yet, and look at everything that is asked about; subjects by id.

    Parameters
    ----------
    data : folder with mtd/, deeppcb/ and ped2/.
    work : folder of what is learned; what is there is used again.
    """
    by_kind = {
        kind: [record for record in questions.records if record.kind == kind]
        for kind in ("tile", "board", "clip", "batch")
    }
    cases = work / "cases.sqlite"
    subjects = _tiles(data, by_kind["tile"], questions, work, progress)
    subjects |= _boards(data, by_kind["board"], questions, progress)
    subjects |= _clips(data, by_kind["clip"], questions, work, progress)
    for batch in by_kind["batch"]:
        several = [subjects[id] for id in batch.of]
        subjects[batch.id] = replace(
            several[0],
            records=tuple(record for one in several for record in one.records),
            inspections={key: value for one in several for key, value in one.inspections.items()},
        )
    return {id: replace(subject, cases=cases) for id, subject in subjects.items()}


def _tiles(
    data: Path, asked: Sequence[Asked], questions: QuestionSet, work: Path, progress: Progress
) -> dict[str, Subject]:
    from anomalist.pipeline import Inspector, learn
    from anomalist.vision.normals import NearestNormal
    from anomalist.vision.profile import load_profile

    if not asked:
        return {}
    items = load_folder(data / "mtd", data / "mtd" / "groups.csv").items
    good, defects = tile_lessons(items, asked, questions)
    try:
        profile = load_profile(work / "tiles")
    except ProfileError:
        folder = work / "defects"
        shutil.rmtree(folder, ignore_errors=True)
        for item in defects:
            _copied(item.path, folder / item.defect / item.path.name)
            if item.mask is not None:
                _copied(item.mask, folder / "ground_truth" / item.defect / item.mask.name)
        profile = learn(
            [item.path for item in good],
            profile=work / "tiles",
            groups={str(item.path): item.group for item in good},
            effort="fast",
            seed=questions.learn.seed,
            defects=folder,
            progress=progress,
        )
    inspector = Inspector(profile)
    base = Subject(
        inspect=inspector.inspect, counterpart=NearestNormal(profile), calibration=profile.calibration
    )
    return {
        record.id: _seen(base, inspection)
        for record, inspection in zip(
            asked, inspector.inspect_many(data / record.path for record in asked), strict=True
        )
    }


def tile_lessons(
    items: Sequence[Item], asked: Sequence[Asked], questions: QuestionSet
) -> tuple[list[Item], list[Item]]:
    """Good pictures to learn from and labelled defects, of no tile that is asked about."""
    names = {record.path.removeprefix("mtd/") for record in asked}
    groups = {item.group for item in items if item.name in names}
    free = [item for item in items if item.group not in groups]
    chance = random.Random(questions.learn.seed)
    order = sorted({item.group for item in free if item.normal})
    chance.shuffle(order)
    good: list[Item] = []
    for group in order:
        if len(good) >= questions.learn.tiles:
            break
        good += [item for item in free if item.normal and item.group == group]
    defects: list[Item] = []
    for kind in sorted({item.defect for item in free if not item.normal}):
        same = [item for item in free if item.defect == kind]
        defects += chance.sample(same, min(questions.learn.cases, len(same)))
    return good, defects


def _boards(
    data: Path, asked: Sequence[Asked], questions: QuestionSet, progress: Progress
) -> dict[str, Subject]:
    from anomalist.eval.pairs import read_pairs
    from anomalist.eval.reference import fit_on
    from anomalist.pipeline import Inspector
    from anomalist.vision.reference import AlignedCrop, load_reference

    if not asked:
        return {}
    begins = {Path(record.path).name[:5] for record in asked}
    pairs = [pair for pair in read_pairs(data / "deeppcb") if pair.name[:5] not in begins]
    chosen = random.Random(questions.learn.seed).sample(pairs, questions.learn.boards)
    known = fit_on(chosen, questions.learn.seed, progress).known
    subjects = {}
    for record in asked:
        against = load_reference(data / record.reference, known)
        inspector = Inspector(against)
        base = Subject(
            inspect=inspector.inspect, counterpart=AlignedCrop(against.reference), normal="the reference"
        )
        subjects[record.id] = _seen(base, inspector.inspect(data / record.path))
    return subjects


def _clips(
    data: Path, asked: Sequence[Asked], questions: QuestionSet, work: Path, progress: Progress
) -> dict[str, Subject]:
    from anomalist.triage import Triage
    from anomalist.vision.motion.learning import learn_scene
    from anomalist.vision.motion.scene import load_scene
    from anomalist.vision.video.listing import list_videos
    from anomalist.vision.video.opening import open_video

    if not asked:
        return {}
    try:
        scene = load_scene(work / "walkway")
    except ProfileError:
        normal = list_videos([data / "ped2" / "training"]).videos[: questions.learn.clips]
        scene = learn_scene([open_video(path) for path in normal], work / "walkway", progress=progress)
    triage = Triage(scene)
    return {record.id: Subject(clips=(triage.clip(open_video(data / record.path)),)) for record in asked}


def _seen(base: Subject, inspection: Inspection) -> Subject:
    record = inspection.record
    if record.status == "error":
        raise DataError(f"{record.source} could not be inspected: {record.error}")
    return replace(base, records=(record,), inspections={record.source: inspection})


def _copied(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)
