"""Frame and Video, the interface of all video sources; frame sampling by time; the log of lost frames.

Times are seconds since the first frame of the source, by its own timestamps. Frames are RGB as displayed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from anomalist.types.common import UInt8Array


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame, as it is displayed (rotation applied).

    Parameters
    ----------
    index : its number in the source, from 0; skipped and lost frames count.
    time : seconds since the first frame of the source, by its own timestamps.
    pixels : uint8 (H, W, 3), RGB.
    cut : True where the source itself breaks before this frame (a reconnect, another resolution), so that
        there is no motion between the two. False for the first frame.
    jump : seconds by which the clock of the source jumps before this frame, negative for back; its time goes
        on without them. 0 where it doesn't, or nobody knows.
    """

    index: int
    time: float
    pixels: UInt8Array
    cut: bool = False
    jump: float = 0.0

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 3 or self.pixels.shape[2] != 3:
            raise TypeError(
                f"pixels must be uint8 (H, W, 3), got {self.pixels.dtype.name} {self.pixels.shape}"
            )


class Video(Protocol):
    """A source of frames that can be read again from any time (a stream only onwards)."""

    @property
    def source(self) -> str:
        """The path or address as the user gave it (an address without its password)."""
        ...

    @property
    def sha256(self) -> str | None:
        """Hex digest of the file's bytes, or over the frame files; None for a stream."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the first frame in pixels, as displayed."""
        ...

    @property
    def duration(self) -> float | None:
        """Seconds from the first frame to the end of the last; None where only reading would tell."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """How it is read, and the damage found so far; complete once all frames were read."""
        ...

    def frames(
        self, start: float = 0.0, stop: float | None = None, rate: float | None = None
    ) -> Iterator[Frame]:
        """Yield the frames with start ≤ time < stop, in order and in bounded memory.

        Parameters
        ----------
        start, stop : seconds; None is the end.
        rate : frames a second at most, sampled by time (the first frame at or after each tick); None is all.
        """
        ...


def lost_seconds(video: Video) -> float:
    """Seconds of a video that could not be read so far; 0 for one that doesn't say."""
    return float(getattr(video, "lost_seconds", 0.0))


@dataclass(frozen=True, eq=False)
class DerivedVideo:
    """What a `Video` has that is made from another one, but for its frames: all as of that video."""

    video: Video

    @property
    def source(self) -> str:
        """See `Video.source`."""
        return self.video.source

    @property
    def sha256(self) -> str | None:
        """See `Video.sha256`."""
        return self.video.sha256

    @property
    def size(self) -> tuple[int, int]:
        """See `Video.size`."""
        return self.video.size

    @property
    def duration(self) -> float | None:
        """See `Video.duration`."""
        return self.video.duration

    @property
    def notes(self) -> tuple[str, ...]:
        """See `Video.notes`."""
        return self.video.notes

    @property
    def lost_seconds(self) -> float:
        """See `lost_seconds`."""
        return lost_seconds(self.video)


TIME_TOLERANCE = 1e-6  # seconds: times are sums of fractions


class FrameSampler:
    """A range of times, sampled by time.

    Parameters
    ----------
    start, stop : seconds; frames with start ≤ time < stop are wanted, None is the end.
    rate : frames a second at most: the first frame at or after each of start, start + 1 / rate, … is
        wanted; None is all.

    Raises
    ------
    ValueError
        If start isn't finite or the rate isn't positive.
    """

    def __init__(self, start: float = 0.0, stop: float | None = None, rate: float | None = None) -> None:
        if not math.isfinite(start):
            raise ValueError(f"start must be finite, got {start}")
        if rate is not None and not rate > 0:
            raise ValueError(f"rate must be positive, got {rate}")
        self.start = max(start, 0.0)
        self.reached = self.start
        """Time of the last frame that was taken."""
        self._stop = math.inf if stop is None else stop
        self._rate = rate
        self._due = self.start
        self._begun = False
        self._cut = False
        self._jump = 0.0

    def past_end(self, time: float) -> bool:
        """Whether this and all later times are past the end."""
        return time >= self._stop - TIME_TOLERANCE

    def wants(self, time: float) -> bool:
        """Whether the frame at this time is sampled."""
        return time >= self._due - TIME_TOLERANCE and not self.past_end(time)

    def break_off(self, time: float, jump: float = 0.0) -> None:
        """Note that the source breaks at this time; the next frame that is taken is a cut.

        ``jump`` is by how many seconds its clock jumps there.
        """
        if self._begun and time > self.reached:
            self._cut = True
            self._jump += jump

    def take(self, frame: Frame) -> Frame:
        """Take a sampled frame, marked as a cut when the source broke since the last one."""
        self._due = (
            frame.time + 2 * TIME_TOLERANCE if self._rate is None else self._after(frame.time, self._rate)
        )
        cut = self._cut or frame.cut
        jump = self._jump + frame.jump
        self.reached, self._begun, self._cut, self._jump = frame.time, True, False, 0.0
        return replace(frame, cut=cut, jump=jump)

    def _after(self, time: float, rate: float) -> float:
        """From when on another frame is wanted, once the one at ``time`` was taken."""
        ticks = math.floor((time - self.start + TIME_TOLERANCE) * rate) + 1
        return self.start + ticks / rate


