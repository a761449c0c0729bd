"""Difference between a picture and an aligned reference, tolerant of lighting and of misaligned edges.

Pictures of two tones (Otsu's η) are also split into figure and ground, so that a change is either missing or
extra structure. Strengths are multiples of the level from which a difference counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from anomalist.errors import MediaError
from anomalist.types.common import BoolArray, Box, FloatArray, UInt8Array
from anomalist.vision.alignment import AlignedReference, align
from anomalist.vision.exposure import check_exposure

FigureTone = Literal["dark", "light"]
"""Tone of the structure in pictures of two tones."""

MIN_TWO_TONE_VARIANCE = 0.93
"""Share of the variance that two tones explain (Otsu's η) from which a picture is figure and ground."""

MIN_GROUND_SHARE = 0.55
"""The larger of two tones is the ground when it covers at least this share."""


@dataclass(frozen=True, eq=False)
class AlignedPair:
    """A picture and its aligned reference in grey, and the structure in them.

    Parameters
    ----------
    reference, picture : float32 (H, W), grey levels, matched in lighting.
    before, after : bool (H, W), the structure (figure) in reference and picture, or None where the
        reference is not of two tones.
    """

    reference: FloatArray
    picture: FloatArray
    before: BoolArray | None
    after: BoolArray | None


def split_figure(
    reference: FloatArray, picture: FloatArray, valid: BoolArray, figure: FigureTone | None = None
) -> AlignedPair:
    """Split figure from ground by the two tones of a reference, if it has two.

    Parameters
    ----------
    reference, picture : float32 (H, W), grey levels, matched in lighting.
    valid : bool (H, W), where the reference shows anything.
    figure : which of the tones is structure; by default the rarer one.
    """
    level, rarer = two_tone_level(reference[valid])
    if level is None or not (figure or rarer):
        return AlignedPair(reference, picture, None, None)
    figure_is_dark = (figure or rarer) == "dark"
    return AlignedPair(
        reference,
        picture,
        (reference <= level) == figure_is_dark,
        (picture <= level) == figure_is_dark,
    )


def two_tone_level(grey: FloatArray) -> tuple[float | None, FigureTone | None]:
    """Threshold between two tones, None if there are no two, and the rarer tone, None if unclear.

    Parameters
    ----------
    grey : float32 of any shape, grey levels.
    """
    level, explained = otsu_level(grey)
    if explained < MIN_TWO_TONE_VARIANCE:
        return None, None
    dark = float((grey <= level).mean())
    if max(dark, 1 - dark) < MIN_GROUND_SHARE:
        return level, None
    return level, "dark" if dark < 0.5 else "light"


def otsu_level(values: FloatArray) -> tuple[float, float]:
    """Otsu's threshold (1979), and the share of the variance that the two classes explain (his η).

    The threshold belongs to the lower class. Without any variance the share is 0.
    """
    counts, edges = np.histogram(values, bins=256, range=(0, 256))
    share = counts / max(1, counts.sum())
    below = np.cumsum(share)
    sums = np.cumsum(share * (edges[:-1] + 0.5))
    mean = sums[-1]
    variance = float((share * (edges[:-1] + 0.5 - mean) ** 2).sum())
    if variance <= 0:
        return float(mean), 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.nan_to_num((mean * below - sums) ** 2 / (below * (1 - below)), posinf=0.0)
    # Any level in an empty gap is as good; its middle is the safest against noise.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float(edges[best].mean() + 1), float(between.max() / variance)


BLUR_SIGMA = 0.8
"""Sigma of the Gaussian that smooths both pictures before they are compared, pixels."""

SHIFT_TOLERANCE = 2
"""Edges may lie so many pixels off without being a difference; grows with pictures above `TOLERANCE_SIDE`."""

TOLERANCE_SIDE = 1024
"""Longer side up to which `SHIFT_TOLERANCE` holds as it is, pixels."""

MIN_DIFFERENCE, NOISE_FACTOR, CONTRAST_SHARE = 16.0, 6.0, 0.5
"""A difference counts from this many grey levels, and this many deviations of the noise, whichever is more;
and where the neighbourhood has contrast, from this share of it on top: an edge that lies a part of a pixel
farther off than `SHIFT_TOLERANCE`, or is not as sharp, differs by up to half of its contrast."""

MIN_AREA_SHARE, MIN_AREA = 2e-5, 4
"""What covers less than this share of the picture (8 pixels of 640²), or fewer pixels, is a speck and doesn't
count as a difference."""

JOIN_GAP = 0.005
"""Parts of a difference nearer than this share of the longer side belong together."""

LIGHT_SAMPLES, LIGHT_ROUNDS, GAIN_LIMITS = 40_000, 5, (0.4, 2.5)
"""Lighting is matched on about so many pixels, in so many rounds, with gains within these limits."""

CLIPPED_MARGIN = 3.0
"""Grey levels from black and white within which noise is clipped, and so not measured."""

EVEN_CONTRAST = 64.0
"""Noise is measured where the neighbourhood has less contrast than this, grey levels: at edges, what isn't
quite aligned looks like noise."""

MIN_OVERLAP = 0.25
"""A picture of which the reference shows less than this share is refused."""


@dataclass(frozen=True, eq=False)
class Difference:
    """Difference of a picture from an aligned reference.

    Parameters
    ----------
    aligned : the reference in the frame of the picture.
    strength : float32 (H, W), difference as a multiple of the level from which it counts: above 1 only within
        the mask, 0 where nothing was compared.
    mask : bool (H, W), what counts as a difference.
    compared : bool (H, W), where the reference covers the picture, without a margin at the border.
    pair : both in grey, matched in lighting.
    """

    aligned: AlignedReference
    strength: FloatArray
    mask: BoolArray
    compared: BoolArray
    pair: AlignedPair


def find_difference(
    reference: UInt8Array, picture: UInt8Array, figure: FigureTone | None = None
) -> Difference:
    """Align a reference to a picture, match their lighting, and find what differs.

    A pixel differs when its value lies outside the range of the other picture within `SHIFT_TOLERANCE`
    pixels, so that a misaligned edge is no difference. That is tested both ways, so that thin structure is
    found whether it comes or goes.

    Parameters
    ----------
    reference, picture : uint8 (H, W, 3), RGB, of any two sizes.
    figure : the tone of structure where the reference has two tones; by default the rarer one.

    Raises
    ------
    MediaError : they can't be aligned, hardly overlap, or the picture is exposed too differently.
    """
    aligned = align(reference, picture)
    check_exposure(aligned, picture)
    reach = max(SHIFT_TOLERANCE, round(SHIFT_TOLERANCE * max(picture.shape) / TOLERANCE_SIDE))
    compared = _erode(aligned.valid, reach + 1)
    if compared.mean() < MIN_OVERLAP:
        raise MediaError(f"The reference shows only {compared.mean():.0%} of what the picture shows.")
    first, second = _as_channels(aligned.pixels, picture)
    first = match_lighting(first, second, compared)
    strength = np.zeros(compared.shape, dtype=np.float32)
    plainly = np.zeros_like(compared)
    for c in range(first.shape[2]):
        stronger, differs = _compare_channel(first[..., c], second[..., c], compared, reach)
        np.maximum(strength, stronger, out=strength)
        plainly |= differs
    mask = _grow(strength > 1, plainly, reach)
    mask = _close_gaps(mask, round(JOIN_GAP * max(picture.shape))) & compared
    mask = _drop_specks(mask, strength, max(MIN_AREA, round(MIN_AREA_SHARE * mask.size)))
    strength[~mask] = np.minimum(strength[~mask], 1)  # a speck doesn't count
    pair = split_figure(first.mean(axis=2), second.mean(axis=2), aligned.valid, figure)
    return Difference(aligned, strength, mask, compared, pair)


def match_lighting(reference: FloatArray, picture: FloatArray, compared: BoolArray) -> FloatArray:
    """Match the lighting of a reference to a picture: gain, offset and a linear gradient by channel.

    Trimmed least squares: outliers are dropped in each round, so that defects have no influence.

    Parameters
    ----------
    reference, picture : float32 (H, W, C), grey levels.
    compared : bool (H, W), where both show something.
    """
    height, width, channels = reference.shape
    step = max(1, round((height * width / LIGHT_SAMPLES) ** 0.5))
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
        for _ in range(LIGHT_ROUNDS):
            solution = np.linalg.lstsq(columns[kept], goal[kept], rcond=None)[0]
            off = np.abs(goal - columns @ solution)
            kept = off <= max(2.0, 2.5 * 1.4826 * float(np.median(off)))
        gain = float(solution[3]) if spread else 1.0
        if not GAIN_LIMITS[0] <= gain <= GAIN_LIMITS[1]:
            gain, solution = 1.0, np.array([np.median(target - source), 0, 0, 1])
        light = solution[0] + solution[1] * across + solution[2] * down
        out[..., c] = np.clip(gain * reference[..., c] + light, 0, 255)
    return out


def _compare_channel(
    first: FloatArray, second: FloatArray, compared: BoolArray, reach: int
) -> tuple[FloatArray, BoolArray]:
    """Compare one channel: the strength of the difference, and where there is one without any tolerance."""
    import cv2

    first, second = (cv2.GaussianBlur(values, (0, 0), BLUR_SIGMA) for values in (first, second))
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), dtype=np.uint8)
    (low, high), (low_2, high_2) = ((cv2.erode(v, kernel), cv2.dilate(v, kernel)) for v in (first, second))
    outside = np.maximum.reduce([second - high, low - second, first - high_2, low_2 - first])
    contrast = np.maximum(high - low, high_2 - low_2)
    noise = _noise_sigma(first, second, compared & (contrast < EVEN_CONTRAST))
    level = max(MIN_DIFFERENCE, NOISE_FACTOR * noise) + CONTRAST_SHARE * contrast
    strength = np.where(compared, np.maximum(outside, 0) / level, 0).astype(np.float32)
    return strength, compared & (np.abs(first - second) > level)


