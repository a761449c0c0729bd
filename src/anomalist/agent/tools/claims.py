"""Check of a sentence about a picture, a clip or a run against what was measured: no model is asked.

A sentence is borne out only where every word of it was read and every term fits, of the same region or event;
it is contradicted where a term does not fit; and else not testable, with the reason. See `Term` for what can
be read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from anomalist.agent.asking.run_reading import names_in, read_run_question
from anomalist.agent.asking.run_tables import RunTables, run_tables
from anomalist.agent.choice.clip_match import ClipRecordMatcher
from anomalist.agent.choice.evidence_match import RecordMatcher, TermMatch
from anomalist.agent.choice.option_parsing import NEGATORS, NUMBERS, Term, word_set
from anomalist.agent.reasoning.claims import SCORE_ID
from anomalist.agent.reasoning.wording import failure_sentence, join_words, region_sentence
from anomalist.agent.tools.pictures import measure_region
from anomalist.agent.tools.subject import Result, Subject
from anomalist.errors import DataError
from anomalist.querying.execution import count_undecided, run_query
from anomalist.querying.query import Condition, QueryResult
from anomalist.types.clip import ClipRecord
from anomalist.types.image import Record

Status = Literal["borne out", "contradicted", "not testable"]
Matcher = RecordMatcher | ClipRecordMatcher

FITS, AGAINST = 0.8, 0.2
"""Match value from which a term fits, and up to which it does not; between them it can't be told."""

TOLERANCE = 0.1
"""Share by which a stated length, area or score may differ from the measured one."""

_WHOLE = frozenset({"label", "count", "severity"})
"""Aspects of the record as a whole; all others are those of one region or event."""
_NAMING = frozenset({"kind", "named", "form", "label"})
"""Aspects that say what a thing is."""

_AND_ANOTHER = re.compile(r"(?:\band\b|[,;:])\s+(?=(?:an?|another|one|the other)\b)", re.I)
"""What stands between things that a sentence lists."""

_FILLERS = word_set(
    "the a an is are was were be been being it its this that these those there here of on in at to with "
    "and or as by for near around side part picture image photo frame clip video footage scene camera "
    "product item piece surface area region place thing something object shows show shown see seen visible "
    "has have had contains contain appears appear looks look like from one some any other which who he she "
    "they moves moving very also can could located found lies lie marked"
)
_WORD = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*")
_ID = re.compile(r"\b[re][1-9]\d*\b", re.I)
_NUMBER = r"(\d+(?:\.\d+)?)"
_ABOUT = r"(?:about |around |roughly |approximately |nearly |almost )?"
_SCORE = re.compile(
    rf"\b(?:the |an? )?(anomaly score|score|threshold|p[- ]value)(?: (?:is|was|of|at))? {_ABOUT}{_NUMBER}",
    re.I,
)
_LENGTH = re.compile(
    rf"\b{_ABOUT}{_NUMBER} ?(?:px|pixels?) (?:in )?"
    r"(wide|width|high|tall|height|long|length|thick|diameter)\b",
    re.I,
)
_SHARE = re.compile(rf"\b(?:covers |covering )?{_ABOUT}{_NUMBER} ?(?:%|percent)", re.I)
_MEASURES = {
    "wide": "width", "width": "width", "high": "height", "tall": "height", "height": "height",
    "long": "length", "length": "length", "thick": "thickness", "diameter": "diameter",
}  # fmt: skip
_COUNT = re.compile(
    r"^\s*(?:there (?:is|are|was|were) )?(?P<number>no|none|all|\d+|[a-z]+)"
    r"(?: of(?: the| all)?(?: (?P<of>\d+))?)? "
    r"(?P<rest>.+)$",
    re.I,
)
_VERB = re.compile(r"\b(?:is|are|was|were|has|have|had|shows?|contains?)\b", re.I)


class ClaimCheck(Result):
    """What measurement says of a sentence."""

    sentence: str
    status: Status = Field(description='"borne out", "contradicted", or "not testable" by measurement')
    why: str = Field(description="what was measured, or what could not be read or told")
    unread: tuple[str, ...] = Field((), description="words that nothing measured stands for")


