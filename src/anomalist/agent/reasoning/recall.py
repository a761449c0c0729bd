"""Recall for a verdict: similar past cases and matching rules, as sentences that cite them.

For pictures: feedback on regions with similar measured attributes, and rules that the measured captions
match. For video events: rules and scenes, in addition to what was measured.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from anomalist.agent.reasoning.wording import region_sentence, shorten_quote
from anomalist.memory.cases import Action, CaseStore, Feedback, SimilarCase, list_cases
from anomalist.memory.recall import CaptionMemory
from anomalist.memory.rules.store import rules_for
from anomalist.settings import Settings
from anomalist.storage.files import digest_of
from anomalist.storage.row_store import is_stored
from anomalist.types.clip import ClipRecord, Event
from anomalist.types.common import SEVERITIES, Claim, FloatArray, Recall, Recalled
from anomalist.types.image import Evidence, Media, Record, Region
from anomalist.vision.motion.events import SIGNATURE_SPACE, event_signature

REGION_VECTOR_SPACE = "measured region 1"
"""Name and version of the embedding space of `case_vector`."""

MIN_CASE_SIMILARITY = 0.8
"""Cosine similarity from which two regions count as similar."""


def finding_sentence(record: Record, region: str | None = None) -> str:
    """One sentence on a region, or on the one with the highest peak if ``region`` is None."""
    found = [each for each in record.regions if region in (None, each.id)]
    if not found:
        return "No single place stands out."
    size = (record.height or 1, record.width or 1)
    return region_sentence(found[0], size, "the inspected area", record.basis).partition(": ")[2]


def case_vector(record: Record, region: str | None = None) -> FloatArray | None:
    """`region_vector` of a region, or of the one with the highest peak; None where there is none."""
    found = [each for each in record.regions if region in (None, each.id)]
    return region_vector(found[0]) if found else None


def region_vector(region: Region) -> FloatArray:
    """Descriptor of a region (shape, size, tone, texture, border, orientation): unit vector, float32 (8,).

    Position is left out: the same kind of scratch may lie anywhere.
    """
    about = region.attributes
    angle = math.radians(2 * about.orientation) if about.orientation is not None else None
    vector = np.array(
        [
            math.log(about.elongation) - 0.7,
            (math.log10(max(about.relative_size, 1e-6)) + 2.5) / 1.5,
            math.tanh(about.contrast_sigma / 2),
            math.tanh(about.contrast / 40),
            math.tanh(math.log(max(about.texture_ratio, 1e-2))),
            0.5 if about.edges else -0.5,
            0.0 if angle is None else 0.3 * math.cos(angle),
            0.0 if angle is None else 0.3 * math.sin(angle),
        ],
        np.float32,
    )
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


MAX_CASES = 3
"""Past cases that are recalled for one picture."""


def event_feedback(
    record: ClipRecord, event: Event, action: Action, note: str = ""
) -> tuple[Feedback, dict[str, FloatArray]]:
    """Feedback on an event, and the embedding by which events like it are ranked."""
    feedback = Feedback(
        action=action,
        media="event",
        source=record.source,
        sha256=record.sha256,
        key=record.key,
        part=event.id,
        start=event.start,
        end=event.end,
        text=event.caption.text,
        kind=event.kind,
        severity=event.severity,
        profile=record.scene,
        note=note,
    )
    return feedback, {SIGNATURE_SPACE: event_vector(record, event)}


def event_vector(record: ClipRecord, event: Event) -> FloatArray:
    """The signature of an event of a recorded clip; see `event_signature`."""
    return event_signature(event, (record.height or 1, record.width or 1))


class PictureMemory:
    """Past cases and rules of one profile; a `anomalist.memory.recall.Memory`.

    Feedback that is given during a run counts from the next picture on. No file is created.

    Parameters
    ----------
    profile : its name in feedback and rules.
    path : file of cases and rules; by default that of this user.

    Raises DataError, from any method, when the file is damaged.
    """

    def __init__(self, profile: str, path: Path | None = None) -> None:
        self.profile = profile
        self.path = path or Settings().cases
        # The shipped rules are about people and vehicles, not about parts.
        rules = [rule for rule in rules_for(profile, self.path) if rule.origin != "shipped"]
        self._rules = CaptionMemory(rules) if rules else None

    @property
    def digest(self) -> str:
        """Hex digest of all rules and cases that count; part of the settings of a run."""
        cases = [case.id for case in list_cases(self.path, profile=self.profile)]
        return digest_of(self._rules.digest if self._rules else "", *cases)

    def recall(self, media: Media, evidence: Evidence) -> Recall:
        """Cases similar to any region, the most similar first, then rules that measured captions match."""
        if not evidence.regions:
            return Recall()
        items = [_recalled_case(each) for each in self._similar_cases(evidence)]
        if self._rules is not None:
            size = media.pixels.shape[0], media.pixels.shape[1]
            captions = [
                region_sentence(each, size, "the inspected area", evidence.basis) for each in evidence.regions
            ]
            items.extend(self._rules.recall([text.partition(": ")[2] for text in captions]))
        return Recall(items=tuple(items))

    def _similar_cases(self, evidence: Evidence) -> list[SimilarCase]:
        if not is_stored(self.path):
            return []
        best: dict[str, SimilarCase] = {}
        vectors = [region_vector(region) for region in evidence.regions]
        with CaseStore(self.path) as store:
            alike = store.similar_to_each(REGION_VECTOR_SPACE, vectors, MAX_CASES, profile=self.profile)
        for found in (each for several in alike for each in several):
            known = best.get(found.case.id)
            if found.similarity >= MIN_CASE_SIMILARITY and (
                known is None or found.similarity > known.similarity
            ):
                best[found.case.id] = found
        return sorted(best.values(), key=lambda each: -each.similarity)[:MAX_CASES]


def _recalled_case(similar: SimilarCase) -> Recalled:
    """A case as a verdict cites it: who gave which feedback on what, and when."""
    case = similar.case
    if case.severity == 0:
        said = "it is fine"
    else:
        defect = " to a defect" if case.action == "corrected" else ""
        kind = f' "{case.kind}"' if case.kind else defect
        grade = f", {SEVERITIES[case.severity]}" if case.severity is not None else ""
        said = f"{case.action}{kind}{grade}"
    note = f"; {case.note}" if case.note else ""
    text = f"{case.who} said on {case.created[:10]}: {said}{note}. {case.text}".strip()
    return Recalled(id=case.id, text=text, similarity=round(similar.similarity, 4), source=case.source)


_EVENT_RECALL_PHRASES = {
    ("rule", "anomalous"): "This fits {id}",
    ("rule", "normal"): "{id} calls this usual",
    ("scene", "anomalous"): "The remembered scene that is most alike is {id}, an anomaly",
    ("scene", "normal"): "The remembered scene that is most alike is {id}, a usual one",
}


def add_recalled(event: Event, memory: CaptionMemory) -> Event:
    """The event with the rules and scenes that match its captions, the measured ones and a model's.

    A matching normal rule is added as a disagreement, which people see; the event stays.
    """
    recalled = memory.recall(event_captions(event))
    objections = [
        _recall_sentence(item) for item in recalled if item.side == "normal" and item.id[:5] == "rule:"
    ]
    claims = [Claim(text=_recall_sentence(item), evidence=(event.id, item.id)) for item in recalled]
    return event.replace(
        recalled=recalled, claims=(*event.claims, *claims), disagreements=(*event.disagreements, *objections)
    )


def event_captions(event: Event) -> tuple[str, ...]:
    """Captions of an event: as measured, in the usual wording of video captions, and by a model."""
    from anomalist.agent.reasoning.event_naming import object_noun
    from anomalist.vision.motion.captions import pace_words, size_word

    captions = [event.caption.text]
    for track in event.tracks[:1]:
        if track.direction:
            how = f"{track.direction} {pace_words(track.speed_ratio)} {event.caption.where}"
            captions.append(f"A {size_word(track)}{object_noun(event)} moves {how}.")
    if event.seen is not None:
        captions.append(event.seen.text)
    return tuple(captions)


def _recall_sentence(item: Recalled) -> str:
    """ "This fits rule:7 (similarity 0.66): a person is riding a bicycle." """
    lead = _EVENT_RECALL_PHRASES[item.id.partition(":")[0], item.side or "anomalous"].format(id=item.id)
    version = f"version {item.version}, " if item.version else ""
    quoted = shorten_quote(item.text).rstrip(".")
    return f"{lead} ({version}similarity {item.similarity:.2f}): {quoted}."
