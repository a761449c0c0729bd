"""Draft answers: claims with evidence ids, and the check of their ids and numbers against tool results."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from anomalist.agent.reasoning.wording import failure_sentence
from anomalist.agent.tools.subject import Result
from anomalist.types.clip import ClipRecord
from anomalist.types.common import Claim
from anomalist.types.image import Record

_NUMBER = re.compile(r"(?<![\w.])[−-]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+−-]?\d+)?(?!\w)")
_FILES_AND_IDS = re.compile(
    r"\b(?:case|rule|scene|normal):\S+|\b[RET][1-9]\d*\b|\S+\.(?:jpe?g|png|bmp|tiff?|webp|mp4|avi|mkv|mov|webm|sqlite)\b",
    re.I,
)


@dataclass(frozen=True)
class Draft:
    """An answer before its claims are checked.

    Parameters
    ----------
    claims : sentences in order, each with the ids that it rests on.
    used : tool results; every number in a claim must occur in them.
    helps : what would help, where the question can't be answered; None where it is answered.
    """

    claims: tuple[Claim, ...]
    used: tuple[Result, ...]
    helps: str | None = None


def make_claim(text: str, ids: Sequence[str]) -> Claim:
    """A claim from a sentence and the ids that it rests on."""
    return Claim(text=text, evidence=tuple(ids))


def failure_draft(record: Record | ClipRecord) -> Draft | None:
    """That a picture or clip could not be judged, and why, whatever is asked of it; None where it was."""
    if record.judged:
        return None
    text = failure_sentence(record)
    return Draft((make_claim(text, ["score"]),), (Result(ids=("score",), notes=(text,)),))


def filter_supported_claims(
    claims: Iterable[Claim], used: Sequence[Result], extra: Collection[str] = ()
) -> tuple[tuple[Claim, ...], tuple[str, ...]]:
    """Keep the claims whose ids and numbers occur in the tool results.

    Parameters
    ----------
    claims : in order.
    used : tool results.
    extra : ids that may be cited in addition.

    Returns
    -------
    The supported claims, and the texts of the others with the ids and numbers that are not supported.
    """
    ids = {id for result in used for id in _ids(result)} | set(extra)
    pool = [value for result in used for value in numbers_of(result.model_dump())]
    kept: list[Claim] = []
    dropped: list[str] = []
    for claim in claims:
        unknown = [id for id in claim.evidence if id not in ids]
        wrong = [text for text in number_texts(claim.text) if not states_one_of(text, pool)]
        if unknown or wrong:
            dropped.append(f"{claim.text} ({', '.join([*unknown, *wrong])} not in the evidence)")
        else:
            kept.append(claim)
    return tuple(kept), tuple(dropped)


def parse_numbers(text: str) -> list[float]:
    """The numbers in a text, without those in file names and ids."""
    return [_parse_number(found) for found in number_texts(text)]


def number_texts(text: str) -> list[str]:
    """The numbers in a text as written, without those in file names and ids."""
    return _NUMBER.findall(_FILES_AND_IDS.sub(" ", text))


def states_one_of(text: str, pool: Sequence[float]) -> bool:
    """Whether a number, as it is rounded in a text, is one of the values, as they are or in per cent."""
    value = abs(_parse_number(text))
    mantissa, _, exponent = text.lower().replace("−", "-").partition("e")
    decimals = len(mantissa.partition(".")[2])
    half = 0.5 * 10.0 ** (-decimals + int(exponent or 0)) * (1 + 1e-6)
    return any(abs(value - scale * abs(each)) <= half for each in pool for scale in (1, 100))


def _parse_number(text: str) -> float:
    return float(text.replace("−", "-").replace(",", ""))


def numbers_of(content: object) -> Iterator[float]:
    """Every number in a result, including those in its texts."""
    if isinstance(content, str):
        yield from parse_numbers(content)
    elif isinstance(content, int | float):
        yield float(content)
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from numbers_of(value)
    elif isinstance(content, Sequence):
        for value in content:
            yield from numbers_of(value)


def _ids(result: Result) -> list[str]:
    """Ids of a result and of results nested in it."""
    found = list(result.ids)
    for value in dict(result).values():
        parts = value if isinstance(value, tuple) else (value,)
        for part in parts:
            if isinstance(part, Result):
                found += _ids(part)
    return found
