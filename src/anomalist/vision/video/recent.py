"""The last seconds of a stream, kept as JPEG, so that an event can be shown after it has begun."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from threading import Lock

from anomalist.errors import MediaError
from anomalist.types import UInt8Array
from anomalist.vision.video.frames import Frame

SECONDS = 12.0
RATE = 5.0  # frames a second that are kept
_QUALITY = 90


@dataclass(frozen=True)
class _Kept:
    index: int
    time: float
    cut: bool
    jpeg: bytes


class RecentFrames:
    """Passes the frames of a stream on and remembers the last of them; a Video of what it remembers.

    Parameters
    ----------
    source : the address, as it is shown.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha256: str | None = None
        self.notes: tuple[str, ...] = ()
        self._size: tuple[int, int] | None = None
        self._kept: deque[_Kept] = deque()
        self._lock = Lock()  # frames may come in another thread than the one that looks back

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the newest frame. Raises MediaError before the first."""
        if self._size is None:
            raise MediaError(f'Nothing was received from "{self.source}" yet.')
        return self._size

    @property
    def duration(self) -> float | None:
        """A stream has no end that is known."""
        return None

    def passing(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield every frame as it comes, remembering some of them."""
        for frame in frames:
            if not self._kept or frame.time - self._kept[-1].time >= 1 / RATE - 1e-3:
                self._size = frame.pixels.shape[0], frame.pixels.shape[1]
                kept = _Kept(frame.index, frame.time, frame.cut, _encoded(frame.pixels))
                with self._lock:
                    self._kept.append(kept)
                    while frame.time - self._kept[0].time > SECONDS:
                        self._kept.popleft()
            yield frame

    def frames(
        self, start: float = 0.0, stop: float | None = None, rate: float | None = None
    ) -> Iterator[Frame]:
        """Yield what is remembered of start ≤ time < stop, at most ``rate`` a second."""
        due = start
        with self._lock:
            kept_now = tuple(self._kept)
        for kept in kept_now:
            if kept.time >= due and (stop is None or kept.time < stop):
                due = kept.time + 1 / rate - 1e-3 if rate else kept.time
                yield Frame(kept.index, kept.time, _decoded(kept.jpeg), kept.cut)


def _encoded(pixels: UInt8Array) -> bytes:
    import cv2

    _, data = cv2.imencode(
        ".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    )
    return bytes(data)


def _decoded(data: bytes) -> UInt8Array:
    import cv2
    import numpy as np

    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None  # it was encoded here
    out: UInt8Array = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    return out
