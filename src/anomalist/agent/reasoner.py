"""The interface of whatever turns evidence into a verdict: the evidence reasoner or a language model."""

from __future__ import annotations

from typing import Protocol

from anomalist.agent.policy import Policy
from anomalist.types import Evidence, Media, Recall, Verdict


class Reasoner(Protocol):
    """Judges one picture. The label follows the policy; the reasoner gives the words."""

    @property
    def name(self) -> str:
        """Who reasons, as a person should read it in ``Verdict.reasoner``."""
        ...

    @property
    def digest(self) -> str:
        """Hex digest of everything about the reasoner that a verdict depends on; "" for the code alone."""
        ...

    def judge(self, media: Media, evidence: Evidence, recall: Recall, policy: Policy) -> Verdict:
        """Return the verdict; every claim cites ids of the evidence or of what was recalled."""
        ...
