"""Verdicts on what a recorder says of a clip: borne out, contradicted, or not testable by measurement.

A sentence is contradicted only where what it speaks of was followed and does otherwise: that nothing unusual
was found rules out nothing that may as well be usual there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import Field

from anomalist.agent.choice.clip_match import ClipRecordMatcher
from anomalist.agent.choice.option_parsing import Term
from anomalist.agent.reasoning.wording import failure_sentence
from anomalist.agent.tools.claims import ClaimCheck, Status, check_claim
from anomalist.agent.tools.subject import Subject
from anomalist.second_opinion.frigate import NvrItem, Said, SaidIn, Shares
from anomalist.second_opinion.wording import RUNS, USUAL, plain_sentence
from anomalist.types.clip import Caption, ClipRecord, Event, Track
from anomalist.types.common import Box, Frozen
from anomalist.vision.motion.captions import track_sentence
from anomalist.vision.motion.scene import Zone

_OF_TRACKS = frozenset({"heading", "pace", "size", "place"})
"""Aspects that usual things have as well: they are held against every track, not against events alone."""
_OPPOSITE = {
    "left to right": "right to left",
    "right to left": "left to right",
    "towards": "away",
    "away": "towards",
}
_MAX_NAMED = 3  # tracks that a sentence names


class SentenceOpinion(Frozen):
    """The verdict on one thing that the recorder says."""

    where: SaidIn
    sentence: str
    status: Status
    why: str
    ids: tuple[str, ...] = Field((), description="events and tracks of the clip that it rests on")
    unread: tuple[str, ...] = Field((), description="words that nothing measured stands for")


@dataclass(frozen=True, eq=False)
class SeenClip:
    """A clip as it was measured.

    Parameters
    ----------
    record : of its triage.
    tracks : everything that was followed in it; none without a scene.
    zones : of the scene.
    part : whether it may show only a part of what is told.
    """

    record: ClipRecord
    tracks: tuple[Track, ...] = ()
    zones: tuple[Zone, ...] = ()
    part: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames."""
        return self.record.height or 1, self.record.width or 1

    @property
    def why_open(self) -> str:
        """Why nothing can be ruled out by it; "" where all of it was judged."""
        record = self.record
        if self.part:
            return "The clip may show only a part of it."
        if record.troubles or record.other_pictures or record.jumps:
            return "A part of the clip could not be judged."
        return ""


def opinions_on(item: NvrItem, clip: SeenClip | str) -> tuple[SentenceOpinion, ...]:
    """Hold everything that the recorder says of an item against its clip.

    ``clip`` is why there is none, where there is none.
    """
    if isinstance(clip, str):
        return tuple(_untested(said, clip) for said in item.said)
    if not clip.record.judged:
        return tuple(_untested(said, failure_sentence(clip.record)) for said in item.said)
    if clip.record.label not in ("normal", "anomalous"):
        why = str(clip.record.why_undecided)
        return tuple(_untested(said, why) for said in item.said)
    return tuple(_Reading(item, clip).opinion(said) for said in item.said)


def _untested(said: Said, why: str) -> SentenceOpinion:
    return SentenceOpinion(where=said.where, sentence=said.text, status="not testable", why=why)


