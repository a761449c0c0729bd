"""Rule induction from normal captions, after AnomalyRuler (Yang et al., ECCV 2024), without a language model.

Batches, majority vote and contrast are those of AnomalyRuler. Its aggregation is asymmetric: normal elements
need a majority of the batches, because what is normal recurs and what a captioner invents does not; anomalous
elements are all kept. The activities and objects that a language model would list for a batch are here the
statements of its captions. In place of the anomalies that it would propose, there are the rules that ship and
antonyms (where everything moves at the usual speed, "very fast" is an anomaly). An anomaly rule that the
normal captions show to be usual at this site is dropped, with the reason.
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
    can_be_rule,
    first_keywords,
    shipped_anomalies,
    usual_clauses,
)
from anomalist.memory.rules.statements import KeywordFinder, content_words, plain_form, statements
from anomalist.types.common import FloatArray

SAME_ELEMENT_SIMILARITY = 0.75
"""Cosine similarity from which two elements are the same."""

MAJORITY_SHARE = 0.5
"""A normal element is in more than this share of the batches."""


@dataclass(frozen=True)
class RuleElement:
    """One statement of one batch.

    Parameters
    ----------
    text : the element, a few words.
    kind : of the rule that it would make.
    batch : index of the batch.
    captions : rows of the captions that state it, from 1.
    """

    text: str
    kind: RuleKind
    batch: int
    captions: tuple[int, ...]


@dataclass(frozen=True)
class ElementGroup:
    """A cluster of elements with the same meaning, represented by the most frequent one."""

    text: str
    kind: RuleKind
    batches: tuple[int, ...]
    captions: tuple[int, ...]


def group_elements(elements: Sequence[RuleElement], encoder: Encoder) -> tuple[ElementGroup, ...]:
    """Leader clustering (Hartigan 1975) of elements with the same meaning, the most frequent group first.

    Elements come in order of their number of captions. Each joins the most similar leader from
    `SAME_ELEMENT_SIMILARITY` that it is no antonym of, or becomes a leader itself.
    """
    if not elements:
        return ()
    texts = [plain_form(element.text) for element in elements]
    counts: dict[str, int] = {}
    for text, element in zip(texts, elements, strict=True):
        counts[text] = counts.get(text, 0) + len(element.captions)
    order = sorted(counts, key=lambda text: -counts[text])
    leader_of = _assign_leaders(order, encoder.encode(order))
    members: dict[str, list[RuleElement]] = {}
    for text, element in zip(texts, elements, strict=True):
        members.setdefault(leader_of[text], []).append(element)
    groups = [_merge_elements(leader, found) for leader, found in members.items()]
    return tuple(sorted(groups, key=lambda group: (-len(group.batches), -len(group.captions), group.text)))


def majority_vote(groups: Sequence[ElementGroup], batches: int) -> tuple[ElementGroup, ...]:
    """The groups that occur in more than half of the batches."""
    return tuple(group for group in groups if len(group.batches) > MAJORITY_SHARE * batches)


def _assign_leaders(order: Sequence[str], vectors: FloatArray) -> dict[str, str]:
    """The leader of each text; ``order`` is the order in which texts may become leaders."""
    leaders: list[int] = []
    led = {}
    modifiers = [find_modifiers(text) for text in order]
    lead_vectors = np.empty_like(vectors)
    for row, text in enumerate(order):
        alike = lead_vectors[: len(leaders)] @ vectors[row]
        joins = [
            int(place)
            for place in np.argsort(-alike, kind="stable")[: (alike >= SAME_ELEMENT_SIMILARITY).sum()]
            if not modifiers_conflict(modifiers[row], modifiers[leaders[place]])
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
_MIN_CAPTIONS_FOR_CONTRAST = 50  # that mention the dimension; fewer don't show that a value never occurs
_UNHEARD_OF_SHARE = 0.01  # of these captions; a value with a larger share does occur
_CONTRAST_EXAMPLES = 5  # captions stored with a contrast rule


def contrast_rules(elements: Sequence[RuleElement], file: CaptionFile, batches: int) -> tuple[Rule, ...]:
    """Anomalous rules for the values of a dimension that hardly occur in the captions that mention it.

    Parameters
    ----------
    elements : statements of the batches, in plain form.
    file : the captions.
    batches : number of batches.
    """
    found: list[Rule] = []
    for dimension in _CONTRAST_DIMENSIONS:
        mentions = [
            (find_modifiers(e.text)[dimension], e) for e in elements if dimension in find_modifiers(e.text)
        ]
        rows = {row for _, element in mentions for row in element.captions}
        voted = {element.batch for _, element in mentions}
        if len(rows) < _MIN_CAPTIONS_FOR_CONTRAST or len(voted) <= MAJORITY_SHARE * batches:
            continue
        for value in modifier_values(dimension):
            with_value = {row for other, element in mentions if other == value for row in element.captions}
            if len(with_value) < max(_UNHEARD_OF_SHARE * len(rows), 1):
                rule = _contrast_rule(value, mentions, rows, voted, file, batches)
                found += [rule] if rule else []
    return tuple(found)


def _contrast_rule(
    value: str,
    mentions: Sequence[tuple[str, RuleElement]],
    rows: set[int],
    voted: set[int],
    file: CaptionFile,
    batches: int,
) -> Rule | None:
    """The rule for a value, from the most frequent statement that isn't too long; None without such a one."""
    bare: Counter[str] = Counter()
    for _, element in mentions:
        bare[strip_modifiers(element.text, *_CONTRAST_DIMENSIONS, "place")] += len(element.captions)
    usual = Counter(other for other, element in mentions for _ in element.captions).most_common(1)[0][0]
    shown = tuple(sorted(rows))
    texts = (f"{statement} {value}" for statement, _ in bare.most_common())
    text = next(filter(can_be_rule, texts), None)
    if text is None:
        return None
    return Rule(
        id="rule:new-1",
        text=text,
        polarity="anomalous",
        kind="activity",
        keywords=(value,),
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
        note=f'By contrast: {len(rows)} captions say how, mostly "{usual}", and hardly any "{value}".',
    )


