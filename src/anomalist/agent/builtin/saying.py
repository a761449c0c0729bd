"""How what is true of a drawn case is said: the sentences that the small model learns to write.

Replies keep to one name for each thing, so that they can be read and scored; questions use many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from anomalist.agent.wording import at
from anomalist.prompts.replies import Description, Judgement, NamedKind, Observation, Statement
from anomalist.types import UInt8Array
from anomalist.vision.drawn.facts import DefectKind, Facts
from anomalist.vision.strokes import Rng

VERDICT_KIND: Mapping[DefectKind, NamedKind] = {
    "scratch": "line",
    "crack": "line",
    "spot": "spot",
    "hole": "missing material",
    "stain": "patch",
    "missing piece": "edge damage",
    "foreign material": "extra material",
    "texture change": "texture change",
    "bend": "diffuse change",
    "nothing": "none",
}
"""What a verdict calls each kind that the model tells apart."""

NAMES: Mapping[DefectKind, tuple[str, ...]] = {
    "scratch": ("scratch", "score mark", "scrape", "thin scratch"),
    "crack": ("crack", "fracture", "fissure", "branching crack"),
    "spot": ("spot", "speck", "dot", "small spot"),
    "hole": ("hole", "pit", "cavity", "blowhole"),
    "stain": ("stain", "blotch", "smudge", "discoloured area"),
    "missing piece": ("missing piece", "broken-off piece", "chipped edge", "piece broken out of the edge"),
    "foreign material": ("foreign material", "foreign object", "debris", "something foreign on the surface"),
    "texture change": (
        "texture change",
        "change of texture",
        "rubbed or roughened area",
        "different texture",
    ),
    "bend": ("bend", "distortion", "deformation", "bent pattern"),
    "nothing": ("nothing", "no defect", "nothing wrong", "nothing unusual"),
}
"""Names of each kind in questions, the one used in replies first."""

_TONES = {"darker": "dark ", "lighter": "bright ", "same": "", None: ""}
_HUES = {"redder": "reddish ", "yellower": "yellowish ", "greener": "greenish ", "bluer": "bluish ", None: ""}
_SHAPES = {
    "round": "round ",
    "elongated": "elongated ",
    "irregular": "irregular ",
    "line": "straight ",
    None: "",
}
_COUNTS = {2: "two", 3: "three", 4: "four", 5: "five"}
_MASS = ("foreign material",)


def noun_phrase(facts: Facts) -> str:
    """Say what a marked place shows: "a faint dark scratch", "three bright spots"."""
    kind = facts.kind or "nothing"
    if kind == "nothing":
        return "nothing unusual"
    shape = "" if kind in ("scratch", "crack") else _SHAPES.get(facts.shape, "")
    before = f"{'faint ' if facts.faint else ''}{_TONES[facts.tone]}{_HUES[facts.hue]}{shape}"
    if facts.count is not None and facts.count > 1:
        plural = "es" if kind.endswith("ch") else "s"
        return f"{_COUNTS.get(facts.count, 'several')} {before}{kind}{plural}"
    words = f"{before}{kind}"
    if kind in _MASS:
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def seen_in(facts: Facts) -> str:
    """Say it with the direction, without the name of the place."""
    if facts.kind is None:
        return "too dark or too blurred to judge"
    direction = {"horizontal": "running horizontally", "vertical": "running vertically",
                 "rising": "rising to the right", "falling": "falling to the right"}  # fmt: skip
    runs = f", {direction[facts.direction]}" if facts.direction else ""
    return f"{noun_phrase(facts)}{runs}"


def region_sentence(name: str, facts: Facts, *, compared: bool) -> str:
    """Say what a region shows, against the normal patch where one is shown beside it."""
    if facts.kind is None:
        return f"{name} is {seen_in(facts)}."
    if facts.kind == "nothing":
        return (
            f"{name} shows nothing unusual{'; it looks like the normal patch beside it' if compared else ''}."
        )
    end = ", which the normal patch does not show" if compared else ""
    return f"{name} shows {seen_in(facts)}{end}."


def judgement(regions: Sequence[tuple[str, Facts]], *, compared: bool) -> Judgement:
    """Judge a picture by what its regions show."""
    claims = tuple(
        Statement(text=region_sentence(name, facts, compared=compared), evidence=(name,))
        for name, facts in regions
    )
    wrong = [facts.kind for _, facts in regions if facts.kind not in (None, "nothing")]
    unclear = any(facts.kind is None for _, facts in regions)
    label = "anomalous" if wrong else "undecided" if unclear else "normal"
    kind = VERDICT_KIND[wrong[0]] if wrong and wrong[0] is not None else "none"
    return Judgement(
        claims=claims, label=label, kind=kind, severity_step="same", severity_reason="", severity_evidence=()
    )


def description(pixels: UInt8Array, places: Sequence[tuple[str, str | None]]) -> Description:
    """Describe a whole picture: its surface, and where what is marked lies.

    Parameters
    ----------
    pixels : uint8 (h, w, 3).
    places : name and place of each region, the place None where it can't be said clearly.
    """
    said = [(name, place) for name, place in places if place is not None]
    seen: tuple[Observation, ...] = ()
    if len(places) == 1 and said:
        name, place = said[0]
        seen = (Observation(text=f"{name} is marked {at(place)}.", evidence=(name,)),)
    return Description(scene=f"{surface_phrase(pixels)}.", observations=seen, text_seen=())


def brightness(pixels: UInt8Array) -> str | None:
    """Name how bright a picture is as a whole; None between the names."""
    grey = float(pixels.mean()) / 255
    return (
        "dark"
        if grey < 0.27
        else "bright"
        if grey > 0.62
        else None
        if grey < 0.33 or grey > 0.56
        else "medium"
    )


def colouring(pixels: UInt8Array) -> str | None:
    """Name whether a picture is grey or has a colour; None in between."""
    spread = float(np.ptp(pixels.astype(np.float32), axis=2).mean())
    return "grey" if spread < 6 else "coloured" if spread > 22 else None


def surface_phrase(pixels: UInt8Array) -> str:
    """Return "A dark grey surface with a strong pattern"."""
    busy = float(pixels.mean(2).std())
    pattern = (
        "with a strong pattern"
        if busy > 38
        else "with a fine texture"
        if busy > 12
        else "almost without texture"
    )
    tone = {"dark": "dark ", "bright": "bright ", "medium": "", None: ""}[brightness(pixels)]
    colour = {"grey": "grey ", "coloured": "coloured ", None: ""}[colouring(pixels)]
    return f"A {tone}{colour}surface {pattern}"


def any_of(rng: Rng, words: Sequence[str]) -> str:
    """Draw one wording."""
    return words[int(rng.integers(len(words)))]
