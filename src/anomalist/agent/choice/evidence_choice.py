"""Multiple choice by evidence: which option matches the record best, without a model.

Every option is parsed into terms (`option_parsing`), each term is matched against the record
(`evidence_match`, `clip_match`), and the probability of an option is proportional to the product of its
matches. The order of the options has no influence.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anomalist.agent.choice.clip_match import ClipRecordMatcher
from anomalist.agent.choice.evidence_match import RecordMatcher, TermMatch
from anomalist.agent.choice.option_parsing import LEADING_AUXILIARY, Term
from anomalist.agent.reasoning.claims import SCORE_ID
from anomalist.agent.reasoning.wording import failure_sentence, join_words
from anomalist.errors import DataError
from anomalist.types.clip import ClipRecord
from anomalist.types.common import Claim, FloatArray
from anomalist.types.image import Record

if TYPE_CHECKING:
    from anomalist.vision.detectors.known_kinds import KindSimilarity


NEUTRAL_MATCH = 0.5
"""Match value of an option that the evidence can't decide."""

MIN_MATCH = 0.02
"""Match values are clipped to [MIN_MATCH, 1 − MIN_MATCH], so that no single term rules an option out."""

# Aspects of terms that describe a finding.
_DESCRIPTIVE_ASPECTS = (
    frozenset({"place", "edge", "form", "size", "tone", "colour", "texture", "direction", "kind"})
    | {
        "named",
        "change",
    }
    | {"pace", "heading", "when", "lasting", "zone", "event"}
)


_QUANTITY = re.compile(
    r"\bhow (?:many|much) (?:pixels|px|percent|per cent|milli|centi|times)"
    r"|\d ?(?:%|percent\b|per cent\b|px\b|pixels?\b|mm\b|cm\b|µm\b|times\b)"
    r"|\b(?:score|p[- ]value)\b.*\d",
    re.I,
)
"""A length, share or score in a question: options are read for words, not for such numbers."""

_WHICH = re.compile(r"\b(?:which|what|where)\b", re.I)
_NOT_THERE = re.compile(
    r"\b(?:which|what|where)\b[^.?!]*(?:\bnot|n['’]t)"
    r"(?: (?:there|present|visible|shown|seen|found|marked|located|detected)\b|\s*[?.!]*$)"
    r"|\bwhich (?:one |statement |answer |option |claim |of (?:these|them|the following)(?: \w+)? )?"
    r"(?:is|are) (?:not (?:true|correct|right)|untrue|false|incorrect)\b",
    re.I,
)


@dataclass(frozen=True)
class EvidenceChoice:
    """Probabilities of options by measurement.

    Parameters
    ----------
    options : as given; option ``i`` has letter ``i`` of the alphabet.
    probabilities : of each option; they sum to one.
    letter : of the most probable option; None where several are equally or nearly as probable.
    claims : the reasons, citing ids of the record.
    why_not : why there is no letter; None where there is one.
    """

    options: tuple[str, ...]
    probabilities: tuple[float, ...]
    letter: str | None
    claims: tuple[Claim, ...] = ()
    why_not: str | None = None

    @property
    def best(self) -> tuple[int, ...]:
        """Indices of the most probable options; several for ties."""
        return _nearly_best(self.probabilities, 0.0)


