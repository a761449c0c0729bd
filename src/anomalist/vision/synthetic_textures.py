"""Procedural textures: an endless supply of synthetic surfaces to train on, with normal blemishes.

A *product* is a function of one integer seed, every picture of it of that seed and a draw number. What is
common to its pictures (texture families, sizes, palette, silhouette, kinds of blemishes) is drawn from one
random generator, ``what``; what differs between them (positions, light, grain) from another, ``where``. A
*field* is a float32 (n, n) array of about zero mean and unit variance; a surface is a sum of fields,
squashed, coloured and lit. The families are broad, so that none is specific to a product.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from anomalist.types.common import FloatArray, UInt8Array

Rng = np.random.Generator
"""Random generator."""
Points = npt.NDArray[np.float64]
"""float64 (k, 2): x and y in pixels."""


def log_uniform(rng: Rng, low: float, high: float) -> float:
    """Draw so that every octave between ``low`` and ``high`` is equally likely."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def random_walk(rng: Rng, wiggle: float, length: float, start: Points, heading: float) -> Points:
    """A random walk of heading: points one step of 3 pixels apart, ``length`` pixels in all.

    ``heading`` is the first direction in radians, ``wiggle`` the spread of its change at every step.
    """
    steps = max(3, int(length / 3))
    bend = rng.normal() * 0.04
    headings = heading + np.cumsum(bend + wiggle * rng.standard_normal(steps))
    return np.asarray(start + 3 * np.cumsum(np.stack([np.cos(headings), np.sin(headings)], 1), 0))


def draw_line(mask: FloatArray, points: Points, width: float) -> None:
    """Draw a polyline of sub-pixel width into ``mask``: thinner than one pixel means fainter."""
    import cv2

    fixed = (points * 16).round().astype(np.int32).reshape(-1, 1, 2)
    line = np.zeros_like(mask)
    cv2.polylines(line, [fixed], False, min(1.0, width), max(1, round(width)), cv2.LINE_AA, 4)
    np.maximum(mask, line, out=mask)


def add_blemishes(what: Rng, where: Rng, picture: FloatArray) -> FloatArray:
    """Scatter one or two kinds of normal blemishes over a picture, float32 (n, n, 3) in about [0, 1]."""
    for _ in range(int(what.choice([1, 1, 2]))):
        picture = _add_blemish_kind(what, where, picture)
    return picture


def _add_blemish_kind(what: Rng, where: Rng, picture: FloatArray) -> FloatArray:
    import cv2

    n = len(picture)
    kind = str(what.choice(["scratch", "scratch", "crack", "speck", "stain"]))
    angle, spread = what.choice([0, math.pi / 2, what.uniform(0, math.pi)]), what.choice([0.05, 0.3, 3.0])
    step = log_uniform(what, 0.03, 0.3) * (-1 if what.random() < 0.6 else 1)
    size, width = log_uniform(what, 0.08, 0.8) * n, log_uniform(what, 0.7, 3)
    often, softness = log_uniform(what, 0.7, 14), what.uniform(0, 1.2)
    mask = np.zeros((n, n), np.float32)
    for _ in range(int(where.poisson(often))):
        one = np.zeros((n, n), np.float32)
        place = where.uniform(0, n, 2)
        if kind in ("scratch", "crack"):
            wiggle = 0.02 if kind == "scratch" else 0.35
            heading = angle + where.normal() * spread
            draw_line(one, random_walk(where, wiggle, size * where.uniform(0.3, 1), place, heading), width)
        else:
            radius = (width + 0.5 if kind == "speck" else 0.25 * size) * where.uniform(0.5, 1.2)
            box = ((float(place[0]), float(place[1])), (2 * radius, 2 * radius * where.uniform(0.5, 1)), 0.0)
            cv2.ellipse(one, box, 1.0, -1, cv2.LINE_AA)
        mask = np.maximum(mask, one * where.uniform(0.4, 1))
    softness += 0.15 * size if kind == "stain" else 0
    if softness > 0.25:
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), softness), np.float32)
    return np.asarray(np.clip(picture + step * mask[..., None], 0, 1), np.float32)


FieldRenderer = Callable[[Rng, Rng, int], FloatArray]
"""Renders a field of a side: its character from the first generator, positions from the second."""

_RIGID_SHARE, _OBJECT_SHARE, _BLEMISHED_SHARE = 0.3, 0.35, 0.5


