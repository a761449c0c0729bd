"""Network streams as `Video`: live capture that drops the oldest frames, and a buffer of recent ones.

A live stream is received in a thread; a reader that is too slow loses the oldest waiting frames.
`RecentFrames` keeps the last seconds as JPEG, so that an event can be shown after it has begun.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from threading import Condition, Event, Lock, Thread

from anomalist.errors import MediaError
from anomalist.types.common import UInt8Array
from anomalist.vision.drawing import encode_jpeg
from anomalist.vision.media.decoding import to_pixels
from anomalist.vision.media.frames import Frame, FrameSampler, LiveFrameSampler
from anomalist.vision.media.sources import redact_url
from anomalist.vision.media.stream_receiver import StreamReceiver

MAX_WAITING_FRAMES = 4
"""Received frames that wait for the reader at most."""


def overtaking(dropped: Frame, frame: Frame) -> Frame:
    """The frame after one that is dropped: what broke off before that one did so before this one."""
    return replace(frame, cut=dropped.cut or frame.cut, jump=dropped.jump + frame.jump)


def latest_frames(frames: Iterator[Frame], stop: Event, on_dropped: Callable[[], None]) -> Iterator[Frame]:
    """Receive frames in a thread and yield them; when ``MAX_WAITING_FRAMES`` wait, drop the oldest.

    Parameters
    ----------
    frames : consumed and closed in the thread.
    stop : set when the reader is done, so that ``frames`` can stop waiting.
    on_dropped : called in the thread for each dropped frame; if that was a cut, the next one is.
    """
    held: deque[Frame] = deque()
    ready = Condition()
    ended = Event()
    errors: list[Exception] = []

    def fill() -> None:
        try:
            for frame in frames:
                with ready:
                    if len(held) == MAX_WAITING_FRAMES:
                        on_dropped()
                        held[0] = overtaking(held.popleft(), held[0])
                    held.append(frame)
                    ready.notify()
                if stop.is_set():
                    return
        except Exception as error:  # raised again in the reader
            errors.append(error)
        finally:
            with ready:
                ended.set()
                ready.notify()

    thread = Thread(target=fill, name="stream", daemon=True)
    thread.start()
    try:
        while True:
            with ready:
                ready.wait_for(lambda: held or ended.is_set())
                if not held:
                    break
                frame = held.popleft()
            yield frame
    finally:
        stop.set()
        thread.join()
    if errors:
        raise errors[0]


class StreamedVideo:
    """Frames from an address (see ``Video``), read forward only, by one reader at a time.

    Live streams (RTSP, RTMP, RTP, UDP, motion JPEG over HTTP) are received in a thread, and a reader that is
    too slow loses the oldest of a few waiting frames. Anything else over HTTP is taken to be a file: it is
    read at the reader's pace, and resumed where the connection was lost.

    Parameters
    ----------
    address : URL; its password appears neither in ``source`` nor in notes and errors.
    give_up : seconds for which a lost connection is retried with growing waits; then the frames end, with a
        note.

    Raises
    ------
    MediaError
        If it can't be reached at first, or gives no frame.
    """

    def __init__(self, address: str, *, give_up: float = 60.0) -> None:
        self._receiver = StreamReceiver(address, give_up)
        self._source = redact_url(address)
        height, width, _ = to_pixels(self._receiver.first.picture, self._source).shape
        self._size = (height, width)
        self._dropped = 0

    @property
    def source(self) -> str:
        """The address without its password."""
        return self._source

    @property
    def sha256(self) -> str | None:
        """None: a stream has no fixed bytes."""
        return None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the first frame in pixels, as displayed."""
        return self._size

    @property
    def duration(self) -> float | None:
        """Seconds, as a file on a server announces; None for a live stream."""
        return self._receiver.duration

    @property
    def live(self) -> bool:
        """Whether frames come as they are filmed; else it is a file, read at the reader's pace."""
        return self._receiver.live

    @property
    def dropped(self) -> int:
        """Frames passed over so far, because reading was slower than the stream."""
        return self._dropped

    def close(self) -> None:
        """Let a reader in another thread come to its end, once what it waits for has come or timed out."""
        self._receiver.stop.set()

    @property
    def notes(self) -> tuple[str, ...]:
        """Lost connections, wrong clocks, damage and dropped frames so far."""
        notes = self._receiver.notes()
        if self._dropped:
            notes.append(f"{self._dropped} frames passed over because reading was slower than the stream")
        return tuple(notes)

    @property
    def lost_seconds(self) -> float:
        """Seconds that were lost so far; what was passed over is not among them."""
        return self._receiver.lost_seconds()

    def frames(
        self, start: float = 0.0, stop: float | None = None, rate: float | None = None
    ) -> Iterator[Frame]:
        """Yield the frames from here on with start ≤ time < stop (see ``Video``).

        A further call continues from there; a live stream's frames in between are lost.

        Raises
        ------
        MediaError
            If frames become too large.
        """
        sampler = LiveFrameSampler if self.live else FrameSampler
        return self._frames(sampler(start, stop, rate))

    def _frames(self, selection: FrameSampler) -> Iterator[Frame]:
        receiver = self._receiver
        receiver.stop.clear()
        frames = self._selected(selection)
        if not receiver.live:
            yield from frames
            return
        try:
            yield from latest_frames(frames, receiver.stop, self._count_dropped)
        finally:
            receiver.disconnect()

    def _selected(self, selection: FrameSampler) -> Iterator[Frame]:
        for raw_frame in self._receiver.raw_frames():
            if selection.past_end(raw_frame.time):
                self._receiver.push_back(raw_frame)
                return
            if selection.wants(raw_frame.time):
                pixels = to_pixels(raw_frame.picture, self._source)
                yield selection.take(
                    Frame(raw_frame.index, raw_frame.time, pixels, raw_frame.cut, raw_frame.jump)
                )
            elif raw_frame.cut:
                selection.break_off(raw_frame.time, raw_frame.jump)

    def _count_dropped(self) -> None:
        self._dropped += 1


