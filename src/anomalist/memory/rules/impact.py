"""Checks of rules: contradictions, what a change would match in past runs, hits and false alarms.

Stored records of runs are turned into captions of events and pictures, so that rules can be matched with
them before a change is saved.
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
"""Cosine similarity from which two rules are about the same: something to look at, not to refuse."""

_NOBODY_WORDS = re.compile(r"\b(?:nobody|no[- ]one|no\s+(?:person|people|human))\b", re.I)
_NEGATION_WORDS = re.compile(r"\b(?:not|no|never|without|isn't|aren't)\b\s*", re.I)


class Contradiction(Frozen):
    """A rule that another one contradicts."""

    rule: str = Field(description="id of the other rule")
    text: str
    why: Literal["polarity", "denial", "keyword"] = Field(
        description="it calls the same the opposite; it denies what this one says; a keyword is in its text"
    )
    similarity: float = Field(description="cosine similarity of the texts without their denials")
    words: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """For people."""
        what = {
            "polarity": f"calls the same the opposite (similarity {self.similarity:.2f})",
            "denial": f"says the opposite, and is of the same polarity (similarity {self.similarity:.2f})",
            "keyword": f"names what is a keyword of an anomaly: {', '.join(self.words)}",
        }[self.why]
        return f'{self.rule} "{self.text}" {what}.'


def find_contradictions(
    rule: Rule, others: Sequence[Rule], encoder: Encoder | None = None
) -> tuple[Contradiction, ...]:
    """The enabled rules that contradict one, the most alike first.

    Two rules contradict each other when they are about the same and either one is normal and the other
    anomalous, or one denies what the other says; and when a keyword of an anomaly stands in a normal rule.
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
    """Keywords of the anomalous rule that the text of the normal one holds."""
    anomalous, normal = (one, other) if one.polarity == "anomalous" else (other, one)
    return KeywordFinder(anomalous.keywords).find(normal.text)


def _without_negation(text: str) -> str:
    """What a text is about, whether or not it denies it."""
    return plain_form(_NEGATION_WORDS.sub("", _NOBODY_WORDS.sub("a person", text)))


@dataclass(frozen=True)
class RunCaption:
    """What stored records say about one thing.

    Parameters
    ----------
    source, part : the picture or clip, and the event in it ("E1"); "" for the whole.
    text : all that was said of it, in sentences.
    severity : as it was decided.
    """

    source: str
    part: str
    text: str
    severity: int = 0


class ChangedMatch(Frozen):
    """A finding whose matches differ between two sets of rules."""

    source: str
    part: str
    text: str
    gained: tuple[str, ...] = Field(description="ids of rules that would match it")
    lost: tuple[str, ...] = Field(description="ids of rules that match it now and wouldn't")
    floor_before: int = Field(description="severity that the rules which match ask for at least")
    floor_after: int


class RuleImpact(Frozen):
    """What a change of rules would have changed."""

    looked_at: int = Field(description="events and pictures")
    matched_before: int
    matched_after: int
    changed: tuple[ChangedMatch, ...]


def rule_impact(
    before: Sequence[Rule], after: Sequence[Rule], said: Sequence[RunCaption], encoder: Encoder | None = None
) -> RuleImpact:
    """Match the same texts with both sets of rules.

    Parameters
    ----------
    before, after : all rules of the profile; disabled ones don't count.
    said : what stored records say.
    """
    encoder = encoder or load_encoder()
    texts = [each.text for each in said]
    old, new = (RuleMatcher(rules, encoder=encoder).read(texts).matches for rules in (before, after))
    floors = [{rule.id: rule.severity for rule in rules} for rules in (before, after)]
    changed = []
    for each, was, now in zip(said, old, new, strict=True):
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
        looked_at=len(said),
        matched_before=sum(map(bool, old)),
        matched_after=sum(map(bool, new)),
        changed=tuple(changed),
    )


def _rules_missing_in(matches: Sequence[RuleMatch], others: Sequence[RuleMatch]) -> tuple[str, ...]:
    known = {match.rule for match in others}
    return tuple(match.rule for match in matches if match.rule not in known)


class RuleTally(Frozen):
    """One anomalous rule over the feedback of its profile."""

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
    """Tallies of the anomalous rules that match any of the cases, the most false alarms first.

    The current rules are matched with the texts of the cases, so that a change shows at once.

    Parameters
    ----------
    rules : of one profile.
    cases : feedback on findings of that profile that holds, the newest first.
    """
    told = [case for case in cases if case.text.strip()]
    matches = RuleMatcher(rules, encoder=encoder).read([case.text for case in told]).matches
    found = []
    for rule in rules:
        mine = [
            case
            for case, fitted in zip(told, matches, strict=True)
            if any(match.rule == rule.id for match in fitted)
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
    """Whether a person agreed that the finding matters; None where that was not said."""
    if case.action in ("escalate", "dismissed"):
        return case.action == "escalate"
    if case.action == "seen" or case.severity is None:
        return None
    return case.severity > 0  # confirmed or corrected: a picture with this severity


def run_captions(folder: Path) -> tuple[RunCaption, ...]:
    """What the records of a run say: of every event of ``triage``, of every picture of ``inspect``.

    Raises DataError when the folder holds neither, or a row is damaged.
    """
    if (folder / CLIPS).is_file():
        return tuple(said for record in ClipRunFolder(folder).records() for said in _clip_captions(record))
    if (folder / RECORDS).is_file():
        return tuple(
            _picture_caption(record) for record in ImageRunFolder(folder).records() if record.status == "ok"
        )
    raise DataError(
        f'"{folder}" is no run folder: it holds neither {CLIPS} nor {RECORDS}.',
        "Make one with: anomalist triage … --out DIR, or inspect … --out DIR",
    )


def event_text(event: Event) -> str:
    """What was measured of an event, and what a model saw in it."""
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
    """What the records of a run say, as captions; for footage or pictures that were all normal.

    Raises DataError when the folder holds no records, or nothing is said in them.
    """
    said = [each.text for each in run_captions(folder)]
    if not any(text.strip() for text in said):
        raise DataError(
            f'The records in "{folder}" say nothing: no event was found.',
            "Put normal footage into words: anomalist rules captions VIDEO… --profile NAME > normal.csv",
        )
    rows = folder / (CLIPS if (folder / CLIPS).is_file() else RECORDS)
    return CaptionFile(str(folder), file_sha256(rows), tuple(said))
