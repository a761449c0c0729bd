"""The prompts of the two looks: describe the whole picture, then judge what was seen closer."""

from __future__ import annotations

from collections.abc import Sequence

from anomalist.agent.claims import SCORE
from anomalist.agent.evidence import region_claims, score_claim
from anomalist.agent.guidance import Guidance
from anomalist.prompts.rendering import Prompt, render
from anomalist.prompts.replies import KINDS, MOST_CLAIMS
from anomalist.types import Evidence, Media, Recall

DESCRIBE, JUDGE = "describe.v1", "judge.v1"

RECALLED_SHOWN = 5


def first_look(media: Media, evidence: Evidence, guidance: Guidance) -> Prompt:
    """Ask for a description of the whole picture, on which the regions are outlined."""
    height, width = media.size
    return render(
        DESCRIBE,
        source=media.source,
        width=width,
        height=height,
        regions=[region.id for region in evidence.regions],
        product=guidance.product,
        most_observations=MOST_CLAIMS,
    )


def second_look(
    media: Media,
    evidence: Evidence,
    recall: Recall,
    guidance: Guidance,
    captions: Sequence[str],
    text_seen: Sequence[str],
) -> Prompt:
    """Ask for a judgement.

    Parameters
    ----------
    captions : what each of the closer views shows, in their order.
    text_seen : what the model read in the picture at first look.
    """
    recalled = recall.items[:RECALLED_SHOWN]
    regions = [region.id for region in evidence.regions]
    return render(
        JUDGE,
        views=captions,
        score=score_claim(evidence).text,
        regions=[claim.text for claim in region_claims(media, evidence)],
        recalled=recalled,
        knowledge=guidance.knowledge,
        watch=guidance.watch,
        ignore=guidance.ignore,
        text_seen=text_seen,
        most_claims=MOST_CLAIMS,
        kinds=[kind for kind in KINDS if kind != "none"],
        ids=[SCORE, *regions, *(item.id for item in recalled)],
    )
