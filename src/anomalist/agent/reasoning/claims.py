"""Grounding of claims: sentences whose cited ids don't exist or don't fit are dropped, and counted."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from anomalist.types.clip import Event
from anomalist.types.common import Claim, Recall
from anomalist.types.image import REGION_ID, Evidence

_REGION_ID = re.compile(rf"\b{REGION_ID}\b")

SCORE_ID = "score"
"""The id of the image score and its calibration."""
INPUT_ID = "input"
"""The id of how the picture as a whole compares with the normal ones."""


def citable_ids(evidence: Evidence, recall: Recall) -> frozenset[str]:
    """Return every id that a claim about this picture may cite.

    These are the score, the whole picture, the regions, the weak places beside them, the labelled cases that
    regions are like, and what was recalled.
    """
    places = (place.id for place in evidence.places)
    cases = (case for region in evidence.regions if region.known for case in region.known.cases)
    inputs = (INPUT_ID,) if evidence.input_shift is not None else ()
    return frozenset((SCORE_ID, *inputs, *places, *cases, *(item.id for item in recall.items)))


def citable_event_ids(event: Event) -> frozenset[str]:
    """Return every id that a claim about this event may cite: its own, its tracks, and what was recalled."""
    return frozenset((event.id, *(track.id for track in event.tracks), *(item.id for item in event.recalled)))


def model_claims(
    sentences: Iterable[tuple[str, Collection[str]]], allowed_ids: Collection[str]
) -> tuple[tuple[Claim, ...], tuple[str, ...]]:
    """Make claims of a model's sentences, each once.

    Parameters
    ----------
    sentences : (text, ids that it cites), in the order in which they are shown.
    allowed_ids : ids that exist, as from `citable_ids` or `citable_event_ids`.

    Returns
    -------
    The claims that hold, and the other sentences as texts: first those without text or ids, then those that
    `filter_claims` drops.
    """
    unique = dict.fromkeys((text, tuple(dict.fromkeys(ids))) for text, ids in sentences)
    bare = [quote_with_ids(text, ids) for text, ids in unique if not text or not ids]
    claims = [Claim(text=text, evidence=ids, source="model") for text, ids in unique if text and ids]
    kept, dropped = filter_claims(claims, allowed_ids)
    return kept, (*bare, *(quote_with_ids(claim.text, claim.evidence) for claim in dropped))


def quote_with_ids(text: str, ids: Collection[str]) -> str:
    """Quote a dropped statement with the ids that it cites."""
    return f"{text} [{', '.join(ids) or 'no ids'}]"


def filter_claims(
    claims: Iterable[Claim], allowed_ids: Collection[str]
) -> tuple[tuple[Claim, ...], tuple[Claim, ...]]:
    """Keep the claims all of whose ids exist and are those that the sentence speaks of.

    Parameters
    ----------
    claims : in the order in which they are shown.
    allowed_ids : ids that exist, as from `citable_ids`.

    Returns
    -------
    The claims that hold and those that are dropped, in their order. One unknown id drops its claim: a
    sentence that rests in part on nothing can't be repaired by citing less. A sentence about R2 that cites
    R3 alone may mean either, so it goes, too.
    """
    kept: list[Claim] = []
    dropped: list[Claim] = []
    for claim in claims:
        exist = all(key in allowed_ids for key in claim.evidence)
        (kept if exist and not _names_other_regions(claim, allowed_ids) else dropped).append(claim)
    return tuple(kept), tuple(dropped)


def _names_other_regions(claim: Claim, allowed_ids: Collection[str]) -> bool:
    """Whether a sentence cites regions and names others only. What isn't the id of a region is no name."""
    cited = set(filter(_REGION_ID.fullmatch, claim.evidence))
    named = set(_REGION_ID.findall(claim.text)).intersection(allowed_ids)
    return bool(cited and named) and cited.isdisjoint(named)
