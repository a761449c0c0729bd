"""Parallel measuring: the pictures of a run are measured in several processes and handed over in order.

All that must see a run as a whole stays in the process that asked: the test of the run for drift, memory,
reasoning, and what is written. So the records are those of one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from anomalist.errors import AnomalistError, DataError, MediaError, ProfileError
from anomalist.types.image import Evidence, Media
from anomalist.vision.detectors.base import MAX_BATCH_PICTURES
from anomalist.vision.evidence import (
    EvidenceSource,
    MeasuredPicture,
    MixedEvidence,
    ProfileEvidence,
    RunWatcher,
    watch_run,
)
from anomalist.vision.media.images import one_line
from anomalist.vision.profile import load_mixed, load_profile
from anomalist.vision.worker_pool import LostItem, Work, work_in_processes

_Result = tuple[Media | None, Evidence | AnomalistError]
EvidenceOpener = Callable[[], EvidenceSource]
"""Opens an evidence source; can be pickled, so that another process or machine opens the same."""


def measure_in_processes(
    source: EvidenceSource, paths: Iterable[str | Path], workers: int
) -> Iterator[MeasuredPicture]:
    """Measure pictures as ``source.measure`` does, in so many processes; they need the same files as this.

    A picture that has killed two processes gets an error in place of its evidence.

    Raises
    ------
    DataError : the source can't be opened in another process.
    ProfileError : what a process opens is not what this one has: it was replaced meanwhile.
    """
    opening = partial(open_work, evidence_opener(source), source.digest)
    measured = _in_order(work_in_processes(opening, paths, workers, MAX_BATCH_PICTURES))
    return watched(source, measured)


def watched(source: EvidenceSource, measured: Iterator[MeasuredPicture]) -> Iterator[MeasuredPicture]:
    """What was measured elsewhere with a source, in order, tested for drift where the source does that."""
    return watch_run(source.run_tests(), measured) if isinstance(source, RunWatcher) else measured


def _in_order(results: Iterable[tuple[str | Path, _Result | LostItem]]) -> Iterator[MeasuredPicture]:
    for path, result in results:
        if isinstance(result, LostItem):
            yield path, None, lost_item(path, result.words)
        else:
            yield path, *result


def lost_item(path: str | Path, how: str) -> MediaError:
    """The error of a picture or clip that two processes have died of; ``how`` they ended."""
    return MediaError(
        f'"{one_line(path)}" was set aside: each of two processes that measured it was ended ({how}).',
        "It takes too much memory or breaks a library; look at it with another program.",
    )


def open_work(opener: EvidenceOpener, digest: str) -> Work[str | Path, _Result]:
    """Open a source in another process and check that it is the one that is meant.

    Raises ProfileError when its digest is another one, and what the opener raises.
    """
    return partial(measure_each, open_checked(opener, digest))


def open_checked(opener: EvidenceOpener, digest: str) -> EvidenceSource:
    """Open a source; raises ProfileError when its digest is not the one that is meant."""
    source = opener()
    check_version(source.name, source.digest, digest)
    return source


def check_version(name: str, digest: str, meant: str) -> None:
    """Raise ProfileError when what a worker has opened is not the version that is meant."""
    if digest != meant:
        raise ProfileError(
            f"A worker has another version of {name} ({digest[:12]}, not {meant[:12]}).",
            "Give all workers the same, and don't replace it during a run; what is done stays done.",
        )


def measure_each(source: EvidenceSource, paths: Sequence[str | Path]) -> Iterator[_Result]:
    """Measure a batch of pictures, without a test of the run."""
    each = source.measure_each if isinstance(source, RunWatcher) else source.measure
    for _, media, evidence in each(paths):
        yield media, evidence


def evidence_opener(source: EvidenceSource) -> EvidenceOpener:
    """What opens the same source in another process, from the same files.

    Raises DataError for a source that is none of the project's own.
    """
    from anomalist.vision.detectors.reference import ReferenceEvidence
    from anomalist.vision.detectors.unsupervised import MutualEvidence, ZeroShotEvidence

    if isinstance(source, ProfileEvidence):
        return partial(_open_profile, source.profile.path.absolute(), source.rate)
    if isinstance(source, MixedEvidence):
        return partial(_open_mixed, source.profile.path.absolute(), dict(source.rates))
    if isinstance(source, ReferenceEvidence):
        return partial(ReferenceEvidence, source.reference, source.known, source.scale)
    if isinstance(source, ZeroShotEvidence):
        return ZeroShotEvidence
    if isinstance(source, MutualEvidence):
        return partial(MutualEvidence, source.paths, source.seed)
    raise DataError(f"{source.name} can't be opened in another process.", "Use one worker.")


def _open_profile(path: Path, rate: float) -> EvidenceSource:
    return ProfileEvidence(load_profile(path), rate)


def _open_mixed(path: Path, rates: Mapping[str, float]) -> EvidenceSource:
    return MixedEvidence(load_mixed(path), rates)
