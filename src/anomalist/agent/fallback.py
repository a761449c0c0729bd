"""What is left of a verdict when the language model could not be heard."""

from __future__ import annotations

from anomalist.agent.evidence import EvidenceReasoner
from anomalist.agent.opinion import ALONE
from anomalist.agent.policy import Policy
from anomalist.agent.severity import MINOR, picture_severity
from anomalist.errors import ModelError
from anomalist.types import Evidence, Media, Opinion, Recall, Verdict


def without_model(
    error: ModelError, name: str, media: Media, evidence: Evidence, recall: Recall, policy: Policy
) -> Verdict:
    """Return what was measured, undecided, with why the model said nothing.

    Parameters
    ----------
    error : why it could not be heard.
    name : of the model that was asked.
    media, evidence, recall, policy : as it would have got them.
    """
    measured = EvidenceReasoner().judge(media, evidence, recall, policy)
    severity = picture_severity(evidence.regions, media.size, policy)
    return measured.model_copy(
        update={
            "label": "undecided",
            "severity": max(MINOR, severity.level),
            "reasoner": f"{measured.reasoner}, in place of {name}",
            "model": name,
            "opinions": (Opinion(by="detector", label=measured.label),),
            "why_undecided": f"The language model failed: {error} {ALONE[measured.label]}",
        }
    )
