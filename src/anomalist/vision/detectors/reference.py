"""Comparison with one reference picture: align it, find differences, say missing, extra or changed.

A change is also compared, by how it touches the structure around it, with labelled changes where there
are any (nearest neighbours, cosine similarity).
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from anomalist.errors import AnomalistError, MediaError
from anomalist.types.common import BoolArray, Box, DetectorInfo, FloatArray, UInt8Array
from anomalist.types.image import Evidence, KnownKind, Media, Region
from anomalist.vision.alignment import align
from anomalist.vision.calibration import CalibrationSet
from anomalist.vision.difference import (
    RING_WIDTH,
    AlignedPair,
    Difference,
    FigureTone,
    change_direction,
    find_difference,
    otsu_level,
    padded_crop,
    ring_around,
)
from anomalist.vision.evidence import MeasuredPicture, NormalCrop
from anomalist.vision.media.images import learn_scale, load_image
from anomalist.vision.media.values import ValueScale
from anomalist.vision.regions import component_mask, crop_window, find_regions

NEIGHBOURS = 3
"""Labelled examples that vote on the kind of a change."""

MIN_SIMILARITY = 0.85
"""Cosine similarity below which a change is of no labelled kind."""


def describe_change(pair: AlignedPair, inside: BoolArray, box: Box) -> FloatArray:
    """Describe a change by its topology in the structure around it: float32 (13,), a unit vector.

    Lost or gained; number of separate pieces of structure and of ground that meet its rim (0, 1, or more);
    share of the rim that is structure; change in the number of pieces of structure and of ground; form and
    size. Counts and ratios only, so it is invariant to place, orientation and the size of the picture.

    Parameters
    ----------
    pair, inside, box : as for `change_direction`.
    """
    crop, mask = padded_crop(inside, box, pair.reference.shape)
    before, after = _structure_masks(pair, crop)
    lost, gained = float((mask & before & ~after).sum()), float((mask & after & ~before).sum())
    direction = (gained - lost) / max(gained + lost, 1.0)
    rim = ring_around(mask, 1, 1 + RING_WIDTH)
    still, empty = rim & before & after, rim & ~before & ~after
    figures, grounds = _count_arcs(still, rim), _count_arcs(empty, rim)
    share = float(still.sum()) / max(1.0, float(still.sum() + empty.sum()))
    near = mask | rim
    split = _count_touching(after, near) - _count_touching(before, near)
    opened = _count_touching(~after, near) - _count_touching(~before, near)
    length, width = _min_rectangle(mask)
    filled = float(mask.sum()) / max(1.0, length * width)
    values = [
        2 * direction,
        *_one_hot_count(figures),
        *_one_hot_count(grounds),
        2 * share - 1,
        float(np.clip(split, -1, 1)),
        float(np.clip(opened, -1, 1)),
        0.5 * float(np.clip(np.log2(length / width) - 1, -1, 1)),
        0.5 * (2 * filled - 1),
        0.5 * float(np.clip(np.log2(max(1.0, float(mask.sum()))) / 4 - 2, -1, 1)),
    ]
    vector = np.array(values, dtype=np.float32)
    return vector / np.float32(np.linalg.norm(vector))


@dataclass(frozen=True, eq=False)
class LabelledChanges:
    """Nearest-neighbour classifier of changes by labelled ones.

    Parameters
    ----------
    vectors : float32 (n, D), from `describe_change`.
    kinds : label of each.
    ids : of each, for citing.
    figure : the tone of the structure when they were described; None for the rarer one of each reference.
    """

    vectors: FloatArray
    kinds: tuple[str, ...]
    ids: tuple[str, ...]
    figure: FigureTone | None = None

    @property
    def digest(self) -> str:
        """Hex SHA-256 over vectors, kinds, ids and tone."""
        names = json.dumps([self.kinds, self.ids, self.figure])
        return hashlib.sha256(self.vectors.tobytes() + names.encode()).hexdigest()

    def classify(self, vector: FloatArray) -> KnownKind:
        """Classify a change, float32 (D,), by its nearest examples; no kind when they are too different.

        Each of the nearest votes with its similarity above `MIN_SIMILARITY`.
        """
        similarity = self.vectors @ vector
        order = np.argsort(-similarity, kind="stable")[:NEIGHBOURS]
        nearest = float(similarity[order[0]])
        cases = tuple(self.ids[i] for i in order)
        if nearest < MIN_SIMILARITY:
            return KnownKind(name=None, similarity=nearest, cases=cases)
        votes: dict[str, float] = defaultdict(float)
        for i in order:
            votes[self.kinds[i]] += max(0.0, float(similarity[i]) - MIN_SIMILARITY)
        return KnownKind(name=max(votes, key=lambda kind: votes[kind]), similarity=nearest, cases=cases)


def _structure_masks(pair: AlignedPair, crop: tuple[slice, slice]) -> tuple[BoolArray, BoolArray]:
    """Structure before and after in a window: of the whole picture, or else the rarer tone of this window."""
    if pair.before is not None and pair.after is not None:
        return pair.before[crop], pair.after[crop]
    reference, picture = pair.reference[crop], pair.picture[crop]
    level, _ = otsu_level(np.stack([reference, picture]))
    before, after = reference <= level, picture <= level
    if before.mean() + after.mean() > 1:
        before, after = ~before, ~after
    return before, after


def _label_components(mask: BoolArray) -> tuple[npt.NDArray[Any], int]:
    """Number the 8-connected pieces of a mask."""
    import cv2

    found, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return labels, found - 1


def _count_arcs(mask: BoolArray, rim: BoolArray) -> int:
    """Count the arcs of a rim that a mask covers; those below a twentieth of it don't count."""
    labels, _ = _label_components(mask)
    sizes = np.bincount(labels[mask], minlength=1)
    return int((sizes >= max(2.0, rim.sum() / 20)).sum())


