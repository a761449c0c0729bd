"""An endless supply of procedural surfaces: what the embedded network sees before it meets a product.

Every surface is a function of one integer seed. A *field* is a float32 (n, n) array of about zero mean and
unit spread; a surface is a sum of fields, squashed, lit and coloured. The families are broad on purpose
(noise, brushed metal, gratings, tilings, cells, dead leaves, traces, marks, objects on a background), so
that nothing here belongs to one product.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from anomalist.types import FloatArray, UInt8Array

Rng = np.random.Generator
Field = Callable[[Rng, int], FloatArray]
"""Draws a field of a given side."""


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


def _angle(rng: Rng) -> float:
    """Radians: horizontal, vertical or anything between, equally often."""
    return float(rng.choice([0.0, math.pi / 2, rng.uniform(0, math.pi)]))


def rough(rng: Rng, n: int) -> FloatArray:
    """Isotropic power-law noise: cast metal, plaster, clouds."""
    return power_noise(rng, n, rng.uniform(0.2, 1.9))


def brushed(rng: Rng, n: int) -> FloatArray:
    """Anisotropic noise with a few strong streaks: ground, rolled or brushed metal, wood."""
    angle = _angle(rng)
    field = power_noise(rng, n, rng.uniform(0.1, 1.2), rng.uniform(5, 120), angle)
    streaks = power_noise(rng, n, rng.uniform(0.0, 0.6), rng.uniform(60, 400), angle)
    return np.asarray(field + rng.uniform(0, 1.2) * np.maximum(streaks - rng.uniform(0.5, 2), 0), np.float32)


def leaves(rng: Rng, n: int) -> FloatArray:
    """Overlapping discs, ellipses and squares of random grey (dead leaves): gravel, granulate, terrazzo."""
    import cv2

    field = np.full((n, n), rng.uniform(-1, 1), np.float32)
    largest, square = rng.uniform(6, 40), rng.random() < 0.3
    for _ in range(int(rng.integers(60, 500))):
        x, y = rng.uniform(0, n, 2)
        a = largest * rng.uniform(0.15, 1) ** 1.5 + 1.5
        b, angle, grey = a * rng.uniform(0.4, 1), rng.uniform(0, 180), float(rng.uniform(-1, 1))
        if square:
            corners = cv2.boxPoints(((x, y), (2 * a, 2 * b), angle)).astype(np.int32)
            cv2.fillConvexPoly(field, corners, grey)
        else:
            cv2.ellipse(field, ((x, y), (2 * a, 2 * b), angle), grey, -1)
    return field * 1.7


def grating(rng: Rng, n: int) -> FloatArray:
    """Sums of warped stripes: weaves, threads, corrugation."""
    y, x = np.mgrid[0:n, 0:n].astype(np.float32)
    warp = power_noise(rng, n, rng.uniform(1.2, 2)) * rng.uniform(0, 2.5)
    field = np.zeros((n, n), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        angle, period = _angle(rng), rng.uniform(4, 36)
        phase = 2 * math.pi / period * (x * math.cos(angle) + y * math.sin(angle))
        wave = np.sin(phase + warp * rng.uniform(0, 1))
        field += np.sign(wave) * np.abs(wave) ** rng.uniform(0.2, 1.5) * rng.uniform(0.3, 1)
    return field


def tiling(rng: Rng, n: int) -> FloatArray:
    """One motif repeated on a grid, with slight variation: perforation, printed patterns, keyboards."""
    w, h = (int(v) for v in rng.integers(14, 72, 2))
    side = max(w, h)
    motif = (leaves if rng.random() < 0.6 else rough)(rng, side)[:h, :w]
    rows, columns = n // h + 2, n // w + 2
    field = np.tile(motif, (rows, columns))
    gains = 1 + rng.uniform(0, 0.15) * rng.standard_normal((rows, columns))
    field = field * np.kron(gains, np.ones((h, w)))
    y, x = rng.integers(0, h), rng.integers(0, w)
    return field[y : y + n, x : x + n].astype(np.float32)


def cells(rng: Rng, n: int) -> FloatArray:
    """Voronoi cells, filled or as walls: bricks, leather, grain boundaries, normal crazing."""
    from scipy.spatial import cKDTree

    points = rng.uniform(-10, n + 10, (int(rng.integers(20, 400)), 2))
    if rng.random() < 0.4:  # a jittered grid looks like masonry
        step = rng.uniform(12, 48)
        ticks = np.arange(-step, n + step, step)
        grid = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)
        points = grid + rng.normal(0, step * rng.uniform(0.02, 0.25), grid.shape)
    half = (n + 1) // 2  # walls are smooth: half resolution is enough
    y, x = np.mgrid[0:half, 0:half] * 2.0
    found = cKDTree(points).query(np.stack([y.ravel(), x.ravel()], 1), k=2)
    distance, cell = np.asarray(found[0]), np.asarray(found[1])[:, 0]
    wall = np.clip((distance[:, 1] - distance[:, 0]) / rng.uniform(2, 12), 0, 1)
    grey = rng.uniform(-1, 1, len(points))[cell]
    field = (rng.uniform(0, 1) * grey + rng.uniform(0, 2) * wall).reshape(half, half)
    return np.kron(field, np.ones((2, 2))).astype(np.float32)[:n, :n]


def traces(rng: Rng, n: int) -> FloatArray:
    """Right-angled conductors and round pads: circuit boards, floor plans, connectors."""
    import cv2

    field = np.zeros((n, n), np.float32)
    width = int(rng.integers(2, 10))
    for _ in range(int(rng.integers(8, 50))):
        x, y = (int(v) for v in rng.integers(0, n, 2))
        for _ in range(int(rng.integers(1, 6))):
            across = rng.random() < 0.5
            step = int(rng.integers(-120, 121))
            end = (x + step, y) if across else (x, y + step)
            cv2.line(field, (x, y), end, 1.0, width)
            x, y = end
        if rng.random() < 0.5:
            cv2.circle(field, (x, y), int(rng.integers(3, 14)), 1.0, -1)
    return field * 2 - 1


def marks(rng: Rng, n: int) -> FloatArray:
    """Spots or strokes scattered all over: blemishes that are normal because they are everywhere."""
    import cv2

    field = np.zeros((n, n), np.float32)
    size, stroke, angle = rng.uniform(0.8, 5), rng.random() < 0.5, _angle(rng)
    spread = rng.choice([0.1, math.pi])
    for _ in range(int(rng.integers(80, 900))):
        x, y = rng.uniform(0, n, 2)
        grey = float(rng.uniform(0.2, 1) * rng.choice([-1, 1, 1]))
        if stroke:
            a, length = angle + rng.normal() * spread, size * rng.uniform(2, 8)
            end = (int(x + length * math.cos(a)), int(y + length * math.sin(a)))
            cv2.line(field, (int(x), int(y)), end, grey, max(1, int(size / 2)), cv2.LINE_AA)
        else:
            radius = max(1, int(size * rng.uniform(0.4, 1)))
            cv2.circle(field, (int(x), int(y)), radius, grey, -1, cv2.LINE_AA)
    return field * 2


def plain(rng: Rng, n: int) -> FloatArray:
    """Nothing but what lighting and noise add: plastic, glass, lacquer."""
    return np.zeros((n, n), np.float32)


FAMILIES: dict[str, Field] = {
    "rough": rough,
    "brushed": brushed,
    "leaves": leaves,
    "grating": grating,
    "tiling": tiling,
    "cells": cells,
    "traces": traces,
    "marks": marks,
    "plain": plain,
}


def _shape(rng: Rng, n: int) -> FloatArray:
    """A soft-edged silhouette, float32 (n, n) in [0, 1]: an ellipse, box, ring or wobbly outline."""
    import cv2

    mask = np.zeros((n, n), np.float32)
    kind = rng.integers(3)
    x, y = (float(v) for v in n / 2 + rng.uniform(-0.15, 0.15, 2) * n)
    width, height = (float(v) for v in rng.uniform(0.45, 1.3, 2) * n)
    box = ((x, y), (width, height), float(rng.choice([0, rng.uniform(0, 90)])))
    if kind == 0:
        cv2.ellipse(mask, box, 1.0, -1, cv2.LINE_AA)
    elif kind == 1:
        cv2.fillConvexPoly(mask, cv2.boxPoints(box).astype(np.int32), 1.0, cv2.LINE_AA)
    else:
        angles = np.linspace(0, 2 * math.pi, 48, endpoint=False)
        wobble = sum(rng.normal() * 0.12 / k * np.sin(k * angles + rng.uniform(0, 6)) for k in range(1, 7))
        radius = (width + height) / 2 / 2 * (1 + wobble)
        outline = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1)
        cv2.fillPoly(mask, [outline.astype(np.int32)], 1.0, cv2.LINE_AA)
    if rng.random() < 0.3:  # a hole makes a ring
        hole = int(min(width, height) * rng.uniform(0.1, 0.3))
        cv2.circle(mask, (int(x), int(y)), hole, 0.0, -1, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 2)), np.float32)


def _coloured(rng: Rng, field: FloatArray, *, grey: bool) -> FloatArray:
    """Squash a field to tones and give it a palette; float32 (n, n, 3) in about [0, 1]."""
    if rng.random() < 0.6:
        tone = 1 / (1 + np.exp(-field * rng.uniform(0.5, 2.5)))
    else:
        tone = np.clip(0.5 + field * rng.uniform(0.05, 0.3), 0, 1)
    low, high = rng.uniform(0, 0.55), rng.uniform(0.4, 1.0)
    if grey:
        return np.asarray(np.repeat((low + (high - low) * tone)[..., None], 3, 2), np.float32)
    dark, light = rng.uniform(0, 1, 3), rng.uniform(0, 1, 3)
    dark, light = dark * (0.4 + 0.6 * low), 0.35 * light.mean() + 0.65 * light
    return np.asarray(tone[..., None] * (light - dark) + dark, np.float32)


def _textured(rng: Rng, n: int, families: tuple[str, ...]) -> FloatArray:
    """One field or the sum of two, slightly roughened; float32 (n, n)."""

    def unit(name: str) -> FloatArray:
        field = FAMILIES[name](rng, n)
        return np.asarray(field / (field.std() + 0.3), np.float32)

    field = unit(str(rng.choice(families))) * rng.uniform(0.2, 1)
    if rng.random() < 0.5:
        field = field + unit(str(rng.choice(families))) * rng.uniform(0.1, 0.7)
    return field + rough(rng, n) * rng.uniform(0, 0.35)


def surface(seed: int, n: int = 256, without: tuple[str, ...] = ()) -> UInt8Array:
    """Draw one surface, uint8 (n, n, 3) RGB, a function of the arguments alone.

    ``without`` leaves families of ``FAMILIES`` out (for ablations).
    """
    rng = np.random.default_rng(seed)
    families = tuple(name for name in FAMILIES if name not in without)
    grey = rng.random() < 0.5
    picture = _coloured(rng, _textured(rng, n, families), grey=grey)
    if rng.random() < 0.3:  # an object on a background
        ground = _coloured(rng, _textured(rng, n, families) * rng.choice([0.05, 1.0]), grey=grey)
        shape = _shape(rng, n)[..., None]
        picture = picture * shape + ground * (1 - shape)
    light = power_noise(rng, n, rng.uniform(1.6, 2.4)) * rng.uniform(0, 0.12)
    y, x = np.mgrid[-1 : 1 : n * 1j, -1 : 1 : n * 1j]
    slope = rng.uniform(0, 0.25) * rng.uniform(-1, 1, 2)
    picture = picture * (1 + light + slope[0] * x + slope[1] * y)[..., None]
    grain = rng.normal(0, rng.uniform(0, 0.025), (n, n))
    return np.asarray(np.clip(picture + grain[..., None], 0, 1) * 255).astype(np.uint8)
