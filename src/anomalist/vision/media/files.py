"""Video files and folders of numbered frames as `Video`, with SHA-256, duration and notes on damage.

decord is fast to seek, but returns damaged frames without an error and repeats frames where some are missing;
its libav logs errors. At the first logged error, reading stops with ``DecordError`` before that frame, and
PyAV takes over, which detects damaged frames. Files that decord is known to decode differently from PyAV are
left to PyAV.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import hashlib
import math
import os
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anomalist.errors import MediaError
from anomalist.storage.files import file_sha256
from anomalist.storage.places import here
from anomalist.types.common import UInt8Array
from anomalist.types.image import Media
from anomalist.vision.media.decoding import (
    MAX_TIMESTAMP_LEAP,
    DecodedFrame,
    MonotonicClock,
    TimestampIndex,
    VideoInfo,
    decode_frames,
    index_at,
    index_timestamps,
    open_container,
    probe,
    to_pixels,
)
from anomalist.vision.media.frames import DamageLog, Frame, FrameSampler
from anomalist.vision.media.images import IMAGE_SUFFIXES, learn_scale, load_image, one_line, source_of

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
    jumped = False  # what a file announces counts the jumps of its clock
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
            if clock.jump or before not in (None, size):
                selection.break_off(time, clock.jump)
                jumped = jumped or bool(clock.jump)
            if selection.wants(time):
                yield selection.take(Frame(index, time, to_pixels(frame.picture, facts.name)))
    except FFmpegError:
        pass  # the file breaks off here; where that is too early, it is noted
    if broken and times is not None:
        damage.add_lost_between(intact, len(times), times)
    damage.set_end(end, facts.duration if facts.exact and not jumped else None, 2 / facts.rate + 0.1)


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


class VideoFile:
    """A video file (see ``Video``).

    Parameters
    ----------
    path : the file. Its kind is recognised by content, not by name.

    Raises
    ------
    MediaError
        If it can't be read, isn't a video, has no pictures or none that can be decoded, or is too large.
    """

    def __init__(self, path: str | Path) -> None:
        self._source = source_of(path)
        self._facts = probe(here(Path(path)))
        self._damage = DamageLog()
        self._clock_notes: list[str] = []
        self._decord = decord_supports(self._facts)

    @property
    def source(self) -> str:
        """The path as given."""
        return self._source

    @cached_property
    def sha256(self) -> str | None:
        """Hex digest of the file's bytes; computed when first asked for."""
        try:
            return file_sha256(self._facts.path)
        except OSError as error:
            raise MediaError(f'"{self._facts.name}" can\'t be read any more.', "Check the path.") from error

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the first frame in pixels, as displayed."""
        return self._facts.size

    @property
    def duration(self) -> float | None:
        """Seconds: as announced by the file, or up to the end that reading found."""
        return self._facts.duration if self._damage.end is None else self._damage.end

    @property
    def notes(self) -> tuple[str, ...]:
        """Damage that reading found so far, and repaired timestamps."""
        return (*self._damage.notes(), *self._clock_notes)

    @property
    def lost_seconds(self) -> float:
        """Seconds that reading found to be lost so far."""
        return self._damage.lost_seconds(1 / self._facts.rate)

    def frames(
        self, start: float = 0.0, stop: float | None = None, rate: float | None = None
    ) -> Iterator[Frame]:
        """Yield the frames with start ≤ time < stop (see ``Video``).

        Damaged frames are dropped with all that follow up to the next key frame, as those are predicted from
        them.
        """
        selection = FrameSampler(start, stop, rate)
        return self._frames(selection)

    def _frames(self, selection: FrameSampler) -> Iterator[Frame]:
        try:
            yield from self._decoded(selection)
        except FileNotFoundError as error:
            raise MediaError(f'"{self._facts.name}" is gone.', "It was there when it was opened.") from error

    def _decoded(self, selection: FrameSampler) -> Iterator[Frame]:
        if self._decord:
            try:
                yield from read_with_decord(self._facts, self._scan, selection)
                return
            except DecordError:
                self._decord = False
        small = self._facts.bytes <= DECORD_MAX_BYTES
        scan = self._scan if small or selection.reached > 0 else None
        clock = MonotonicClock(1 / self._facts.rate, self._facts.zero, MAX_TIMESTAMP_LEAP)
        try:
            yield from read_with_pyav(self._facts, scan, selection, self._damage, clock)
        finally:
            self._clock_notes = self._clock_notes or clock.notes()

    @cached_property
    def _scan(self) -> TimestampIndex:
        return index_timestamps(self._facts)


SCALE_SAMPLES = 32
"""Pictures of a folder at most, that its scale of values of more than 8 bit is fitted to."""


class FrameFolder:
    """The pictures directly in a folder, in the order of the numbers in their names (see ``Video``).

    A picture that can't be read is skipped and noted; the next one is marked as a cut, and so is one of
    another size than the one before. Values of more than 8 bit are scaled alike in every picture: a scale for
    each would flicker.

    Parameters
    ----------
    path : the folder.
    rate : pictures a second.

    Raises
    ------
    MediaError
        If the folder can't be listed, holds no pictures, or none that can be read.
    """

    def __init__(self, path: str | Path, rate: float = 10.0) -> None:
        if not rate > 0:
            raise ValueError(f"rate must be positive, got {rate}")
        self._source = source_of(path)
        self._rate = rate
        self._damage = DamageLog()
        self._pictures = frame_files(Path(path))
        name = one_line(path)
        if not self._pictures:
            remedy = "Name a video or a folder of frames."
            raise MediaError(f'The folder "{name}" holds no pictures.', remedy)
        self._scale = learn_scale(_evenly(self._pictures, SCALE_SAMPLES))
        first = next(filter(None, map(self._load, range(len(self._pictures)))), None)
        if first is None:
            raise MediaError(f'No picture in the folder "{name}" can be read.', "Copy or save them again.")
        self._size = first.size

    @property
    def source(self) -> str:
        """The path as given."""
        return self._source

    @cached_property
    def sha256(self) -> str | None:
        """Hex digest over the bytes of all pictures in order; computed when first asked for."""
        digest = hashlib.sha256()
        for picture in self._pictures:
            try:
                with picture.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
            except OSError:
                digest.update(b"unreadable")
        return digest.hexdigest()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the first picture that can be read, in pixels."""
        return self._size

    @property
    def duration(self) -> float | None:
        """Seconds: the number of pictures by the rate."""
        return len(self._pictures) / self._rate

    @property
    def notes(self) -> tuple[str, ...]:
        """The rate that was assumed, how values were scaled, and the pictures that could not be read."""
        notes = [f"{self._rate:g} pictures a second assumed"]
        if self._scale is not None:
            ends = f"{self._scale.start:g} to {self._scale.stop:g}"
            notes.append(f"values of more than 8 bit: {ends} scaled to 8 bit in every picture")
        return (*notes, *self._damage.notes())

    @property
    def lost_seconds(self) -> float:
        """Seconds of the pictures that could not be read so far."""
        return self._damage.lost_seconds(1 / self._rate)

    def frames(
        self, start: float = 0.0, stop: float | None = None, rate: float | None = None
    ) -> Iterator[Frame]:
        """Yield the pictures with start ≤ time < stop (see ``Video``); time is the number by the rate."""
        return self._frames(FrameSampler(start, stop, rate))

    def _frames(self, selection: FrameSampler) -> Iterator[Frame]:
        size: tuple[int, int] | None = None
        for index in range(math.floor(selection.start * self._rate), len(self._pictures)):
            time = index / self._rate
            if selection.past_end(time):
                return
            if not selection.wants(time):
                continue
            media = self._load(index)
            if media is None:
                selection.break_off(time)
                continue
            before, size = size, media.size
            if before not in (None, size):
                selection.break_off(time)
            yield selection.take(Frame(index, time, media.pixels))

    def _load(self, index: int) -> Media | None:
        """Return the picture with this number; None, and a note, where it can't be read."""
        try:
            return load_image(self._pictures[index], scale=self._scale)
        except MediaError:
            self._damage.add_lost(index, index / self._rate)
            return None


def _evenly(pictures: Sequence[Path], most: int) -> list[Path]:
    """Take pictures at even distances, the first and the last among them."""
    places = np.linspace(0, len(pictures) - 1, min(len(pictures), most)).round().astype(int)
    return [pictures[place] for place in places]


def frame_files(folder: Path) -> list[Path]:
    """List the pictures directly in a folder, 2 before 10; hidden files don't count.

    Raises
    ------
    MediaError
        If the folder can't be listed.
    """
    try:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise MediaError(
            f'The folder "{one_line(folder)}" can\'t be listed: {error.strerror}.', "Change its permissions."
        ) from error
    return sorted(
        (e for e in entries if e.suffix.lower() in IMAGE_SUFFIXES and not e.is_dir()), key=_natural_key
    )


def _natural_key(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sort key that compares runs of digits as numbers and the rest as text."""
    parts = re.findall(r"\d+|\D+", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name
