"""Marked places for evaluating a vision-language model: synthetic and real ones with ground truth.

The regions are given, so that only recognition is measured. Which kinds of the model's vocabulary are right
for a real kind of defect was fixed in `ACCEPTED_KINDS` before any model was run on real pictures. Also checks
a model's replies about a place: whether they are valid at once, and whether they name the kind.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anomalist.agent.models.structured import ReplyError, parse_reply
from anomalist.agent.reasoning.policy import load_policy
from anomalist.agent.reasoning.vlm_reasoner import VLMReasoner
from anomalist.eval.image_datasets import load_folder, read_pairs
from anomalist.prompts.schemas import Judgement
from anomalist.training.defect_renderers import DEFECT_KINDS, DefectFacts, DefectKind
from anomalist.training.synthetic_cases import draw_case, draw_product
from anomalist.training.synthetic_evidence import CaseEvidence, make_case_evidence
from anomalist.types.common import BoolArray, Box, DetectorInfo, Recall, UInt8Array
from anomalist.types.image import Evidence, Media, Region
from anomalist.vision.media.images import load_image
from anomalist.vision.media.masks import load_mask
from anomalist.vision.regions import crop_window, find_regions

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


ACCEPTED_KINDS: Mapping[str, frozenset[DefectKind]] = {
    # magnetic tiles (MTD)
    "blowhole": frozenset({"hole", "spot"}),
    "break": frozenset({"missing piece", "crack"}),
    "crack": frozenset({"crack"}),
    "fray": frozenset({"missing piece", "texture change"}),
    "uneven": frozenset({"stain", "texture change"}),
    # steel (NEU)
    "crazing": frozenset({"crack", "texture change"}),
    "inclusion": frozenset({"foreign material", "spot"}),
    "patches": frozenset({"stain"}),
    "pitted_surface": frozenset({"hole", "spot"}),
    "rolled-in_scale": frozenset({"texture change", "stain"}),
    "scratches": frozenset({"scratch"}),
}
"""Kind of a data set → the `DefectKind` that are right for it."""

_N_PRODUCTS, _FIRST_PRODUCT = 48, 2_000_000  # seeds that training doesn't use


@dataclass(frozen=True, eq=False)
class MarkedPlace:
    """A picture with one marked region and ground truth.

    Parameters
    ----------
    shown : the picture with one region, and its normal counterpart.
    facts : ground truth of the region; for real pictures ``kind`` is "nothing" or None.
    accepted : kinds that are right; None where a real defect has no name in the vocabulary.
    name : of the kind in its data set, or the synthetic kind.
    """

    shown: CaseEvidence
    facts: DefectFacts
    accepted: frozenset[DefectKind] | None
    name: str

    @property
    def wrong(self) -> bool:
        """Whether the region is defective."""
        return self.name != "nothing"


def synthetic_places(count: int, seed: int) -> Iterator[MarkedPlace]:
    """Synthetic places on products whose seeds training doesn't use."""
    products = [draw_product(_FIRST_PRODUCT + number) for number in range(_N_PRODUCTS)]
    number = 0
    while count:
        rng = np.random.default_rng((seed, number, 7))
        number += 1
        shown = make_case_evidence(rng, draw_case(rng, products))
        if not shown.facts or (kind := shown.facts[0].kind) is None:
            continue
        yield MarkedPlace(shown, shown.facts[0], frozenset({kind}), kind)
        count -= 1


def tile_places(data: Path, count: int, seed: int) -> Iterator[MarkedPlace]:
    """Places on defective tiles by their masks, and places of the same form on good ones (MTD)."""
    rng = np.random.default_rng(seed)
    table = data / "groups.csv"
    items = load_folder(data, table if table.exists() else None).items
    good = [item for item in items if item.normal]
    defects = [item for item in items if not item.normal and item.mask is not None]
    for at in rng.permutation(len(defects))[:count]:
        item = defects[int(at)]
        first, second = (good[int(i)] for i in rng.permutation(len(good))[:2])
        pixels = load_image(item.path).pixels
        assert item.mask is not None
        mask = _largest_component(load_mask(item.mask, pixels.shape[:2]))
        if not mask.any():
            continue
        normal = load_image(first.path).pixels
        yield _mark_place(pixels, mask, _resize_like(normal, pixels), item.defect)
        clean = load_image(second.path).pixels
        yield _mark_place(clean, _resize_mask_like(mask, clean), _resize_like(normal, clean), "nothing")


def steel_places(data: Path, count: int, seed: int) -> Iterator[MarkedPlace]:
    """The first labelled box of each picture (NEU), without normal counterpart."""
    boxes: dict[str, tuple[str, Box]] = {}
    with (data / "boxes.csv").open(newline="", encoding="utf-8-sig") as opened:
        for row in csv.DictReader(opened):
            box = (int(row["x1"]), int(row["y1"]), int(row["x2"]), int(row["y2"]))
            boxes.setdefault(row["image"], (row["class"], box))
    names = sorted(boxes)
    for at in np.random.default_rng(seed).permutation(len(names))[:count]:
        kind, box = boxes[names[int(at)]]
        pixels = load_image(data / "images" / names[int(at)]).pixels
        yield _mark_place(pixels, _box_mask(box, pixels.shape[:2]), None, kind)


