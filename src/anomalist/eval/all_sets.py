"""Everything under a folder that is in a known layout, each with the defaults.

Pictures, video, MMAD, checks in context, pairs with a reference, kinds of defects, captions and sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from anomalist.errors import AnomalistError, DataError
from anomalist.eval.captions import evaluate_captions
from anomalist.eval.context_checks import evaluate_checks, token_describer
from anomalist.eval.datasets.footage import VIDEO_LAYOUTS
from anomalist.eval.datasets.layouts import BrokenSet, LabelledSet, folders_in
from anomalist.eval.datasets.opening import read_image_sets
from anomalist.eval.detection import contenders, open_sets, run_set, set_name
from anomalist.eval.mmad.answering import MmadSetup
from anomalist.eval.mmad.benchmark import run_mmad
from anomalist.eval.multiple_choice import evaluate_kind_questions
from anomalist.eval.multiple_choice_sources import QuestionSetup
from anomalist.eval.reference import evaluate_reference
from anomalist.eval.result_cache import RUNS, ResultCache, content_key, files_digest
from anomalist.eval.saved_runs import SavedRun
from anomalist.eval.sentences import evaluate_sentences
from anomalist.eval.video import evaluate_video
from anomalist.vision.detectors.base import Progress, default_detector, no_progress

CASES = 10
"""Labelled cases of each kind of defect, where kinds are asked for."""
_GROUPS = "groups.csv"
_WholeBenchmark = Literal["video", "checks", "reference", "questions", "sentences", "captions"]


@dataclass(frozen=True)
class SkippedSet:
    """A folder, or one product of it, that was not measured, and why."""

    folder: Path
    why: str
    product: str = ""

    @property
    def name(self) -> str:
        """Of the folder, with that of the product."""
        return f"{self.folder.name}/{self.product}" if self.product else self.folder.name


def run_all(
    data: Path,
    cache: Path,
    *,
    only: Sequence[str] | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Iterator[SavedRun | SkippedSet]:
    """Measure every set in a folder with the defaults; what can't be measured is skipped with the reason.

    Of a set with several products, those that can't be used are skipped one by one.

    A set of pictures without an official split learns from half of its good pictures, by whole groups where
    there is a ``groups.csv``.

    Parameters
    ----------
    data : folder with a folder for each set.
    cache : folder in which runs are kept: a run that was stopped goes on where it was.
    only : names of the folders to measure; None for all.
    seed : of splits, learning and bootstrap.
    progress : called with the step, the number done and the total.

    Raises
    ------
    DataError : it is no folder, or the cache can't be written to.
    """
    if not data.is_dir():
        raise DataError(f"{data} is not a folder.", "Name the folder that holds the data sets.")
    folders = folders_in(data)
    unknown = sorted(set(only or ()) - {folder.name for folder in folders})
    if unknown:
        raise DataError(f"There is no folder {unknown[0]} in {data}.")
    for folder in folders:
        if only and folder.name not in only:
            continue
        yield from _or_skipped(folder, "", _run_set(folder, cache, seed, progress))


def _or_skipped(
    folder: Path, product: str, runs: Iterator[SavedRun | SkippedSet]
) -> Iterator[SavedRun | SkippedSet]:
    """The runs of a folder, or of one product of it, and why there are no more of them."""
    try:
        yield from runs
    except AnomalistError as error:
        yield SkippedSet(folder, str(error), product)


def _run_set(folder: Path, cache: Path, seed: int, progress: Progress) -> Iterator[SavedRun | SkippedSet]:
    if (folder / "mmad.json").is_file():
        for shots in (0, 1):
            setup = MmadSetup(shots=shots, seed=seed)
            yield run_mmad(folder, setup, cache=cache, progress=progress).saved()
        return
    whole = list(_whole_benchmarks(folder, seed, progress))
    if whole:
        with ResultCache(cache, RUNS) as kept:
            for benchmark, place, evaluate in whole:
                product = "" if place == folder else place.name
                run = _whole_run(benchmark, place, seed, kept, evaluate)
                yield from _or_skipped(folder, product, run)
        return
    groups = folder / _GROUPS
    sets = open_sets(folder, groups) if groups.is_file() else read_image_sets(folder)[1]
    usable = [each for each in sets if isinstance(each, LabelledSet)]
    normals = _train_normals(usable)
    asked = contenders([default_detector(None)], ["normal"], 1 if normals is None else normals, None)
    with ResultCache(cache, RUNS) as kept:
        for each in sets:
            product = each.name if len(sets) > 1 else ""
            if isinstance(each, BrokenSet):
                yield SkippedSet(folder, str(each.error), product)
                continue
            runs = run_set(
                each,
                set_name(folder, each, sets),
                asked,
                train_normals=normals,
                seeds=[seed],
                cache=kept,
                progress=progress,
            )
            yield from _or_skipped(folder, product, runs)


def _whole_benchmarks(
    folder: Path, seed: int, progress: Progress
) -> Iterator[tuple[_WholeBenchmark, Path, Callable[[], BaseModel]]]:
    """The benchmarks whose result is kept as a whole: name, folder, and what measures."""
    boxes = (folder / "boxes.csv").is_file()
    if any(not layout.missing(folder) for layout in VIDEO_LAYOUTS):
        yield "video", folder, partial(evaluate_video, folder, progress)
    elif (folder / "checks.json").is_file():
        yield (
            "checks",
            folder,
            lambda: evaluate_checks(folder, token_describer(), seed=seed, progress=progress),
        )
    elif boxes and any(folder.glob("*_temp.jpg")):
        yield "reference", folder, partial(evaluate_reference, folder, seed=seed)
    elif boxes and any(folder.glob("images/*_*")):
        setup = QuestionSetup(cases=CASES, train_normals=0, effort="normal", seed=seed)
        yield "questions", folder, partial(evaluate_kind_questions, folder, setup, progress)
    elif (folder / "sentences.csv").is_file():
        yield "sentences", folder, partial(evaluate_sentences, folder)
    else:
        for path in folders_in(folder):
            if (path / "01.csv").is_file():
                yield "captions", path, partial(evaluate_captions, path)


def _train_normals(sets: Sequence[LabelledSet]) -> int | None:
    """Good pictures to learn from: None for those of the official split, else half of them."""
    if all(each.train is not None for each in sets):
        return None
    return min(sum(item.normal for item in each.test) for each in sets) // 2


def _whole_run(
    benchmark: _WholeBenchmark,
    folder: Path,
    seed: int,
    cache: ResultCache,
    evaluate: Callable[[], BaseModel],
) -> Iterator[SavedRun]:
    """The run of a benchmark on a folder with a seed, which is kept as a whole."""
    from anomalist.vision.features.dinov2 import find_dinov2

    files = sorted(path for path in folder.rglob("*") if path.is_file())
    places = repr([path.relative_to(folder).as_posix() for path in files])  # training or testing, say
    key = content_key(benchmark, folder.name, seed, repr(find_dinov2()), places, files_digest(files))
    found = cache.get(key, SavedRun)
    if found is None:
        result = evaluate().model_dump(mode="json")
        found = SavedRun(benchmark=benchmark, name=folder.name, result=result)
        cache.put(key, found)
    yield found
