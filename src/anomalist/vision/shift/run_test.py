"""Test of a run of pictures for drift: conformal test martingales on characteristics of whole pictures.

Under exchangeability with the normal pictures and with each other, the rank of each new value among all
before it gives independent uniform p-values; a bet against that gains only when the run drifts (Vovk et al.
2022, the Simple Jumper). By Ville's inequality the capital exceeds 1/α at any time with probability α at
most, so the run may be watched without end.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from anomalist.types.image import Evidence, EvidenceSummary
from anomalist.types.shift import Characteristic, InputShift, RunDrift
from anomalist.vision.shift.model import POSES, STATISTICS, InputModel

FALSE_ALARM_RATE = 0.03
"""Share of the runs without drift in which drift is found, at most."""
WATCHED: Mapping[str, Characteristic] = {
    "brightness": "brightness",
    "red": "colour",
    "blue": "colour",
    "contrast": "contrast",
    "sharpness": "sharpness",
    "luma noise": "noise",
    "chroma noise": "noise",
    "dx": "shift",
    "dy": "shift",
    "degrees": "rotation",
    "scale": "scale",
}
"""Statistics that are watched, and what they are of."""
_WITH_PLACE = ("shift", "rotation", "scale", "format", "product", "blank")
_BETS = (-2.0, -1.0, 0.0, 1.0, 2.0)
_JUMP = 0.01  # of the capital that is spread over the bets again at each step


@dataclass
class Martingale:
    """Conformal test martingale of one characteristic.

    Parameters
    ----------
    values : sorted, of the normals and of the run so far.
    rng : draws where a new value lies among equal ones.
    """

    values: list[float]
    rng: np.random.Generator
    capitals: list[float] = field(default_factory=lambda: [1 / len(_BETS)] * len(_BETS))

    @property
    def capital(self) -> float:
        """Capital, of one at the start: what the bets against exchangeability have made of it."""
        return sum(self.capitals)

    def observe(self, value: float) -> float:
        """Bet on the rank of a value, and take it into the values; returns the capital."""
        below, upto = bisect.bisect_left(self.values, value), bisect.bisect_right(self.values, value)
        p = (below + float(self.rng.uniform()) * (upto - below + 1)) / (len(self.values) + 1)
        self.values.insert(upto, value)
        total = sum(self.capitals)
        moved = [(1 - _JUMP) * each + _JUMP * total / len(_BETS) for each in self.capitals]
        self.capitals = [each * (1 + bet * (p - 0.5)) for each, bet in zip(moved, _BETS, strict=True)]
        return self.capital


class RunTest:
    """Test whether the pictures of a run are like the normal ones, one after the other.

    Parameters
    ----------
    model : of whole pictures, with the statistics of its normals.
    seed : of the draws between equal values.
    """

    def __init__(self, model: InputModel, seed: int = 0) -> None:
        known = dict(zip(STATISTICS, model.normals.T, strict=True))
        if model.template is not None:
            known |= dict(zip(POSES, model.poses.T, strict=True))
        elif model.grain is not None:
            known |= dict(zip(POSES[2:], model.poses.T[2:], strict=True))
        self._martingales = {
            name: Martingale(
                sorted(round(float(value), 4) for value in known[name]), np.random.default_rng((seed, i))
            )
            for i, name in enumerate(WATCHED)
            if name in known
        }
        self._usual = {name: float(np.median(each.values)) for name, each in self._martingales.items()}
        self._lowest = dict.fromkeys(self._martingales, (1.0, 0))
        self._since: dict[str, list[float]] = {name: [] for name in self._martingales}
        self._count = 0
        self._drift: RunDrift | None = None

    def observe(self, shift: InputShift) -> RunDrift | None:
        """Take the next picture of the run; the drift, once there is enough evidence for one."""
        self._count += 1
        # What lies elsewhere changes other statistics, too, and these would hide what happened.
        moved = any(change.name in _WITH_PLACE for change in shift.changes)
        seen = {name: value for name, value in shift.statistics.items() if not moved or name in POSES}
        for name, capital in self._bets(seen):
            if capital < self._lowest[name][0]:
                self._lowest[name] = capital, self._count
                self._since[name].clear()
            if self._drift is None and capital >= len(self._martingales) / FALSE_ALARM_RATE:
                self._drift = self._found(name, capital)
        return self._drift

    def _bets(self, statistics: Mapping[str, float]) -> Iterator[tuple[str, float]]:
        for name, martingale in self._martingales.items():
            value = statistics.get(name)
            if value is not None and math.isfinite(value):
                if self._drift is None:
                    self._since[name].append(value)
                yield name, martingale.observe(value)

    def _found(self, name: str, capital: float) -> RunDrift:
        since = self._lowest[name][1] + 1
        values = np.sort(self._since[name])
        quarter = len(values) // 4
        off = float(values[quarter : len(values) - quarter].mean()) - self._usual[name]
        return RunDrift(
            name=WATCHED[name],
            since=since,
            noticed=self._count,
            evidence=round(min(capital, 1e12), 1),
            words=f"{drift_words(name, off)} on average since about picture {since}",
        )


def drift_words(name: str, off: float) -> str:
    """What drifts, and how far it is off the usual: "the light is brighter by 12 %"."""
    share = f"{abs(math.expm1(off)):.0%}"
    return {
        "brightness": f"the light is {'brighter' if off > 0 else 'darker'} by {share}",
        "red": f"the light is {'redder' if off > 0 else 'less red'} by {share}",
        "blue": f"the light is {'bluer' if off > 0 else 'yellower'} by {share}",
        "contrast": f"the contrast is {'higher' if off > 0 else 'lower'} by {share}",
        "sharpness": f"the pictures are {'sharper' if off > 0 else 'less sharp'}",
        "luma noise": f"the pictures are {'noisier' if off > 0 else 'less noisy'}",
        "chroma noise": f"the pictures are {'noisier' if off > 0 else 'less noisy'}",
        "dx": f"the parts lie {abs(off):.1%} of the picture further {'right' if off > 0 else 'left'}",
        "dy": f"the parts lie {abs(off):.1%} of the picture further {'down' if off > 0 else 'up'}",
        "degrees": f"the parts are turned by {abs(off):.1f}° {'' if off > 0 else 'counter-'}clockwise",
        "scale": f"the parts are {'larger' if off > 0 else 'smaller'} by {share}",
    }[name]


RunTests = Callable[[Evidence | EvidenceSummary], RunTest | None]
"""The test for drift that what was measured on a picture belongs to; None without one."""


def drift_in_run(tests: RunTests, evidence: Evidence | EvidenceSummary) -> tuple[InputShift, str] | None:
    """Take the next picture of a run: its shift with the drift, and a note; None where there is none."""
    test, shift = tests(evidence), evidence.input_shift
    drift = test.observe(shift) if test is not None and shift is not None else None
    if drift is None or shift is None:
        return None
    note = f"the run has drifted: {drift.words}; the promised rate of false alarms no longer holds"
    return shift.replace(drift=drift), note
