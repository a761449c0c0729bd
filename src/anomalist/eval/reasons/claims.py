"""Faithfulness of claims: whether what they cite exists, lies on the defect, and has the numbers they state.

Numbers are compared with what is measured again, from the pixels, the anomaly map, the mask and the
calibration scores; only those of the ids that a claim cites count for it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from anomalist.agent.asking.draft import number_texts, numbers_of, states_one_of
from anomalist.agent.reasoning.claims import INPUT_ID, SCORE_ID, citable_ids
from anomalist.agent.reasoning.evidence_reasoner import MAX_REGION_SENTENCES
from anomalist.agent.reasoning.wording import MAX_SIGMA_SHOWN
from anomalist.types.common import BoolArray, Box, Claim
from anomalist.types.image import Evidence, Inspection, Region
from anomalist.vision.calibration import CalibrationSet
from anomalist.vision.regions import find_regions

_BOUNDS: Mapping[str, Callable[[Region], bool]] = {
    "under 0.1 %": lambda region: 100 * region.attributes.relative_size < 0.1,
    f"more than {MAX_SIGMA_SHOWN:.0f}σ": lambda region: (
        abs(region.attributes.contrast_sigma) > MAX_SIGMA_SHOWN
    ),
}
"""Numbers that are bounds, and whether a region keeps them."""


@dataclass(frozen=True)
class CheckedClaim:
    """One sentence of a verdict.

    Parameters
    ----------
    text : of the claim.
    exists : whether every id that it cites exists.
    wrong : the numbers in it that nothing measured of what it cites stands for, as written.
    numbers : how many numbers it states.
    """

    text: str
    exists: bool
    wrong: tuple[str, ...]
    numbers: int


@dataclass(frozen=True)
class CitedPlace:
    """A region that a verdict cites, on a picture whose defect is marked.

    ``hit`` is whether a pixel of it is marked, ``chance`` the share of the places of its box in the picture
    where a marked pixel would be in it, ``first`` whether it is the first that is cited.
    """

    hit: bool
    chance: float
    first: bool


def check_claims(inspection: Inspection, calibration: CalibrationSet | None) -> tuple[CheckedClaim, ...]:
    """Check the claims of an inspected picture against what is measured again.

    Parameters
    ----------
    inspection : with its picture and evidence.
    calibration : what its p-value rests on; None leaves out the numbers that only that has.
    """
    media, evidence, record = inspection.media, inspection.evidence, inspection.record
    assert media is not None and evidence is not None  # what was judged has both
    again = find_regions(media.pixels, evidence.score_map, evidence.mask)
    by_box = {region.box: region for region in again}
    regions = {region.id: (region, by_box.get(region.box)) for region in evidence.regions}
    pools: dict[str, list[float]] = {
        SCORE_ID: [*_score_numbers(evidence, calibration), *_counts(evidence)],
        INPUT_ID: [*numbers_of(evidence.input_shift.model_dump())] if evidence.input_shift else [],
    }
    for name, (given, measured) in regions.items():
        # A region of which nothing is left when it is measured again has no numbers.
        pools[name] = [*_region_numbers(measured), *_counts(evidence)] if measured is not None else []
        for case in given.known.cases if given.known else ():
            pools.setdefault(case, []).append(given.known.similarity if given.known else 0.0)
    for item in record.recall.items:
        pools.setdefault(item.id, []).extend((item.similarity, *numbers_of(item.text)))
    exist = citable_ids(evidence, record.recall)
    measured_by_id = {name: each[1] for name, each in regions.items()}
    return tuple(_checked(claim, exist, pools, measured_by_id) for claim in record.claims)


def cited_places(inspection: Inspection, truth: BoolArray) -> tuple[CitedPlace, ...]:
    """The regions that the verdict cites, in the order of the claims, against the marked defect.

    Parameters
    ----------
    inspection : with its evidence.
    truth : bool (H, W) of the size of the picture, True on the defect, not empty.
    """
    evidence = inspection.evidence
    assert evidence is not None  # what was judged has it
    known = {region.id: region for region in evidence.regions}
    cited = dict.fromkeys(id_ for claim in inspection.record.claims for id_ in claim.evidence if id_ in known)
    places = []
    for number, name in enumerate(cited):
        x0, y0, x1, y1 = box = known[name].box
        here = evidence.mask[y0:y1, x0:x1] & truth[y0:y1, x0:x1]
        places.append(CitedPlace(bool(here.any()), chance_of_overlap(box, truth), number == 0))
    return tuple(places)


def chance_of_overlap(box: Box, truth: BoolArray) -> float:
    """Share of the places where a box of this size fits into the picture that hold a marked pixel.

    ``truth`` is bool (H, W).
    """
    across, down = box[2] - box[0], box[3] - box[1]
    sums = np.pad(truth.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    inside = sums[down:, across:] - sums[:-down, across:] - sums[down:, :-across] + sums[:-down, :-across]
    return float((inside > 0).mean())


def _checked(
    claim: Claim,
    exist: frozenset[str],
    pools: dict[str, list[float]],
    regions: dict[str, Region | None],
) -> CheckedClaim:
    text = claim.text
    cited = [region for id_ in claim.evidence if (region := regions.get(id_)) is not None]
    bounds = [words for words in _BOUNDS if words in text]
    wrong = [words for words in bounds if not any(_BOUNDS[words](region) for region in cited)]
    for words in bounds:
        text = text.replace(words, " ")
    pool = [value for id_ in claim.evidence for value in pools.get(id_, ())]
    # Boxes are joined by a times sign, which is no word boundary to the pattern of numbers.
    stated = number_texts(re.sub(r"[×σ°%]", " ", text))
    wrong += [number for number in stated if not states_one_of(number, pool)]
    exists = all(id_ in exist for id_ in claim.evidence)
    return CheckedClaim(claim.text, exists, tuple(wrong), len(bounds) + len(stated))


def _score_numbers(evidence: Evidence, calibration: CalibrationSet | None) -> Iterator[float]:
    yield evidence.score
    about, p = evidence.calibration, evidence.p_value
    if about is None or p is None:
        return
    groups, normals, reached = about.groups, about.normals, about.reached
    if calibration is not None:
        groups, normals = calibration.n_groups, len(calibration.scores)
        if calibration.n_folds == 1:
            p, reached = calibration.p_value([evidence.score]), calibration.reached([evidence.score])
        threshold = calibration.threshold(about.false_alarm_rate)
        yield from () if threshold is None else (threshold,)
    as_high = p * (groups + 1) - 1
    yield from (p, groups, normals)
    yield from (round(as_high), as_high / groups) if reached is None else (reached,)
    yield from (about.false_alarm_rate, about.default_rate or 0.0, about.normals_needed - groups)


def _counts(evidence: Evidence) -> Iterator[float]:
    """Numbers of regions: all of them, and those without a sentence of their own."""
    yield from (len(evidence.regions), max(0, len(evidence.regions) - MAX_REGION_SENTENCES))


def _region_numbers(region: Region) -> Iterator[float]:
    about = region.attributes
    x0, y0, x1, y1 = region.box
    yield from (x1 - x0, y1 - y0, region.area, region.peak, region.mean, about.relative_size)
    yield from (math.sqrt(region.area * about.elongation), math.sqrt(region.area / about.elongation), 1)
    if about.orientation is not None:
        yield from (about.orientation, 180 - about.orientation)
    yield from (about.contrast, about.contrast_sigma, about.colour_shift, about.texture_ratio)
