"""Combine the detector's label and the model's judgement into a verdict, by the policy.

The detector gives the number, the model the words, the policy the label. The model's words stay where they
are grounded in the evidence, the measurements where they aren't.

==========  ==================  ====================================  ============================
detector    model: normal       model: anomalous                      model: undecided
==========  ==================  ====================================  ============================
anomalous   stays anomalous, *  anomalous                             stays anomalous, *
normal      normal              undecided, *                          stays normal, *
undecided   undecided           undecided                             undecided
==========  ==================  ====================================  ============================

``*`` is a disagreement that people read. The first one is *undecided* where the policy's ``doubted_alarm``
says so. A model that can't be read, or fails, leaves the picture undecided. It never makes anything normal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from anomalist.agent.reasoning.claims import citable_ids, filter_claims, model_claims, quote_with_ids
from anomalist.agent.reasoning.evidence_reasoner import (
    Assessment,
    EvidenceReasoner,
    Reasoner,
    assess,
    input_claims,
    region_claims,
    score_claim,
    severity_claim,
)
from anomalist.agent.reasoning.policy import Policy
from anomalist.agent.reasoning.severity import CRITICAL, MINOR, Severity
from anomalist.agent.reasoning.wording import with_article
from anomalist.errors import AnomalistError, ModelError
from anomalist.prompts.schemas import Judgement
from anomalist.types.common import Claim, Label, Opinion, PromptUsed, Recall, Verdict
from anomalist.types.image import Evidence, Media, Region

DETECTOR = "detector"
"""Who speaks for the measurements in `Verdict.opinions`."""

MODEL_LABEL_PHRASES = {
    "normal": "takes the picture for normal",
    "anomalous": "takes the picture for anomalous",
    "undecided": "can't tell",
}

DETECTOR_ALONE: Mapping[Label, str] = {
    "anomalous": "The detector alone calls the picture anomalous: a person has to look.",
    "normal": "The detector alone raises no alarm.",
    "undecided": "The detector does not decide either.",
}
"""The detector's label in words, where the model gave no reply."""


@dataclass(frozen=True)
class CombinedLabel:
    """A label, why it is undecided (else None), and who disagreed with whom."""

    label: Label
    why: str | None = None
    disagreements: tuple[str, ...] = ()


def combine_labels(detector: Label, why: str | None, model: Label, policy: Policy) -> CombinedLabel:
    """Combine the detector's label and the model's, as in the table above.

    Parameters
    ----------
    detector : what follows from the evidence alone.
    why : why that is undecided, else None.
    model : what the model thinks.
    policy : ``doubted_alarm`` says what an alarm becomes that the model doesn't see.
    """
    if detector == "undecided":
        return CombinedLabel(
            detector, f"{why} The model {MODEL_LABEL_PHRASES[model]}, which alone does not decide."
        )
    if detector == model:
        return CombinedLabel(detector)
    alarm = (
        "The detector calls the picture anomalous"
        if detector == "anomalous"
        else "The detector raises no alarm"
    )
    conflict = f"{alarm}, the model {MODEL_LABEL_PHRASES[model]}."
    if model == "undecided":
        stands = "The alarm stands." if detector == "anomalous" else "It stays normal."
        return CombinedLabel(detector, None, (f"{conflict} {stands}",))
    if detector == "anomalous" and policy.doubted_alarm == "anomalous":
        return CombinedLabel(detector, None, (f"{conflict} By the policy the alarm stands.",))
    return CombinedLabel("undecided", f"{conflict} A person has to look.", (conflict,))


def undecided_without_reply(detector: Label, tries: int, problem: str) -> CombinedLabel:
    """Undecided, as the model gave no usable reply; the detector's label stays visible."""
    return CombinedLabel("undecided", f"{no_usable_reply(tries, problem)} {DETECTOR_ALONE[detector]}")


def no_usable_reply(tries: int, problem: str) -> str:
    """Say how often a model was asked in vain, and what was wrong with its last reply."""
    times = "once" if tries == 1 else f"{tries} times"
    return f"The model was asked {times} and gave no usable reply (of the last one: {problem.rstrip('.')})."


@dataclass(frozen=True)
class SeverityStep:
    """The model's change of severity: −1, 0 or 1; or why it was refused."""

    by: int = 0
    refused: str | None = None


