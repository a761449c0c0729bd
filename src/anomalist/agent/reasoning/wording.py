"""Defect kinds from shape and contrast, and measurements of regions, or why there are none, as sentences.

A kind is a guess from shape and contrast alone; the material can't be measured.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

from anomalist.types.clip import ClipRecord
from anomalist.types.image import Attributes, Basis, Kind, KnownKind, Record, Region
from anomalist.vision.regions import MOST_REGIONS, extent

LINE_ELONGATION = 4.0
"""Elongation from which a straight shape is a line."""

BENT_LINE_RATIO = 8.0
"""Squared diagonal of the box over the area, from which a bent shape is a line (disc: 2.5, square: 2)."""

LINE_LENGTH = 0.03
"""Shortest line, as a share of the picture's diagonal (see `extent`); shorter ones are spots."""

LINE_WIDTH = 0.03
"""Widest line, as a share of the same diagonal; wider ones are patches."""

MAX_SPOT_AREA = 0.005
"""Largest spot, as a share of the inspected area."""

STRONG_CONTRAST = 2.0
"""Contrast, in standard deviations of the surroundings, from which material looks missing, added or broken
off."""

LARGE_AREA = 0.25
"""Share of the inspected area from which a change of tone is a patch, whatever its contrast."""


def shape_kind(region: Region, size: tuple[int, int]) -> Kind:
    """The kind of anomaly that a region looks like, by its shape and contrast.

    The first row that fits decides. It is a guess: a dark compact region *looks like* missing material
    because holes are in shadow; the material can't be measured.

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
    strong = abs(about.contrast_sigma) >= STRONG_CONTRAST and about.tone != "same"
    limited = about.relative_size < LARGE_AREA
    if _is_line(region, size):
        return "line"
    if about.edges and strong and limited:
        return "edge damage"
    if about.colour is not None:
        return "discolouration"
    if about.tone == "same" and about.texture != "same":
        return "texture change"
    if about.relative_size <= MAX_SPOT_AREA:
        return "spot"
    if strong and limited:
        return "missing material" if about.tone == "darker" else "extra material"
    return "patch"


def reference_kind(region: Region, size: tuple[int, int]) -> Kind:
    """The kind by comparison with a reference (missing or extra material), or else `shape_kind`."""
    if region.change == "missing":
        return "missing material"
    return "extra material" if region.change == "extra" else shape_kind(region, size)


def region_kind(region: Region, size: tuple[int, int]) -> str:
    """The name of the labelled defects that a region resembles, or else `reference_kind`."""
    if region.known is not None and region.known.name is not None:
        return region.known.name
    return reference_kind(region, size)


def _is_line(region: Region, size: tuple[int, int]) -> bool:
    """Whether a region is thin for its length, and long and narrow enough for the picture."""
    x0, y0, x1, y1 = region.box
    diagonal = math.hypot(x1 - x0, y1 - y0)
    thin = region.attributes.elongation >= LINE_ELONGATION or diagonal**2 / region.area >= BENT_LINE_RATIO
    picture = math.hypot(min(size), extent(size))
    return thin and diagonal >= LINE_LENGTH * picture and region.area / diagonal <= LINE_WIDTH * picture


# Kinds without an article.
MASS_NOUNS = frozenset({"missing material", "extra material", "edge damage"})
TONES = {"darker": "dark ", "lighter": "bright ", "same": ""}
LARGE_PATCH = 0.05  # share of the inspected area from which a patch is called large
DIRECTION_ELONGATION = 2.0  # elongation from which a direction is stated
MAX_SIGMA_SHOWN = 20.0  # higher contrasts are stated as "more than"


def regions_counted(regions: Sequence[object], without: int = 0) -> str:
    """How many regions there are beside so many, in words: more than `MOST_REGIONS` are not measured."""
    count = len(regions) - without
    return f"at least {count}" if len(regions) >= MOST_REGIONS else str(count)


def percent(share: float) -> str:
    """Format a share (0 to 1): "under 0.1 %", "0.4 %", "4.2 %", "23 %"; only exactly 0 is "0 %"."""
    value = 100 * share
    if value <= 0:
        return "0 %"
    if value < 0.1:
        return "under 0.1 %"
    return f"{value:.1f} %" if value < 9.95 else f"{value:.0f} %"


def join_words(words: Sequence[str]) -> str:
    """Join words: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def failure_sentence(record: Record | ClipRecord) -> str:
    """That a picture or clip without a label could not be judged, and why."""
    return f"{Path(record.source).name} could not be judged: {record.error or 'why was not recorded.'}"


def shorten_quote(text: str, most: int = 200) -> str:
    """A text as at most so many characters of whole words; cut within one where there is no space."""
    short = textwrap.shorten(text, most, placeholder=" …")
    return short if short != "…" else f"{text.strip()[: most - 1]}…"


def with_article(kind: str) -> str:
    """Return "a line", "an open circuit", but "missing material"."""
    return kind if kind in MASS_NOUNS else f"{'an' if kind[:1].lower() in tuple('aeiou') else 'a'} {kind}"


