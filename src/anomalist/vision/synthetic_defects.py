"""Synthetic defects on normal pictures, and augmentation: the pretext that trains the surface detector.

A defect is a soft *mask* (where) and a *filling* (what), as in DRAEM (Zavrtanik et al. 2021), NSA (Schlüter
et al. 2022) and CutPaste (Li et al. 2021). Labels follow visibility: a pixel inside the mask that barely
changes is ignored, and a defect that is visible nowhere is none.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from anomalist.types.common import FloatArray, UInt8Array
from anomalist.vision.synthetic_textures import (
    Points,
    Rng,
    draw_line,
    log_uniform,
    power_noise,
    random_walk,
    render_surface,
)

NORMAL, DEFECT, IGNORE = 0, 1, 255
"""Labels of pixels."""
# A change smaller than this, in grey levels of 0..1 and in local standard deviations, can't be seen.
_VISIBLE, _VISIBLE_SIGMA = 0.02, 0.6


# --- where: float32 (n, n) masks in [0, 1] --------------------------------------------------------------


def _spot(rng: Rng, n: int) -> FloatArray:
    """One to four small round-ish spots close together."""
    import cv2

    mask = np.zeros((n, n), np.float32)
    x, y = rng.uniform(0.03 * n, 0.97 * n, 2)
    for _ in range(int(rng.choice([1, 1, 1, 2, 4]))):
        a = log_uniform(rng, 2.5, 18)
        box = ((float(x), float(y)), (a, a * rng.uniform(0.4, 1)), rng.uniform(0, 180))
        cv2.ellipse(mask, box, 1.0, -1, cv2.LINE_AA)
        x, y = x + rng.normal() * 15, y + rng.normal() * 15
    return mask


def _blob(rng: Rng, n: int) -> FloatArray:
    """A ragged patch from thresholded noise under a Gaussian window."""
    x, y = rng.uniform(0, n, 2)
    radius = log_uniform(rng, 4, 0.35 * n)
    rows, columns = np.mgrid[0:n, 0:n].astype(np.float32)
    ratio, angle = rng.uniform(0.4, 1), rng.uniform(0, math.pi)
    u = (columns - x) * math.cos(angle) + (rows - y) * math.sin(angle)
    v = (-(columns - x) * math.sin(angle) + (rows - y) * math.cos(angle)) / ratio
    window = 1 - (u**2 + v**2) / radius**2
    ragged = power_noise(rng, n, rng.uniform(1.3, 2.2)) * rng.uniform(0, 0.5)
    return np.asarray(window + ragged * (window > -1) > rng.uniform(0, 0.4), np.float32)


def _random_walk(rng: Rng, wiggle: float, length: float, start: Points) -> Points:
    """A walk in any direction."""
    return random_walk(rng, wiggle, length, start, rng.uniform(0, 2 * math.pi))


def _scratch(rng: Rng, n: int) -> FloatArray:
    """A smooth thin line, sometimes a few in parallel."""
    mask = np.zeros((n, n), np.float32)
    points = _random_walk(rng, rng.uniform(0, 0.06), log_uniform(rng, 12, 1.2 * n), rng.uniform(0, n, 2))
    width = log_uniform(rng, 0.7, 4)
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        draw_line(mask, points, width)
        points = points + rng.normal(0, 5, 2)
    return mask


def _crack(rng: Rng, n: int) -> FloatArray:
    """A jagged random walk with branches and changing width."""
    mask = np.zeros((n, n), np.float32)
    wiggle, width = rng.uniform(0.15, 0.6), log_uniform(rng, 0.7, 3)
    trunk = _random_walk(rng, wiggle, log_uniform(rng, 20, 1.2 * n), rng.uniform(0.05 * n, 0.95 * n, 2))
    half = len(trunk) // 2
    draw_line(mask, trunk[: half + 1], width)
    draw_line(mask, trunk[half:], max(0.6, width * rng.uniform(0.4, 1)))
    for _ in range(int(rng.integers(0, 3))):
        start = trunk[rng.integers(len(trunk))]
        branch = _random_walk(rng, wiggle, rng.uniform(8, 0.4 * n), start)
        draw_line(mask, branch, max(0.6, width * 0.6))
    return mask


def _box(rng: Rng, n: int) -> FloatArray:
    """A rotated rectangle, from a chip to a bar."""
    import cv2

    mask = np.zeros((n, n), np.float32)
    centre, angle = rng.uniform(0, n, 2), float(rng.choice([0, rng.uniform(0, 90)]))
    size = (log_uniform(rng, 3, 0.6 * n), log_uniform(rng, 3, 0.6 * n))
    corners = cv2.boxPoints(((float(centre[0]), float(centre[1])), size, angle))
    cv2.fillConvexPoly(mask, corners.round().astype(np.int32), 1.0, cv2.LINE_AA)
    return mask


def _half_plane(rng: Rng, n: int) -> FloatArray:
    """Everything on one side of a wavy border, or a band: large changes with one visible edge."""
    rows, columns = np.mgrid[0:n, 0:n].astype(np.float32)
    angle = float(rng.choice([0, math.pi / 2, rng.uniform(0, math.pi)]))
    across = (columns - n / 2) * math.cos(angle) + (rows - n / 2) * math.sin(angle)
    across = across + power_noise(rng, n, 2.2) * rng.uniform(0, 0.05 * n)
    start = rng.uniform(-0.45, 0.45) * n
    if rng.random() < 0.5:
        return np.asarray(across > start, np.float32)
    return np.asarray((across > start) & (across < start + log_uniform(rng, 4, 0.5 * n)), np.float32)


MASK_RENDERERS: dict[str, Callable[[Rng, int], FloatArray]] = {
    "spot": _spot,
    "blob": _blob,
    "scratch": _scratch,
    "crack": _crack,
    "box": _box,
    "half": _half_plane,
}
"""Renderers of masks, by name."""
_MASK_WEIGHTS = np.array([0.22, 0.22, 0.18, 0.2, 0.08, 0.1])
_THIN_MASKS = ("scratch", "crack")


# --- what: float32 (n, n, 3) pictures, from a picture, a donor and a mask, all of one size ----------------


def _contrast(rng: Rng, image: FloatArray) -> float:
    """Signed grey-level step, from hardly visible to glaring, in proportion to the surface's contrast."""
    step = log_uniform(rng, 0.04, 0.6) * rng.uniform(0.5, 1) + rng.uniform(0, 0.7) * float(image.std())
    return step * (-1 if rng.random() < 0.62 else 1)  # holes, cracks and dirt are mostly dark


