"""Run MMAD from its folder: read, ask, score; resumable where answers are kept."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from anomalist.eval.mmad.answering import CACHE_NAME, MmadSetup, answer_pictures, open_answerer
from anomalist.eval.mmad.questions import read_list, read_mmad
from anomalist.eval.mmad.scoring import MmadResult, score_mmad
from anomalist.eval.mmad.tables import heading
from anomalist.eval.result_cache import ResultCache
from anomalist.eval.saved_runs import AskedQuestion, SavedRun, asked_questions
from anomalist.vision.detectors.base import Progress, no_progress


def evaluate_mmad(
    data: Path,
    setup: MmadSetup,
    *,
    pictures: int | None = None,
    leave_out: Path | None = None,
    cache: Path | None = None,
    progress: Progress = no_progress,
) -> MmadResult:
    """Ask all questions of MMAD and score the answers twice; see `run_mmad`."""
    return run_mmad(
        data, setup, pictures=pictures, leave_out=leave_out, cache=cache, progress=progress
    ).result


@dataclass(frozen=True)
class MmadRun:
    """The result, and the questions with whether they were answered rightly."""

    result: MmadResult
    questions: tuple[AskedQuestion, ...]

    def saved(self) -> SavedRun:
        """The run as it is saved, named after who answered what."""
        name = f"mmad {self.result.setup.model} {heading(self.result)}"
        result = self.result.model_dump(mode="json")
        return SavedRun(benchmark="mmad", name=name, result=result, questions=self.questions)


def run_mmad(
    data: Path,
    setup: MmadSetup,
    *,
    pictures: int | None = None,
    leave_out: Path | None = None,
    cache: Path | None = None,
    progress: Progress = no_progress,
) -> MmadRun:
    """Ask all questions of MMAD and score the answers twice.

    Parameters
    ----------
    data : folder with ``mmad.json`` and the pictures.
    setup : how the questions are asked.
    pictures : of each data set at most, drawn by the seed; None for all.
    leave_out : list of pictures that are known to be filed wrongly; scored with and without them.
    cache : folder in which answers are kept, and found again; None keeps nothing.
    progress : called with the step, the number done and the total.

    Raises
    ------
    DataError : the folder is none of MMAD, the list of faults is none, or the setup can't be asked.
    ModelError : the model is not there.
    """
    found = read_mmad(data)
    faults = frozenset() if leave_out is None else read_list(leave_out, found)
    if pictures is not None:
        found = found.sample(pictures, setup.seed)
    answerer = open_answerer(setup, found)
    with ExitStack() as stack:
        kept = None if cache is None else stack.enter_context(ResultCache(cache, CACHE_NAME))
        answered = list(answer_pictures(found, setup, answerer, kept, progress))
    result = score_mmad(found, answered, setup, answerer.name, faults)
    return MmadRun(result, asked_questions(found.pictures, answered))
