"""Measurements put into words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from anomalist.agent.kinds import THIN, kind_of
from anomalist.types import Attributes, Kind, KnownKind, Region

MASS_NOUNS = frozenset({"missing material", "extra material", "edge damage"})
TONES = {"darker": "dark ", "lighter": "bright ", "same": ""}
LARGE_PATCH = 0.05
DIRECTED = 2.0
FAR = 20.0


def percent(share: float) -> str:
    """Put a share (0 to 1) into words: "under 0.1 %", "0.4 %", "4.2 %", "23 %". Only nothing is "0 %"."""
    value = 100 * share
    if value <= 0:
        return "0 %"
    if value < 0.1:
        return "under 0.1 %"
    return f"{value:.1f} %" if value < 9.95 else f"{value:.0f} %"


def listing(words: Sequence[str]) -> str:
    """Join words: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def with_article(kind: str) -> str:
    """Return "a line", "an open circuit", but "missing material"."""
    return kind if kind in MASS_NOUNS else f"{'an' if kind[:1].lower() in tuple('aeiou') else 'a'} {kind}"


def region_sentence(region: Region, size: tuple[int, int], whole: str) -> str:
    """Describe a region: what it looks like, where, how large, which way it runs, how it differs.

    Parameters
    ----------
    region : with measured attributes.
    size : (height, width) of the picture in pixels.
    whole : what its relative size refers to: "the picture" or "the inspected area".
    """
    about, kind = region.attributes, kind_of(region, size)
    parts = [
        f"{_against_reference(region)}{_noun(about, kind, region.change is not None)} {_place(about)}",
        f"{_extent(region, kind)} ({percent(about.relative_size)} of {whole})",
        _direction(about, kind),
        _contrast(about),
        _colour(about),
        _texture(about),
    ]
    return f"{region.id}: {', '.join(filter(None, parts))}."


def known_sentence(region: Region, known: KnownKind) -> str:
    """Return "R1 is like known cases of "scratch" (similarity 0.91)."."""
    return f"{region.id} is {_likeness(known)}."


def _likeness(known: KnownKind) -> str:
    """Return "like known cases of "scratch" (similarity 0.91)"."""
    like = "unlike any known kind" if known.name is None else f'like known cases of "{known.name}"'
    return f"{like} (similarity {known.similarity:.2f})"


def _against_reference(region: Region) -> str:
    """Return "missing against the reference, like known cases of "open" (similarity 0.98): "."""
    if region.change is None:
        return ""
    like = f", {_likeness(region.known)}" if region.known is not None else ""
    return f"{region.change} against the reference{like}: "


def _noun(about: Attributes, kind: Kind, compared: bool) -> str:
    """Return "a thin dark line". What was compared with a reference needs no guess at missing or extra."""
    tone = TONES[about.tone]
    if compared and kind in ("missing material", "extra material"):
        return f"a {tone}place"
    if kind in MASS_NOUNS:
        return f"a {tone}place that looks like {kind}"
    if kind == "line":
        return f"a {'thin' if about.elongation >= THIN else 'winding'} {tone}line"
    if kind == "spot":
        return f"a small {tone}spot"
    if kind == "discolouration":
        return "a discoloured place"
    if kind == "texture change":
        return "a place with a different texture"
    return f"a {'large ' if about.relative_size >= LARGE_PATCH else ''}{tone}patch"


def at(position: str) -> str:
    """Return "at the upper left", "in the centre", "on the left"."""
    where = {"centre": "in the centre", "left": "on the left", "right": "on the right"}
    return where.get(position, f"at the {position}")


def _place(about: Attributes) -> str:
    """Return "at the upper left, touching the left edge"."""
    place = at(about.position)
    if len(about.edges) == 4:
        return f"{place}, touching all four edges of the picture"
    if about.edges:
        return f"{place}, touching the {listing(about.edges)} edge{'s' if len(about.edges) > 1 else ''}"
    return place


def _extent(region: Region, kind: Kind) -> str:
    """Return length and width of a straight line (as a rectangle of this area and elongation), or the box."""
    elongation = region.attributes.elongation
    if kind == "line" and elongation >= THIN:
        length, width = math.sqrt(region.area * elongation), math.sqrt(region.area / elongation)
        return f"about {length:.0f} px long and {max(1, round(width))} px wide"
    x0, y0, x1, y1 = region.box
    return f"{x1 - x0} × {y1 - y0} px"


def _direction(about: Attributes, kind: Kind) -> str:
    """Return which way an elongated region runs; angles within 10° of an axis go by its name."""
    angle = about.orientation
    if angle is None or (kind != "line" and about.elongation < DIRECTED):
        return ""
    if min(angle, 180 - angle) < 10:
        return "running horizontally"
    if abs(angle - 90) < 10:
        return "running vertically"
    return f"{'rising' if angle < 90 else 'falling'} to the right at {min(angle, 180 - angle):.0f}°"


def _contrast(about: Attributes) -> str:
    """Return "3.2σ darker than its surroundings"."""
    if about.tone == "same":
        return "about as bright as its surroundings"
    sigmas = abs(about.contrast_sigma)
    much = f"more than {FAR:.0f}σ" if sigmas > FAR else f"{sigmas:.1f}σ"
    return f"{much} {about.tone} than its surroundings"


def _colour(about: Attributes) -> str:
    """Return "redder by 14 CIELAB units"."""
    return "" if about.colour is None else f"{about.colour} by {about.colour_shift:.0f} CIELAB units"


def _texture(about: Attributes) -> str:
    """Return "rougher (2.1 times the local variation)"."""
    if about.texture == "same":
        return ""
    return f"{about.texture} ({about.texture_ratio:.2g} times the local variation)"