def severity_step(judgement: Judgement, level: int, regions: Collection[Region]) -> SeverityStep:
    """Let the model move severity by one step, if it says why and cites a region that shows it.

    Parameters
    ----------
    judgement : the model's.
    level : severity by the policy, 1 to 4.
    regions : of the evidence.
    """
    if judgement.severity_step == "same":
        return SeverityStep()
    cited, known = set(judgement.severity_evidence), {region.id for region in regions}
    if judgement.label != "anomalous":
        return SeverityStep(refused="it calls nothing anomalous")
    if not judgement.severity_reason or not cited:
        return SeverityStep(refused="it gives no reason with a region")
    if not cited <= known:
        return SeverityStep(refused=f"there is no {', '.join(sorted(cited - known))}")
    moved = level + (1 if judgement.severity_step == "higher" else -1)
    if not MINOR <= moved <= CRITICAL:
        return SeverityStep(refused="the scale ends there")
    return SeverityStep(moved - level)


def verdict_without_model(
    error: ModelError, name: str, media: Media, evidence: Evidence, recall: Recall, policy: Policy
) -> Verdict:
    """Return the evidence reasoner's verdict, undecided, with why the model gave no reply.

    Parameters
    ----------
    error : why the model gave no reply.
    name : of the model that was asked.
    media, evidence, recall, policy : as it would have got them.
    """
    found = assess(media, evidence, recall, policy)
    return Verdict(
        label="undecided",
        severity=found.level,
        kind=found.kind,
        claims=found.claims,
        reasoner=f"{EvidenceReasoner.name}, in place of {name}",
        disagreements=found.disagreements,
        why_undecided=f"The language model failed: {error} {DETECTOR_ALONE[found.label]}",
        dropped_claims=len(found.dropped),
        dropped=found.dropped,
        policy=policy.digest,
        model=name,
        opinions=(Opinion(by=DETECTOR, label=found.label),),
    )


@dataclass(frozen=True)
class PluginReasoner:
    """A reasoner of another package, held to what holds for a language model.

    Its claims must cite ids that exist, and its label is combined with the detector's by the table above: it
    can question or raise an alarm, never remove one.
    """

    plugin: Reasoner

    @property
    def name(self) -> str:
        """Of the plug-in."""
        return self.plugin.name

    @property
    def digest(self) -> str:
        """Of the plug-in."""
        return self.plugin.digest

    def judge(self, media: Media, evidence: Evidence, recall: Recall, policy: Policy) -> Verdict:
        """Return the plug-in's verdict, corrected; raises ModelError when it fails or gives none."""
        try:
            given = self.plugin.judge(media, evidence, recall, policy)
        except AnomalistError:
            raise
        except Exception as error:  # one picture that a plug-in stumbles over must not end a run
            raise ModelError(f"{self.name} failed: {type(error).__name__}: {error}.") from error
        if not isinstance(given, Verdict):
            raise ModelError(f"{self.name} must give a Verdict, got {type(given).__name__}.")
        found = assess(media, evidence, recall, policy)
        outcome = CombinedLabel(found.label, found.why_undecided)
        if given.label != found.label:
            outcome = combine_labels(found.label, found.why_undecided, given.label, policy)
        normal = outcome.label == "normal"
        claims, dropped = filter_claims(given.claims, citable_ids(evidence, recall))
        texts = tuple(quote_with_ids(claim.text, claim.evidence) for claim in dropped)
        return Verdict(
            label=outcome.label,
            severity=0 if normal or found.changed_input else given.severity or found.level,
            kind=None if normal else given.kind or found.kind,
            claims=claims,
            reasoner=self.name,
            disagreements=(*given.disagreements, *outcome.disagreements),
            why_undecided=outcome.why,
            dropped_claims=given.dropped_claims + len(dropped),
            policy=policy.digest,
            model=given.model,
            opinions=(
                Opinion(by=DETECTOR, label=found.label),
                Opinion(by=self.name, label=given.label),
            ),
            prompts=given.prompts,
            replies=given.replies,
            dropped=(*given.dropped, *texts),
        )


@dataclass(frozen=True)
class ModelExchange:
    """What a model was asked about a picture and what it said.

    Parameters
    ----------
    judgement : its readable judgement, or None.
    problem, tries : why there is none, and how often it was asked.
    prompts, replies : in the order in which they were sent and came.
    dropped : statements that were taken out before the judgement, and why.
    """

    judgement: Judgement | None = None
    problem: str | None = None
    tries: int = 0
    prompts: tuple[PromptUsed, ...] = ()
    replies: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


