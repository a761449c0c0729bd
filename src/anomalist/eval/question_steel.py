"""Questions about the kind of defects, from a folder of defects alone: the layout of NEU-DET."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from anomalist.errors import DataError
from anomalist.eval.datasets import Item
from anomalist.eval.question_sets import Prepared, Seen, Setup, case_id, drawn_cases
from anomalist.eval.questions import Subject, about_kind
from anomalist.types import Record
from anomalist.vision.detectors import Progress
from anomalist.vision.likeness import LabelledLooks, look_at
from anomalist.vision.media import IMAGE_SUFFIXES, load_image


def steel(data: Path, setup: Setup) -> Prepared:
    """Questions about the kind of pictures ``images/<kind>_<number>``, of which none is good (NEU)."""
    folder = data / "images"
    paths = sorted(path for path in folder.glob("*_*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise DataError(f"{folder} holds no pictures <kind>_<number>.")
    items = [Item(path, path.name, path.stem.rpartition("_")[0], None, path.name) for path in paths]
    cases = drawn_cases(items, setup.cases, setup.seed)
    known, kinds = {item.name for item in cases}, sorted({item.defect for item in items})
    rng = np.random.default_rng((setup.seed, 9))
    testing = [item for item in items if item.name not in known]
    questions = []
    for item in testing:
        subject = Subject(data.name, "steel surface", item.name, item.group)
        others = [kind for kind in kinds if kind != item.defect]
        questions.append(about_kind(subject, item.defect, others, int(rng.integers(1000))))
    return Prepared(tuple(questions), partial(_look_at_steel, cases, testing))


def _look_at_steel(
    cases: Sequence[Item], testing: Sequence[Item], progress: Progress
) -> Iterator[tuple[str, Seen]]:
    from anomalist.vision.eyes import Eyes
    from anomalist.vision.weights import shipped_network

    eyes = Eyes(shipped_network())
    looks = LabelledLooks(
        tuple(look_at(eyes, load_image(item.path).pixels) for item in cases),
        tuple(item.defect for item in cases),
        tuple(case_id(item.path) for item in cases),
    )
    for done, item in enumerate(testing, start=1):
        media = load_image(item.path)
        height, width = media.size
        record = Record(
            source=media.source, status="ok", sha256=media.sha256, width=width, height=height, basis=None
        )
        yield item.name, Seen(record, likeness=looks.likeness(look_at(eyes, media.pixels)))
        progress("looking at steel", done, len(testing))
