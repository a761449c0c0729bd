"""Parse questions and options about pictures into terms (aspect, values, negation) by a phrase lexicon."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from anomalist.vision.attributes import POSITION_NAMES, POSITIONS

Meaning = tuple[str, frozenset[str]]
"""An aspect of the evidence, and the values of it that a phrase accepts."""


def word_set(words: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(words.split())


ROWS = {"upper": 0, "top": 0, "uppermost": 0, "lower": 2, "bottom": 2, "lowermost": 2}
COLUMNS = {"left": 0, "leftmost": 0, "right": 2, "rightmost": 2}
MIDDLE_WORDS = word_set("middle centre center central centrally mid")
EDGE_WORDS = word_set("edge edges border borders rim margin boundary")
AREA_WORDS = word_set("half side part third column row area section portion hand")

NEGATORS = word_set("no not without none neither nor never nothing nowhere cannot lacks")
NEGATING_PHRASES = ("free of", "free from", "absence of", "lack of", "rather than", "instead of")
YES_WORDS = word_set("yes yeah yep true correct indeed")
NO_WORDS = word_set("no nope false incorrect")
UNDECIDED_PHRASES = frozenset(
    {"unknown", "unclear", "undecided", "uncertain", "unsure"}
    | {"can't tell", "cannot tell", "can't say", "cannot say", "don't know", "not sure"}
)

_UNANSWERABLE = (
    r"why|who|whose|cause[ds]?|causing|because|due to|made of|(?:what|which) material|consequences?"
    r"|new|newer|old|older|yesterday|ago|age|recently|price|costs?|supplier|manufacturer|brand"
    r"|serial|weigh\w*|temperature|smell\w*|sounds?|purpose|used for|function of|prevent\w*|effect of"
    r"|affect\w*"
)
UNANSWERABLE = re.compile(rf"\b({_UNANSWERABLE}|how long)\b")
"""Matches questions that measurements of one picture can't answer."""

UNANSWERABLE_FOR_CLIPS = re.compile(rf"\b({_UNANSWERABLE})\b")
"""Matches questions that measurements of footage can't answer."""


def phrase_table(aspect: str, **words: str) -> dict[str, Meaning]:
    """A lexicon from value=phrases (comma-separated); in values "_" is a space, "__" separates values."""
    return {
        phrase.strip(): (aspect, frozenset(each.replace("_", " ") for each in value.split("__")))
        for value, phrases in words.items()
        for phrase in phrases.split(",")
    }


def _numbered(words: str) -> dict[str, str]:
    return {word: str(number) for number, word in enumerate(words.split())}