def power_noise(rng: Rng, n: int, slope: float, stretch: float = 1.0, angle: float = 0.0) -> FloatArray:
    """Gaussian noise with amplitude spectrum f^-slope, stretched ``stretch``-fold along ``angle``.

    Returns float32 (n, n), zero mean, unit variance.
    """
    fy = np.fft.fftfreq(n)[:, None]
    fx = np.fft.rfftfreq(n)[None]
    along = (fx * math.cos(angle) + fy * math.sin(angle)) * stretch
    across = -fx * math.sin(angle) + fy * math.cos(angle)
    amplitude = (np.sqrt(along**2 + across**2) + 1.0 / n) ** -slope
    spectrum = (rng.standard_normal(amplitude.shape) + 1j * rng.standard_normal(amplitude.shape)) * amplitude
    field = np.fft.irfft2(spectrum, s=(n, n))
    return np.asarray((field - field.mean()) / (field.std() + 1e-6), np.float32)


def _draw_angle(rng: Rng) -> float:
    """Radians: horizontal, vertical or anything between, equally often."""
    return float(rng.choice([0.0, math.pi / 2, rng.uniform(0, math.pi)]))


def rough(what: Rng, where: Rng, n: int) -> FloatArray:
    """Isotropic power-law noise: cast metal, plaster, clouds."""
    return power_noise(where, n, what.uniform(0.2, 1.9))


def brushed(what: Rng, where: Rng, n: int) -> FloatArray:
    """Anisotropic noise with a few strong streaks: ground, rolled or brushed metal, wood."""
    angle = _draw_angle(what)
    field = power_noise(where, n, what.uniform(0.1, 1.2), what.uniform(5, 120), angle)
    streaks = power_noise(where, n, what.uniform(0.0, 0.6), what.uniform(60, 400), angle)
    streaks = np.maximum(streaks - what.uniform(0.5, 2), 0)
    return np.asarray(field + what.uniform(0, 1.2) * streaks, np.float32)


def dead_leaves(what: Rng, where: Rng, n: int) -> FloatArray:
    """Overlapping discs, ellipses and squares of random grey (dead leaves): gravel, granulate, terrazzo."""
    import cv2

    largest, square, count = what.uniform(6, 40), what.random() < 0.3, int(what.integers(60, 500))
    greys = what.uniform(-1, 1, int(what.choice([2, 4, 64])))  # few or many kinds of grain
    field = np.full((n, n), greys[0], np.float32)
    for _ in range(count):
        x, y = where.uniform(0, n, 2)
        a = largest * where.uniform(0.15, 1) ** 1.5 + 1.5
        b, angle, grey = a * where.uniform(0.4, 1), where.uniform(0, 180), float(where.choice(greys))
        if square:
            corners = cv2.boxPoints(((x, y), (2 * a, 2 * b), angle)).astype(np.int32)
            cv2.fillConvexPoly(field, corners, grey)
        else:
            cv2.ellipse(field, ((x, y), (2 * a, 2 * b), angle), grey, -1)
    return field * 1.7


def grating(what: Rng, where: Rng, n: int) -> FloatArray:
    """Sums of warped stripes: weaves, threads, corrugation."""
    y, x = np.mgrid[0:n, 0:n].astype(np.float32)
    warp = power_noise(where, n, what.uniform(1.2, 2)) * what.uniform(0, 2.5) * what.choice([0.1, 1])
    field = np.zeros((n, n), np.float32)
    for _ in range(int(what.integers(1, 4))):
        angle, period = _draw_angle(what), what.uniform(4, 36)
        phase = 2 * math.pi / period * (x * math.cos(angle) + y * math.sin(angle)) + where.uniform(0, 6.3)
        wave = np.sin(phase + warp * what.uniform(0, 1))
        field += np.sign(wave) * np.abs(wave) ** what.uniform(0.2, 1.5) * what.uniform(0.3, 1)
    return field


def tiling(what: Rng, where: Rng, n: int) -> FloatArray:
    """One motif repeated on a grid, with slight variation: perforation, printed patterns, keyboards."""
    w, h = (int(v) for v in what.integers(14, 72, 2))
    side = max(w, h)
    motif = (dead_leaves if what.random() < 0.6 else rough)(what, what, side)[:h, :w]
    rows, columns = n // h + 2, n // w + 2
    field = np.tile(motif, (rows, columns))
    gains = 1 + what.uniform(0, 0.15) * where.standard_normal((rows, columns))
    field = field * np.kron(gains, np.ones((h, w)))
    y, x = where.integers(0, h), where.integers(0, w)
    return field[y : y + n, x : x + n].astype(np.float32)