def _tone(rng: Rng, image: FloatArray, donor: FloatArray, mask: FloatArray) -> FloatArray:
    """Darker or lighter, with the texture kept or flattened, sometimes tinted, sometimes grainy."""
    tint = 1 + rng.normal(0, 0.35, 3) * (rng.random() < 0.3)
    keep = rng.choice([1.0, rng.uniform(0, 1)])
    inside = image[mask > 0.5]
    level = inside.mean(0) if len(inside) else image.mean((0, 1))
    grain = rng.normal(0, rng.uniform(0, 0.08), image.shape[:2])[..., None] * (rng.random() < 0.4)
    return np.asarray(image * keep + level * (1 - keep) + _contrast(rng, image) * tint + grain, np.float32)


def _paste(rng: Rng, image: FloatArray, donor: FloatArray, mask: FloatArray) -> FloatArray:
    """Normal surface from elsewhere, rotated, mirrored or shifted, its tone matched or not (CutPaste)."""
    other = np.rot90(donor, int(rng.integers(4))) if rng.random() < 0.5 else donor[::-1]
    other = np.roll(other, tuple(rng.integers(8, image.shape[0] - 8, 2)), (0, 1))
    gain = rng.uniform(0.7, 1.4) if rng.random() < 0.5 else 1.0
    return np.asarray(other * gain, np.float32)


