from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from anomalist.agent.reasoning.evidence_reasoner import EvidenceReasoner
from anomalist.agent.reasoning.policy import Policy
from anomalist.eval.reasons.claims import chance_of_overlap, check_claims, cited_places
from anomalist.types.common import Claim, DetectorInfo, MediaSummary, Recall
from anomalist.types.image import Evidence, EvidenceSummary, Inspection, Media, Record
from anomalist.vision.calibration import CalibrationSet
from anomalist.vision.regions import find_regions
from tests.pictures import SIDE, holed

CALIBRATION = CalibrationSet(np.arange(30) / 10, np.zeros(30, np.int64), np.arange(30))


def inspected(*extra: Claim, calibration: CalibrationSet = CALIBRATION) -> Inspection:
    """A tile with a hole, as measurement alone judges it, with further claims."""
    media = Media("holed.png", "0" * 64, holed(1))
    score_map = (255 - media.pixels.mean(2)).astype(np.float32)
    mask = score_map > 200
    evidence = Evidence(
        detector=DetectorInfo(name="darkness", digest="ab"),
        score=4.0,
        score_map=score_map,
        mask=mask,
        roi_area=mask.size,
        p_value=calibration.p_value([4.0]),
        threshold=calibration.threshold(0.05),
        calibration=calibration.summary([4.0], 0.05),
        regions=find_regions(media.pixels, score_map, mask),
    )
    verdict = EvidenceReasoner().judge(media, evidence, Recall(), Policy())
    record = Record(
        media=MediaSummary(source=media.source, sha256=media.sha256, width=SIDE, height=SIDE),
        status="ok",
        evidence=EvidenceSummary.of(evidence),
        verdict=verdict.replace(claims=(*verdict.claims, *extra)),
    )
    return Inspection(record, media, evidence)


def test_what_was_measured_holds() -> None:
    checked = check_claims(inspected(), CALIBRATION)
    assert len(checked) >= 4
    assert all(claim.exists and not claim.wrong for claim in checked)
    assert sum(claim.numbers for claim in checked) >= 6


def test_a_score_just_below_the_highest_normal_is_reached_by_one() -> None:
    scores = np.append(np.linspace(0, 3, 59), 4.001)
    calibration = CalibrationSet(scores, np.zeros(60, np.int64), np.arange(60) // 3, left_out=True)
    checked = check_claims(inspected(calibration=calibration), calibration)
    assert "reached by 1 of the 60 normal pictures (in 20 groups)" in checked[0].text
    assert not any(claim.wrong for claim in checked)


@pytest.mark.parametrize(
    ("text", "ids", "exists", "wrong"),
    [
        ("R1 covers 77 % of the picture.", ("R1",), True, ("77",)),
        ("The score is 4.", ("score",), True, ()),
        ("The score is 4.", ("R1",), True, ("4",)),  # of another thing than the one that is cited
        ("R7 is a crack.", ("R7",), False, ()),
        ("R1: more than 20σ darker.", ("R1",), True, ("more than 20σ",)),  # a bound that it does not reach
        ("R1: under 0.1 % of the picture.", ("R1",), True, ("under 0.1 %",)),
    ],
)
def test_invented_numbers_and_ids_are_found(
    text: str, ids: tuple[str, ...], exists: bool, wrong: tuple[str, ...]
) -> None:
    checked = check_claims(inspected(Claim(text=text, evidence=ids, source="model")), CALIBRATION)[-1]
    assert (checked.text, checked.exists, checked.wrong) == (text, exists, wrong)


def test_numbers_of_a_region_are_measured_again_and_not_taken_from_the_record() -> None:
    given = inspected()
    assert given.evidence is not None and given.record.verdict is not None
    region = given.evidence.regions[0]
    claimed = region.replace(attributes=region.attributes.replace(texture_ratio=77.0))
    claim = Claim(text="R1 is rougher (77 times the local variation).", evidence=("R1",))
    record = given.record.replace(verdict=given.record.verdict.replace(claims=(claim,)))
    changed = replace(given, record=record, evidence=replace(given.evidence, regions=(claimed,)))
    (checked,) = check_claims(changed, CALIBRATION)
    assert checked.wrong == ("77",)


def test_a_cited_place_hits_where_a_pixel_of_it_is_marked() -> None:
    truth = np.zeros((SIDE, SIDE), np.bool_)
    truth[SIDE // 4, SIDE // 4] = True
    (hit,) = cited_places(inspected(), truth)
    assert (hit.hit, hit.first) == (True, True)
    (missed,) = cited_places(inspected(), truth[::-1])
    assert not missed.hit
    assert missed.chance == pytest.approx(hit.chance, abs=0.02)


def test_the_chance_of_an_overlap_is_that_of_all_places_of_the_box() -> None:
    truth = np.random.default_rng(0).random((9, 12)) < 0.1
    places = [truth[y : y + 2, x : x + 3].any() for y in range(8) for x in range(10)]
    assert chance_of_overlap((5, 5, 8, 7), truth) == pytest.approx(np.mean(places))
