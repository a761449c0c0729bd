"""Comparison of a place with its lattice neighbours, for a product of a periodic texture.

A cloth, a wire mesh or a perforated sheet lies anywhere in the picture, so that no template of the product
can be fitted; but its cell repeats, and says what belongs at every place. The two vectors of the lattice are
the shortest high peaks of the autocorrelation; what is expected is the median over the neighbouring cells.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from anomalist.types.common import BoolArray, Box, FloatArray, UInt8Array
from anomalist.types.image import Region
from anomalist.vision.difference import AlignedPair, change_direction
from anomalist.vision.regions import box_of, component_areas, component_mask, label_components
from anomalist.vision.shift.comparison import resize_box, resize_mask
from anomalist.vision.shift.registration import shape_of

_WINDOW = 512  # pixels a side around a place in which its lattice is looked for
_MOST_COVERED = 0.25  # share of the window that a place may cover
_COARSE, _LOCAL, _LEAST_CONTRAST = 16.0, 24.0, 3.0  # sigmas of the band and of its contrast; grey levels
_SHORTEST, _LONGEST_SHARE = 4.0, 0.2  # of a lattice vector: pixels, and share of the window
_PERIODIC, _AS_HIGH = 0.5, 0.8  # autocorrelation of a lattice, and how near to the highest peak others come
_LEAST_POWER = 0.01  # of the band, which is about one where there is any texture
_PEAK_REACH, _PEAK_FALL = 3, 0.05  # pixels within which a peak falls on all sides: a ridge is none
_LEAST_SINE = 0.4  # between the two vectors
_CELLS = 2  # neighbours on every side
_GROWN = 9  # pixels: an outline is narrower than what is gone
_CONTEXT = 32  # pixels around a place that say how much good cells differ
_DEVIATIONS, _TOP_SHARE = 3.5, 0.4  # a pixel differs from both on: of the good, and of the most that differs
_LEAST_PIXELS = 12
_GAP_SHARE = 0.6  # of the shortest vector: parts of one place lie no farther apart
_TONES = (0.02, 0.98)  # quantiles between which the tones of the cell lie
_ELONGATION, _PARALLEL = 2.5, 3.0  # a thread's piece: length by width, and degrees to the lattice
_SPACING_SHARE = 0.4  # of the widest: lines of a lattice that lie closer are no threads
_NARROWEST, _WIDEST, _STAYS = 0.8, 1.45, 0.8  # width by the spacing; correlation with what is expected


@dataclass(frozen=True, eq=False)
class Lattice:
    """Two vectors (x, y), pixels, by which a periodic texture repeats."""

    first: tuple[float, float]
    second: tuple[float, float]

    @property
    def shortest(self) -> float:
        """Length of the shorter vector, pixels."""
        return min(math.hypot(*self.first), math.hypot(*self.second))

    def step(self, i: int, j: int) -> tuple[float, float]:
        """Vector to the cell that is i and j away along the two."""
        return i * self.first[0] + j * self.second[0], i * self.first[1] + j * self.second[1]

    def nearest_lines(self, degrees: float) -> tuple[float, float]:
        """Angle to the lines of the lattice that are nearest in direction, and their spacing in pixels.

        Lines much closer than the most open ones of the lattice do not count: no thread runs there.
        """
        area = abs(self.first[0] * self.second[1] - self.first[1] * self.second[0])
        lines = []
        for i, j in itertools.product(range(-3, 4), repeat=2):
            if math.gcd(i, j) == 1:  # the shortest step of its direction
                x, y = self.step(i, j)
                angle = math.degrees(math.atan2(y, x))
                lines.append((abs((angle - degrees + 90) % 180 - 90), area / math.hypot(x, y)))
        widest = max(spacing for _, spacing in lines)
        least = min(widest, max(_SHORTEST, _SPACING_SHARE * widest))  # of a fine lattice all are close
        return min(line for line in lines if line[1] >= least)


def find_lattice(grey: FloatArray, counts: BoolArray) -> Lattice | None:
    """Find the lattice of a periodic texture in the pixels that count; None where there is none.

    ``grey`` is float32 (h, w), grey levels; ``counts`` bool (h, w).
    """
    import cv2

    height, width = grey.shape
    band = grey - cv2.GaussianBlur(grey, (0, 0), _COARSE)
    band = band / (np.sqrt(cv2.GaussianBlur(band * band, (0, 0), _LOCAL)) + _LEAST_CONTRAST)
    window = cv2.createHanningWindow((width, height), cv2.CV_32F) * counts
    reach = int(_LONGEST_SHARE * min(height, width))
    if reach <= _SHORTEST:
        return None
    shared = np.maximum(_autocorrelation(window, reach), 1e-9)
    correlation = _autocorrelation(band * window, reach) / shared
    if correlation[reach, reach] < _LEAST_POWER:
        return None
    found = sorted(_peaks(correlation / correlation[reach, reach], reach), reverse=True)
    if not found or found[0][0] < _PERIODIC:
        return None
    vectors = [(x, y) for height, x, y in found if height >= _AS_HIGH * found[0][0]]
    vectors.sort(key=lambda vector: math.hypot(*vector))
    first = vectors[0]
    for second in vectors[1:]:
        area = abs(first[0] * second[1] - first[1] * second[0])
        if area > _LEAST_SINE * math.hypot(*first) * math.hypot(*second):
            return Lattice(first, second)
    return None


def _autocorrelation(values: FloatArray, reach: int) -> npt.NDArray[np.float64]:
    """Sums of products with the same moved by up to ``reach`` pixels, float64 (2 reach + 1, same)."""
    size = 2 * values.shape[0], 2 * values.shape[1]
    whole = np.fft.irfft2(np.abs(np.fft.rfft2(values, size)) ** 2, size)
    lags = np.arange(-reach, reach + 1)
    return np.asarray(whole[np.ix_(lags, lags)], np.float64)


def _peaks(correlation: npt.NDArray[np.float64], reach: int) -> Iterator[tuple[float, float, float]]:
    """Height and (x, y) of the local maxima, between pixels by parabolas."""
    from scipy import ndimage

    ring = np.zeros((2 * _PEAK_REACH + 1,) * 2, bool)
    ring[[0, -1]] = ring[:, [0, -1]] = True
    around = ndimage.maximum_filter(correlation, footprint=ring)
    highest = ndimage.maximum_filter(correlation, 5) == correlation
    highest &= around < correlation - _PEAK_FALL
    highest[[0, -1]] = highest[:, [0, -1]] = False
    for y, x in np.argwhere(highest):
        if math.hypot(y - reach, x - reach) >= _SHORTEST:
            across, down = correlation[y, x - 1 : x + 2], correlation[y - 1 : y + 2, x]
            yield float(correlation[y, x]), x - reach + _vertex(across), y - reach + _vertex(down)


def _vertex(values: npt.NDArray[np.float64]) -> float:
    bend = values[0] - 2 * values[1] + values[2]
    return float(np.clip((values[0] - values[2]) / (2 * bend), -0.5, 0.5)) if bend < 0 else 0.0


@dataclass(frozen=True, eq=False)
class LatticeComparison:
    """A picture of a product that has no place in it, whose cells are compared with each other.

    Parameters
    ----------
    pixels : uint8 (h, w, 3), enlarged to the size of the normals if smaller.
    """

    pixels: UInt8Array
    _found: list[Lattice | None] = field(default_factory=list, repr=False)

    def outline_missing(
        self, mask: BoolArray, score_map: FloatArray, *, level: float, low: float
    ) -> BoolArray:
        """The mask as it is, bool (H, W): whatever is missing in a texture has edges to be seen."""
        return mask

    def with_direction(self, region: Region, mask: BoolArray) -> Region:
        """The region, called missing where a thing of the cell is clearly gone."""
        inside = component_mask(mask, region.box, region.area)
        box = resize_box(region.box, shape_of(mask), shape_of(self.pixels))
        place = resize_mask(inside, (box[3] - box[1], box[2] - box[0]))
        return region.replace(change="missing") if self._is_missing(place, box) else region

    def _is_missing(self, inside: BoolArray, box: Box) -> bool:
        import cv2

        top, left = (_window(*ends) for ends in ((box[1], box[3]), (box[0], box[2])))
        rows, columns = (slice(start, start + _WINDOW) for start in (top, left))
        whole = np.zeros(self.pixels.shape[:2], np.uint8)
        whole[box[1] : box[3], box[0] : box[2]] = inside
        place = cv2.dilate(whole[rows, columns], np.ones((_GROWN, _GROWN), np.uint8)) > 0
        if not place.any() or place.mean() > _MOST_COVERED:
            return False
        pixels = np.ascontiguousarray(self.pixels[rows, columns])
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
        if not self._found:  # of a picture once: it takes longer than the rest
            self._found.append(find_lattice(grey, ~place))
        lattice = self._found[0]
        return lattice is not None and _Place.of(grey, place, lattice).is_missing()


def _window(low: int, high: int) -> int:
    return max(0, (low + high - _WINDOW) // 2)


@dataclass(frozen=True, eq=False)
class _Place:
    """A place beside what its neighbours in the lattice show: all float32 or bool (h, w)."""

    grey: FloatArray
    expected: FloatArray
    differs: BoolArray
    tones: tuple[float, float]
    lattice: Lattice

    @classmethod
    def of(cls, grey: FloatArray, place: BoolArray, lattice: Lattice) -> _Place:
        """Compare a place, cut out with some context."""
        import cv2

        rows, columns = (np.flatnonzero(place.any(axis)) for axis in (1, 0))
        crop = tuple(
            slice(max(0, int(ends[0]) - _CONTEXT), int(ends[-1]) + 1 + _CONTEXT) for ends in (rows, columns)
        )
        wanted = _neighbours(grey, place, lattice, (crop[0], crop[1]))
        here, inside = grey[crop], place[crop]
        known = np.isfinite(wanted)
        expected = np.where(known, wanted, here)
        off = np.abs(cv2.GaussianBlur(here - expected, (0, 0), 1.0))
        good = known & ~inside
        if not good.any():
            return cls(here, expected, np.zeros_like(inside), (0.0, 0.0), lattice)
        level = max(_DEVIATIONS * float(off[good].std()), _TOP_SHARE * float(np.quantile(off[inside], 0.95)))
        differs = _joined(inside & (off > level), lattice)
        low, high = (float(value) for value in np.quantile(here[good], _TONES))
        return cls(here, expected, differs, (low, high), lattice)

    def is_missing(self) -> bool:
        """Whether a thing of the cell is gone: one that stands by itself, or a piece of a thread."""
        if self.differs.sum() < _LEAST_PIXELS:
            return False
        here, wanted = self.grey[self.differs], self.expected[self.differs]
        if not here.std() > 0 < wanted.std() or np.corrcoef(here, wanted)[0, 1] > _STAYS:
            return False  # the structure is there, in another tone
        (low, high), tolerance = self.tones, 0.1 * (self.tones[1] - self.tones[0]) + 4
        shows_ground = (
            low - tolerance <= np.quantile(here, 0.1) and np.quantile(here, 0.9) <= high + tolerance
        )
        if shows_ground and self._stood_alone():
            return True
        middle = float(np.median(here))
        if middle > high + tolerance:
            return False  # brighter than all of the cell: it lies on top
        return self._is_thread(darker=middle < low, shows_ground=bool(shows_ground))

    def _stood_alone(self) -> bool:
        """Whether an even surface is seen in place of a thing, such as a hole, that stands out from it."""
        box = box_of(self.differs)
        pair = AlignedPair(self.expected, self.grey, None, None)
        return change_direction(pair, self.differs[box[1] : box[3], box[0] : box[2]], box) == "missing"

    def _is_thread(self, *, darker: bool, shows_ground: bool) -> bool:
        """Whether a piece of one thread is gone, by its shape along the lattice.

        Threads that touch leave a dark gap as wide as their spacing, without their structure; wires that
        don't leave one as wide as the wire that is expected there, in which the ground is seen.
        """
        import cv2

        y, x = np.nonzero(self.differs)
        centre, (width, height), degrees = cv2.minAreaRect(np.stack([x, y], 1).astype(np.float32))
        if width < height:
            width, height, degrees = height, width, degrees + 90
        length, thickness = width + 1, self.differs.sum() / (width + 1)
        off, spacing = self.lattice.nearest_lines(degrees)
        if length < _ELONGATION * (height + 1) or off > _PARALLEL or thickness > _WIDEST * spacing:
            return False
        if darker:
            return bool(thickness >= _NARROWEST * spacing)
        wire = self._wire_width(centre, degrees, length, spacing)
        return shows_ground and wire < _NARROWEST * spacing and thickness >= _NARROWEST * wire

    def _wire_width(
        self, centre: tuple[float, float], degrees: float, length: float, spacing: float
    ) -> float:
        """Width at half height of what is expected along a line through a place; inf where none is."""
        rows, columns = np.indices(self.grey.shape)
        x, y = columns - centre[0], rows - centre[1]
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        along, across = np.asarray(x * cosine + y * sine), np.asarray(y * cosine - x * sine)
        near = (np.abs(along) < length / 2 + spacing) & (np.abs(across) < 1.5 * spacing)
        places = np.rint(across[near]).astype(int)
        first = int(places.min())
        counts = np.maximum(np.bincount(places - first), 1)
        sign = np.sign(np.median((self.expected - self.grey)[self.differs]))
        profile = sign * np.bincount(places - first, self.expected[near]) / counts
        high = profile > (profile.min() + profile.max()) / 2
        labels, _ = label_components(high[None])
        middle = labels[0, max(0, -first - 1) : 2 - first].max()
        return float((labels == middle).sum()) if middle else math.inf


def _neighbours(
    grey: FloatArray, place: BoolArray, lattice: Lattice, crop: tuple[slice, slice]
) -> FloatArray:
    """Median over the neighbouring cells outside the place, float32 of the crop; NaN where there is none."""
    import cv2

    known = grey.copy()
    known[place] = np.nan
    height, width = place[crop].shape
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cells = []
    for i, j in itertools.product(range(-_CELLS, _CELLS + 1), repeat=2):
        if i == j == 0:
            continue
        dx, dy = lattice.step(i, j)
        matrix = np.array([[1, 0, dx + (crop[1].start or 0)], [0, 1, dy + (crop[0].start or 0)]], np.float64)
        cells.append(
            cv2.warpAffine(
                known,
                matrix,
                (width, height),
                flags=flags,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=float("nan"),
            )
        )
    ordered = np.sort(np.stack(cells), axis=0)  # NaN comes last
    counts = np.isfinite(ordered).sum(0)
    low, high = (np.maximum(counts - 1, 0) // 2, counts // 2)
    middle = [
        np.take_along_axis(ordered, np.minimum(rank, len(cells) - 1)[None], 0)[0] for rank in (low, high)
    ]
    return np.asarray((middle[0] + middle[1]) / 2, np.float32)


def _joined(differs: BoolArray, lattice: Lattice) -> BoolArray:
    """The largest of the parts of a place, which gaps within a cell do not part."""
    import cv2

    side = int(_GAP_SHARE * lattice.shortest) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    padded = np.pad(differs.astype(np.uint8), 2 * side)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, kernel)[2 * side : -2 * side, 2 * side : -2 * side] > 0
    labels, found = label_components(np.asarray(closed))
    areas = component_areas(labels, found)
    areas[0] = 0
    return np.asarray((labels == areas.argmax()) & closed)
