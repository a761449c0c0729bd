"""Video files and folders of numbered frames as `Video`, with SHA-256, duration and notes on damage."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from anomalist.errors import MediaError
from anomalist.storage.files import file_sha256
from anomalist.types.image import Media
from anomalist.vision.media import readers
from anomalist.vision.media.decoding import MonotonicClock, TimestampIndex, index_timestamps, probe
from anomalist.vision.media.frames import DamageLog, Frame, FrameSampler
from anomalist.vision.media.images import IMAGE_SUFFIXES, load_image, one_line, source_of


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
        self._facts = probe(Path(path))
        self._damage = DamageLog()
        self._clock_notes: list[str] = []
        self._decord = readers.decord_supports(self._facts)

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
                yield from readers.read_with_decord(self._facts, self._scan, selection)
                return
            except readers.DecordError:
                self._decord = False
        small = self._facts.bytes <= readers.DECORD_MAX_BYTES
        scan = self._scan if small or selection.reached > 0 else None
        clock = MonotonicClock(1 / self._facts.rate, self._facts.zero)
        try:
            yield from readers.read_with_pyav(self._facts, scan, selection, self._damage, clock)
        finally:
            self._clock_notes = self._clock_notes or clock.notes()

    @cached_property
    def _scan(self) -> TimestampIndex:
        return index_timestamps(self._facts)


class FrameFolder:
    """The pictures directly in a folder, in the order of the numbers in their names (see ``Video``).

    A picture that can't be read is skipped and noted; the next one is marked as a cut, and so is one of
    another size than the one before.

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
        """The rate that was assumed, and the pictures that could not be read so far."""
        return (f"{self._rate:g} pictures a second assumed", *self._damage.notes())

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
            return load_image(self._pictures[index])
        except MediaError:
            self._damage.add_lost(index, index / self._rate)
            return None


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