def choose_by_evidence(
    question: str,
    options: Sequence[str],
    record: Record | ClipRecord,
    *,
    score_map: FloatArray | None = None,
    likeness: KindSimilarity | None = None,
) -> EvidenceChoice:
    """Choose among options by a record alone.

    Parameters
    ----------
    question : the question; "yes" and "no" are answers to it.
    options : 2 to 26 distinct texts, without letters.
    record : of the inspected picture, or of a clip.
    score_map : anomaly map of a picture, float32 (H, W), where available.
    likeness : similarity to labelled kinds, where the picture was compared with cases; by default that of the
        record's regions.

    Returns
    -------
    The choice; ``letter`` is None where the record can't decide any option, or supports several equally.

    Raises
    ------
    DataError : too few, too many, empty or equal options.
    """
    options = tuple(" ".join(option.split()) for option in options)
    question = LEADING_AUXILIARY.sub(r"\1", question)
    _check_options(options)
    counting = any(word in question.casefold() for word in ("how many", "number of", "count"))
    if not record.judged:
        return _no_choice(options, failure_sentence(record))
    matcher: RecordMatcher | ClipRecordMatcher
    if isinstance(record, ClipRecord):
        matcher = ClipRecordMatcher.of(record, question)
    else:
        matcher = RecordMatcher(record, score_map, likeness).about(question)
    if matcher.unanswerable.search(question.casefold()):
        return _no_choice(options, f"The question is about something that a {matcher.what} can't tell.")
    if _QUANTITY.search(question):
        return _no_choice(options, "Options are not compared with measured numbers: ask without options.")
    question_terms = matcher.read(question)
    option_terms = [matcher.read(option, counting=counting) for option in options]
    if any(term.aspect == "named" for terms in option_terms for term in terms):
        # With labelled kinds, any other name of a kind means "none of these kinds".
        option_terms = [tuple(map(_as_unlabelled_kind, terms)) for terms in option_terms]
    matcher = matcher.narrowed(question_terms, option_terms)
    if isinstance(matcher, RecordMatcher):
        matcher = matcher.counting(question)
    least = _asks_what_is_not(question, question_terms, option_terms)
    fits = _option_matches(options, option_terms, question_terms, matcher, least=least)
    if all(fit is None for fit in fits):
        undecided = f" {record.why_undecided}" if record.label == "undecided" and record.why_undecided else ""
        return _no_choice(options, f"Nothing that was measured speaks to any of the options.{undecided}")
    values = [NEUTRAL_MATCH if fit is None else fit.value for fit in fits]
    probabilities = tuple(value / math.fsum(sorted(values)) for value in values)
    # Clips are measured less precisely than pictures: nearly as probable options count as equal.
    best = _nearly_best(probabilities, matcher.margin)
    if len(best) == len(options):
        return _no_choice(options, "What was measured fits all options alike.")
    (first, *others) = best
    fit = fits[first]
    if least and fit is not None and fit.value < NEUTRAL_MATCH:
        return _no_choice(options, "What was measured speaks against none of the options.")
    if others:
        letters = join_words([string.ascii_uppercase[i] for i in best])
        return EvidenceChoice(options, probabilities, None, (), f"What was measured fits {letters} alike.")
    if fit is None:
        why = "What was measured speaks against the other options, but says nothing about the one left."
        return EvidenceChoice(options, probabilities, None, (), why)
    claims = _choice_claims(fit, matcher, least=least)
    return EvidenceChoice(options, probabilities, string.ascii_uppercase[first], claims)


def _asks_what_is_not(
    question: str, question_terms: Sequence[Term], option_terms: Sequence[Sequence[Term]]
) -> bool:
    """Whether the option is asked for that does not fit: "where is it not?", "which side is fine?"."""
    aspects = {term.aspect for terms in option_terms for term in terms} - {"others", "unsaid"}
    if not aspects <= _DESCRIPTIVE_ASPECTS:
        return False
    if _NOT_THERE.search(question):
        return True
    labels = [term for term in question_terms if term.aspect == "label"]
    asks_which = _WHICH.search(question) is not None
    if not asks_which or any(("anomalous" in term.values) != term.negated for term in labels):
        return False
    # "Which side is fine?" is about places; "what colour has a good one?" is not about this picture.
    return bool(labels) and (aspects <= {"place", "edge"} or all(term.negated for term in labels))


def _nearly_best(probabilities: Sequence[float], margin: float) -> tuple[int, ...]:
    least = max(probabilities) - margin
    return tuple(i for i, p in enumerate(probabilities) if p > least or math.isclose(p, least, abs_tol=1e-9))


def _as_unlabelled_kind(term: Term) -> Term:
    return Term("named", frozenset(), negated=term.negated) if term.aspect == "kind" else term


def _check_options(options: tuple[str, ...]) -> None:
    if not 2 <= len(options) <= len(string.ascii_uppercase):
        raise DataError(f"A question needs 2 to {len(string.ascii_uppercase)} options, not {len(options)}.")
    if "" in options or len(set(options)) < len(options):
        raise DataError(f"The options of a question must differ and not be empty: {list(options)}.")


def _no_choice(options: tuple[str, ...], why: str) -> EvidenceChoice:
    return EvidenceChoice(options, (1 / len(options),) * len(options), None, (), why)


