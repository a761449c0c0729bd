"""Frames from an address, from one connection after the other, with one numbering and one clock."""

from __future__ import annotations

import contextlib
import time as clocks
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING

from anomalist.errors import MediaError
from anomalist.vision.media import shown
from anomalist.vision.video.addresses import scheme_of, without_secrets
from anomalist.vision.video.clock import Clock
from anomalist.vision.video.connecting import Connection
from anomalist.vision.video.damage import Damage
from anomalist.vision.video.decoding import Decoded
from anomalist.vision.video.patience import Patience

if TYPE_CHECKING:
    from av import VideoFrame

LEAP = 10.0
"""Seconds that a timestamp may run ahead of the one before and of the time waited for it."""

MOST_FRUITLESS = 3
"""Reconnects to a file that bring no new frame before it is taken to end there."""

MOST_LOST = 1000


@dataclass(frozen=True)
class Shot:
    """A sound frame, not yet converted; the fields are those of ``Frame``."""

    index: int
    time: float
    picture: VideoFrame
    cut: bool


class Receiver:
    """What an address gives, over all connections to it.

    Parameters
    ----------
    address : where it is.
    give_up : seconds for which it is tried again when it broke off.

    Attributes
    ----------
    live : whether frames come as they are filmed; else it is a file, which goes on where it broke off.
    duration : seconds as announced; None where it isn't.
    stop : ends the waiting between attempts when set.
    over : whether nothing more will come.

    Raises
    ------
    MediaError
        If it can't be reached, or gives no frame.
    """

    def __init__(self, address: str, give_up: float) -> None:
        http = scheme_of(address) in ("http", "https")
        self.stop = Event()
        self.over = False
        self._address = address
        self._give_up = give_up
        self._patience = Patience(give_up)
        self._damage = Damage()
        self._breaks: list[float] = []  # when the connection was lost
        self._gave_up = ""
        self._fruitless = 0
        self._index = -1
        self._end = 0.0  # of the last sound frame, in seconds
        self._stamp: float | None = None  # its timestamp
        self._seen: float | None = None  # what comes up to this timestamp was there before
        self._size: tuple[int, int] | None = None
        self._lost: list[float] = []  # times of frames that were lost since
        self._cut = False
        self._arrived = clocks.monotonic()
        self._connection: Connection | None = Connection(address)
        self.live = not http or self._connection.motion_jpeg
        self._step = self._connection.step
        self._clock = Clock(self._step, leap=LEAP)
        self._held: Shot | None = self._first(self._connection)
        self.duration = self._connection.duration(self._stamp or 0.0)
        self._finite = not self.live and (self._connection.bytes or self.duration) is not None

    @property
    def first(self) -> Shot:
        """The first frame; only before any is taken."""
        assert self._held is not None
        return self._held

    def shots(self) -> Iterator[Shot]:
        """Yield what comes, until it is over or ``stop`` is set; can be called again to go on."""
        from av import FFmpegError

        if self._held is not None:
            held, self._held = self._held, None
            yield held
        while not (self.over or self.stop.is_set()):
            connection = self._connection or self._reconnected()
            if connection is None:
                continue
            clean = True
            try:
                for frame in connection.frames:
                    shot = self._placed(frame)
                    if shot is not None:
                        yield shot
            except FFmpegError:
                clean = False
            self.disconnect()
            self.over = self._finished(clean)

    def give_back(self, shot: Shot) -> None:
        """Let ``shots`` begin with this one when it is called again."""
        self._held = shot

    def disconnect(self) -> None:
        """Close the connection; ``shots`` makes another one when it is called again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def notes(self) -> list[str]:
        """Return what happened so far."""
        notes = [*self._damage.notes(), *self._clock.notes()]
        if self._breaks:
            times = "once," if len(self._breaks) == 1 else f"{len(self._breaks)} times, first"
            notes.append(f"the connection was lost {times} at {self._breaks[0]:.1f} s")
        return notes + [self._gave_up] * bool(self._gave_up)

    def _first(self, connection: Connection) -> Shot:
        from av import FFmpegError

        with contextlib.suppress(FFmpegError):
            for frame in connection.frames:
                shot = self._placed(frame)
                if shot is not None:
                    return shot
        connection.close()
        name = shown(without_secrets(self._address))
        raise MediaError(f'"{name}" gives no frame that can be decoded.', "Check what is sent there.")

    def _placed(self, frame: Decoded) -> Shot | None:
        """Give a frame its number and time; None where it is lost, or was there before a break."""
        if self._seen is not None and frame.stamp is not None and frame.stamp <= self._seen + self._step / 4:
            return None
        if frame.picture is None:
            self._lost.append(self._clock.about(frame.stamp))
            if len(self._lost) == MOST_LOST:
                self._count_lost()
            return None
        self._count_lost()
        now = clocks.monotonic()
        time = self._clock.time(frame.stamp, waited=now - self._arrived)
        size = (frame.picture.height, frame.picture.width)
        cut = self._cut or self._size not in (None, size)
        self._index += 1
        self._end = time + (frame.span or self._step)
        self._stamp, self._size, self._arrived, self._cut = frame.stamp, size, now, False
        self._fruitless = 0
        self._patience.succeeded()
        return Shot(self._index, time, frame.picture, cut)

    def _count_lost(self) -> None:
        for time in self._lost:
            self._index += 1
            self._damage.lost(self._index, time)
            self._cut = True
        self._lost.clear()

    def _finished(self, clean: bool) -> bool:
        """Say whether a connection that ended, ``clean`` or by an error, was at the end of what there is."""
        if self.duration is not None and self.duration - self._end <= 2 * self._step + 0.1:
            return True
        if not self.live:
            if clean and self.duration is None:
                return True
            if self._fruitless == MOST_FRUITLESS:
                self._count_lost()
                self._damage.ended(self._end, self.duration, 0.0)
                return True
            self._fruitless += 1
        if self._fruitless <= 1 and len(self._breaks) < MOST_LOST:
            self._breaks.append(self._end)
        return False

    def _reconnected(self) -> Connection | None:
        """Wait, then try to connect again; None where that failed or it is time to give up or stop."""
        if not self._patience.wait(self.stop):
            self.over = not self.stop.is_set()
            if self.over:
                self._gave_up = f"ended at {self._end:.1f} s: no connection for {self._give_up:g} s"
            return None
        try:
            connection = Connection(self._address)
            if self._finite and self._stamp is not None:
                self._seen = self._stamp
                # Tried once; where the server can't do it, the file is read from its beginning.
                if self._fruitless == 1 and not connection.go_to(self._stamp):
                    connection.close()
                    connection = Connection(self._address)
            else:
                self._clock.restart()
        except MediaError:
            return None
        self._lost.clear()  # on what came after the last sound frame
        self._cut = True
        self._connection = connection
        return connection
