"""The newest frames of a live stream, for a reader that may be slower than it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from threading import Condition, Event, Thread

from anomalist.vision.video.frames import Frame

MOST = 4


def latest(frames: Iterator[Frame], stop: Event, passed_over: Callable[[], None]) -> Iterator[Frame]:
    """Take frames in a thread as they come and yield them; when more than ``MOST`` wait, drop the oldest.

    Parameters
    ----------
    frames : what comes; it is read and closed in the thread.
    stop : set when the reader is done, so that ``frames`` can end its waiting.
    passed_over : called in the thread for each frame that is dropped. If it was a cut, the next one is.
    """
    held: deque[Frame] = deque()
    ready = Condition()
    ended = Event()
    errors: list[Exception] = []

    def fill() -> None:
        try:
            for frame in frames:
                with ready:
                    if len(held) == MOST:
                        passed_over()
                        held[1] = replace(held[1], cut=held[0].cut or held[1].cut)
                        held.popleft()
                    held.append(frame)
                    ready.notify()
                if stop.is_set():
                    return
        except Exception as error:  # raised again where the frames are read
            errors.append(error)
        finally:
            with ready:
                ended.set()
                ready.notify()

    thread = Thread(target=fill, name="stream", daemon=True)
    thread.start()
    try:
        while True:
            with ready:
                ready.wait_for(lambda: held or ended.is_set())
                if not held:
                    break
                frame = held.popleft()
            yield frame
    finally:
        stop.set()
        thread.join()
    if errors:
        raise errors[0]