RECENT_SECONDS = 12.0
"""Seconds that `RecentFrames` holds."""
RECENT_RATE = 5.0  # frames a second that are kept
_JPEG_QUALITY = 90


@dataclass(frozen=True)
class _JpegFrame:
    index: int
    time: float
    cut: bool
    jpeg: bytes


class RecentFrames:
    """Ring buffer of the last frames of a stream, as JPEG; a `Video` of what it holds.

    It holds the newest frame besides, so that there is always one at or after the time of an event.

    Parameters
    ----------
    source : the address, as it is shown.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha256: str | None = None
        self.notes: tuple[str, ...] = ()
        self._size: tuple[int, int] | None = None
        self._kept: deque[_JpegFrame] = deque()
        self._newest: Frame | _JpegFrame | None = None
        self._lock = Lock()  # frames may be recorded and read in different threads

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the newest frame. Raises MediaError before the first."""
        if self._size is None:
            raise MediaError(f'Nothing was received from "{self.source}" yet.')
        return self._size

    @property
    def duration(self) -> float | None:
        """None: a stream has no known end."""
        return None

    def record(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield every frame, keeping ``RECENT_RATE`` a second for the last ``RECENT_SECONDS``."""
        for frame in frames:
            due = not self._kept or frame.time - self._kept[-1].time >= 1 / RECENT_RATE - 1e-3
            kept = _encoded(frame) if due else None
            with self._lock:
                self._newest = frame
                if kept is not None:
                    self._size = frame.pixels.shape[0], frame.pixels.shape[1]
                    self._kept.append(kept)
                while frame.time - self._kept[0].time > RECENT_SECONDS:
                    self._kept.popleft()
            yield frame

    def __reduce__(self) -> tuple[Callable[..., RecentFrames], tuple[object, ...]]:
        """A lock can't be sent to another process; what is remembered can."""
        return _remembered, (self.source, self._size, self._all_kept())

    def snapshot(self) -> RecentFrames:
        """What is remembered now, kept while the stream goes on."""
        return _remembered(self.source, self._size, self._all_kept())

    def _all_kept(self) -> deque[_JpegFrame]:
        with self._lock:
            kept, newest = self._kept.copy(), self._newest
        if newest is None or newest.time <= kept[-1].time:
            return kept
        last = newest if isinstance(newest, _JpegFrame) else _encoded(newest)
        with self._lock:
            if self._newest is newest:  # so that it is encoded once
                self._newest = last
        return deque([*kept, last])

    def frames(
        self, start: float = 0.0, stop: float | None = None, rate: float | None = None
    ) -> Iterator[Frame]:
        """Yield the kept frames with start ≤ time < stop, at most ``rate`` a second."""
        due = start
        for kept in self._all_kept():
            if kept.time >= due and (stop is None or kept.time < stop):
                due = kept.time + 1 / rate - 1e-3 if rate else kept.time
                yield Frame(kept.index, kept.time, _decode_jpeg(kept.jpeg), kept.cut)


def _encoded(frame: Frame) -> _JpegFrame:
    return _JpegFrame(frame.index, frame.time, frame.cut, encode_jpeg(frame.pixels, _JPEG_QUALITY))


def _remembered(source: str, size: tuple[int, int] | None, kept: deque[_JpegFrame]) -> RecentFrames:
    made = RecentFrames(source)
    made._size, made._kept = size, kept
    return made


def _decode_jpeg(data: bytes) -> UInt8Array:
    import cv2
    import numpy as np

    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None  # it was encoded here
    out: UInt8Array = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    return out
