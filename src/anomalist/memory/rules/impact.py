"""Checks of rules: contradictions, the effect of a change on past runs, hits and false alarms.

The records of past runs are turned into captions of events and pictures, which the rules before and after a
change are matched with, before it is saved.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from anomalist.errors import DataError
from anomalist.memory.cases import Case
from anomalist.memory.clauses import find_modifiers, modifiers_conflict, negated
from anomalist.memory.embedding import Encoder, load_encoder
from anomalist.memory.rules.matching import RuleMatch, RuleMatcher
from anomalist.memory.rules.rule import CaptionFile, Rule
from anomalist.memory.rules.statements import KeywordFinder, plain_form
from anomalist.storage.files import file_sha256
from anomalist.storage.run_folder import CLIPS, RECORDS, ClipRunFolder, ImageRunFolder
from anomalist.types.clip import ClipRecord, Event
from anomalist.types.common import Frozen
from anomalist.types.image import Record

SAME_TOPIC_SIMILARITY = 0.65
"""Cosine similarity from which two rules are about the same topic; a contradiction is a warning, no error."""

_NOBODY_WORDS = re.compile(r"\b(?:nobody|no[- ]one|no\s+(?:person|people|human))\b", re.I)
_NEGATION_WORDS = re.compile(r"\b(?:not|no|never|without|isn't|aren't)\b\s*", re.I)


class Contradiction(Frozen):
    """A stored rule that a new or changed rule contradicts."""

    rule: str = Field(description="id of the other rule")
    text: str
    why: Literal["polarity", "denial", "keyword"] = Field(
        description="same topic, opposite polarity; one negates the other; a keyword occurs in its text"
    )
    similarity: float = Field(description="cosine similarity of the texts without their negations")
    words: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The contradiction in a sentence."""
        what = {
            "polarity": f"calls the same the opposite (similarity {self.similarity:.2f})",
            "denial": f"says the opposite, and is of the same polarity (similarity {self.similarity:.2f})",
            "keyword": f"names what is a keyword of an anomaly: {', '.join(self.words)}",
        }[self.why]
        return f'{self.rule} "{self.text}" {what}.'


def find_contradictions(
    rule: Rule, others: Sequence[Rule], encoder: Encoder | None = None
) -> tuple[Contradiction, ...]:
    """The enabled rules that contradict a rule, the most similar first.

    Two rules on the same topic contradict each other when either their polarities differ or one negates the
    other, but not both. A normal rule whose text contains a keyword of an anomalous rule contradicts it, too.
    """
    found = []
    rivals = [other for other in others if other.enabled and other.id != rule.id]
    if not rivals:
        return ()
    texts = [_without_negation(each.text) for each in (rule, *rivals)]
    vectors = (encoder or load_encoder()).encode(texts)
    has_negation = negated(rule.text)
    for other, similarity in zip(rivals, (vectors[1:] @ vectors[0]).tolist(), strict=True):
        if modifiers_conflict(find_modifiers(rule.text), find_modifiers(other.text)):
            continue
        contrary = other.polarity != rule.polarity
        denied = negated(other.text) != has_negation
        words = _keywords_in(rule, other) if contrary else ()
        if similarity >= SAME_TOPIC_SIMILARITY and contrary != denied:
            why: Literal["polarity", "denial", "keyword"] = "polarity" if contrary else "denial"
        elif words and not denied:
            why = "keyword"
        else:
            continue
        found.append(
            Contradiction(
                rule=other.id, text=other.text, why=why, similarity=round(similarity, 4), words=words
            )
        )
    return tuple(sorted(found, key=lambda each: -each.similarity))


def _keywords_in(one: Rule, other: Rule) -> tuple[str, ...]:
    """Keywords of the anomalous rule that occur in the text of the normal rule."""
    anomalous, normal = (one, other) if one.polarity == "anomalous" else (other, one)
    return KeywordFinder(anomalous.keywords).find(normal.text)


def _without_negation(text: str) -> str:
    """The text in plain form without its negations, so that only its topic is compared."""
    return plain_form(_NEGATION_WORDS.sub("", _NOBODY_WORDS.sub("a person", text)))


@dataclass(frozen=True)
class RunCaption:
    """What stored records state about one event or picture.

    Parameters
    ----------
    source, part : the picture or clip, and the event in it ("E1"); "" for the whole.
    text : its caption and claims, in sentences.
    severity : the recorded severity, 0 to 4.
    """

    source: str
    part: str
    text: str
    severity: int = 0


class ChangedMatch(Frozen):
    """An event or picture whose matches differ between two sets of rules."""

    source: str
    part: str
    text: str
    gained: tuple[str, ...] = Field(description="ids of rules that would match it")
    lost: tuple[str, ...] = Field(description="ids of rules that match it now and no longer would")
    floor_before: int = Field(description="highest minimum severity of the rules that match now")
    floor_after: int


class RuleImpact(Frozen):
    """The effect that a change of rules would have had on past findings."""

    looked_at: int = Field(description="events and pictures")
    matched_before: int
    matched_after: int
    changed: tuple[ChangedMatch, ...]


