from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from anomalist.agent.reasoning.policy import Policy
from anomalist.agent.reasoning.verdict import combine_labels, severity_step, undecided_without_reply
from anomalist.prompts.schemas import Judgement
from anomalist.types.common import Label
from anomalist.types.image import Region

LABELS: tuple[Label, ...] = ("normal", "anomalous", "undecided")


def why_of(label: Label) -> str | None:
    return "There are too few normals." if label == "undecided" else None


@pytest.mark.parametrize(
    ("detector", "model", "label", "conflict"),
    [
        ("anomalous", "anomalous", "anomalous", None),
        (
            "anomalous",
            "normal",
            "anomalous",
            "the model takes the picture for normal. By the policy the alarm",
        ),
        (
            "anomalous",
            "undecided",
            "anomalous",
            "calls the picture anomalous, the model can't tell. The alarm",
        ),
        ("normal", "normal", "normal", None),
        ("normal", "anomalous", "undecided", "raises no alarm, the model takes the picture for anomalous."),
        ("normal", "undecided", "normal", "raises no alarm, the model can't tell. It stays normal."),
        ("undecided", "normal", "undecided", None),
        ("undecided", "anomalous", "undecided", None),
        ("undecided", "undecided", "undecided", None),
    ],
)
def test_detector_and_model_are_put_together_as_in_the_table(
    detector: Label, model: Label, label: Label, conflict: str | None
) -> None:
    outcome = combine_labels(detector, why_of(detector), model, Policy())
    assert outcome.label == label
    assert (outcome.why is not None) == (label == "undecided")
    assert len(outcome.disagreements) == (conflict is not None)
    assert conflict is None or conflict in outcome.disagreements[0]


def test_the_policy_can_leave_a_doubted_alarm_to_a_person() -> None:
    outcome = combine_labels("anomalous", None, "normal", Policy(doubted_alarm="undecided"))
    assert outcome.label == "undecided"
    assert outcome.why == f"{outcome.disagreements[0]} A person has to look."


def test_only_where_the_detector_says_normal_can_it_be_normal() -> None:
    for doubted in ("anomalous", "undecided"):
        policy = Policy.model_validate({"doubted_alarm": doubted})
        normal = {
            (detector, model)
            for detector, model in product(LABELS, LABELS)
            if combine_labels(detector, why_of(detector), model, policy).label == "normal"
        }
        assert ("normal", "normal") in normal
        assert {detector for detector, _ in normal} == {"normal"}
        assert "anomalous" not in {model for _, model in normal}


def test_why_undecided_keeps_the_reason_of_the_detector_first() -> None:
    outcome = combine_labels("undecided", "There are too few normals.", "anomalous", Policy())
    assert outcome.why is not None
    assert outcome.why.startswith("There are too few normals. ")
    assert "anomalous" in outcome.why


@pytest.mark.parametrize("detector", LABELS)
@pytest.mark.parametrize("tries", [1, 3])
def test_without_a_reply_it_is_undecided_and_says_what_the_detector_says(detector: Label, tries: int) -> None:
    outcome = undecided_without_reply(detector, tries, "it is empty.")
    assert outcome.label == "undecided"
    assert outcome.why is not None
    assert ("asked once" if tries == 1 else "asked 3 times") in outcome.why
    assert "(of the last one: it is empty). The detector" in outcome.why
    assert ("a person has to look" in outcome.why) == (detector == "anomalous")


@pytest.mark.parametrize(
    ("way", "label", "reason", "ids", "by", "refused"),
    [
        ("same", "anomalous", "It is deep.", ["R1"], 0, None),
        ("higher", "anomalous", "It is deep.", ["R1"], 1, None),
        ("lower", "anomalous", "It is shallow.", ["R1", "R2"], -1, None),
        ("higher", "normal", "It is deep.", ["R1"], 0, "it calls nothing anomalous"),
        ("lower", "undecided", "It is clean.", ["R1"], 0, "it calls nothing anomalous"),
        ("higher", "anomalous", "", ["R1"], 0, "it gives no reason with a region"),
        ("higher", "anomalous", "It is deep.", [], 0, "it gives no reason with a region"),
        ("higher", "anomalous", "It is deep.", ["R7"], 0, "there is no R7"),
        ("higher", "anomalous", "It is deep.", ["R1", "score"], 0, "there is no score"),
    ],
)
def test_severity_moves_by_one_step_with_a_reason_and_a_region(
    way: str,
    label: str,
    reason: str,
    ids: list[str],
    by: int,
    refused: str | None,
    region: Callable[..., Region],
) -> None:
    said = {"claims": [], "label": label, "kind": "none", "severity_step": way}
    judgement = Judgement.model_validate(said | {"severity_reason": reason, "severity_evidence": ids})
    for level in (1, 2, 3, 4):
        step = severity_step(judgement, level, [region(1), region(2)])
        on_scale = 1 <= level + by <= 4
        assert (step.by, step.refused) == ((by, refused) if on_scale else (0, "the scale ends there"))