def _as_channels(reference: UInt8Array, picture: UInt8Array) -> tuple[FloatArray, FloatArray]:
    """Both as float32 (H, W, C); C is 1 where neither has any colour."""
    grey = all((p == p[..., :1]).all() for p in (reference, picture))
    first, second = (p[..., : 1 if grey else 3].astype(np.float32) for p in (reference, picture))
    return first, second


def _noise_sigma(first: FloatArray, second: FloatArray, even: BoolArray) -> float:
    """Robust deviation of the difference in even places, grey levels, by the median.

    Pixels that are clipped at black or white are left out; 0 if that leaves (nearly) none.
    """
    use = (
        even
        & (np.minimum(first, second) > CLIPPED_MARGIN)
        & (np.maximum(first, second) < 255 - CLIPPED_MARGIN)
    )
    return 1.4826 * float(np.median(np.abs(first[use] - second[use]))) if use.mean() >= 0.005 else 0.0


def _erode(mask: BoolArray, by: int) -> BoolArray:
    """Erode a mask by ``by`` pixels, also from the border of the picture."""
    import cv2

    kernel = np.ones((2 * by + 1, 2 * by + 1), dtype=np.uint8)
    padded = np.pad(mask.astype(np.uint8), by)
    eroded: BoolArray = cv2.erode(padded, kernel)[by:-by, by:-by] > 0
    return eroded


