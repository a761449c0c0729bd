"""How many questions a model may be asked about a video: a budget in calls per minute of footage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from anomalist.clips import Event
from anomalist.errors import ModelError
from anomalist.vision.video.frames import Video

CALLS_PER_MINUTE = 10.0


@dataclass
class Allowance:
    """What is left of a budget for some events.

    Parameters
    ----------
    left : calls; a fraction of one grows with a stream.
    words : the budget as people read it.
    """

    left: float
    words: str

    def take(self, calls: int) -> bool:
        """Take so many calls if they are there; all or nothing."""
        if calls > self.left:
            return False
        self.left -= calls
        return True


class Budget:
    """Shares out calls to a model. A call is one request: each retry and each order of options is one too.

    A video of known length has ``calls_per_minute`` times its minutes, at least one. What goes on without an
    end earns as much as its time goes on, and saves up no more than a minute's worth: a quiet night is not
    followed by a rush.

    Parameters
    ----------
    calls_per_minute : of footage, whether it is watched faster or slower. None are allowed with 0.

    Raises
    ------
    ModelError : it is no number from 0 on.
    """

    def __init__(self, calls_per_minute: float) -> None:
        if not (math.isfinite(calls_per_minute) and calls_per_minute >= 0):
            raise ModelError(
                f"A model can't be asked {calls_per_minute:g} times a minute.", "Name 0 or more."
            )
        self._rate = calls_per_minute
        self._streams: dict[str, tuple[float, Allowance]] = {}

    def allowance(self, video: Video, events: Sequence[Event]) -> Allowance:
        """What may be asked about events of a video; of a stream, what is left after earlier ones."""
        words = f"the budget of {self._rate:g} calls a minute"
        if not self._rate:
            return Allowance(0, words)
        if video.duration is not None:
            calls = max(1, math.floor(self._rate * video.duration / 60))
            return Allowance(calls, f"{words}, {calls} for this video,")
        most = max(1.0, self._rate)
        now = max(event.end for event in events)
        before, allowance = self._streams.get(video.source, (now, Allowance(most, words)))
        allowance.left = min(most, allowance.left + max(0.0, now - before) * self._rate / 60)
        self._streams[video.source] = (max(now, before), allowance)
        return allowance
