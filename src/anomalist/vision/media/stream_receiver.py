"""Receive a network stream: reconnect with exponential backoff; frames keep one numbering and one clock.

Connections and packets time out, redirects can't lead to local files, and messages never contain the password
of the URL.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
import time as clocks
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING

from anomalist.errors import MediaError
from anomalist.vision.media.decoding import (
    ALLOWED_FORMATS,
    MAX_TIMESTAMP_LEAP,
    STRICT,
    DecodedFrame,
    MonotonicClock,
    announced_duration,
    decode_frames,
    video_stream_of,
)
from anomalist.vision.media.frames import DamageLog
from anomalist.vision.media.images import one_line
from anomalist.vision.media.sources import redact_url, scheme_of

if TYPE_CHECKING:
    from av import VideoFrame


FIRST_WAIT = 0.5
MAX_WAIT = 8.0
"""First and longest wait before a reconnect, seconds."""


class Backoff:
    """Exponential backoff: waits double from ``FIRST_WAIT`` to ``MAX_WAIT`` seconds, up to a deadline.

    Parameters
    ----------
    give_up : seconds after the first failure until giving up.
    """

    def __init__(self, give_up: float) -> None:
        self._give_up = give_up
        self.succeeded()

    def succeeded(self) -> None:
        """Reset, so that the next failure is a first one."""
        self._next = FIRST_WAIT
        self._deadline: float | None = None

    def wait(self, stop: Event) -> bool:
        """Wait before another attempt; return False, at once or early, when it is time to give up or stop."""
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + self._give_up
        wait = min(self._next, self._deadline - now)
        self._next = min(2 * self._next, MAX_WAIT)
        return wait > 0 and not stop.wait(wait)


TIMEOUT = 10.0
"""Seconds to wait for a connection, and for each packet."""

# Not "file": a remote playlist must not lead to local files.
_PROTOCOLS = "http,https,httpproxy,tcp,tls,udp,rtp,srtp,rtmp,rtmps,rtmpt,ffrtmphttp,crypto"
_OPTIONS = {
    "protocol_whitelist": _PROTOCOLS,
    "format_whitelist": f"{ALLOWED_FORMATS},rtsp,rtp,sdp,hls,aac,webvtt,live_flv,mpjpeg",
    "rtsp_transport": "tcp",  # over UDP single packets get lost
}


class Connection:
    """One connection to an address.

    Parameters
    ----------
    address : URL of the stream.

    Attributes
    ----------
    frames : decoded frames in order; raises ``av.FFmpegError`` when the connection is lost.
    step : seconds between frames at the nominal rate.
    motion_jpeg : whether it is a camera that sends one JPEG after the other.
    bytes : size of the file there; None where the server doesn't say.

    Raises
    ------
    MediaError
        If it can't be reached, or has no pictures. The address in it has no password.
    """

    def __init__(self, address: str) -> None:
        import av

        name = one_line(redact_url(address))
        try:
            self._container = av.open(
                address, container_options=_OPTIONS, metadata_errors="replace", timeout=(TIMEOUT, TIMEOUT)
            )
        except (av.FFmpegError, ValueError, OSError) as error:
            detail = one_line(getattr(error, "strerror", None) or type(error).__name__)
            remedy = "Check the address, its user and password, and that the camera or server is there."
            # Not chained: the cause holds the address with its password.
            raise MediaError(f'"{name}" can\'t be opened ({detail}).', remedy) from None
        try:
            self._stream = video_stream_of(self._container, name)
        except MediaError:
            self.close()
            raise
        self._stream.codec_context.options = STRICT
        self.frames: Iterator[DecodedFrame] = decode_frames(self._container, self._stream)
        self.step = 1 / float(self._stream.average_rate or self._stream.guessed_rate or 25)
        self.motion_jpeg = self._container.format.name == "mpjpeg"
        self.bytes = self._container.size if self._container.size > 0 else None

    def duration(self, zero: float) -> float | None:
        """Return the announced seconds of the pictures; None where unknown, or where sound may be longer."""
        duration, exact = announced_duration(self._container, self._stream, zero)
        return duration if exact else None

    def go_to(self, stamp: float) -> bool:
        """Seek to a timestamp in seconds, or before; False: that failed and the connection is unusable."""
        from av import FFmpegError

        try:
            self._container.seek(math.floor(stamp / float(self._stream.time_base or 1)), stream=self._stream)
            first = next(self.frames, None)
        except FFmpegError:
            return False
        if first is None or first.stamp is None or first.stamp > stamp:
            return False
        self.frames = itertools.chain([first], self.frames)
        return True

    def close(self) -> None:
        """Close it."""
        self._container.close()


MAX_FRUITLESS_RECONNECTS = 3
"""Reconnects to a file that bring no new frame before it is taken to end there."""

MAX_PENDING_LOST = 1000
"""Damaged frames that are remembered until the next intact one."""


@dataclass(frozen=True)
class RawFrame:
    """An intact frame, not yet converted to RGB; the fields are those of ``Frame``."""

    index: int
    time: float
    picture: VideoFrame
    cut: bool
    jump: float = 0.0


class StreamReceiver:
    """Frames of an address, over all connections to it.

    Parameters
    ----------
    address : URL of the stream.
    give_up : seconds for which a lost connection is retried.

    Attributes
    ----------
    live : whether frames come in real time; else it is a file, which is resumed where it broke off.
    duration : seconds as announced; None where it isn't.
    stop : ends the waiting between attempts when set.
    over : whether it has ended.

    Raises
    ------
    MediaError
        If it can't be reached, or gives no frame.
    """

    def __init__(self, address: str, give_up: float) -> None:
        http = scheme_of(address) in ("http", "https")
        self.stop = Event()
        self.past_end = False
        self._address = address
        self._give_up = give_up
        self._backoff = Backoff(give_up)
        self._damage = DamageLog()
        self._breaks: list[float] = []  # when the connection was lost
        self._gave_up = ""
        self._fruitless = 0
        self._index = -1
        self._end = 0.0  # of the last intact frame, in seconds
        self._stamp: float | None = None  # its timestamp
        self._seen: float | None = None  # frames up to this timestamp were received before
        self._size: tuple[int, int] | None = None
        self._lost: list[float] = []  # times of frames that were lost since
        self._cut = False
        self._arrived = clocks.monotonic()
        self._connection: Connection | None = Connection(address)
        self.live = not http or self._connection.motion_jpeg
        self._arrival_times = self._connection.motion_jpeg
        self._step = self._connection.step
        self._clock = MonotonicClock(self._step, leap=MAX_TIMESTAMP_LEAP)
        self._held: RawFrame | None = self._first(self._connection)
        self.duration = self._connection.duration(self._stamp or 0.0)
        self._finite = not self.live and (self._connection.bytes or self.duration) is not None

    @property
    def first(self) -> RawFrame:
        """The first frame; only before any is taken."""
        assert self._held is not None
        return self._held

    def raw_frames(self) -> Iterator[RawFrame]:
        """Yield frames until it is over or ``stop`` is set; a further call continues."""
        from av import FFmpegError

        if self._held is not None:
            held, self._held = self._held, None
            yield held
        while not (self.past_end or self.stop.is_set()):
            connection = self._connection or self._reconnect()
            if connection is None:
                continue
            clean = True
            try:
                for frame in connection.frames:
                    raw_frame = self._number_frame(frame)
                    if raw_frame is not None:
                        yield raw_frame
            except FFmpegError:
                clean = False
            self.disconnect()
            self.past_end = self._at_end(clean)

    def push_back(self, raw_frame: RawFrame) -> None:
        """Let the next call of ``raw_frames`` begin with this one."""
        self._held = raw_frame

    def disconnect(self) -> None:
        """Close the connection; ``raw_frames`` makes another one when it is called again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def notes(self) -> list[str]:
        """Lost connections, wrong clocks and damage so far."""
        notes = [*self._damage.notes(), *self._clock.notes()]
        if self._breaks:
            times = "once," if len(self._breaks) == 1 else f"{len(self._breaks)} times, first"
            notes.append(f"the connection was lost {times} at {self._breaks[0]:.1f} s")
        return notes + [self._gave_up] * bool(self._gave_up)

    def lost_seconds(self) -> float:
        """Seconds that were lost so far, and of a file those after an early end."""
        return self._damage.lost_seconds(self._step)

    def _first(self, connection: Connection) -> RawFrame:
        from av import FFmpegError

        with contextlib.suppress(FFmpegError):
            for frame in connection.frames:
                raw_frame = self._number_frame(frame)
                if raw_frame is not None:
                    return raw_frame
        connection.close()
        name = one_line(redact_url(self._address))
        raise MediaError(f'"{name}" gives no frame that can be decoded.', "Check what is sent there.")

    def _number_frame(self, frame: DecodedFrame) -> RawFrame | None:
        """Number and time a frame; None where it is damaged, or was received before the reconnect."""
        if self._seen is not None and frame.stamp is not None and frame.stamp <= self._seen + self._step / 4:
            return None
        if frame.picture is None:
            self._lost.append(self._clock.about(frame.stamp))
            if len(self._lost) == MAX_PENDING_LOST:
                self._count_lost()
            return None
        self._count_lost()
        now = clocks.monotonic()
        # Motion JPEG says no times: what comes as its stamp supposes 25 frames a second.
        stamp = now if self._arrival_times else frame.stamp
        time = self._clock.time(stamp, waited=now - self._arrived)
        size = (frame.picture.height, frame.picture.width)
        cut = self._cut or self._size not in (None, size) or bool(self._clock.jump)
        self._index += 1
        self._end = time + (frame.span or self._step)
        self._stamp, self._size, self._arrived, self._cut = frame.stamp, size, now, False
        self._fruitless = 0
        self._backoff.succeeded()
        return RawFrame(self._index, time, frame.picture, cut, self._clock.jump)

    def _count_lost(self) -> None:
        for lost_time in self._lost:
            self._index += 1
            self._damage.add_lost(self._index, lost_time)
            self._cut = True
        self._lost.clear()

    def _at_end(self, clean: bool) -> bool:
        """Whether a connection that ended, ``clean`` or by an error, had reached the end of the source."""
        if self.duration is not None and self.duration - self._end <= 2 * self._step + 0.1:
            return True
        if not self.live:
            if clean and self.duration is None:
                return True
            if self._fruitless == MAX_FRUITLESS_RECONNECTS:
                self._count_lost()
                self._damage.set_end(self._end, self.duration, 0.0)
                return True
            self._fruitless += 1
        if self._fruitless <= 1 and len(self._breaks) < MAX_PENDING_LOST:
            self._breaks.append(self._end)
        return False

    def _reconnect(self) -> Connection | None:
        """Wait, then try to connect again; None where that failed or it is time to give up or stop."""
        if not self._backoff.wait(self.stop):
            self.past_end = not self.stop.is_set()
            if self.past_end:
                self._gave_up = f"ended at {self._end:.1f} s: no connection for {self._give_up:g} s"
                if not self.live:
                    self._damage.set_end(self._end, self.duration, 0.0)
            return None
        try:
            connection = Connection(self._address)
            if self._finite and self._stamp is not None:
                self._seen = self._stamp
                # Tried once; where the server can't seek, the file is read from its beginning.
                if self._fruitless == 1 and not connection.go_to(self._stamp):
                    connection.close()
                    connection = Connection(self._address)
            else:
                self._clock.restart()
        except MediaError:
            return None
        self._lost.clear()  # those after the last intact frame
        self._cut = True
        self._connection = connection
        return connection
