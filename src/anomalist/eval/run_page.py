"""A page of saved runs: figures with what they rest on, ROC, calibration, subtasks, and the worst pictures.

It works offline; the same runs and pictures give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from anomalist.errors import MediaError
from anomalist.eval.saved_runs import SavedRun, ScoredPicture
from anomalist.report.document import PageHead, render_html
from anomalist.storage.files import write_atomically
from anomalist.vision.drawing import data_uri, thumbnail
from anomalist.vision.media.images import load_image

PAGE_NAME = "evaluation.html"
SIDE = 220.0
"""Width and height of the area of a plot, user units."""
MARGIN = 34.0
"""Of a plot, for its axes."""
WORST = 6
"""Pictures of each kind of error that are shown."""
RATES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
"""Rates of false alarms that are asked for in the plot of calibration."""

Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Plot:
    """A curve in a square from 0 to 1, as an SVG path, with words for those who don't see it."""

    title: str
    x: str
    y: str
    path: str
    dots: tuple[tuple[float, float], ...]
    description: str


@dataclass(frozen=True)
class Bar:
    """A share with its interval, of the width of a plot."""

    name: str
    share: float
    low: float | None
    high: float | None
    chance: float | None
    n: int


@dataclass(frozen=True)
class WorstPicture:
    """A picture that was judged worst, with its thumbnail; None where it can't be read any more."""

    name: str
    words: str
    thumbnail: str | None


@dataclass(frozen=True)
class RunView:
    """What the page shows of one run."""

    name: str
    figures: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    plots: tuple[Plot, ...] = ()
    bars: tuple[Bar, ...] = ()
    bar_heads: tuple[str, str, str] = ("Subtask", "Questions", "Right")
    published: tuple[tuple[str, str, str], ...] = ()
    high_normals: tuple[WorstPicture, ...] = ()
    low_defects: tuple[WorstPicture, ...] = ()


def write_page(runs: Sequence[SavedRun], folder: Path) -> Path:
    """Write the page of runs into a folder; returns the file.

    Raises
    ------
    DataError : it can't be written.
    """
    kinds = sorted({run.benchmark for run in runs})
    head = PageHead(
        title="Evaluation",
        headline=f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}: {', '.join(kinds)}",
        lead="Measured on labelled data. Intervals hold 95 %, by bootstrap over groups.",
        facts=(),
    )
    page = {
        "runs": [_view(run) for run in runs],
        "compared": compared_rows(runs),
        "heads": tuple(COMPARED.values()),
        "side": SIDE,
        "margin": MARGIN,
    }
    return write_atomically(folder / PAGE_NAME, render_html(head, "evaluation.html.j2", page))


COMPARED = {
    "image_auroc": "image AUROC",
    "aupro": "AUPRO",
    "false_alarm_rate": "false alarms",
    "found_at_asked_rate": "found",
    "calibration_efficiency": "calibration efficiency",
    "learn_seconds": "learning, s",
    "ms_per_image": "a picture, ms",
    "peak_memory_mb": "memory, MB",
}
"""Columns of the table that has several runs of detection side by side."""


def compared_rows(runs: Sequence[SavedRun]) -> list[tuple[str, tuple[str, ...]]]:
    """Runs of detection with their accuracy, calibration and cost; none with fewer than two."""
    rows = []
    for run in runs:
        if run.benchmark == "detection":
            values = {name: run.result.get(name) for name in COMPARED}
            texts = [
                "–" if value is None else f"{value:.0f}" if value >= 10 else f"{value:.3f}"
                for value in values.values()
            ]
            rows.append((run.name, tuple(texts)))
    return rows if len(rows) > 1 else []


def roc_points(scores: Points, labels: npt.NDArray[np.bool_]) -> Points:
    """Corners of the ROC curve (false-positive rate, true-positive rate), float64 (n, 2), from (0, 0).

    Equal scores enter together, so that a tie is a slope.
    """
    distinct, inverse = np.unique(scores, return_inverse=True)
    rates = [
        np.concatenate(([0.0], np.cumsum(np.bincount(inverse[side], minlength=distinct.size)[::-1])))
        / max(1, int(side.sum()))
        for side in (~labels, labels)
    ]
    return np.stack(rates, axis=1)


def _view(run: SavedRun) -> RunView:
    if run.benchmark == "mmad":
        return _mmad_view(run)
    if run.benchmark == "reasons":
        return _reasons_view(run)
    if run.benchmark not in ("detection", "video"):
        return RunView(f"{run.name}, {run.benchmark}", tuple(plain_figures(run.result)), ())
    figures = tuple(shown_figures(run.result))
    notes = tuple(str(note) for note in run.result.get("notes", ()))
    judged = [picture for picture in run.pictures if picture.score is not None]
    normals = [picture for picture in judged if picture.normal]
    defects = [picture for picture in judged if not picture.normal]
    plots = [*_roc_plot(judged, run.result), *_calibration_plot(normals)] if normals and defects else []
    return RunView(
        name=run.name,
        figures=figures,
        notes=notes,
        plots=tuple(plots),
        high_normals=tuple(_worst(sorted(normals, key=_score, reverse=True))),
        low_defects=tuple(_worst(sorted(defects, key=_score))),
    )


def _score(picture: ScoredPicture) -> float:
    return picture.score or 0.0


_SHOWN = (
    "image_auroc", "image_average_precision", "image_f1", "image_f1_oracle", "pixel_auroc",
    "pixel_average_precision", "aupro", "aupimo", "seg_f1", "seg_f1_oracle", "false_alarm_rate",
    "asked_false_alarm_rate", "found_at_asked_rate", "calibration_efficiency", "coverage",
    "error_when_decided", "learn_seconds", "ms_per_image", "peak_memory_mb", "frame_auroc",
    "frame_auroc_causal", "frame_average_precision", "event_recall", "event_iou", "false_events_per_hour",
    "fps",
)  # fmt: skip
"""Figures of detection and video that the page shows, in order."""


