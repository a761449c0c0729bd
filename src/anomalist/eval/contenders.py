"""What can be measured against each other, and how each comes to be from a split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from anomalist.eval.datasets import Split
from anomalist.vision.detectors import Progress
from anomalist.vision.examiners import Examiner

Make = Callable[[Split, int, Path, Progress], Examiner]
"""From the pictures of a split, a seed, an empty folder to write to and who hears of progress."""

SURFACE, ZERO_SHOT, UNLABELLED = "surface", "zero-shot", "unlabelled"


@dataclass(frozen=True)
class Contender:
    """A way to examine pictures that is measured.

    Parameters
    ----------
    name : goes into results.
    make : gives the examiner; all the time it takes is learning time.
    effort : of learning, or None for what learns from no normal pictures.
    """

    name: str
    make: Make
    effort: str | None = None


def contenders(
    detectors: Sequence[str], efforts: Sequence[str], train_normals: int, false_alarm_rate: float | None
) -> list[Contender]:
    """Every detector by every effort it knows, each once; without normals nothing but zero-shot can learn.

    Parameters
    ----------
    detectors : "surface" learns from normals, and without any is "zero-shot", which compares the patches of a
        picture with each other; "unlabelled" compares the test pictures with each other.
    efforts : of learning; only "surface" learns.
    train_normals : how many normals there will be.
    false_alarm_rate : asked for; None for the default.
    """
    found: dict[tuple[str, str | None], Contender] = {}
    for name in detectors:
        if name == SURFACE and train_normals:
            for effort in efforts:
                make = partial(_by_profile, effort=effort, rate=false_alarm_rate)
                found.setdefault((name, effort), Contender(name, make, effort))
        elif name == UNLABELLED:
            found.setdefault((name, None), Contender(name, _unlabelled))
        else:
            found.setdefault((ZERO_SHOT, None), Contender(ZERO_SHOT, _zero_shot))
    return list(found.values())


def _by_profile(
    parts: Split, seed: int, folder: Path, progress: Progress, *, effort: str, rate: float | None
) -> Examiner:
    from anomalist.pipeline import learn
    from anomalist.vision.examine import checked_rate
    from anomalist.vision.examiners import ByProfile

    profile = learn(
        [item.path for item in parts.train],
        profile=folder / "profile",
        groups={str(item.path): item.group for item in parts.train} if parts.grouped else None,
        effort=effort,
        seed=seed,
        progress=progress,
    )
    return ByProfile(profile, checked_rate(profile, rate))


def _zero_shot(parts: Split, seed: int, folder: Path, progress: Progress) -> Examiner:
    from anomalist.vision.zero_shot import ZeroShot

    return ZeroShot()


def _unlabelled(parts: Split, seed: int, folder: Path, progress: Progress) -> Examiner:
    from anomalist.vision.mutual import Unlabelled

    return Unlabelled([item.path for item in parts.test], seed, progress)
