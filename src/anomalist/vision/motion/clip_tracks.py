"""All object tracks of a clip, usual ones as well: what moved, whether or not it stood out."""

from __future__ import annotations

from anomalist.types.clip import Track
from anomalist.vision.media.frames import Video
from anomalist.vision.motion.captions import track_record
from anomalist.vision.motion.extractor import MIN_SPEED
from anomalist.vision.motion.modes import choose_mode
from anomalist.vision.motion.pacing import ANALYSIS_RATE
from anomalist.vision.motion.scene import Scene
from anomalist.vision.motion.scoring import FrameScorer
from anomalist.vision.motion.tracks import TrackedObject

MIN_TRACK_SECONDS = 1.0
"""Shorter tracks are flicker, or parts of something else."""


def clip_tracks(video: Video, scene: Scene, *, shortest: float = MIN_TRACK_SECONDS) -> tuple[Track, ...]:
    """Every object that was followed for a while, in the order in which they came.

    Parameters
    ----------
    video : a clip of the scene; it is read from its beginning.
    scene : learned from normal footage; of its modes, that of the clip is taken.
    shortest : seconds that a track lasts at least.

    Returns
    -------
    Their records; boxes in pixels of the frames. Raises MediaError where the clip can't be read.
    """
    scene = choose_mode(scene, video)
    height, width = scene.learned.background.grey.shape
    scale = video.size[1] / width, video.size[0] / height
    min_speed = MIN_SPEED * scene.manifest.perspective.middle
    return tuple(
        track_record(each, scene, scale, each.end, min_speed)
        for each in followed_objects(video, scene)
        if each.end - each.start >= shortest
    )


def followed_objects(video: Video, scene: Scene) -> tuple[TrackedObject, ...]:
    """Everything that was followed in a clip, with its whole path in working pixels."""
    scorer = FrameScorer(scene, ())
    seen: dict[int, TrackedObject] = {}
    for _ in scorer.score_all(video.frames(rate=ANALYSIS_RATE)):
        seen |= {each.number: each for each in scorer.tracked_objects}
    return tuple(seen.values())