class _Reading:
    """One item beside its clip."""

    def __init__(self, item: NvrItem, clip: SeenClip) -> None:
        self._item = item
        self._clip = clip
        self._tracks = tuple(track for track in clip.tracks if _passes(track, item.box, clip.size))

    def opinion(self, said: Said) -> SentenceOpinion:
        """The verdict on one thing."""
        if said.where in ("label", "sub-label"):
            return self._name(said)
        return self._zone(said) if said.where == "zone" else self._sentence(said)

    def _name(self, said: Said) -> SentenceOpinion:
        """What or who it is: measured is only that something moves there."""
        where = "where the recorder saw it" if self._item.box else "in the clip"
        if self._tracks:
            ids = _named(self._tracks)
            why = f'Something moves {where} ({", ".join(ids)}); that it is "{said.text}" is not measured.'
            return _untested(said, why).replace(ids=ids)
        return _untested(said, f'Nothing was followed {where}; that it is "{said.text}" is not measured.')

    def _zone(self, said: Said) -> SentenceOpinion:
        zone = next((each for each in self._clip.zones if each.name.casefold() == said.text.casefold()), None)
        if zone is None:
            return _untested(said, f'The scene has no zone "{said.text}".')
        if not self._tracks:
            return _untested(said, "Nothing was followed where the recorder saw it.")
        inside = [track for track in self._tracks if _enters(track, zone, self._clip.size)]
        if inside:
            why = f'{_named(inside)[0]} stands in the zone "{zone.name}" at some time.'
            return _said(said, "borne out", why, _named(inside))
        if self._clip.why_open:
            return _untested(said, self._clip.why_open)
        why = f'What was followed there ({", ".join(_named(self._tracks))}) never enters "{zone.name}".'
        return _said(said, "contradicted", why, _named(self._tracks))

    def _sentence(self, said: Said) -> SentenceOpinion:
        plain = plain_sentence(said.text, self._item.labels)
        terms = ClipRecordMatcher.of(self._clip.record, plain.text).read(plain.text)
        against = self._against(said, plain.text, terms)
        if against is not None:
            return against
        checked, tracks = self._checked(plain.text, terms)
        ids, why = _renamed(checked, len(self._clip.record.events), tracks)
        if checked.status == "borne out" and (self._tracks or not {t.aspect for t in terms} & _OF_TRACKS):
            if plain.assumed:
                why += f" That it is {_quoted(plain.assumed)} is not measured."
            return _said(said, "borne out", why, ids)
        if checked.status == "not testable":
            return _untested(said, why).replace(ids=ids, unread=checked.unread)
        why = f"It was not measured, which does not rule it out. {self._clip.why_open}".strip()
        return _untested(said, why).replace(ids=ids)

    def _checked(self, text: str, terms: Sequence[Term]) -> tuple[ClaimCheck, tuple[Track, ...]]:
        """The check against the events, or against all that was followed where the sentence is of that."""
        record = self._clip.record
        tracks: tuple[Track, ...] = ()
        if {term.aspect for term in terms} & _OF_TRACKS and self._tracks:
            tracks = self._tracks
            own = [
                _as_event(len(record.events) + number, track, self._clip.size)
                for number, track in enumerate(tracks, 1)
            ]
            record = record.replace(events=(*record.events, *own))
        return check_claim(Subject(clips=(record,)), text, record.source), tracks

    def _against(self, said: Said, text: str, terms: Sequence[Term]) -> SentenceOpinion | None:
        """What rules a sentence out for certain; None where nothing does."""
        record = self._clip.record
        calm = any(term.aspect == "label" and _says_normal(term) for term in terms)
        if calm and record.label == "anomalous" and len(terms) == 1 and USUAL.search(text):
            shown = [f"{event.id}: {event.caption.text}" for event in record.events[:_MAX_NAMED]]
            why = f"Measured otherwise. {' '.join(shown)}"
            return _said(said, "contradicted", why, tuple(event.id for event in record.events[:_MAX_NAMED]))
        if self._clip.why_open or not self._tracks:
            return None
        ways = sum(term.aspect == "heading" for term in terms)
        for term in terms:
            if term.aspect == "heading" and ways == 1 and self._goes_the_other_way(term):
                shown = [f"{each.id} moves {each.direction}" for each in self._tracks[:_MAX_NAMED]]
                why = f"Measured otherwise: {', '.join(shown)}."
                return _said(said, "contradicted", why, _named(self._tracks))
            if term.aspect == "pace" and self._is_slower(term, text):
                most = max(track.speed_ratio for track in self._tracks)
                why = f"Measured otherwise: at most {most:.1f} times the usual speed."
                return _said(said, "contradicted", why, _named(self._tracks))
        return None

    def _goes_the_other_way(self, term: Term) -> bool:
        """Whether everything there goes the opposite way of the one that was said."""
        other = [_OPPOSITE[value] for value in term.values if value in _OPPOSITE]
        if term.negated or not other:
            return False
        return all(any(way in track.direction for way in other) for track in self._tracks)

    def _is_slower(self, term: Term, text: str) -> bool:
        """Whether a speed "fast" for the place was said, and nothing came near it."""
        said = "fast" in term.values and not term.negated and RUNS.search(text) is None
        return said and all(track.speed_ratio < 1 for track in self._tracks)


def _said(said: Said, status: Status, why: str, ids: Sequence[str]) -> SentenceOpinion:
    return SentenceOpinion(where=said.where, sentence=said.text, status=status, why=why, ids=tuple(ids))


def _says_normal(term: Term) -> bool:
    return ("normal" in term.values) is not term.negated


def _named(tracks: Sequence[Track]) -> tuple[str, ...]:
    return tuple(track.id for track in tracks[:_MAX_NAMED])


def _quoted(words: Sequence[str]) -> str:
    return ", ".join(f'"{word}"' for word in words)


def _passes(track: Track, box: Shares | None, size: tuple[int, int]) -> bool:
    """Whether a track passes over the box in which the recorder saw the thing; any does without one."""
    if box is None:
        return True
    height, width = size
    x0, y0 = box[0] * width, box[1] * height
    x1, y1 = x0 + box[2] * width, y0 + box[3] * height
    return any(b[0] < x1 and b[2] > x0 and b[1] < y1 and b[3] > y0 for _, b in track.path)


def _enters(track: Track, zone: Zone, size: tuple[int, int]) -> bool:
    """Whether the middle of its lower edge is ever inside a zone, as recorders count it."""
    import cv2
    import numpy as np

    corners = np.array(zone.polygon, np.float32) * np.array([size[1], size[0]], np.float32)
    return any(cv2.pointPolygonTest(corners, _foot(box), False) >= 0 for _, box in track.path)


def _foot(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, float(box[3])


def _as_event(number: int, track: Track, size: tuple[int, int]) -> Event:
    """A track in the form in which sentences are checked."""
    text = track_sentence(track, size)
    middle = track.path[len(track.path) // 2]
    return Event(
        id=f"E{number}",
        start=track.start,
        end=track.end,
        peak=middle[0],
        score=1.0,
        false_events_per_hour=None,
        kind="activity",
        measures=(),
        tracks=(track,),
        box=middle[1],
        caption=Caption(text=text, subject="", action="", when="", where=""),
    )


_EVENT_NUMBER = re.compile(r"\bE([1-9]\d*)\b")


def _renamed(checked: ClaimCheck, events: int, tracks: Sequence[Track]) -> tuple[tuple[str, ...], str]:
    """Ids and reason of a check, with tracks by their own names."""

    def name(match: re.Match[str]) -> str:
        place = int(match[1]) - events - 1
        return tracks[place].id if 0 <= place < len(tracks) else match[0]

    ids: Iterator[str] = (_EVENT_NUMBER.sub(name, id) for id in checked.ids)
    return tuple(dict.fromkeys(id for id in ids if id[0] in "ET")), _EVENT_NUMBER.sub(name, checked.why)
