"""Questions about boards that there are good templates of: the layout of DeepPCB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from anomalist.errors import DataError
from anomalist.eval.pairs import Labelled, read_pairs
from anomalist.eval.question_sets import Prepared, Seen, Setup, asked
from anomalist.eval.questions import (
    Question,
    Subject,
    about_defect,
    about_kind,
    about_place,
    of_one_kind,
    shares_of_boxes,
)
from anomalist.eval.reference import fit_on
from anomalist.eval.retaking import taken_again
from anomalist.vision.detectors import Progress
from anomalist.vision.media import load_image
from anomalist.vision.reference import load_reference

FIT = "00041"
"""Pairs whose name starts so are what boards are compared by, and are not asked about."""


def boards(data: Path, setup: Setup) -> Prepared:
    """Questions about pairs of template and board (DeepPCB); the templates are the good ones.

    A template is no news against itself, so whether anything is wrong is asked about pictures taken again,
    of boards and templates alike: see `taken_again`.
    """
    pairs = read_pairs(data)
    fitting = [pair for pair in pairs if pair.name.startswith(FIT)]
    testing = [pair for pair in pairs if not pair.name.startswith(FIT)]
    if not fitting or not testing:
        raise DataError(f"{data} needs pairs {FIT}* to learn kinds from, and others to ask about.")
    kinds = sorted({kind for pair in pairs for kind in pair.kinds})
    rng = np.random.default_rng((setup.seed, 6))
    questions: list[Question | None] = []
    for pair in testing:
        for part, defective in (("test", True), ("temp", False)):
            subject = Subject(data.name, "circuit board", f"{pair.name}_{part}", pair.name)
            questions.append(about_defect(subject, defective, int(rng.integers(1000))))
        subject = Subject(data.name, "circuit board", pair.name, pair.name)
        which, number = int(rng.integers(len(pair.boxes))), int(rng.integers(1000))
        size = load_image(pair.picture).size
        shares = shares_of_boxes(pair.boxes, which, size)
        questions.append(about_place(subject, shares, rng, number))
        if found := of_one_kind(pair.boxes, pair.kinds, size):
            at = str(rng.permutation(sorted(found))[0])
            others = [kind for kind in kinds if kind != found[at]]
            questions.append(about_kind(subject, found[at], others, int(rng.integers(1000)), at))
    return Prepared(asked(questions), partial(_look_at_boards, fitting, testing, setup))


def _look_at_boards(
    fitting: Sequence[Labelled], testing: Sequence[Labelled], setup: Setup, progress: Progress
) -> Iterator[tuple[str, Seen]]:
    from anomalist.pipeline import Inspector

    known = fit_on(fitting, setup.seed, progress, examples=setup.cases).known
    rng = np.random.default_rng((setup.seed, 8))
    with TemporaryDirectory(prefix="anomalist-eval-") as folder:
        for done, pair in enumerate(testing, start=1):
            inspector = Inspector(load_reference(pair.reference, known))
            again = [
                taken_again(path, Path(folder) / f"{path.stem}.png", rng)
                for path in (pair.picture, pair.reference)
            ]
            names = (pair.name, f"{pair.name}_test", f"{pair.name}_temp")
            for name, seen in zip(names, inspector.inspect_many([pair.picture, *again]), strict=True):
                yield name, Seen(seen.record)
            progress("comparing boards", done, len(testing))
