"""One good picture of the same thing: align it, compare, and say what is missing, extra or changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from anomalist.errors import AnomalistError, MediaError
from anomalist.types import (
    BoolArray,
    Box,
    DetectorInfo,
    Evidence,
    FloatArray,
    Media,
    Region,
    UInt8Array,
)
from anomalist.vision.alignment import Aligned, align
from anomalist.vision.changes import LabelledChanges, Pair, describe, direction, paired
from anomalist.vision.examiners import Examined
from anomalist.vision.media import load_image
from anomalist.vision.normals import window_around
from anomalist.vision.regions import find_regions

VERSION = "1"
"""Of the comparison; part of the digest, so that records tell which one they come from."""

SMOOTHING = 0.8
"""Deviation of the Gaussian that both pictures get before they are compared, pixels."""

REACH = 2
"""Edges may lie so many pixels off without being a difference; grows with pictures above `FULL`."""

FULL = 1024
"""Longer side up to which `REACH` holds as it is, pixels."""

LEAST, NOISE, SOFT = 16.0, 6.0, 0.15
"""A difference counts from this many grey levels, and this many deviations of the noise, whichever is more;
and where the neighbourhood has contrast, from this share of it on top: sharpness is never quite the same."""

SPECK = 2e-5
"""A difference that covers less than this share of the picture is a speck and doesn't count (8 of 640²)."""

JOIN = 0.005
"""Parts of a difference nearer than this share of the longer side belong together."""

SAMPLES, TRIMS, GAIN = 40_000, 5, (0.4, 2.5)
"""Light is matched on about so many pixels, in so many rounds; a gain outside of this is no light."""

CLIPPED = 3.0
"""Within so many grey levels of black and white noise is cut off, and so not measured there."""

EVEN = 64.0
"""Noise is measured where the neighbourhood has less contrast than this, grey levels: at edges, what isn't
quite aligned looks like noise."""

LEAST_SHARED = 0.25
"""A picture of which the reference shows less than this share is refused."""


@dataclass(frozen=True, eq=False)
class Difference:
    """How a picture differs from an aligned reference.

    Parameters
    ----------
    aligned : the reference in the frame of the picture.
    strength : float32 (H, W), difference as a multiple of the level from which it counts; 0 outside.
    mask : bool (H, W), what counts as a difference.
    compared : bool (H, W), where there was something to compare with.
    pair : both in grey, matched in light.
    """

    aligned: Aligned
    strength: FloatArray
    mask: BoolArray
    compared: BoolArray
    pair: Pair


def compare(reference: UInt8Array, picture: UInt8Array) -> Difference:
    """Align a reference to a picture, match their light, and find what differs.

    A pixel differs when its value lies outside of what the other picture shows within `REACH` pixels, so
    that a misaligned edge is no difference; both ways, so that thin things that come or go are seen.

    Parameters
    ----------
    reference, picture : uint8 (H, W, 3), RGB, of any two sizes.

    Raises
    ------
    MediaError : they can't be aligned, or hardly overlap.
    """
    import cv2

    aligned = align(reference, picture)
    reach = max(REACH, round(REACH * max(picture.shape) / FULL))
    compared = _eroded(aligned.valid, reach + 1)
    if compared.mean() < LEAST_SHARED:
        raise MediaError(f"The reference shows only {compared.mean():.0%} of what the picture shows.")
    first, second = _channels(aligned.pixels, picture)
    first = matched(first, second, compared)
    grey = [values.mean(axis=2) for values in (first, second)]
    first, second = (_smooth(values) for values in (first, second))
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), dtype=np.uint8)
    bands = [(cv2.erode(v, kernel), cv2.dilate(v, kernel)) for v in (first, second)]
    bands = [(_deep(low), _deep(high)) for low, high in bands]
    (low_1, high_1), (low_2, high_2) = bands
    outside = np.maximum.reduce([second - high_1, low_1 - second, first - high_2, low_2 - first])
    contrast = np.maximum(high_1 - low_1, high_2 - low_2)
    even = compared & (contrast.max(axis=2) < EVEN)
    noise = max(_noise(first[..., c], second[..., c], even) for c in range(first.shape[2]))
    level = max(LEAST, NOISE * noise) + SOFT * contrast
    strength = np.where(compared, (np.maximum(outside, 0) / level).max(axis=2), 0).astype(np.float32)
    plain = (np.abs(first - second) / level).max(axis=2)
    mask = _grown(strength > 1, compared & (plain > 1), reach)
    mask = _joined(mask, round(JOIN * max(picture.shape))) & compared
    mask = _without_specks(mask, round(SPECK * mask.size))
    return Difference(aligned, strength, mask, compared, paired(grey[0], grey[1], aligned.valid))


