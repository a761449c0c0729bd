"""Maps of experts say on which side of normal each is."""

from __future__ import annotations

import numpy as np

from anomalist.report.expert_figures import draw_expert_maps
from anomalist.types.image import ExpertScore, Record


def test_an_expert_below_normal_is_said_to_be_below() -> None:
    experts = (
        ExpertScore(name="high", score=4.26, weight=0.75),
        ExpertScore(name="low", score=-0.4, weight=0.25),
    )
    record = Record(source="a.png", status="ok", label="anomalous", experts=experts)
    maps = {each.name: np.zeros((6, 9), np.float16) for each in experts}
    words = [said.replace("\u00a0", " ") for said, _ in draw_expert_maps(record, maps)]
    assert words == ["high: 4.3 σ above normal, weight 75 %", "low: 0.4 σ below normal, weight 25 %"]
