"""From what moves in a frame to how unusual that is, where, and which object it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anomalist.clips import MeasureName, TroubleKind
from anomalist.types import BoolArray, FloatArray
from anomalist.vision.motion.appearance import Strangeness
from anomalist.vision.motion.eye import Glimpse
from anomalist.vision.motion.measures import MEASURES, PLACES, Dwelling, Limits, at_places, of_whole
from anomalist.vision.motion.movement import CELL
from anomalist.vision.motion.perspective import Perspective
from anomalist.vision.motion.surprise import Norms

_TOP = 0.2  # of the cells of one body: the highest ones stand for the frame


@dataclass(frozen=True, eq=False)
class Measurement:
    """The measures of one frame.

    Parameters
    ----------
    values : float32 (9,), in the order of ``MEASURES``; NaN when the frame can't be judged.
    places : for each of ``PLACES`` float32 (gh, gw).
    """

    time: float
    trouble: TroubleKind | None
    values: FloatArray
    places: dict[MeasureName, FloatArray]

    @property
    def judged(self) -> bool:
        """Whether the frame could be judged."""
        return bool(np.isfinite(self.values).all())


class Gauge:
    """Takes the measures of the frames of one clip, in order.

    Parameters
    ----------
    looks : what tells how things look.
    counts : bool (gh, gw), which places count; what is in zones to be ignored doesn't.
    """

    def __init__(
        self,
        limits: Limits,
        perspective: Perspective,
        looks: Strangeness,
        counts: BoolArray | None = None,
    ) -> None:
        grid = limits.speed.shape
        self._limits = limits
        self._counts = np.ones(grid, np.bool_) if counts is None else counts
        self._dwelling = Dwelling(grid)
        self._looks = looks
        body = perspective.middle**2 * perspective.aspect / CELL**2
        self._top = int(np.clip(round(_TOP * body), 1, max(self._counts.sum(), 1)))
        self._last: float | None = None

    def measure(self, glimpse: Glimpse) -> Measurement:
        """Measure the next frame."""
        elapsed = 0.0 if self._last is None else glimpse.time - self._last
        self._last = glimpse.time
        if glimpse.fresh or glimpse.trouble is not None:
            self._dwelling.forget()
            self._looks.forget()
            unknown = np.full(len(MEASURES), np.nan, np.float32)
            nothing = np.zeros(self._counts.shape, np.float32)
            return Measurement(glimpse.time, glimpse.trouble, unknown, dict.fromkeys(PLACES, nothing))
        dwelt = self._dwelling.after(elapsed, glimpse.movement, self._limits)
        strange = self._looks.after(glimpse)
        maps = at_places(glimpse.movement, glimpse.around, dwelt, strange, self._limits)
        places = {name: np.where(self._counts, maps[name], 0).astype(np.float32) for name in PLACES}
        whole = of_whole(glimpse.movement, self._limits)
        values = [self._highest(places[n]) if n in places else whole[n] for n in MEASURES]
        return Measurement(glimpse.time, None, np.array(values, np.float32), places)

    def _highest(self, values: FloatArray) -> float:
        flat = values.ravel()
        return float(np.partition(flat, -self._top)[-self._top :].mean())


def anomaly_map(measurement: Measurement, norms: Norms) -> FloatArray:
    """The surprise of every place: the highest of its measures, float32 (gh, gw)."""
    out: FloatArray = np.max([norms[name].surprise(measurement.places[name]) for name in PLACES], axis=0)
    return out


def surprises(values: FloatArray, norms: Norms) -> dict[MeasureName, float]:
    """The surprise of every measure of one frame (float32 (9,))."""
    return {name: float(norms[name].surprise(values[i])) for i, name in enumerate(MEASURES)}
