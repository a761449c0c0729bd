"""Modes of one camera: footage grouped by the kind of its pictures, and which mode a picture belongs to.

By day a camera shows colours, by night it may be grey and lit by its own lamp. Each mode of a scene is
learned from its own footage alone, with limits, bank and thresholds of its own; nothing is carried over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from anomalist.types.common import FloatArray
from anomalist.vision.media.frames import DerivedVideo, Frame, Video
from anomalist.vision.motion.extractor import working_grey
from anomalist.vision.motion.picture_kind import (
    PictureLook,
    colour_of,
    is_colourful,
    kind_words,
    reduced_grey,
)
from anomalist.vision.motion.scene import Scene

_CHOICE_PICTURES = 12  # of a clip, whose majority says which mode it is of
_SETTLING_SECONDS = 0.5  # that another mode must last
_SPLIT_RATE = 2.0  # pictures a second, by which a video of two kinds is taken apart
_SPLIT_MARGIN = 1.0  # seconds around a change that belong to neither
_LEVEL_RATIO = 2.0  # of brightness, from which footage is of two modes


@dataclass(frozen=True, eq=False)
class FootagePart(DerivedVideo):
    """A stretch of a video as a clip of its own, whose time begins with 0; a ``Video``.

    Parameters
    ----------
    video : that it is a part of.
    start, stop : seconds of that video; None is its end.
    """

    start: float
    stop: float | None

    @property
    def notes(self) -> tuple[str, ...]:
        """Those of the whole video, and which stretch this is."""
        end = "its end" if self.stop is None else f"{self.stop:.1f} s"
        return (*self.video.notes, f"from {self.start:.1f} s to {end}")

    @property
    def duration(self) -> float | None:
        """Seconds; None where only reading would tell."""
        end = self.video.duration if self.stop is None else self.stop
        return None if end is None else end - self.start

    def frames(
        self, start: float = 0.0, stop: float | None = None, rate: float | None = None
    ) -> Iterator[Frame]:
        """Yield the frames of the stretch, as `Video.frames` does."""
        ends = [end for end in (self.stop, None if stop is None else self.start + stop) if end is not None]
        for frame in self.video.frames(self.start + start, min(ends, default=None), rate):
            yield replace(frame, time=frame.time - self.start)


def looks_differ(one: PictureLook, other: PictureLook) -> bool:
    """Whether footage of two looks belongs to two modes: by colour, or by twice the brightness."""
    colours = {is_colourful(one.colour), is_colourful(other.colour)}
    low, high = sorted((one.level + 1, other.level + 1))
    return colours == {True, False} or high > _LEVEL_RATIO * low


def group_by_look(looks: Sequence[PictureLook], amounts: Sequence[float]) -> list[list[int]]:
    """Group footage into modes, the one with the most footage first.

    Parameters
    ----------
    looks : of each clip.
    amounts : of footage in each, in one unit.

    Returns
    -------
    Indices of the clips of each mode, in order.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(looks)), key=lambda each: -amounts[each]):
        group = next((each for each in groups if not looks_differ(looks[each[0]], looks[index])), None)
        if group is None:
            groups.append([index])
        else:
            group.append(index)
    ordered = sorted(groups, key=lambda group: -sum(amounts[index] for index in group))
    return [sorted(group) for group in ordered]


def is_mixed(colours: Sequence[float]) -> bool:
    """Whether pictures of one video are in colour and without, by `colour_of`."""
    return {True, False} <= {is_colourful(colour) for colour in colours}


