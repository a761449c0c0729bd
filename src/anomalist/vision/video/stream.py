"""A stream as a video: it can die and come back, change its size and have a wrong clock."""

from __future__ import annotations

from collections.abc import Iterator

from anomalist.vision.video.addresses import without_secrets
from anomalist.vision.video.decoding import to_pixels
from anomalist.vision.video.frames import Frame
from anomalist.vision.video.latest import latest
from anomalist.vision.video.receiving import Receiver
from anomalist.vision.video.selection import Selection


class StreamedVideo:
    """Frames from an address (see ``Video``); it goes only onwards, by one reader at a time.

    Live streams (RTSP, RTMP, RTP, UDP, motion JPEG over HTTP) are received in a thread, and a reader that is
    too slow loses the oldest of a few waiting frames. Anything else over HTTP is taken to be a file: it is
    read at the reader's pace, and where the connection dies reading goes on at the same place.

    Parameters
    ----------
    address : where it is. Its password appears neither in ``source`` nor in notes and errors.
    give_up : seconds for which a stream that broke off is tried again, with growing waits. Then the frames
        end, with a note.

    Raises
    ------
    MediaError
        If it can't be reached at first, or gives no frame.
    """

    def __init__(self, address: str, *, give_up: float = 60.0) -> None:
        self._receiver = Receiver(address, give_up)
        self._source = without_secrets(address)
        height, width, _ = to_pixels(self._receiver.first.picture, self._source).shape
        self._size = (height, width)
        self._passed_over = 0

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
    def notes(self) -> tuple[str, ...]:
        """What happened so far: lost connections, wrong clocks, damage, frames passed over."""
        notes = self._receiver.notes()
        if self._passed_over:
            notes.append(f"{self._passed_over} frames passed over because reading was slower than the stream")
        return tuple(notes)

    def frames(
        self, start: float = 0.0, stop: float | None = None, rate: float | None = None
    ) -> Iterator[Frame]:
        """Yield the frames from here on with start ≤ time < stop (see ``Video``).

        Called again, it goes on with what comes then; what a live stream showed in between is lost.

        Raises
        ------
        MediaError
            If frames become too large.
        """
        return self._frames(Selection(start, stop, rate))

    def _frames(self, selection: Selection) -> Iterator[Frame]:
        receiver = self._receiver
        receiver.stop.clear()
        frames = self._selected(selection)
        if not receiver.live:
            yield from frames
            return
        try:
            yield from latest(frames, receiver.stop, self._pass_over)
        finally:
            receiver.disconnect()

    def _selected(self, selection: Selection) -> Iterator[Frame]:
        for shot in self._receiver.shots():
            if selection.over(shot.time):
                self._receiver.give_back(shot)
                return
            if selection.wants(shot.time):
                pixels = to_pixels(shot.picture, self._source)
                yield selection.take(Frame(shot.index, shot.time, pixels, shot.cut))
            elif shot.cut:
                selection.break_off(shot.time)

    def _pass_over(self) -> None:
        self._passed_over += 1
