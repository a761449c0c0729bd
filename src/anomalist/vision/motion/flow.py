"""Optical flow and occupancy on a grid of cells: chained DIS flow, perspective, integral images.

Flow (DIS; Kroeger et al., ECCV 2016) is chained over half a second, so that swinging legs average out. The
windows of a body's size around each cell are summed by integral images (Crow 1984). The apparent height of a
body is linear in the row of the picture. Sizes are working pixels, speeds working pixels a second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from anomalist.types.common import BoolArray, Box, FloatArray, Frozen, UInt8Array

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class IntegralImages:
    """Integral images (summed-area tables; Crow 1984) of a mask and of the velocities inside it.

    Parameters
    ----------
    weight : float64 (H + 1, W + 1), foreground pixels.
    right, down : likewise, their velocities.
    """

    weight: Doubles
    right: Doubles
    down: Doubles

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the picture, pixels."""
        return self.weight.shape[0] - 1, self.weight.shape[1] - 1


def integral_images(mask: BoolArray, right: FloatArray, down: FloatArray) -> IntegralImages:
    """Sum up ``mask``, bool (H, W), and the velocities inside it, float32 (H, W) each."""
    import cv2

    weight = mask.astype(np.float32)
    layers = (weight, cv2.multiply(right, weight), cv2.multiply(down, weight))
    return IntegralImages(*(cv2.integral(layer, sdepth=cv2.CV_64F) for layer in layers))


_MIN_BLOB_AREA = 40  # pixels; smaller is noise
_HEIGHT_RANGE = 2.5  # times smaller or larger than the middle height at most, against wild extrapolation
_DEFAULT_HEIGHT = 0.1  # of the height of the picture, where nothing ever moved
_BANDS = 15  # of rows, over the height of the picture
_MIN_BODIES_IN_BAND = 20
_SINGLE_BODY_QUANTILE = 0.3  # of blob heights: groups are higher than one body, and more than fragments


class Perspective(Frozen):
    """Perspective of the scene: the height of a body is linear in the row of its centre.

    ``at_top`` is the height at row 0, ``slope`` its change per row, ``middle`` the typical height, in pixels;
    ``aspect`` is width by height, ``bodies`` how many blobs it was fitted to.
    """

    at_top: float
    slope: float
    middle: float
    aspect: float
    bodies: int

    def heights(self, rows: npt.NDArray[np.floating]) -> FloatArray:
        """Heights in pixels, at least 4, of bodies whose centres are at ``rows`` (float, any shape)."""
        line = self.at_top + self.slope * rows
        low = max(self.middle / _HEIGHT_RANGE, 4.0)
        out: FloatArray = np.clip(line, low, self.middle * _HEIGHT_RANGE).astype(np.float32)
        return out

    def row_heights(self, count: int) -> FloatArray:
        """Heights in pixels of bodies in each of so many rows of cells, float32 (count, 1)."""
        return self.heights(CELL_SIZE * (np.arange(count) + 0.5))[:, None]

    @property
    def body_cells(self) -> float:
        """Cells that a body of the typical height covers."""
        return self.middle**2 * self.aspect / CELL_SIZE**2

    def row_body_cells(self, count: int) -> FloatArray:
        """Cells that a body covers in each of so many rows of cells, float32 (count, 1)."""
        cells = self.row_heights(count) ** 2 * self.aspect / CELL_SIZE**2
        return np.asarray(cells, np.float32)