def _option_matches(
    options: Sequence[str],
    option_terms: Sequence[tuple[Term, ...]],
    question_terms: tuple[Term, ...],
    matcher: RecordMatcher | ClipRecordMatcher,
    *,
    least: bool,
) -> list[TermMatch | None]:
    """Match of each option; that of "none of these" is one minus the best of the others.

    ``least``: what does not fit is asked for, so that each match is turned round.
    """
    label_open = any(term.aspect in ("label", "answer") for terms in option_terms for term in terms)
    fits = [_joint_match(terms, question_terms, matcher, implied=label_open) for terms in option_terms]
    describing = [any(term.aspect in _DESCRIPTIVE_ASPECTS for term in terms) for terms in option_terms]
    for i, terms in enumerate(option_terms):
        fit = fits[i]
        if any(describing) and not describing[i] and fit is not None and _affirms(terms):
            # "A defect of some sort" is less specific than the other options.
            fits[i] = TermMatch(NEUTRAL_MATCH * fit.value, fit.evidence)
    if least:
        fits = [None if fit is None else TermMatch(1 - fit.value, fit.evidence) for fit in fits]
    decided = [fit for fit in fits if fit is not None]
    for i, terms in enumerate(option_terms):
        wanted = next((term.values for term in terms if term.aspect == "others"), None)
        if wanted is None or not decided:
            continue
        best, worst = max(decided, key=_match_rank), min(decided, key=_match_rank)
        fits[i] = TermMatch(1 - best.value, best.evidence) if "none" in wanted else worst
    return fits


def _affirms(terms: tuple[Term, ...]) -> bool:
    """Whether an option says that something is anomalous, without being a yes or no."""
    labels = [("anomalous" in term.values) != term.negated for term in terms if term.aspect == "label"]
    return all(labels) and bool(labels) and not any(term.aspect == "answer" for term in terms)


def _joint_match(
    terms: tuple[Term, ...],
    question_terms: tuple[Term, ...],
    matcher: RecordMatcher | ClipRecordMatcher,
    *,
    implied: bool,
) -> TermMatch | None:
    """Product of the matches of an option's terms; a description implies that there is a finding.

    Several values of one aspect are alternatives ("left or right"). None where no term can be decided.
    """
    by_aspect: dict[tuple[str, bool], list[TermMatch]] = {}
    for term in terms:
        fit = _match_answer(term, question_terms, matcher) if term.aspect == "answer" else matcher.fit(term)
        if fit is not None:
            by_aspect.setdefault((term.aspect, term.negated), []).append(fit)
    aspects = {term.aspect for term in terms}
    if implied and by_aspect and aspects & _DESCRIPTIVE_ASPECTS and not aspects & {"label", "answer"}:
        by_aspect[("label", False)] = [matcher.anomalous] if matcher.anomalous else []
    fits = [
        min(several, key=_match_rank) if negated else max(several, key=_match_rank)
        for (_, negated), several in by_aspect.items()
        if several
    ]
    if not fits:
        return None
    value = math.prod(min(max(fit.value, MIN_MATCH), 1 - MIN_MATCH) for fit in fits)
    return TermMatch(value, tuple(dict.fromkeys(id for fit in fits for id in fit.evidence)))


def _match_rank(fit: TermMatch) -> tuple[float, tuple[str, ...]]:
    """Sort key; ties are broken by ids, so that the order of options has no influence."""
    return fit.value, fit.evidence


def _match_answer(
    answer: Term, question_terms: tuple[Term, ...], matcher: RecordMatcher | ClipRecordMatcher
) -> TermMatch | None:
    """Match of yes or no: whether what the question says holds."""
    fit = _joint_match(question_terms, (), matcher, implied=True)
    if fit is None or "yes" in answer.values:
        return fit
    return TermMatch(1 - fit.value, fit.evidence)


def _choice_claims(
    fit: TermMatch, matcher: RecordMatcher | ClipRecordMatcher, *, least: bool
) -> tuple[Claim, ...]:
    """A claim on what the choice rests on, then the record's claims that cite nothing else."""
    how = "least" if least else "best"
    cases = [id for id in fit.evidence if id.startswith("case:")]
    words = ["the score" if id == SCORE_ID else id for id in fit.evidence if id not in cases]
    words += [f"{len(cases)} labelled case{'s' if len(cases) > 1 else ''}"] if cases else []
    lead = Claim(
        text=f"Of the options it fits {how} what was measured ({join_words(words)}).", evidence=fit.evidence
    )
    details = (claim for claim in matcher.claims if set(claim.evidence) <= set(fit.evidence))
    return (lead, *details)
