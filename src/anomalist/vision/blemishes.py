"""Blemishes that a product always has: faint scratches, specks, stains. They are normal, because habitual.

What they look like belongs to the product (generator ``what``), where they lie to each picture (``where``).
"""

from __future__ import annotations

import math

import numpy as np

from anomalist.types import FloatArray
from anomalist.vision.strokes import Rng, draw_line, log_uniform, walk


def blemish(what: Rng, where: Rng, picture: FloatArray) -> FloatArray:
    """Scatter one or two habits of blemishes over a picture, float32 (n, n, 3) in about [0, 1]."""
    for _ in range(int(what.choice([1, 1, 2]))):
        picture = _habit(what, where, picture)
    return picture


def _habit(what: Rng, where: Rng, picture: FloatArray) -> FloatArray:
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
            draw_line(one, walk(where, wiggle, size * where.uniform(0.3, 1), place, heading), width)
        else:
            radius = (width + 0.5 if kind == "speck" else 0.25 * size) * where.uniform(0.5, 1.2)
            box = ((float(place[0]), float(place[1])), (2 * radius, 2 * radius * where.uniform(0.5, 1)), 0.0)
            cv2.ellipse(one, box, 1.0, -1, cv2.LINE_AA)
        mask = np.maximum(mask, one * where.uniform(0.4, 1))
    softness += 0.15 * size if kind == "stain" else 0
    if softness > 0.25:
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), softness), np.float32)
    return np.asarray(np.clip(picture + step * mask[..., None], 0, 1), np.float32)
