"""The timestamps of all frames of a file, without decoding it."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalist.vision.video.probing import Facts, opened


@dataclass(frozen=True, eq=False)
class Scan:
    """What the packets of a file say.

    Parameters
    ----------
    times : float64 (N,), seconds since the first frame, in the order of display.
    seekable : whether they are complete and unambiguous, so that a time leads to a frame.
    whole : whether, besides, nothing is missing or marked as damaged.
    """

    times: npt.NDArray[np.float64]
    seekable: bool
    whole: bool


def nearest(times: npt.NDArray[np.float64], time: float) -> int:
    """Return the index of the entry at a time, or of the first after it; times in seconds, ascending."""
    return min(bisect_left(times, time - 1e-6), len(times) - 1)


def scan(facts: Facts) -> Scan:
    """Read all packets of a file (tens of thousands a second)."""
    from av import FFmpegError

    stamps: list[int] = []
    ordered = whole = True
    last: int | None = None
    with opened(facts.path, facts.name, strict=facts.strict) as (container, stream):
        step = float(stream.time_base or 0)
        try:
            for packet in container.demux(stream):
                if packet.pts is None or packet.is_discard:
                    ordered = ordered and not packet.size
                    continue
                ordered = ordered and (last is None or packet.dts is None or packet.dts >= last)
                last = packet.dts
                whole = whole and not packet.is_corrupt
                stamps.append(packet.pts)
        except FFmpegError:
            whole = False
    times = np.sort(np.array(stamps, np.float64)) * step
    times -= times[0] if len(times) else 0.0
    seekable = ordered and len(times) > 0 and bool(np.all(np.diff(times) > 0))
    if seekable and facts.exact and facts.duration is not None:
        whole = whole and facts.duration - times[-1] < 3 / facts.rate + 0.1
    return Scan(times, seekable, seekable and whole)
