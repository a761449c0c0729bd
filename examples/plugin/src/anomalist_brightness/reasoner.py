"""A reasoner: the label in one sentence."""

from __future__ import annotations

from anomalist.agent.reasoning.policy import Policy, decide_label
from anomalist.agent.reasoning.severity import picture_severity
from anomalist.types.common import Claim, Recall, Verdict
from anomalist.types.image import Evidence, Media


class OneClaimReasoner:
    """Says the label that the policy gives, and cites the score."""

    name = "one claim"
    digest = ""  # nothing but the code

    def judge(self, media: Media, evidence: Evidence, recall: Recall, policy: Policy) -> Verdict:
        """Return a verdict with a single claim."""
        label, why = decide_label(evidence, policy)
        severity = picture_severity(evidence.regions, media.size, policy)
        text = f"By its score of {evidence.score:.3g} the picture is {label}."
        return Verdict(
            label=label,
            severity=0 if label == "normal" else severity.level,
            claims=(Claim(text=text, evidence=("score",)),),
            reasoner=self.name,
            why_undecided=why,
        )
