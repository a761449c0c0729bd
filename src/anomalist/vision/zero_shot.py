"""Without any normal pictures: the shipped network, and normality from within each picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anomalist.types import DetectorInfo, Evidence, FloatArray, Media, UInt8Array
from anomalist.vision.detectors import Scored
from anomalist.vision.examine import examine_uncalibrated
from anomalist.vision.examiners import Examined, examine_all
from anomalist.vision.features import working_picture
from anomalist.vision.fusion import enlarged, image_score
from anomalist.vision.tiles import cut, fine_picture, is_large, places, stitched
from anomalist.vision.weights import SHA256, shipped_network

if TYPE_CHECKING:
    from anomalist.vision.eyes import Eyes

_HIGH, _LOW = 0.0, -3.0
"""Sums of two logits from which a place is marked, even odds, and to which it reaches, about one in five."""


class ZeroShot:
    """Examines pictures that nothing is known about; see `examiners.Examiner`."""

    name = "zero-shot"
    digest = SHA256
    calibration = None

    def examine(self, paths: Iterable[str | Path]) -> Iterator[Examined]:
        """Measure pictures in order."""
        return examine_all(self._score, self._evidence, paths)

    @cached_property
    def _eyes(self) -> Eyes:
        from anomalist.vision.eyes import Eyes

        return Eyes(shipped_network())

    def _score(self, several: list[Media]) -> list[Scored]:
        scored: dict[int, Scored] = {}
        for index, own in self._maps([working_picture(media.pixels) for media in several]):
            pixels = several[index].pixels
            if is_large(pixels):
                fine = fine_picture(pixels)
                where = places(fine.shape)
                tiles = ((where[i], m) for i, m in self._maps([cut(fine, place) for place in where]))
                joined = stitched((fine.shape[0], fine.shape[1]), tiles)
                own = np.maximum(joined, enlarged(own, joined.shape))
            score_map = enlarged(own, several[index].size)
            scored[index] = Scored(np.array([image_score(own, None)]), score_map)
        return [scored[index] for index in range(len(several))]

    def _maps(self, working: Sequence[UInt8Array]) -> Iterator[tuple[int, FloatArray]]:
        """First sight, float32 (H, W) of each picture, not in order."""
        for look in self._eyes.look(working):
            yield from zip(look.indices, look.first_sight(self._eyes.network.head), strict=True)

    def _evidence(self, media: Media, scored: Scored) -> Evidence:
        info = DetectorInfo(name=self.name, digest=self.digest)
        return examine_uncalibrated(media, scored, info, "itself", high=_HIGH, low=_LOW)