def _count_touching(mask: BoolArray, near: BoolArray) -> int:
    """Count the pieces of a mask, within its window, that reach the neighbourhood of a change."""
    labels, found = _label_components(mask)
    sizes = np.bincount(labels[near & mask], minlength=found + 1)
    return int((sizes >= 4).sum())


def _one_hot_count(count: int) -> tuple[float, float, float]:
    """One-hot code of none, one, or several."""
    return float(count == 0), float(count == 1), float(count > 1)


def _min_rectangle(mask: BoolArray) -> tuple[float, float]:
    """Length and width of the smallest turned rectangle around a mask, pixels, at least 1."""
    import cv2

    y, x = np.nonzero(mask)
    _, sides, _ = cv2.minAreaRect(np.stack([x, y], 1).astype(np.float32))
    return max(sides) + 1.0, min(sides) + 1.0


COMPARISON_VERSION = "2"
"""Version of the comparison; part of the digest and of records."""


@dataclass(frozen=True, eq=False)
class ReferenceEvidence:
    """Evidence from the comparison with one good picture of the same thing; see `EvidenceSource`.

    Parameters
    ----------
    reference : the good picture.
    known : classifier of the changes, or None.
    scale : of values of more than 8 bit, that of the reference.
    """

    reference: Media
    known: LabelledChanges | None = None
    scale: ValueScale | None = None

    @property
    def name(self) -> str:
        """Name of the reference file."""
        return f"reference:{Path(self.reference.source).name}"

    @property
    def digest(self) -> str:
        """Hex SHA-256 over the reference, the version of the comparison and the labelled changes."""
        parts = (self.reference.sha256, COMPARISON_VERSION, self.known and self.known.digest)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def calibrations(self) -> Mapping[str, CalibrationSet]:
        """Empty: there are no scores of normals; a difference is an anomaly."""
        return {}

    @property
    def rate(self) -> None:
        """None: nothing is calibrated."""
        return None

    @cached_property
    def normal_crop(self) -> NormalCrop:
        """The same place of the reference."""
        return AlignedCrop(self.reference)

    @property
    def compared_with(self) -> str:
        """In words."""
        return "the reference"

    def measure(self, paths: Iterable[str | Path]) -> Iterator[MeasuredPicture]:
        """Compare one picture at a time; see `EvidenceSource.measure`."""
        for path in paths:
            media = None
            try:
                media = load_image(path, scale=self.scale)
                yield path, media, self.evidence(media)
            except AnomalistError as error:
                yield path, media, error

    def evidence(self, media: Media) -> Evidence:
        """Compare one picture.

        Raises MediaError when it can't be aligned to the reference.
        """
        found = find_difference(
            self.reference.pixels, media.pixels, self.known.figure if self.known else None
        )
        regions = find_regions(media.pixels, found.strength, found.mask, found.compared)
        return Evidence(
            detector=DetectorInfo(name="reference", version=COMPARISON_VERSION, digest=self.digest),
            score=float(found.strength.max()),
            score_map=found.strength,
            mask=found.mask,
            roi_area=int(found.compared.sum()),
            regions=tuple(self._describe_region(found, region) for region in regions),
            basis="reference",
            notes=_alignment_notes(found),
        )

    def _describe_region(self, found: Difference, region: Region) -> Region:
        """Add the direction of its change, and its kind, to a region."""
        inside = component_mask(found.mask, region.box, region.area)
        known = self.known and self.known.classify(describe_change(found.pair, inside, region.box))
        change = change_direction(found.pair, inside, region.box)
        return region.replace(change=change, known=known)


def load_reference(path: str | Path, known: LabelledChanges | None = None) -> ReferenceEvidence:
    """Read the good picture to compare with; raises MediaError when it can't be read."""
    scale = learn_scale([path])
    return ReferenceEvidence(load_image(path, scale=scale), known, scale)


@dataclass(frozen=True, eq=False)
class AlignedCrop:
    """Crops the aligned reference at the place of a region, to be shown beside it."""

    reference: Media
    _last: dict[str, UInt8Array] = field(default_factory=dict, repr=False)

    def __call__(self, media: Media, region: Region) -> UInt8Array | None:
        """Crop of the aligned reference, uint8 (h, w, 3), in the window of the region's own crop.

        None when the picture can't be aligned.
        """
        if media.sha256 not in self._last:
            try:
                aligned = align(self.reference.pixels, media.pixels).pixels
            except MediaError:
                return None
            self._last.clear()  # pictures come one after the other
            self._last[media.sha256] = aligned
        left, top, right, bottom = crop_window(region.box, media.size)
        return self._last[media.sha256][top:bottom, left:right]


def _alignment_notes(found: Difference) -> tuple[str, ...]:
    """How the picture was aligned, and how much of it lies outside the reference."""
    missing = 1 - float(found.aligned.valid.mean())
    if missing < 0.001:
        return (found.aligned.how,)
    return found.aligned.how, f"{missing:.1%} of the picture lies outside the reference and was not compared"
