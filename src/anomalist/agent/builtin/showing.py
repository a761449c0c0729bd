"""Drawn cases shown as the pipeline shows real ones: evidence, pictures, prompts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anomalist.agent.looks import View, closer, whole
from anomalist.types import Calibration, DetectorInfo, Evidence, Media, Region, UInt8Array
from anomalist.vision.drawn.cases import Case
from anomalist.vision.drawn.facts import DEFECT_KINDS, Facts
from anomalist.vision.normals import window_around
from anomalist.vision.regions import find_regions
from anomalist.vision.strokes import Rng

CELLS = 6
"""Rows and columns of the grid on which training marks where something is."""

HALF = CELLS // 2
"""Columns of each half of a closer look."""

IGNORED = 255
OUTLINED, BESIDE = len(DEFECT_KINDS), len(DEFECT_KINDS) + 1
"""What a cell of a whole picture can be, where cells of closer looks are numbers of kinds."""

_COMPARED_SHARE = 0.85
_SOURCES = (
    "part.png",
    "0001.jpg",
    "IMG_2041.JPG",
    "exp3_num_1182.jpg",
    "sample-17.bmp",
    "tile_a/004.png",
    "x.png",
)


@dataclass(frozen=True, eq=False)
class Shown:
    """A case as evidence.

    Parameters
    ----------
    media, evidence : as a detector would hand them over.
    facts : of each region, in the order of ``evidence.regions``.
    normal : uint8 (h, w, 3), the normal picture, or None where the regions are shown in their surroundings.
    """

    media: Media
    evidence: Evidence
    facts: tuple[Facts, ...]
    normal: UInt8Array | None

    def view(self, region: Region) -> View:
        """Show a region from closer up, as the pipeline does."""
        return closer(self.media, self.evidence, region, self.counterpart(region))

    def counterpart(self, region: Region) -> UInt8Array | None:
        """Return what the normal picture shows there, uint8 (h, w, 3), or None where there is none."""
        if self.normal is None:
            return None
        x0, y0, x1, y1 = window_around(region.box, self.media.size)
        return np.ascontiguousarray(self.normal[y0:y1, x0:x1])

    def whole(self) -> UInt8Array:
        """Show the whole picture with its regions outlined."""
        return whole(self.media, self.evidence)

    def grid(self, region: Region, facts: Facts) -> UInt8Array:
        """Mark where in a closer look what is: numbers of `DEFECT_KINDS`, uint8 (CELLS, CELLS)."""
        import cv2

        cells = np.full((CELLS, CELLS), IGNORED, np.uint8)
        x0, y0, x1, y1 = window_around(region.box, self.media.size)
        if x1 - x0 != y1 - y0 or facts.kind is None:
            return cells
        inside = self.evidence.mask[y0:y1, x0:x1].astype(np.float32)
        share = cv2.resize(inside, (HALF, CELLS), interpolation=cv2.INTER_AREA)
        nothing, kind = DEFECT_KINDS.index("nothing"), DEFECT_KINDS.index(facts.kind)
        cells[:, :HALF] = np.where(share > 0.3, kind, np.where(share > 0.02, IGNORED, nothing))
        if self.normal is not None:
            cells[:, HALF:] = nothing
        return cells

    def whole_grid(self) -> UInt8Array:
        """Mark where in the whole picture something is outlined, uint8 (CELLS, CELLS)."""
        import cv2

        share = cv2.resize(
            self.evidence.mask.astype(np.float32), (CELLS, CELLS), interpolation=cv2.INTER_AREA
        )
        return np.where(share > 0.15, OUTLINED, np.where(share > 0, IGNORED, BESIDE)).astype(np.uint8)


def show(rng: Rng, case: Case) -> Shown:
    """Make evidence of a case. Scores and calibration are drawn: they say nothing about what is there."""
    height, width = case.pixels.shape[:2]
    mask, peaks = np.zeros((height, width), bool), np.zeros((height, width), np.float32)
    for place in case.marked:
        mask |= place.mask
        peaks[place.mask] = rng.uniform(1, 4)
    regions = find_regions(case.pixels, peaks, mask)
    facts = tuple(_facts_at(case, region) for region in regions)
    source = _SOURCES[int(rng.integers(len(_SOURCES)))]
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
    normal = case.normal if rng.random() < _COMPARED_SHARE else None
    return Shown(Media(source, "0" * 64, case.pixels), evidence, facts, normal)


def _facts_at(case: Case, region: Region) -> Facts:
    """The facts of the marked place that a region was found at."""
    x0, y0, x1, y1 = region.box
    overlaps = [int(place.mask[y0:y1, x0:x1].sum()) for place in case.marked]
    return case.marked[int(np.argmax(overlaps))].facts
