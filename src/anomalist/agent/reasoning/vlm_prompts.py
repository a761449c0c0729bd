"""Prompts of the VLM reasoner, describe and judge, and the user's guidance for them.

The first prompt asks for a description of the whole picture, the second for a judgement of the close-ups with
the measurements and what memory recalls. Users may state what to watch for, what to ignore and domain
knowledge of the product, also from a file in the format of MMAD (Jiang et al. 2025).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import RootModel, ValidationError

from anomalist.agent.reasoning.claims import SCORE_ID
from anomalist.agent.reasoning.evidence_reasoner import region_claims, score_claim
from anomalist.errors import DataError
from anomalist.prompts.schemas import MAX_CLAIMS, REPLY_KINDS
from anomalist.prompts.templates import Prompt, render
from anomalist.types.common import Recall
from anomalist.types.image import Evidence, Media

KnowledgeTexts = tuple[tuple[str, str], ...]
"""(kind of defect, "good" or "about"; text) pairs."""


@dataclass(frozen=True)
class Guidance:
    """The user's guidance in words. It goes into the prompts as data; the detector doesn't use it.

    Parameters
    ----------
    watch : what to pay attention to.
    ignore : what is no anomaly (language-guided, as in LAFT). It never clears an alarm of the detector.
    product : what the pictures show.
    knowledge : (kind, text) on the appearance of good and defective products.
    """

    watch: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    product: str | None = None
    knowledge: KnowledgeTexts = ()


NO_GUIDANCE = Guidance()


class _Knowledge(RootModel[dict[str, dict[str, str | dict[str, str]]]]):
    """MMAD's domain knowledge: data set → product → text, or → kind → text."""


def product_knowledge(path: Path, product: str) -> KnowledgeTexts:
    """Look up a product in a file in the format of MMAD's domain knowledge.

    Parameters
    ----------
    path : JSON: data set → product → kind of defect (or "good") → text; or data set → product → text.
    product : "bottle", or with its data set "MVTec/bottle" where several have it.

    Returns
    -------
    (kind, text) in the order of the file; a single text has the kind "about".

    Raises
    ------
    DataError : the file can't be read or has another form, the product is not in it, or in several data sets.
    """
    try:
        content = _Knowledge.model_validate(json.loads(path.read_text(encoding="utf-8"))).root
    except OSError as error:
        raise DataError(f"The knowledge file {path} can't be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        what = "has another form" if isinstance(error, ValidationError) else "is not JSON"
        raise DataError(
            f"The knowledge file {path} {what}.", "It must map data set to product to kind to text."
        ) from error
    return _knowledge_texts(_find_product(content, product, path))


def _find_product(
    content: Mapping[str, Mapping[str, str | dict[str, str]]], product: str, path: Path
) -> str | dict[str, str]:
    """The entry of a product, given with or without its data set."""
    entries = {
        (group, name): entry for group, products in content.items() for name, entry in products.items()
    }
    fitting = [key for key in entries if product in (key[1], "/".join(key))]
    if len(fitting) == 1:
        return entries[fitting[0]]
    if fitting:
        several = ", ".join("/".join(key) for key in fitting)
        raise DataError(f"{product} is in {path} more than once: {several}.", "Name one of these.")
    known = ", ".join(sorted("/".join(key) for key in entries)) or "nothing"
    raise DataError(f"{path} knows nothing about {product}.", f"It knows about {known}.")


def _knowledge_texts(entry: str | dict[str, str]) -> KnowledgeTexts:
    return (("about", entry),) if isinstance(entry, str) else tuple(entry.items())


DESCRIBE_PROMPT, JUDGE_PROMPT = "describe.v1", "judge.v1"

MAX_RECALLED_SHOWN = 5
"""Recalled cases and rules in the judge prompt."""


def describe_prompt(media: Media, evidence: Evidence, guidance: Guidance) -> Prompt:
    """Render the prompt for a description of the whole picture, on which the regions are outlined."""
    height, width = media.size
    return render(
        DESCRIBE_PROMPT,
        source=media.source,
        width=width,
        height=height,
        regions=[region.id for region in evidence.regions],
        product=guidance.product,
        most_observations=MAX_CLAIMS,
    )


def judge_prompt(
    media: Media,
    evidence: Evidence,
    recall: Recall,
    guidance: Guidance,
    captions: Sequence[str],
    text_seen: Sequence[str],
) -> Prompt:
    """Render the prompt for a judgement.

    Parameters
    ----------
    captions : of the close-up views, in order.
    text_seen : text in the picture that the model reported in its description.
    """
    recalled = recall.items[:MAX_RECALLED_SHOWN]
    regions = [region.id for region in evidence.regions]
    return render(
        JUDGE_PROMPT,
        views=captions,
        score=score_claim(evidence).text,
        regions=[claim.text for claim in region_claims(media, evidence)],
        recalled=recalled,
        knowledge=guidance.knowledge,
        watch=guidance.watch,
        ignore=guidance.ignore,
        text_seen=text_seen,
        most_claims=MAX_CLAIMS,
        kinds=[kind for kind in REPLY_KINDS if kind != "none"],
        ids=[SCORE_ID, *regions, *(item.id for item in recalled)],
    )
