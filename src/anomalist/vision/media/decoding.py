"""Video decoding by PyAV/libav: probing, strict decoding of intact frames, timestamps.

By default decoders conceal errors from neighbouring blocks, and all frames up to the next key frame inherit
that. With ``STRICT`` they return an error instead; after one, or after a frame marked corrupt, frames are
dropped until a key frame. Errors that decoders don't detect stay unnoticed: nearly all random damage in VP9
and AV1, much in HEVC, and about one case in ten in H.264. A scan of the packets gives the timestamps of all
frames without decoding. `MonotonicClock` repairs timestamps that are missing, jump back or leap ahead.
"""

from __future__ import annotations

import math
import re
import stat
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from anomalist.errors import MediaError
from anomalist.types.common import UInt8Array
from anomalist.vision.media.images import one_line

if TYPE_CHECKING:
    from av import FFmpegError, Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream


class MonotonicClock:
    """Turn the timestamps of a source into seconds since its first frame.

    A timestamp that jumps back, or further ahead than ``leap`` and the time waited for it, is wrong: the
    times go on at the nominal rate, or by the time waited, and later timestamps count from there.

    Parameters
    ----------
    step : seconds between frames at the nominal rate.
    zero : timestamp of the first frame in seconds; None takes the first one that comes.
    leap : seconds that a timestamp may be ahead of the one before.
    """

    def __init__(self, step: float, zero: float | None = None, leap: float = math.inf) -> None:
        self._step = step
        self._zero = zero
        self._leap = leap
        self._last: float | None = None
        self._restarted = False
        self._intervals: deque[float] = deque(maxlen=_INTERVALS)
        self._first = 0.0
        self._count = 0
        self.jump = 0.0
        """Seconds by which the last timestamp jumped, negative for back; 0 where it didn't."""

    def time(self, stamp: float | None, waited: float = 0.0) -> float:
        """Return the time of the next frame in seconds.

        Parameters
        ----------
        stamp : its timestamp in seconds; None where it has none.
        waited : seconds that passed between the arrival of the frame before and of this one, where frames
            arrive as they are filmed.
        """
        last = self._last
        self.jump = 0.0
        if stamp is None or self._zero is None or self._restarted:
            time = 0.0 if last is None else last + max(self._step, waited if self._restarted else 0.0)
            self._zero = self._zero if stamp is None else stamp - time
        else:
            time = self._checked(stamp, last, waited)
        self._last = time
        self._restarted = self._restarted and stamp is None
        return time

    def about(self, stamp: float | None) -> float:
        """Return the time of a lost frame, which may be out of order; the clock does not advance."""
        if stamp is None or self._zero is None or self._restarted:
            return 0.0 if self._last is None else self._last + self._step
        return max(stamp - self._zero, 0.0)

    def restart(self) -> None:
        """Take the next timestamp as the start of another clock, after a reconnect."""
        self._restarted = True

    def notes(self) -> list[str]:
        """Describe the repaired timestamps in at most one line."""
        if not self._count:
            return []
        jumps = "once" if self._count == 1 else f"{self._count} times, first"
        return [f"wrong clock: timestamps jump {jumps} at {self._first:.1f} s; times go on from there"]

    def _checked(self, stamp: float, last: float | None, waited: float) -> float:
        assert self._zero is not None
        time = stamp - self._zero
        if last is None:
            return max(time, 0.0)
        if last < time <= last + self._longest(waited):
            self._intervals.append(time - last)
            return time
        if abs(time - last) < self._step / 2:  # rounded to the same moment
            return last + self._step / 100
        self.jump = time - last
        if self.jump > WRAP_SECONDS / 2:  # a decoder takes a clock that began again for one that wrapped
            self.jump -= WRAP_SECONDS
        time = last + max(self._typical, min(waited, self._leap))
        self._first = self._first if self._count else time
        self._count += 1
        self._zero = stamp - time
        return time

    @property
    def _typical(self) -> float:
        """Seconds between frames: the median of the last ones, at first the nominal rate."""
        return median(self._intervals) if self._intervals else self._step

    def _longest(self, waited: float) -> float:
        """Seconds after which the next frame may follow; a slow camera may take long for every one."""
        return max(self._leap, _LEAP_INTERVALS * self._typical) + waited


MAX_TIMESTAMP_LEAP = 10.0
"""Seconds that a timestamp may be ahead of the one before it, where frames come often."""
WRAP_SECONDS = 2**33 / 90_000
"""Seconds after which the clock of a transport stream wraps."""
_LEAP_INTERVALS = 10  # usual intervals that a timestamp may be ahead, where frames come seldom
_INTERVALS = 9  # whose median is the usual one

MAX_FRAME_PIXELS = 64_000_000
"""Pixels of a frame at most."""

STRICT = {"err_detect": "explode+crccheck"}
"""Decoder options that make libav return an error for damaged data instead of concealing it."""


@dataclass(frozen=True)
class DecodedFrame:
    """Result of decoding one frame.

    Parameters
    ----------
    stamp : its timestamp in seconds as the container has it, None where it has none.
    span : seconds that it is shown; 0 where unknown.
    picture : the frame, None where it is damaged.
    """

    stamp: float | None
    span: float
    picture: VideoFrame | None