def _grow(mask: BoolArray, differs: BoolArray, by: int) -> BoolArray:
    """Regrow the rim of a difference that the tolerance for misaligned edges removed."""
    import cv2

    kernel = np.ones((2 * by + 1, 2 * by + 1), dtype=np.uint8)
    near: BoolArray = cv2.dilate(mask.astype(np.uint8), kernel) > 0
    return mask | (near & differs)


def _drop_specks(mask: BoolArray, strength: FloatArray, least: int) -> BoolArray:
    """Drop the connected parts of a mask that are smaller than ``least`` pixels, or mere rims."""
    import cv2

    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    keep = np.zeros(len(stats), dtype=np.bool_)
    keep[labels[mask & (strength > 1)]] = True
    keep &= stats[:, cv2.CC_STAT_AREA] >= least
    kept: BoolArray = keep[labels]
    return kept


def _close_gaps(mask: BoolArray, gap: int) -> BoolArray:
    """Close gaps of up to ``gap`` pixels between parts of a difference."""
    import cv2

    if gap < 1 or not mask.any():
        return mask
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * (gap // 2) + 1,) * 2)
    padded = np.pad(mask.astype(np.uint8), gap)
    closed: BoolArray = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, kernel)[gap:-gap, gap:-gap] > 0
    return closed