def rule_impact(
    before: Sequence[Rule],
    after: Sequence[Rule],
    captions: Sequence[RunCaption],
    encoder: Encoder | None = None,
) -> RuleImpact:
    """Match the same captions with two sets of rules and compare.

    Parameters
    ----------
    before, after : all rules of the profile; disabled ones don't count.
    captions : of past runs, as `run_captions` gives them.
    """
    encoder = encoder or load_encoder()
    texts = [each.text for each in captions]
    old, new = (RuleMatcher(rules, encoder=encoder).read(texts).matches for rules in (before, after))
    floors = [{rule.id: rule.severity for rule in rules} for rules in (before, after)]
    changed = []
    for each, was, now in zip(captions, old, new, strict=True):
        one = ChangedMatch(
            source=each.source,
            part=each.part,
            text=each.text,
            gained=_rules_missing_in(now, was),
            lost=_rules_missing_in(was, now),
            floor_before=max((floors[0][match.rule] for match in was), default=0),
            floor_after=max((floors[1][match.rule] for match in now), default=0),
        )
        if one.gained or one.lost or one.floor_before != one.floor_after:
            changed.append(one)
    return RuleImpact(
        looked_at=len(captions),
        matched_before=sum(map(bool, old)),
        matched_after=sum(map(bool, new)),
        changed=tuple(changed),
    )


def _rules_missing_in(matches: Sequence[RuleMatch], others: Sequence[RuleMatch]) -> tuple[str, ...]:
    known = {match.rule for match in others}
    return tuple(match.rule for match in matches if match.rule not in known)


class RuleTally(Frozen):
    """Hits and false alarms of one anomalous rule, by the feedback on its profile."""

    rule: str
    text: str
    version: int
    hits: int = Field(description="findings that people escalated or confirmed, or corrected to a severity")
    false_alarms: int = Field(description="findings that were dismissed, or corrected to normal")
    unsettled: int = Field(description="findings that were only seen")
    cases: tuple[str, ...] = Field(description="ids, the newest first")


def rule_tallies(
    rules: Sequence[Rule], cases: Sequence[Case], encoder: Encoder | None = None
) -> tuple[RuleTally, ...]:
    """Hits and false alarms of the anomalous rules that match any case, the most false alarms first.

    The current rules are matched with the texts of the cases, so that a change of a rule shows at once.

    Parameters
    ----------
    rules : of one profile.
    cases : feedback on findings of that profile, not undone, the newest first.
    """
    with_text = [case for case in cases if case.text.strip()]
    matches = RuleMatcher(rules, encoder=encoder).read([case.text for case in with_text]).matches
    found = []
    for rule in rules:
        mine = [
            case
            for case, matched in zip(with_text, matches, strict=True)
            if any(match.rule == rule.id for match in matched)
        ]
        if mine:
            outcomes = [_is_hit(case) for case in mine]
            found.append(
                RuleTally(
                    rule=rule.id,
                    text=rule.text,
                    version=rule.version,
                    hits=outcomes.count(True),
                    false_alarms=outcomes.count(False),
                    unsettled=outcomes.count(None),
                    cases=tuple(case.id for case in mine),
                )
            )
    return tuple(sorted(found, key=lambda each: (-each.false_alarms, -each.hits, each.rule)))


def _is_hit(case: Case) -> bool | None:
    """Whether a person confirmed the finding; None where the feedback doesn't say."""
    if case.action in ("escalate", "dismissed"):
        return case.action == "escalate"
    if case.action == "seen" or case.severity is None:
        return None
    return case.severity > 0  # confirmed or corrected: a picture with this severity


def run_captions(folder: Path) -> tuple[RunCaption, ...]:
    """Captions from the records of a run: every event of ``triage``, every picture of ``inspect``.

    Raises DataError when the folder holds neither, or a row is damaged.
    """
    if (folder / CLIPS).is_file():
        return tuple(
            caption for record in ClipRunFolder(folder).records() for caption in _clip_captions(record)
        )
    if (folder / RECORDS).is_file():
        return tuple(
            _picture_caption(record) for record in ImageRunFolder(folder).records() if record.status == "ok"
        )
    raise DataError(
        f'"{folder}" is no run folder: it holds neither {CLIPS} nor {RECORDS}.',
        "Make one with: anomalist triage … --out DIR, or inspect … --out DIR",
    )


def event_text(event: Event) -> str:
    """The measured caption of an event and a model's description of it, in sentences."""
    sentences = [event.caption.text]
    if event.seen is not None:
        parts = (event.seen.subject, event.seen.action, event.seen.object)
        sentences.append(" ".join(part.strip(" .") for part in parts if part.strip()))
        sentences += [claim.text for claim in event.claims if claim.source == "model"][:1]
    return " ".join(f"{sentence.rstrip('.')}." for sentence in sentences if sentence.strip())


def _clip_captions(record: ClipRecord) -> Iterator[RunCaption]:
    for event in record.events:
        yield RunCaption(record.source, event.id, event_text(event), event.severity)


def _picture_caption(record: Record) -> RunCaption:
    text = " ".join(claim.text for claim in record.claims)
    return RunCaption(record.source, "", text, record.severity or 0)


def run_caption_file(folder: Path) -> CaptionFile:
    """The captions of a run as a `CaptionFile` for induction; for footage or pictures that were all normal.

    Raises DataError when the folder holds no records, or none of them has a caption.
    """
    captions = [each.text for each in run_captions(folder)]
    if not any(text.strip() for text in captions):
        raise DataError(
            f'The records in "{folder}" say nothing: no event was found.',
            "Put normal footage into words: anomalist rules captions VIDEO… --profile NAME > normal.csv",
        )
    rows = folder / (CLIPS if (folder / CLIPS).is_file() else RECORDS)
    return CaptionFile(str(folder), file_sha256(rows), tuple(captions))
