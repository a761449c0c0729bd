"""What all sets of questions have in common: how they are made, what answers them, labelled cases."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomalist.eval.datasets import Item
from anomalist.eval.questions import Question
from anomalist.types import FloatArray, Inspection, Record
from anomalist.vision.detectors import Progress
from anomalist.vision.likeness import Likeness


@dataclass(frozen=True)
class Setup:
    """How questions are made and answered: see `evaluation.questions` of the commands."""

    cases: int
    train_normals: int
    effort: str
    seed: int


@dataclass(frozen=True, eq=False)
class Seen:
    """What there is to answer by: a record, the anomaly map and the likeness to labelled kinds, if any."""

    record: Record
    score_map: FloatArray | None = None
    likeness: Likeness | None = None


@dataclass(frozen=True, eq=False)
class Prepared:
    """Questions about a data set, and what looks at its pictures: (name, seen), in any order."""

    questions: tuple[Question, ...]
    look: Callable[[Progress], Iterator[tuple[str, Seen]]]


def drawn_cases(
    items: Sequence[Item], count: int, seed: int, first: Callable[[Item], bool] = lambda _: False
) -> list[Item]:
    """Draw ``count`` labelled pictures of each kind, one from each group in turn.

    Those that ``first`` holds of come before all others; then as few other groups as will do.
    """
    rng = np.random.default_rng((seed, 4))
    drawn: list[Item] = []
    for kind in sorted({item.defect for item in items}):
        own = [items[i] for i in rng.permutation(len(items)) if items[i].defect == kind]
        preferred = _in_turn([item for item in own if first(item)])
        rest = [item for item in own if not first(item)]
        order = {group: at for at, group in enumerate(dict.fromkeys(item.group for item in rest))}
        drawn += [*preferred, *sorted(rest, key=lambda item: order[item.group])][:count]
    return drawn


def _in_turn(items: Sequence[Item]) -> list[Item]:
    """The same, one from each group, then the second from each, and so on."""
    met: dict[str, int] = defaultdict(int)
    turns = []
    for item in items:
        turns.append(met[item.group])
        met[item.group] += 1
    return [item for _, item in sorted(zip(turns, items, strict=True), key=lambda pair: pair[0])]


def inspected(
    inspect: Callable[[Iterator[Path]], Iterator[Inspection]],
    items: Sequence[Item],
    what: str,
    progress: Progress,
) -> Iterator[tuple[Item, Inspection]]:
    """Inspect labelled pictures, and say how far it is."""
    inspections = inspect(item.path for item in items)
    for done, (item, inspection) in enumerate(zip(items, inspections, strict=True), start=1):
        yield item, inspection
        progress(what, done, len(items))


def asked(questions: Sequence[Question | None]) -> tuple[Question, ...]:
    """Leave out what could not be asked."""
    return tuple(question for question in questions if question is not None)


def case_id(path: Path) -> str:
    """Name a labelled case for citing: its folder and name."""
    return f"{path.parent.name}/{path.stem}"