ChangeDirection = Literal["missing", "extra", "changed"]
"""Whether a change removes structure, adds it, or neither clearly."""
DIRECTION_SHARE = 0.7
"""Share of a change that must be lost, or gained, structure to be called missing, or extra."""

GONE_CONTRAST_SHARE = 0.35
"""Structure is gone when its contrast is below this share of what it is in the other picture."""

EVEN_DEVIATION_SHARE = 0.5
"""Surroundings are even when their deviation is below this share of the contrast of what stands on them."""

RING_WIDTH = 3
"""Width of the ring around a change, pixels; and its gap."""

CONTEXT_PAD = 12
"""Pixels around a change that its surroundings reach."""


def change_direction(pair: AlignedPair, inside: BoolArray, box: Box) -> ChangeDirection:
    """Say whether structure is missing from the picture, extra in it, or changed.

    In pictures of two tones one is structure, see `split_figure`. In others, structure is what stands out
    from even surroundings: missing when it does so in the reference alone, extra when in the picture alone.
    What isn't clear is "changed".

    Parameters
    ----------
    pair : of the whole picture.
    inside : bool (y1 - y0, x1 - x0), the change within its box.
    box : half-open (x0, y0, x1, y1).
    """
    x0, y0, x1, y1 = box
    if pair.before is not None and pair.after is not None:
        before, after = (m[y0:y1, x0:x1][inside] for m in (pair.before, pair.after))
        lost, gained = int((before & ~after).sum()), int((after & ~before).sum())
        if lost + gained >= inside.sum() / 4:
            share = lost / (lost + gained)
            return (
                "missing"
                if share >= DIRECTION_SHARE
                else "extra"
                if 1 - share >= DIRECTION_SHARE
                else "changed"
            )
    crop, mask = padded_crop(inside, box, pair.reference.shape)
    ring = ring_around(mask, RING_WIDTH, 2 * RING_WIDTH)
    if ring.sum() < RING_WIDTH:
        return "changed"
    stands = []
    for values in (pair.reference[crop], pair.picture[crop]):
        contrast = abs(float(values[mask].mean() - np.median(values[ring])))
        stands.append((contrast, float(values[ring].std()) <= EVEN_DEVIATION_SHARE * contrast))
    (was, clear_before), (is_now, clear_now) = stands
    if clear_before and is_now <= GONE_CONTRAST_SHARE * was:
        return "missing"
    if clear_now and was <= GONE_CONTRAST_SHARE * is_now:
        return "extra"
    return "changed"


def padded_crop(inside: BoolArray, box: Box, size: tuple[int, ...]) -> tuple[tuple[slice, slice], BoolArray]:
    """Window around a change with some context, as slices of the picture, and the change's mask in it."""
    x0, y0, x1, y1 = box
    top, left = max(0, y0 - CONTEXT_PAD), max(0, x0 - CONTEXT_PAD)
    bottom, right = min(size[0], y1 + CONTEXT_PAD), min(size[1], x1 + CONTEXT_PAD)
    mask = np.zeros((bottom - top, right - left), dtype=np.bool_)
    mask[y0 - top : y1 - top, x0 - left : x1 - left] = inside
    return (slice(top, bottom), slice(left, right)), mask


def ring_around(mask: BoolArray, inner: int, outer: int) -> BoolArray:
    """Pixels between two distances from a mask."""
    import cv2

    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    ring: BoolArray = (distance > inner) & (distance <= outer)
    return ring
