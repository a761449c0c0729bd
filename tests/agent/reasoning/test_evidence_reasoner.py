from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from anomalist.agent.reasoning.claims import citable_ids
from anomalist.agent.reasoning.evidence_reasoner import EvidenceReasoner, Reasoner
from anomalist.agent.reasoning.policy import Policy
from anomalist.types.common import Recall, Recalled, Verdict
from anomalist.types.image import Evidence, KnownKind, Media, Region
from anomalist.vision.regions import MOST_REGIONS

CRACK = {
    "box": (20, 20, 80, 24),
    "area": 180,
    "elongation": 20.0,
    "orientation": 2.0,
    "contrast": -40.0,
    "contrast_sigma": -3.2,
    "tone": "darker",
}


def judge(media: Media, evidence: Evidence, policy: Policy | None = None, *recalled: Recalled) -> Verdict:
    reasoner: Reasoner = EvidenceReasoner()
    return reasoner.judge(media, evidence, Recall(items=recalled), policy or Policy())


def test_an_alarm_with_a_region_becomes_a_verdict_that_cites_it(
    media: Media, evidence: Callable[..., Evidence], region: Callable[..., Region]
) -> None:
    verdict = judge(media, evidence(p=1 / 101, regions=[region(**CRACK)]))
    assert (verdict.label, verdict.kind, verdict.severity) == ("anomalous", "line", 2)
    assert (verdict.disagreements, verdict.why_undecided, verdict.dropped_claims) == ((), None, 0)
    assert [(claim.text, claim.evidence) for claim in verdict.claims] == [
        (
            "The score of 3.2 is higher than that of all 100 normal pictures it was calibrated on "
            "(p = 0.010, asked rate 0.05).",
            ("score",),
        ),
        (
            "R1: a thin dark line at the upper left, about 60 px long and 3 px wide (0.3 % of the picture), "
            "running horizontally, 3.2σ darker than its surroundings.",
            ("R1",),
        ),
        ("Severity is moderate: R1 looks like a line, which the policy calls at least moderate.", ("R1",)),
        ("Score and map agree: the score is beyond the threshold and R1 stands out.", ("score", "R1")),
    ]


def test_the_verdict_says_that_no_language_model_reasoned(
    media: Media, evidence: Callable[..., Evidence]
) -> None:
    verdict = judge(media, evidence())
    assert verdict.reasoner == "evidence (measurement only, no language model)"
    assert verdict.policy == Policy().digest


def test_a_normal_picture_has_no_severity_and_no_kind(
    media: Media, evidence: Callable[..., Evidence]
) -> None:
    verdict = judge(media, evidence(p=0.6))
    assert (verdict.label, verdict.severity, verdict.kind) == ("normal", 0, None)
    assert verdict.disagreements == ()
    assert verdict.claims[-1].text.startswith("Score and map agree")


def test_an_alarm_without_a_region_is_a_diffuse_change_and_a_disagreement(
    media: Media, evidence: Callable[..., Evidence]
) -> None:
    verdict = judge(media, evidence(p=0.01))
    assert (verdict.label, verdict.severity, verdict.kind) == ("anomalous", 1, "diffuse change")
    (disagreement,) = verdict.disagreements
    assert "no single place" in disagreement


@pytest.mark.parametrize(
    ("count", "said"), [(1, "R1 stands out"), (2, "R1 and R2 stand out"), (6, "6 places stand out")]
)
def test_regions_on_a_normal_picture_are_a_disagreement(
    count: int,
    said: str,
    media: Media,
    evidence: Callable[..., Evidence],
    region: Callable[..., Region],
) -> None:
    verdict = judge(media, evidence(p=0.6, regions=[region(i + 1) for i in range(count)]))
    assert (verdict.label, verdict.severity, verdict.kind) == ("normal", 0, None)
    assert verdict.disagreements == (f"The picture scores as normal as a whole, but {said}.",)


def test_an_undecided_picture_is_graded_as_if_it_were_real(
    media: Media, evidence: Callable[..., Evidence], region: Callable[..., Region]
) -> None:
    verdict = judge(media, evidence(p=0.05, instability=0.5, regions=[region(**CRACK)]))
    assert (verdict.label, verdict.severity, verdict.kind) == ("undecided", 2, "line")
    assert verdict.why_undecided is not None
    severity, places = (claim.text for claim in verdict.claims[-2:])
    assert severity.startswith("If this is real, its severity is moderate: R1")
    assert places == "The score decides nothing here; in the map, R1 stands out."


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_failed_detector_is_never_normal(
    score: float, media: Media, evidence: Callable[..., Evidence]
) -> None:
    verdict = judge(media, evidence(p=0.9, score=score))
    assert (verdict.label, verdict.kind) == ("undecided", None)
    assert verdict.claims[0].text == f"The detector gave no usable score ({score})."