_CAPITALS = {
    "auroc": "AUROC",
    "aupro": "AUPRO",
    "aupimo": "AUPIMO",
    "f1": "F1",
    "iou": "IoU",
    "ms": "milliseconds",
    "mb": "MB",
    "fps": "frames a second",
}
"""Words of fields as people write them."""


def field_words(name: str) -> str:
    """The name of a field as people write it: ``image_auroc`` as "image AUROC"."""
    return " ".join(_CAPITALS.get(word, word) for word in name.split("_"))


def shown_figures(result: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The figures of detection or video with their intervals, as words and text."""
    for name in _SHOWN:
        if name in result:
            value = result[name]
            interval = result.get(f"{name}_interval")
            text = "–" if value is None else f"{value:.3f}"
            span = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
            yield field_words(name), text + span


def plain_figures(result: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Every number of a result with its interval, as words and text, those of its parts named after them."""
    for name, value in result.items():
        words = before + field_words(name.removeprefix("n_"))
        interval = result.get(f"{name}_interval")
        if isinstance(value, dict) and name != "intervals":
            inside = dict(value)
            spans = result.get("intervals") if name == "means" else None
            inside |= {f"{key}_interval": span for key, span in (spans or {}).items()}
            yield from plain_figures(inside, f"{words}: ")
        elif isinstance(value, float):
            span = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
            yield words, f"{value:.3f}{span}"
        elif isinstance(value, int) and not isinstance(value, bool):
            yield words, str(value)


def _roc_plot(judged: Sequence[ScoredPicture], result: dict[str, Any]) -> Iterator[Plot]:
    scores = np.array([_score(picture) for picture in judged])
    labels = np.array([not picture.normal for picture in judged])
    auroc = result.get("image_auroc")
    yield Plot(
        title="ROC",
        x="false alarms",
        y="found",
        path=_path(roc_points(scores, labels)),
        dots=(),
        description=f"ROC curve; area {'undefined' if auroc is None else format(auroc, '.3f')}.",
    )


def _calibration_plot(normals: Sequence[ScoredPicture]) -> Iterator[Plot]:
    """Asked against measured rates of false alarms, where all normals have p-values."""
    values = np.array([np.nan if picture.p_value is None else picture.p_value for picture in normals])
    if np.isnan(values).any():
        return
    points = np.array([(rate, float((values <= rate).mean())) for rate in RATES])
    said = ", ".join(f"{rate:g} asked {share:.3f} measured" for rate, share in points)
    yield Plot(
        title="Calibration",
        x="false alarms asked for",
        y="measured",
        path=_path(points),
        dots=tuple((_x(x), _y(y)) for x, y in points),
        description=f"False alarms on normal test pictures: {said}.",
    )


def _path(points: Points) -> str:
    return "M" + "L".join(f"{_x(x):.1f} {_y(y):.1f}" for x, y in points)


def _x(share: float) -> float:
    return round(MARGIN + SIDE * float(share), 1)


def _y(share: float) -> float:
    return round(SIDE * (1 - float(share)) + 6, 1)


def _worst(pictures: Sequence[ScoredPicture]) -> Iterator[WorstPicture]:
    for picture in pictures[:WORST]:
        said = f"score {_score(picture):.3g}, {picture.label or 'no label'}"
        yield WorstPicture(picture.name, f"{picture.defect}; {said}", _thumbnail(Path(picture.source)))


def _thumbnail(path: Path) -> str | None:
    try:
        return data_uri(thumbnail(load_image(path).pixels))
    except MediaError:
        return None


def _mmad_view(run: SavedRun) -> RunView:
    ours = run.result["ours"]
    bars = [
        Bar(
            name=name,
            share=found["value"],
            low=found["interval"][0] if found["interval"] else None,
            high=found["interval"][1] if found["interval"] else None,
            chance=found["chance"],
            n=found["n"],
        )
        for name, found in ours["by_subtask"].items()
    ]
    reference = run.result["reference"]
    average = ours["average"]
    figures = [
        ("average by our rules", "–" if average is None else f"{100 * average['value']:.1f}"),
        ("average by the reference's", "–" if reference is None else f"{reference['average']:.1f}"),
        ("questions", str(ours["questions"])),
        ("pictures missing", str(len(run.result["missing"]))),
    ]
    rows = [(row["who"], f"{row['average']:.1f}", row["source"]) for row in run.result["published"]]
    notes = (*run.result["problems"], *run.result["failures"])
    return RunView(run.name, tuple(figures), tuple(map(str, notes)), bars=tuple(bars), published=tuple(rows))


def _reasons_view(run: SavedRun) -> RunView:
    bars = [
        Bar(
            name=share["name"],
            share=share["share"],
            low=share["interval"][0] if share["interval"] else None,
            high=share["interval"][1] if share["interval"] else None,
            chance=share["chance"],
            n=share["of"],
        )
        for share in run.result["shares"]
    ]
    named = ("pictures", "claims", "dropped_claims")
    figures = tuple((name.replace("_", " "), str(run.result[name])) for name in named)
    failures = (f"Does not hold: {text}" for text in run.result["failures"])
    notes = tuple(map(str, (*run.result["notes"], *failures)))
    return RunView(run.name, figures, notes, bars=tuple(bars), bar_heads=("What holds", "Tested", "Per cent"))
