"""Normal footage of one camera to a learned, calibrated scene."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from anomalist.errors import AnomalistError, DataError
from anomalist.types import Box
from anomalist.vision.motion.appearance import Gallery, Onlooker, Strangeness, eyes_for, together
from anomalist.vision.motion.background import Adapting, Background, median_background, standing_out
from anomalist.vision.motion.eye import Eye, working_grey, working_size
from anomalist.vision.motion.held_out import calibrated, held_out
from anomalist.vision.motion.measures import limits_of
from anomalist.vision.motion.movement import grid_of
from anomalist.vision.motion.perspective import Perspective, blobs, perspective_of
from anomalist.vision.motion.scene import Footage, Learned, Scene, refuse_overwriting, save_scene
from anomalist.vision.motion.usual import Usual, counted, nothing_yet
from anomalist.vision.motion.zones import Zone, counting
from anomalist.vision.profile import profile_path
from anomalist.vision.video.frames import Video

Progress = Callable[[str, int, int], None]

RATE = 10.0  # frames a second that are looked at: what moves is followed over half a second anyway
FOLDS = 4
_STILLS = 120  # frames for the background, over all videos
_LEAST_SECONDS = 10.0
_MOST_TROUBLE = 0.2  # share of the frames
_PIECE = 30.0  # seconds that are held out together where the length of a video is unknown


def learn_scene(
    videos: Sequence[Video],
    name: str | Path,
    *,
    zones: Sequence[Zone] = (),
    backbone: str | None = None,
    seed: int = 0,
    force: bool = False,
    progress: Progress = lambda *_: None,
) -> Scene:
    """Learn what one camera usually sees.

    Three passes: frames spread over the footage for the background and the perspective, everything for the
    counts, and everything again for the scores of each quarter against the counts of the other three.

    Parameters
    ----------
    videos : normal footage of one camera, at least 10 s together.
    name : a name under ``ANOMALIST_HOME``, or a folder.
    backbone : a vision backbone of transformers that describes what moves; None takes the shipped network.
    seed : of the choice of what is remembered.
    progress : called with what is done, how far, and of how much.

    Raises
    ------
    DataError : nothing usable, too little, sizes that differ, or a camera that moves.
    ProfileError : something is in the way of the scene.
    """
    path = profile_path(name)
    refuse_overwriting(path, force=force)
    usable, background, perspective, skipped = _first_look(videos, progress)
    grid = nothing_yet_for(background)
    counting(zones, grid.speeds.shape[1:])  # refused before the long work
    eyes = eyes_for(backbone)

    def onlooker() -> Onlooker:
        return Onlooker(eyes, perspective)

    galleries = [Gallery(seed + fold) for fold in range(FOLDS)]
    folds, seconds = _count(usable, background, perspective, onlooker, galleries, progress)
    banks = [gallery.bank().astype(np.float16).astype(np.float32) for gallery in galleries]  # as stored
    total = sum(seconds)
    if total < _LEAST_SECONDS:
        raise DataError(f"{total:.1f} s of normal footage is too little.", "A scene needs at least 10 s.")
    limits = [limits_of(_without(folds, fold)) for fold in range(FOLDS)]
    clips = []
    for index, video in enumerate(usable):
        progress("calibrating", index, len(usable))
        eye = Eye(background, perspective)
        fold = _folding(index, video, len(usable))
        looks = [
            Strangeness(onlooker(), together(banks[:k] + banks[k + 1 :]), limits[k].speed.shape)
            for k in range(FOLDS)
        ]
        clips.append(held_out(video.frames(rate=RATE), eye, limits, looks, fold, perspective, zones))
    progress("calibrating", len(usable), len(usable))
    norms, blocks = calibrated(clips)
    height, width = usable[0].size
    return save_scene(
        path,
        Learned(background, sum(folds[1:], folds[0]), blocks.maxima, together(banks)),
        force=force,
        name=path.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        width=width,
        height=height,
        perspective=perspective,
        norms=norms,
        frames=sum(fold.frames for fold in folds),
        block_seconds=blocks.seconds,
        footage_seconds=blocks.footage,
        zones=tuple(zones),
        backbone=backbone,
        seed=seed,
        footage=tuple(
            Footage(source=video.source, sha256=video.sha256, seconds=round(length, 2), notes=video.notes)
            for video, length in zip(usable, seconds, strict=True)
        ),
        skipped=skipped,
    )


def nothing_yet_for(background: Background) -> Usual:
    """No counts, for the grid of a background."""
    height, width = background.grey.shape
    return nothing_yet(grid_of(height, width))


def _first_look(
    videos: Sequence[Video], progress: Progress
) -> tuple[list[Video], Background, Perspective, tuple[str, ...]]:
    """Frames spread over the footage: which videos can be used, what stands still, how large bodies are."""
    if not videos:
        raise DataError("There is no footage to learn from.", "Name videos, or folders with videos.")
    usable: list[Video] = []
    skipped: list[str] = []
    stills = []
    each = max(_STILLS // len(videos), 4)
    for done, video in enumerate(videos):
        progress("looking", done, len(videos))
        try:
            size = video.size
            if usable and size != usable[0].size:
                raise DataError(f"{video.source} has another size than {usable[0].source}.")
            rate = each / video.duration if video.duration else 1.0
            few = [
                working_grey(frame.pixels, working_size(*size))
                for frame, _ in zip(video.frames(rate=rate), range(each), strict=False)
            ]
        except AnomalistError as error:
            skipped.append(str(error))
            continue
        usable.append(video)
        stills.extend(few)
    if not stills:
        raise DataError(f"Nothing can be learned from: {skipped[0] if skipped else 'no frame'}")
    background = median_background(stills)
    boxes: list[Box] = []
    for grey in stills:
        difference = Adapting(background).difference(grey, 0.0)
        boxes.extend(blobs(standing_out(difference, np.zeros_like(difference), 1.0)))
    return usable, background, perspective_of(boxes, background.grey.shape[0]), tuple(skipped)


def _count(
    videos: Sequence[Video],
    background: Background,
    perspective: Perspective,
    onlooker: Callable[[], Onlooker],
    galleries: Sequence[Gallery],
    progress: Progress,
) -> tuple[list[Usual], list[float]]:
    """Counts of each fold, and the seconds of each video; what moves goes into the galleries."""
    folds = [nothing_yet_for(background) for _ in range(FOLDS)]
    seconds = []
    looked = troubled = 0
    for index, video in enumerate(videos):
        progress("learning", index, len(videos))
        eye, fold = Eye(background, perspective), _folding(index, video, len(videos))
        looker = onlooker()
        last = 0.0
        for glimpse in eye.looking(video.frames(rate=RATE)):
            last = glimpse.time
            looked, troubled = looked + 1, troubled + (glimpse.trouble is not None)
            if not glimpse.fresh and glimpse.trouble is None:
                at = fold(glimpse.time)
                folds[at] = counted(folds[at], glimpse.movement, glimpse.around)
                seen = looker.look(glimpse)
                if seen is not None:
                    galleries[at].add(seen[1])
        seconds.append(last)
    progress("learning", len(videos), len(videos))
    if troubled > _MOST_TROUBLE * looked:
        raise DataError(
            f"In {troubled / looked:.0%} of this footage the camera moves, or shows something else.",
            "A scene is what one camera sees that stands still: leave out the rest.",
        )
    return folds, seconds


def _folding(index: int, video: Video, videos: int) -> Callable[[float], int]:
    """The fold that a moment of a video is held out with: whole videos where there are enough."""
    if videos >= FOLDS:
        return lambda _: index % FOLDS
    piece = video.duration / FOLDS if video.duration else _PIECE
    return lambda time: int(time / piece) % FOLDS


def _without(folds: Sequence[Usual], left_out: int) -> Usual:
    rest = [fold for index, fold in enumerate(folds) if index != left_out]
    return sum(rest[1:], rest[0])
