"""Words of questions and options, and what each of them says about a picture."""

from __future__ import annotations

import re
from collections.abc import Callable

Meaning = tuple[str, frozenset[str]]
"""An aspect of the evidence and the values of it that a phrase allows."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


ROWS = {"upper": 0, "top": 0, "uppermost": 0, "lower": 2, "bottom": 2, "lowermost": 2}
COLUMNS = {"left": 0, "leftmost": 0, "right": 2, "rightmost": 2}
MIDDLE = _set("middle centre center central centrally mid")
EDGES = _set("edge edges border borders rim margin boundary")
WHOLE = _set("half side part third column row area section portion hand")

NEGATORS = _set("no not without none neither nor never nothing nowhere cannot lacks")
NEGATING_PHRASES = ("free of", "free from", "absence of", "lack of", "rather than", "instead of")
YES = _set("yes yeah yep true correct indeed")
NO = _set("no nope false incorrect")
UNSAID = frozenset(
    {"unknown", "unclear", "undecided", "uncertain", "unsure"}
    | {"can't tell", "cannot tell", "can't say", "cannot say", "don't know", "not sure"}
)

_BEYOND = (
    r"why|who|whose|cause[ds]?|causing|because|due to|made of|(?:what|which) material|consequences?"
    r"|new|newer|old|older|yesterday|ago|age|recently|price|costs?|supplier|manufacturer|brand"
    r"|serial|weigh\w*|temperature|smell\w*|sounds?|purpose|used for|function of|prevent\w*|effect of"
    r"|affect\w*"
)
BEYOND = re.compile(rf"\b({_BEYOND}|how long)\b")
"""What one picture can't tell, whatever was measured on it."""

BEYOND_CLIP = re.compile(rf"\b({_BEYOND})\b")
"""What footage can't tell either."""


def table(aspect: str, **words: str) -> dict[str, Meaning]:
    """Phrases, divided by commas, by the values that they mean (underscores stand for spaces)."""
    return {
        phrase.strip(): (aspect, frozenset(each.replace("_", " ") for each in value.split("__")))
        for value, phrases in words.items()
        for phrase in phrases.split(",")
    }


def _numbered(words: str) -> dict[str, str]:
    return {word: str(number) for number, word in enumerate(words.split())}


PHRASES: dict[str, Meaning] = {
    **table(
        "label",
        anomalous="defect, defects, defective, anomaly, anomalies, anomalous, abnormal, abnormality, damage,"
        "damaged, wrong, fault, faults, faulty, flaw, flaws, flawed, bad, problem, problems, blemish,"
        "blemishes, irregularity, irregularities, imperfection, imperfections, unusual, suspicious, reject,"
        "rejected, unacceptable, impaired, not ok, nok, fails, failed, out of order, amiss, issue, issues,"
        "off, stands out, imperfect, odd, broken",
        normal="normal, fine, ok, okay, good, intact, perfect, flawless, defect free, faultless, healthy,"
        "acceptable, accepted, pass, passes, passed, clean, undamaged, unharmed, all right, alright, "
        "in order, unremarkable, as it should be, as expected, regular, sound, error free, fault free,"
        "unblemished",
    ),
    **table(
        "form",
        line="line, lines, linear, elongated, long, thin, narrow, thread, strip, streak, streaks, "
        "line shaped, line like, oblong, stretched",
        compact="round, circular, compact, dot, dots, dot like, point like, roundish, circle, disc, blob,"
        "square, globular, ball shaped",
    ),
    **table(
        "size",
        small="small, tiny, little, minute, fine grained, pinpoint, very small",
        large="large, big, wide, broad, extensive, huge, very large, large area, most of the picture",
    ),
    **table(
        "tone",
        darker="dark, darker, black, blackish, dim",
        lighter="bright, brighter, light, lighter, white, whitish, pale, paler",
    ),
    **table(
        "colour",
        redder="red, redder, reddish",
        greener="green, greener, greenish",
        bluer="blue, bluer, bluish",
        yellower="yellow, yellower, yellowish",
    ),
    **table(
        "texture",
        rougher="rough, rougher, grainy, coarse, coarser, roughened",
        smoother="smooth, smoother, even surface, polished",
    ),
    **table(
        "direction",
        horizontal="horizontal, horizontally, level, sideways",
        vertical="vertical, vertically, upright",
        rising__falling="diagonal, diagonally, slanted, oblique, tilted",
        rising="rising",
        falling="falling",
    ),
    **table(
        "change",
        missing="missing, absent, gone, lost",
        extra="extra, added, additional, surplus, excess, superfluous",
    ),
    **table(
        "severity",
        none="harmless, negligible",
        minor="minor, slight, slightly, mild",
        moderate="moderate, medium",
        major="major, serious, severe",
        critical="critical, very serious, fatal",
    ),
    **table(
        "kind",
        line="scratch, crack, hairline, groove, cut, scrape, fissure, fracture, score mark",
        spot__missing_material="hole, pit, pinhole, pore, speck, puncture, blowhole, cavity, dent",
        spot__extra_material="contamination, foreign body, particle, dust, residue, debris, bump",
        discolouration__patch="discolouration, discoloration, stain, smear, tarnish, rust, burn",
        edge_damage__missing_material="edge damage, chip, chipping, broken edge, broken corner, nick",
        missing_material="missing material",
        extra_material="extra material, excess material",
        texture_change="texture change",
        diffuse_change="diffuse change",
        patch="patch, blotch, area of different shade",
        spot="spot, fleck",
        line__patch="wrinkle, fold, crease",
    ),
}
NUMBERS = {
    **{str(number): str(number) for number in range(100)},
    **_numbered("zero one two three four five six seven eight nine ten eleven twelve"),
    "single": "1",
    "several": "several",
    "multiple": "several",
    "many": "several",
}
MOST = 99
"""Nothing is counted beyond."""

BOUNDS: dict[str, Callable[[int], tuple[int, int]]] = {
    "more than": lambda number: (number + 1, MOST),
    "at least": lambda number: (number, MOST),
    "fewer than": lambda number: (0, number - 1),
    "less than": lambda number: (0, number - 1),
    "at most": lambda number: (0, number),
}
"""From a number to the lowest and the highest that is meant."""

COUNTED = _set(
    "defect defects anomaly anomalies region regions place places spot spots flaw flaws fault faults scratch "
    "scratches hole holes crack cracks area areas one ones difference differences event events incident "
    "incidents"
)
