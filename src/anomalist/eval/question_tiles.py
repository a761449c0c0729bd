"""Questions about surfaces with and without defects: the layout of the magnetic tiles (MTD)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from anomalist.eval.contenders import contenders
from anomalist.eval.datasets import Item, Split, load_folder, load_mask, split
from anomalist.eval.question_sets import Prepared, Seen, Setup, asked, case_id, drawn_cases, inspected
from anomalist.eval.questions import Question, Subject, about_defect, about_kind, about_place, shares_of_mask
from anomalist.vision.detectors import Progress
from anomalist.vision.likeness import LabelledLooks, look_at
from anomalist.vision.media import load_image

RATE = 0.2
"""False-alarm rate at which yes or no is said of tiles: chosen on tiles that aren't tested."""


def tiles(data: Path, setup: Setup) -> Prepared:
    """Questions about a folder with ``good/``, one folder a defect and ``ground_truth/`` (MTD).

    Normals are learned from by whole groups; labelled cases are drawn from groups that leave the questions
    about kinds, first from those that are learned from.
    """
    table = data / "groups.csv"
    pictures = load_folder(data, table if table.exists() else None)
    parts = split(pictures, setup.train_normals, setup.seed)
    tested = {item.name for item in parts.test}
    defects = [item for item in pictures.items if not item.normal]
    cases = drawn_cases(defects, setup.cases, setup.seed, lambda item: item.name not in tested)
    known = {item.group for item in cases}
    kinds = sorted({item.defect for item in defects})
    rng = np.random.default_rng((setup.seed, 5))
    questions: list[Question | None] = []
    for item in parts.test:
        subject = Subject(data.name, "tile", item.name, item.group)
        questions.append(about_defect(subject, not item.normal, int(rng.integers(1000))))
        if item.mask is not None:
            mask = load_mask(item.mask, load_image(item.path).size)
            questions.append(about_place(subject, shares_of_mask(mask), rng, int(rng.integers(1000))))
        if not item.normal and item.group not in known:
            others = [kind for kind in kinds if kind != item.defect]
            questions.append(about_kind(subject, item.defect, others, int(rng.integers(1000))))
    return Prepared(asked(questions), partial(_look_at_tiles, parts, cases, setup))


def _look_at_tiles(
    parts: Split, cases: Sequence[Item], setup: Setup, progress: Progress
) -> Iterator[tuple[str, Seen]]:
    from anomalist.pipeline import Inspector
    from anomalist.vision.eyes import Eyes
    from anomalist.vision.weights import shipped_network

    (contender,) = contenders(["surface"], [setup.effort], len(parts.train), RATE)
    eyes = Eyes(shipped_network())
    with TemporaryDirectory(prefix="anomalist-eval-") as folder:
        inspector = Inspector(contender.make(parts, setup.seed, Path(folder), progress))
        patches, kept = [], []
        for item, inspection in inspected(inspector.inspect_many, cases, "looking at cases", progress):
            if inspection.media is not None and inspection.evidence is not None:
                patches.append(look_at(eyes, inspection.media.pixels, inspection.evidence.score_map))
                kept.append(item)
        looks = LabelledLooks(
            tuple(patches), tuple(item.defect for item in kept), tuple(case_id(item.path) for item in kept)
        )
        for item, inspection in inspected(inspector.inspect_many, parts.test, "inspecting tiles", progress):
            media, evidence = inspection.media, inspection.evidence
            if item.normal or media is None or evidence is None:
                yield item.name, Seen(inspection.record)
                continue
            likeness = looks.likeness(look_at(eyes, media.pixels, evidence.score_map))
            yield item.name, Seen(inspection.record, evidence.score_map, likeness)
