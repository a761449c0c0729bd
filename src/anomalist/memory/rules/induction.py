"""Rule induction from normal captions, after AnomalyRuler, without a language model.

Batches, votes and the contrast are those of AnomalyRuler, whose aggregation is asymmetric: normal elements
need a majority of the batches, because what is normal is seen again and again and what a captioner makes
up once is not; anomalous elements are all kept. What a language model would find in a batch, its
activities and objects, is read off the statements of its captions. The anomalies that it would think of
are antonyms (where things go at the usual speed and never very fast, very fast is an anomaly) and the
rules that ship. A rule that the normal captions show to be usual at this site is dropped, and says why.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from anomalist.memory.clauses import (
    find_modifiers,
    modifier_values,
    modifiers_conflict,
    strip_modifiers,
    verb_forms,
)
from anomalist.memory.embedding import Encoder, load_encoder
from anomalist.memory.rules.rule import (
    CaptionFile,
    Rule,
    RuleKind,
    RuleSupport,
    SupportingCaption,
    shipped_anomalies,
    usual_clauses,
)
from anomalist.memory.rules.statements import KeywordFinder, content_words, plain_form, statements
from anomalist.types.common import FloatArray

SAME_ELEMENT_SIMILARITY = 0.75
"""Cosine similarity from which two elements say the same."""

MAJORITY_SHARE = 0.5
"""A normal element is in more than this share of the batches."""


@dataclass(frozen=True)
class RuleElement:
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
class ElementGroup:
    """Elements that say the same, by the one that is said most often."""

    text: str
    kind: RuleKind
    batches: tuple[int, ...]
    captions: tuple[int, ...]


def group_elements(elements: Sequence[RuleElement], encoder: Encoder) -> tuple[ElementGroup, ...]:
    """Cluster elements that say the same, the most frequent first (leader clustering).

    The element with the most captions leads a group; every other one joins the leader that it is most alike
    to and no opposite of, or leads a group itself.
    """
    if not elements:
        return ()
    texts = [plain_form(element.text) for element in elements]
    said: dict[str, int] = {}
    for text, element in zip(texts, elements, strict=True):
        said[text] = said.get(text, 0) + len(element.captions)
    order = sorted(said, key=lambda text: -said[text])
    leader_of = _assign_leaders(order, encoder.encode(order))
    members: dict[str, list[RuleElement]] = {}
    for text, element in zip(texts, elements, strict=True):
        members.setdefault(leader_of[text], []).append(element)
    groups = [_merge_elements(leader, found) for leader, found in members.items()]
    return tuple(sorted(groups, key=lambda group: (-len(group.batches), -len(group.captions), group.text)))


def majority_vote(groups: Sequence[ElementGroup], batches: int) -> tuple[ElementGroup, ...]:
    """The groups that more than half of the batches say."""
    return tuple(group for group in groups if len(group.batches) > MAJORITY_SHARE * batches)


def _assign_leaders(order: Sequence[str], vectors: FloatArray) -> dict[str, str]:
    """The leader of each text; texts come in the order in which they may lead."""
    leaders: list[int] = []
    led = {}
    sides = [find_modifiers(text) for text in order]
    lead_vectors = np.empty_like(vectors)
    for row, text in enumerate(order):
        alike = lead_vectors[: len(leaders)] @ vectors[row]
        joins = [
            int(place)
            for place in np.argsort(-alike, kind="stable")[: (alike >= SAME_ELEMENT_SIMILARITY).sum()]
            if not modifiers_conflict(sides[row], sides[leaders[place]])
        ]
        if joins:
            led[text] = order[leaders[joins[0]]]
        else:
            lead_vectors[len(leaders)] = vectors[row]
            leaders.append(row)
            led[text] = text
    return led


def _merge_elements(leader: str, members: Sequence[RuleElement]) -> ElementGroup:
    kinds = [element.kind for element in members if plain_form(element.text) == leader]
    return ElementGroup(
        leader,
        kinds[0],
        tuple(sorted({element.batch for element in members})),
        tuple(sorted({row for element in members for row in element.captions})),
    )


_CONTRAST_DIMENSIONS = ("pace", "way", "depth")
_MIN_CAPTIONS_FOR_CONTRAST = 50  # captions that say it one way: fewer don't show that it is never otherwise
_UNHEARD_OF_SHARE = 0.01  # of these captions: what is said in more isn't unheard of
_CONTRAST_EXAMPLES = 5


def contrast_rules(elements: Sequence[RuleElement], file: CaptionFile, batches: int) -> tuple[Rule, ...]:
    """Anomalous rules on the sides of a dimension that captions which speak of it never are on.

    Parameters
    ----------
    elements : what the batches say, put plainly.
    file : the captions.
    batches : number of batches.
    """
    found: list[Rule] = []
    for dimension in _CONTRAST_DIMENSIONS:
        said = [
            (find_modifiers(e.text)[dimension], e) for e in elements if dimension in find_modifiers(e.text)
        ]
        rows = {row for _, element in said for row in element.captions}
        voted = {element.batch for _, element in said}
        if len(rows) < _MIN_CAPTIONS_FOR_CONTRAST or len(voted) <= MAJORITY_SHARE * batches:
            continue
        for side in modifier_values(dimension):
            of_side = {row for other, element in said if other == side for row in element.captions}
            if len(of_side) < max(_UNHEARD_OF_SHARE * len(rows), 1):
                found.append(_contrast_rule(side, said, rows, voted, file, batches))
    return tuple(found)


def _contrast_rule(
    side: str,
    said: Sequence[tuple[str, RuleElement]],
    rows: set[int],
    voted: set[int],
    file: CaptionFile,
    batches: int,
) -> Rule:
    bare: Counter[str] = Counter()
    for _, element in said:
        bare[strip_modifiers(element.text, *_CONTRAST_DIMENSIONS, "place")] += len(element.captions)
    usual = Counter(other for other, element in said for _ in element.captions).most_common(1)[0][0]
    shown = tuple(sorted(rows))
    return Rule(
        id="rule:new-1",
        text=f"{bare.most_common(1)[0][0]} {side}",
        polarity="anomalous",
        kind="activity",
        keywords=(side,),
        severity=1,
        origin="induced",
        support=RuleSupport(
            source=file.source,
            sha256=file.sha256,
            captions=shown,
            of=len(file.captions),
            batches=len(voted),
            of_batches=batches,
            examples=tuple(
                SupportingCaption(number=n, text=file.captions[n - 1][:600])
                for n in shown[:_CONTRAST_EXAMPLES]
            ),
        ),
        note=f'By contrast: {len(rows)} captions say how, mostly "{usual}", and hardly any "{side}".',
    )


NUM_BATCHES = 10
MAX_NORMAL_RULES = 60
"""Normal rules: what is said less often than these adds nothing to read."""

EXAMPLES_PER_RULE = 5
"""Captions kept with a rule, for people to read."""

USUAL_SHARE = 1 / 3
"""Of the batches: what is said in as many is usual here, and no anomaly."""

_MIN_CAPTIONS_IF_USUAL = 2
_SAME_THING_SIMILARITY = 0.65  # cosine similarity of a statement and an anomaly that it shows to be usual
_SAME_TOPIC_SIMILARITY = 0.45  # the same where the statement also says one of its keywords
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


def induce_rules(
    file: CaptionFile, *, batches: int = NUM_BATCHES, seed: int = 0, encoder: Encoder | None = None
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
    elements = _batch_elements(file.captions, drawn)
    found = rules_from_groups(
        file, group_elements(elements, encoder), shipped_anomalies(), len(drawn), encoder
    )
    # The captions themselves showed that these are never so.
    return replace(found, rules=(*found.rules, *contrast_rules(elements, file, len(drawn))))


def rules_from_groups(
    file: CaptionFile,
    groups: Sequence[ElementGroup],
    anomalies: Sequence[Rule],
    batches: int,
    encoder: Encoder,
) -> Induction:
    """From all that batches say, and anomalies to contrast it with, to rules."""
    normal = [group for group in majority_vote(groups, batches) if len(group.text) <= 300][:MAX_NORMAL_RULES]
    rules = [normal_rule(number, group, file, batches) for number, group in enumerate(normal, start=1)]
    usual = [
        group
        for group in groups
        if len(group.batches) >= USUAL_SHARE * batches and len(group.captions) >= _MIN_CAPTIONS_IF_USUAL
    ]
    reasons = _reasons_to_drop(anomalies, usual, batches, encoder)
    kept = [
        _without_usual_words(rule, usual)
        for rule, reason in zip(anomalies, reasons, strict=True)
        if not reason
    ]
    dropped = [
        rule.replace(enabled=False, note=reason)
        for rule, reason in zip(anomalies, reasons, strict=True)
        if reason
    ]
    return Induction((*rules, *kept), tuple(dropped), batches)


def draw_batches(
    captions: Sequence[str], seed: int, batches: int = NUM_BATCHES
) -> tuple[tuple[int, ...], ...]:
    """Rows (from 1) of the captions that aren't empty, drawn into batches, or fewer if they are fewer.

    They are drawn because neighbouring captions of a video say the same.
    """
    rows = np.array([row for row, caption in enumerate(captions, start=1) if caption.strip()])
    drawn: npt.NDArray[np.intp] = np.random.default_rng(seed).permutation(rows)
    parts = np.array_split(drawn, max(min(batches, len(rows)), 1))
    return tuple(tuple(sorted(part.tolist())) for part in parts if len(part))


def statement_kind(plain: str) -> RuleKind:
    """What a plain statement is about: where somebody is, what is done, or what is there."""
    if _PLACE.match(plain):
        return "place"
    words = [match.group() for match in re.finditer(r"[^\W_]+(?:['’.-][^\W_]+)*|,", plain)]
    return "activity" if any(verb_forms(words)) else "object"


def support_of(group: ElementGroup, file: CaptionFile, batches: int) -> RuleSupport:
    """Where a group comes from, with the first of its captions."""
    return RuleSupport(
        source=file.source,
        sha256=file.sha256,
        captions=group.captions,
        of=len(file.captions),
        batches=len(group.batches),
        of_batches=batches,
        examples=tuple(
            SupportingCaption(number=row, text=file.captions[row - 1][:600])
            for row in group.captions[:EXAMPLES_PER_RULE]
        ),
    )


def normal_rule(number: int, group: ElementGroup, file: CaptionFile, batches: int) -> Rule:
    """The rule that a group makes; its id stands until it is stored."""
    return Rule(
        id=f"rule:new-{number}",
        text=group.text,
        polarity="normal",
        kind=group.kind,
        keywords=content_words(group.text)[:5],
        origin="induced",
        support=support_of(group, file, batches),
    )


def _batch_elements(captions: Sequence[str], batches: Sequence[Sequence[int]]) -> list[RuleElement]:
    """Every different statement of every batch that affirms something."""
    found = []
    for number, rows in enumerate(batches):
        said: dict[str, list[int]] = {}
        for row in rows:
            for part in dict.fromkeys(statements(captions[row - 1])):
                if not part.has_negation:
                    said.setdefault(part.plain, []).append(row)
        found += [
            RuleElement(text, statement_kind(text), number, tuple(places)) for text, places in said.items()
        ]
    return found


def _without_usual_words(rule: Rule, usual: Sequence[ElementGroup]) -> Rule:
    """The rule without keywords that are said often here: alone they tell nothing any more."""
    finder = KeywordFinder(rule.keywords)
    said = {word for group in usual for word in finder.find(group.text)}
    if not said:
        return rule
    note = f"Said often here, so no keyword: {', '.join(sorted(said))}."
    left = tuple(word for word in rule.keywords if word not in said)
    return rule.replace(keywords=left, note=note)


def _reasons_to_drop(
    anomalies: Sequence[Rule], usual: Sequence[ElementGroup], batches: int, encoder: Encoder
) -> list[str]:
    """For each anomaly why it is none here, or ""."""
    if not usual or not anomalies:
        return ["" for _ in anomalies]
    vectors = encoder.encode([group.text for group in usual])
    alike = vectors @ encoder.encode([plain_form(rule.text) for rule in anomalies]).T
    ordinary = (vectors @ encoder.encode([plain_form(text) for text in usual_clauses()]).T).max(1)
    sides = [find_modifiers(group.text) for group in usual]
    reasons = []
    for column, rule in enumerate(anomalies):
        contrary = np.array([modifiers_conflict(find_modifiers(rule.text), each) for each in sides])
        says = [bool(KeywordFinder(rule.keywords).find(group.text)) for group in usual]
        same = (alike[:, column] >= _SAME_THING_SIMILARITY) & (alike[:, column] > ordinary)
        topic = np.array(says) & (alike[:, column] >= _SAME_TOPIC_SIMILARITY)
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
