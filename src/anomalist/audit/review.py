"""Labelling with a stopping rule: whose answer narrows the false-alarm rate most is asked about next.

Alarms and the rest are two strata. Of which one the next picture comes is decided by how much an answer is
expected to narrow the interval of the rate; within a stratum it is drawn at random, so that its share stays
unbiased. Asking stops when the interval is as narrow as was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomalist.audit.log import audit_folder, has_log
from anomalist.audit.promises import Interval, Truth, clopper_pearson, false_alarm_rate, said_truth
from anomalist.audit.reading import read_entries
from anomalist.errors import DataError
from anomalist.types.image import Record, is_alarm

_CONFIDENCE = 0.975  # of each of the two strata, so that both together hold with 95 %


@dataclass(frozen=True)
class ReviewState:
    """What is known of a run, and what to ask next.

    Parameters
    ----------
    rate : share of normal pictures that were alarms, with its interval.
    false, missed : shares that it rests on.
    next : the picture to ask about; None when everything is known.
    """

    rate: Interval
    false: Interval
    missed: Interval
    next: Record | None

    @property
    def width(self) -> float:
        """Of the interval of the rate."""
        return self.rate.high - self.rate.low


class Review:
    """Decides which picture of a run is asked about next.

    Parameters
    ----------
    records : of the run; only those with a p-value count.
    truth : what is known already, by the hash of the picture.
    seed : of the order within the strata.

    Raises DataError where nothing was calibrated.
    """

    def __init__(self, records: Sequence[Record], truth: Mapping[str, Truth], seed: int = 0) -> None:
        judged = [record for record in records if record.p_value is not None and record.sha256]
        if not judged:
            raise DataError(
                "Nothing in this run promises anything: no picture has a p-value.", "Inspect with --profile."
            )
        order = np.random.default_rng(seed).permutation(len(judged))
        shuffled = [judged[at] for at in order]
        self.alarms = [record for record in shuffled if _alarm(record)]
        self.quiet = [record for record in shuffled if not _alarm(record)]
        self.truth: dict[str, Truth] = dict(truth)
        self.unsure: set[str] = set()

    def answer(self, record: Record, truth: Truth | None) -> None:
        """Take an answer; None: the person can't tell, and is not asked again."""
        if truth is None:
            self.unsure.add(str(record.sha256))
        else:
            self.truth[str(record.sha256)] = truth

    def state(self) -> ReviewState:
        """What is known by now, and the picture whose answer narrows the rate most."""
        false, missed = self._count(self.alarms, "normal"), self._count(self.quiet, "anomalous")
        options: list[tuple[float, Record]] = []
        for stratum, hits in ((self.alarms, false), (self.quiet, missed)):
            open_ones = [
                record
                for record in stratum
                if str(record.sha256) not in self.truth and str(record.sha256) not in self.unsure
            ]
            if open_ones:
                options.append((self._expected_width(false, missed, hits is false), open_ones[0]))
        following = min(options, key=lambda option: option[0])[1] if options else None
        return ReviewState(self._rate(false, missed), _interval(*false), _interval(*missed), following)

    def _count(self, stratum: Sequence[Record], wanted: Truth) -> tuple[int, int]:
        known = [self.truth[str(record.sha256)] for record in stratum if str(record.sha256) in self.truth]
        return sum(each == wanted for each in known), len(known)

    def _rate(self, false: tuple[int, int], missed: tuple[int, int]) -> Interval:
        return false_alarm_rate(
            len(self.alarms), len(self.quiet), _interval(*false), _interval(*missed), strict=True
        )

    def _expected_width(self, false: tuple[int, int], missed: tuple[int, int], of_alarms: bool) -> float:
        """Width of the interval after one more answer in a stratum, by what is known of it so far."""
        hits, of = false if of_alarms else missed
        chance = (hits + 1) / (of + 2)
        total = 0.0
        for more, weight in ((1, chance), (0, 1 - chance)):
            after = (hits + more, of + 1)
            rate = self._rate(after, missed) if of_alarms else self._rate(false, after)
            total += weight * (rate.high - rate.low)
        return total


def review_line(state: ReviewState) -> str:
    """What is known by now, in one line."""
    return (
        f"False alarms among normals: {100 * state.rate.low:.1f} to {100 * state.rate.high:.1f} % "
        f"(false among alarms {state.false}, missed among the rest {state.missed})."
    )


def _interval(hits: int, of: int) -> Interval:
    return clopper_pearson(hits, of, _CONFIDENCE)


def _alarm(record: Record) -> bool:
    about = record.calibration
    return (
        about is not None and record.p_value is not None and is_alarm(record.p_value, about.false_alarm_rate)
    )


def known_truth(folder: Path | None = None) -> dict[str, Truth]:
    """What people have said of pictures so far, by hash; nothing where there is no log."""
    place = audit_folder() if folder is None else folder
    return said_truth(read_entries(place, kinds=("feedback", "review"))) if has_log(place) else {}


def unsure_of(run: Path, folder: Path | None = None) -> frozenset[str]:
    """Hashes of the pictures of a run of which a person said that they can't tell."""
    place = audit_folder() if folder is None else folder
    if not has_log(place):
        return frozenset()
    answers = (entry.content for entry in read_entries(place, kinds=("review",)))
    named = str(run.resolve())
    return frozenset(
        str(each.get("sha256"))
        for each in answers
        if each.get("run") == named and each.get("answer") == "unsure"
    )
