"""Appearance novelty of moving objects: embeddings compared with a memory bank of normal ones.

Objects are embedded every half second by the feature extractor that pictures use; novelty is 1 − the cosine
similarity to the nearest normal embedding. The bank is a reservoir sample (Vitter 1985).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from anomalist.types.common import Box, FloatArray, UInt8Array
from anomalist.vision.features.extractor import FeatureExtractor
from anomalist.vision.motion.extractor import FrameMotion
from anomalist.vision.motion.flow import Perspective
from anomalist.vision.motion.tracks import MovingObject

EMBEDDING_INTERVAL = 0.5
"""Seconds between two embeddings."""
MAX_BANK_SIZE = 1500
"""Embeddings of a fold at most."""
_MAX_OBJECTS = 10  # embedded in a frame, the largest first
_CROP_SIDE = 64  # pixels
_CROP_MARGIN = 0.15  # around an object, of its longer side
_MIN_BODY_AREA = 0.4  # of the area of a body: what is smaller is a fragment
_POOLING_PARTS = 2  # average pooling to 2×2, so that wheels stay below and heads above
_BODY_FILL = 0.7  # share of its box that a body fills


@lru_cache(maxsize=2)
def feature_extractor_for(backbone: str | None, *, stored_in: str | None = None) -> FeatureExtractor:
    """Feature extractor with the shipped network, or with a backbone as `open_backbone` finds it.

    Raises DetectorError when the backbone is missing or can't be loaded.
    """
    from anomalist.vision.features.backbones import open_backbone
    from anomalist.vision.features.extractor import shipped_network

    opened = open_backbone(backbone, stored_in=stored_in) if backbone else None
    return FeatureExtractor(shipped_network(), opened)


class ObjectEmbedder:
    """Embeds the moving objects of one clip every half second.

    Parameters
    ----------
    extractor : gives the patch descriptors.
    perspective : of the scene; objects much smaller than a body are left out.
    """

    def __init__(self, extractor: FeatureExtractor, perspective: Perspective) -> None:
        self._extractor = extractor
        self._perspective = perspective
        self._last: float | None = None

    def embed_due(self, frame_motion: FrameMotion) -> tuple[list[MovingObject], FloatArray] | None:
        """Objects of a frame and their embeddings, float32 (n, d), unit vectors; None when none are due."""
        if frame_motion.fresh or frame_motion.trouble is not None:
            return None
        if self._last is not None and 0 <= frame_motion.time - self._last < EMBEDDING_INTERVAL * 0.99:
            return None
        self._last = frame_motion.time
        found = [
            one
            for one in frame_motion.objects
            if one.speed > frame_motion.min_speed and one.area >= _MIN_BODY_AREA * self._body(one.box)
        ]
        chosen = sorted(found, key=lambda one: -one.area)[:_MAX_OBJECTS]
        return chosen, embed_objects(
            self._extractor, frame_motion.pixels, [one.box for one in chosen], frame_motion.mask.shape
        )

    def _body(self, box: Box) -> float:
        height = float(self._perspective.heights(np.array([(box[1] + box[3]) / 2]))[0])
        return _BODY_FILL * self._perspective.aspect * height**2


def embed_objects(
    extractor: FeatureExtractor, pixels: UInt8Array, boxes: Sequence[Box], working: tuple[int, ...]
) -> FloatArray:
    """Embed boxes of a frame.

    Parameters
    ----------
    pixels : uint8 (H, W, 3), the frame.
    boxes : in working pixels.
    working : (height, width) in working pixels.

    Returns
    -------
    float32 (n, d), unit vectors: patch descriptors averaged in each quarter of the crop, concatenated.
    """
    if not boxes:
        return np.zeros((0, 1), np.float32)
    shown = [_object_crop(pixels, box, working) for box in boxes]
    pooled: list[FloatArray] = [np.zeros(0, np.float32)] * len(shown)
    for batch in extractor.extract(shown):
        for index, patches in zip(batch.indices, batch.descriptors, strict=True):
            pooled[index] = _pool_quarters(patches)
    return np.stack(pooled)


def _pool_quarters(patches: FloatArray) -> FloatArray:
    """Average-pool patches (h, w, d) to 2×2 and concatenate: one unit vector of 4·d."""
    rows, columns, depth = (
        patches.shape[0] // _POOLING_PARTS,
        patches.shape[1] // _POOLING_PARTS,
        patches.shape[2],
    )
    quarters = patches[: rows * _POOLING_PARTS, : columns * _POOLING_PARTS].reshape(
        _POOLING_PARTS, rows, _POOLING_PARTS, columns, depth
    )
    vector = quarters.mean(axis=(1, 3)).ravel()
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-6), np.float32)


def _object_crop(pixels: UInt8Array, box: Box, working: tuple[int, ...]) -> UInt8Array:
    """Crop the square around a box with a margin, uint8 (64, 64, 3); the frame's border is replicated."""
    import cv2

    down, right = pixels.shape[0] / working[0], pixels.shape[1] / working[1]
    side = (1 + 2 * _CROP_MARGIN) * max((box[2] - box[0]) * right, (box[3] - box[1]) * down)
    left = (box[0] + box[2]) / 2 * right - side / 2
    top = (box[1] + box[3]) / 2 * down - side / 2
    scale = side / _CROP_SIDE
    place = np.array([[scale, 0, left], [0, scale, top]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(pixels, place, (_CROP_SIDE, _CROP_SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE),
        np.uint8,
    )


def appearance_novelty(descriptors: FloatArray, bank: FloatArray) -> FloatArray:
    """1 − cosine similarity to the nearest embedding of the bank, float32 (n,); 0 with an empty bank."""
    if not len(bank) or not len(descriptors):
        return np.zeros(len(descriptors), np.float32)
    return np.asarray(1 - (descriptors @ bank.T).max(axis=1), np.float32)


class AppearanceNovelty:
    """Appearance novelty of each cell, held until the next embedding.

    Parameters
    ----------
    embedder : of the objects.
    bank : float32 (m, d), embeddings of normal objects, unit vectors.
    grid : (rows, columns) of cells.
    """

    def __init__(self, embedder: ObjectEmbedder, bank: FloatArray, grid: tuple[int, int]) -> None:
        self._embedder = embedder
        self._bank = bank
        self._values = np.zeros(grid, np.float32)

    def reset(self) -> None:
        """Forget the novelty so far, after a cut or a camera fault."""
        self._values[:] = 0

    def update(self, frame_motion: FrameMotion) -> FloatArray:
        """Take the next frame; returns the appearance novelty of every cell, float32 (gh, gw), 0 to 2."""
        embedded = self._embedder.embed_due(frame_motion)
        if embedded is not None:
            self._values[:] = 0
            objects, descriptors = embedded
            for found, value in zip(objects, appearance_novelty(descriptors, self._bank), strict=True):
                rows, columns = found.cells.T
                self._values[rows, columns] = np.maximum(self._values[rows, columns], value)
        return self._values.copy()


class DescriptorReservoir:
    """Reservoir sample of the embeddings of normal objects (Vitter 1985), seeded."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._kept: list[FloatArray] = []
        self._seen = 0

    def add(self, descriptors: FloatArray) -> None:
        """Offer embeddings, float32 (n, d); each that was ever offered is equally likely to be kept."""
        for one in descriptors:
            self._seen += 1
            if len(self._kept) < MAX_BANK_SIZE:
                self._kept.append(one)
            elif (place := int(self._rng.integers(self._seen))) < MAX_BANK_SIZE:
                self._kept[place] = one

    def bank(self) -> FloatArray:
        """The sample, float32 (m, d)."""
        return np.stack(self._kept) if self._kept else np.zeros((0, 1), np.float32)


def concatenate_banks(banks: Sequence[FloatArray]) -> FloatArray:
    """Concatenate banks, float32 (m, d) each; empty ones are skipped."""
    full = [bank for bank in banks if len(bank)]
    return np.concatenate(full) if full else np.zeros((0, 1), np.float32)