def check_claim(subject: Subject, sentence: str, picture: str | None = None) -> ClaimCheck:
    """Check a sentence about a picture, a clip or the whole run against what was measured.

    Returns "borne out", "contradicted" or "not testable", and why. ``picture`` is the name of the picture or
    clip; leave it out when there is only one, when the sentence names it, or when it is about the whole run.
    """
    if not sentence.strip():
        raise DataError("There is no sentence to check.")
    record = _record_meant(subject, sentence, picture)
    if record is None:
        return _check_run(subject, sentence)
    named = re.sub(re.escape(Path(record.source).name), " ", sentence, flags=re.I)
    if not record.judged:
        return _result(sentence, "not testable", failure_sentence(record))
    if record.label == "undecided":
        return _result(sentence, "not testable", f"The record is undecided: {record.why_undecided}")
    matcher: Matcher
    matcher = ClipRecordMatcher.of(record, named) if isinstance(record, ClipRecord) else RecordMatcher(record)
    if matcher.unanswerable.search(named.casefold()):
        return _result(sentence, "not testable", f"Nothing measured in a {matcher.what} can tell that.")
    return _Reading(subject, record, matcher, sentence, named).check()


def _record_meant(subject: Subject, sentence: str, name: str | None) -> Record | ClipRecord | None:
    """The picture or clip that is meant; None for the run as a whole."""
    everything: tuple[Record | ClipRecord, ...] = (*subject.records, *subject.clips)
    if not everything:
        raise DataError("There is nothing to check a sentence against.", "Open a run, or inspect a picture.")
    if name is None:
        found = names_in(sentence.casefold(), [record.source for record in everything])
        if len(found) == 1:
            name = found[0]
        elif len(everything) > 1:
            return None
        else:
            return everything[0]
    return subject.clip(name) if subject.clips and not subject.records else subject.picture(name)


def _result(sentence: str, status: Status, why: str, ids: Sequence[str] = ()) -> ClaimCheck:
    return ClaimCheck(ids=tuple(dict.fromkeys(ids)) or (SCORE_ID,), sentence=sentence, status=status, why=why)


