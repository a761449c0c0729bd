"""Who measures a picture: a profile of normals, or anything else that implements `Examiner`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from anomalist.errors import AnomalistError
from anomalist.types import Evidence, Media
from anomalist.vision.batches import Scorer, score_all
from anomalist.vision.calibration import CalibrationSet
from anomalist.vision.detectors import Scored
from anomalist.vision.examine import examine
from anomalist.vision.profile import Profile

Examined = tuple[str | Path, Media | None, Evidence | AnomalistError]
"""A path, its picture (None when it could not be read), and what was measured or why nothing was."""


class Examiner(Protocol):
    """Measures pictures; what it compares them with is its own affair."""

    @property
    def name(self) -> str:
        """Of the profile, or of what stands in for one; goes into records."""
        ...

    @property
    def digest(self) -> str:
        """Hex SHA-256 of everything that the numbers depend on but the picture."""
        ...

    @property
    def calibration(self) -> CalibrationSet | None:
        """What p-values rest on; None where nothing was calibrated."""
        ...

    def examine(self, paths: Iterable[str | Path]) -> Iterator[Examined]:
        """Measure pictures in order; an error stands in for what can't be judged."""
        ...


@dataclass(frozen=True)
class ByProfile:
    """Compares pictures with the normals of a profile, to be decided at a false-alarm ``rate``."""

    profile: Profile
    rate: float

    @property
    def name(self) -> str:
        """Of the profile."""
        return self.profile.name

    @property
    def digest(self) -> str:
        """Of the profile; the rate belongs to the settings."""
        return self.profile.digest

    @property
    def calibration(self) -> CalibrationSet:
        """Of the profile."""
        return self.profile.calibration

    def examine(self, paths: Iterable[str | Path]) -> Iterator[Examined]:
        """Score a batch at a time; see `Examiner.examine`."""

        def score(several: list[Media]) -> list[Scored]:
            return self.profile.detector.score([media.pixels for media in several], self.profile.roi)

        return examine_all(
            score, lambda media, scored: examine(self.profile, media, scored, self.rate), paths
        )


def examine_all(
    score: Scorer, evidence_of: Callable[[Media, Scored], Evidence], paths: Iterable[str | Path]
) -> Iterator[Examined]:
    """Read and score pictures a batch at a time and make evidence of each; errors stand in."""
    for path, media, scored in score_all(score, paths):
        if media is None or isinstance(scored, AnomalistError):
            assert isinstance(scored, AnomalistError)  # what was read was scored, or says why not
            yield path, media, scored
            continue
        try:
            yield path, media, evidence_of(media, scored)
        except AnomalistError as error:
            yield path, media, error
