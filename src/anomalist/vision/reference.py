"""One good picture of the same thing: align it, compare, and say what is missing, extra or changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from anomalist.errors import AnomalistError, MediaError
from anomalist.types import BoolArray, Box, DetectorInfo, Evidence, Media, Region, UInt8Array
from anomalist.vision.alignment import align
from anomalist.vision.changes import LabelledChanges, describe, direction
from anomalist.vision.difference import Difference, compare
from anomalist.vision.examiners import Examined
from anomalist.vision.media import load_image
from anomalist.vision.normals import window_around
from anomalist.vision.regions import EIGHT, find_regions

VERSION = "1"
"""Of the comparison; part of the digest, so that records tell which one they come from."""


@dataclass(frozen=True, eq=False)
class AgainstReference:
    """Compares pictures with one good picture of the same thing.

    Parameters
    ----------
    reference : the good picture.
    known : labelled changes that regions are compared with, or None.
    """

    reference: Media
    known: LabelledChanges | None = None

    @property
    def name(self) -> str:
        """Of the file."""
        return f"reference:{Path(self.reference.source).name}"

    @property
    def digest(self) -> str:
        """Over the reference, the version of the comparison and the labelled changes."""
        parts = (self.reference.sha256, VERSION, self.known and self.known.digest)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def calibration(self) -> None:
        """None: the differences themselves decide."""
        return None

    def examine(self, paths: Iterable[str | Path]) -> Iterator[Examined]:
        """Compare one picture at a time; see `Examiner.examine`."""
        for path in paths:
            media = None
            try:
                media = load_image(path)
                yield path, media, self.evidence(media)
            except AnomalistError as error:
                yield path, media, error

    def evidence(self, media: Media) -> Evidence:
        """Compare one picture.

        Raises MediaError when it can't be aligned to the reference.
        """
        found = compare(self.reference.pixels, media.pixels, self.known.figure if self.known else None)
        regions = find_regions(media.pixels, found.strength, found.mask, found.compared)
        return Evidence(
            detector=DetectorInfo(name="reference", version=VERSION, digest=self.digest),
            score=float(found.strength.max()),
            score_map=found.strength,
            mask=found.mask,
            roi_area=int(found.compared.sum()),
            regions=tuple(self._told(found, region) for region in regions),
            basis="reference",
            notes=_notes(found),
        )

    def _told(self, found: Difference, region: Region) -> Region:
        """Add to a region what has changed, and which labelled change that is like."""
        inside = component(found.mask, region.box, region.area)
        known = self.known and self.known.like(describe(found.pair, inside, region.box))
        change = direction(found.pair, inside, region.box)
        return region.model_copy(update={"change": change, "known": known})


def load_reference(path: str | Path, known: LabelledChanges | None = None) -> AgainstReference:
    """Read the good picture to compare with; raises MediaError when it can't be read."""
    return AgainstReference(load_image(path), known)


@dataclass(frozen=True, eq=False)
class AlignedCrop:
    """Finds what the reference shows at the place of a region, for whoever wants to look."""

    reference: Media
    _last: dict[str, UInt8Array] = field(default_factory=dict, repr=False)

    def __call__(self, media: Media, region: Region) -> UInt8Array | None:
        """Return that part of the aligned reference, uint8 (h, w, 3), as wide as a closer look at the region.

        None when the picture can't be aligned.
        """
        if media.sha256 not in self._last:
            try:
                aligned = align(self.reference.pixels, media.pixels).pixels
            except MediaError:
                return None
            self._last.clear()  # a picture is done before the next one starts
            self._last[media.sha256] = aligned
        left, top, right, bottom = window_around(region.box, media.size)
        return self._last[media.sha256][top:bottom, left:right]


def component(mask: BoolArray, box: Box, area: int) -> BoolArray:
    """Return the one connected part of a mask that has this box and area, bool (y1 - y0, x1 - x0)."""
    from scipy import ndimage

    x0, y0, x1, y1 = box
    labels, _ = ndimage.label(mask[y0:y1, x0:x1], structure=EIGHT)
    sizes = np.bincount(labels.ravel())[1:]
    spans = [
        (rows.stop - rows.start, columns.stop - columns.start)
        for rows, columns in ndimage.find_objects(labels)
    ]
    whole = [i for i, span in enumerate(spans) if span == (y1 - y0, x1 - x0) and sizes[i] == area]
    part: BoolArray = labels == 1 + (whole[0] if whole else int(sizes.argmax()))
    return part


def _notes(found: Difference) -> tuple[str, ...]:
    """Say how the picture was aligned, and how much of it the reference doesn't show."""
    missing = 1 - float(found.aligned.valid.mean())
    if missing < 0.001:
        return (found.aligned.how,)
    return found.aligned.how, f"{missing:.1%} of the picture lies outside the reference and was not compared"