PHRASES: dict[str, Meaning] = {
    **phrase_table(
        "label",
        anomalous="defect, defects, defective, anomaly, anomalies, anomalous, abnormal, abnormality, damage,"
        "damaged, wrong, fault, faults, faulty, flaw, flaws, flawed, bad, problem, problems, blemish,"
        "blemishes, irregularity, irregularities, imperfection, imperfections, unusual, suspicious, reject,"
        "rejected, unacceptable, impaired, not ok, nok, fails, failed, out of order, amiss, issue, issues,"
        "off, stands out, imperfect, odd, broken, ng",
        normal="normal, fine, ok, okay, good, intact, perfect, flawless, defect free, faultless, healthy,"
        "acceptable, accepted, pass, passes, passed, clean, undamaged, unharmed, all right, alright, "
        "in order, unremarkable, as it should be, as expected, regular, sound, error free, fault free,"
        "unblemished",
    ),
    **phrase_table(
        "form",
        line="line, lines, linear, elongated, long, thin, narrow, thread, strip, streak, streaks, "
        "line shaped, line like, oblong, stretched",
        compact="round, circular, compact, dot, dots, dot like, point like, roundish, circle, disc, blob,"
        "square, globular, ball shaped",
    ),
    **phrase_table(
        "size",
        small="small, tiny, little, minute, fine grained, pinpoint, very small",
        large="large, big, wide, broad, extensive, huge, very large, large area, most of the picture",
    ),
    **phrase_table(
        "tone",
        darker="dark, darker, black, blackish, dim",
        lighter="bright, brighter, light, lighter, white, whitish, pale, paler",
    ),
    **phrase_table(
        "colour",
        redder="red, redder, reddish",
        greener="green, greener, greenish",
        bluer="blue, bluer, bluish",
        yellower="yellow, yellower, yellowish",
    ),
    **phrase_table(
        "texture",
        rougher="rough, rougher, grainy, coarse, coarser, roughened",
        smoother="smooth, smoother, even surface, polished",
    ),
    **phrase_table(
        "direction",
        horizontal="horizontal, horizontally, level, sideways",
        vertical="vertical, vertically, upright",
        rising__falling="diagonal, diagonally, slanted, oblique, tilted",
        rising="rising",
        falling="falling",
    ),
    **phrase_table(
        "change",
        missing="missing, absent, gone, lost",
        extra="extra, added, additional, surplus, excess, superfluous",
    ),
    **phrase_table(
        "severity",
        none="harmless, negligible",
        minor="minor, slight, slightly, mild",
        moderate="moderate, medium",
        major="major, serious, severe",
        critical="critical, very serious, fatal",
    ),
    **phrase_table(
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

MAX_COUNT = 99
"""Upper end of open ranges such as "more than two"."""

BOUNDS: dict[str, Callable[[int], tuple[int, int]]] = {
    "more than": lambda number: (number + 1, MAX_COUNT),
    "at least": lambda number: (number, MAX_COUNT),
    "fewer than": lambda number: (0, number - 1),
    "less than": lambda number: (0, number - 1),
    "at most": lambda number: (0, number),
}
"""Maps the number after a phrase to the range that is meant, inclusive."""

_OPEN_RANGES: dict[str, Callable[[int], tuple[int, int]]] = {
    **dict.fromkeys(("more", "greater"), BOUNDS["at least"]),
    **dict.fromkeys(("fewer", "less"), BOUNDS["at most"]),
}
"""The same for the word after a number and "or"."""

COUNTED_NOUNS = word_set(
    "defect defects anomaly anomalies region regions place places spot spots flaw flaws fault faults scratch "
    "scratches hole holes crack cracks area areas one ones difference differences event events incident "
    "incidents"
)


_WORD = re.compile(r"\w+(?:'\w+)?")
_SUBJECTS = {
    "it",
    "it's",
    "its",
    "there",
    "there's",
    "this",
    "that",
    "the",
    "everything",
    "i",
    "we",
    "nothing",
}
_MAX_PHRASE_WORDS = 4  # words of the longest phrase
_MAX_PLACE_WORDS = 8  # "in the middle of the left hand side"


@dataclass(frozen=True)
class _Vocabulary:
    """The lexicon for a text: normalised names of labelled kinds, phrases, and whether bare numbers count."""

    names: Mapping[str, str]
    phrases: Mapping[str, Meaning]
    counting: bool


@dataclass(frozen=True)
class Term:
    """One statement of a text about an aspect of the evidence.

    Parameters
    ----------
    aspect : "answer" (yes or no), "label", "place", "edge", "form", "size", "tone", "colour", "texture",
        "direction", "change", "severity", "count", "kind", "named" (a labelled kind), "others" or "unsaid".
    values : alternatives; any of them makes it true.
    near_values : values that match less well: "lower left" for "on the left".
    negated : whether the statement is negated.
    """

    aspect: str
    values: frozenset[str]
    near_values: frozenset[str] = frozenset()
    negated: bool = False


def parse_terms(
    text: str,
    names: Collection[str] = (),
    *,
    counting: bool = False,
    phrases: Mapping[str, Meaning] = PHRASES,
) -> tuple[Term, ...]:
    """Parse the terms of a text, in order; none where it mentions nothing that can be measured.

    Parameters
    ----------
    text : a question or an option.
    names : of labelled kinds, which take precedence over the lexicon.
    counting : whether a bare number is a count.
    phrases : the lexicon; that of pictures by default.
    """
    text = re.sub(r"(?<=\d)\s*[-–—]\s*(?=\d)", " to ", text)
    text = re.sub(r"(?<=\d)\s*\+", " or more", text)
    terms: list[Term] = []
    named = {normalised_name(name): name for name in names}
    for number, (words, carried) in enumerate(_clauses(text)):
        if number == 0 and (answer := _leading_answer(words)):
            terms.append(Term("answer", frozenset({answer})))
            words, carried = words[1:], False
        terms += _clause_terms(words, _Vocabulary(named, phrases, counting), carried)
    return tuple(dict.fromkeys(terms))


_NUMBER_WORDS = "|".join(word for word in NUMBERS if word != "single")
_COUNTED = re.compile(rf"\b(?:how many|number of|{_NUMBER_WORDS})((?:\s+[^\W\d_][\w'-]*){{1,4}})", re.I)
_AFTER_NOUN = word_set(
    "is are was were there here do does did can has have of on at in to or and with visible found marked"
)


def counted_thing(text: str) -> str:
    """What a text counts, without the number: "dark scratches"; empty where it counts nothing."""
    found = _COUNTED.search(text)
    words = found[1].split() if found else []
    end = next((at for at, word in enumerate(words) if word.casefold() in _AFTER_NOUN), len(words))
    return " ".join(words[:end])


LEADING_AUXILIARY = re.compile(
    r"^(\W*(?:is|are|was|were|has|have|had|do|does|did|ca|could|should|would))n['’]t\b", re.I
)
"""Not in it negates nothing: "Isn't it fine?" asks whether it is fine."""


def normalised_name(name: str) -> str:
    """A name for comparison: lower case, without spaces, dashes and plural endings."""
    return "".join(_stem(word) for word in _words(name))


def _words(text: str) -> list[str]:
    plain = text.casefold().replace("’", "'").replace("_", " ").replace("-", " ")
    return _WORD.findall(plain)


def _stem(word: str) -> str:
    for ending, rest in (("sses", "ss"), ("ches", "ch"), ("shes", "sh"), ("xes", "x")):
        if word.endswith(ending):
            return word.removesuffix(ending) + rest
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _clauses(text: str) -> Iterator[tuple[list[str], bool]]:
    """Parts of a text that bound the scope of negations, and whether one carries over from the last part.

    It carries over in a list: "no scratches, dents or stains".
    """
    for sentence in re.split(r"[.;:!?()\n–—]|\bbut\b|\bexcept\b", text):
        parts = [words for part in sentence.split(",") if (words := _words(part))]
        last = max((at for at, words in enumerate(parts) if {"or", "nor"} & set(words)), default=-1)
        denied = False
        for at, words in enumerate(parts):
            listed = at <= last
            yield words, denied and listed
            denied = (_has_negation(words) and len(words) > 1) or (denied and listed)


def _has_negation(words: Sequence[str]) -> bool:
    return any(word in NEGATORS or word.endswith("n't") for word in words)


def _leading_answer(words: Sequence[str]) -> str | None:
    """ "yes" or "no" where a text begins with it as an answer, which "no defect" does not."""
    first, rest = words[0], words[1:]
    if first in YES_WORDS:
        return "yes"
    return "no" if first in NO_WORDS and (not rest or rest[0] in _SUBJECTS or first != "no") else None


def _clause_terms(words: Sequence[str], known: _Vocabulary, negated: bool) -> Iterator[Term]:
    """Terms of a clause, matching the longest phrases first."""
    bare = False
    at = 0
    while at < len(words):
        taken, found = _parse_at(words, at, known)
        if found is not None:
            bare = False
            yield Term(found.aspect, found.values, found.near_values, negated and found.aspect != "others")
        elif (step := _negation_length(words, at)) is not None:
            taken = step
            fresh = words[at] in ("nor", "neither")
            negated = True if fresh else not negated
            bare = bare or words[at] in ("nothing", "none", "nowhere")
        at += taken
    if bare:
        yield Term("label", frozenset({"normal"}))


def _negation_length(words: Sequence[str], at: int) -> int | None:
    """Number of words of a negation at a position; None for none."""
    if words[at] in NEGATORS or words[at].endswith("n't"):
        return 1
    return next((2 for phrase in NEGATING_PHRASES if phrase.split() == list(words[at : at + 2])), None)


def _parse_at(words: Sequence[str], at: int, known: _Vocabulary) -> tuple[int, Term | None]:
    """Number of words that belong together from ``at`` on, and their term, if any."""
    rest = list(words[at : at + _MAX_PHRASE_WORDS])
    if rest[0] in ("none", "neither", "all", "both") and rest[1:2] == ["of"]:
        return len(words) - at, Term(
            "others", frozenset({"none" if rest[0] in ("none", "neither") else "all"})
        )
    if rest[0] in UNDECIDED_PHRASES or " ".join(rest[:2]) in UNDECIDED_PHRASES:
        return len(words) - at, Term("unsaid", frozenset({"unsaid"}))
    for count in range(len(rest), 0, -1):
        joined = "".join(_stem(word) for word in rest[:count])
        if joined in known.names:
            return count, Term("named", frozenset({known.names[joined]}))
    for count in range(len(rest), 0, -1):
        phrase = " ".join(rest[:count])
        stemmed = " ".join(_stem(word) for word in rest[:count])
        meaning = known.phrases.get(phrase) or known.phrases.get(stemmed)
        if meaning:
            return count, Term(*meaning)
    if found := _parse_place(words[at : at + _MAX_PLACE_WORDS]):
        return found
    return _parse_count(words[at : at + 2 * _MAX_PHRASE_WORDS], known.counting)


def _parse_count(words: Sequence[str], counting: bool) -> tuple[int, Term | None]:
    """Parse "two defects", "1 to 3 events", and bare numbers if ``counting``."""
    found = _number_range(words)
    if found is None:
        return 1, None
    taken, values = found
    if not (counting or any(word in COUNTED_NOUNS for word in words[taken : taken + 2])):
        return 1, None
    return taken, Term("count", values)


def _number_range(words: Sequence[str]) -> tuple[int, frozenset[str]] | None:
    """How many words a number or a range of numbers takes, and its numbers; None where there is none."""
    bound = next((b for b in BOUNDS if b.split() == list(words[:2])), None)
    between = words[0] == "between"
    at = 2 if bound else 1 if between else 0
    number = NUMBERS.get(words[at]) if at < len(words) else None
    if number is None or (between and words[at + 1 : at + 2] != ["and"]):
        return None
    if not number.isdigit():
        return at + 1, frozenset({number})
    first, then = int(number), " ".join(words[at + 1 : at + 2])
    last = words[at + 2] if at + 2 < len(words) else ""
    if bound is not None:
        return at + 1, _numbers(*BOUNDS[bound](first))
    if then == "or" and last in _OPEN_RANGES:
        return at + 3, _numbers(*_OPEN_RANGES[last](first))
    if (then == "to" or between) and NUMBERS.get(last, "").isdigit():
        return at + 3, _numbers(*sorted((first, int(NUMBERS[last]))))
    return at + 1, frozenset({number})


def _numbers(low: int, high: int) -> frozenset[str]:
    return frozenset(map(str, range(max(0, low), high + 1)))


def _parse_place(words: Sequence[str]) -> tuple[int, Term] | None:
    """Parse "upper left", "left of the centre", "the middle", "right half", "left edge", "edge"."""
    row: int | None = None
    column: int | None = None
    middle, taken = False, 0
    for at, word in enumerate(words):
        if word in ROWS and row is None:
            row = ROWS[word]
        elif word in COLUMNS and column is None:
            column = COLUMNS[word]
        elif word in MIDDLE_WORDS and not middle:
            middle = True
        elif not (taken and word in ("of", "the", "hand") and at < 4):
            break
        if word not in ("of", "the", "hand"):
            taken = at + 1
    after = words[taken] if taken < len(words) else ""
    if not taken:
        return (1, Term("edge", frozenset())) if after in EDGE_WORDS else None
    if after in EDGE_WORDS:
        sides = [("top", "", "bottom")[row]] if row is not None else []
        sides += [("left", "", "right")[column]] if column is not None else []
        return taken + 1, Term("edge", frozenset(sides))
    rows = range(3) if row is None else (row,)
    columns = range(3) if column is None else (column,)
    wide = frozenset(POSITIONS[y][x] for y in rows for x in columns)
    if row is None and column is None:
        return taken, Term("place", frozenset({"centre"}))
    if after in AREA_WORDS and not middle:
        return taken + 1, Term("place", wide)
    cell = POSITIONS[1 if row is None else row][1 if column is None else column]
    return taken, Term(
        "place", frozenset({cell}), frozenset() if middle else (wide - {cell}).intersection(POSITION_NAMES)
    )
