"""Elements of rules collected batch by batch, put together: normal ones by vote, anomalous ones all.

That is the asymmetric aggregation of AnomalyRuler. What is normal is seen again and again, and what a
captioner makes up once is not; what is anomalous can be thought of once and still be true.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomalist.memory.embedding import Encoder
from anomalist.memory.opposites import opposed, sides_of
from anomalist.memory.rules.rule import RuleKind
from anomalist.memory.rules.statements import plainly
from anomalist.types import FloatArray

ALIKE = 0.75
"""Cosine similarity from which two elements say the same."""

MAJORITY = 0.5
"""A normal element is in more than this share of the batches."""


@dataclass(frozen=True)
class Element:
    """What one batch says.

    Parameters
    ----------
    text : the element, a few words.
    kind : of a rule that it would make.
    batch : number of the batch, from 0.
    captions : rows of the captions that it comes from, from 1.
    """

    text: str
    kind: RuleKind
    batch: int
    captions: tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """Elements that say the same, by the one that is said most often."""

    text: str
    kind: RuleKind
    batches: tuple[int, ...]
    captions: tuple[int, ...]


def grouped(elements: Sequence[Element], encoder: Encoder) -> tuple[Group, ...]:
    """Put together what says the same, the most frequent first.

    The element with the most captions leads a group; every other one joins the leader that it is most alike
    to and no opposite of, or leads a group itself.
    """
    if not elements:
        return ()
    texts = [plainly(element.text) for element in elements]
    said: dict[str, int] = {}
    for text, element in zip(texts, elements, strict=True):
        said[text] = said.get(text, 0) + len(element.captions)
    order = sorted(said, key=lambda text: -said[text])
    leader_of = _led(order, encoder.encode(order))
    members: dict[str, list[Element]] = {}
    for text, element in zip(texts, elements, strict=True):
        members.setdefault(leader_of[text], []).append(element)
    groups = [_group(leader, found) for leader, found in members.items()]
    return tuple(sorted(groups, key=lambda group: (-len(group.batches), -len(group.captions), group.text)))


def by_vote(groups: Sequence[Group], batches: int) -> tuple[Group, ...]:
    """The groups that more than half of the batches say."""
    return tuple(group for group in groups if len(group.batches) > MAJORITY * batches)


def _led(order: Sequence[str], vectors: FloatArray) -> dict[str, str]:
    """The leader of each text; texts come in the order in which they may lead."""
    leaders: list[int] = []
    led = {}
    sides = [sides_of(text) for text in order]
    lead_vectors = np.empty_like(vectors)
    for row, text in enumerate(order):
        alike = lead_vectors[: len(leaders)] @ vectors[row]
        joins = [
            int(place)
            for place in np.argsort(-alike, kind="stable")[: (alike >= ALIKE).sum()]
            if not opposed(sides[row], sides[leaders[place]])
        ]
        if joins:
            led[text] = order[leaders[joins[0]]]
        else:
            lead_vectors[len(leaders)] = vectors[row]
            leaders.append(row)
            led[text] = text
    return led


def _group(leader: str, members: Sequence[Element]) -> Group:
    kinds = [element.kind for element in members if plainly(element.text) == leader]
    return Group(
        leader,
        kinds[0],
        tuple(sorted({element.batch for element in members})),
        tuple(sorted({row for element in members for row in element.captions})),
    )
