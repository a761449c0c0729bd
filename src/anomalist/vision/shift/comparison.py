"""Comparison of a picture with the mean of the normal pictures, for a product that always lies alike.

It says of a suspicious place whether something is missing there, or extra.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomalist.types.common import BoolArray, Box, FloatArray, UInt8Array
from anomalist.types.image import Region
from anomalist.vision.alignment import Matrix
from anomalist.vision.difference import AlignedPair, change_direction
from anomalist.vision.regions import PEAK_FRACTION, box_of, component_mask, label_components
from anomalist.vision.shift.arithmetic import WHOLE, filled, match_light
from anomalist.vision.shift.registration import shape_of

_LEAST_DEVIATION = 4.0  # grey levels, added to the standard deviation of the normals
_DIFFERS = 4.0  # standard deviations from which a pixel differs
_LEAST_PIXELS = 12
_GROWN = 9  # pixels: a place of the anomaly map is coarser than the thing


@dataclass(frozen=True, eq=False)
class MeanPicture:
    """Mean and standard deviation of the normal pictures, each moved to the template.

    Parameters
    ----------
    mean, deviation : float32 (H, W), grey levels.
    typical : uint8 (H, W, 3), the normal that is nearest to the mean; None in profiles of before.
    """

    mean: FloatArray
    deviation: FloatArray
    typical: UInt8Array | None = None

    @classmethod
    def fit(cls, pictures: Sequence[UInt8Array]) -> MeanPicture:
        """Average pictures, uint8 (H, W, 3) each."""
        import cv2

        stack = np.stack([cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in pictures]).astype(np.float32)
        mean, deviation = stack.mean(0, dtype=np.float32), stack.std(0, dtype=np.float32)
        nearest = int(np.argmin(np.abs(stack - mean).mean((1, 2))))
        return cls(mean, deviation, pictures[nearest])

    def fill(self, moved: UInt8Array, seen: FloatArray) -> UInt8Array:
        """Fill what a moved picture does not show from the typical normal, in the light of the picture.

        Parameters
        ----------
        moved : uint8 (H, W, 3), a picture moved to the template, at any size.
        seen : float32 (H, W), 1 where the picture shows it, down to 0.
        """
        import cv2

        if self.typical is None or seen.min() > WHOLE:
            return moved
        typical = cv2.resize(self.typical, (moved.shape[1], moved.shape[0]), interpolation=cv2.INTER_CUBIC)
        return filled(moved, seen, np.asarray(typical))

    def compare(self, pixels: UInt8Array, matrix: Matrix) -> Comparison:
        """Compare a picture, uint8 (H, W, 3), by the matrix from pixels of the mean to its own."""
        import cv2

        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
        size = (grey.shape[1], grey.shape[0])
        mean, deviation = (
            cv2.warpAffine(each, matrix[:2], size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for each in (self.mean, self.deviation)
        )
        slope, level = match_light(mean, grey)
        lit = np.asarray(slope * mean + level, np.float32)
        smooth = cv2.GaussianBlur(grey - lit, (0, 0), 1.0)
        return Comparison(
            AlignedPair(lit, grey, None, None),
            np.abs(smooth) / (slope * deviation + _LEAST_DEVIATION) > _DIFFERS,
        )


@dataclass(frozen=True, eq=False)
class Comparison:
    """A picture beside the mean of the normal ones.

    Parameters
    ----------
    pair : the two in grey, in the frame of the picture, enlarged to the size of the normals if smaller.
    differs : bool (h, w), where they differ by more than the normals do among each other.
    """

    pair: AlignedPair
    differs: BoolArray

    def outline_missing(
        self, mask: BoolArray, score_map: FloatArray, *, level: float, low: float
    ) -> BoolArray:
        """The mask, bool (H, W), with what is missing in a suspicious place, of which no edge is to be seen.

        ``level`` and ``low`` are those of `outline_places`.
        """
        import cv2

        peak = float(score_map.max())
        if not peak > level:
            return mask
        places, found = label_components(score_map > max(level, low + PEAK_FRACTION * (peak - low)))
        result = mask.copy()
        for number in range(1, found + 1):
            place = places == number
            here = resize_mask(place, shape_of(self.differs)).astype(np.uint8)
            inside = (cv2.dilate(here, np.ones((_GROWN, _GROWN), np.uint8)) > 0) & self.differs
            if inside.sum() >= _LEAST_PIXELS and self._direction(inside) == "missing":
                result[place] = False
                result |= resize_mask(inside, shape_of(mask))
        return result

    def _direction(self, inside: BoolArray) -> str:
        box = box_of(inside)
        return change_direction(self.pair, inside[box[1] : box[3], box[0] : box[2]], box)

    def with_direction(self, region: Region, mask: BoolArray) -> Region:
        """The region, called missing or extra where that is clear."""
        inside = component_mask(mask, region.box, region.area)
        x0, y0, x1, y1 = resize_box(region.box, shape_of(mask), shape_of(self.differs))
        change = change_direction(self.pair, resize_mask(inside, (y1 - y0, x1 - x0)), (x0, y0, x1, y1))
        return region if change == "changed" else region.replace(change=change)


def resize_box(box: Box, size: tuple[int, int], target: tuple[int, int]) -> Box:
    """A box of a picture of a (height, width) at another size; a pixel wide and high at least."""
    down, across = zip(size, target, strict=True)
    (x0, x1), (y0, y1) = (
        (min(round(low * new / old), new - 1), round(high * new / old))
        for low, high, (old, new) in ((box[0], box[2], across), (box[1], box[3], down))
    )
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def resize_mask(mask: BoolArray, size: tuple[int, int]) -> BoolArray:
    """Resize a mask, bool (H, W), to (height, width); what covers half of a pixel counts."""
    import cv2

    if mask.shape == size:
        return mask
    resized = cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(resized >= 0.5, np.bool_)
