"""Descriptions of looks in captions: clothing, hair, and everyday things that people carry.

What people wear says nothing about what they do, and next to no rule or scene speaks of it; but sentence
encoders compare it all the same, and "no backpack" with "no helmet". So it is set aside before captions are
embedded. Only closed lists of words are used; what protects or hides a person (helmets, masks) is in none of
them, nor is a bag that is thrown, left or taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

_GARMENTS = """
shirt t-shirt tshirt tee-shirt blouse sweater sweatshirt jumper pullover cardigan hoodie jacket coat
raincoat blazer suit tie dress skirt jeans trousers pants shorts leggings tights socks shoes shoe
sneakers trainers boots sandals slippers heels hat cap hood beanie scarf glasses sunglasses
spectacles earrings necklace clothes clothing outfit attire sleeves headscarf
"""
_HAIR = "hair beard moustache mustache ponytail pigtails braid braids"
_CARRIED = "backpack rucksack bag handbag purse briefcase satchel umbrella"
_COLOURS = """
black white red blue green yellow orange pink purple violet brown grey gray beige tan khaki navy
maroon cream teal turquoise golden gold silver dark light bright pale
"""
_QUALITIES = f"""{_COLOURS}
darker lighter blond blonde coloured colored colourful colorful dark-coloured dark-colored
light-coloured light-colored multicoloured multicolored plain striped checked checkered plaid
patterned floral printed denim leather woollen knitted cotton silk long short long-sleeved
short-sleeved sleeveless loose tight baggy big large small little old new casual formal matching
similar curly straight wavy thin thick shoulder hand school shopping plastic paper tote sports
baseball tank polo business summer winter knee-length
"""
_PEOPLE = "young old elderly tall short slim bald adult"

_NOUNS = frozenset(f"{_GARMENTS} {_HAIR} {_CARRIED}".split())


def _any_of(words: Iterable[str]) -> str:
    ordered = sorted(words, key=len, reverse=True)
    return rf"(?:{'|'.join(map(re.escape, ordered))})"


class Appearance(NamedTuple):
    """A clause without its descriptions of looks, and whether nothing else is left of it."""

    rest: str
    only: bool


def appearance_nouns(texts: Iterable[str]) -> frozenset[str]:
    """The nouns of looks that texts speak of: "a person in a red jacket" speaks of jackets."""
    return frozenset(noun for text in texts for word in _WORD.findall(text.lower()) if (noun := _noun(word)))


def set_appearance_aside(clause: str, spoken_of: frozenset[str] = frozenset()) -> Appearance:
    """Take descriptions of looks out of a clause.

    Parameters
    ----------
    clause : as `anomalist.memory.clauses.clauses` gives it.
    spoken_of : nouns that rules or scenes speak of, from `appearance_nouns`: these stay.
    """
    patterns = _patterns(spoken_of)
    if patterns is None:
        return Appearance(clause, only=False)
    phrase, listed = patterns
    if listed.fullmatch(clause.strip()):
        return Appearance("", only=True)
    rest = _plain(phrase.sub(" ", clause))
    if rest == _plain(clause):
        return Appearance(clause, only=False)
    rest = _DANGLING.sub("", rest).strip(" ,")
    return Appearance(rest, only=not _WORD.search(_SUBJECT.sub(" ", rest)))


_BE = r"(?:(?:who|which)\s+)?(?:(?:is|are|was|were)\s+)?(?:also\s+)?(?:not\s+)?"
_OWNER = r"(?:his|her|their|(?:the|this)\s+\w+['’]s)"
_THEN = r"(?=\s*(?:$|,|(?:is|are|was|were|and|who|with)\b))"
_HAVE = r"(?:(?:does|do|did)(?:\s+not|n['’]t)\s+)?(?:has|have|had)"
_WHERE = (
    r"(?:\s+(?:on|over|in)\s+(?:his|her|their|the|one)\s+(?:left\s+|right\s+)?"
    r"(?:backs?|shoulders?|arms?|hands?|heads?)\b)?"
)
# What goes on with another thing, or says where a bag is taken, is more than looks.
_NOTHING_ELSE = (
    r"(?!\s*(?:,|\band|\bor)\s+(?:and\s+)?(?:an?|the|his|her|some|no)\b)"
    r"(?!\s+(?:into|out|away|up|down|through|from|to|of|off|towards?|across|over|that|full|filled|behind)\b)"
)

_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_DANGLING = re.compile(
    r"(?:\s*\b(?:and|or|but|with|who|which|also|,))+\s*$|^\s*(?:(?:and|or|but|also)\b\s*)+", re.I
)
_SUBJECT = re.compile(
    rf"\b{_any_of(_PEOPLE.split())}\b"
    r"|\b(?:a|an|the|this|that|there|one|two|three|four|five|several|some|few|many|another|other|others|both|each"
    r"|all|first|second|third|last|next|he|she|they|him|her|them|his|their|it|who|is|are|was|were|be|being|not"
    r"|no|seems?|appears?|to|also|person|persons|people|man|men|woman|women|boy|boys|girl|girls|child|children"
    r"|lady|ladies|guy|guys|gentleman|individuals?|pedestrians?|figures?|someone|somebody|adults?|teenagers?)\b",
    re.I,
)


def _plain(text: str) -> str:
    return " ".join(text.split()).replace(" ,", ",").strip(" ,")


def _noun(word: str) -> str | None:
    """The noun of looks that a word is, in the singular or plural; None for others."""
    forms = (word, word.removesuffix("s"), word.removesuffix("es"))
    return next((form for form in forms if form in _NOUNS), None)


@lru_cache(maxsize=32)
def _patterns(spoken_of: frozenset[str]) -> tuple[re.Pattern[str], re.Pattern[str]] | None:
    """Patterns of a phrase that describes looks, and of a bare list of them; None where all are spoken of."""

    def nouns(words: str) -> str | None:
        left = [word for word in words.split() if word not in spoken_of]
        return rf"{_any_of(left)}(?:e?s)?" if left else None

    worn, carried = nouns(f"{_GARMENTS} {_HAIR}"), nouns(_CARRIED)
    if worn is None or carried is None:
        return None
    article = r"(?:(?:an?|the|his|her|their|some|any|no|not\s+an?|without\s+an?|a\s+pair\s+of)\s+)?"
    qualities = (
        rf"(?:{_any_of(_QUALITIES.split())}\s*,?\s+(?:and\s+(?={_any_of(_QUALITIES.split())}\b))?){{0,4}}"
    )

    def listed(first: str, more: str) -> str:
        one, others = (rf"{article}{qualities}{noun}\b" for noun in (first, more))
        return rf"{one}(?:\s*,?\s*(?:and|or|with|nor|but|,)\s+(?:with\s+|also\s+)?{others}){{0,8}}"

    either = rf"(?:{worn}|{carried})"
    worn_list, list_of_either = listed(worn, either), listed(either, either)
    verbs = (
        r"(?:wearing|wears?|wore|dressed\s+in|clad\s+in|carrying|carries|carry|carried|having|holding|holds?)"
    )
    phrase = (
        rf"[\s,]*\b(?:(?:{_BE}{verbs}|{_HAVE}|with|without)\s+{list_of_either}|{_BE}in\s+{worn_list})"
        rf"{_WHERE}{_NOTHING_ELSE}"
        rf"|[\s,]*\b{_BE}(?:dressed\s+|clad\s+)?in\s+(?:all\s+)?{_any_of(_COLOURS.split())}{_THEN}"
    )
    # A bag alone may lie anywhere; only what is worn, or a denial, is about a person.
    bare = rf"(?=.*\b(?:{worn}|no)\b){list_of_either}"
    quality = _any_of(_QUALITIES.split())
    said_of = rf"{_OWNER}\s+{qualities}{worn}\s+(?:is|are)\s+{quality}(?:\s+and\s+{quality})?"
    return re.compile(phrase, re.I), re.compile(rf"{bare}|{said_of}", re.I)