def voronoi_cells(what: Rng, where: Rng, n: int) -> FloatArray:
    """Voronoi cells, filled or as walls: bricks, leather, grain boundaries, normal crazing."""
    from scipy.spatial import cKDTree

    count, masonry = int(what.integers(20, 400)), what.random() < 0.4
    step, jitter = what.uniform(12, 48), what.uniform(0.02, 0.25)
    points = where.uniform(-10, n + 10, (count, 2))
    if masonry:  # a jittered grid
        ticks = np.arange(-step, n + step, step)
        grid = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)
        points = grid + where.normal(0, step * jitter, grid.shape)
    half = (n + 1) // 2  # walls are smooth: half resolution is enough
    y, x = np.mgrid[0:half, 0:half] * 2.0
    found = cKDTree(points).query(np.stack([y.ravel(), x.ravel()], 1), k=2)
    distance, cell = np.asarray(found[0]), np.asarray(found[1])[:, 0]
    wall = np.clip((distance[:, 1] - distance[:, 0]) / what.uniform(2, 12), 0, 1)
    grey = where.uniform(-1, 1, len(points))[cell]
    field = (what.uniform(0, 1) * grey + what.uniform(0, 2) * wall).reshape(half, half)
    return np.kron(field, np.ones((2, 2))).astype(np.float32)[:n, :n]


def traces(what: Rng, where: Rng, n: int) -> FloatArray:
    """Right-angled conductors and round pads: circuit boards, floor plans, connectors."""
    import cv2

    field = np.zeros((n, n), np.float32)
    width, padded = int(what.integers(2, 10)), what.uniform(0.1, 0.9)
    for _ in range(int(what.integers(8, 50))):
        x, y = (int(v) for v in where.integers(0, n, 2))
        for _ in range(int(where.integers(1, 6))):
            across = where.random() < 0.5
            step = int(where.integers(-120, 121))
            end = (x + step, y) if across else (x, y + step)
            cv2.line(field, (x, y), end, 1.0, width)
            x, y = end
        if where.random() < padded:
            cv2.circle(field, (x, y), int(where.integers(3, 14)), 1.0, -1)
    return field * 2 - 1


def marks(what: Rng, where: Rng, n: int) -> FloatArray:
    """Spots or strokes scattered all over: blemishes that are normal because they are everywhere."""
    import cv2

    field = np.zeros((n, n), np.float32)
    size, stroke, angle = what.uniform(0.8, 5), what.random() < 0.5, _draw_angle(what)
    spread = what.choice([0.1, math.pi])
    for _ in range(int(what.integers(80, 900))):
        x, y = where.uniform(0, n, 2)
        grey = float(where.uniform(0.2, 1) * where.choice([-1, 1, 1]))
        if stroke:
            a, length = angle + where.normal() * spread, size * where.uniform(2, 8)
            end = (int(x + length * math.cos(a)), int(y + length * math.sin(a)))
            cv2.line(field, (int(x), int(y)), end, grey, max(1, int(size / 2)), cv2.LINE_AA)
        else:
            radius = max(1, int(size * where.uniform(0.4, 1)))
            cv2.circle(field, (int(x), int(y)), radius, grey, -1, cv2.LINE_AA)
    return field * 2


def plain(what: Rng, where: Rng, n: int) -> FloatArray:
    """A flat field, to which only lighting and noise add: plastic, glass, lacquer."""
    return np.zeros((n, n), np.float32)


TEXTURE_FAMILIES: dict[str, FieldRenderer] = {
    "rough": rough,
    "brushed": brushed,
    "leaves": dead_leaves,
    "grating": grating,
    "tiling": tiling,
    "cells": voronoi_cells,
    "traces": traces,
    "marks": marks,
    "plain": plain,
}
"""Renderers of fields, by family."""


def _silhouette(what: Rng, where: Rng, n: int) -> FloatArray:
    """A soft-edged silhouette, float32 (n, n) in [0, 1]: an ellipse, box, plate, ring or wobbly outline.

    Its form belongs to the product; its place differs a little between pictures.
    """
    import cv2

    mask = np.zeros((n, n), np.float32)
    kind = what.integers(4)
    x, y = (float(v) for v in n / 2 + what.uniform(-0.15, 0.15, 2) * n + where.normal(0, 0.02, 2) * n)
    width, height = (float(v) for v in what.uniform(0.45, 1.3, 2) * n)
    if kind == 3:  # a plate that fills the picture but for two of its sides
        sides = what.permutation([what.uniform(0.75, 1.0), 1.5]) * n
        width, height = float(sides[0]), float(sides[1])
    turned = float(what.choice([0, what.uniform(0, 90)])) if kind != 3 else 0.0
    box = ((x, y), (width, height), turned + float(where.normal(0, 1.0)))
    if kind == 0:
        cv2.ellipse(mask, box, 1.0, -1, cv2.LINE_AA)
    elif kind in (1, 3):
        cv2.fillConvexPoly(mask, cv2.boxPoints(box).astype(np.int32), 1.0, cv2.LINE_AA)
    else:
        angles = np.linspace(0, 2 * math.pi, 48, endpoint=False)
        wobble = sum(what.normal() * 0.12 / k * np.sin(k * angles + what.uniform(0, 6)) for k in range(1, 7))
        radius = (width + height) / 2 / 2 * (1 + wobble)
        outline = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1)
        cv2.fillPoly(mask, [outline.astype(np.int32)], 1.0, cv2.LINE_AA)
    if what.random() < 0.3:  # a hole makes a ring
        hole = int(min(width, height) * what.uniform(0.1, 0.3))
        cv2.circle(mask, (int(x), int(y)), hole, 0.0, -1, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), what.uniform(0.5, 2)), np.float32)