def _foreign(rng: Rng, image: FloatArray, donor: FloatArray, mask: FloatArray) -> FloatArray:
    """An unrelated texture (DRAEM)."""
    other = render_surface(int(rng.integers(2**31)), image.shape[0]).astype(np.float32) / 255
    blend = rng.uniform(0.25, 1)
    return np.asarray(image * (1 - blend) + other * blend, np.float32)


def _smear(rng: Rng, image: FloatArray, donor: FloatArray, mask: FloatArray) -> FloatArray:
    """Blurred, roughened, or with its local contrast changed: wear, polishing, abrasion."""
    import cv2

    kind = rng.integers(3)
    if kind == 0:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), log_uniform(rng, 0.8, 6)), np.float32)
    local_mean = cv2.GaussianBlur(image, (0, 0), 6)
    if kind == 1:
        gain = rng.choice([rng.uniform(0, 0.6), rng.uniform(1.5, 3.5)])
        return np.asarray(local_mean + (image - local_mean) * gain, np.float32)
    rough = power_noise(rng, image.shape[0], rng.uniform(0, 1.2), rng.uniform(1, 20), rng.uniform(0, math.pi))
    return np.asarray(image + rough[..., None] * log_uniform(rng, 0.03, 0.25), np.float32)


def _relief(rng: Rng, image: FloatArray, donor: FloatArray, mask: FloatArray) -> FloatArray:
    """Light on one flank and shade on the other: dents, ridges, lifted edges."""
    import cv2

    height = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.7, 4))
    rise = np.gradient(height)
    angle = rng.uniform(0, 2 * math.pi)
    shade = rise[0] * math.sin(angle) + rise[1] * math.cos(angle)
    shade = shade / (np.abs(shade).max() + 1e-6) * log_uniform(rng, 0.06, 0.6)
    return np.asarray(image + shade[..., None] + _contrast(rng, image) * rng.choice([0, 0.5]), np.float32)


def _warp(rng: Rng, image: FloatArray, donor: FloatArray, mask: FloatArray) -> FloatArray:
    """Displaced pixels: bends, wrinkles, misprints."""
    import cv2

    n = image.shape[0]
    rows, columns = np.mgrid[0:n, 0:n].astype(np.float32)
    across, down = (power_noise(rng, n, 2) * log_uniform(rng, 1.5, 10) for _ in range(2))
    moved = cv2.remap(image, columns + across, rows + down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, np.float32)


Filling = Callable[[Rng, FloatArray, FloatArray, FloatArray], FloatArray]
"""Fills a mask: from generator, picture, donor and mask, all of one size, to a picture."""
FILLINGS: dict[str, Filling] = {
    "tone": _tone,
    "paste": _paste,
    "foreign": _foreign,
    "smear": _smear,
    "relief": _relief,
    "warp": _warp,
}
"""Fillings, by name."""
_FILLING_WEIGHTS = np.array([0.42, 0.14, 0.1, 0.14, 0.12, 0.08])
_THIN_FILLING_WEIGHTS = np.array([0.75, 0.0, 0.0, 0.0, 0.25, 0.0])
_HALF_FILLING_WEIGHTS = np.array([0.6, 0.0, 0.1, 0.3, 0.0, 0.0])  # pasted normal surface is normal inside


