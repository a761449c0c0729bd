"""Target replies for synthetic cases, and the cases as evidence and views of the pipeline.

Replies use one name for each thing, so that they can be parsed and scored; questions use many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from anomalist.agent.reasoning.vlm_views import View, close_up_view, overview_picture
from anomalist.agent.reasoning.wording import position_phrase
from anomalist.prompts.schemas import Description, Judgement, NamedKind, Observation, Statement
from anomalist.training.defect_renderers import DEFECT_KINDS, DefectFacts, DefectKind
from anomalist.training.synthetic_cases import SyntheticCase
from anomalist.types.common import DetectorInfo, UInt8Array
from anomalist.types.image import Calibration, Evidence, Media, Region
from anomalist.vision.evidence import crop_window
from anomalist.vision.regions import find_regions
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

KIND_NAMES: Mapping[DefectKind, tuple[str, ...]] = {
    "scratch": ("scratch", "score mark", "scrape", "thin scratch"),
    "crack": ("crack", "fracture", "fissure", "branching crack"),
    "spot": ("spot", "speck", "dot", "small spot"),
    "hole": ("hole", "pit", "cavity", "blowhole"),
    "stain": ("stain", "blotch", "smudge", "discoloured area"),
    "missing piece": ("missing piece", "broken-off piece", "chipped edge", "piece broken out of the edge"),
    "foreign material": ("foreign material", "foreign object", "debris", "something foreign on the surface"),
    "texture change": (
        "texture change",
        "change of texture",
        "rubbed or roughened area",
        "different texture",
    ),
    "bend": ("bend", "distortion", "deformation", "bent pattern"),
    "nothing": ("nothing", "no defect", "nothing wrong", "nothing unusual"),
}
"""Names of each kind in questions, the one used in replies first."""

_TONE_ADJECTIVES = {"darker": "dark ", "lighter": "bright ", "same": "", None: ""}
_HUE_ADJECTIVES = {
    "redder": "reddish ",
    "yellower": "yellowish ",
    "greener": "greenish ",
    "bluer": "bluish ",
    None: "",
}
_SHAPE_ADJECTIVES = {
    "round": "round ",
    "elongated": "elongated ",
    "irregular": "irregular ",
    "line": "straight ",
    None: "",
}
_COUNT_WORDS = {2: "two", 3: "three", 4: "four", 5: "five"}
_MASS_NOUNS = ("foreign material",)


def noun_phrase(facts: DefectFacts) -> str:
    """Noun phrase of a defect: "a faint dark scratch", "three bright spots"."""
    kind = facts.kind or "nothing"
    if kind == "nothing":
        return "nothing unusual"
    shape = "" if kind in ("scratch", "crack") else _SHAPE_ADJECTIVES.get(facts.shape, "")
    before = (
        f"{'faint ' if facts.faint else ''}{_TONE_ADJECTIVES[facts.tone]}{_HUE_ADJECTIVES[facts.hue]}{shape}"
    )
    if facts.count is not None and facts.count > 1:
        plural = "es" if kind.endswith("ch") else "s"
        return f"{_COUNT_WORDS.get(facts.count, 'several')} {before}{kind}{plural}"
    words = f"{before}{kind}"
    if kind in _MASS_NOUNS:
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def facts_phrase(facts: DefectFacts) -> str:
    """Noun phrase with shape and direction, without the place."""
    if facts.kind is None:
        return "too dark or too blurred to judge"
    direction = {"horizontal": "running horizontally", "vertical": "running vertically",
                 "rising": "rising to the right", "falling": "falling to the right"}  # fmt: skip
    runs = f", {direction[facts.direction]}" if facts.direction else ""
    return f"{noun_phrase(facts)}{runs}"


def region_reply(name: str, facts: DefectFacts, *, compared: bool) -> str:
    """Sentence on what a region shows, compared with the normal patch where one stands beside it."""
    if facts.kind is None:
        return f"{name} is {facts_phrase(facts)}."
    if facts.kind == "nothing":
        return (
            f"{name} shows nothing unusual{'; it looks like the normal patch beside it' if compared else ''}."
        )
    end = ", which the normal patch does not show" if compared else ""
    return f"{name} shows {facts_phrase(facts)}{end}."


def judgement_reply(regions: Sequence[tuple[str, DefectFacts]], *, compared: bool) -> Judgement:
    """Judgement of a picture by the facts of its regions."""
    claims = tuple(
        Statement(text=region_reply(name, facts, compared=compared), evidence=(name,))
        for name, facts in regions
    )
    wrong = [facts.kind for _, facts in regions if facts.kind not in (None, "nothing")]
    unclear = any(facts.kind is None for _, facts in regions)
    label = "anomalous" if wrong else "undecided" if unclear else "normal"
    kind = VERDICT_KIND[wrong[0]] if wrong and wrong[0] is not None else "none"
    return Judgement(
        claims=claims, label=label, kind=kind, severity_step="same", severity_reason="", severity_evidence=()
    )


def description_reply(pixels: UInt8Array, places: Sequence[tuple[str, str | None]]) -> Description:
    """Description of a whole picture: its surface, and where the marked region lies.

    Parameters
    ----------
    pixels : uint8 (h, w, 3).
    places : name and place of each region, the place None where it is ambiguous.
    """
    known = [(name, place) for name, place in places if place is not None]
    observations: tuple[Observation, ...] = ()
    if len(places) == 1 and known:
        name, place = known[0]
        observations = (Observation(text=f"{name} is marked {position_phrase(place)}.", evidence=(name,)),)
    return Description(scene=f"{surface_phrase(pixels)}.", observations=observations, text_seen=())


def brightness_name(pixels: UInt8Array) -> str | None:
    """Name the brightness of a picture; None between the classes."""
    grey = float(pixels.mean()) / 255
    return (
        "dark"
        if grey < 0.27
        else "bright"
        if grey > 0.62
        else None
        if grey < 0.33 or grey > 0.56
        else "medium"
    )


def colour_name(pixels: UInt8Array) -> str | None:
    """Name the colour of a picture, or "grey"; None in between."""
    spread = float(np.ptp(pixels.astype(np.float32), axis=2).mean())
    return "grey" if spread < 6 else "coloured" if spread > 22 else None


def surface_phrase(pixels: UInt8Array) -> str:
    """Return "A dark grey surface with a strong pattern"."""
    busy = float(pixels.mean(2).std())
    pattern = (
        "with a strong pattern"
        if busy > 38
        else "with a fine texture"
        if busy > 12
        else "almost without texture"
    )
    tone = {"dark": "dark ", "bright": "bright ", "medium": "", None: ""}[brightness_name(pixels)]
    colour = {"grey": "grey ", "coloured": "coloured ", None: ""}[colour_name(pixels)]
    return f"A {tone}{colour}surface {pattern}"


def draw_one(rng: Rng, words: Sequence[str]) -> str:
    """Draw one of several wordings."""
    return words[int(rng.integers(len(words)))]


GRID_CELLS = 6
"""Rows and columns of the grid of class labels over a picture."""

HALF_COLUMNS = GRID_CELLS // 2
"""Columns of each half of a closer view."""

IGNORE_INDEX = 255
"""Label of cells that carry no loss."""
OUTLINED, NOT_OUTLINED = len(DEFECT_KINDS), len(DEFECT_KINDS) + 1
"""Classes of the cells of a whole picture; those of closer views are indices of `DEFECT_KINDS`."""

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

    def grid(self, region: Region, facts: DefectFacts) -> UInt8Array:
        """Class labels of a closer view: indices of `DEFECT_KINDS`, uint8 (GRID_CELLS, GRID_CELLS)."""
        import cv2

        cells = np.full((GRID_CELLS, GRID_CELLS), IGNORE_INDEX, np.uint8)
        x0, y0, x1, y1 = crop_window(region.box, self.media.size)
        if x1 - x0 != y1 - y0 or facts.kind is None:
            return cells
        inside = self.evidence.mask[y0:y1, x0:x1].astype(np.float32)
        share = cv2.resize(inside, (HALF_COLUMNS, GRID_CELLS), interpolation=cv2.INTER_AREA)
        nothing, kind = DEFECT_KINDS.index("nothing"), DEFECT_KINDS.index(facts.kind)
        cells[:, :HALF_COLUMNS] = np.where(share > 0.3, kind, np.where(share > 0.02, IGNORE_INDEX, nothing))
        if self.normal is not None:
            cells[:, HALF_COLUMNS:] = nothing
        return cells

    def whole_grid(self) -> UInt8Array:
        """Class labels of the whole picture: outlined or not, uint8 (GRID_CELLS, GRID_CELLS)."""
        import cv2

        share = cv2.resize(
            self.evidence.mask.astype(np.float32), (GRID_CELLS, GRID_CELLS), interpolation=cv2.INTER_AREA
        )
        return np.where(share > 0.15, OUTLINED, np.where(share > 0, IGNORE_INDEX, NOT_OUTLINED)).astype(
            np.uint8
        )


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