@dataclass(frozen=True)
class _Told:
    """What one part of a sentence came to: words for it, its match value, and the ids that it rests on."""

    what: str
    value: float | None
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Reading:
    """A sentence about one record, ``text`` without the name of its file."""

    subject: Subject
    record: Record | ClipRecord
    matcher: Matcher
    sentence: str
    text: str

    def check(self) -> ClaimCheck:
        plain, measured = self.text, list[_Told]()
        for pattern, read in ((_SCORE, self._score), (_LENGTH, self._length), (_SHARE, self._share)):
            measured += [read(found) for found in pattern.finditer(plain)]
            plain = pattern.sub(" ", plain)
        rows = self._rows(_ID.findall(plain))
        plain = _ID.sub(" ", plain)
        terms = self.matcher.read(plain)
        unread = _unread_words(plain, self.matcher.read)
        things = (told for each in self._things(plain, terms) for told in self._of_one_row(each, rows))
        told = [*measured, *self._whole(terms), *things]
        return self._decided(told, unread)

    def _decided(self, told: Sequence[_Told], unread: tuple[str, ...]) -> ClaimCheck:
        against = [each for each in told if each.value is not None and each.value <= AGAINST]
        open_ = [each for each in told if each.value is None or AGAINST < each.value < FITS]
        ids = [id for each in (against or told) for id in each.ids]
        if against:
            words = join_words([each.what for each in against])
            return _result(self.sentence, "contradicted", f"Measured otherwise: {words}. {self._seen()}", ids)
        if unread:
            words = ", ".join(f'"{word}"' for word in unread)
            found = _result(
                self.sentence, "not testable", f"Nothing that is measured stands for {words}.", ids
            )
            return found.replace(unread=unread)
        if open_ or not told:
            words = join_words([each.what for each in open_]) or "what it says"
            return _result(
                self.sentence, "not testable", f"What was measured can't tell: {words}. {self._seen()}", ids
            )
        words = join_words([each.what for each in told])
        return _result(self.sentence, "borne out", f"As measured: {words}. {self._seen()}", ids)

    def _seen(self) -> str:
        """What was found instead, in a sentence."""
        record = self.record
        if isinstance(record, ClipRecord):
            shown = [f"{event.id}: {event.caption.text}" for event in record.events[:3]]
            return " ".join(shown) or "Nothing stands out in the clip."
        size = (record.height or 1, record.width or 1)
        places = [
            region_sentence(region, size, "the inspected area", record.basis) for region in record.regions[:3]
        ]
        return " ".join(places) or "No place stands out."

    def _rows(self, named: Sequence[str]) -> list[tuple[str, Matcher]]:
        """A matcher for each region or event by itself, or for those that the sentence names."""
        wanted = {each.upper() for each in named}
        rows: list[tuple[str, Matcher]]
        if isinstance(self.matcher, RecordMatcher):
            record = self.matcher.record
            rows = [
                (region.id, replace(self.matcher, record=record.replace(regions=(region,))))
                for region in record.regions
            ]
        else:
            rows = [(event.id, replace(self.matcher, events=(event,))) for event in self.matcher.events]
        unknown = wanted - {id for id, _ in rows}
        if unknown:
            raise DataError(
                f"There is no {join_words(sorted(unknown))} in {Path(self.record.source).name}.",
                f"Known: {', '.join(id for id, _ in rows) or 'none: nothing stands out'}.",
            )
        return [(id, row) for id, row in rows if not wanted or id in wanted]

    def _things(self, plain: str, terms: tuple[Term, ...]) -> list[tuple[Term, ...]]:
        """The terms of each thing that a sentence lists: "a scratch at the left and a bright spot"."""
        parts = [self.matcher.read(part) for part in _AND_ANOTHER.split(plain)]
        listed = all(any(term.aspect in _NAMING for term in part) for part in parts)
        return parts if listed and not any(term.negated for term in terms) else [terms]

    def _whole(self, terms: Sequence[Term]) -> Iterator[_Told]:
        matcher = self.matcher
        counted = matcher.counting(self.text) if isinstance(matcher, RecordMatcher) else matcher
        for term in terms:
            if term.aspect in _WHOLE:
                fit = (counted if term.aspect == "count" else matcher).fit(term)
                if fit is None:
                    yield _Told(_words(term), None)
                else:
                    yield _Told(_words(term), _as_recorded(fit), fit.evidence)

    def _of_one_row(self, terms: Sequence[Term], rows: Sequence[tuple[str, Matcher]]) -> Iterator[_Told]:
        """Terms that one and the same region or event has to fit; and those that none may fit."""
        own = [term for term in terms if term.aspect not in _WHOLE]
        said, denied = ([term for term in own if term.negated is side] for side in (False, True))
        for term in denied:
            plain = replace(term, negated=False)
            fits = [(row.fit(plain), id) for id, row in rows]
            known = [(fit.value, id) for fit, id in fits if fit is not None]
            worst = max(known, default=(0.0, SCORE_ID))
            yield _Told(_words(term), 1 - worst[0], (worst[1],))
        if not said:
            return
        if not rows:
            normal = self.record.label == "normal"
            yield _Told(join_words([_words(term) for term in said]), 0.0 if normal else None, (SCORE_ID,))
            return
        fitted = [([(_words(term), row.fit(term)) for term in said], id) for id, row in rows]
        best, id = max(fitted, key=lambda each: _least(fit for _, fit in each[0]))
        for what, fit in best:
            yield _Told(what, None if fit is None else fit.value, (id,))

    def _score(self, found: re.Match[str]) -> _Told:
        name = found[1].lower().replace("-", " ")
        record = self.record
        measured: float | None
        if isinstance(record, ClipRecord):
            measured = None
        else:
            measured = {"threshold": record.threshold, "p value": record.p_value}.get(name, record.score)
        return _compared(name, found[2], measured, (SCORE_ID,))

    def _length(self, found: re.Match[str]) -> _Told:
        measure = _MEASURES[found[2].lower()]
        return self._nearest(measure, found[1], f"{found[1]} px {found[2].lower()}")

    def _share(self, found: re.Match[str]) -> _Told:
        return self._nearest("percent", found[1], f"{found[1]} %")

    def _nearest(self, measure: str, stated: str, what: str) -> _Told:
        """The measure of the region that comes nearest to what is stated."""
        record = self.record
        if isinstance(record, ClipRecord) or not record.regions:
            return _Told(what, None)
        named = {each.upper() for each in _ID.findall(self.text)}
        ids = [region.id for region in record.regions if not named or region.id in named]
        values = {id: getattr(measure_region(self.subject, id, record.source), measure) for id in ids}
        if not values:
            return _Told(what, None)
        nearest = min(values, key=lambda id: abs(values[id] - float(stated)))
        return _compared(what.replace(stated, "").strip(), stated, values[nearest], (nearest,))


def _least(fits: Iterator[TermMatch | None]) -> tuple[int, float]:
    """How many terms could be matched, then the least of them: to choose the region that is meant."""
    known = [fit.value for fit in fits if fit is not None]
    return len(known), min(known, default=0.0)


