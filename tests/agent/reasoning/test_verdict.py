"""Whose word counts for the kind: the labelled cases, then the model, then the measurements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from anomalist.agent.reasoning.evidence_reasoner import EvidenceReasoner
from anomalist.agent.reasoning.policy import Policy
from anomalist.agent.reasoning.verdict import (
    ModelExchange,
    PluginReasoner,
    build_verdict,
    verdict_without_model,
)
from anomalist.errors import ModelError
from anomalist.prompts.schemas import Judgement
from anomalist.types.common import Claim, Label, Recall, Verdict
from anomalist.types.image import Evidence, KnownKind, Media, Region
from anomalist.types.shift import InputChange, InputShift, RunDrift

LINE: dict[str, Any] = {"box": (20, 20, 80, 24), "area": 180, "elongation": 20.0, "tone": "darker"}


def said(label: str, kind: str) -> ModelExchange:
    return ModelExchange(
        Judgement.model_validate(
            {
                "claims": [{"text": "A dark line.", "evidence": ["R1"]}],
                "label": label,
                "kind": kind,
                "severity_step": "same",
                "severity_reason": "",
                "severity_evidence": [],
            }
        )
    )


@pytest.mark.parametrize(
    ("known", "label", "kind", "expected", "conflict"),
    [
        (None, "anomalous", "spot", "spot", True),
        (None, "anomalous", "line", "line", False),
        (None, "normal", "none", "line", False),
        ("scratch", "anomalous", "spot", "scratch", True),
        ("scratch", "normal", "none", "scratch", False),
    ],
)
def test_the_kind_of_an_alarm_is_that_of_labelled_cases_else_the_models_else_the_measured(
    media: Media,
    evidence: Callable[..., Evidence],
    region: Callable[..., Region],
    known: str | None,
    label: str,
    kind: str,
    expected: str,
    conflict: bool,
) -> None:
    case = KnownKind(name=known, similarity=0.9, cases=("case:scratch/1",)) if known else None
    marked = region(**LINE).model_copy(update={"known": case})
    measured = evidence(p=1 / 101, regions=[marked])
    verdict = build_verdict(said(label, kind), "model", media, measured, Recall(), Policy())
    assert (verdict.label, verdict.kind) == ("anomalous", expected)
    assert any("the model calls it" in text for text in verdict.disagreements) is conflict


def test_a_normal_verdict_has_no_kind(media: Media, evidence: Callable[..., Evidence]) -> None:
    verdict = build_verdict(said("normal", "none"), "model", media, evidence(p=0.7), Recall(), Policy())
    assert (verdict.label, verdict.kind) == ("normal", None)


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


BRIGHTER = InputChange(name="brightness", value=1.5, words="brighter by 50 %")
DRIFT = RunDrift(name="brightness", since=3, noticed=9, evidence=120.0, words="brighter since picture 3")


@pytest.mark.parametrize("how", ["model", "no reply", "failed", "plug-in"])
def test_a_picture_that_changed_as_a_whole_has_no_severity_whoever_judges(
    how: str, media: Media, evidence: Callable[..., Evidence], region: Callable[..., Region]
) -> None:
    shift = InputShift(statistics={}, changes=(BRIGHTER,), drift=DRIFT)
    found = replace(evidence(p=0.001, regions=(region(),)), input_shift=shift)
    given = (media, found, Recall(), Policy())
    if how == "failed":
        verdict = verdict_without_model(ModelError("It is gone."), "model", *given)
    elif how == "plug-in":
        own = EvidenceReasoner().judge(*given).replace(severity=3)
        verdict = PluginReasoner(Saying(own)).judge(*given)
    else:
        heard = said("anomalous", "line") if how == "model" else ModelExchange(problem="prose", tries=2)
        verdict = build_verdict(heard, "model", *given)
    assert (verdict.label, verdict.severity) == ("undecided", 0)
    texts = [claim.text for claim in verdict.claims if "input" in claim.evidence]
    assert len(texts) == 2 and "brighter by 50 %" in texts[0] and "no longer holds" in texts[1]


# --- reasoners of other packages --------------------------------------------------------------------------


class Saying:
    """A reasoner that says what it is given, or raises it."""

    name, digest = "saying", "5a"

    def __init__(self, given: Any) -> None:
        self.given = given

    def judge(self, *_: object) -> Any:
        if isinstance(self.given, Exception):
            raise self.given
        return self.given


def verdict_of(label: Label, *claims: Claim, severity: int = 2) -> Verdict:
    return Verdict(label=label, severity=severity, kind="dent", claims=claims, reasoner="someone else")


def judged(given: Any, media: Media, evidence: Evidence) -> Verdict:
    return PluginReasoner(Saying(given)).judge(media, evidence, Recall(), Policy())


ALARM, NO_ALARM, TOO_FEW = {"p": 1 / 101}, {"p": 0.7}, {"p": 0.01, "reachable": False}


@pytest.mark.parametrize(
    ("measured", "label", "expected", "conflict"),
    [
        (ALARM, "anomalous", "anomalous", False),
        (ALARM, "normal", "anomalous", True),
        (ALARM, "undecided", "anomalous", True),
        (NO_ALARM, "normal", "normal", False),
        (NO_ALARM, "anomalous", "undecided", True),
        (NO_ALARM, "undecided", "normal", True),
        (TOO_FEW, "normal", "undecided", False),
        (TOO_FEW, "anomalous", "undecided", False),
    ],
)
def test_a_plug_in_never_takes_an_alarm_away_and_its_disagreement_is_read(
    media: Media,
    evidence: Callable[..., Evidence],
    measured: dict[str, Any],
    label: Label,
    expected: str,
    conflict: bool,
) -> None:
    verdict = judged(verdict_of(label, severity=0), media, evidence(**measured))
    assert verdict.label == expected
    assert bool(verdict.disagreements) is conflict
    assert (verdict.why_undecided is not None) is (expected == "undecided")
    assert (verdict.severity > 0, verdict.kind is not None) == (expected != "normal",) * 2
    assert [opinion.label for opinion in verdict.opinions][1] == label
    assert verdict.reasoner == "saying"


def test_claims_of_a_plug_in_that_rest_on_nothing_are_dropped_and_counted(
    media: Media, evidence: Callable[..., Evidence], region: Callable[..., Region]
) -> None:
    held = Claim(text="R1 is dark.", evidence=("R1",))
    verdict = judged(
        verdict_of("anomalous", held, Claim(text="R7 is dark.", evidence=("R7",))),
        media,
        evidence(p=1 / 101, regions=[region()]),
    )
    assert verdict.claims == (held,)
    assert (verdict.dropped_claims, verdict.dropped) == (1, ("R7 is dark. [R7]",))
    assert (verdict.severity, verdict.kind) == (2, "dent")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (ZeroDivisionError("by nothing"), "saying failed: ZeroDivisionError: by nothing"),
        ("anomalous", "saying must give a Verdict, got str"),
        (None, "got NoneType"),
    ],
)
def test_a_plug_in_that_fails_is_a_model_that_fails(
    media: Media, evidence: Callable[..., Evidence], given: Any, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        judged(given, media, evidence())


def test_a_plug_in_that_judges_as_the_evidence_does_changes_nothing(
    media: Media, evidence: Callable[..., Evidence], region: Callable[..., Region]
) -> None:
    measured = evidence(p=1 / 101, regions=[region()])
    own = EvidenceReasoner().judge(media, measured, Recall(), Policy())
    given = judged(own, media, measured)
    assert given.model_copy(update={"reasoner": own.reasoner, "opinions": ()}) == own
