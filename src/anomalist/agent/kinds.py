"""Which kind of anomaly a region looks like, from its shape and contrast alone."""

from __future__ import annotations

import math

from anomalist.types import Kind, Region

THIN = 4.0
"""Elongation from which a straight shape is a line."""

WINDING = 8.0
"""Squared diagonal of the box over the area from which a bent shape is a line (a disc: 2.5, a square: 2)."""

LINE_LENGTH = 0.03
"""Share of the picture's diagonal that a line spans at least; what is shorter is a spot."""

LINE_WIDTH = 0.03
"""Share of the same diagonal that a line is wide at most; what is wider is a stripe, so a patch."""

SPOT_SIZE = 0.005
"""Largest share of the area that counts for a spot."""

STRONG = 2.0
"""Deviations of the surroundings from which material looks missing, added or broken off."""

LARGE = 0.25
"""From this share of the area that counts, a change of tone is a patch, whatever its contrast."""


def kind_of(region: Region, size: tuple[int, int]) -> Kind:
    """Name the kind of anomaly that a region looks like.

    The first row that fits decides. It is a guess from shape and contrast: a dark compact place *looks like*
    missing material because a hole lies in its own shadow; what it is made of can't be measured.

    =================  =========================================================================
    line               thin for its length (straight or winding) and for the picture
    edge damage        reaches a border of the picture, strong contrast, not large
    discolouration     the colour shifts notably
    texture change     same brightness, other texture
    spot               small
    missing material   much darker, not large
    extra material     much lighter, not large
    patch              anything else
    =================  =========================================================================

    Parameters
    ----------
    region : with measured attributes.
    size : (height, width) of the picture in pixels.
    """
    about = region.attributes
    strong = abs(about.contrast_sigma) >= STRONG and about.tone != "same"
    limited = about.relative_size < LARGE
    if _is_line(region, size):
        return "line"
    if about.edges and strong and limited:
        return "edge damage"
    if about.colour is not None:
        return "discolouration"
    if about.tone == "same" and about.texture != "same":
        return "texture change"
    if about.relative_size <= SPOT_SIZE:
        return "spot"
    if strong and limited:
        return "missing material" if about.tone == "darker" else "extra material"
    return "patch"


def changed_kind(region: Region, size: tuple[int, int]) -> Kind:
    """Name what a reference shows to be missing or extra; without one, or where unclear, `kind_of` it."""
    if region.change == "missing":
        return "missing material"
    return "extra material" if region.change == "extra" else kind_of(region, size)


def named_kind(region: Region, size: tuple[int, int]) -> str:
    """Name the labelled defect that a region is like; without one, its `changed_kind`."""
    if region.known is not None and region.known.name is not None:
        return region.known.name
    return changed_kind(region, size)


def _is_line(region: Region, size: tuple[int, int]) -> bool:
    """Say whether a region is thin for its length, and long and narrow enough for the picture."""
    x0, y0, x1, y1 = region.box
    diagonal = math.hypot(x1 - x0, y1 - y0)
    thin = region.attributes.elongation >= THIN or diagonal**2 / region.area >= WINDING
    picture = math.hypot(*size)
    return thin and diagonal >= LINE_LENGTH * picture and region.area / diagonal <= LINE_WIDTH * picture
