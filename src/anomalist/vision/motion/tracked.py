"""Trails as records: where an object moved, in pixels of the frames, against what is usual there."""

from __future__ import annotations

import numpy as np

from anomalist.clips import Track
from anomalist.types import Box
from anomalist.vision.motion.scene import Scene
from anomalist.vision.motion.tracks import Trail

_FILLED = 0.7  # of the box of a body is body
_STAYS = 0.5  # body heights: less of a way is none
_ASLANT = 0.5  # of the longer side of a way: from there on both sides are named


def track_of(trail: Trail, scene: Scene, scale: tuple[float, float], around: float, slowest: float) -> Track:
    """The record of a trail.

    Parameters
    ----------
    scale : (x, y) from working pixels to pixels of the frames.
    around : seconds; only what hangs together with this moment, without a stop, is taken.
    slowest : working pixels a second that count as moving.
    """
    first, last = _moving_part(trail, around, slowest)
    path = trail.path[first : last + 1]
    speeds = np.array(trail.speeds[first : last + 1])
    areas = np.array(trail.areas[first : last + 1])
    middle = [((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for _, b in path]
    perspective = scene.manifest.perspective
    paces = trail.paces[first : last + 1]
    bodies = perspective.heights(np.array([y for _, y in middle]))
    usual_area = _FILLED * perspective.aspect * bodies**2
    return Track(
        id=f"T{trail.number}",
        start=round(path[0][0], 3),
        end=round(trail.end if last == len(trail.path) - 1 else path[-1][0], 3),
        path=tuple((round(time, 3), scaled(box, scale)) for time, box in path),
        speed=round(float(np.median(speeds)) * (scale[0] + scale[1]) / 2, 2),
        speed_ratio=round(float(np.median(paces)), 2),
        height=round(float(np.median([b[3] - b[1] for _, b in path])) * scale[1], 1),
        size_ratio=round(float(np.median(areas / usual_area)), 2),
        direction=way(middle[0], middle[-1], _STAYS * float(np.median(bodies))),
    )


def scaled(box: Box, scale: tuple[float, float]) -> Box:
    """A box in working pixels as pixels of the frames."""
    x, y = scale
    return round(box[0] * x), round(box[1] * y), round(box[2] * x), round(box[3] * y)


def way(start: tuple[float, float], end: tuple[float, float], least: float) -> str:
    """The direction from one point to another in words; "" when they are nearer than ``least``."""
    right, down = end[0] - start[0], end[1] - start[1]
    if np.hypot(right, down) < least:
        return ""
    longer = max(abs(right), abs(down))
    words = []
    if abs(right) >= _ASLANT * longer:
        words.append("from left to right" if right > 0 else "from right to left")
    if abs(down) >= _ASLANT * longer:
        words.append("towards the camera" if down > 0 else "away from the camera")
    return ", ".join(words)


def _moving_part(trail: Trail, around: float, slowest: float) -> tuple[int, int]:
    """First and last index of the path without a stop around a moment; all of it for what stands then."""
    times = np.array([time for time, _ in trail.path])
    moving = np.array(trail.speeds) > slowest
    middle = int(np.abs(times - around).argmin())
    if not moving[middle]:
        return 0, len(times) - 1
    stops = np.flatnonzero(~moving)
    before, after = stops[stops < middle], stops[stops > middle]
    first = int(before[-1]) + 1 if len(before) else 0
    return first, int(after[0]) - 1 if len(after) else len(times) - 1
