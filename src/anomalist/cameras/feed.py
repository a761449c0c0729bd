"""Reception of one camera in a thread of its own: tried again for ever, a few frames ahead at most."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition, Event, Thread

from anomalist.errors import AnomalistError
from anomalist.vision.media.frames import Frame, Video
from anomalist.vision.media.sources import is_url
from anomalist.vision.media.stream_receiver import Backoff
from anomalist.vision.media.streams import StreamedVideo, overtaking
from anomalist.vision.media.video import open_video
from anomalist.vision.motion.pacing import ANALYSIS_RATE

MAX_HELD = 4
"""Items that wait to be taken. A file waits with the next; of a live stream the oldest frames are dropped."""

MAX_AGE = 0.3
"""Seconds after which a frame of a live stream is dropped, where a newer one waits.

Where scoring can't keep up, frames are dropped in any case: a queue that stands full would only make all
alerts late by its length.
"""


@dataclass(frozen=True)
class Opened:
    """The camera is there.

    Parameters
    ----------
    size : (height, width) of its frames.
    live : whether frames come as they are filmed; else it is a file.
    """

    size: tuple[int, int]
    live: bool


@dataclass(frozen=True)
class Lost:
    """The camera is not there, and is tried again."""

    why: str


@dataclass(frozen=True)
class Ended:
    """It came to its end: a file, or something that is not there and no camera.

    ``why`` says what is wrong, if anything is.
    """

    why: str | None
    notes: tuple[str, ...] = ()


FeedItem = Opened | Frame | Lost | Ended


class CameraFeed:
    """Receives one camera.

    Parameters
    ----------
    source : address or path.
    check : raises an AnomalistError for a video that can't be followed.
    changed : notified when an item came; its lock guards ``held``.

    Attributes
    ----------
    held : when each item came that waits, by the monotonic clock, and the item; in their order.
    heard : when the last one came, by the monotonic clock.
    """

    def __init__(self, source: str, check: Callable[[Video], None], changed: Condition) -> None:
        self._source = source
        self._check = check
        self._changed = changed
        self._stop = Event()
        self._video: Video | None = None
        self._passed_over = 0
        self._thread = Thread(target=self._run, name="camera", daemon=True)
        self._live = False
        self.held: deque[tuple[float, FeedItem]] = deque()
        self.heard = time.monotonic()

    @property
    def passed_over(self) -> int:
        """Frames passed over because scoring was slower than the stream."""
        video = self._video
        return self._passed_over + (video.dropped if isinstance(video, StreamedVideo) else 0)

    def take(self) -> FeedItem:
        """The next item, while the lock is held and there is one."""
        while self._live and time.monotonic() - self.held[0][0] > MAX_AGE and self._drop_first():
            pass
        _, item = self.held.popleft()
        return item

    def start(self) -> None:
        """Begin to receive."""
        self.heard = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Let the thread end, soon."""
        self._stop.set()
        if isinstance(self._video, StreamedVideo):
            self._video.close()
        with self._changed:
            self._changed.notify_all()

    def join(self, seconds: float) -> None:
        """Wait for the end of the thread for so many seconds at most."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        backoff = Backoff(math.inf)
        while not self._stop.is_set():
            item = self._receive(backoff)
            self._put(item)
            if isinstance(item, Ended) or not backoff.wait(self._stop):
                return

    def _receive(self, backoff: Backoff) -> Lost | Ended:
        """Receive until it breaks off, and say why it did."""
        again = is_url(self._source)
        try:
            video = self._video = open_video(self._source)
            self._check(video)
            live = isinstance(video, StreamedVideo) and video.live
            with self._changed:
                self._live = live
            self._put(Opened(video.size, live))
            for frame in video.frames(rate=ANALYSIS_RATE):
                backoff.succeeded()
                again = live
                if not self._put(frame):
                    break
            why = None
        except AnomalistError as error:
            why = str(error)
        except Exception as error:  # the other cameras go on; its text may hold the password
            why = f"It failed unexpectedly ({type(error).__name__})."
        self._passed_over, ended = self.passed_over, self._video
        self._video = None
        if not again:
            return Ended(why, () if ended is None else ended.notes)
        return Lost(why or "The stream broke off.")

    def _put(self, item: FeedItem) -> bool:
        """Hold an item, once there is room; False when it is to stop."""
        with self._changed:
            if not (self._live and len(self.held) >= MAX_HELD and self._drop_first()):
                self._changed.wait_for(lambda: len(self.held) < MAX_HELD or self._stop.is_set())
            self.heard = time.monotonic()
            self.held.append((self.heard, item))
            self._changed.notify_all()
        return not self._stop.is_set()

    def _drop_first(self) -> bool:
        """Drop the oldest frame; False where it is none, or none comes after it."""
        if len(self.held) < 2:
            return False
        (_, dropped), (came, frame) = self.held[0], self.held[1]
        if not (isinstance(dropped, Frame) and isinstance(frame, Frame)):
            return False
        self.held.popleft()
        self.held[0] = came, overtaking(dropped, frame)
        self._passed_over += 1
        return True
