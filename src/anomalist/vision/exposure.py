"""Exposure of a picture against an aligned reference: fog, darkness and over-exposure are refused as a whole.

What they hide can't be compared, and what they change is no local defect.
"""

from __future__ import annotations

import numpy as np

from anomalist.errors import MediaError
from anomalist.types.common import BoolArray, FloatArray, UInt8Array
from anomalist.vision.alignment import AlignedReference

CONTRAST_LIMITS = (0.4, 2.5)
"""Contrast of a picture where the reference has edges, by that of the reference; the limits of the light that
`difference.match_lighting` makes up for."""

MIN_EDGE_CONTRAST, MIN_DETAIL_CONTRAST = 32, 12
"""Contrast of the reference within the reach of a pixel from which it has an edge there, and any detail; grey
levels."""

MIN_EDGE_SHARE = 0.002
"""Share of the picture that such edges must cover for the contrast to be told."""

EDGE_REACH = 3
"""Pixels around that count for the contrast."""

CLIPPED_LEVELS, UNCLIPPED_LEVELS = (3, 252), (16, 240)
"""Grey levels at and beyond which a picture is clipped, and between which the reference is not."""

MAX_CLIPPED_SHARE, MAX_LOST_SHARE = 0.25, 0.15
"""Share of a picture that may be clipped where the reference is not, and of its detail that may vanish so."""

LEVEL_LIMITS = (0.25, 4.0)
"""Mean level of a picture without edges, by that of the reference."""

REMEDY = "Mend the lighting, the exposure or the view and take the picture again."


def check_exposure(aligned: AlignedReference, picture: UInt8Array) -> None:
    """Refuse a picture in which the reference can't be recognised because of its exposure.

    Parameters
    ----------
    aligned : the reference in the frame of the picture.
    picture : uint8 (H, W, 3), RGB.

    Raises
    ------
    MediaError : over-exposed, dark, or of far less or more contrast than the reference.
    """
    import cv2

    first, second = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in (aligned.pixels, picture))
    valid = aligned.valid
    if not valid.any():
        return
    detail, kept = _contrast_at(first, second, valid, MIN_DETAIL_CONTRAST)
    usable = valid & (first > UNCLIPPED_LEVELS[0]) & (first < UNCLIPPED_LEVELS[1])
    for clipped, what in (
        (second >= CLIPPED_LEVELS[1], "over-exposed: white"),
        (second <= CLIPPED_LEVELS[0], "under-exposed: black"),
    ):
        share = float((clipped & usable).sum() / valid.sum())
        lost = float((clipped[detail] & (kept < CONTRAST_LIMITS[0])).mean()) if len(kept) else 1.0
        if share > MAX_CLIPPED_SHARE and lost > MAX_LOST_SHARE:
            raise MediaError(
                f"The picture is {what} in {share:.0%} of what the reference shows otherwise.", REMEDY
            )
    edges, ratios = _contrast_at(first, second, valid, MIN_EDGE_CONTRAST)
    ratio = float(np.median(ratios)) if edges.mean() >= MIN_EDGE_SHARE else 1.0
    if not CONTRAST_LIMITS[0] <= ratio <= CONTRAST_LIMITS[1]:
        what = "fog, darkness or over-exposure hides it" if ratio < 1 else "it is lit quite differently"
        raise MediaError(
            f"The contrast of the picture is {ratio:.2g} times that of the reference: {what}.", REMEDY
        )
    if aligned.agreement is None:
        level = (float(second[valid].mean()) + 1) / (float(first[valid].mean()) + 1)
        if not LEVEL_LIMITS[0] <= level <= LEVEL_LIMITS[1]:
            raise MediaError(f"The picture is {level:.2g} times as bright as the reference.", REMEDY)


def _contrast_at(
    first: UInt8Array, second: UInt8Array, valid: BoolArray, least: int
) -> tuple[BoolArray, FloatArray]:
    """Where the reference has contrast, bool (H, W), and the picture's there, by that of the reference."""
    import cv2

    kernel = np.ones((2 * EDGE_REACH + 1, 2 * EDGE_REACH + 1), np.uint8)
    was, is_now = (
        cv2.subtract(cv2.dilate(grey, kernel), cv2.erode(grey, kernel)) for grey in (first, second)
    )
    found: BoolArray = valid & (was >= least)
    return found, is_now[found].astype(np.float32) / was[found]