def matched(reference: FloatArray, picture: FloatArray, compared: BoolArray) -> FloatArray:
    """Give a reference the light of a picture: gain, offset and a linear slope, for each channel.

    Trimmed least squares: what fits worst is left out, again and again, so that defects have no say.

    Parameters
    ----------
    reference, picture : float32 (H, W, C), grey levels.
    compared : bool (H, W), where both show something.
    """
    height, width, channels = reference.shape
    step = max(1, round((height * width / SAMPLES) ** 0.5))
    y, x = np.mgrid[:height:step, :width:step]
    use = compared[::step, ::step]
    places = np.stack([np.ones(use.sum()), x[use] / width - 0.5, y[use] / height - 0.5], 1)
    across, down = np.arange(width)[None] / width - 0.5, np.arange(height)[:, None] / height - 0.5
    out = np.empty_like(reference)
    for c in range(channels):
        source, target = reference[::step, ::step, c][use], picture[::step, ::step, c][use]
        spread = source.std() >= 1
        columns = np.column_stack([places, source]) if spread else places
        goal = target if spread else target - source
        kept = np.ones(len(goal), dtype=np.bool_)
        for _ in range(TRIMS):
            solution = np.linalg.lstsq(columns[kept], goal[kept], rcond=None)[0]
            off = np.abs(goal - columns @ solution)
            kept = off <= max(2.0, 2.5 * 1.4826 * float(np.median(off)))
        gain = float(solution[3]) if spread else 1.0
        if not GAIN[0] <= gain <= GAIN[1]:
            gain, solution = 1.0, np.array([np.median(target - source), 0, 0, 1])
        light = solution[0] + solution[1] * across + solution[2] * down
        out[..., c] = np.clip(gain * reference[..., c] + light, 0, 255)
    return out


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
        parts = [self.reference.sha256, VERSION]
        if self.known is not None:
            parts += [self.known.vectors.tobytes().hex(), *self.known.kinds, *self.known.ids]
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
        found = compare(self.reference.pixels, media.pixels)
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

    from anomalist.vision.regions import EIGHT

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


def _channels(reference: UInt8Array, picture: UInt8Array) -> tuple[FloatArray, FloatArray]:
    """Both as float32 (H, W, C); C is 1 where neither has any colour."""
    grey = all((p == p[..., :1]).all() for p in (reference, picture))
    first, second = (p[..., : 1 if grey else 3].astype(np.float32) for p in (reference, picture))
    return first, second


def _smooth(values: FloatArray) -> FloatArray:
    import cv2

    return _deep(cv2.GaussianBlur(values, (0, 0), SMOOTHING))


def _deep(values: FloatArray) -> FloatArray:
    """Put back the axis of a single channel, which OpenCV drops."""
    return values[..., None] if values.ndim == 2 else values


def _noise(first: FloatArray, second: FloatArray, even: BoolArray) -> float:
    """Deviation of what differs in even places, grey levels; the median takes no notice of defects.

    Where the values are cut off at black or white nothing can be measured; 0 if that is (nearly) everywhere.
    """
    use = even & (np.minimum(first, second) > CLIPPED) & (np.maximum(first, second) < 255 - CLIPPED)
    return 1.4826 * float(np.median(np.abs(first[use] - second[use]))) if use.mean() >= 0.005 else 0.0


def _eroded(mask: BoolArray, by: int) -> BoolArray:
    """Take away what lies within ``by`` pixels of a place outside; the border of the picture is none."""
    import cv2

    kernel = np.ones((2 * by + 1, 2 * by + 1), dtype=np.uint8)
    eroded: BoolArray = cv2.erode(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_REPLICATE) > 0
    return eroded


def _grown(mask: BoolArray, differs: BoolArray, by: int) -> BoolArray:
    """Give a difference back the rim that the tolerance for misaligned edges took from it."""
    import cv2

    kernel = np.ones((2 * by + 1, 2 * by + 1), dtype=np.uint8)
    near: BoolArray = cv2.dilate(mask.astype(np.uint8), kernel) > 0
    return mask | (near & differs)


def _without_specks(mask: BoolArray, least: int) -> BoolArray:
    """Drop the connected parts of a mask that are smaller than ``least`` pixels."""
    import cv2

    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= least
    keep[0] = False
    kept: BoolArray = keep[labels]
    return kept


def _joined(mask: BoolArray, gap: int) -> BoolArray:
    """Close gaps of up to ``gap`` pixels between parts of a difference."""
    import cv2

    if gap < 1 or not mask.any():
        return mask
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * (gap // 2) + 1,) * 2)
    padded = np.pad(mask.astype(np.uint8), gap)
    closed: BoolArray = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, kernel)[gap:-gap, gap:-gap] > 0
    return closed
