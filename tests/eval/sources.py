"""A simple evidence source without a profile: it knows nothing and measures how dark a picture gets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from anomalist.errors import AnomalistError
from anomalist.types.common import DetectorInfo
from anomalist.types.image import Evidence
from anomalist.vision.calibration import CalibrationSet
from anomalist.vision.evidence import MeasuredPicture
from anomalist.vision.media.images import load_image


class DarknessSource:
    """The map is how far a pixel is below white, the score its maximum."""

    name = "darkness"
    digest = hashlib.sha256(b"darkness").hexdigest()
    calibrations: Mapping[str, CalibrationSet] = MappingProxyType({})
    rate: float | None = None
    normal_crop = None
    compared_with = "nothing"

    def measure(self, paths: Iterable[str | Path]) -> Iterator[MeasuredPicture]:
        for path in paths:
            try:
                media = load_image(path)
            except AnomalistError as error:
                yield path, None, error
                continue
            score_map = 255 - media.pixels.mean(axis=2, dtype=np.float32)
            yield (
                path,
                media,
                Evidence(
                    detector=DetectorInfo(name=self.name, digest=self.digest),
                    score=float(score_map.max()),
                    score_map=score_map,
                    mask=np.zeros(score_map.shape, dtype=np.bool_),
                    roi_area=score_map.size,
                    basis="itself",
                ),
            )
