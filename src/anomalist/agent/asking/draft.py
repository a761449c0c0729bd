"""Draft answers: claims with evidence ids, and the check of their ids and numbers against tool results."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from anomalist.agent.tools.subject import Result
from anomalist.types.common import Claim

_NUMBER = re.compile(r"(?<![\w.])[−-]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+−-]?\d+)?(?!\w)")
_FILES_AND_IDS = re.compile(
    r"\b(?:case|rule|scene|normal):\S+|\b[RET][1-9]\d*\b|\S+\.(?:jpe?g|png|bmp|tiff?|webp|mp4|avi|mkv|mov|webm|sqlite)\b",
    re.I,
)


@dataclass(frozen=True)
class Draft:
    """What will be answered, once its sentences were checked.

    Parameters
    ----------
    claims : sentences in order, each with the ids that it rests on.
    used : what tools returned; every number of a sentence must be one of theirs.
    helps : what would help, where the question can't be answered (None: it is answered).
    """

    claims: tuple[Claim, ...]
    used: tuple[Result, ...]
    helps: str | None = None


def make_claim(text: str, ids: Sequence[str]) -> Claim:
    """A sentence with what it rests on."""
    return Claim(text=text, evidence=tuple(ids))


def filter_supported_claims(
    claims: Iterable[Claim], used: Sequence[Result], extra: Collection[str] = ()
) -> tuple[tuple[Claim, ...], tuple[str, ...]]:
    """Keep the sentences whose ids exist and whose numbers are those of the evidence.

    Parameters
    ----------
    claims : in order.
    used : what tools returned.
    extra : ids that may be cited besides those of the results.

    Returns
    -------
    The claims that hold, and the texts of the others with what is wrong with them.
    """
    ids = {id for result in used for id in _ids(result)} | set(extra)
    pool = [value for result in used for value in _numbers_of(result.model_dump())]
    kept: list[Claim] = []
    dropped: list[str] = []
    for claim in claims:
        unknown = [id for id in claim.evidence if id not in ids]
        wrong = [text for text in number_texts(claim.text) if not _matches_evidence(text, pool)]
        if unknown or wrong:
            dropped.append(f"{claim.text} ({', '.join([*unknown, *wrong])} not in the evidence)")
        else:
            kept.append(claim)
    return tuple(kept), tuple(dropped)


def parse_numbers(text: str) -> list[float]:
    """Every number in a text, names of files and ids left out."""
    return [_parse_number(found) for found in number_texts(text)]


def number_texts(text: str) -> list[str]:
    """The numbers in a text as they are written, names of files and ids left out."""
    return _NUMBER.findall(_FILES_AND_IDS.sub(" ", text))


def _matches_evidence(text: str, pool: Sequence[float]) -> bool:
    """Whether a written number is one of the evidence, rounded as it is written, as it is or in per cent."""
    value = abs(_parse_number(text))
    mantissa, _, exponent = text.lower().replace("−", "-").partition("e")
    decimals = len(mantissa.partition(".")[2])
    half = 0.5 * 10.0 ** (-decimals + int(exponent or 0)) * (1 + 1e-6)
    return any(abs(value - scale * abs(each)) <= half for each in pool for scale in (1, 100))


def _parse_number(text: str) -> float:
    return float(text.replace("−", "-").replace(",", ""))


def _numbers_of(content: object) -> Iterator[float]:
    """Every number in what a tool returned, those within its texts too."""
    if isinstance(content, str):
        yield from parse_numbers(content)
    elif isinstance(content, int | float):
        yield float(content)
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from _numbers_of(value)
    elif isinstance(content, Sequence):
        for value in content:
            yield from _numbers_of(value)


def _ids(result: Result) -> list[str]:
    """Ids of a result and of those inside it."""
    found = list(result.ids)
    for value in dict(result).values():
        parts = value if isinstance(value, tuple) else (value,)
        for part in parts:
            if isinstance(part, Result):
                found += _ids(part)
    return found
