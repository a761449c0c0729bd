"""Checks in context: a picture against a written expectation ("two bottles are on the workbench").

Each check has normal and anomalous pictures; a few normal ones are references and are not tested. Two judges:
plain nearest neighbours of patch tokens among the references, which read no words, and a model that reads the
expectation. Neighbours name a kind by the most similar place in the anomalous pictures of the other checks.
Pictures that occur twice with a check count once; figures are means over checks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from anomalist import __version__
from anomalist.agent.choice.model_choice import choose_by_model
from anomalist.agent.models.structured import user_message
from anomalist.errors import DataError
from anomalist.eval.metrics import Interval, group_bootstrap, image_auroc
from anomalist.prompts.templates import render
from anomalist.types.common import Box, FloatArray, Frozen
from anomalist.vision.detectors.base import Progress, no_progress
from anomalist.vision.media.images import load_image

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from rich.console import RenderableType

DescribePicture = Callable[[Path], FloatArray]
"""Patch tokens of a picture: float32 (h, w, d), unit vectors."""

OPTIONS = ("Yes, it is as it should be", "No, something is not as it should be")
TOKEN_SIDE = 336
"""Nominal side of the backbone's input, pixels."""


@dataclass(frozen=True)
class ContextPicture:
    """A picture for one check.

    Parameters
    ----------
    path : of the file.
    anomalous : whether the expectation doesn't hold.
    regions : boxes of what decides, half-open (x0, y0, x1, y1), pixels.
    kind : of the anomaly; "" where it has none.
    """

    path: Path
    anomalous: bool
    regions: tuple[Box, ...]
    kind: str = ""


@dataclass(frozen=True)
class ContextCheck:
    """One expectation with its pictures, sorted by name."""

    name: str
    expectation: str
    pictures: tuple[ContextPicture, ...]

    def split(self, references: int, seed: int) -> tuple[list[ContextPicture], list[ContextPicture]]:
        """References, drawn from the normal pictures, and the pictures that are tested."""
        normal = [at for at, picture in enumerate(self.pictures) if not picture.anomalous]
        drawn = {normal[at] for at in np.random.default_rng(seed).permutation(len(normal))[:references]}
        kept = [picture for at, picture in enumerate(self.pictures) if at in drawn]
        return kept, [picture for at, picture in enumerate(self.pictures) if at not in drawn]


def read_checks(data: Path) -> list[ContextCheck]:
    """Read ``checks.json`` and the pictures in ``images/`` of a folder, check by check.

    Raises
    ------
    DataError : the file is missing, cut off or of another form, a picture is missing, or one picture has two
        labels for one check.
    """
    table = data / "checks.json"
    try:
        rows = json.loads(table.read_text(encoding="utf-8"))
        checks: dict[str, dict[str, ContextPicture]] = {}
        texts: dict[str, str] = {}
        for row in rows:
            name, picture = str(row["check_id"]), _picture(data, row)
            texts[name] = str(row["check_text"])
            known = checks.setdefault(name, {}).setdefault(picture.path.name, picture)
            if known.anomalous != picture.anomalous:
                raise DataError(f"{picture.path.name} is both normal and anomalous for {name} in {table}.")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{table} can't be read: {error!r}.", "It is a list of records.") from error
    if not checks:
        raise DataError(f"{table} holds no check.")
    return [
        ContextCheck(name, texts[name], tuple(found[each] for each in sorted(found)))
        for name, found in sorted(checks.items())
    ]


def _picture(data: Path, row: dict[str, Any]) -> ContextPicture:
    path = data / "images" / str(row["image"])
    if not path.is_file():
        raise DataError(f"{path} is missing.")
    regions = []
    for box in row["boxes"]:
        if box["category"] != "object":  # things are marked as well; what decides has another category
            x0, y0, x1, y1 = (int(value) for value in box["bbox"])
            regions.append((x0, y0, x1, y1))
    anomalous = row["label"] == "anomalous"
    kind = str(row.get("anomaly_type") or "") if anomalous else ""
    return ContextPicture(path, anomalous, tuple(regions), kind)


class CheckResult(Frozen):
    """Figures of one check; None where undefined or not measured."""

    check: str
    expectation: str
    normal: int = Field(description="normal pictures that were tested")
    anomalous: int
    auroc: float | None = Field(description="of the distance to the references")
    balanced_accuracy: float | None = Field(
        description="above the largest distance of a reference to the others, by neighbours alone"
    )
    pointing: float | None = Field(
        description="share of anomalous pictures whose farthest patch lies in the region that decides"
    )
    pointing_chance: float | None = Field(description="the same of a random patch")
    kind: float | None = Field(
        None, description="share of anomalous pictures whose kind is that of the most similar place elsewhere"
    )
    kind_chance: float | None = Field(None, description="the same of a random kind")
    model_balanced_accuracy: float | None = Field(description="of the model's answers; ties are wrong")
    model_kind: float | None = Field(None, description="share of kinds that the model chooses rightly")