def build_verdict(
    heard: ModelExchange, name: str, media: Media, evidence: Evidence, recall: Recall, policy: Policy
) -> Verdict:
    """Put together what was measured and what the model said.

    Parameters
    ----------
    heard : of the model.
    name : of the model.
    media, evidence, recall : what it has judged.
    policy : decides on label and severity.

    Returns
    -------
    The model's claims stand between the meaning of the score and the measurements that it left out. Those
    whose ids don't exist are dropped, and kept as texts in ``dropped``.
    """
    found = assess(media, evidence, recall, policy)
    detector = Opinion(by=DETECTOR, label=found.label)
    if heard.judgement is None:
        outcome = undecided_without_reply(found.label, heard.tries, heard.problem or "")
        judged = _Judged(outcome, found.severity, found.kind, found.claims, (detector,))
    else:
        model = Opinion(by=name, label=heard.judgement.label)
        judged = _with_judgement(heard.judgement, (detector, model), found, media, evidence, recall, policy)
    label = judged.outcome.label
    return Verdict(
        label=label,
        severity=0 if label == "normal" or found.changed_input else judged.severity.level,
        kind=judged.kind,
        claims=judged.claims,
        reasoner=f"{name} (language model, held against the detector's evidence)",
        disagreements=(*found.disagreements, *judged.outcome.disagreements),
        why_undecided=judged.outcome.why,
        dropped_claims=len(heard.dropped) + len(judged.dropped),
        dropped=(*heard.dropped, *judged.dropped, *judged.refused),
        policy=policy.digest,
        model=name,
        opinions=judged.opinions,
        prompts=heard.prompts,
        replies=heard.replies,
    )


@dataclass(frozen=True)
class _Judged:
    """The parts of a verdict that a model's judgement, or the lack of one, decides."""

    outcome: CombinedLabel
    severity: Severity
    kind: str | None
    claims: tuple[Claim, ...]
    opinions: tuple[Opinion, ...]
    dropped: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def _with_judgement(
    judgement: Judgement,
    opinions: tuple[Opinion, ...],
    found: Assessment,
    media: Media,
    evidence: Evidence,
    recall: Recall,
    policy: Policy,
) -> _Judged:
    """Combine a readable judgement with what was measured."""
    outcome = combine_labels(found.label, found.why_undecided, judgement.label, policy)
    step = severity_step(judgement, found.severity.level, evidence.regions)
    pairs = [(claim.text, claim.evidence) for claim in judgement.claims]
    if step.by:
        pairs.append((judgement.severity_reason, judgement.severity_evidence))
    said, dropped = model_claims(pairs, citable_ids(evidence, recall))
    called = _model_kind(judgement, outcome.label)
    labelled = any(region.known and region.known.name for region in evidence.regions[:1])
    kind = found.kind if labelled or called is None else called  # people's own cases name it best
    graded = _adjust_severity(found.severity, step, judgement)
    named = (*outcome.disagreements, *_kind_disagreement(found.kind, called))
    return _Judged(
        outcome=CombinedLabel(outcome.label, outcome.why, named),
        severity=graded,
        kind=None if outcome.label == "normal" else kind,
        claims=tuple(_ordered_claims(said, outcome.label, graded, media, evidence)),
        opinions=opinions,
        dropped=dropped,
        refused=() if step.refused is None else (f"Severity {judgement.severity_step}: {step.refused}.",),
    )


def _ordered_claims(
    said: tuple[Claim, ...], label: Label, severity: Severity, media: Media, evidence: Evidence
) -> Iterator[Claim]:
    """Order the claims: the whole picture, the score, the model's, other regions, and how bad it is."""
    yield from input_claims(evidence)
    yield score_claim(evidence)
    yield from said
    told = {key for claim in said for key in claim.evidence}
    yield from (claim for claim in region_claims(media, evidence) if not told.issuperset(claim.evidence))
    if label != "normal" and not evidence.changed_input:
        yield severity_claim(label, severity)


def _model_kind(judgement: Judgement, label: Label) -> str | None:
    """Return the model's word for what it is, if it sees an anomaly; else None."""
    named = label != "normal" and judgement.label == "anomalous" and judgement.kind != "none"
    return judgement.kind if named else None


def _kind_disagreement(measured: str | None, named: str | None) -> Iterator[str]:
    """Say when the model calls it something else than the measurements look like."""
    if measured and named and measured != named:
        yield (
            f"By its measurements it looks like {with_article(measured)}, "
            f"the model calls it {with_article(named)}."
        )


def _adjust_severity(severity: Severity, step: SeverityStep, judgement: Judgement) -> Severity:
    """Move a grade by the model's step, and say so in its reason."""
    if not step.by:
        return severity
    worse = "worse" if step.by > 0 else "less bad"
    ids = dict.fromkeys((*severity.evidence, *judgement.severity_evidence))
    reason = f"{severity.reason}, and the model finds it one step {worse}"
    return Severity(severity.level + step.by, reason, tuple(ids))
