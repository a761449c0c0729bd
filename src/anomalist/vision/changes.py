"""What a change against a reference is: missing, extra or changed, and which labelled change it is like."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from anomalist.types import BoolArray, Box, FloatArray, KnownKind
from anomalist.vision.figure import Pair, Tone, otsu

Direction = Literal["missing", "extra", "changed"]
CLEARLY = 0.7
"""Share of a change that must go one way to be called missing or extra."""

FAINT = 0.35
"""Structure is gone when its contrast is below this share of what it is in the other picture."""

EVEN = 0.5
"""Surroundings are even when their deviation is below this share of the contrast of what stands on them."""

RING = 3
"""Width of the ring around a change, pixels; and its gap."""

PAD = 12
"""Pixels around a change that its surroundings reach."""

NEAREST = 3
"""Labelled examples that decide together which kind a change is like."""

UNLIKE = 0.85
"""Cosine similarity below which a change is unlike any labelled one."""


def direction(pair: Pair, inside: BoolArray, box: Box) -> Direction:
    """Say whether structure is missing from the picture, extra in it, or changed.

    In pictures of two tones one is structure, see `paired`. In others, structure is what stands out from even
    surroundings: missing when it does so in the reference alone, extra when in the picture alone. What
    isn't clear is "changed".

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
            return "missing" if share >= CLEARLY else "extra" if 1 - share >= CLEARLY else "changed"
    crop, mask = _window(inside, box, pair.reference.shape)
    ring = _ring(mask, RING, 2 * RING)
    if ring.sum() < RING:
        return "changed"
    stands = []
    for values in (pair.reference[crop], pair.picture[crop]):
        contrast = abs(float(values[mask].mean() - np.median(values[ring])))
        stands.append((contrast, float(values[ring].std()) <= EVEN * contrast))
    (was, clear_before), (is_now, clear_now) = stands
    if clear_before and is_now <= FAINT * was:
        return "missing"
    if clear_now and was <= FAINT * is_now:
        return "extra"
    return "changed"


def describe(pair: Pair, inside: BoolArray, box: Box) -> FloatArray:
    """Describe a change by how it touches the structure around it: float32 (13,), of length 1.

    Which way it goes; how many separate pieces of structure and of ground meet its rim (0, 1, or more);
    how much of the rim is structure; how many pieces of structure and ground there are after it, against
    before; its form and size. Numbers and shares only, so it doesn't depend on where the change lies,
    which way it is turned, or on the sizes of pictures.

    Parameters
    ----------
    pair, inside, box : as for `direction`.
    """
    crop, mask = _window(inside, box, pair.reference.shape)
    before, after = _structure(pair, crop)
    lost, gained = float((mask & before & ~after).sum()), float((mask & after & ~before).sum())
    way = (gained - lost) / max(gained + lost, 1.0)
    rim = _ring(mask, 1, 1 + RING)
    still, empty = rim & before & after, rim & ~before & ~after
    figures, grounds = _pieces(still, rim), _pieces(empty, rim)
    share = float(still.sum()) / max(1.0, float(still.sum() + empty.sum()))
    near = mask | rim
    split = _touching(after, near) - _touching(before, near)
    opened = _touching(~after, near) - _touching(~before, near)
    length, width = _extent(mask)
    filled = float(mask.sum()) / max(1.0, length * width)
    values = [
        2 * way,
        *_how_many(figures),
        *_how_many(grounds),
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
    """Changes whose kind is known, to compare others with.

    Parameters
    ----------
    vectors : float32 (n, D), from `describe`.
    kinds : name of the kind of each, as its label says.
    ids : of each example, for the record.
    figure : the tone of the structure when they were described; None for the rarer one of each reference.
    """

    vectors: FloatArray
    kinds: tuple[str, ...]
    ids: tuple[str, ...]
    figure: Tone | None = None

    @property
    def digest(self) -> str:
        """Hex SHA-256 over all of it."""
        names = json.dumps([self.kinds, self.ids, self.figure])
        return hashlib.sha256(self.vectors.tobytes() + names.encode()).hexdigest()

    def like(self, vector: FloatArray) -> KnownKind:
        """Find the kind that the nearest examples have in common; None when even they are too different.

        Each of the nearest votes with its similarity above `UNLIKE`.
        """
        similarity = self.vectors @ vector
        order = np.argsort(-similarity, kind="stable")[:NEAREST]
        nearest = float(similarity[order[0]])
        cases = tuple(self.ids[i] for i in order)
        if nearest < UNLIKE:
            return KnownKind(name=None, similarity=nearest, cases=cases)
        votes: dict[str, float] = defaultdict(float)
        for i in order:
            votes[self.kinds[i]] += max(0.0, float(similarity[i]) - UNLIKE)
        return KnownKind(name=max(votes, key=lambda kind: votes[kind]), similarity=nearest, cases=cases)


def _window(inside: BoolArray, box: Box, size: tuple[int, ...]) -> tuple[tuple[slice, slice], BoolArray]:
    """Return a change with room around it: where in the picture, and its mask there."""
    x0, y0, x1, y1 = box
    top, left = max(0, y0 - PAD), max(0, x0 - PAD)
    bottom, right = min(size[0], y1 + PAD), min(size[1], x1 + PAD)
    mask = np.zeros((bottom - top, right - left), dtype=np.bool_)
    mask[y0 - top : y1 - top, x0 - left : x1 - left] = inside
    return (slice(top, bottom), slice(left, right)), mask


def _ring(mask: BoolArray, inner: int, outer: int) -> BoolArray:
    """Return the places between two distances from a mask, pixels."""
    import cv2

    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    ring: BoolArray = (distance > inner) & (distance <= outer)
    return ring


def _structure(pair: Pair, crop: tuple[slice, slice]) -> tuple[BoolArray, BoolArray]:
    """Structure before and after in a window: of the whole picture, or else the rarer tone of this window."""
    if pair.before is not None and pair.after is not None:
        return pair.before[crop], pair.after[crop]
    reference, picture = pair.reference[crop], pair.picture[crop]
    level, _ = otsu(np.stack([reference, picture]))
    before, after = reference <= level, picture <= level
    if before.mean() + after.mean() > 1:
        before, after = ~before, ~after
    return before, after


def _labels(mask: BoolArray) -> tuple[npt.NDArray[Any], int]:
    """Number the 8-connected pieces of a mask."""
    import cv2

    found, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return labels, found - 1


def _pieces(mask: BoolArray, rim: BoolArray) -> int:
    """Count the arcs of a rim that a mask covers; crumbs of less than a twentieth of it don't count."""
    labels, _ = _labels(mask)
    sizes = np.bincount(labels[mask], minlength=1)
    return int((sizes >= max(2.0, rim.sum() / 20)).sum())


def _touching(mask: BoolArray, near: BoolArray) -> int:
    """Count the pieces of a mask, within its window, that reach the neighbourhood of a change."""
    labels, found = _labels(mask)
    sizes = np.bincount(labels[near & mask], minlength=found + 1)
    return int((sizes >= 4).sum())


def _how_many(count: int) -> tuple[float, float, float]:
    """Code none, one, or several so that each is equally far from the others."""
    return float(count == 0), float(count == 1), float(count > 1)


def _extent(mask: BoolArray) -> tuple[float, float]:
    """Length and width of the smallest turned rectangle around a mask, pixels, at least 1."""
    import cv2

    y, x = np.nonzero(mask)
    _, sides, _ = cv2.minAreaRect(np.stack([x, y], 1).astype(np.float32))
    return max(sides) + 1.0, min(sides) + 1.0