def test_without_calibration_the_claims_say_so(media: Media, evidence: Callable[..., Evidence]) -> None:
    verdict = judge(media, replace(evidence(p=None), calibration=None))
    assert verdict.label == "undecided"
    assert verdict.claims[0].text == (
        "The score is 3.2; there are no calibration pictures to compare it with."
    )


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ({"p": 4 / 101}, "reached by 3 of the 100 normal pictures it was calibrated on (p = 0.040,"),
        ({"p": 1.0}, "reached by 100 of the 100 normal pictures it was calibrated on (p = 1.000,"),
        (
            {"p": 0.5, "normals": 1, "groups": 1},
            "higher than that of the only normal picture it was calibrated on (p = 0.500,",
        ),
        (
            {"p": 1 / 26, "groups": 25},
            "higher than that of all 100 normal pictures (in 25 groups) it was calibrated on (p = 0.038,",
        ),
        (
            {"p": 3.5 / 26, "groups": 25},
            "reached by 10 % of the 100 normal pictures (in 25 groups) it was calibrated on, "
            "each group weighing the same (p = 0.135,",
        ),
        (
            {"p": 0.5, "normals": 6, "groups": 1},
            "higher than that of all 6 normal pictures (in 1 group) it was calibrated on",
        ),
        # After a jackknife a p-value lies between those of whole pictures; what was counted is said.
        (
            {"p": 1.03 / 26, "groups": 25, "reached": 1, "method": "jackknife", "approximate": True},
            "reached by 1 of the 100 normal pictures (in 25 groups) it was calibrated on "
            "(p ≈ 0.040, each group weighing the same, asked rate 0.05",
        ),
        (
            {"p": 1.3 / 101, "reached": 1, "method": "jackknife", "approximate": True},
            "reached by 1 of the 100 normal pictures it was calibrated on (p ≈ 0.013,",
        ),
        (
            {"p": 1.3 / 26, "groups": 25, "reached": 0, "method": "jackknife", "approximate": True},
            "higher than that of all 100 normal pictures (in 25 groups) it was calibrated on (p ≈ 0.050,",
        ),
        ({"p": 1 / 5001, "normals": 5000, "groups": 5000}, "(p = 0.0002, asked rate 0.05)"),
        (
            {"p": 1 / 101, "method": "cv+", "approximate": True},
            "(p ≈ 0.010, asked rate 0.05, approximate because cross-fitted)",
        ),
        ({"p": 1.0, "normals": 0, "groups": 0}, "there are no calibration pictures to compare it with"),
    ],
)
def test_the_p_value_is_told_as_a_rank_among_the_normals(
    case: dict[str, object], said: str, media: Media, evidence: Callable[..., Evidence]
) -> None:
    assert said in judge(media, evidence(**case)).claims[0].text


@pytest.mark.parametrize(
    ("count", "told", "rest"),
    [
        (5, 5, None),
        (6, 5, "One more region is marked, with a lower peak: R6."),
        (9, 5, "4 more regions are marked, with lower peaks: R6 to R9."),
        (20, 5, "At least 15 more regions are marked, with lower peaks: R6 to R20."),  # no more are measured
    ],
)
def test_the_first_regions_get_a_sentence_each_and_the_others_share_one(
    count: int,
    told: int,
    rest: str | None,
    media: Media,
    evidence: Callable[..., Evidence],
    region: Callable[..., Region],
) -> None:
    claims = judge(media, evidence(regions=[region(i + 1) for i in range(count)])).claims
    assert sum(claim.text.startswith("R") and ": a" in claim.text for claim in claims) == told
    others = [claim for claim in claims if "more region" in claim.text]
    assert [claim.text for claim in others] == ([rest] if rest else [])
    if rest:
        assert others[0].evidence == tuple(f"R{i}" for i in range(6, count + 1))


def test_inside_a_roi_sizes_refer_to_the_inspected_area(
    media: Media, evidence: Callable[..., Evidence], region: Callable[..., Region]
) -> None:
    verdict = judge(media, replace(evidence(regions=[region()]), roi_area=1000))
    assert "of the inspected area)" in verdict.claims[1].text


def test_recalled_items_are_quoted_by_id_shortened_and_at_most_three(
    media: Media, evidence: Callable[..., Evidence]
) -> None:
    items = [
        Recalled(id="case:12", text="scratch,\nconfirmed " + "x " * 500, similarity=0.871),
        Recalled(id="rule:7", text="no marks on the seal", similarity=0.5),
        Recalled(id="normal:3", text="tile_3.png", similarity=0.4),
        Recalled(id="scene:1", text="never shown", similarity=0.3),
    ]
    claims = judge(media, evidence(), None, *items).claims[-3:]
    assert [claim.evidence for claim in claims] == [("case:12",), ("rule:7",), ("normal:3",)]
    assert claims[0].text.startswith(
        "A past case that looks alike is case:12 (similarity 0.87): scratch, confirmed x"
    )
    assert len(claims[0].text) < 300
    assert claims[1].text == "A rule that fits is rule:7 (similarity 0.50): no marks on the seal"


