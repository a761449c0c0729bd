"""Rules from normal captions without a language model: what is said often, and what is then not usual.

Batches, votes and the contrast are those of AnomalyRuler. What a language model would find in a batch, its
activities and objects, is read off the statements of its captions; the anomalies that it would think of are
the contraries that the language has, and those that ship. One that the normal captions show to be usual at
this site is dropped, and its rule says why.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from anomalist.memory.embedding import Encoder, load_encoder
from anomalist.memory.grammar import verb_forms
from anomalist.memory.opposites import opposed, sides_of
from anomalist.memory.rules.captions import CaptionFile
from anomalist.memory.rules.contrasting import contrasts
from anomalist.memory.rules.keywords import KeywordFinder, telling_words
from anomalist.memory.rules.rule import Example, Rule, RuleKind, Support
from anomalist.memory.rules.shipped import shipped_anomalies, usual_clauses
from anomalist.memory.rules.statements import plainly, statements
from anomalist.memory.rules.voting import Element, Group, by_vote, grouped

BATCHES = 10
MOST_NORMAL = 60
"""Normal rules: what is said less often than these adds nothing to read."""

EXAMPLES = 5
"""Captions kept with a rule, for people to read."""

USUAL_SHARE = 1 / 3
"""Of the batches: what is said in as many is usual here, and no anomaly."""

_LEAST_CAPTIONS = 2
_SAME_THING = 0.65  # cosine similarity of a statement and an anomaly that it shows to be usual
_SAME_TOPIC = 0.45  # the same where the statement also says one of its keywords
_PLACE = re.compile(
    r"^(?:a person is|people are)\s+(?:\w+ly\s+)?(?:in|on|at|near|inside|behind|by|under|next)\b"
)


@dataclass(frozen=True)
class Induction:
    """What normal captions lead to.

    Parameters
    ----------
    rules : normal ones by falling support, then the anomalous ones that hold; ids are given when they are
        stored.
    dropped : anomalous ones that are usual here, disabled, with the reason in their note.
    batches : number of batches.
    """

    rules: tuple[Rule, ...]
    dropped: tuple[Rule, ...]
    batches: int


def induce(
    file: CaptionFile, *, batches: int = BATCHES, seed: int = 0, encoder: Encoder | None = None
) -> Induction:
    """Induce rules from the captions of a scene as it usually is.

    Parameters
    ----------
    file : the captions; each takes part in one batch.
    batches : into how many they are drawn; fewer where there are fewer captions.
    seed : of the drawing of the batches.
    encoder : what makes vectors of texts; `load_encoder()` by default.
    """
    encoder = encoder or load_encoder()
    drawn = draw_batches(file.captions, seed, batches)
    elements = _elements(file.captions, drawn)
    found = concluded(file, grouped(elements, encoder), shipped_anomalies(), len(drawn), encoder)
    # The captions themselves showed that these are never so.
    return replace(found, rules=(*found.rules, *contrasts(elements, file, len(drawn))))


def concluded(
    file: CaptionFile, groups: Sequence[Group], anomalies: Sequence[Rule], batches: int, encoder: Encoder
) -> Induction:
    """From all that batches say, and anomalies to contrast it with, to rules."""
    normal = [group for group in by_vote(groups, batches) if len(group.text) <= 300][:MOST_NORMAL]
    rules = [normal_rule(number, group, file, batches) for number, group in enumerate(normal, start=1)]
    usual = [
        group
        for group in groups
        if len(group.batches) >= USUAL_SHARE * batches and len(group.captions) >= _LEAST_CAPTIONS
    ]
    reasons = _usual_here(anomalies, usual, batches, encoder)
    kept = [
        _without_usual_words(rule, usual)
        for rule, reason in zip(anomalies, reasons, strict=True)
        if not reason
    ]
    dropped = [
        rule.model_copy(update={"enabled": False, "note": reason})
        for rule, reason in zip(anomalies, reasons, strict=True)
        if reason
    ]
    return Induction((*rules, *kept), tuple(dropped), batches)


def draw_batches(captions: Sequence[str], seed: int, batches: int = BATCHES) -> tuple[tuple[int, ...], ...]:
    """Rows (from 1) of the captions that aren't empty, drawn into batches, or fewer if they are fewer.

    They are drawn because neighbouring captions of a video say the same.
    """
    rows = np.array([row for row, caption in enumerate(captions, start=1) if caption.strip()])
    drawn: npt.NDArray[np.intp] = np.random.default_rng(seed).permutation(rows)
    parts = np.array_split(drawn, max(min(batches, len(rows)), 1))
    return tuple(tuple(sorted(part.tolist())) for part in parts if len(part))


def kind_of(plain: str) -> RuleKind:
    """What a plain statement is about: where somebody is, what is done, or what is there."""
    if _PLACE.match(plain):
        return "place"
    words = [match.group() for match in re.finditer(r"[^\W_]+(?:['’.-][^\W_]+)*|,", plain)]
    return "activity" if any(verb_forms(words)) else "object"


def support_of(group: Group, file: CaptionFile, batches: int) -> Support:
    """Where a group comes from, with the first of its captions."""
    return Support(
        source=file.source,
        sha256=file.sha256,
        captions=group.captions,
        of=len(file.captions),
        batches=len(group.batches),
        of_batches=batches,
        examples=tuple(
            Example(number=row, text=file.captions[row - 1][:600]) for row in group.captions[:EXAMPLES]
        ),
    )


def normal_rule(number: int, group: Group, file: CaptionFile, batches: int) -> Rule:
    """The rule that a group makes; its id stands until it is stored."""
    return Rule(
        id=f"rule:new-{number}",
        text=group.text,
        polarity="normal",
        kind=group.kind,
        keywords=telling_words(group.text)[:5],
        origin="induced",
        support=support_of(group, file, batches),
    )


def _elements(captions: Sequence[str], batches: Sequence[Sequence[int]]) -> list[Element]:
    """Every different statement of every batch that affirms something."""
    found = []
    for number, rows in enumerate(batches):
        said: dict[str, list[int]] = {}
        for row in rows:
            for part in dict.fromkeys(statements(captions[row - 1])):
                if not part.denies:
                    said.setdefault(part.plain, []).append(row)
        found += [Element(text, kind_of(text), number, tuple(places)) for text, places in said.items()]
    return found


def _without_usual_words(rule: Rule, usual: Sequence[Group]) -> Rule:
    """The rule without keywords that are said often here: alone they tell nothing any more."""
    finder = KeywordFinder(rule.keywords)
    said = {word for group in usual for word in finder.find(group.text)}
    if not said:
        return rule
    note = f"Said often here, so no keyword: {', '.join(sorted(said))}."
    left = tuple(word for word in rule.keywords if word not in said)
    return rule.model_copy(update={"keywords": left, "note": note})


def _usual_here(
    anomalies: Sequence[Rule], usual: Sequence[Group], batches: int, encoder: Encoder
) -> list[str]:
    """For each anomaly why it is none here, or ""."""
    if not usual or not anomalies:
        return ["" for _ in anomalies]
    vectors = encoder.encode([group.text for group in usual])
    alike = vectors @ encoder.encode([plainly(rule.text) for rule in anomalies]).T
    ordinary = (vectors @ encoder.encode([plainly(text) for text in usual_clauses()]).T).max(1)
    sides = [sides_of(group.text) for group in usual]
    reasons = []
    for column, rule in enumerate(anomalies):
        contrary = np.array([opposed(sides_of(rule.text), each) for each in sides])
        says = [bool(KeywordFinder(rule.keywords).find(group.text)) for group in usual]
        same = (alike[:, column] >= _SAME_THING) & (alike[:, column] > ordinary)
        topic = np.array(says) & (alike[:, column] >= _SAME_TOPIC)
        shown = np.flatnonzero((same | topic) & ~contrary)
        if not len(shown):
            reasons.append("")
            continue
        best = usual[int(shown[alike[shown, column].argmax()])]
        reasons.append(
            f'Usual here: "{best.text[:120]}" is said in {len(best.batches)} of {batches} batches, '
            f"{len(best.captions)} captions."
        )
    return reasons
