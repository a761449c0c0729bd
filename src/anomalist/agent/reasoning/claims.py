"""Grounding of claims: sentences whose cited ids don't exist or don't fit are dropped, and counted."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from anomalist.types.common import Claim, Recall
from anomalist.types.image import REGION_ID, Evidence

_REGION_ID = re.compile(rf"\b{REGION_ID}\b")

SCORE_ID = "score"
"""The id of the image score and its calibration."""


def citable_ids(evidence: Evidence, recall: Recall) -> frozenset[str]:
    """Return every id that a claim about this picture may cite.

    These are the score, the regions, the labelled cases that they are like, and what was recalled.
    """
    regions = (region.id for region in evidence.regions)
    cases = (case for region in evidence.regions if region.known for case in region.known.cases)
    return frozenset((SCORE_ID, *regions, *cases, *(item.id for item in recall.items)))


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