class ContextResult(Frozen):
    """Means over the checks, with settings."""

    checks: tuple[CheckResult, ...]
    means: dict[str, float | None] = Field(description="over the checks for which each is defined")
    intervals: dict[str, Interval | None] = Field(description="95 % of the means, bootstrap over checks")
    references: int
    model: str | None
    seed: int
    version: str = __version__


MEASURES = (
    "auroc", "balanced_accuracy", "pointing", "pointing_chance", "kind", "kind_chance",
    "model_balanced_accuracy", "model_kind",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Place:
    """The farthest patch of an anomalous picture: its token, float32 (d,), with check, picture and kind."""

    check: str
    picture: str
    kind: str
    token: FloatArray


def evaluate_checks(
    data: Path,
    describe: DescribePicture,
    *,
    references: int = 4,
    model: tuple[str, BaseChatModel] | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> ContextResult:
    """Measure every check of a folder.

    Parameters
    ----------
    data : folder with ``checks.json`` and ``images/``.
    describe : gives the patch tokens of a picture, see `token_describer`.
    references : normal pictures of each check that are compared with and not tested, at least 2.
    model : name and chat model that reads the expectations; None for neighbours alone.
    seed : of the references, of orders of options and of the bootstrap.
    progress : called with the step, the number done and the total.

    Raises
    ------
    DataError : see `read_checks`; or fewer than two references.
    """
    if references < 2:
        raise DataError(f"{references} references are too few.", "Take 2 or more: one is left out in turn.")
    checks = read_checks(data)
    kinds = sorted({picture.kind for check in checks for picture in check.pictures if picture.kind})
    measured: list[CheckResult] = []
    places: list[_Place] = []
    for done, check in enumerate(checks, start=1):
        found, far = _measure(check, check.split(references, seed), describe, (model, kinds), seed)
        measured.append(found)
        places += far
        progress("checking", done, len(checks))
    results = [each.replace(kind=_kind_share(each.check, places, kinds)) for each in measured]
    values = {name: np.array([_number(getattr(each, name)) for each in results]) for name in MEASURES}
    names = [each.check for each in results]
    return ContextResult(
        checks=tuple(results),
        means={name: _mean(each) for name, each in values.items()},
        intervals={
            name: group_bootstrap(lambda at, each=each: _mean(each[at]), names, seed)  # type: ignore[misc]
            for name, each in values.items()
        },
        references=references,
        model=None if model is None else model[0],
        seed=seed,
    )


def token_describer() -> DescribePicture:
    """Patch tokens of DINOv2; raises DetectorError where it is not on this machine."""
    from anomalist.vision.detectors.ensemble import open_backbone_by
    from anomalist.vision.detectors.token_memory import token_grids
    from anomalist.vision.features.backbones import to_working_size

    backbone = open_backbone_by(None)()

    def describe(path: Path) -> FloatArray:
        (tokens,) = token_grids(backbone, [to_working_size(load_image(path).pixels)], TOKEN_SIDE)
        return np.asarray(tokens, np.float32)

    return describe


def nearest_distances(tokens: FloatArray, bank: FloatArray) -> FloatArray:
    """Cosine distance of each patch to its nearest neighbour: AnomalyDINO without more (Damm et al., 2025).

    ``tokens`` is float32 (h, w, d), ``bank`` (n, d), unit vectors; returns float32 (h, w).
    """
    height, width, depth = tokens.shape
    nearest = (tokens.reshape(-1, depth) @ bank.T).max(1)
    return np.asarray(1 - nearest.reshape(height, width), np.float32)


def distance_score(distances: FloatArray) -> float:
    """Score of a picture: mean of the highest hundredth of its distances."""
    top = max(1, distances.size // 100)
    return float(np.sort(distances, axis=None)[-top:].mean())


def _measure(
    check: ContextCheck,
    split: tuple[Sequence[ContextPicture], Sequence[ContextPicture]],
    describe: DescribePicture,
    by: tuple[tuple[str, BaseChatModel] | None, Sequence[str]],
    seed: int,
) -> tuple[CheckResult, list[_Place]]:
    """Measure one check; ``by`` is the model, and the kinds that it can choose from."""
    (kept, tested), (model, kinds) = split, by
    known = [describe(picture.path) for picture in kept]
    flat = [tokens.reshape(-1, tokens.shape[-1]) for tokens in known]
    seen = [describe(picture.path) for picture in tested]
    maps = [nearest_distances(tokens, np.concatenate(flat)) for tokens in seen]
    scores = np.array([distance_score(each) for each in maps])
    limit = max(
        distance_score(nearest_distances(tokens, np.concatenate([*flat[:at], *flat[at + 1 :]])))
        for at, tokens in enumerate(known)
    )
    labels = np.array([picture.anomalous for picture in tested], np.bool_)
    hits, chances = _pointing(tested, maps)
    answers = None if model is None else np.array([_said(model[1], check, each, seed) for each in tested])
    named = [picture for picture in tested if picture.kind] if model is not None and len(kinds) > 1 else []
    chosen = [model is not None and _said_kind(model[1], check, each, kinds, seed) for each in named]
    places = [
        _Place(
            check.name, picture.path.name, picture.kind, tokens.reshape(-1, tokens.shape[-1])[far.argmax()]
        )
        for picture, tokens, far in zip(tested, seen, maps, strict=True)
        if picture.kind
    ]
    result = CheckResult(
        check=check.name,
        expectation=check.expectation,
        normal=int((~labels).sum()),
        anomalous=int(labels.sum()),
        auroc=image_auroc(scores, labels),
        balanced_accuracy=_balanced((scores > limit) == labels, labels),
        pointing=float(np.mean(hits)) if hits else None,
        pointing_chance=float(np.mean(chances)) if chances else None,
        kind_chance=1 / len(kinds) if places else None,
        model_balanced_accuracy=None if answers is None else _balanced(answers == labels, labels),
        model_kind=float(np.mean(chosen)) if chosen else None,
    )
    return result, places


def _kind_share(check: str, places: Sequence[_Place], kinds: Sequence[str]) -> float | None:
    """Share of a check's anomalous pictures whose kind is that of the most similar place of another check.

    A picture that other checks use, too, is not compared with itself. None with one kind only, or where there
    is nothing to compare with.
    """
    right = []
    for own in places:
        others = [each for each in places if each.check != check and each.picture != own.picture]
        if own.check == check and others:
            nearest = others[int(np.argmax([own.token @ each.token for each in others]))]
            right.append(nearest.kind == own.kind)
    return float(np.mean(right)) if right and len(kinds) > 1 else None


def _said_kind(
    model: BaseChatModel, check: ContextCheck, picture: ContextPicture, kinds: Sequence[str], seed: int
) -> bool:
    """Whether the model chooses the kind of what is wrong; a tie or no answer is wrong."""
    question = f"{check.expectation} It is not so. What kind of deviation is it?"
    best = _chosen(model, picture, question, tuple(kinds), seed)
    return best is not None and kinds[best] == picture.kind


def _said(model: BaseChatModel, check: ContextCheck, picture: ContextPicture, seed: int) -> int:
    """1 where the model says that something is wrong, 0 where not, −1 for a tie or no answer."""
    best = _chosen(model, picture, f"{check.expectation} Is it so?", OPTIONS, seed)
    return -1 if best is None else best


def _chosen(
    model: BaseChatModel, picture: ContextPicture, question: str, options: Sequence[str], seed: int
) -> int | None:
    """Number of the option that the model chooses; None for a tie or no answer."""
    prompt = render("multiple_choice.v1", template=False, knowledge=(), measured=[], question=question)
    message = user_message(prompt, [load_image(picture.path).pixels])
    return choose_by_model(model, [message], options, seed=seed).best


def _pointing(tested: Sequence[ContextPicture], maps: Sequence[FloatArray]) -> tuple[list[bool], list[float]]:
    """Whether each anomalous picture's farthest patch is in a region, and the share of patches in one."""
    hits, chances = [], []
    for picture, distances in zip(tested, maps, strict=True):
        if not picture.anomalous or not picture.regions:
            continue
        inside = _patches_inside(picture, distances.shape)
        hits.append(bool(inside.flat[np.argmax(distances)]))
        chances.append(float(inside.mean()))
    return hits, chances


def _patches_inside(picture: ContextPicture, grid: tuple[int, ...]) -> np.ndarray:
    """Patches whose middle lies in a region, bool of the shape of the grid."""
    height, width = load_image(picture.path).size
    y, x = ((np.arange(count) + 0.5) / count for count in grid)
    inside = np.zeros(grid, np.bool_)
    for x0, y0, x1, y1 in picture.regions:
        rows = (y >= y0 / height) & (y < y1 / height)
        inside |= rows[:, None] & ((x >= x0 / width) & (x < x1 / width))[None]
    return inside


def _balanced(right: np.ndarray, labels: np.ndarray) -> float | None:
    """Mean of the accuracies on normal and on anomalous pictures; None without one of them."""
    parts = [right[labels == side] for side in (False, True)]
    return float(np.mean([part.mean() for part in parts])) if all(part.size for part in parts) else None


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _mean(values: np.ndarray) -> float | None:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if defined.size else None


def render_checks(result: ContextResult) -> RenderableType:
    """The checks as a table, and their means."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    heads = (
        "check", "normal", "anomalous", "AUROC", "balanced", "points", "chance", "kind", "chance",
        "model balanced", "model kind",
    )  # fmt: skip
    table = Table(*heads, title="Checks in context")
    for each in result.checks:
        table.add_row(
            Text(f"{each.check}: {each.expectation}"),
            str(each.normal),
            str(each.anomalous),
            *(_text(getattr(each, name)) for name in MEASURES),
        )
    spans = [result.intervals[name] for name in MEASURES]
    cells = [
        _text(result.means[name]) + (f"\n{span[0]:.3f} to {span[1]:.3f}" if span else "")
        for name, span in zip(MEASURES, spans, strict=True)
    ]
    table.add_row("mean over checks", "", "", *cells, style="bold")
    about = f"{result.references} references a check, which are not tested; seed {result.seed}."
    return Group(table, Text(about, style="dim"))


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