def _as_recorded(fit: TermMatch) -> float:
    """What is recorded of the whole is not measured with doubt: which side of one half it is on decides."""
    return 1.0 if fit.value > 0.5 else 0.0


def _compared(what: str, stated: str, measured: float | None, ids: tuple[str, ...]) -> _Told:
    """A stated number beside the measured one: within `TOLERANCE`, or equal as printed."""
    if measured is None:
        return _Told(f"{what} {stated}", None, ids)
    digits = len(stated.partition(".")[2])
    same = round(measured, digits) == float(stated) or math.isclose(
        measured, float(stated), rel_tol=TOLERANCE
    )
    return _Told(f"{what} {measured:g} (stated: {stated})", 1.0 if same else 0.0, ids)


def _words(term: Term) -> str:
    words = " or ".join(sorted(term.values)) or "any"
    if term.aspect == "count" and len(term.values) > 3:
        numbers = sorted(map(int, term.values))
        words = f"{numbers[0]} to {numbers[-1]}"
    return f"{term.aspect} {'not ' if term.negated else ''}{words}"


def _unread_words(text: str, read: Callable[[str], tuple[Term, ...]]) -> tuple[str, ...]:
    """Words of a sentence without which it would be read the same, fillers left out."""
    words = _WORD.findall(text.casefold())
    terms = read(" ".join(words))
    unread = []
    for at, word in enumerate(words):
        if word in _FILLERS or word in NEGATORS or word.endswith("n't"):
            continue
        if read(" ".join([*words[:at], "…", *words[at + 1 :]])) == terms and words.count(word) == 1:
            unread.append(word)
    return tuple(unread)


def _check_run(subject: Subject, sentence: str) -> ClaimCheck:
    """A sentence that counts records: "12 of 96 pictures are anomalous", "no brick is critical"."""
    known = run_tables(subject)
    found = _COUNT.match(sentence.casefold().strip(" ."))
    number = None if found is None else _stated_number(found["number"])
    about: Literal["pictures", "clips"] = "clips" if subject.clips and not subject.records else "pictures"
    helps = 'Say how many pictures or clips are what ("3 pictures are critical"), or name one of them.'
    if found is None or number is None:
        return _result(sentence, "not testable", f"The sentence counts nothing and names no record. {helps}")
    result, unread = _counted(known, found["rest"], about)
    whole = result
    if number == "all" or found["of"] is not None:  # of the bricks, not of all that there is
        whole, unread_too = _counted(known, _VERB.split(found["rest"])[0], about)
        unread = unread or unread_too
    if result is None or whole is None:
        words = ", ".join(f'"{word}"' for word in unread) or "what is counted"
        return _result(sentence, "not testable", f"{words} was not read. {helps}").replace(unread=unread)
    total = whole.matched if number == "all" else number
    right = result.matched == total and (found["of"] is None or int(found["of"]) == whole.matched)
    of = f"{whole.matched} ({whole.reading})" if whole is not result else f"{result.of}"
    why = f"Of {of}, {result.matched} ({result.reading})."
    _, left = count_undecided(known.tables, result.query)
    if left:
        why += f" {left} could not be judged or {'is' if left == 1 else 'are'} undecided."
    if left and (right if number == 0 else number == "all" and _all_decided_fit(known, whole, result)):
        return _result(sentence, "not testable", why, ("query",))
    return _result(sentence, "borne out" if right else "contradicted", why, ("query",))


def _all_decided_fit(known: RunTables, whole: QueryResult, result: QueryResult) -> bool:
    """Whether what does not fit of some records is only what has no verdict, so that all may fit."""
    open_ones = Condition(column="label", values=("undecided", ""))
    left = whole.query.replace(where=(*whole.query.where, open_ones))
    return result.matched + run_query(known.tables, left).matched == whole.matched


def _counted(
    known: RunTables, words: str, about: Literal["pictures", "clips"]
) -> tuple[QueryResult | None, tuple[str, ...]]:
    """How many records some words are about, or None and what of them was not read."""
    reading = read_run_question(f"how many {words}", known.vocabulary, about)
    if reading.query is None or reading.unread or reading.query.measure != "count":
        return None, reading.unread
    return run_query(known.tables, reading.query), ()


def _stated_number(word: str) -> int | Literal["all"] | None:
    if word in ("no", "none"):
        return 0
    if word == "all":
        return "all"
    number = NUMBERS.get(word, word)
    return int(number) if number.isdigit() else None
