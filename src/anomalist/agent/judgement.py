"""From what a model said to a verdict: its words where they hold, the measurements where they don't."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from anomalist.agent.claims import checked, citable_ids
from anomalist.agent.evidence import EvidenceReasoner, region_claims, score_claim, severity_claim
from anomalist.agent.opinion import Step, severity_step, unreadable, weigh
from anomalist.agent.policy import Policy
from anomalist.agent.severity import Severity, picture_severity
from anomalist.agent.wording import with_article
from anomalist.prompts.replies import Judgement
from anomalist.types import Claim, Evidence, Label, Media, Opinion, PromptUsed, Recall, Verdict

DETECTOR = "detector"


@dataclass(frozen=True)
class Heard:
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


def verdict_of(
    heard: Heard, name: str, media: Media, evidence: Evidence, recall: Recall, policy: Policy
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
    measured = (
        EvidenceReasoner()
        .judge(media, evidence, recall, policy)
        .model_copy(
            update={
                "reasoner": f"{name} (language model, held against the detector's evidence)",
                "model": name,
                "prompts": heard.prompts,
                "replies": heard.replies,
            }
        )
    )
    severity = picture_severity(evidence.regions, media.size, policy)
    if heard.judgement is None:
        return _without_model(heard, measured, severity)
    judgement = heard.judgement
    outcome = weigh(measured.label, measured.why_undecided, judgement.label, policy)
    step = severity_step(judgement, severity.level, evidence.regions)
    said, dropped = _said(judgement, step, citable_ids(evidence, recall))
    called = _called(judgement, outcome.label)
    labelled = any(region.known and region.known.name for region in evidence.regions[:1])
    kind = measured.kind if labelled or called is None else called  # people's own cases name it best
    graded = _moved(severity, step, judgement)
    refused = () if step.refused is None else (f"Severity {judgement.severity_step}: {step.refused}.",)
    opinions = (Opinion(by=DETECTOR, label=measured.label), Opinion(by=name, label=judgement.label))
    return measured.model_copy(
        update={
            "label": outcome.label,
            "severity": 0 if outcome.label == "normal" else graded.level,
            "kind": None if outcome.label == "normal" else kind,
            "claims": tuple(_claims(said, outcome.label, graded, media, evidence)),
            "disagreements": (
                *measured.disagreements,
                *outcome.disagreements,
                *_naming(measured.kind, called),
            ),
            "why_undecided": outcome.why,
            "opinions": opinions,
            "dropped_claims": len(heard.dropped) + len(dropped),
            "dropped": (*heard.dropped, *dropped, *refused),
        }
    )


def cited(text: str, ids: Collection[str]) -> str:
    """Quote a dropped statement with the ids that it cites."""
    return f"{text} [{', '.join(ids) or 'no ids'}]"


def _without_model(heard: Heard, measured: Verdict, severity: Severity) -> Verdict:
    """Leave it undecided, with everything that was measured, when the model gave nothing to weigh."""
    outcome = unreadable(measured.label, heard.tries, heard.problem or "")
    return measured.model_copy(
        update={
            "label": outcome.label,
            "severity": severity.level,
            "why_undecided": outcome.why,
            "opinions": (Opinion(by=DETECTOR, label=measured.label),),
            "dropped_claims": len(heard.dropped),
            "dropped": heard.dropped,
        }
    )


def _said(
    judgement: Judgement, step: Step, allowed: Collection[str]
) -> tuple[tuple[Claim, ...], tuple[str, ...]]:
    """Return the model's claims that hold, each once, and those that are dropped as texts."""
    pairs = [(claim.text, claim.evidence) for claim in judgement.claims]
    if step.by:
        pairs.append((judgement.severity_reason, judgement.severity_evidence))
    unique = dict.fromkeys((text, tuple(dict.fromkeys(ids))) for text, ids in pairs)
    bare = [cited(text, ids) for text, ids in unique if not text or not ids]
    claims = [Claim(text=text, evidence=ids, source="model") for text, ids in unique if text and ids]
    kept, dropped = checked(claims, allowed)
    return kept, (*bare, *(cited(claim.text, claim.evidence) for claim in dropped))


def _claims(
    said: tuple[Claim, ...], label: Label, severity: Severity, media: Media, evidence: Evidence
) -> Iterator[Claim]:
    """Order the claims: the score, the model's, regions that it left out, and how bad it is."""
    yield score_claim(evidence)
    yield from said
    told = {key for claim in said for key in claim.evidence}
    yield from (claim for claim in region_claims(media, evidence) if not told.issuperset(claim.evidence))
    if label != "normal":
        yield severity_claim(label, severity)


def _called(judgement: Judgement, label: Label) -> str | None:
    """Return the model's word for what it is, if it sees an anomaly; else None."""
    named = label != "normal" and judgement.label == "anomalous" and judgement.kind != "none"
    return judgement.kind if named else None


def _naming(measured: str | None, named: str | None) -> Iterator[str]:
    """Say when the model calls it something else than the measurements look like."""
    if measured and named and measured != named:
        yield (
            f"By its measurements it looks like {with_article(measured)}, "
            f"the model calls it {with_article(named)}."
        )


def _moved(severity: Severity, step: Step, judgement: Judgement) -> Severity:
    """Move a grade by the model's step, and say so in its reason."""
    if not step.by:
        return severity
    worse = "worse" if step.by > 0 else "less bad"
    ids = dict.fromkeys((*severity.evidence, *judgement.severity_evidence))
    reason = f"{severity.reason}, and the model finds it one step {worse}"
    return Severity(severity.level + step.by, reason, tuple(ids))