class LiveFrameSampler(FrameSampler):
    """`FrameSampler` for times of arrival: they jitter, and ticks would lose frames of a stream at that rate.

    A frame is wanted from half a period before it is due (the generic cell rate algorithm, ITU-T I.371), so
    that over time no more than ``rate`` a second are taken.
    """

    def _after(self, time: float, rate: float) -> float:
        early = 0.5 / rate
        return max(time, self._due + early) + 1 / rate - early


MAX_LOST_FRAMES = 100_000
"""Lost frames that are remembered by number; more are only counted."""
MAX_DAMAGE_NOTES = 5
"""Runs of lost frames that are noted one by one."""


class DamageLog:
    """Frames that were lost, gathered over all passes over one source, in bounded memory."""

    def __init__(self) -> None:
        self.end: float | None = None
        """End of the last frame in seconds, once it was read."""
        self._lost: dict[int, float] = {}
        self._more = 0
        self._early = ""
        self._missing = 0.0  # seconds after an early end

    def add_lost(self, index: int, time: float) -> None:
        """Add the frame with this number, at ``time`` seconds."""
        if len(self._lost) < MAX_LOST_FRAMES:
            self._lost.setdefault(index, time)
        elif index not in self._lost:
            self._more += 1

    def add_lost_between(self, intact: int | None, index: int, times: npt.NDArray[np.float64]) -> None:
        """Add the frames between two intact ones; a decoder may return nothing at all for some.

        Parameters
        ----------
        intact, index : numbers of the two; None where the pass began damaged.
        times : of all frames of the source, in seconds.
        """
        if intact is not None:
            for missing in range(intact + 1, index):
                self.add_lost(missing, float(times[missing]))

    def set_end(self, time: float, expected: float | None, tolerance: float) -> None:
        """Set the end of the last frame, and note when the announced duration is longer; all in seconds."""
        self.end = time
        if expected is not None and expected - time > tolerance:
            self._missing = expected - time
            self._early = f"cut short: ends at {_rounded_down(time)} s of {expected:.1f} s"

    def lost_seconds(self, interval: float) -> float:
        """Seconds that were lost, with those after an early end; ``interval`` is from frame to frame."""
        return (len(self._lost) + self._more) * interval + self._missing

    def notes(self) -> list[str]:
        """Return one line for each run of lost frames (the first few), and one for an early end."""
        runs: list[list[int]] = []
        for index in sorted(self._lost):
            if runs and index == runs[-1][-1] + 1:
                runs[-1].append(index)
            else:
                runs.append([index])
        notes = [
            f"damaged: {len(run)} frame{'s' * (len(run) > 1)} from {_rounded_down(self._lost[run[0]])} s "
            "could not be decoded"
            for run in runs[:MAX_DAMAGE_NOTES]
        ]
        others = sum(map(len, runs[MAX_DAMAGE_NOTES:])) + self._more
        if others:
            notes.append(f"damaged: {others} more frames in other places could not be decoded")
        return notes + [self._early] * bool(self._early)


def _rounded_down(seconds: float) -> str:
    return f"{math.floor(seconds * 10 + 1e-6) / 10:.1f}"
