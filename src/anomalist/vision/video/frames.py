"""What every video (a file, a folder of frames, a stream) gives: frames with their true times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from anomalist.types import UInt8Array


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame, as it is displayed (rotation applied).

    Parameters
    ----------
    index : its number in the source, from 0; frames that were passed over count.
    time : seconds since the first frame of the source, by its own timestamps.
    pixels : uint8 (H, W, 3), RGB.
    cut : True where the source itself breaks off before this frame: a reconnect, another resolution. What was
        seen before says nothing about motion here. The first frame of a source has none.
    """

    index: int
    time: float
    pixels: UInt8Array
    cut: bool = False

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
        """What was done to read it and what damage was met so far; complete once all frames were read."""
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
