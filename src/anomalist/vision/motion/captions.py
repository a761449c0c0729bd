"""Events in words, from what was measured alone; and in parts: who, does what, where, when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from anomalist.clips import Caption, MeasureName, Track
from anomalist.types import Box
from anomalist.vision.attributes import POSITIONS

_LARGE, _SMALL = 1.8, 0.5  # times the area of a usual body
_FAST = 1.5  # times the usual speed


UNITS: Mapping[MeasureName, str] = {
    "speed": "of the limit there",
    "size": "of the limit there",
    "direction": "−log10 of its share there",
    "place": "−log10 of the share of time",
    "dwell": "s",
    "appearance": "1 − cosine to what usually moves here",
    "crowding": "of the picture",
    "stillness": "−log10 of the share that moves",
    "dispersal": "of the speed limit, outwards",
    "forbidden zone": "",
}
"""In which each measure is given; a limit is what is hardly ever exceeded at that place."""

_PHRASES = {
    "top": "at the top",
    "bottom": "at the bottom",
    "left": "on the left",
    "right": "on the right",
}


@dataclass(frozen=True)
class Facts:
    """What a caption is made of.

    Parameters
    ----------
    kind : the measure that stands out.
    value, usual : of that measure at the peak, in its own unit, and what is hardly ever exceeded.
    track : the object most involved, if there is one.
    box, size : where it was, and (height, width) of the frames, in one unit of pixels.
    zones : names of the zones that it is in.
    start, end : seconds.
    """

    kind: MeasureName
    value: float
    usual: float | None
    track: Track | None
    box: Box | None
    size: tuple[int, int]
    zones: tuple[str, ...]
    start: float
    end: float


def caption_of(facts: Facts) -> Caption:
    """Put an event into words."""
    subject, where = _subject(facts), _where(facts)
    action = _action(facts)
    lasting = f"{facts.end - facts.start:.1f} s"
    text = f"{subject} {action}{f' {where}' if where else ''}, for {lasting}"
    return Caption(
        text=f"{text[:1].upper()}{text[1:]}.",
        subject=subject,
        action=action,
        scene=", ".join(facts.zones),
        when=f"{facts.start:.1f} s to {facts.end:.1f} s",
        where=where,
    )


def size_word(track: Track) -> str:
    """ "large ", "small " or "", by the area of a usual body at that place."""
    return "large " if track.size_ratio >= _LARGE else "small " if track.size_ratio <= _SMALL else ""


def place_of(box: Box, size: tuple[int, int]) -> str:
    """The cell of the 3×3 grid over the picture in which the middle of a box lies."""
    height, width = size
    row = min(max(int(3 * (box[1] + box[3]) / 2 / height), 0), 2)
    column = min(max(int(3 * (box[0] + box[2]) / 2 / width), 0), 2)
    return POSITIONS[row][column]


def place_words(place: str) -> str:
    """A cell of the grid as it follows a verb: "on the left", "in the upper right"."""
    return _PHRASES.get(place, f"in the {place}")


def _subject(facts: Facts) -> str:
    if facts.kind == "crowding":
        return "a crowd"
    if facts.kind == "stillness":
        return "the whole scene"
    if facts.kind == "dispersal":
        return "everybody"
    if facts.track is None:
        return "something"
    fast = "fast, " if facts.kind != "dwell" and facts.track.speed_ratio >= _FAST else ""
    size = size_word(facts.track)
    words = f"{fast}{size}object" if size else f"{fast.rstrip(', ')} object".strip()
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _where(facts: Facts) -> str:
    if facts.kind in ("crowding", "stillness", "dispersal"):
        return ""
    parts = []
    if facts.box is not None:
        parts.append(place_words(place_of(facts.box, facts.size)))
    parts.extend(f'in the zone "{name}"' for name in facts.zones)
    return ", ".join(parts)


def _action(facts: Facts) -> str:
    way = facts.track.direction if facts.track and facts.track.direction else ""
    moves = f"moves {way}" if way else "moves"
    if facts.kind == "speed":
        ratio = facts.track.speed_ratio if facts.track else 0.0
        return (
            f"{moves} {f'at {ratio:.1f} times the usual speed' if ratio >= _FAST else 'fast for this place'}"
        )
    if facts.kind == "size":
        return f"takes up {facts.value:.1f} times the room that is hardly ever exceeded there"
    if facts.kind == "direction":
        return f"{moves}, which only {_share(facts.value)} of what passes there does,"
    if facts.kind == "place":
        return f"{moves if way else 'is'} where something is only {_share(facts.value)} of the time"
    return _of_standing(facts)


def _of_standing(facts: Facts) -> str:
    if facts.kind == "dwell":
        return f"has been standing still for {facts.value:.0f} s where things usually move on"
    if facts.kind == "appearance":
        return "looks unlike anything that usually moves here"
    if facts.kind == "forbidden zone":
        return "enters a forbidden zone"
    if facts.kind == "crowding":
        return f"fills {facts.value:.0%} of the picture, far more than usual"
    if facts.kind == "stillness":
        return "is still where there is usually movement"
    return "moves away from one place at once"


def _share(rarity: float) -> str:
    """A share from its −log10: "2 %", "1 in 500"."""
    share = 10**-rarity
    return f"{share:.0%}" if share >= 0.01 else f"1 in {float(f'{1 / share:.1g}'):,.0f}"
