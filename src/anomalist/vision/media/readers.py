"""Frame readers for video files: decord for fast random access, PyAV for everything else.

decord returns damaged frames without an error and repeats frames where some are missing, but its libav logs
errors. At the first logged error reading stops with ``DecordError`` before that frame, and PyAV takes over,
which detects damaged frames. Files that decord is known to decode differently from PyAV are left to PyAV.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anomalist.types.common import UInt8Array
from anomalist.vision.media.decoding import (
    DecodedFrame,
    MonotonicClock,
    TimestampIndex,
    VideoInfo,
    decode_frames,
    index_at,
    open_container,
    to_pixels,
)
from anomalist.vision.media.frames import DamageLog, Frame, FrameSampler

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream
    from decord import VideoReader


DECORD_CONTAINERS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi"})
DECORD_CODECS = frozenset({"h264", "hevc", "mpeg4", "vp9"})
DECORD_PIXEL_FORMATS = frozenset({"yuv420p", "yuvj420p", "gray"})
"""Containers, codecs and pixel formats that decord decodes exactly as PyAV does."""
DECORD_MAX_BYTES = 1 << 30  # decord reads the whole file before it gives the first frame

_AV_LOG_ERROR = 16  # AV_LOG_ERROR; more important is lower
_ERROR_PREFIXES = (
    b"concealing",  # error concealment
    b"Changing frame properties",  # to another size: its filters would scale such frames to the first one
)


class DecordError(Exception):
    """decord can't read the next frame, or not reliably."""


def decord_supports(facts: VideoInfo) -> bool:
    """Whether decord is installed and known to decode this kind of file exactly as PyAV does."""
    height, width = facts.coded_size
    return (
        facts.container in DECORD_CONTAINERS
        and facts.codec in DECORD_CODECS
        and facts.layout in DECORD_PIXEL_FORMATS
        and height % 2 == width % 2 == 0
        and facts.bytes <= DECORD_MAX_BYTES
        and _decord_log() is not None
    )


def read_with_decord(facts: VideoInfo, scan: TimestampIndex, selection: FrameSampler) -> Iterator[Frame]:
    """Yield the wanted frames, one at a time.

    Raises
    ------
    DecordError
        At the first error; the frames before are intact.
    """
    log = _decord_log()
    if log is None or not scan.whole:
        raise DecordError
    before = log.errors
    reader = _open_decord(facts, scan)
    try:
        for index in range(index_at(scan.times, selection.start), len(scan.times)):
            time = float(scan.times[index])
            if selection.past_end(time):
                return
            if not selection.wants(time):
                continue
            pixels = _decord_pixels(reader, index)
            if log.errors != before or pixels.shape != (*facts.size, 3):  # very narrow ones have 4
                raise DecordError
            yield selection.take(Frame(index, time, pixels))
    finally:
        del reader  # its threads and buffers go with it


def _open_decord(facts: VideoInfo, scan: TimestampIndex) -> VideoReader:
    """Return the reader; raise DecordError unless its frames have the timestamps of the scan."""
    import decord

    # Its own warnings go to the terminal whatever the level, and near a damaged end it tries for seconds.
    os.environ.setdefault("DECORD_DUPLICATE_WARNING_THRESHOLD", "1.0")
    os.environ.setdefault("DECORD_EOF_RETRY_MAX", "64")
    try:
        reader = decord.VideoReader(str(facts.path), num_threads=1)
        times = reader.get_frame_timestamp(range(len(reader)))[:, 0].astype(np.float64)
    except Exception as error:  # decord raises errors of all kinds
        raise DecordError from error
    if len(times) != len(scan.times) or np.abs(times - times[0] - scan.times).max() > 0.5 / facts.rate:
        raise DecordError
    return reader


def _decord_pixels(reader: VideoReader, index: int) -> UInt8Array:
    try:
        pixels: UInt8Array = reader[index].asnumpy()
    except Exception as error:
        raise DecordError from error
    return pixels