def add_defect(rng: Rng, image: FloatArray, donor: FloatArray) -> tuple[FloatArray, UInt8Array]:
    """Add one synthetic defect to a square picture of normal surface.

    Parameters
    ----------
    image, donor : float32 (n, n, 3) in [0, 1]; ``donor`` is normal surface to cut from.

    Returns
    -------
    The picture, float32 (n, n, 3) in [0, 1], and its label, uint8 (n, n): NORMAL, DEFECT or IGNORE.
    """
    import cv2

    n = image.shape[0]
    name = str(rng.choice(list(MASK_RENDERERS), p=_MASK_WEIGHTS))
    mask = MASK_RENDERERS[name](rng, n)
    thin = name in _THIN_MASKS
    weights = _THIN_FILLING_WEIGHTS if thin else _HALF_FILLING_WEIGHTS if name == "half" else _FILLING_WEIGHTS
    filled = FILLINGS[str(rng.choice(list(FILLINGS), p=weights))](rng, image, donor, mask)
    if image.std(2).max() < 0.01:  # grey pictures stay grey, or colour alone would reveal the defect
        filled = np.repeat(filled.mean(2, keepdims=True), 3, 2)
    softness = rng.uniform(0, 0.8) if thin else rng.choice([rng.uniform(0.3, 1), rng.uniform(1, 6)])
    alpha = cv2.GaussianBlur(mask, (0, 0), softness) if softness > 0.25 else mask
    # Relief reaches past the mask it rises from.
    reach = cv2.dilate(alpha, np.ones((3, 3), np.uint8)) if thin else alpha
    changed = np.clip(image + reach[..., None] * (filled - image), 0, 1).astype(np.float32)
    return changed, _visibility_label(image, changed, reach, thin=thin)


def _visibility_label(before: FloatArray, after: FloatArray, reach: FloatArray, *, thin: bool) -> UInt8Array:
    """Defect where the change can be seen against the local texture, ignored where it hardly can.

    ``reach`` is how far the change goes, float32 (n, n) in [0, 1]. Whatever changed by a visible step and is
    not called a defect is ignored: fringes labelled normal would erase thin lines.
    """
    import cv2

    difference = np.abs(after - before).max(2)
    grey = before.mean(2)
    spread = cv2.GaussianBlur(grey**2, (0, 0), 4) - cv2.GaussianBlur(grey, (0, 0), 4) ** 2
    needed = _VISIBLE + _VISIBLE_SIGMA * np.sqrt(np.maximum(spread, 0))
    smoothed = cv2.GaussianBlur(difference, (0, 0), 0.6 if thin else 2.0)
    inside = reach > (0.25 if thin else 0.4)
    visible = inside & (smoothed > needed * (0.8 if thin else 1.0))
    label = np.full(reach.shape, NORMAL, np.uint8)
    label[(difference > 0.5 * _VISIBLE) | ((reach > 0.05) & (difference > 0.25 * _VISIBLE))] = IGNORE
    if visible.sum() >= 6:  # else it is visible nowhere, and neither defect nor normal
        label[visible] = DEFECT
    return label


def as_float(pixels: UInt8Array) -> FloatArray:
    """Pixels uint8 as float32 in [0, 1], of the same shape."""
    return pixels.astype(np.float32) / np.float32(255)


def augment(rng: Rng, image: FloatArray) -> FloatArray:
    """Augmentation by normal variation: light, gamma, noise, sharpness, compression.

    Takes and returns float32 (h, w, 3), in [0, 1].
    """
    import cv2

    height, width = image.shape[:2]
    image = np.clip(image, 0, 1) ** log_uniform(rng, 0.75, 1.35)
    image = image * rng.uniform(0.75, 1.25) + rng.uniform(-0.06, 0.06)
    if rng.random() < 0.5:
        rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
        image = image * (1 + rng.uniform(-0.25, 0.25) * rows + rng.uniform(-0.25, 0.25) * columns)[..., None]
    if rng.random() < 0.25:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.0)), np.float32)
    noise = rng.normal(0, rng.uniform(0, 0.03), (height, width, 1)) if rng.random() < 0.4 else 0.0
    image = np.asarray(np.clip(image + noise, 0, 1), np.float32)
    if rng.random() < 0.25:
        share = rng.uniform(0.5, 0.9)
        size = (round(width * share), round(height * share))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        image = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return _jpeg_round_trip(rng, image) if rng.random() < 0.3 else image


def _jpeg_round_trip(rng: Rng, image: FloatArray) -> FloatArray:
    """Save as JPEG and read again; float32 (h, w, 3) in [0, 1]."""
    import cv2

    pixels = (image * 255).round().astype(np.uint8)
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 96))])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.float32) / np.float32(255)