def board_places(data: Path, count: int, seed: int) -> Iterator[MarkedPlace]:
    """A labelled box and a place without defect for each pair; the template is the normal one (DeepPCB)."""
    rng = np.random.default_rng(seed)
    pairs = read_pairs(data)
    for at in rng.permutation(len(pairs))[:count]:
        pair = pairs[int(at)]
        pixels, normal = load_image(pair.picture).pixels, load_image(pair.reference).pixels
        box = pair.boxes[int(rng.integers(len(pair.boxes)))]
        yield _mark_place(pixels, _box_mask(box, pixels.shape[:2]), normal, "defect")
        free = _free_box(rng, box, pair.boxes, pixels.shape[:2])
        if free is not None:
            yield _mark_place(pixels, _box_mask(free, pixels.shape[:2]), normal, "nothing")


def _mark_place(pixels: UInt8Array, mask: BoolArray, normal: UInt8Array | None, name: str) -> MarkedPlace:
    peaks = mask.astype(np.float32)
    regions = find_regions(pixels, peaks, mask, limit=1)
    evidence = Evidence(
        DetectorInfo(name="ground truth", digest="0" * 64),
        1.0,
        peaks,
        mask,
        roi_area=mask.size,
        regions=regions,
    )
    facts = DefectFacts("nothing" if name == "nothing" else None)
    accepted = frozenset({facts.kind}) if facts.kind is not None else ACCEPTED_KINDS.get(name)
    return MarkedPlace(
        CaseEvidence(Media("picture", "0" * 64, pixels), evidence, (facts,), normal), facts, accepted, name
    )


def _largest_component(mask: BoolArray) -> BoolArray:
    from scipy import ndimage

    labels, found = ndimage.label(mask, np.ones((3, 3)))
    return np.asarray(labels == 1 + int(np.bincount(labels.ravel())[1:].argmax())) if found else mask


def _resize_like(pixels: UInt8Array, like: UInt8Array) -> UInt8Array:
    import cv2

    height, width = like.shape[:2]
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _resize_mask_like(mask: BoolArray, like: UInt8Array) -> BoolArray:
    import cv2

    height, width = like.shape[:2]
    share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(share >= min(0.5, float(share.max())))


def _box_mask(box: Box, size: tuple[int, int]) -> BoolArray:
    x0, y0, x1, y1 = box
    mask = np.zeros(size, bool)
    mask[max(0, y0) : y1, max(0, x0) : x1] = True
    return mask


def _free_box(
    rng: np.random.Generator, box: Box, boxes: tuple[Box, ...], size: tuple[int, int]
) -> Box | None:
    """A box of the same size whose crop window shows none of the labelled boxes; None if none is found."""
    across, down = box[2] - box[0], box[3] - box[1]
    for _ in range(50):
        x, y = int(rng.integers(size[1] - across)), int(rng.integers(size[0] - down))
        x0, y0, x1, y1 = crop_window((x, y, x + across, y + down), size)
        if not any(b[0] < x1 and b[2] > x0 and b[1] < y1 and b[3] > y0 for b in boxes):
            return x, y, x + across, y + down
    return None


_REPLIES_PER_PICTURE = 2
"""Replies for one picture without retries: description and judgement."""


@dataclass(frozen=True)
class ReplyQuality:
    """Quality of a model's replies.

    Parameters
    ----------
    readable : share of places whose replies were all valid at the first attempt; None without places.
    named : share of synthetic places whose claims name the right kind and no other; None without such places.
    """

    readable: float | None
    named: float | None


def judge_places(
    model: BaseChatModel, name: str, places: Sequence[MarkedPlace], progress: Callable[[int], None]
) -> ReplyQuality:
    """Have each place judged as in the pipeline; an invalid reply names no kind."""
    readable, named = [], []
    for at, place in enumerate(places, start=1):
        reasoner = VLMReasoner(model, name, normal_crop=_normal_crop_of(place))
        verdict = reasoner.judge(place.shown.media, place.shown.evidence, Recall(), load_policy())
        readable.append(len(verdict.replies) == _REPLIES_PER_PICTURE)
        if place.facts.kind is not None:
            named.append(_named_kinds(verdict.replies[-1]) == {place.facts.kind})
        progress(at)
    return ReplyQuality(*(float(np.mean(each)) if each else None for each in (readable, named)))


def _normal_crop_of(place: MarkedPlace) -> Callable[[Media, Region], UInt8Array | None]:
    return lambda media, region: place.shown.counterpart(region)


def _named_kinds(reply: str) -> set[str]:
    """The kinds that the claims of a judgement name."""
    try:
        judgement = parse_reply(reply, Judgement)
    except ReplyError:
        return set()
    text = " ".join(claim.text for claim in judgement.claims).lower()
    return {kind for kind in DEFECT_KINDS if kind in text}
