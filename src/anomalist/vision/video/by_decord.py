"""Frames of a file by decord, which is fast to reach any frame, as long as all is well.

decord gives damaged frames without a word and repeats frames where some are missing; its libav does complain,
to its log. So the log is watched: at the first complaint the pass stops with ``TroubleError`` before the
frame concerned, and PyAV takes over, which tells damaged frames from sound ones. What is known to come out
differently from what PyAV gives isn't read by decord at all.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anomalist.types import UInt8Array
from anomalist.vision.video.frames import Frame
from anomalist.vision.video.probing import Facts
from anomalist.vision.video.scanning import Scan, nearest
from anomalist.vision.video.selection import Selection

if TYPE_CHECKING:
    from decord import VideoReader

CONTAINERS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi"})
CODECS = frozenset({"h264", "hevc", "mpeg4", "vp9"})
LAYOUTS = frozenset({"yuv420p", "yuvj420p", "gray"})
MAX_BYTES = 1 << 30  # decord reads the whole file before it gives the first frame

_ERROR = 16  # AV_LOG_ERROR; more important is lower
_COMPLAINTS = (
    b"concealing",  # what was missing in a frame was made up
    b"Changing frame properties",  # to another size: its filters would scale such frames to the first one
)


class TroubleError(Exception):
    """The next frame can't be had from decord, or not safely."""


def suits(facts: Facts) -> bool:
    """Say whether decord is there and is known to read this kind of file exactly as PyAV does."""
    height, width = facts.coded_size
    return (
        facts.container in CONTAINERS
        and facts.codec in CODECS
        and facts.layout in LAYOUTS
        and height % 2 == width % 2 == 0
        and facts.bytes <= MAX_BYTES
        and _log() is not None
    )


def read(facts: Facts, scan: Scan, selection: Selection) -> Iterator[Frame]:
    """Yield the wanted frames, one at a time.

    Raises
    ------
    TroubleError
        Where anything is wrong; the frames before were sound.
    """
    log = _log()
    if log is None or not scan.whole:
        raise TroubleError
    before = log.complaints
    reader = _opened(facts, scan)
    try:
        for index in range(nearest(scan.times, selection.start), len(scan.times)):
            time = float(scan.times[index])
            if selection.over(time):
                return
            if not selection.wants(time):
                continue
            pixels = _pixels(reader, index)
            if log.complaints != before or pixels.shape != (*facts.size, 3):  # very narrow ones have 4
                raise TroubleError
            yield selection.take(Frame(index, time, pixels))
    finally:
        del reader  # its threads and buffers go with it


def _opened(facts: Facts, scan: Scan) -> VideoReader:
    """Return the reader; raise TroubleError unless it sees the same frames at the same times as the scan."""
    import decord

    # Its own warnings go to the terminal whatever the level, and near a damaged end it tries for seconds.
    os.environ.setdefault("DECORD_DUPLICATE_WARNING_THRESHOLD", "1.0")
    os.environ.setdefault("DECORD_EOF_RETRY_MAX", "64")
    try:
        reader = decord.VideoReader(str(facts.path), num_threads=1)
        times = reader.get_frame_timestamp(range(len(reader)))[:, 0].astype(np.float64)
    except Exception as error:  # decord raises whatever it stumbles over
        raise TroubleError from error
    if len(times) != len(scan.times) or np.abs(times - times[0] - scan.times).max() > 0.5 / facts.rate:
        raise TroubleError
    return reader


def _pixels(reader: VideoReader, index: int) -> UInt8Array:
    try:
        pixels: UInt8Array = reader[index].asnumpy()
    except Exception as error:
        raise TroubleError from error
    return pixels


class _Log:
    """Counts the complaints of decord's own libav, from all readers together; prints none of them."""

    def __init__(self, library: Path) -> None:
        self.complaints = 0
        avutil = ctypes.CDLL(str(library))
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
        self._callback = kind(self._hear)  # kept alive here
        avutil.av_log_set_callback(self._callback)
        atexit.register(avutil.av_log_set_callback, avutil.av_log_default_callback)

    def _hear(self, _source: int, level: int, text: bytes, _values: int) -> None:
        if level <= _ERROR or text.startswith(_COMPLAINTS):
            self.complaints += 1


@functools.cache
def _log() -> _Log | None:
    """Return the one listener to decord's log; None where decord isn't installed or isn't the known build."""
    try:
        import decord
    except (ImportError, OSError):
        return None
    libraries = sorted((Path(decord.__file__).parent.parent / "decord.libs").glob("libavutil-*.so*"))
    if len(libraries) != 1:
        return None
    decord.logging.set_level(decord.logging.QUIET)
    return _Log(libraries[0])
