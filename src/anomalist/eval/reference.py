"""Reference comparison benchmark: differences found and named on labelled pairs with boxes (DeepPCB).

Matching is that of DeepPCB (Tang et al. 2019): a labelled box is found when a predicted one has an IoU above
0.33 with it, one to one. Margin and labelled examples are fitted on the pairs of one group and measured on
the others.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import Field

from anomalist import __version__
from anomalist.agent.models.selection import EVIDENCE
from anomalist.errors import DataError
from anomalist.eval.image_datasets import MIN_IOU, LabelledPair, match_boxes, read_pairs
from anomalist.eval.metrics import Interval, group_bootstrap
from anomalist.types.common import Box, FloatArray, Frozen
from anomalist.types.image import Region
from anomalist.vision.detectors.reference import (
    LabelledChanges,
    describe_change,
    load_reference,
)
from anomalist.vision.difference import FigureTone, find_difference, two_tone_level
from anomalist.vision.media.images import load_image
from anomalist.vision.regions import component_mask, find_regions

if TYPE_CHECKING:
    from rich.console import RenderableType


Progress = Callable[[str, int, int], None]

EXAMPLES_PER_KIND = 10
"""Labelled examples of each kind that regions are compared with."""

MARGINS = range(21)
"""Margins around regions that are tried, pixels: labelled boxes are often wider than the defect."""


@dataclass(frozen=True, eq=False)
class FittedReference:
    """What is fitted on the pairs of one group: margin around regions in pixels, and labelled changes."""

    margin: int
    known: LabelledChanges


class ReferenceResult(Frozen):
    """Figures over all pairs except those that were fitted on."""

    data: str = Field(description="name of the data folder")
    precision: float | None
    recall: float | None
    f_score: float | None = Field(description="of boxes, kinds ignored")
    kind_accuracy: float | None = Field(description="share of the found boxes with the right kind")
    f_score_with_kind: float | None = Field(description="like f_score, but a hit needs the right kind, too")
    precision_interval: Interval | None = Field(None, description="95 %, bootstrap over pairs, as the others")
    recall_interval: Interval | None = None
    f_score_interval: Interval | None = None
    kind_accuracy_interval: Interval | None = None
    f_score_with_kind_interval: Interval | None = None
    recall_by_kind: dict[str, float]
    kind_accuracy_by_kind: dict[str, float | None]
    n_pairs: int
    n_boxes: int
    n_regions: int
    n_found: int
    n_unlike: int = Field(description="found boxes that resemble no labelled kind")
    n_errors: int = Field(description="pairs that could not be compared; their boxes count as missed")
    ms_per_pair: float | None = Field(description="wall time from files to verdict")
    fit: str = Field(description="prefix of the names of the pairs that were fitted on")
    n_fit: int
    n_examples: int
    margin: int = Field(description="pixels around each region, fitted")
    seed: int
    version: str = __version__


def evaluate_reference(
    data: Path, *, fit: str = "00041", seed: int = 0, progress: Progress | None = None
) -> ReferenceResult:
    """Fit on the pairs whose name starts with ``fit`` and measure on the others.

    Parameters
    ----------
    data : folder with ``<pair>_temp.jpg``, ``<pair>_test.jpg`` and ``boxes.csv`` (pair,x1,y1,x2,y2,type).
    fit : prefix of the names of the pairs that margin and labelled examples are fitted on.
    seed : of the choice of examples.
    progress : called with the current step, the number done and the total.

    Raises
    ------
    DataError : the folder is invalid, or one side of the split is empty.
    """
    from anomalist.pipeline import Inspector

    pairs = read_pairs(data)
    fitting = [pair for pair in pairs if pair.name.startswith(fit)]
    testing = [pair for pair in pairs if not pair.name.startswith(fit)]
    if not fitting or not testing:
        raise DataError(
            f"{len(fitting)} of {len(pairs)} pairs have a name that starts with {fit!r}.",
            "Choose --fit so that there are pairs on both sides.",
        )
    fitted = fit_reference(fitting, seed, progress)
    found: list[tuple[LabelledPair, tuple[Region, ...]]] = []
    errors, seconds = 0, 0.0
    for done, pair in enumerate(testing, start=1):
        start = time.perf_counter()
        inspector = Inspector(load_reference(pair.reference, fitted.known), model=EVIDENCE)
        (inspection,) = inspector.inspect_many([pair.picture])
        seconds += time.perf_counter() - start
        errors += inspection.record.status == "error"
        found.append((pair, inspection.record.regions))
        if progress is not None:
            progress("comparing", done, len(testing))
    return ReferenceResult(
        **_box_metrics(found, fitted.margin, seed),
        data=data.resolve().name,
        n_errors=errors,
        ms_per_pair=1000 * seconds / len(testing),
        fit=fit,
        n_fit=len(fitting),
        n_examples=len(fitted.known.ids),
        margin=fitted.margin,
        seed=seed,
    )


def fit_reference(
    pairs: Sequence[LabelledPair],
    seed: int,
    progress: Progress | None = None,
    examples: int = EXAMPLES_PER_KIND,
) -> FittedReference:
    """Fit margin, foreground tone and labelled examples (``examples`` of each kind) on some pairs."""
    figure = _foreground_tone(pairs)
    boxes: list[list[Box]] = []
    vectors: list[list[FloatArray]] = []
    for done, pair in enumerate(pairs, start=1):
        media = load_image(pair.picture)
        found = find_difference(load_image(pair.reference).pixels, media.pixels, figure)
        regions = find_regions(media.pixels, found.strength, found.mask, found.compared)
        boxes.append([region.box for region in regions])
        insides = [(component_mask(found.mask, region.box, region.area), region.box) for region in regions]
        vectors.append([describe_change(found.pair, inside, box) for inside, box in insides])
        if progress is not None:
            progress("fitting", done, len(pairs))

    def hits(margin: int) -> int:
        return sum(len(match_boxes(b, p.boxes, margin)) for b, p in zip(boxes, pairs, strict=True))

    # The number of predictions is fixed, so the most hits give the best F-score; ties: the median margin.
    scores = [hits(margin) for margin in MARGINS]
    best = [margin for margin, score in zip(MARGINS, scores, strict=True) if score == max(scores)]
    margin = best[len(best) // 2]
    found_of: dict[str, list[tuple[str, FloatArray]]] = defaultdict(list)
    for pair, own, described in zip(pairs, boxes, vectors, strict=True):
        for i, j in match_boxes(own, pair.boxes, margin):
            found_of[pair.kinds[j]].append((f"{pair.name}:R{i + 1}", described[i]))
    return FittedReference(margin, _draw_examples(found_of, examples, seed, figure))


def render(result: ReferenceResult) -> RenderableType:
    """The result as a table."""
    from rich.table import Table
    from rich.text import Text

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    table = Table(title=Text(f"Against references on {result.data}"), show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    counts = f"{result.n_found} of {result.n_boxes} boxes, {result.n_regions} regions, {result.n_pairs} pairs"
    table.add_row("F-score", number(result.f_score), f"IoU above {MIN_IOU}, kinds ignored")
    table.add_row("precision", number(result.precision), counts)
    table.add_row("recall", number(result.recall), f"{result.n_errors} pairs could not be compared")
    for kind, share in result.recall_by_kind.items():
        named = number(result.kind_accuracy_by_kind[kind])
        table.add_row(Text(f"  {kind}"), number(share), f"{named} of those named right")
    known = f"{result.n_examples} labelled examples, seed {result.seed}; {result.n_unlike} unlike any"
    table.add_row("kind right", number(result.kind_accuracy), known)
    table.add_row("F-score with kind", number(result.f_score_with_kind), "a hit needs the right kind, too")
    fitted = f"{result.n_fit} pairs {result.fit}*: margin {result.margin} px; version {result.version}"
    speed = "-" if result.ms_per_pair is None else f"{result.ms_per_pair:.0f} ms"
    table.add_row("a pair", speed, f"fitted on {fitted}")
    return table


def _foreground_tone(pairs: Sequence[LabelledPair]) -> FigureTone | None:
    """The tone that covers the smaller area in most references, taken for the foreground."""
    tones = Counter(
        tone
        for pair in pairs
        if (tone := two_tone_level(load_image(pair.reference).pixels.mean(axis=2).astype(np.float32))[1])
    )
    return tones.most_common(1)[0][0] if tones else None


def _draw_examples(
    examples: Mapping[str, Sequence[tuple[str, FloatArray]]], count: int, seed: int, figure: FigureTone | None
) -> LabelledChanges:
    """Draw ``count`` examples of each kind."""
    rng = np.random.default_rng(seed)
    drawn = [
        (kind, *examples[kind][i])
        for kind in sorted(examples)
        for i in sorted(rng.permutation(len(examples[kind]))[:count])
    ]
    if not drawn:
        raise DataError("None of the labelled boxes was found in the pairs to fit on.")
    return LabelledChanges(
        np.stack([vector for _, _, vector in drawn]),
        tuple(kind for kind, _, _ in drawn),
        tuple(name for _, name, _ in drawn),
        figure,
    )


def _box_metrics(
    found: Sequence[tuple[LabelledPair, Sequence[Region]]], margin: int, seed: int
) -> dict[str, object]:
    """Precision, recall, F-score and kind accuracy, pooled over all pairs; intervals over pairs."""
    labelled, hit, right, unlike = Counter[str](), Counter[str](), Counter[str](), 0
    of_pairs = []
    for pair, predicted in found:
        labelled.update(pair.kinds)
        hits, named = 0, 0
        for i, j in match_boxes([region.box for region in predicted], pair.boxes, margin):
            kind, known = pair.kinds[j], predicted[i].known
            same = known is not None and known.name == kind
            hit[kind] += 1
            right[kind] += same
            unlike += known is None or known.name is None
            hits, named = hits + 1, named + same
        of_pairs.append((len(pair.boxes), len(predicted), hits, named))
    counts = np.array(of_pairs)
    names = [pair.name for pair, _ in found]
    totals = _pooled(counts)

    def interval(measure: str) -> Interval | None:
        return group_bootstrap(lambda at: _pooled(counts[at])[measure], names, seed)

    boxes, regions, hits, _ = (int(total) for total in counts.sum(0))
    return {
        **totals,
        **{f"{measure}_interval": interval(measure) for measure in totals},
        "recall_by_kind": {kind: hit[kind] / labelled[kind] for kind in sorted(labelled)},
        "kind_accuracy_by_kind": {k: right[k] / hit[k] if hit[k] else None for k in sorted(labelled)},
        "n_pairs": len(found),
        "n_boxes": boxes,
        "n_regions": regions,
        "n_found": hits,
        "n_unlike": unlike,
    }


def _pooled(counts: npt.NDArray[np.intp]) -> dict[str, float | None]:
    """The measures over pairs; ``counts`` (n, 4) are their boxes, regions, hits, and hits named rightly."""
    boxes, regions, hits, named = (float(total) for total in counts.sum(0))
    return {
        "precision": hits / regions if regions else None,
        "recall": hits / boxes if boxes else None,
        "f_score": 2 * hits / (regions + boxes) if regions + boxes else None,
        "kind_accuracy": named / hits if hits else None,
        "f_score_with_kind": 2 * named / (regions + boxes) if regions + boxes else None,
    }
