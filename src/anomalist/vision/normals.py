"""What a normal picture shows where another one is odd: the normal counterpart of a region."""

from __future__ import annotations

from dataclasses import dataclass

from anomalist.errors import MediaError
from anomalist.types import Box, Media, Region, UInt8Array
from anomalist.vision.media import load_image
from anomalist.vision.profile import Profile

MARGIN = 0.5
"""Room around a region in a closer look, as a share of its longer side, on every side."""

LEAST_WINDOW = 1 / 8
"""A closer look shows at least this share of the picture's longer side, so that a speck has a context."""


@dataclass(frozen=True, eq=False)
class NearestNormal:
    """Finds the normal patch most like a region, in the pictures that a profile was learned from."""

    profile: Profile

    def __call__(self, media: Media, region: Region) -> UInt8Array | None:
        """Return that patch with its surroundings, uint8 (h, w, 3), as wide as a closer look at the region.

        None when the detector can't tell, or the normal picture is gone or has changed since.
        """
        alike = self.profile.detector.most_alike(media.pixels, region.box)
        if alike is None:
            return None
        learned = self.profile.manifest.normals[alike.picture]
        try:
            normal = load_image(learned.source)
        except MediaError:
            return None
        if normal.sha256 != learned.sha256:
            return None
        height, width = normal.size
        x0, y0, x1, y1 = region.box
        scale = max(normal.size) / max(media.size)
        across, down = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
        x, y = round(alike.centre[0] * width - across / 2), round(alike.centre[1] * height - down / 2)
        left, top, right, bottom = window_around((x, y, x + across, y + down), normal.size)
        return normal.pixels[top:bottom, left:right]


def no_counterpart(media: Media, region: Region) -> UInt8Array | None:
    """Where there are no normal pictures to show."""
    return None


def window_around(box: Box, size: tuple[int, int], factor: int = 1) -> Box:
    """Return a square around a box, moved into the picture and cut to it."""
    x0, y0, x1, y1 = box
    height, width = size
    side = max((1 + 2 * MARGIN) * max(x1 - x0, y1 - y0), LEAST_WINDOW * max(size))
    side = round(min(factor * side, max(size)))
    left = min(max(0, (x0 + x1 - side) // 2), max(0, width - side))
    top = min(max(0, (y0 + y1 - side) // 2), max(0, height - side))
    return left, top, min(width, left + side), min(height, top + side)
