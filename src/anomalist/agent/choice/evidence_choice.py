"""Multiple choice by evidence: which option matches the record best, without a model.

Every option is parsed into terms (`option_parsing`), each term is matched against the record
(`evidence_match`, `clip_match`), and an option is as probable as the product of its matches. Nothing depends
on the order of the options.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass

from anomalist.agent.choice.clip_match import ClipRecordMatcher
from anomalist.agent.choice.evidence_match import RecordMatcher, TermMatch
from anomalist.agent.choice.option_parsing import Term
from anomalist.agent.reasoning.claims import SCORE_ID
from anomalist.agent.reasoning.wording import join_words
from anomalist.errors import DataError
from anomalist.types.clip import ClipRecord
from anomalist.types.common import Claim, FloatArray
from anomalist.types.image import Record
from anomalist.vision.detectors.known_kinds import KindSimilarity

NEUTRAL_MATCH = 0.5
"""Match value where no evidence speaks to an option."""

MIN_MATCH = 0.02
"""Match values are clipped to [this, 1 − this]: one term alone rules nothing out."""

_DESCRIPTIVE_ASPECTS = (
    frozenset({"place", "edge", "form", "size", "tone", "colour", "texture", "direction", "kind"})
    | {
        "named",
        "change",
    }
    | {"pace", "heading", "when", "lasting", "zone", "event"}
)


@dataclass(frozen=True)
class EvidenceChoice:
    """How probable each option is by what was measured.

    Parameters
    ----------
    options : as they were given; option ``i`` has letter ``i`` of the alphabet.
    probabilities : of each; they sum to one. Options that can't be told apart have the same.
    letter : of the most probable option; None where that can't be told.
    claims : why; each cites ids of the record.
    why_not : why there is no letter; None where there is one.
    """

    options: tuple[str, ...]
    probabilities: tuple[float, ...]
    letter: str | None
    claims: tuple[Claim, ...] = ()
    why_not: str | None = None

    @property
    def best(self) -> tuple[int, ...]:
        """Indices of the most probable options: one, or those that tie."""
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
    question : as it was asked; "yes" and "no" are answers to it.
    options : 2 to 26 different ones, without their letters.
    record : of the inspected picture, or of a clip.
    score_map : float32 (H, W), the anomaly map of a picture, where it is at hand.
    likeness : to labelled kinds, where the picture was compared with cases; else that of its regions counts.

    Returns
    -------
    The option that fits best, with ``letter`` None where nothing in the record speaks to the options, or
    where it speaks for several alike.

    Raises
    ------
    DataError : too few, too many, empty or equal options.
    """
    options = tuple(" ".join(option.split()) for option in options)
    _check_options(options)
    counting = any(word in question.casefold() for word in ("how many", "number of", "count"))
    findings: RecordMatcher | ClipRecordMatcher
    if isinstance(record, ClipRecord):
        findings = ClipRecordMatcher.of(record, question)
    else:
        findings = RecordMatcher(record, score_map, likeness)
    if findings.beyond.search(question.casefold()):
        return _no_choice(options, f"The question is about something that a {findings.what} can't tell.")
    asked = findings.read(question)
    readings = [findings.read(option, counting=counting) for option in options]
    if any(term.aspect == "named" for terms in readings for term in terms):
        # Labelled cases know better than what the name of a kind means in general: it is none of theirs.
        readings = [tuple(map(_as_unlabelled_kind, terms)) for terms in readings]
    findings = findings.narrowed(asked, readings)
    fits = _option_matches(options, readings, asked, findings)
    if all(fit is None for fit in fits):
        return _no_choice(options, "Nothing that was measured speaks to any of the options.")
    values = [NEUTRAL_MATCH if fit is None else fit.value for fit in fits]
    probabilities = tuple(value / math.fsum(sorted(values)) for value in values)
    # Of what moves less is known than of a picture: options that are nearly as probable are not told apart.
    best = _nearly_best(probabilities, findings.margin)
    if len(best) == len(options):
        return _no_choice(options, "What was measured fits all options alike.")
    (first, *others) = best
    fit = fits[first]
    if others:
        letters = join_words([string.ascii_uppercase[i] for i in best])
        return EvidenceChoice(options, probabilities, None, (), f"What was measured fits {letters} alike.")
    if fit is None:
        why = "What was measured speaks against the other options, but says nothing about the one left."
        return EvidenceChoice(options, probabilities, None, (), why)
    claims = _choice_claims(fit, findings)
    return EvidenceChoice(options, probabilities, string.ascii_uppercase[first], claims)


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
    readings: Sequence[tuple[Term, ...]],
    asked: tuple[Term, ...],
    findings: RecordMatcher | ClipRecordMatcher,
) -> list[TermMatch | None]:
    """Fit of each option; "none of these" is as probable as the best of the others is not."""
    at_stake = any(term.aspect in ("label", "answer") for terms in readings for term in terms)
    fits = [_joint_match(terms, asked, findings, implied=at_stake) for terms in readings]
    describing = [any(term.aspect in _DESCRIPTIVE_ASPECTS for term in terms) for terms in readings]
    for i, terms in enumerate(readings):
        fit = fits[i]
        if any(describing) and not describing[i] and fit is not None and _affirms(terms):
            # "A defect of some sort" leaves open what the other options tell.
            fits[i] = TermMatch(NEUTRAL_MATCH * fit.value, fit.evidence)
    told = [fit for fit in fits if fit is not None]
    for i, terms in enumerate(readings):
        wanted = next((term.values for term in terms if term.aspect == "others"), None)
        if wanted is None or not told:
            continue
        best, worst = max(told, key=_match_rank), min(told, key=_match_rank)
        fits[i] = TermMatch(1 - best.value, best.evidence) if "none" in wanted else worst
    return fits


