"""What a model writes about a place in the two looks of the pipeline: readable, and naming what is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anomalist.agent.parsing import ReplyError, read_reply
from anomalist.agent.policy import load_policy
from anomalist.agent.vlm import ModelReasoner
from anomalist.eval.seen_places import Place
from anomalist.prompts.replies import Judgement
from anomalist.types import Media, Recall, Region, UInt8Array
from anomalist.vision.drawn.facts import DEFECT_KINDS

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

_LOOKS = 2
"""Replies to a picture, when none has to be asked for again."""


@dataclass(frozen=True)
class Written:
    """Figures of what was written.

    Parameters
    ----------
    readable : share of places whose replies all fitted their form at the first try; None of no place.
    named : share of drawn places of which the sentences name the kind that is there, and no other; None where
        no place is drawn.
    """

    readable: float | None
    named: float | None


def judge_places(
    model: BaseChatModel, name: str, places: Sequence[Place], progress: Callable[[int], None]
) -> Written:
    """Have each place judged as the pipeline does; what can't be read names nothing."""
    readable, named = [], []
    for at, place in enumerate(places, start=1):
        reasoner = ModelReasoner(model, name, normal_crop=_beside(place))
        verdict = reasoner.judge(place.shown.media, place.shown.evidence, Recall(), load_policy())
        readable.append(len(verdict.replies) == _LOOKS)
        if place.facts.kind is not None:
            named.append(_names(verdict.replies[-1]) == {place.facts.kind})
        progress(at)
    return Written(*(float(np.mean(each)) if each else None for each in (readable, named)))


def _beside(place: Place) -> Callable[[Media, Region], UInt8Array | None]:
    return lambda media, region: place.shown.counterpart(region)


def _names(reply: str) -> set[str]:
    """The kinds that the sentences of a judgement name."""
    try:
        judgement = read_reply(reply, Judgement)
    except ReplyError:
        return set()
    text = " ".join(claim.text for claim in judgement.claims).lower()
    return {kind for kind in DEFECT_KINDS if kind in text}