NUM_BATCHES = 10
MAX_NORMAL_RULES = 60
"""Normal rules that are taken, those with the most support."""

EXAMPLES_PER_RULE = 5
"""Captions that are stored with a rule, for people to read."""

USUAL_SHARE = 1 / 3
"""Share of the batches from which an element is usual at the site, and so no anomaly."""

_MIN_CAPTIONS_IF_USUAL = 2
_SAME_THING_SIMILARITY = 0.65  # cosine similarity from which a usual statement rules an anomaly out
_SAME_TOPIC_SIMILARITY = 0.45  # the same for a statement that contains one of the anomaly's keywords
_PLACE = re.compile(
    r"^(?:a person is|people are)\s+(?:\w+ly\s+)?(?:in|on|at|near|inside|behind|by|under|next)\b"
)


@dataclass(frozen=True)
class Induction:
    """Result of an induction.

    Parameters
    ----------
    rules : normal rules by falling support, then anomalous ones; they get their ids when they are stored.
    dropped : anomalous rules that are usual at the site, disabled, with the reason in their note.
    batches : number of batches.
    """

    rules: tuple[Rule, ...]
    dropped: tuple[Rule, ...]
    batches: int


def induce_rules(
    file: CaptionFile, *, batches: int = NUM_BATCHES, seed: int = 0, encoder: Encoder | None = None
) -> Induction:
    """Induce rules from normal captions of a scene.

    Parameters
    ----------
    file : the captions; each takes part in one batch.
    batches : number of batches; fewer where there are fewer captions.
    seed : of the random assignment to batches.
    encoder : the sentence encoder; `load_encoder()` by default.
    """
    encoder = encoder or load_encoder()
    drawn = draw_batches(file.captions, seed, batches)
    elements = _batch_elements(file.captions, drawn)
    found = rules_from_groups(
        file, group_elements(elements, encoder), shipped_anomalies(), len(drawn), encoder
    )
    # Contrast rules need no check against the captions: they come from these.
    return replace(found, rules=(*found.rules, *contrast_rules(elements, file, len(drawn))))


