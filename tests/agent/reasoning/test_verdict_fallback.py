from __future__ import annotations

from collections.abc import Callable

import pytest

from anomalist.agent.reasoning.policy import Policy
from anomalist.agent.reasoning.verdict import verdict_without_model
from anomalist.errors import ModelError
from anomalist.types.common import Recall
from anomalist.types.image import Evidence, Media, Region


@pytest.mark.parametrize(
    ("p", "reachable", "alone", "sentence"),
    [
        (0.01, True, "anomalous", "The detector alone calls the picture anomalous"),
        (0.5, True, "normal", "The detector alone raises no alarm"),
        (0.01, False, "undecided", "The detector does not decide either"),
    ],
)
def test_a_failed_model_leaves_the_measurement_visible_and_never_normal(
    p: float,
    reachable: bool,
    alone: str,
    sentence: str,
    media: Media,
    evidence: Callable[..., Evidence],
    region: Callable[..., Region],
) -> None:
    found = evidence(p=p, reachable=reachable, regions=(region(),))
    error = ModelError("No model server answers at here.", "Is it running?")
    verdict = verdict_without_model(error, "openai:http://here#m", media, found, Recall(), Policy())
    assert verdict.label == "undecided"
    assert verdict.why_undecided is not None
    assert verdict.why_undecided.startswith("The language model failed: No model server answers at here.")
    assert sentence in verdict.why_undecided
    assert [(opinion.by, opinion.label) for opinion in verdict.opinions] == [("detector", alone)]
    assert verdict.severity >= 1
    assert verdict.model == "openai:http://here#m" and not verdict.replies
    assert any("R1" in claim.evidence for claim in verdict.claims)
