"""Synthetic cases as evidence and views of the pipeline, as if a detector had marked their regions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from anomalist.agent.reasoning.vlm_views import View, close_up_view, overview_picture
from anomalist.prompts.schemas import NamedKind
from anomalist.training.defect_renderers import DefectFacts, DefectKind
from anomalist.training.synthetic_cases import SyntheticCase
from anomalist.types.common import DetectorInfo, UInt8Array
from anomalist.types.image import Calibration, Evidence, Media, Region
from anomalist.vision.regions import crop_window, find_regions
from anomalist.vision.synthetic_textures import Rng

VERDICT_KIND: Mapping[DefectKind, NamedKind] = {
    "scratch": "line",
    "crack": "line",
    "spot": "spot",
    "hole": "missing material",
    "stain": "patch",
    "missing piece": "edge damage",
    "foreign material": "extra material",
    "texture change": "texture change",
    "bend": "diffuse change",
    "nothing": "none",
}
"""Kind of anomaly in a verdict for each kind of defect."""

_WITH_NORMAL_SHARE = 0.85
_FILE_NAMES = (
    "part.png",
    "0001.jpg",
    "IMG_2041.JPG",
    "exp3_num_1182.jpg",
    "sample-17.bmp",
    "tile_a/004.png",
    "x.png",
)


@dataclass(frozen=True, eq=False)
class CaseEvidence:
    """A synthetic case as evidence of the pipeline.

    Parameters
    ----------
    media, evidence : as from a detector.
    facts : of each region, in the order of ``evidence.regions``.
    normal : uint8 (h, w, 3), the normal picture, or None where regions are shown in their surroundings.
    """

    media: Media
    evidence: Evidence
    facts: tuple[DefectFacts, ...]
    normal: UInt8Array | None

    def view(self, region: Region) -> View:
        """Closer view of a region, as the pipeline shows it."""
        return close_up_view(self.media, self.evidence, region, self.counterpart(region))

    def counterpart(self, region: Region) -> UInt8Array | None:
        """Crop of the normal picture at a region, uint8 (h, w, 3); None where there is none."""
        if self.normal is None:
            return None
        x0, y0, x1, y1 = crop_window(region.box, self.media.size)
        return np.ascontiguousarray(self.normal[y0:y1, x0:x1])

    def whole(self) -> UInt8Array:
        """The whole picture with its regions outlined."""
        return overview_picture(self.media, self.evidence)


def make_case_evidence(rng: Rng, case: SyntheticCase) -> CaseEvidence:
    """Make evidence of a case; scores and calibration are drawn at random, independent of the defects."""
    height, width = case.pixels.shape[:2]
    mask, peaks = np.zeros((height, width), bool), np.zeros((height, width), np.float32)
    for place in case.marked:
        mask |= place.mask
        peaks[place.mask] = rng.uniform(1, 4)
    regions = find_regions(case.pixels, peaks, mask)
    facts = tuple(_region_facts(case, region) for region in regions)
    source = _FILE_NAMES[int(rng.integers(len(_FILE_NAMES)))]
    normals = int(rng.integers(20, 300))
    p = float((1 + rng.integers(0, normals)) / (normals + 1)) if rng.random() < 0.5 else 1 / (normals + 1)
    evidence = Evidence(
        DetectorInfo(name="surface", digest="0" * 64),
        float(peaks.max(initial=0.5)),
        peaks,
        mask,
        roi_area=height * width,
        p_value=p,
        calibration=Calibration(
            method="split", normals=normals, groups=normals, false_alarm_rate=0.05, reachable=True,
            normals_needed=19, instability=0.0, approximate=False, seed=0,
        ),
        regions=regions,
        basis="normals" if rng.random() < 0.7 else "reference",
    )  # fmt: skip
    normal = case.normal if rng.random() < _WITH_NORMAL_SHARE else None
    return CaseEvidence(Media(source, "0" * 64, case.pixels), evidence, facts, normal)


def _region_facts(case: SyntheticCase, region: Region) -> DefectFacts:
    """Facts of the marked region that a found region overlaps."""
    x0, y0, x1, y1 = region.box
    overlaps = [int(place.mask[y0:y1, x0:x1].sum()) for place in case.marked]
    return case.marked[int(np.argmax(overlaps))].facts
