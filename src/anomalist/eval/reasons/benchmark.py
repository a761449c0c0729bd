"""Evaluation of reasons on labelled pictures: claims, cited places, kinds, necessity, and steadiness.

A share counts what could be tested; what could not is said. Intervals hold 95 %, by bootstrap over groups, or
by Clopper and Pearson over the groups where all of them agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from anomalist import __version__
from anomalist.agent.asking.answering import answer
from anomalist.agent.models.selection import EVIDENCE
from anomalist.audit.necessity import places_of_verdict, try_reasons
from anomalist.audit.promises import clopper_pearson
from anomalist.errors import DataError
from anomalist.eval.detection import ENSEMBLE, SURFACE, ProfileChoice, make_profile_evidence
from anomalist.eval.image_datasets import LabelledImage, Split
from anomalist.eval.metrics import Interval, group_bootstrap
from anomalist.eval.reasons.claims import check_claims, cited_places
from anomalist.eval.reasons.steadiness import Ask, read_injections, try_to_move
from anomalist.eval.saved_runs import SavedRun
from anomalist.pipeline import Inspector
from anomalist.types.common import Answer, Frozen
from anomalist.types.image import Inspection
from anomalist.vision.calibration import CalibrationSet
from anomalist.vision.detectors.base import Progress, no_progress
from anomalist.vision.media.images import load_image
from anomalist.vision.media.masks import GROUND_TRUTH

if TYPE_CHECKING:
    from rich.console import RenderableType

    from anomalist.agent.tools.subject import Subject

MAX_EXAMPLES = 20
"""Failures that a result quotes."""
EXISTS, NUMBERS = "cited evidence exists", "stated numbers are right"
PLACE, FIRST_PLACE = "cited place overlaps the defect", "first cited place overlaps the defect"
KIND_NAMED, KIND_RIGHT = "a labelled kind is stated", "stated kind is the label"
NECESSARY, CONTROL = "alarm needs what it cites", "alarm stays without another place"


@dataclass(frozen=True)
class ReasonsSetup:
    """Settings of the benchmark.

    Parameters
    ----------
    detector, effort : of learning, see `contenders`.
    model : who reasons, and answers in the chat; "evidence" is measurement alone.
    pictures : test pictures at most, drawn by the seed, half of them defective.
    cases : labelled cases of each kind to learn names from, of objects that are not tested; 0 for none.
    necessity : alarms whose reasons are taken away, at most.
    subjects : pictures whose verdict is to be moved, at most.
    injections : of the fifty, at most.
    seed : of split, cases, samples and bootstrap.
    """

    detector: str = ENSEMBLE
    effort: str = "normal"
    model: str = EVIDENCE
    pictures: int | None = None
    cases: int = 0
    necessity: int = 20
    subjects: int = 4
    injections: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if self.detector not in (ENSEMBLE, SURFACE):
            raise DataError(
                f"Reasons are tested of a detector that learns, not of {self.detector}.",
                f"Take {ENSEMBLE} or {SURFACE}.",
            )


class ReasonShare(Frozen):
    """One share: how much of what could be tested holds."""

    name: str
    right: int
    of: int = Field(description="that could be tested")
    share: float | None = Field(description="None where nothing could")
    interval: Interval | None = Field(description="95 %, over groups")
    chance: float | None = Field(None, description="the same by chance, where that is known")


class ReasonsResult(Frozen):
    """Shares with their settings, what failed, and what could not be tested."""

    data: str
    detector: str
    effort: str
    model: str
    seed: int
    pictures: int = Field(description="that were judged")
    claims: int
    dropped_claims: int = Field(description="that the check of ids dropped before they were shown")
    shares: tuple[ReasonShare, ...]
    failures: tuple[str, ...] = Field(description="some of what does not hold")
    notes: tuple[str, ...] = Field(description="what could not be tested, and why")
    version: str = __version__


@dataclass
class _Tally:
    """Outcomes by name, each with its group, and examples of those that failed."""

    outcomes: dict[str, list[tuple[str, bool]]] = field(default_factory=dict)
    chances: dict[str, list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, group: str, right: bool, words: str = "", chance: float | None = None) -> None:
        self.outcomes.setdefault(name, []).append((group, right))
        if chance is not None:
            self.chances.setdefault(name, []).append(chance)
        if not right and words:
            self.failures.append(f"{name}: {words}")

    def shares(self, seed: int) -> Iterator[ReasonShare]:
        for name, found in self.outcomes.items():
            chances = self.chances.get(name)
            yield share_of(name, found, seed, float(np.mean(chances)) if chances else None)

    def examples(self) -> tuple[str, ...]:
        """Failures in turn from each share."""
        by_name: dict[str, list[str]] = {}
        for failure in self.failures:
            by_name.setdefault(failure.partition(":")[0], []).append(failure)
        each = max(1, MAX_EXAMPLES // max(1, len(by_name)))
        return tuple(text for texts in by_name.values() for text in texts[:each])


def share_of(
    name: str, found: Sequence[tuple[str, bool]], seed: int, chance: float | None = None
) -> ReasonShare:
    """A share of outcomes (group, whether it holds), with its interval over groups.

    Where all agree, a bootstrap would give an interval without width: there it is that of Clopper and Pearson
    with as many cases as there are groups.
    """
    right = np.array([each for _, each in found], np.float64)
    groups = [group for group, _ in found]
    interval: Interval | None
    if right.size and right.min() == right.max():
        count = len(set(groups))
        exact = clopper_pearson(count if right[0] else 0, count)
        interval = (exact.low, exact.high)
    else:
        interval = group_bootstrap(lambda at: float(right[at].mean()), groups, seed)
    share = float(right.mean()) if right.size else None
    return ReasonShare(
        name=name, right=int(right.sum()), of=len(found), share=share, interval=interval, chance=chance
    )


def run_reasons(
    parts: Split, setup: ReasonsSetup, *, name: str, progress: Progress = no_progress
) -> SavedRun:
    """Learn from the training part of a split, inspect the test part, and test the reasons.

    Parameters
    ----------
    parts : the split.
    setup : see `ReasonsSetup`.
    name : of the data, as it goes into the result.
    progress : called with the step, the number done and the total.

    Raises
    ------
    AnomalistError : nothing to learn from or to test, or the model can't be opened.
    """
    if not parts.train:
        raise DataError(f"{name} has no normal picture to learn from.", "Reasons need a calibrated verdict.")
    tally = _Tally()
    with TemporaryDirectory(prefix="anomalist-reasons-") as folder:
        work = Path(folder)
        cases, parts = set_cases_apart(parts, setup.cases, setup.seed)
        if not cases:
            tally.notes.append("kinds: not testable, because no labelled cases were learned")
        defects = write_cases(cases, work / "cases") if cases else None
        source = make_profile_evidence(
            parts,
            setup.seed,
            work,
            progress,
            choice=ProfileChoice(setup.detector, setup.effort, defects=defects),
        )
        inspector = Inspector(source, model=setup.model, memory=False)
        tested = sample_of(parts.test, setup.pictures, setup.seed)
        judged = list(_inspected(inspector, tested, tally, progress))
        kinds = {item.defect for item in cases}
        for item, inspection in judged:
            _check(item, inspection, source.profile.calibration, kinds, tally)
        _check_necessity(inspector, judged, setup, tally, progress)
        with ExitStack() as stack:
            ask = stack.enter_context(_Chats(setup.model, work)) if setup.model != EVIDENCE else answer
            _check_steadiness(inspector, judged, setup, (ask, work), tally, progress)
    result = ReasonsResult(
        data=name,
        detector=setup.detector,
        effort=setup.effort,
        model=setup.model,
        seed=setup.seed,
        pictures=len(judged),
        claims=len(tally.outcomes.get(EXISTS, ())),
        dropped_claims=sum(each.record.dropped_claims for _, each in judged),
        shares=tuple(tally.shares(setup.seed)),
        failures=tally.examples(),
        notes=tuple(dict.fromkeys(tally.notes)),
    )
    what = " ".join((name, setup.detector, setup.effort, setup.model, f"seed {setup.seed}"))
    return SavedRun(benchmark="reasons", name=what, result=result.model_dump(mode="json"))


def sample_of(items: Sequence[LabelledImage], most: int | None, seed: int) -> list[LabelledImage]:
    """At most so many pictures, half of them defective where there are as many, in their order."""
    if most is None or len(items) <= most:
        return list(items)
    rng = np.random.default_rng(seed)
    sides = [[at for at, item in enumerate(items) if item.normal is side] for side in (True, False)]
    drawn = [list(rng.permutation(side)) for side in sides]
    few = min(len(drawn[1]), max(most // 2, most - len(drawn[0])))
    return [items[at] for at in sorted([*drawn[0][: most - few], *drawn[1][:few]])]


def set_cases_apart(parts: Split, count: int, seed: int) -> tuple[list[LabelledImage], Split]:
    """Labelled cases of each kind, and the split without the pictures of their objects."""
    if not count:
        return [], parts
    rng = np.random.default_rng(seed)
    marked = [item for item in parts.test if not item.normal and item.marked]
    cases = [
        kind_items[at]
        for kind in sorted({item.defect for item in marked})
        if (kind_items := [item for item in marked if item.defect == kind])
        for at in rng.permutation(len(kind_items))[:count]
    ]
    objects = {item.group for item in cases}
    rest = tuple(item for item in parts.test if item.group not in objects)
    if not any(not item.normal for item in rest):
        raise DataError(f"{count} cases of each kind leave no defect to test.", "Ask for fewer.")
    return cases, replace(parts, test=rest)


def write_cases(cases: Sequence[LabelledImage], folder: Path) -> Path:
    """Write labelled cases as a folder to learn names from: ``<kind>/``, ``ground_truth/<kind>/``."""
    from PIL import Image

    for number, item in enumerate(cases):
        pixels = load_image(item.path).pixels
        places = [folder / item.defect, folder / GROUND_TRUTH / item.defect]
        pictures = [pixels, item.truth(pixels.shape[:2]).astype(np.uint8) * 255]
        for place, picture in zip(places, pictures, strict=True):
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(place / f"{number:04d}.png")
    return folder


class _Chats:
    """Asks a language model, in a conversation of its own for each question."""

    def __init__(self, model: str, folder: Path) -> None:
        from anomalist.agent.chat.conversations import Conversations
        from anomalist.agent.models.selection import open_model

        self._name = model
        self._model = open_model(model)
        self._conversations = Conversations(folder / "conversations.sqlite")
        self._count = 0

    def __enter__(self) -> Ask:
        self._conversations.__enter__()
        return self._ask

    def __exit__(self, *error: object) -> None:
        self._conversations.close()

    def _ask(self, subject: Subject, text: str) -> Answer:
        from anomalist.agent.chat.chat import Chat

        self._count += 1
        chat = Chat(subject, self._conversations, f"q{self._count}", model=self._model, model_name=self._name)
        return chat.ask(text)


Judged = Sequence[tuple[LabelledImage, Inspection]]


def _inspected(
    inspector: Inspector, items: Sequence[LabelledImage], tally: _Tally, progress: Progress
) -> Iterator[tuple[LabelledImage, Inspection]]:
    found = inspector.inspect_many(item.path for item in items)
    for done, (item, inspection) in enumerate(zip(items, found, strict=True), start=1):
        progress("inspecting", done, len(items))
        if inspection.evidence is None or inspection.media is None or inspection.record.verdict is None:
            tally.notes.append(f"{item.name} could not be judged: {inspection.record.error}")
            continue
        yield item, inspection


def _check(
    item: LabelledImage,
    inspection: Inspection,
    calibration: CalibrationSet,
    kinds: set[str],
    tally: _Tally,
) -> None:
    record, media = inspection.record, inspection.media
    assert media is not None  # see `_inspected`
    for claim in check_claims(inspection, calibration):
        tally.add(EXISTS, item.group, claim.exists, f"{item.name}: {claim.text}")
        if claim.numbers:
            words = f"{item.name}: {', '.join(claim.wrong)} in {claim.text}"
            tally.add(NUMBERS, item.group, not claim.wrong, words)
    if item.normal:
        return
    if item.marked:
        try:
            truth = item.truth(media.size)
        except DataError as error:
            tally.notes.append(str(error))
            truth = np.zeros(media.size, np.bool_)
        for place in cited_places(inspection, truth) if truth.any() else ():
            tally.add(PLACE, item.group, place.hit, chance=place.chance)
            if place.first:
                tally.add(FIRST_PLACE, item.group, place.hit, item.name, place.chance)
    if kinds and item.defect in kinds and record.label == "anomalous":
        tally.add(KIND_NAMED, item.group, record.kind in kinds)
        if record.kind in kinds:
            words = f"{item.name}: {record.kind}"
            tally.add(KIND_RIGHT, item.group, record.kind == item.defect, words, 1 / len(kinds))


def _check_necessity(
    inspector: Inspector, judged: Judged, setup: ReasonsSetup, tally: _Tally, progress: Progress
) -> None:
    alarms = []
    for item, inspection in judged:
        evidence = inspection.evidence
        regions = places_of_verdict(inspection.record, evidence) if evidence else []
        if inspection.record.label == "anomalous" and regions:
            alarms.append((item, inspection, regions))
    drawn = np.random.default_rng(setup.seed).permutation(len(alarms))[: setup.necessity]
    if not len(drawn) and setup.necessity:
        tally.notes.append("necessity: not testable, because no alarm cites a region")
    for done, at in enumerate(sorted(drawn), start=1):
        item, inspection, regions = alarms[at]
        assert inspection.media is not None and inspection.evidence is not None  # see `_inspected`
        progress("taking reasons away", done, len(drawn))
        try:
            found = try_reasons(inspector, inspection.media, inspection.evidence, regions, seed=setup.seed)
        except DataError as error:
            tally.notes.append(f"necessity: not testable on {item.name}: {error.message}")
            continue
        tally.add(NECESSARY, item.group, found.needed_together, item.name)
        if any(trial.control for trial in found.trials):
            tally.add(CONTROL, item.group, found.control_keeps, item.name)


def _check_steadiness(
    inspector: Inspector,
    judged: Judged,
    setup: ReasonsSetup,
    by: tuple[Ask, Path],
    tally: _Tally,
    progress: Progress,
) -> None:
    rng = np.random.default_rng(setup.seed)
    drawn = [judged[at] for at in rng.permutation(len(judged))]
    alarms = [each for each in drawn if each[1].record.label == "anomalous"]
    others = [each for each in drawn if each[1].record.label != "anomalous"]
    half = max(setup.subjects - len(others), (setup.subjects + 1) // 2)
    chosen = [*alarms[:half], *others[: setup.subjects - min(half, len(alarms))]]
    if not alarms and setup.subjects:
        tally.notes.append("injections in pictures: not testable, because no picture is called anomalous")
    ask, work = by
    place = work / "altered"
    place.mkdir()
    injections = read_injections(setup.injections)
    inspected = [(item.group, inspection) for item, inspection in chosen]
    for done, trial in enumerate(try_to_move(inspector, inspected, ask, place, injections), start=1):
        tally.add(f"verdict unchanged, {trial.way}", trial.group, trial.kept, trial.words)
        if trial.way.startswith("injected"):
            tally.add("verdict unchanged, all injections", trial.group, trial.kept)
        progress("trying to move verdicts", done, done)


def render(result: ReasonsResult) -> RenderableType:
    """The shares as a table, with failures and notes below."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(
        "what holds", "share", "95 % interval", "of", "chance", title=Text(f"Reasons on {result.data}")
    )
    for each in result.shares:
        table.add_row(
            each.name,
            _percent(each.share),
            "-" if each.interval is None else f"{_percent(each.interval[0])} to {_percent(each.interval[1])}",
            str(each.of),
            _percent(each.chance),
        )
    about = (
        f"{result.pictures} pictures, {result.claims} claims, {result.dropped_claims} dropped before; "
        f"{result.detector} {result.effort}, {result.model}, seed {result.seed}."
    )
    failures = [Text(f"Does not hold: {text}") for text in result.failures]
    notes = [Text(f"Note: {note}", style="yellow") for note in result.notes]
    return Group(table, Text(about, style="dim"), *failures, *notes)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
