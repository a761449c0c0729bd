"""What a picture's finding is remembered by: a sentence, and a vector of what was measured."""

from __future__ import annotations

import math

import numpy as np

from anomalist.agent.wording import region_sentence
from anomalist.types import FloatArray, Record, Region

SPACE = "measured region 1"
"""Name of the space of `case_vector`, with its version."""

ALIKE = 0.8
"""Cosine similarity from which two regions count as alike."""


def seen_in(record: Record, region: str | None = None) -> str:
    """One sentence on what stands out: the named region, or the one with the highest peak."""
    found = [each for each in record.regions if region in (None, each.id)]
    if not found:
        return "No single place stands out."
    size = (record.height or 1, record.width or 1)
    return region_sentence(found[0], size, "the inspected area").partition(": ")[2]


def case_vector(record: Record, region: str | None = None) -> FloatArray | None:
    """A region by form, size, tone, texture and border, as a unit vector, float32 (8,); None without one.

    Not by its place: the same kind of scratch may lie anywhere.
    """
    found = [each for each in record.regions if region in (None, each.id)]
    return region_vector(found[0]) if found else None


def region_vector(region: Region) -> FloatArray:
    """The same of one region, float32 (8,)."""
    about = region.attributes
    angle = math.radians(2 * about.orientation) if about.orientation is not None else None
    vector = np.array(
        [
            math.log(about.elongation) - 0.7,
            (math.log10(max(about.relative_size, 1e-6)) + 2.5) / 1.5,
            math.tanh(about.contrast_sigma / 2),
            math.tanh(about.contrast / 40),
            math.tanh(math.log(max(about.texture_ratio, 1e-2))),
            0.5 if about.edges else -0.5,
            0.0 if angle is None else 0.3 * math.cos(angle),
            0.0 if angle is None else 0.3 * math.sin(angle),
        ],
        np.float32,
    )
    return np.asarray(vector / np.linalg.norm(vector), np.float32)
