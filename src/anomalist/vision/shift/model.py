"""Model of what the pictures of a product are like as a whole, learned from its normal pictures.

It says what of a new picture differs as a whole (covariate shift), takes small differences out before the
picture is scored, and names large ones, with which no place of it can be judged. How far a characteristic
may go is the range of the normal pictures and of the same pictures after small changes that every line has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from anomalist.types.common import BoolArray, FloatArray, UInt8Array
from anomalist.types.shift import InputChange, InputShift
from anomalist.vision.alignment import Matrix, resize_matrix
from anomalist.vision.regions import resize_roi_to_grid
from anomalist.vision.resampling import warp_cubic
from anomalist.vision.shift.arithmetic import (
    Array,
    coarseness,
    gains_contrast,
    grain_part,
    halved_share,
    on_grid,
    same_format,
    template_size,
)
from anomalist.vision.shift.comparison import Comparison, MeanPicture
from anomalist.vision.shift.lattice import LatticeComparison
from anomalist.vision.shift.registration import (
    Grain,
    Pose,
    Template,
    band_pass,
    full_size_matrix,
    seen_share,
    shape_of,
)
from anomalist.vision.shift.statistics import (
    ImageStatistics,
    UsualLight,
    jpeg_of,
    measure_statistics,
    statistic_row,
)

LIGHT, POSE, SIZE, COMPRESSION = "light", "pose", "size", "compression"
"""What a score may be corrected for."""
STATISTICS = ("brightness", "red", "blue", "contrast", "sharpness", "luma noise", "chroma noise", "structure")
POSES = ("dx", "dy", "degrees", "scale")
LEVELS = (1.0, 0.5, 0.25)  # sizes, of that of the normals, at which statistics are compared
_LIGHT_MARGIN = (math.log(0.80), math.log(1.25))
_LIGHT_NOISE, _LIGHT_SHARE = 0.04, 0.5  # beyond the range of the normals, at least and as a share of it
_COLOUR_MARGIN, _CONTRAST_MARGIN = 0.3, 0.6
_RANGE_MARGIN, _RANGE_MARGIN_FEW, _LEAST_MARGIN = 0.35, 3.0, 0.25
_BLANK_MARGIN = 1.2
_POSE_MARGIN = np.array(
    [0.0255, 1.8, math.log(1.07)]
)  # of shift, turn, scale: up to 2 % and 1 degree are small
_POSE_NOISE = np.array([0.004, 0.004, 0.3, 0.01])
_COARSEST_QUALITY, _COARSER = 50.0, 1.5
_UNLIKE_MARGIN, _UNLIKE_SHARE = 1.5, 0.8
_EXACT_PIXELS = 256 * 256  # of a picture that is moved bit for bit as by the runner, which is slow
_MAX_COMPARED = 25_000_000  # pixels of a picture that is compared with the mean, for the memory that takes


@dataclass(frozen=True, eq=False)
class InputSample:
    """One normal picture as a whole: its size, statistics and structure."""

    size: tuple[int, int]
    statistics: ImageStatistics
    structure: FloatArray

    @classmethod
    def of(cls, pixels: UInt8Array, roi: BoolArray | None) -> InputSample:
        """Measure a picture, uint8 (H, W, 3)."""
        size = pixels.shape[0], pixels.shape[1]
        statistics = measure_statistics(pixels, resize_roi_to_grid(roi, pixels.shape))
        return cls(size, statistics, band_pass(pixels, template_size(*size)))


@dataclass(frozen=True, eq=False)
class AssessedInput:
    """A picture as it is to be scored.

    Parameters
    ----------
    shift : what differs as a whole, for the record; the correction of the score is in it.
    pixels : uint8 (H, W, 3), with small differences taken out.
    matrix : float64 (3, 3), from pixels of ``pixels`` to pixels of the picture given; None where it was not
        moved.
    """

    shift: InputShift
    pixels: UInt8Array
    matrix: Matrix | None
    comparison: Comparison | LatticeComparison | None = None


@dataclass(frozen=True, eq=False)
class InputModel:
    """Model of whole pictures of one product.

    Parameters
    ----------
    size : height and width of the normal pictures; None where they differ.
    usual : light of the normals.
    normals : float64 (n, 8), statistics of the normals, see ``STATISTICS``.
    low, high : float64 (3, 8), ranges at full, half and quarter size, small changes included.
    template, grain : of a product that always lies alike, and of a texture with a direction; or neither.
    poses : float64 (m, 4), of the normals, see ``POSES``.
    expected, found : agreement that normals have at least, and from which it is the product.
    quality : JPEG quality of the worst normal.
    corrections : what each correction leaves in the score.
    typical : median and largest of the normals' own medians of the anomaly map; None before calibration.
    picture : mean of the normals, where there is a template.
    """

    size: tuple[int, int] | None
    usual: UsualLight
    normals: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    template: Template | None
    grain: Grain | None
    poses: npt.NDArray[np.float64]
    expected: float
    found: float
    quality: float
    corrections: Mapping[str, float] = field(default_factory=dict)
    typical: tuple[float, float] | None = None
    picture: MeanPicture | None = None

    def assess(self, given: UInt8Array, roi: BoolArray | None = None) -> AssessedInput:
        """Compare a picture, uint8 (H, W, 3), with the normals as a whole, and take small differences out."""
        pixels, level, resized, format_change = self._resized(given)
        sized = at_level(pixels, level)
        statistics = measure_statistics(sized, resize_roi_to_grid(roi, sized.shape))
        values = statistic_row(statistics, self.usual)
        pose = self._pose(pixels)
        quality = min(statistics.jpeg, jpeg_of(given)) if resized else statistics.jpeg
        changes = list(format_change)
        changes += self._structure_changes(values, pose, level)
        if not changes:
            changes = [*self._light_changes(values), *self._quality_changes(values, quality, level, pose)]
            changes += self._pose_changes(pose)
        shown = dict(zip(STATISTICS, values.tolist(), strict=True))
        if pose is not None:
            shown |= dict(zip(POSES, pose_row(pose).tolist(), strict=True)) | {"agreement": pose.agreement}
        shown = {name: round(value, 4) for name, value in shown.items()}
        if changes:
            return AssessedInput(InputShift(statistics=shown, changes=tuple(changes)), given, None)
        return self._corrected(given, pixels, values, pose, quality, resized, shown)

    def unlike(
        self, score_map: FloatArray, roi: BoolArray | None = None, *, corrected: float = 0.0
    ) -> InputChange | None:
        """That a picture is strange nearly all over, by its anomaly map: another thing, not a place on it.

        Asked only where neither template nor grain tell the product. The map is too high by ``corrected``.
        """
        if self.typical is None or self.template is not None or self.grain is not None:
            return None
        usual, most = (each + corrected for each in self.typical)
        inside = resize_roi_to_grid(roi, score_map.shape)
        counting = score_map.ravel() if inside is None else score_map[inside]
        value, peak = float(np.median(counting)), float(counting.max())
        # A strong defect lifts the map around it, too, but not to half of its own height.
        spread = peak > usual and (counting > (usual + peak) / 2).mean() > _UNLIKE_SHARE
        if not spread or value <= most + _UNLIKE_MARGIN * (most - usual):
            return None
        return InputChange(name="product", value=value - corrected, words=_NOT_THE_PRODUCT)

    def times_as_large(self, size: tuple[int, int]) -> float:
        """Area of a picture of a (height, width) that is scored as it is, in that of the normals; else 1."""
        judged_whole = self.template is not None  # in their format; in another one it isn't judged at all
        if judged_whole or self.size is None or same_format(size, self.size):
            return 1.0
        return size[0] * size[1] / (self.size[0] * self.size[1])

    def _resized(self, given: UInt8Array) -> tuple[UInt8Array, int, bool, tuple[InputChange, ...]]:
        """The picture at the size of the normals, and the level of size at which its statistics compare."""
        if self.size is None or given.shape[:2] == self.size:
            return given, 0, False, ()
        height, width = self.size
        factors = given.shape[0] / height, given.shape[1] / width
        if not same_format(shape_of(given), self.size):
            if self.template is None:
                return given, 0, False, ()  # a longer strip of the same
            words = f"of another format, {given.shape[1]}×{given.shape[0]} in place of {width}×{height}"
            return given, 0, False, (InputChange(name="format", value=factors[1] / factors[0], words=words),)
        factor = _size_factor(shape_of(given), self.size)
        level = int(np.argmin([abs(math.log(factor / each)) for each in LEVELS])) if factor < 1 else 0
        return resize(given, self.size), level, True, ()

    def _pose(self, pixels: UInt8Array) -> Pose | None:
        if self.template is not None:
            structure = band_pass(pixels, template_size(*pixels.shape[:2]))
            if structure.shape != self.template.structure.shape:
                return None
            return self.template.register(structure, accepted=self.expected)
        if self.grain is None or self.size is None:
            return None
        window, reduced = grain_part(pixels.shape, self.size)
        return self.grain.register(band_pass(pixels[window], reduced))

    def _structure_changes(
        self, values: npt.NDArray[np.float64], pose: Pose | None, level: int
    ) -> Iterator[InputChange]:
        place = STATISTICS.index("structure")
        if values[place] < self.low[level, place] - _BLANK_MARGIN:
            yield InputChange(name="blank", value=float(values[place]), words="blank, nothing is in it")
        elif pose is not None and pose.agreement < self.found:
            yield InputChange(name="product", value=round(pose.agreement, 4), words=_NOT_THE_PRODUCT)

    def _light_changes(self, values: npt.NDArray[np.float64]) -> Iterator[InputChange]:
        lowest, highest = self.normals.min(0), self.normals.max(0)
        light, red, blue, contrast = values[:4].tolist()
        if not lowest[0] + _LIGHT_MARGIN[0] <= light <= highest[0] + _LIGHT_MARGIN[1]:
            yield _brightness(light)
        beyond = np.maximum(values - highest, lowest - values)[1:3]
        if beyond.max() > _COLOUR_MARGIN:
            yield InputChange(
                name="colour", value=round(float(max((red, blue), key=abs)), 4), words=_tint(red, blue)
            )
        flatter, harder = lowest[3] - contrast, contrast - highest[3]
        harder = harder if gains_contrast(self.usual.quantiles, light, contrast) else 0.0
        if max(flatter, harder) > _CONTRAST_MARGIN:
            how = "flatter" if contrast < 0 else "harder"
            words = f"{how} in contrast by {abs(math.expm1(contrast)):.0%}"
            yield InputChange(name="contrast", value=round(math.exp(contrast), 4), words=words)

    def _quality_changes(
        self, values: npt.NDArray[np.float64], quality: float, level: int, pose: Pose | None
    ) -> Iterator[InputChange]:
        if coarseness(quality) > _COARSER * coarseness(min(self.quality, _COARSEST_QUALITY)) - 1e-9:
            words = f"coarsely compressed (JPEG quality about {quality:.0f})"
            yield InputChange(name="compression", value=quality, words=words)
            return
        margin, usual = _RANGE_MARGIN + _RANGE_MARGIN_FEW / len(self.normals), np.median(self.normals, 0)
        high, low = self.high[level], self.low[level]
        above = values - high - np.maximum(_LEAST_MARGIN, margin * np.maximum(high - usual, 0))
        below = low - np.maximum(_LEAST_MARGIN, margin * np.maximum(usual - low, 0)) - values
        noise = [STATISTICS.index("luma noise"), STATISTICS.index("chroma noise")]
        if above[noise].max() > 0:
            most = float((values - self.high[level])[noise].max())
            yield InputChange(
                name="noise", value=round(most, 4), words=f"noisier, {math.exp(most):.1f} times as much"
            )
            return
        enlarged = pose is not None and pose.scale > math.exp(self.poses[:, 3].max() + _POSE_MARGIN[2])
        place = STATISTICS.index("sharpness")
        if below[place] > 0 and not enlarged:
            # A smaller picture has another share of fine detail: it is compared with normals of its size.
            usually = (high + low)[place] / 2 if level else self.normals[:, place].mean()
            lost = float(usually - values[place])
            words = f"blurred, fine detail is {math.exp(-lost):.0%} of the usual"
            yield InputChange(name="sharpness", value=round(-lost, 4), words=words)

    def _pose_changes(self, pose: Pose | None) -> Iterator[InputChange]:
        if pose is None or (self.template is None and pose.agreement < self.expected):
            return
        usual = np.median(self.poses, 0)
        off, reach = pose_row(pose) - usual, float(np.hypot(*(self.poses - usual)[:, :2].T).max())
        beyond = self._excess(pose)[2:] - _POSE_MARGIN[1:]
        shifted = bool(np.hypot(*off[:2]) > reach + _POSE_MARGIN[0])
        yield from self._off_pose(off, shifted, beyond[0] > 0, beyond[1] > 0)

    def _off_pose(self, off: Array, shifted: bool, turned: bool, scaled: bool) -> Iterator[InputChange]:
        """The parts of a pose that are off, ``off`` (4,) from that of the normals, see ``POSES``."""
        if shifted:
            yield InputChange(
                name="shift",
                value=round(float(np.hypot(*off[:2])), 4),
                words=self._shift_words(off[0], off[1]),
            )
        if turned:
            way = "clockwise" if off[2] > 0 else "counter-clockwise"
            yield InputChange(
                name="rotation", value=round(float(off[2]), 2), words=f"turned by {abs(off[2]):.1f}° {way}"
            )
        if scaled:
            factor = math.exp(off[3])
            how = "larger" if factor > 1 else "smaller"
            yield InputChange(
                name="scale", value=round(factor, 4), words=f"{how} in the picture by {abs(factor - 1):.0%}"
            )

    def _shift_words(self, dx: float, dy: float) -> str:
        height, width = self.size or (1, 1)
        across, down = dx * max(height, width), dy * max(height, width)
        parts = [
            f"{abs(value):.0f} px {ways[int(value > 0)]}"
            for value, ways in ((across, ("to the left", "to the right")), (down, ("up", "down")))
            if abs(value) >= 0.5
        ]
        if not parts:
            return "moved by less than a pixel"
        return f"moved by {math.hypot(across, down):.0f} px ({', '.join(parts)})"

    def _corrected(
        self,
        given: UInt8Array,
        pixels: UInt8Array,
        values: npt.NDArray[np.float64],
        pose: Pose | None,
        quality: float,
        resized: bool,
        shown: Mapping[str, float],
    ) -> AssessedInput:
        done: list[InputChange] = []
        left: list[float] = []
        matrix = None
        if resized:
            factor = _size_factor(shape_of(given), shape_of(pixels))
            words = _size_words(factor, shape_of(given), shape_of(pixels))
            done.append(InputChange(name="scale", value=round(factor, 4), words=words))
            left.append(halved_share(factor) * self.corrections.get(SIZE, 0.0))
            matrix = resize_matrix((pixels.shape[0], pixels.shape[1]), (given.shape[0], given.shape[1]))
        lit, light = self._relit(pixels, values)
        if light is not None:
            done.append(light)
            left.append(self.corrections.get(LIGHT, 0.0))
        if self.template is not None and pose is not None:
            off, beyond = pose_row(pose) - np.median(self.poses, 0), self._excess(pose) > _POSE_NOISE
            move = self._move(pose, off, beyond, (pixels.shape[0], pixels.shape[1]))
            if move is not None:
                lit = self._moved(lit, move)
                matrix = move if matrix is None else matrix @ move
                done += self._off_pose(off, bool(beyond[:2].any()), beyond[2], beyond[3])
                left.append(self.corrections.get(POSE, 0.0))
        if coarseness(quality) > 1.05 * coarseness(self.quality):
            share = min(1.0, coarseness(quality) / coarseness(_COARSEST_QUALITY))
            words = f"compressed (JPEG quality about {quality:.0f})"
            done.append(InputChange(name="compression", value=quality, words=words))
            left.append(share * self.corrections.get(COMPRESSION, 0.0))
        total = round(float(sum(left)), 4)
        shift = InputShift(statistics=shown, corrected=tuple(done), score_correction=total)
        larger = given if given.shape[0] > pixels.shape[0] else pixels
        return AssessedInput(shift, lit, matrix, self._compare(larger, pose))

    def _moved(self, pixels: UInt8Array, move: Matrix) -> UInt8Array:
        """The picture in the frame of the normals, where it is not seen filled from a normal one."""
        moved = warp(pixels, move)
        if self.picture is None:
            return moved
        size = shape_of(pixels)
        return self.picture.fill(moved, seen_share(size, move, size))

    def _compare(self, given: UInt8Array, pose: Pose | None) -> Comparison | LatticeComparison | None:
        if self.template is None:
            return LatticeComparison(given)
        if self.picture is None or pose is None:
            return None
        if given.shape[0] * given.shape[1] > _MAX_COMPARED:
            return None
        template, frame = shape_of(self.template.structure), shape_of(self.picture.mean)
        return self.picture.compare(given, full_size_matrix(pose.matrix, template, shape_of(given), frame))

    def _relit(
        self, pixels: UInt8Array, values: npt.NDArray[np.float64]
    ) -> tuple[UInt8Array, InputChange | None]:
        """Bring brightness and colour to the nearest that a normal has."""
        low, high = self.normals[:, :3].min(0), self.normals[:, :3].max(0)
        light = np.clip(values[:3], low, high) - values[:3]
        if (np.abs(light) < np.maximum(_LIGHT_NOISE, _LIGHT_SHARE * (high - low))).all():
            return pixels, None
        red, blue = light[1], light[2]
        green = light[0] - (red + blue) / 3
        factors = np.exp([green + red, green, green + blue]).astype(np.float32)
        change = (
            _brightness(-float(light[0]))
            if abs(light[0]) >= np.abs(light[1:]).max()
            else InputChange(
                name="colour",
                value=round(float(max(values[1:3], key=abs)), 4),
                words=_tint(values[1], values[2]),
            )
        )
        return np.clip(pixels * factors + 0.5, 0, 255).astype(np.uint8), change

    def _excess(self, pose: Pose) -> Array:
        """How far each part of a pose is beyond those of the normals, negative within them, float64 (4,)."""
        row = pose_row(pose)
        return np.asarray(np.maximum(row - self.poses.max(0), self.poses.min(0) - row))

    def _move(self, pose: Pose, off: Array, beyond: BoolArray, size: tuple[int, int]) -> Matrix | None:
        """Matrix from the picture, moved back to where normals lie, to the picture; None if it lies there.

        Where only the place is off, by whole pixels, so that nothing is blurred.
        """
        if not beyond.any():
            return None
        if not beyond[2:].any():
            dx, dy = np.rint(off[:2] * max(size))
            return np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1]], np.float64)
        return full_size_matrix(on_grid(pose.matrix), template_size(*size), size)


_NOT_THE_PRODUCT = "not this product, or nothing of it can be seen"


def pose_row(pose: Pose) -> npt.NDArray[np.float64]:
    """Pose as float64 (4,): shift to the right and down, degrees, logarithm of the scale."""
    return np.array([pose.dx, pose.dy, pose.degrees, math.log(pose.scale)], np.float64)


def resize(pixels: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """Resize a picture to (height, width): averaged when it shrinks, cubic when it grows."""
    import cv2

    how = cv2.INTER_AREA if size[0] < pixels.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size[::-1], interpolation=how), np.uint8)


def warp(pixels: UInt8Array, matrix: Matrix) -> UInt8Array:
    """Picture in the frame of a matrix from that frame to the picture; its borders are mirrored outwards."""
    height, width = pixels.shape[:2]
    if height * width <= _EXACT_PIXELS:
        return np.asarray(warp_cubic(pixels, matrix), np.uint8)
    import cv2

    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(pixels, matrix[:2], (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, np.uint8)


def warp_back(score_map: FloatArray, matrix: Matrix, size: tuple[int, int]) -> FloatArray:
    """Map of a moved picture in the frame of the picture that was given, float32 of ``size`` (H, W)."""
    import cv2

    moved = cv2.warpAffine(
        score_map, matrix[:2], size[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(moved, np.float32)


def at_level(pixels: UInt8Array, level: int) -> UInt8Array:
    """Picture at a level of size: full, half or a quarter."""
    if not level:
        return pixels
    return resize(
        pixels,
        (max(8, round(pixels.shape[0] * LEVELS[level])), max(8, round(pixels.shape[1] * LEVELS[level]))),
    )


def _size_factor(given: tuple[int, int], usual: tuple[int, int]) -> float:
    """Factor between two sizes (height, width) that are alike in format."""
    return math.sqrt(given[0] / usual[0] * (given[1] / usual[1]))


def _size_words(factor: float, given: tuple[int, int], usual: tuple[int, int]) -> str:
    if f"{factor:.3g}" == "1":
        return f"{given[1]}×{given[0]} in place of {usual[1]}×{usual[0]} pixels"
    return f"a picture of {factor:.3g} times the size"


def _brightness(light: float) -> InputChange:
    how = "brighter" if light > 0 else "darker"
    return InputChange(
        name="brightness", value=round(math.exp(light), 4), words=f"{how} by {abs(math.expm1(light)):.0%}"
    )


def _tint(red: float, blue: float) -> str:
    """What the light looks like, by the logarithms of its red and blue against its green."""
    usual = (red + blue) / 3
    if abs(usual) > max(abs(red - usual), abs(blue - usual)):  # green differs most
        return "greener" if usual < 0 else "more magenta"
    if abs(red - blue) >= max(abs(red), abs(blue)):
        return "in warmer light" if red > blue else "in colder light"
    if abs(blue) >= abs(red):
        return "bluer" if blue > 0 else "yellower"
    return "redder" if red > 0 else "more cyan"
