"""Vision-language model benchmark: kind, tone, shape and place of defects at given regions.

All questions are multiple choice with probabilities, asked once for every rotation of their options.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from anomalist.agent.choice.model_choice import ModelChoice, MultipleChoiceQuestion, choose_each_by_model
from anomalist.agent.models.structured import user_message
from anomalist.agent.reasoning.vlm_views import View
from anomalist.agent.reasoning.wording import shape_kind
from anomalist.eval.vision_language_places import (
    MarkedPlace,
    board_places,
    judge_places,
    steel_places,
    synthetic_places,
    tile_places,
)
from anomalist.prompts.templates import Prompt
from anomalist.training.defect_renderers import DEFECT_KINDS
from anomalist.training.synthetic_evidence import VERDICT_KIND
from anomalist.types.common import Frozen, UInt8Array
from anomalist.vision.attributes import POSITION_NAMES

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from rich.console import RenderableType


Progress = Callable[[str, int, int], None]

SEEING_QUESTIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "kind": ("What is wrong at {name}?", DEFECT_KINDS),
    "real kind": ("What is wrong at {name}?", DEFECT_KINDS[:-1]),
    "wrong": ("Is anything wrong at {name}?", ("Yes", "No")),
    "tone": (
        "Is the defect darker or lighter than the surface around it?",
        ("darker", "lighter", "about the same"),
    ),
    "shape": (
        "What shape does the defect have?",
        ("a straight line", "a jagged line", "round", "elongated", "irregular"),
    ),
    "place": ("Where is the marked place?", POSITION_NAMES),
}
"""Questions and their options by name."""

_TONE_NAMES, _SHAPE_NAMES = (
    ("darker", "lighter", "same"),
    ("line", "jagged line", "round", "elongated", "irregular"),
)
_ECE_BINS = 10
MAX_JUDGED_PLACES = 50
"""Places of each source for which the full reply, in sentences, is checked, too."""


class SeeingResult(Frozen):
    """Results on one source of places."""

    source: str = Field(description='"drawn", or the name of a data folder')
    model: str
    places: int
    kind_accuracy: float | None = Field(
        description="synthetic: of all ten kinds; real: accepted ones of nine"
    )
    kind_by_name: dict[str, float]
    kind_measured: float | None = Field(description="baseline: kind by measured shape and contrast alone")
    kind_chance: float | None = Field(description="baseline: guessing among the same options")
    kind_shuffled: float | None = Field(description="baseline: with pictures shuffled between places")
    tone_accuracy: float | None = None
    shape_accuracy: float | None = None
    place_accuracy: float | None = None
    wrong_balanced_accuracy: float | None
    ece: float | None = Field(description="expected calibration error of the chosen options, 10 bins")
    description_changes: float | None = Field(
        description="share of right kinds that change when the defect is replaced by the normal picture"
    )
    replies_readable: float | None = Field(
        description=f"share of the first {MAX_JUDGED_PLACES} places whose replies were valid at once"
    )
    kind_written: float | None = Field(description="synthetic: share of these whose sentences name the kind")
    seconds_per_region: float = Field(description="time for the question whether anything is wrong")
    peak_memory_mb: float


@dataclass(frozen=True)
class SeeingAnswer:
    """The option that a model chose, and the indices of those that would be right."""

    choice: ModelChoice
    right: frozenset[int]

    @property
    def hit(self) -> bool:
        """Whether the chosen option is a right one."""
        return self.choice.best in self.right


def evaluate_seeing(
    model: BaseChatModel, name: str, data: Path | None, count: int, seed: int, progress: Progress
) -> Iterator[SeeingResult]:
    """Ask a model about synthetic places and real ones in a folder with ``mtd``, ``neu`` and ``deeppcb``.

    Parameters
    ----------
    model, name : the model and its name in the results.
    data : the folder; None for synthetic places only.
    count : places of each source; of real ones half as many defects.
    """
    yield _evaluate_source(model, name, "drawn", list(synthetic_places(count, seed)), seed, progress)
    for source, places in (("mtd", tile_places), ("neu", steel_places), ("deeppcb", board_places)):
        if data is not None and (data / source).is_dir():
            some = list(places(data / source, count // 2, seed))
            yield _evaluate_source(model, name, source, some, seed, progress)


def _evaluate_source(
    model: BaseChatModel, name: str, source: str, places: Sequence[MarkedPlace], seed: int, progress: Progress
) -> SeeingResult:
    drawn = source == "drawn"
    views = [place.shown.view(place.shown.evidence.regions[0]) for place in places]
    answers: dict[str, list[SeeingAnswer]] = {about: [] for about in SEEING_QUESTIONS}
    kinds: dict[int, ModelChoice] = {}
    seconds = 0.0
    for at, (place, view) in enumerate(zip(places, views, strict=True)):
        asked = dict(_applicable_questions(place, drawn=drawn))
        for about, right in asked.items():
            picture = place.shown.whole() if about == "place" else view.pixels
            caption = "" if about == "place" else view.caption
            start = time.perf_counter()
            choice = _ask_choice(model, picture, caption, about, seed)
            seconds += time.perf_counter() - start if about == "wrong" else 0.0
            answers[about].append(SeeingAnswer(choice, right))
            if about in ("kind", "real kind"):
                kinds[at] = choice
        progress(f"looking at {source}", at + 1, len(places))
    some = places[:MAX_JUDGED_PLACES]
    written = judge_places(model, name, some, lambda done: progress(f"judging {source}", done, len(some)))
    about = "kind" if drawn else "real kind"
    named = [at for at in kinds if places[at].accepted is not None]
    hits = {at: _is_right(kinds[at], places[at]) for at in named}  # an invalid reply is wrong
    return SeeingResult(
        source=source,
        model=name,
        places=len(places),
        kind_accuracy=_mean(list(hits.values())),
        kind_by_name={
            name: float(np.mean([hits[at] for at in named if places[at].name == name]))
            for name in sorted({places[at].name for at in named})
        },
        kind_measured=_mean([_measured_right(places[at]) for at in named if places[at].wrong]),
        kind_chance=_mean([len(places[at].accepted or ()) / len(SEEING_QUESTIONS[about][1]) for at in named]),
        kind_shuffled=_shuffled_accuracy(model, places, views, named, about, seed),
        tone_accuracy=_mean([each.hit for each in answers["tone"]]),
        shape_accuracy=_mean([each.hit for each in answers["shape"]]),
        place_accuracy=_mean([each.hit for each in answers["place"]]),
        wrong_balanced_accuracy=balanced_accuracy(places, answers["wrong"]),
        ece=expected_calibration_error([each for some in answers.values() for each in some])
        if drawn
        else None,
        description_changes=_counterfactual_changes(
            model, places, [at for at in named if hits[at]], kinds, about, seed
        ),
        replies_readable=written.readable,
        kind_written=written.named if drawn else None,
        seconds_per_region=seconds / max(1, len(places)),
        peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def _applicable_questions(place: MarkedPlace, *, drawn: bool) -> Iterator[tuple[str, frozenset[int]]]:
    """Questions that apply to a place, with the indices of the right options."""
    yield "wrong", frozenset({0 if place.wrong else 1})
    if drawn:
        yield "kind", frozenset({DEFECT_KINDS.index(place.name)})
        if place.facts.tone is not None:
            yield "tone", frozenset({_TONE_NAMES.index(place.facts.tone)})
        if place.facts.shape is not None:
            yield "shape", frozenset({_SHAPE_NAMES.index(place.facts.shape)})
        if place.facts.place is not None:
            yield "place", frozenset({POSITION_NAMES.index(place.facts.place)})
    elif place.wrong and place.accepted is not None:
        yield "real kind", frozenset(DEFECT_KINDS.index(kind) for kind in place.accepted)


def _ask_choice(
    model: BaseChatModel, picture: UInt8Array, caption: str, about: str, seed: int
) -> ModelChoice:
    question, options = SEEING_QUESTIONS[about]
    text = "\n".join(filter(None, (caption, question.format(name="R1"))))
    message = user_message(Prompt("seeing", "0" * 64, text), [picture])
    return choose_each_by_model(model, [MultipleChoiceQuestion([message], options)], seed=seed)[0]


def _is_right(choice: ModelChoice, place: MarkedPlace) -> bool:
    """Whether the chosen kind is accepted for a place."""
    return choice.best is not None and DEFECT_KINDS[choice.best] in (place.accepted or ())


def _measured_right(place: MarkedPlace) -> bool:
    """Whether the kind by shape and contrast is accepted, both as kinds of a verdict."""
    measured = shape_kind(place.shown.evidence.regions[0], place.shown.media.size)
    return measured in {VERDICT_KIND[kind] for kind in place.accepted or ()}


def _shuffled_accuracy(
    model: BaseChatModel,
    places: Sequence[MarkedPlace],
    views: Sequence[View],
    named: Sequence[int],
    about: str,
    seed: int,
) -> float | None:
    """Accuracy when each place is shown with the view of another one."""
    if len(named) < 2:
        return None
    order = np.random.default_rng(seed).permutation(len(named))
    hits = []
    for at, other in zip(order, np.roll(order, 1), strict=True):
        place, view = places[named[int(at)]], views[named[int(other)]]
        hits.append(_is_right(_ask_choice(model, view.pixels, view.caption, about, seed), place))
    return _mean(hits)


def _counterfactual_changes(
    model: BaseChatModel,
    places: Sequence[MarkedPlace],
    right: Sequence[int],
    kinds: Mapping[int, ModelChoice],
    about: str,
    seed: int,
) -> float | None:
    """Share of rightly named defects whose answer changes when the normal picture is shown instead."""
    changed = []
    for at in right:
        shown = places[at].shown
        if shown.normal is None or not places[at].wrong:
            continue
        counterfactual = replace(shown, media=replace(shown.media, pixels=shown.normal))
        view = counterfactual.view(shown.evidence.regions[0])
        changed.append(_ask_choice(model, view.pixels, view.caption, about, seed).best != kinds[at].best)
    return _mean(changed)


def balanced_accuracy(places: Sequence[MarkedPlace], answers: Sequence[SeeingAnswer]) -> float | None:
    """Mean of the accuracies on defects and on good places; None where one of them is missing."""
    hits: dict[bool, list[bool]] = {True: [], False: []}
    for place, answer in zip(places, answers, strict=True):
        hits[place.wrong].append(answer.hit)
    return float(np.mean([np.mean(each) for each in hits.values()])) if all(hits.values()) else None


def expected_calibration_error(answers: Sequence[SeeingAnswer]) -> float | None:
    """Expected calibration error of the chosen options (Guo et al. 2017)."""
    if not answers:
        return None
    confidence = np.array([max(each.choice.probabilities) for each in answers])
    hit = np.array([each.hit for each in answers], float)
    bins = np.minimum((confidence * _ECE_BINS).astype(int), _ECE_BINS - 1)
    parts = [
        abs(confidence[bins == b].mean() - hit[bins == b].mean()) * (bins == b).mean()
        for b in np.unique(bins)
    ]
    return float(sum(parts))


def _mean(values: Sequence[bool] | Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def render(results: Sequence[SeeingResult]) -> RenderableType:
    """The results as a table, a column for each source."""
    from rich.table import Table

    table = Table(title=f"Seeing: {results[0].model}")
    table.add_column("")
    for result in results:
        table.add_column(f"{result.source} ({result.places})", justify="right")
    rows = (
        ("kind", "kind_accuracy"),
        ("… by measured shape and contrast", "kind_measured"),
        ("… by chance", "kind_chance"),
        ("… with pictures swapped", "kind_shuffled"),
        ("tone", "tone_accuracy"),
        ("shape", "shape_accuracy"),
        ("place", "place_accuracy"),
        ("something wrong or not, balanced", "wrong_balanced_accuracy"),
        ("calibration error", "ece"),
        ("changes when the defect is taken away", "description_changes"),
        ("replies readable at once", "replies_readable"),
        ("kind named in sentences", "kind_written"),
        ("seconds a region", "seconds_per_region"),
        ("peak memory, MB", "peak_memory_mb"),
    )
    for label, field in rows:
        values = [getattr(result, field) for result in results]
        table.add_row(label, *("–" if v is None else f"{v:.0f}" if v > 10 else f"{v:.3f}" for v in values))
    for result in results:
        for kind, share in result.kind_by_name.items():
            cells = [f"{share:.2f}" if each is result else "" for each in results]
            table.add_row(f"  {result.source}: {kind}", *cells)
    return table
