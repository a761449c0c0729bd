"""Frames of a file by PyAV, which reads nearly everything and says what is damaged."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from anomalist.vision.video.clock import Clock
from anomalist.vision.video.damage import Damage
from anomalist.vision.video.decoding import Decoded, decoded, to_pixels
from anomalist.vision.video.frames import Frame
from anomalist.vision.video.probing import Facts, opened
from anomalist.vision.video.scanning import Scan, nearest
from anomalist.vision.video.selection import Selection

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

LEAD = (0.0, 10.0, 60.0)
"""Seconds before the start to seek to, in turn, when seeking landed after it; then all is read."""


def read(
    facts: Facts, scan: Scan | None, selection: Selection, damage: Damage, clock: Clock
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
    sound: int | None = None  # the last sound frame
    broken = False  # whether something was lost after it
    end = 0.0
    size: tuple[int, int] | None = None
    try:
        for frame in _from(facts, scan, selection.reached):
            time = clock.about(frame.stamp) if frame.picture is None else clock.time(frame.stamp)
            index = index + 1 if times is None else nearest(times, time)
            if selection.over(time):
                return
            end = max(end, time + (frame.span or 1 / facts.rate))
            if frame.picture is None:
                damage.lost(index, time)
                selection.break_off(time)
                broken = True
                continue
            if broken and times is not None:
                damage.lost_between(sound, index, times)
            broken, sound = False, index
            before, size = size, (frame.picture.height, frame.picture.width)
            if before not in (None, size):
                selection.break_off(time)
            if selection.wants(time):
                yield selection.take(Frame(index, time, to_pixels(frame.picture, facts.name)))
    except FFmpegError:
        pass  # the file breaks off here; where that is too early, it is noted
    if broken and times is not None:
        damage.lost_between(sound, len(times), times)
    damage.ended(end, facts.duration if facts.exact else None, 2 / facts.rate + 0.1)


def _from(facts: Facts, scan: Scan | None, start: float) -> Iterator[Decoded]:
    """Decode from the last key frame at or before the start; from the beginning where none is found."""
    from av import FFmpegError

    seekable = start > 0 and scan is not None and scan.seekable
    for lead in (*LEAD, math.inf) if seekable else (math.inf,):
        with opened(facts.path, facts.name, strict=facts.strict) as (container, stream):
            frames = decoded(container, stream)
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
