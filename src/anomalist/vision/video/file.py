"""A video file: by decord where that is safe, by PyAV otherwise, with the same frames and times."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from anomalist.errors import MediaError
from anomalist.vision.media import source_of
from anomalist.vision.video import by_decord, by_pyav
from anomalist.vision.video.clock import Clock
from anomalist.vision.video.damage import Damage
from anomalist.vision.video.frames import Frame
from anomalist.vision.video.probing import probe
from anomalist.vision.video.scanning import Scan, scan
from anomalist.vision.video.selection import Selection


class VideoFile:
    """A file of moving pictures (see ``Video``).

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
        self._damage = Damage()
        self._clock_notes: list[str] = []
        self._decord = by_decord.suits(self._facts)

    @property
    def source(self) -> str:
        """The path as given."""
        return self._source

    @cached_property
    def sha256(self) -> str | None:
        """Hex digest of the file's bytes; computed when first asked for."""
        try:
            with self._facts.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise MediaError(f'"{self._facts.name}" can\'t be read any more.', "Check the path.") from error

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the first frame in pixels, as displayed."""
        return self._facts.size

    @property
    def duration(self) -> float | None:
        """Seconds: as the file announces, or up to where reading it found its end."""
        return self._facts.duration if self._damage.end is None else self._damage.end

    @property
    def notes(self) -> tuple[str, ...]:
        """What damage was met so far, and what is wrong with the timestamps."""
        return (*self._damage.notes(), *self._clock_notes)

    def frames(
        self, start: float = 0.0, stop: float | None = None, rate: float | None = None
    ) -> Iterator[Frame]:
        """Yield the frames with start ≤ time < stop (see ``Video``).

        Damaged frames are passed over, with all that follow up to the next key frame, because each builds on
        the one before.
        """
        selection = Selection(start, stop, rate)
        return self._frames(selection)

    def _frames(self, selection: Selection) -> Iterator[Frame]:
        try:
            yield from self._decoded(selection)
        except FileNotFoundError as error:
            raise MediaError(f'"{self._facts.name}" is gone.', "It was there when it was opened.") from error

    def _decoded(self, selection: Selection) -> Iterator[Frame]:
        if self._decord:
            try:
                yield from by_decord.read(self._facts, self._scan, selection)
                return
            except by_decord.TroubleError:
                self._decord = False
        small = self._facts.bytes <= by_decord.MAX_BYTES
        scan = self._scan if small or selection.reached > 0 else None
        clock = Clock(1 / self._facts.rate, self._facts.zero)
        try:
            yield from by_pyav.read(self._facts, scan, selection, self._damage, clock)
        finally:
            self._clock_notes = self._clock_notes or clock.notes()

    @cached_property
    def _scan(self) -> Scan:
        return scan(self._facts)