def cells_box(rows: npt.NDArray[np.integer], columns: npt.NDArray[np.integer], size: tuple[int, int]) -> Box:
    """Box around cells, whose rows and columns are int (n,), in working pixels.

    ``size`` is (height, width) of the picture: the last cells may reach beyond it.
    """
    y0, x0, y1, x1 = (
        int(each) * CELL_SIZE for each in (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
    )
    return x0, y0, min(x1, size[1]), min(y1, size[0])


def foreground_blobs(mask: BoolArray) -> tuple[Box, ...]:
    """Boxes of the connected components of a mask that are large enough and don't touch the border."""
    import cv2

    height, width = mask.shape
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    found = []
    for x, y, w, h, area in stats[1:].tolist():
        inside = x > 0 and y > 0 and x + w < width and y + h < height
        if inside and area >= _MIN_BLOB_AREA:
            found.append((x, y, x + w, y + h))
    return tuple(found)


def fit_perspective(boxes: Sequence[Box], height: int) -> Perspective:
    """Fit the perspective to the heights of single bodies in bands of rows (weighted least squares).

    Parameters
    ----------
    boxes : of blobs, pixels; groups and fragments among them.
    height : of the picture, pixels.
    """
    if len(boxes) < _MIN_BODIES_IN_BAND:
        middle = _DEFAULT_HEIGHT * height
        return Perspective(at_top=middle, slope=0.0, middle=middle, aspect=0.5, bodies=len(boxes))
    every = np.array(boxes, np.float64)
    tall, rows = every[:, 3] - every[:, 1], (every[:, 1] + every[:, 3]) / 2
    middle = float(np.quantile(tall, _SINGLE_BODY_QUANTILE))
    aspect = float(np.median((every[:, 2] - every[:, 0]) / tall))
    slope, at_top = _fit_height_line(rows, tall, height) or (0.0, middle)
    return Perspective(at_top=at_top, slope=slope, middle=middle, aspect=aspect, bodies=len(boxes))


def _fit_height_line(
    rows: npt.NDArray[np.float64], tall: npt.NDArray[np.float64], height: int
) -> tuple[float, float] | None:
    """Slope, and height at row 0, of the line through bands with enough bodies; None with fewer than two."""
    band = np.minimum((rows * _BANDS / height).astype(int), _BANDS - 1)
    full = [index for index in range(_BANDS) if (band == index).sum() >= _MIN_BODIES_IN_BAND]
    if len(full) < 2:
        return None
    single = [np.quantile(tall[band == index], _SINGLE_BODY_QUANTILE) for index in full]
    centre = [rows[band == index].mean() for index in full]
    weight = [np.sqrt((band == index).sum()) for index in full]
    slope, at_top = np.polyfit(centre, single, 1, w=weight)
    return float(slope), float(at_top)


FLOW_SPAN = 0.5
"""Seconds over which flow is chained."""
_FLOW_REDUCTION = 2  # flow is computed at half of the working size; whole size costs five times as much
_FLOW_LEAST = 12  # pixels of a side that DIS computes flow on; it may refuse less


class ChainedFlow:
    """Backward optical flow (DIS; Kroeger et al., ECCV 2016), chained over ``FLOW_SPAN`` seconds.

    The velocity of a pixel is its displacement over the last half second, by the time between. Limbs that
    swing to and fro cancel out; the motion of the whole body remains.

    Parameters
    ----------
    height, width : of the grey pictures that will come, pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        import cv2

        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._dis.setFinestScale(0)
        self._size = height, width
        self._reduced = max(height // _FLOW_REDUCTION, 1), max(width // _FLOW_REDUCTION, 1)
        self._grid = pixel_places(*self._reduced)
        self._larger = np.divide(self._size[::-1], self._reduced[::-1]).astype(np.float32)
        self._steps: deque[tuple[float, FloatArray]] = deque()
        self._last: tuple[float, UInt8Array] | None = None

    def reset(self) -> None:
        """Forget the frames so far, after a cut."""
        self._steps.clear()
        self._last = None

    @property
    def steps(self) -> list[tuple[float, FloatArray]]:
        """Seconds and displacement back of each step that is chained, the newest first.

        float32 (h, w, 2), pixels of the reduced picture that flow is computed on; none after one picture.
        """
        end, found = self._last[0] if self._last else 0.0, []
        for begin, step in self._steps:
            found.append((end - begin, step))
            end = begin
        return found

    def velocity(self, grey: UInt8Array, time: float) -> FloatArray:
        """Velocities at ``time``.

        Parameters
        ----------
        grey : uint8 (H, W).
        time : seconds, later than at the last call.

        Returns
        -------
        float32 (H, W, 2), pixels a second to the right and down; zero for the first picture.
        """
        import cv2

        small = cv2.resize(grey, self._reduced[::-1], interpolation=cv2.INTER_AREA)
        if self._last is None:
            self._last = (time, small)
            return np.zeros((*self._size, 2), np.float32)
        then, before = self._last
        self._steps.appendleft((then, self._step_back(small, before)))
        self._last = (time, small)
        while len(self._steps) > 1 and time - self._steps[-1][0] > FLOW_SPAN * 1.01:  # 1.01: clocks round
            self._steps.pop()
        velocity = self._displacement_back() * (self._larger / np.float32(self._steps[-1][0] - time))
        return np.asarray(cv2.resize(velocity, self._size[::-1], interpolation=cv2.INTER_LINEAR), np.float32)

    def _step_back(self, grey: UInt8Array, before: UInt8Array) -> FloatArray:
        """Displacement of each pixel of a reduced picture back to the one before, float32 (h, w, 2)."""
        import cv2

        height, width = self._reduced
        down, right = (max(_FLOW_LEAST - side, 0) for side in (height, width))
        if down or right:  # a narrow strip: its edge goes on
            grey, before = (
                np.asarray(cv2.copyMakeBorder(each, 0, down, 0, right, cv2.BORDER_REPLICATE), np.uint8)
                for each in (grey, before)
            )
        return np.ascontiguousarray(self._dis.calc(grey, before, None)[:height, :width], np.float32)

    def _displacement_back(self) -> FloatArray:
        """Displacement of each pixel of the reduced picture back to the oldest frame, float32 (h, w, 2)."""
        displacement: FloatArray = self._steps[0][1].copy()
        for _, step in list(self._steps)[1:]:
            displacement += remap_flow(step, self._grid + displacement)
        return displacement


def pixel_places(height: int, width: int) -> FloatArray:
    """The place (x, y) of each pixel of a picture, float32 (height, width, 2)."""
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)


def remap_flow(field: FloatArray, at: FloatArray) -> FloatArray:
    """A vector field, float32 (h, w, 2), read at places (x, y), float32 (h, w, 2), in pixels."""
    import cv2

    out: FloatArray = cv2.remap(field, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return out


CELL_SIZE = 4
"""Side of a cell, working pixels."""
# Window relative to a body: less than its height, so that two rows of people stay apart.
_WINDOW_HEIGHT, _WINDOW_WIDTH = 0.75, 1.1
_STILL_SHARE = 0.1  # of the window, averaged in as still: a few stray pixels must have no speed


@dataclass(frozen=True, eq=False)
class MotionGrid:
    """Occupancy and velocity of one frame on a grid of cells of 4 × 4 working pixels.

    Parameters
    ----------
    occupancy : float32 (gh, gw), share of foreground in the window around the cell, 0 to 1.
    velocity : float32 (gh, gw, 2), its mean velocity to the right and down, pixels a second.
    """

    occupancy: FloatArray
    velocity: FloatArray

    def __post_init__(self) -> None:
        if self.velocity.shape != (*self.occupancy.shape, 2):
            raise TypeError(f"velocity must be {(*self.occupancy.shape, 2)}, got {self.velocity.shape}")

    @cached_property
    def speed(self) -> FloatArray:
        """float32 (gh, gw), pixels a second."""
        out: FloatArray = np.hypot(self.velocity[..., 0], self.velocity[..., 1])
        return out


def grid_shape(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of cells that cover a picture; the last ones may reach beyond it."""
    return -(-height // CELL_SIZE), -(-width // CELL_SIZE)


class BodyWindows:
    """Sums over body-sized windows around every cell, by integral images.

    Parameters
    ----------
    height, width : of the working picture, pixels.
    perspective : of the scene.
    scale : of the windows; 1 for bodies, larger for their surroundings.
    """

    def __init__(self, height: int, width: int, perspective: Perspective, scale: float = 1.0) -> None:
        gh, gw = grid_shape(height, width)
        rows, columns = (CELL_SIZE * (np.arange(count) + 0.5) for count in (gh, gw))
        body = perspective.heights(rows)
        half_h = scale * _WINDOW_HEIGHT * body / 2
        half_w = scale * np.maximum(_WINDOW_WIDTH * body * perspective.aspect, 6.0) / 2
        y0, y1 = (_clip_to_pixels(rows + s * half_h, height)[:, None] for s in (-1, 1))
        x0, x1 = (_clip_to_pixels(columns + s * half_w[:, None], width) for s in (-1, 1))
        self.area = np.maximum((y1 - y0) * (x1 - x0), 1).astype(np.float32)
        corners = ((y1, x1), (y1, x0), (y0, x1), (y0, x0))
        self._corners = [y * (width + 1) + x for y, x in corners]  # of each window, in a flat table

    def sums(self, table: Doubles) -> FloatArray:
        """Sums over every window by an integral image, float64 (H + 1, W + 1), as float32 (gh, gw)."""
        flat = table.ravel()
        last, left, above, first = (flat.take(corner) for corner in self._corners)
        out: FloatArray = ((last - left) - (above - first)).astype(np.float32)
        return out

    def movement(self, integrals: IntegralImages) -> MotionGrid:
        """Occupancy and mean velocity of the foreground, from its integral images."""
        count = self.sums(integrals.weight)
        total = [self.sums(integrals.right), self.sums(integrals.down)]
        mean = np.stack(total, axis=-1) / (count + _STILL_SHARE * self.area)[..., None]
        return MotionGrid(count / self.area, mean.astype(np.float32))


def _clip_to_pixels(edge: npt.NDArray[np.floating], length: int) -> npt.NDArray[np.intp]:
    out: npt.NDArray[np.intp] = np.clip(np.rint(edge), 0, length).astype(np.intp)
    return out