class _DecordLog:
    """Counts the errors that decord's own libav logs, for all readers together, and silences them."""

    def __init__(self, library: Path) -> None:
        self.errors = 0
        avutil = ctypes.CDLL(str(library))
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
        self._callback = kind(self._on_log_line)  # kept alive here
        avutil.av_log_set_callback(self._callback)
        atexit.register(avutil.av_log_set_callback, avutil.av_log_default_callback)

    def _on_log_line(self, _source: int, level: int, text: bytes, _values: int) -> None:
        if level <= _AV_LOG_ERROR or text.startswith(_ERROR_PREFIXES):
            self.errors += 1


@functools.cache
def _decord_log() -> _DecordLog | None:
    """Return the log of decord's libav; None where decord is missing or another build."""
    try:
        import decord
    except (ImportError, OSError):
        return None
    libraries = sorted((Path(decord.__file__).parent.parent / "decord.libs").glob("libavutil-*.so*"))
    if len(libraries) != 1:
        return None
    decord.logging.set_level(decord.logging.QUIET)
    return _DecordLog(libraries[0])


SEEK_LEADS = (0.0, 10.0, 60.0)
"""Seconds before the start to seek to, in turn, when seeking landed after it; then all is read."""


def read_with_pyav(
    facts: VideoInfo,
    scan: TimestampIndex | None,
    selection: FrameSampler,
    damage: DamageLog,
    clock: MonotonicClock,
) -> Iterator[Frame]:
    """Yield the wanted frames; note in ``damage`` what is lost and where the file ends too early.

    Parameters
    ----------
    scan : lets reading begin near the first wanted frame; None decodes all from the beginning.
    clock : a new one.
    """
    from av import FFmpegError

    times = scan.times if scan and scan.seekable else None
    index = -1
    intact: int | None = None  # the last intact frame
    broken = False  # whether something was lost after it
    end = 0.0
    size: tuple[int, int] | None = None
    try:
        for frame in _decode_from(facts, scan, selection.reached):
            time = clock.about(frame.stamp) if frame.picture is None else clock.time(frame.stamp)
            index = index + 1 if times is None else index_at(times, time)
            if selection.past_end(time):
                return
            end = max(end, time + (frame.span or 1 / facts.rate))
            if frame.picture is None:
                damage.add_lost(index, time)
                selection.break_off(time)
                broken = True
                continue
            if broken and times is not None:
                damage.add_lost_between(intact, index, times)
            broken, intact = False, index
            before, size = size, (frame.picture.height, frame.picture.width)
            if before not in (None, size):
                selection.break_off(time)
            if selection.wants(time):
                yield selection.take(Frame(index, time, to_pixels(frame.picture, facts.name)))
    except FFmpegError:
        pass  # the file breaks off here; where that is too early, it is noted
    if broken and times is not None:
        damage.add_lost_between(intact, len(times), times)
    damage.set_end(end, facts.duration if facts.exact else None, 2 / facts.rate + 0.1)


def _decode_from(facts: VideoInfo, scan: TimestampIndex | None, start: float) -> Iterator[DecodedFrame]:
    """Decode from the last key frame at or before the start; from the beginning where none is found."""
    from av import FFmpegError

    seekable = start > 0 and scan is not None and scan.seekable
    for lead in (*SEEK_LEADS, math.inf) if seekable else (math.inf,):
        with open_container(facts.path, facts.name, strict=facts.strict) as (container, stream):
            frames = decode_frames(container, stream)
            if start > lead:
                try:
                    _seek(container, stream, facts.zero + start - lead)
                    first = next(frames, None)
                except FFmpegError:
                    continue
                if first is None or first.stamp is None or first.stamp - facts.zero > start + 1e-6:
                    continue
                yield first
            yield from frames
            return


def _seek(container: InputContainer, stream: VideoStream, stamp: float) -> None:
    container.seek(math.floor(stamp / float(stream.time_base or 1)), stream=stream)
