"""Stretches of time in which a score is high: one machine for clips and for streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

STAY = 0.7  # of the threshold: what has begun goes on above it
GAP = 1.5  # seconds below that are bridged
LEAST = 0.3  # seconds: shorter is a flicker


@dataclass(frozen=True)
class Stretch:
    """From the first to the last high moment, and the highest one between.

    ``closed`` is False while it may still go on.
    """

    start: float
    end: float
    peak: float
    score: float
    closed: bool = False


class Stretches:
    """Follows a score and says when a stretch begins to count and when it is over.

    A stretch counts once it exceeds ``threshold``. It begins where the score rose above ``STAY`` of it
    without a gap, so the beginning of what gets conspicuous later belongs to it.
    """

    def __init__(self, threshold: float) -> None:
        self._high = threshold
        self._low = STAY * threshold
        self._open: Stretch | None = None

    @property
    def since(self) -> float | None:
        """When what may be or become a stretch began; None when nothing is going on."""
        return None if self._open is None else self._open.start

    @property
    def open(self) -> Stretch | None:
        """What counts and is not over yet."""
        found = self._open
        return found if found is not None and found.score > self._high and self._long(found) else None

    def push(self, time: float, score: float) -> Stretch | None:
        """Take the next score (NaN: not judged, like low); returns a stretch when it is over."""
        over = self._over(time)
        if score > self._low:
            if self._open is None:
                self._open = Stretch(time, time, time, score)
            else:
                better = score > self._open.score
                peak, top = (time, score) if better else (self._open.peak, self._open.score)
                self._open = Stretch(self._open.start, time, peak, top)
        return over

    def finish(self) -> Stretch | None:
        """Nothing more comes; returns the stretch that was still open."""
        return self._close()

    def _over(self, time: float) -> Stretch | None:
        if self._open is not None and time - self._open.end > GAP:
            return self._close()
        return None

    def _close(self) -> Stretch | None:
        found, self._open = self.open, None
        if found is None:
            return None
        return Stretch(found.start, found.end, found.peak, found.score, closed=True)

    def _long(self, stretch: Stretch) -> bool:
        return stretch.end - stretch.start >= LEAST


def stretches(
    times: Sequence[float], scores: Sequence[float], threshold: float, cuts: Sequence[bool] = ()
) -> list[Stretch]:
    """All stretches of a clip, in order; none goes on beyond a cut (True where what follows is new)."""
    machine = Stretches(threshold)
    found: list[Stretch | None] = []
    for index, (time, score) in enumerate(zip(times, scores, strict=True)):
        if index < len(cuts) and cuts[index]:
            found.append(machine.finish())
        found.append(machine.push(time, score))
    return [stretch for stretch in (*found, machine.finish()) if stretch is not None]