@pytest.mark.parametrize("p", [0.01, 0.6])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_every_claim_cites_existing_ids_and_nothing_is_dropped(
    p: float,
    count: int,
    media: Media,
    evidence: Callable[..., Evidence],
    region: Callable[..., Region],
) -> None:
    seen = evidence(p=p, regions=[region(i + 1) for i in range(count)])
    recalled = Recalled(id="case:1", text="a", similarity=0.5)
    verdict = judge(media, seen, None, recalled)
    allowed = citable_ids(seen, Recall(items=(recalled,)))
    assert verdict.dropped_claims == 0
    assert {key for claim in verdict.claims for key in claim.evidence} <= allowed


def test_the_same_evidence_gives_the_same_verdict(
    media: Media, evidence: Callable[..., Evidence], region: Callable[..., Region]
) -> None:
    def once() -> str:
        return judge(media, evidence(regions=[region(1, **CRACK), region(2)])).model_dump_json()

    assert once() == once()


def test_an_edited_policy_changes_severity_and_its_digest(
    media: Media, evidence: Callable[..., Evidence], region: Callable[..., Region]
) -> None:
    seen = evidence(regions=[region(**CRACK)])
    strict = Policy.model_validate({"floors": {"line": "critical"}})
    assert judge(media, seen).severity == 2
    assert judge(media, seen, strict).severity == 4
    assert judge(media, seen, strict).policy != judge(media, seen).policy


def against_reference(evidence: Evidence) -> Evidence:
    return replace(evidence, basis="reference", p_value=None, threshold=None, calibration=None)


def test_differences_from_a_reference_are_the_verdict(
    media: Media, evidence: Callable[..., Evidence], region: Callable[..., Region]
) -> None:
    gone = region(**CRACK).model_copy(update={"change": "missing"})
    verdict = judge(media, against_reference(evidence(regions=[gone])))
    assert (verdict.label, verdict.kind, verdict.disagreements) == ("anomalous", "missing material", ())
    texts = [claim.text for claim in verdict.claims]
    assert texts[0] == (
        "Against the reference, the greatest difference is 3.2 times the one from which a difference counts."
    )
    assert texts[1].startswith("R1: missing against the reference: a thin dark line")
    assert "R1 looks like missing material" in texts[2]
    assert texts[-1] == "One place differs from the reference."


@pytest.mark.parametrize(("count", "told"), [(19, "19"), (MOST_REGIONS, "At least 20")])
def test_more_regions_than_are_measured_are_not_told_as_all(
    count: int, told: str, media: Media, evidence: Callable[..., Evidence], region: Callable[..., Region]
) -> None:
    found = evidence(regions=[region(i + 1) for i in range(count)])
    assert (
        judge(media, against_reference(found)).claims[-1].text == f"{told} places differ from the reference."
    )
    texts = [claim.text for claim in judge(media, found).claims]
    assert any(f"{told.lower()} places stand out" in text for text in texts)
    assert any(f"{told.lower()} regions together count one step more" in text for text in texts)


def test_without_a_difference_a_picture_is_normal(media: Media, evidence: Callable[..., Evidence]) -> None:
    verdict = judge(media, against_reference(evidence(score=0.2)))
    assert (verdict.label, verdict.kind, verdict.disagreements) == ("normal", None, ())
    assert verdict.claims[-1].text == "No place differs from the reference."


def test_a_known_kind_names_the_verdict(
    media: Media, evidence: Callable[..., Evidence], region: Callable[..., Region]
) -> None:
    like = KnownKind(name="open", similarity=0.99)
    cut = region(**CRACK).model_copy(update={"change": "missing", "known": like})
    assert judge(media, against_reference(evidence(regions=[cut]))).kind == "open"
    stranger = cut.model_copy(update={"known": KnownKind(name=None, similarity=0.3)})
    assert judge(media, against_reference(evidence(regions=[stranger]))).kind == "missing material"


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("scratch", "scratch", 'R1 is like known cases of "scratch" (similarity 0.91).'),
        (None, "line", "R1 is unlike any known kind (similarity 0.91)."),
    ],
)
def test_a_region_is_named_after_labelled_cases_and_cites_them(
    media: Media,
    evidence: Callable[..., Evidence],
    region: Callable[..., Region],
    name: str | None,
    kind: str,
    said: str,
) -> None:
    cases = ("case:scratch/003", "case:dent/001")
    marked = region(**CRACK).model_copy(update={"known": KnownKind(name=name, similarity=0.91, cases=cases)})
    verdict = judge(media, evidence(p=1 / 101, regions=[marked]))
    assert verdict.kind == kind
    assert [claim.evidence for claim in verdict.claims if claim.text == said] == [("R1", *cases)]
    assert verdict.dropped_claims == 0