def video_stream_of(container: InputContainer, name: str) -> VideoStream:
    """Return the first video stream, set to one decoding thread.

    Raises
    ------
    MediaError
        If there is none (sound only), its codec is unknown, or its frames are too large.
    """
    from av.stream import Disposition

    for stream in container.streams.video:
        if stream.disposition & Disposition.attached_pic:  # cover art
            continue
        context = stream.codec_context
        if context is None or not context.name:
            raise MediaError(f'The codec of "{name}" is unknown.', "Convert it to H.264.")
        check_frame_size(context.height, context.width, name)
        context.thread_count = 1
        return stream
    raise MediaError(f'"{name}" has no moving pictures (sound only?).', "Name a video.")


def check_frame_size(height: int, width: int, name: str) -> None:
    """Refuse more than ``MAX_FRAME_PIXELS``."""
    if height * width > MAX_FRAME_PIXELS:
        raise MediaError(
            f'"{name}" ({width}×{height}) has more than {MAX_FRAME_PIXELS / 1e6:g} million pixels a frame.',
            "Make it smaller.",
        )


def decode_frames(container: InputContainer, stream: VideoStream) -> Iterator[DecodedFrame]:
    """Decode the frames from the current position on, in display order.

    Raises
    ------
    av.FFmpegError
        If the container breaks off, after the frames that the decoder still holds.
    """
    from av import FFmpegError

    step = float(stream.time_base or 0)
    by_dts = container.format.name == "avi"  # which has no other timestamps
    refused: set[int | None] = set()  # timestamps of packets whose frame may still come out
    broken: float | None = None  # the last of them: frames are damaged up to the next key frame
    for packet, fault in _packets(container, stream):
        try:
            frames = stream.decode(packet)
        except FFmpegError:
            frames = []
            stamp = None if packet is None else packet.dts if by_dts else packet.pts
            broken = _later_timestamp(broken, stamp)
            refused.add(stamp)
            yield DecodedFrame(None if stamp is None else stamp * step, 0.0, None)
        for frame in frames:
            stamp = frame.dts if by_dts else frame.pts
            if frame.is_corrupt:
                broken = _later_timestamp(broken, stamp)
            elif broken is not None and frame.key_frame and _later_timestamp(broken, stamp) > broken:
                broken = None
                refused.clear()
            if stamp is not None and stamp in refused:
                continue  # counted when its packet was refused
            picture = frame if broken is None else None
            yield DecodedFrame(None if stamp is None else stamp * step, (frame.duration or 0) * step, picture)
        if fault is not None:
            raise fault


def _packets(
    container: InputContainer, stream: VideoStream
) -> Iterator[tuple[Packet[VideoStream] | None, FFmpegError | None]]:
    """Yield the packets; where the container breaks off, an empty one that flushes the decoder, and why."""
    from av import FFmpegError

    try:
        for packet in container.demux(stream):
            yield packet, None
    except FFmpegError as error:
        yield None, error


def _later_timestamp(broken: float | None, stamp: int | None) -> float:
    """Return the later of two timestamps; a missing one is taken to be just after the other."""
    if broken is None:
        return -math.inf if stamp is None else stamp
    return math.nextafter(broken, math.inf) if stamp is None else max(broken, stamp)


def to_pixels(picture: VideoFrame, name: str) -> UInt8Array:
    """Return the frame as displayed, uint8 (H, W, 3) RGB."""
    check_frame_size(picture.height, picture.width, name)
    pixels: UInt8Array = np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)
    turns = round(picture.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


# Playlists are left out: they would open other files and addresses.
ALLOWED_FORMATS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,h264,hevc,m4v,mjpeg,ivf,obu,gif,mxf,nut,"
    "rm,dv,yuv4mpegpipe,wtv,dhav"
)


@dataclass(frozen=True)
class VideoInfo:
    """Facts of a video file from its headers and first frame.

    Parameters
    ----------
    path : the file.
    name : of the file in messages.
    bytes : its size.
    container, codec, layout : libav's names ("matroska,webm", "h264", "yuv420p").
    size : (height, width) of the first frame in pixels, as displayed.
    coded_size : the same before the rotation.
    rate : frames a second at the nominal rate.
    zero : timestamp of the first frame in seconds.
    duration : seconds from the first frame to the end, as announced; None where it isn't.
    exact : whether that is the duration of the video stream, not of sound.
    strict : whether the decoder is set to ``STRICT``; False where it would refuse every frame.
    """

    path: Path
    name: str
    bytes: int
    container: str
    codec: str
    layout: str
    size: tuple[int, int]
    coded_size: tuple[int, int]
    rate: float
    zero: float
    duration: float | None
    exact: bool
    strict: bool