def _affirms(terms: tuple[Term, ...]) -> bool:
    """Whether an option says that something is wrong, without being a yes or no."""
    labels = [("anomalous" in term.values) != term.negated for term in terms if term.aspect == "label"]
    return all(labels) and bool(labels) and not any(term.aspect == "answer" for term in terms)


def _joint_match(
    terms: tuple[Term, ...],
    asked: tuple[Term, ...],
    findings: RecordMatcher | ClipRecordMatcher,
    *,
    implied: bool,
) -> TermMatch | None:
    """All that an option says; what describes something also says that there is something.

    Several values of one aspect are alternatives ("left or right"). None when nothing speaks to it.
    """
    by_aspect: dict[tuple[str, bool], list[TermMatch]] = {}
    for term in terms:
        fit = _match_answer(term, asked, findings) if term.aspect == "answer" else findings.fit(term)
        if fit is not None:
            by_aspect.setdefault((term.aspect, term.negated), []).append(fit)
    aspects = {term.aspect for term in terms}
    if implied and by_aspect and aspects & _DESCRIPTIVE_ASPECTS and not aspects & {"label", "answer"}:
        by_aspect[("label", False)] = [findings.anomalous] if findings.anomalous else []
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
    """Ties go by the ids, so that the order of options decides nothing."""
    return fit.value, fit.evidence


def _match_answer(
    answer: Term, asked: tuple[Term, ...], findings: RecordMatcher | ClipRecordMatcher
) -> TermMatch | None:
    """How well yes or no fits: as what the question says holds, or not."""
    fit = _joint_match(asked, (), findings, implied=True)
    if fit is None or "yes" in answer.values:
        return fit
    return TermMatch(1 - fit.value, fit.evidence)


def _choice_claims(fit: TermMatch, findings: RecordMatcher | ClipRecordMatcher) -> tuple[Claim, ...]:
    """Say what the choice rests on, then what the record says about that alone."""
    cases = [id for id in fit.evidence if id.startswith("case:")]
    words = ["the score" if id == SCORE_ID else id for id in fit.evidence if id not in cases]
    words += [f"{len(cases)} labelled case{'s' if len(cases) > 1 else ''}"] if cases else []
    lead = Claim(
        text=f"Of the options it fits best what was measured ({join_words(words)}).", evidence=fit.evidence
    )
    said = (claim for claim in findings.claims if set(claim.evidence) <= set(fit.evidence))
    return (lead, *said)