def _apply_palette(what: Rng, field: FloatArray, *, grey: bool) -> FloatArray:
    """Squash a field to tones and give it a palette; float32 (n, n, 3) in about [0, 1]."""
    if what.random() < 0.6:
        tone = 1 / (1 + np.exp(-field * what.uniform(0.5, 2.5)))
    else:
        tone = np.clip(0.5 + field * what.uniform(0.05, 0.3), 0, 1)
    low, high = what.uniform(0, 0.55), what.uniform(0.4, 1.0)
    if grey:
        return np.asarray(np.repeat((low + (high - low) * tone)[..., None], 3, 2), np.float32)
    dark, light = what.uniform(0, 1, 3), what.uniform(0, 1, 3)
    dark, light = dark * (0.4 + 0.6 * low), 0.35 * light.mean() + 0.65 * light
    return np.asarray(tone[..., None] * (light - dark) + dark, np.float32)


def _mix_fields(what: Rng, where: Rng, n: int, families: tuple[str, ...]) -> FloatArray:
    """One field or the sum of two, slightly roughened; float32 (n, n)."""

    def unit(name: str) -> FloatArray:
        field = TEXTURE_FAMILIES[name](what, where, n)
        return np.asarray(field / (field.std() + 0.3), np.float32)

    field = unit(str(what.choice(families))) * what.uniform(0.2, 1)
    if what.random() < 0.5:
        field = field + unit(str(what.choice(families))) * what.uniform(0.1, 0.7)
    return field + rough(what, where, n) * what.uniform(0, 0.35)


def _apply_lighting(what: Rng, where: Rng, picture: FloatArray) -> FloatArray:
    """Uneven light: soft patches, a slope, and a sheen along one direction; its strength is the product's."""
    n = len(picture)
    patches = power_noise(where, n, what.uniform(1.6, 2.4)) * what.uniform(0, 0.15)
    y, x = np.mgrid[-1 : 1 : n * 1j, -1 : 1 : n * 1j]
    slope = what.uniform(0, 0.35) * where.uniform(-1, 1, 2)
    across, strength = _draw_angle(what), what.uniform(0, 0.4) * (what.random() < 0.4)
    centre, width = where.normal(0, 0.4), what.uniform(0.2, 1)
    sheen = np.exp(-(((x * math.cos(across) + y * math.sin(across) - centre) / width) ** 2))
    light = 1 + patches + slope[0] * x + slope[1] * y + strength * (sheen - 0.5)
    return np.asarray(picture * light[..., None], np.float32)


def is_rigid(seed: int) -> bool:
    """Whether all pictures of a product show the same thing at the same place, as parts in a fixture do."""
    return bool(np.random.default_rng((seed, 1)).random() < _RIGID_SHARE)


def render_surface(seed: int, n: int = 256, without: tuple[str, ...] = (), draw: int = 0) -> UInt8Array:
    """Draw one picture of a product, uint8 (n, n, 3) RGB, a function of the arguments alone.

    ``without`` leaves families of ``TEXTURE_FAMILIES`` out, or "blemishes" (for ablations).
    """
    what, anew = np.random.default_rng(seed), np.random.default_rng((seed, 2, draw))
    where = np.random.default_rng((seed, 2, 0)) if is_rigid(seed) else anew
    families = tuple(name for name in TEXTURE_FAMILIES if name not in without)
    grey = what.random() < 0.5
    picture = _apply_palette(what, _mix_fields(what, where, n, families), grey=grey)
    blemished = what.random() < _BLEMISHED_SHARE and "blemishes" not in without
    if blemished:  # normal for the product, at other places in every picture
        picture = add_blemishes(np.random.default_rng((seed, 3)), anew, picture)
    if what.random() < _OBJECT_SHARE:
        ground = _apply_palette(
            what, _mix_fields(what, where, n, families) * what.choice([0.05, 1.0]), grey=grey
        )
        shape = _silhouette(what, anew, n)[..., None]
        picture = picture * shape + ground * (1 - shape)
    picture = _apply_lighting(what, anew, picture)
    grain = anew.normal(0, what.uniform(0, 0.025), (n, n))
    return np.asarray(np.clip(picture + grain[..., None], 0, 1) * 255).astype(np.uint8)