def probe(path: Path) -> VideoInfo:
    """Read the headers of a file and decode its first frame.

    Raises
    ------
    MediaError
        If it can't be read, isn't a video, has no pictures or none that can be decoded, or is too large.
    """
    from av import FFmpegError

    name = one_line(path)
    size = _file_size(path, name)
    try:
        facts = _probe_container(path, name, size, strict=True) or _probe_container(
            path, name, size, strict=False
        )
    except (FFmpegError, ValueError, OSError) as error:
        detail = one_line(getattr(error, "strerror", None) or str(error))
        raise MediaError(
            f'"{name}" is not a video, or is damaged or cut short before its first frame ({detail}).',
            "Copy or record it again, or convert it to MP4.",
        ) from error
    if facts is None:
        raise MediaError(f'No frame of "{name}" can be decoded.', "Copy or record it again.")
    return facts


@contextmanager
def open_container(path: Path, name: str, *, strict: bool) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file by PyAV and close it again; yields the container and its video stream."""
    import av

    options = {"protocol_whitelist": "file", "format_whitelist": ALLOWED_FORMATS}
    with av.open(f"file:{path}", container_options=options, metadata_errors="replace") as container:
        stream = video_stream_of(container, name)
        if strict:
            stream.codec_context.options = STRICT
        yield container, stream


def _probe_container(path: Path, name: str, size: int, *, strict: bool) -> VideoInfo | None:
    """Return the facts, or None where no frame can be decoded."""
    with open_container(path, name, strict=strict) as (container, stream):
        stamps = []
        for frame in decode_frames(container, stream):
            stamps.append(frame.stamp)
            if frame.picture is not None:
                break
        else:
            return None
        height, width, _ = to_pixels(frame.picture, name).shape
        zero = min((stamp for stamp in stamps if stamp is not None), default=0.0)
        duration, exact = announced_duration(container, stream, zero)
        return VideoInfo(
            path=path,
            name=name,
            bytes=size,
            container=container.format.name,
            codec=stream.codec_context.name,
            layout=frame.picture.format.name,
            size=(height, width),
            coded_size=(frame.picture.height, frame.picture.width),
            rate=float(stream.average_rate or stream.guessed_rate or 25),
            zero=zero,
            duration=duration,
            exact=exact,
            strict=strict,
        )


def announced_duration(
    container: InputContainer, stream: VideoStream, zero: float
) -> tuple[float | None, bool]:
    """Return the announced duration, and whether it is that of the video stream, not of sound.

    ``zero`` is the timestamp of the first frame; both in seconds. None where nothing is announced.
    """
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base), True
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)\d*", stream.metadata.get("DURATION", ""))
    if tag:  # Matroska; counts from 0, not from the first frame
        return max(3600 * int(tag[1]) + 60 * int(tag[2]) + float(tag[3]) - zero, 0.0), True
    if container.duration:
        offset = zero if container.format.name.startswith("matroska") else 0.0
        return max(container.duration / 1e6 - offset, 0.0), len(container.streams) == 1
    return None, False


def _file_size(path: Path, name: str) -> int:
    """Return the bytes of a regular file; refuse others without opening them, as a FIFO would block."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise MediaError(f'"{name}" is not a regular file.', "Name a video file.")
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        if path.is_symlink():
            target = one_line(path.readlink())
            raise MediaError(
                f'"{name}" is a link to "{target}", which does not exist.', "Mend or remove it."
            ) from error
        raise MediaError(f'There is no file "{name}".', "Check the path.") from error
    except PermissionError as error:
        raise MediaError(f'"{name}" may not be read.', "Change its permissions (chmod +r).") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        detail = getattr(error, "strerror", None) or str(error)
        raise MediaError(f'"{name}" can\'t be read: {one_line(detail)}.', "Check the path.") from error
    if not status.st_size:
        raise MediaError(f'"{name}" is empty (0 bytes).', "Copy or save it again.")
    return status.st_size


@dataclass(frozen=True, eq=False)
class TimestampIndex:
    """Timestamps of all frames, from the packets of a file.

    Parameters
    ----------
    times : float64 (N,), seconds since the first frame, in the order of display.
    seekable : whether they are complete and unique, so that a time identifies a frame.
    whole : whether, besides, no packet is missing or marked as damaged.
    """

    times: npt.NDArray[np.float64]
    seekable: bool
    whole: bool


def index_at(times: npt.NDArray[np.float64], time: float) -> int:
    """Return the index of the entry at a time, or of the first after it; times in seconds, ascending."""
    return min(bisect_left(times, time - 1e-6), len(times) - 1)


def index_timestamps(facts: VideoInfo) -> TimestampIndex:
    """Read all packets of a file (tens of thousands a second)."""
    from av import FFmpegError

    stamps: list[int] = []
    ordered = whole = True
    last: int | None = None
    with open_container(facts.path, facts.name, strict=facts.strict) as (container, stream):
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
    steps = np.diff(times)
    # After a jump a time no longer tells where a frame is; `MonotonicClock` reads on from the beginning.
    steady = not len(steps) or steps.max() <= max(MAX_TIMESTAMP_LEAP, _LEAP_INTERVALS * np.median(steps))
    seekable = ordered and steady and len(times) > 0 and bool(np.all(steps > 0))
    if seekable and facts.exact and facts.duration is not None:
        whole = whole and facts.duration - times[-1] < 3 / facts.rate + 0.1
    return TimestampIndex(times, seekable, seekable and whole)