def region_sentence(
    region: Region, size: tuple[int, int], whole: str, basis: Basis | None = "reference"
) -> str:
    """Describe a region in one sentence: kind, position, size, orientation, contrast, colour, texture.

    Parameters
    ----------
    region : with measured attributes.
    size : (height, width) of the picture in pixels.
    whole : what the relative size refers to: "the picture" or "the inspected area".
    basis : what it was compared with.
    """
    about, kind = region.attributes, shape_kind(region, size)
    parts = [
        _against_reference(region, "the reference" if basis == "reference" else "the normal pictures")
        + f"{_noun_phrase(about, kind, region.change is not None)} {_place_phrase(about)}",
        f"{_extent_phrase(region, kind)} ({percent(about.relative_size)} of {whole})",
        _direction_phrase(about, kind),
        _contrast_phrase(about),
        _colour_phrase(about),
        _texture_phrase(about),
    ]
    return f"{region.id}: {', '.join(filter(None, parts))}."


def known_sentence(region: Region, known: KnownKind) -> str:
    """Return "R1 is like known cases of "scratch" (similarity 0.91)."."""
    return f"{region.id} is {_likeness_phrase(known)}."


def _likeness_phrase(known: KnownKind) -> str:
    """Return "like known cases of "scratch" (similarity 0.91)"."""
    like = "unlike any known kind" if known.name is None else f'like known cases of "{known.name}"'
    return f"{like} (similarity {known.similarity:.2f})"


def _against_reference(region: Region, what: str) -> str:
    """Return "missing against the reference, like known cases of "open" (similarity 0.98): "."""
    if region.change is None:
        return ""
    like = f", {_likeness_phrase(region.known)}" if region.known is not None else ""
    return f"{region.change} against {what}{like}: "


def _noun_phrase(about: Attributes, kind: Kind, compared: bool) -> str:
    """Return "a thin dark line"; where a reference says what is missing or extra, the kind isn't guessed."""
    tone = TONES[about.tone]
    if compared and kind in ("missing material", "extra material"):
        return f"a {tone}place"
    if kind in MASS_NOUNS:
        return f"a {tone}place that looks like {kind}"
    if kind == "line":
        return f"a {'thin' if about.elongation >= LINE_ELONGATION else 'winding'} {tone}line"
    if kind == "spot":
        return f"a small {tone}spot"
    if kind == "discolouration":
        return "a discoloured place"
    if kind == "texture change":
        return "a place with a different texture"
    return f"a {'large ' if about.relative_size >= LARGE_PATCH else ''}{tone}patch"


def position_phrase(position: str) -> str:
    """Return "at the upper left", "in the centre", "on the left"."""
    where = {"centre": "in the centre", "left": "on the left", "right": "on the right"}
    return where.get(position, f"at the {position}")


def _place_phrase(about: Attributes) -> str:
    """Return "at the upper left, touching the left edge"."""
    place = position_phrase(about.position)
    if len(about.edges) == 4:
        return f"{place}, touching all four edges of the picture"
    if about.edges:
        return f"{place}, touching the {join_words(about.edges)} edge{'s' if len(about.edges) > 1 else ''}"
    return place


def _extent_phrase(region: Region, kind: Kind) -> str:
    """Length and width of a straight line (a rectangle of its area and elongation), or the box size."""
    elongation = region.attributes.elongation
    if kind == "line" and elongation >= LINE_ELONGATION:
        length, width = math.sqrt(region.area * elongation), math.sqrt(region.area / elongation)
        return f"about {length:.0f} px long and {max(1, round(width))} px wide"
    x0, y0, x1, y1 = region.box
    return f"{x1 - x0} × {y1 - y0} px"


def _direction_phrase(about: Attributes, kind: Kind) -> str:
    """Orientation of an elongated region; within 10° of an axis "horizontally" or "vertically"."""
    angle = about.orientation
    if angle is None or (kind != "line" and about.elongation < DIRECTION_ELONGATION):
        return ""
    if min(angle, 180 - angle) < 10:
        return "running horizontally"
    if abs(angle - 90) < 10:
        return "running vertically"
    return f"{'rising' if angle < 90 else 'falling'} to the right at {min(angle, 180 - angle):.0f}°"


def _contrast_phrase(about: Attributes) -> str:
    """Return "3.2σ darker than its surroundings"."""
    if about.tone == "same":
        return "about as bright as its surroundings"
    sigmas = abs(about.contrast_sigma)
    much = f"more than {MAX_SIGMA_SHOWN:.0f}σ" if sigmas > MAX_SIGMA_SHOWN else f"{sigmas:.1f}σ"
    return f"{much} {about.tone} than its surroundings"


def _colour_phrase(about: Attributes) -> str:
    """Return "redder by 14 CIELAB units"."""
    return "" if about.colour is None else f"{about.colour} by {about.colour_shift:.0f} CIELAB units"


def _texture_phrase(about: Attributes) -> str:
    """Return "rougher (2.1 times the local variation)"."""
    if about.texture == "same":
        return ""
    return f"{about.texture} ({about.texture_ratio:.2g} times the local variation)"