def rules_from_groups(
    file: CaptionFile,
    groups: Sequence[ElementGroup],
    anomalies: Sequence[Rule],
    batches: int,
    encoder: Encoder,
) -> Induction:
    """Rules from the grouped elements of all batches and proposed anomalies: vote, and drop what is usual."""
    normal = [group for group in majority_vote(groups, batches) if can_be_rule(group.text)][:MAX_NORMAL_RULES]
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
    """Assign the non-empty captions, by row from 1, to ``batches`` batches at random, or one each to fewer.

    At random because neighbouring captions of a video are nearly equal.
    """
    rows = np.array([row for row, caption in enumerate(captions, start=1) if caption.strip()])
    drawn: npt.NDArray[np.intp] = np.random.default_rng(seed).permutation(rows)
    parts = np.array_split(drawn, max(min(batches, len(rows)), 1))
    return tuple(tuple(sorted(part.tolist())) for part in parts if len(part))


def statement_kind(plain: str) -> RuleKind:
    """The kind of a plain statement: "place" (where somebody is), "activity" or "object"."""
    if _PLACE.match(plain):
        return "place"
    words = [match.group() for match in re.finditer(r"[^\W_]+(?:['’.-][^\W_]+)*|,", plain)]
    return "activity" if any(verb_forms(words)) else "object"


def support_of(group: ElementGroup, file: CaptionFile, batches: int) -> RuleSupport:
    """The support of a group, with the first of its captions as examples."""
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
    """The normal rule of a group, with a provisional id until it is stored."""
    return Rule(
        id=f"rule:new-{number}",
        text=group.text,
        polarity="normal",
        kind=group.kind,
        keywords=first_keywords(content_words(group.text), 5),
        origin="induced",
        support=support_of(group, file, batches),
    )


def _batch_elements(captions: Sequence[str], batches: Sequence[Sequence[int]]) -> list[RuleElement]:
    """The distinct affirmative statements of every batch."""
    found = []
    for number, rows in enumerate(batches):
        rows_by_text: dict[str, list[int]] = {}
        for row in rows:
            for part in dict.fromkeys(statements(captions[row - 1])):
                if not (part.has_negation or part.appearance):
                    rows_by_text.setdefault(part.plain, []).append(row)
        found += [
            RuleElement(text, statement_kind(text), number, tuple(places))
            for text, places in rows_by_text.items()
        ]
    return found


def _without_usual_words(rule: Rule, usual: Sequence[ElementGroup]) -> Rule:
    """The rule without keywords that are frequent in normal captions and so indicate nothing."""
    finder = KeywordFinder(rule.keywords)
    frequent = {word for group in usual for word in finder.find(group.text)}
    if not frequent:
        return rule
    note = f"Said often here, so no keyword: {', '.join(sorted(frequent))}."
    left = tuple(word for word in rule.keywords if word not in frequent)
    return rule.replace(keywords=left, note=note)


def _reasons_to_drop(
    anomalies: Sequence[Rule], usual: Sequence[ElementGroup], batches: int, encoder: Encoder
) -> list[str]:
    """For each anomaly rule, why it is usual at the site and so dropped; "" where it is kept."""
    if not usual or not anomalies:
        return ["" for _ in anomalies]
    vectors = encoder.encode([group.text for group in usual])
    alike = vectors @ encoder.encode([plain_form(rule.text) for rule in anomalies]).T
    ordinary = (vectors @ encoder.encode([plain_form(text) for text in usual_clauses()]).T).max(1)
    modifiers = [find_modifiers(group.text) for group in usual]
    reasons = []
    for column, rule in enumerate(anomalies):
        contrary = np.array([modifiers_conflict(find_modifiers(rule.text), each) for each in modifiers])
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