def split_by_colour(video: Video) -> list[Video]:
    """Take a video apart where its pictures turn from colour to grey or back; raises AnomalistError."""
    parts: list[Video] = []
    begun: float | None = None
    last, kind = 0.0, None
    for frame in video.frames(rate=_SPLIT_RATE):
        colourful = is_colourful(colour_of(frame.pixels))
        if begun is None:
            begun, kind = frame.time, colourful
        elif colourful is not None and kind is not None and colourful != kind:
            parts += _part(video, begun, last - _SPLIT_MARGIN)
            begun, kind = frame.time + _SPLIT_MARGIN, colourful
        kind = colourful if kind is None else kind
        last = frame.time
    if parts and begun is not None and begun > last:  # it changed in the last moment
        return parts
    return [*parts, *_part(video, min(begun or 0.0, last), None)]


def _part(video: Video, start: float, stop: float | None) -> list[Video]:
    return [FootagePart(video, start, stop)] if stop is None or stop > start else []


class ModeChooser:
    """Says which mode of a scene the pictures of one clip belong to, one after another.

    Parameters
    ----------
    scene : with its other modes.
    """

    def __init__(self, scene: Scene) -> None:
        self._modes = (scene, *scene.others)
        self._backgrounds = [reduced_grey(mode.learned.background.grey) for mode in self._modes]
        size = scene.learned.background.grey.shape
        self._size = (size[0], size[1])
        self._mode: Scene | None = None
        self._pending: Scene | None = None
        self._since = 0.0

    def update(self, frame: Frame) -> Scene:
        """The mode of the next frame: the one before, until another lasts; the scene's main one in doubt."""
        fitting = self.fitting(frame)
        if self._mode is None:
            self._mode = fitting[0] if fitting else self._modes[0]
        if not fitting or self._mode in fitting:
            self._pending = None
        elif self._pending is not fitting[0]:
            self._pending, self._since = fitting[0], frame.time
        elif frame.time - self._since >= _SETTLING_SECONDS:
            self._mode, self._pending = fitting[0], None
        return self._mode

    def fitting(self, frame: Frame) -> list[Scene]:
        """The modes whose pictures look like this one, the main one first."""
        colour, grey = colour_of(frame.pixels), reduced_grey(working_grey(frame.pixels, self._size))
        return [
            mode
            for mode, background in zip(self._modes, self._backgrounds, strict=True)
            if mode.manifest.look is not None and not kind_words(mode.manifest.look, background, colour, grey)
        ]


def choose_mode(scene: Scene, video: Video) -> Scene:
    """The mode that most pictures of a clip belong to; the main one where that is not plain."""
    if not scene.others:
        return scene
    chooser = ModeChooser(scene)
    rate = _CHOICE_PICTURES / video.duration if video.duration else 1.0
    found = [chooser.fitting(frame) for frame in islice(video.frames(rate=rate), _CHOICE_PICTURES)]
    votes = [sum(mode in fitting for fitting in found) for mode in (scene, *scene.others)]
    best = int(np.argmax(votes))
    return (scene, *scene.others)[best] if 2 * votes[best] > len(found) else scene


def split_by_mode(scene: Scene, frames: Iterable[Frame]) -> Iterator[tuple[Scene, Iterator[Frame]]]:
    """Yield stretches of frames with the mode that they belong to; each must be read to its end."""
    source = iter(frames)
    if not scene.others:
        yield scene, source
        return
    chooser = ModeChooser(scene)
    waiting = next(source, None)
    while waiting is not None:
        mode, ahead = chooser.update(waiting), [waiting]
        waiting = None

        def stretch(mode: Scene = mode, ahead: list[Frame] = ahead) -> Iterator[Frame]:
            nonlocal waiting
            yield ahead.pop()
            for frame in source:
                if chooser.update(frame) is not mode:
                    waiting = frame
                    return
                yield frame

        yield mode, stretch()


def mode_name(main: tuple[PictureLook, FloatArray], look: PictureLook, background: FloatArray) -> str:
    """What the pictures of a mode are unlike those of the main one, in words: "infra-red", "dark".

    Parameters
    ----------
    main : look and background, float32 (h, w), of the main mode.
    look, background : of the other.
    """
    return kind_words(main[0], reduced_grey(main[1]), look.colour, reduced_grey(background)) or "other"
