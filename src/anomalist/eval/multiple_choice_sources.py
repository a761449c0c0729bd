"""Data sets of multiple-choice questions: MTD tiles, DeepPCB boards, NEU-DET steel.

Also the sampling of labelled cases by kind, and augmented copies of pictures (shift, rotation, brightness,
noise).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from anomalist.agent.models.selection import EVIDENCE
from anomalist.errors import DataError
from anomalist.eval.detection import contenders
from anomalist.eval.image_datasets import (
    LabelledImage,
    LabelledPair,
    Split,
    load_folder,
    read_pairs,
    split_dataset,
)
from anomalist.eval.multiple_choice_questions import (
    BenchmarkQuestion,
    QuestionSubject,
    detection_question,
    kind_question,
    place_question,
    places_of_one_kind,
    shares_of_boxes,
    shares_of_mask,
)
from anomalist.eval.reference import fit_reference
from anomalist.types.common import FloatArray, MediaSummary, UInt8Array, Verdict
from anomalist.types.image import Inspection, Record
from anomalist.vision.detectors.base import Progress, default_detector
from anomalist.vision.detectors.ensemble import open_backbone_by
from anomalist.vision.detectors.known_kinds import (
    KindSimilarity,
    PatchSetClassifier,
    TokenKindClassifier,
    describe_picture,
    mirror_images,
    picture_token,
)
from anomalist.vision.detectors.reference import load_reference
from anomalist.vision.detectors.token_memory import token_grids
from anomalist.vision.features.backbones import to_working_size
from anomalist.vision.media.images import IMAGE_SUFFIXES, load_image
from anomalist.vision.media.masks import load_mask

MAX_SHIFT = 6.0  # pixels
MAX_ROTATION = 0.5  # degrees
MAX_BRIGHTNESS = 0.08  # logarithm of the factor
NOISE_SIGMA = 4.0  # grey levels
TOKEN_SIDE = 336  # pixels, nominal side of the backbone's input


def write_augmented(picture: Path, to: Path, rng: np.random.Generator) -> Path:
    """Write an augmented copy of a picture to ``to``, whose suffix sets the format; returns that path."""
    from PIL import Image

    Image.fromarray(augment(load_image(picture).pixels, rng)).save(to)
    return to


def augment(pixels: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Random small shift, rotation, brightness change and noise of a picture, uint8 (H, W, 3)."""
    import cv2

    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-MAX_ROTATION, MAX_ROTATION), 1.0)
    matrix[:, 2] += rng.uniform(-MAX_SHIFT, MAX_SHIFT, 2)
    moved = cv2.warpAffine(
        pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    light = math.exp(rng.uniform(-MAX_BRIGHTNESS, MAX_BRIGHTNESS))
    noisy = light * moved.astype(np.float32) + rng.normal(0, NOISE_SIGMA, moved.shape[:2])[..., None]
    return np.asarray(np.clip(np.rint(noisy), 0, 255), np.uint8)


@dataclass(frozen=True)
class QuestionSetup:
    """Settings of the benchmark.

    Parameters
    ----------
    cases : labelled cases of each kind.
    train_normals : good tiles to learn from, at least.
    effort : of learning.
    seed : of all random choices.
    """

    cases: int
    train_normals: int
    effort: str
    seed: int


@dataclass(frozen=True, eq=False)
class QuestionEvidence:
    """The evidence for an answer: record, anomaly map, and similarity to labelled kinds, if any."""

    record: Record
    score_map: FloatArray | None = None
    likeness: KindSimilarity | None = None


@dataclass(frozen=True, eq=False)
class PreparedQuestions:
    """Questions about a data set, and a generator of (picture name, evidence), in any order."""

    questions: tuple[BenchmarkQuestion, ...]
    inspect: Callable[[Progress], Iterator[tuple[str, QuestionEvidence]]]


def sample_labelled_cases(
    items: Sequence[LabelledImage],
    count: int,
    seed: int,
    first: Callable[[LabelledImage], bool] = lambda _: False,
) -> list[LabelledImage]:
    """Draw ``count`` labelled pictures of each kind, one from each group in turn.

    Pictures for which ``first`` is true are preferred; the others are taken from as few groups as possible.
    """
    rng = np.random.default_rng((seed, 4))
    drawn: list[LabelledImage] = []
    for kind in sorted({item.defect for item in items}):
        own = [items[i] for i in rng.permutation(len(items)) if items[i].defect == kind]
        preferred = _round_robin([item for item in own if first(item)])
        rest = [item for item in own if not first(item)]
        order = {group: at for at, group in enumerate(dict.fromkeys(item.group for item in rest))}
        drawn += [*preferred, *sorted(rest, key=lambda item: order[item.group])][:count]
    return drawn


def _round_robin(items: Sequence[LabelledImage]) -> list[LabelledImage]:
    """Reorder items: one from each group, then the second from each, and so on."""
    met: dict[str, int] = defaultdict(int)
    turns = []
    for item in items:
        turns.append(met[item.group])
        met[item.group] += 1
    return [item for _, item in sorted(zip(turns, items, strict=True), key=lambda pair: pair[0])]


def inspect_items(
    inspect: Callable[[Iterator[Path]], Iterator[Inspection]],
    items: Sequence[LabelledImage],
    what: str,
    progress: Progress,
) -> Iterator[tuple[LabelledImage, Inspection]]:
    """Inspect labelled pictures, with progress."""
    inspections = inspect(item.path for item in items)
    for done, (item, inspection) in enumerate(zip(items, inspections, strict=True), start=1):
        yield item, inspection
        progress(what, done, len(items))


def drop_missing(questions: Sequence[BenchmarkQuestion | None]) -> tuple[BenchmarkQuestion, ...]:
    """Leave out the questions that are None."""
    return tuple(question for question in questions if question is not None)


@dataclass(frozen=True, eq=False)
class LabelledCase:
    """A labelled picture to tell kinds by.

    Parameters
    ----------
    item : with its kind.
    pixels : uint8 (H, W, 3).
    score_map : float32 (H, W), anomaly map, which says where the defect is; None for all over the picture.
    """

    item: LabelledImage
    pixels: UInt8Array
    score_map: FloatArray | None = None


KindJudge = Callable[[UInt8Array, FloatArray | None], KindSimilarity]
"""Compares a picture, uint8 (H, W, 3), with labelled cases, by an anomaly map as in `LabelledCase`."""


def judge_by_cases(cases: Sequence[LabelledCase]) -> KindJudge:
    """Learn kinds from labelled cases: by the tokens of DINOv2 where that is at hand, else by SurfaceNet."""
    from anomalist.vision.features.dinov2 import find_dinov2

    kinds = tuple(case.item.defect for case in cases)
    ids = tuple(case_id(case.item.path) for case in cases)
    if find_dinov2() is None:
        return _judge_by_patches(cases, kinds, ids)
    backbone = open_backbone_by(None)()  # shared with the detector

    def describe(pixels: UInt8Array, score_map: FloatArray | None) -> FloatArray:
        (tokens,) = token_grids(backbone, [to_working_size(pixels)], TOKEN_SIDE)
        return picture_token(tokens, score_map)

    tokens = np.stack([describe(case.pixels, case.score_map) for case in cases])
    mirrored = np.stack([[describe(*each) for each in _mirrored(case)] for case in cases])
    groups = [case.item.group for case in cases]
    classifier = TokenKindClassifier.of(tokens, ids, kinds, groups, mirrored=mirrored)
    return lambda pixels, score_map: classifier.similarity_to_kinds(describe(pixels, score_map))


def _mirrored(case: LabelledCase) -> Iterator[tuple[UInt8Array, FloatArray | None]]:
    """A case's picture with its map, mirrored in each way."""
    pictures = mirror_images(case.pixels)
    maps = [None] * len(pictures) if case.score_map is None else mirror_images(case.score_map)
    yield from zip(pictures, maps, strict=True)


def _judge_by_patches(
    cases: Sequence[LabelledCase], kinds: tuple[str, ...], ids: tuple[str, ...]
) -> KindJudge:
    from anomalist.vision.features.extractor import FeatureExtractor, shipped_network

    extractor = FeatureExtractor(shipped_network())
    patches = tuple(describe_picture(extractor, case.pixels, case.score_map) for case in cases)
    classifier = PatchSetClassifier(patches, kinds, ids)
    return lambda pixels, score_map: classifier.similarity_to_kinds(
        describe_picture(extractor, pixels, score_map)
    )


def case_id(path: Path) -> str:
    """Citable id of a labelled case: its folder and name."""
    return f"{path.parent.name}/{path.stem}"


BOARD_FIT_PREFIX = "00041"
"""Prefix of the pairs that the reference detector is fitted on; they are not asked about."""


def board_questions(data: Path, setup: QuestionSetup) -> PreparedQuestions:
    """Questions about pairs of template and board (DeepPCB); templates are the good pictures.

    A template doesn't differ from itself, so detection questions are about augmented copies of boards and
    templates, see `write_augmented`.
    """
    pairs = read_pairs(data)
    fitting = [pair for pair in pairs if pair.name.startswith(BOARD_FIT_PREFIX)]
    testing = [pair for pair in pairs if not pair.name.startswith(BOARD_FIT_PREFIX)]
    if not fitting or not testing:
        raise DataError(
            f"{data} needs pairs {BOARD_FIT_PREFIX}* to learn kinds from, and others to ask about."
        )
    kinds = sorted({kind for pair in pairs for kind in pair.kinds})
    rng = np.random.default_rng((setup.seed, 6))
    questions: list[BenchmarkQuestion | None] = []
    for pair in testing:
        for part, defective in (("test", True), ("temp", False)):
            subject = QuestionSubject(data.name, "circuit board", f"{pair.name}_{part}", pair.name)
            questions.append(detection_question(subject, defective, int(rng.integers(1000))))
        subject = QuestionSubject(data.name, "circuit board", pair.name, pair.name)
        which, number = int(rng.integers(len(pair.boxes))), int(rng.integers(1000))
        size = load_image(pair.picture).size
        shares = shares_of_boxes(pair.boxes, which, size)
        questions.append(place_question(subject, shares, rng, number))
        if found := places_of_one_kind(pair.boxes, pair.kinds, size):
            at = str(rng.permutation(sorted(found))[0])
            others = [kind for kind in kinds if kind != found[at]]
            questions.append(kind_question(subject, found[at], others, int(rng.integers(1000)), at))
    return PreparedQuestions(drop_missing(questions), partial(_inspect_boards, fitting, testing, setup))


def _inspect_boards(
    fitting: Sequence[LabelledPair], testing: Sequence[LabelledPair], setup: QuestionSetup, progress: Progress
) -> Iterator[tuple[str, QuestionEvidence]]:
    from anomalist.pipeline import Inspector

    known = fit_reference(fitting, setup.seed, progress, examples=setup.cases).known
    rng = np.random.default_rng((setup.seed, 8))
    with TemporaryDirectory(prefix="anomalist-eval-") as folder:
        for done, pair in enumerate(testing, start=1):
            inspector = Inspector(load_reference(pair.reference, known), model=EVIDENCE)
            again = [
                write_augmented(path, Path(folder) / f"{path.stem}.png", rng)
                for path in (pair.picture, pair.reference)
            ]
            names = (pair.name, f"{pair.name}_test", f"{pair.name}_temp")
            for name, seen in zip(names, inspector.inspect_many([pair.picture, *again]), strict=True):
                yield name, QuestionEvidence(seen.record)
            progress("comparing boards", done, len(testing))


def steel_questions(data: Path, setup: QuestionSetup) -> PreparedQuestions:
    """Questions about the kind of defect in ``images/<kind>_<number>``, which are all defective (NEU)."""
    folder = data / "images"
    paths = sorted(path for path in folder.glob("*_*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise DataError(f"{folder} holds no pictures <kind>_<number>.")
    items = [LabelledImage(path, path.name, path.stem.rpartition("_")[0], None, path.name) for path in paths]
    cases = sample_labelled_cases(items, setup.cases, setup.seed)
    known, kinds = {item.name for item in cases}, sorted({item.defect for item in items})
    rng = np.random.default_rng((setup.seed, 9))
    testing = [item for item in items if item.name not in known]
    questions = []
    for item in testing:
        subject = QuestionSubject(data.name, "steel surface", item.name, item.group)
        others = [kind for kind in kinds if kind != item.defect]
        questions.append(kind_question(subject, item.defect, others, int(rng.integers(1000))))
    return PreparedQuestions(tuple(questions), partial(_inspect_steel, cases, testing))


def _inspect_steel(
    cases: Sequence[LabelledImage], testing: Sequence[LabelledImage], progress: Progress
) -> Iterator[tuple[str, QuestionEvidence]]:
    judge = judge_by_cases([LabelledCase(item, load_image(item.path).pixels) for item in cases])
    verdict = Verdict(label="undecided", severity=0, reasoner="none")  # all are defective, and of some kind
    for done, item in enumerate(testing, start=1):
        media = load_image(item.path)
        record = Record(media=MediaSummary.of(media), status="ok", verdict=verdict)
        yield item.name, QuestionEvidence(record, likeness=judge(media.pixels, None))
        progress("looking at steel", done, len(testing))


TILE_FALSE_ALARM_RATE = 0.2
"""False-alarm rate of detection answers about tiles, chosen on tiles that aren't tested."""


def tile_questions(data: Path, setup: QuestionSetup) -> PreparedQuestions:
    """Questions about a folder with ``good/``, one folder per kind of defect and ``ground_truth/`` (MTD).

    Normals are learned from by whole groups. Labelled cases are drawn preferably from the groups that are
    learned from; pictures of their groups get no questions about kinds.
    """
    table = data / "groups.csv"
    pictures = load_folder(data, table if table.exists() else None)
    parts = split_dataset(pictures, setup.train_normals, setup.seed)
    tested = {item.name for item in parts.test}
    defects = [item for item in pictures.items if not item.normal]
    cases = sample_labelled_cases(defects, setup.cases, setup.seed, lambda item: item.name not in tested)
    known = {item.group for item in cases}
    kinds = sorted({item.defect for item in defects})
    rng = np.random.default_rng((setup.seed, 5))
    questions: list[BenchmarkQuestion | None] = []
    for item in parts.test:
        subject = QuestionSubject(data.name, "tile", item.name, item.group)
        questions.append(detection_question(subject, not item.normal, int(rng.integers(1000))))
        if item.mask is not None:
            mask = load_mask(item.mask, load_image(item.path).size)
            questions.append(place_question(subject, shares_of_mask(mask), rng, int(rng.integers(1000))))
        if not item.normal and item.group not in known:
            others = [kind for kind in kinds if kind != item.defect]
            questions.append(kind_question(subject, item.defect, others, int(rng.integers(1000))))
    return PreparedQuestions(drop_missing(questions), partial(_inspect_tiles, parts, cases, setup))


def _inspect_tiles(
    parts: Split, cases: Sequence[LabelledImage], setup: QuestionSetup, progress: Progress
) -> Iterator[tuple[str, QuestionEvidence]]:
    from anomalist.pipeline import Inspector

    (contender,) = contenders(
        [default_detector(None)], [setup.effort], len(parts.train), TILE_FALSE_ALARM_RATE
    )
    with TemporaryDirectory(prefix="anomalist-eval-") as folder:
        inspector = Inspector(
            contender.make(parts, setup.seed, Path(folder), progress), model=EVIDENCE, memory=False
        )
        known = [
            LabelledCase(item, inspection.media.pixels, inspection.evidence.score_map)
            for item, inspection in inspect_items(inspector.inspect_many, cases, "looking at cases", progress)
            if inspection.media is not None and inspection.evidence is not None
        ]
        judge = judge_by_cases(known)
        for item, inspection in inspect_items(
            inspector.inspect_many, parts.test, "inspecting tiles", progress
        ):
            media, evidence = inspection.media, inspection.evidence
            if item.normal or media is None or evidence is None:
                yield item.name, QuestionEvidence(inspection.record)
                continue
            likeness = judge(media.pixels, evidence.score_map)
            yield item.name, QuestionEvidence(inspection.record, evidence.score_map, likeness)
