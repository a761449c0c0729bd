"""How well a term fits a record: 0 to 1, or None where nothing in the evidence speaks to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from anomalist.agent.claims import SCORE
from anomalist.agent.option_words import BEYOND
from anomalist.agent.readings import Term, read, squashed
from anomalist.agent.region_fits import MEASURED, SURE, Measure, share, weight
from anomalist.types import SEVERITIES, Box, Claim, FloatArray, Record
from anomalist.vision.attributes import POSITIONS
from anomalist.vision.calibration import DEFAULT_RATE
from anomalist.vision.likeness import Likeness

LEANS = 0.55
"""The least probability of what a verdict says, and how far an undecided one may go the other way."""

NEARLY = 0.6
"""How well "on the left" fits what lies at the upper left."""


@dataclass(frozen=True)
class Fit:
    """How well something fits, 0 to 1, and the ids that this rests on."""

    value: float
    evidence: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Findings:
    """A record as terms are held against it.

    Parameters
    ----------
    record : of the inspected picture.
    score_map : float32 (H, W), the anomaly map where it is at hand: it tells places that no region marks.
    likeness : to labelled kinds; by default it is read off the regions of the record.
    """

    record: Record
    score_map: FloatArray | None = None
    likeness: Likeness | None = None

    beyond = BEYOND
    what = "picture"
    margin = 0.0

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The sentences of the verdict."""
        return self.record.claims

    def read(self, text: str, *, counting: bool = False) -> tuple[Term, ...]:
        """Read a question or an option about this picture."""
        return read(text, self.names, counting=counting)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The labelled kinds that are known to have been compared with."""
        if self.likeness is not None:
            return tuple(self.likeness.shares)
        known = {region.known.name for region in self.record.regions if region.known}
        return tuple(sorted({name for name in (*known, self.record.kind) if name}))

    @cached_property
    def anomalous(self) -> Fit | None:
        """How probable it is that something is wrong: what the verdict says, the stronger the smaller p.

        rate / (rate + p) is one half where p is the asked rate. It orders pictures and agrees with the
        verdict; it is no calibrated probability.
        """
        record = self.record
        if record.status != "ok" or record.label is None:
            return None
        if record.p_value is None:
            sure = {"anomalous": SURE, "normal": 1 - SURE}.get(record.label)
            return None if sure is None else Fit(sure, self._cited())
        rate = record.calibration.false_alarm_rate if record.calibration else DEFAULT_RATE
        value = rate / (rate + record.p_value)
        low, high = {"anomalous": (LEANS, 1.0), "normal": (0.0, 1 - LEANS)}.get(
            record.label, (1 - LEANS, LEANS)
        )
        return Fit(min(max(value, low), high), self._cited())

    @cached_property
    def places(self) -> dict[str, Fit]:
        """How much each cell of the 3×3 grid stands out, against the one that does so most."""
        return self._by_map() if self.score_map is not None else self._by_regions()

    def narrowed(self, asked: Sequence[Term], readings: Sequence[Sequence[Term]]) -> Findings:
        """Only the regions at a place that a question names, unless the place or a yes is what is asked."""
        if any(term.aspect in ("place", "answer") for terms in readings for term in terms):
            return self
        places = frozenset(at for term in asked if term.aspect == "place" for at in term.values)
        if not places:
            return self
        regions = tuple(region for region in self.record.regions if region.attributes.position in places)
        return Findings(self.record.model_copy(update={"regions": regions}), self.score_map, self.likeness)

    def fit(self, term: Term) -> Fit | None:
        """Hold one term against the record; "answer", "others" and "unsaid" depend on more than that."""
        if term.aspect == "label":
            found = self.anomalous
            if found is not None and "anomalous" not in term.values:
                found = Fit(1 - found.value, found.evidence)
        elif term.aspect == "place":
            found = place_fit(term, self.places)
        elif term.aspect == "named":
            found = self._named(term.values)
        elif term.aspect == "count":
            found = self._count(term.values)
        elif term.aspect == "severity":
            found = self._severity(term.values)
        elif term.aspect in MEASURED:
            found = self._over_regions(MEASURED[term.aspect], term.values)
        else:
            return None
        return Fit(1 - found.value, found.evidence) if found is not None and term.negated else found

    def _cited(self) -> tuple[str, ...]:
        regions = tuple(region.id for region in self.record.regions[:1])
        return (SCORE, *regions) if self.record.label == "anomalous" else (SCORE,)

    def _by_regions(self) -> dict[str, Fit]:
        """By the share of each region that lies in a cell, weighed by its peak."""
        record = self.record
        if not record.regions or not record.width or not record.height:
            return {}
        top = max(region.peak for region in record.regions)
        placed = [
            Placed(region.id, region.box, region.attributes.position, weight(region, top))
            for region in record.regions
        ]
        return places_of(placed, (record.height, record.width))

    def _by_map(self) -> dict[str, Fit]:
        """By the highest values of the anomaly map in each cell, between the usual and the highest one."""
        assert self.score_map is not None
        height, width = self.score_map.shape
        peaks = {}
        for y, row in enumerate(POSITIONS):
            for x, place in enumerate(row):
                cell = self.score_map[
                    y * height // 3 : (y + 1) * height // 3, x * width // 3 : (x + 1) * width // 3
                ]
                peaks[place] = float(cell.max()) if cell.size else -np.inf
        usual, top = float(np.median(self.score_map)), max(peaks.values())
        if not top > usual:
            return {}
        by_regions = self._by_regions()
        return {
            place: Fit(
                max(0.0, (peak - usual) / (top - usual)),
                by_regions[place].evidence if by_regions and by_regions[place].value > 0 else (SCORE,),
            )
            for place, peak in peaks.items()
        }

    def _named(self, values: frozenset[str]) -> Fit | None:
        """By the likeness to labelled kinds, else by the name that each region was given."""
        if self.likeness is not None:
            share = sum(self.likeness.shares.get(name, 0.0) for name in values)
            ids = (*(region.id for region in self.record.regions[:1]), *self.likeness.cases)
            return Fit(share, ids or (SCORE,))
        wanted = {squashed(name) for name in values}
        told = [region for region in self.record.regions if region.known and region.known.name]
        if not told:
            return None
        right = [region for region in told if region.known and squashed(region.known.name or "") in wanted]
        region = (right or told)[0]
        assert region.known is not None  # of those told
        value = SURE * max(0.0, min(1.0, region.known.similarity))
        return Fit(value if right else 1 - SURE, (region.id, *region.known.cases))

    def _count(self, values: frozenset[str]) -> Fit | None:
        if self.anomalous is None:
            return None
        have = 0 if self.record.label == "normal" else len(self.record.regions)
        return count_fit(values, have, tuple(region.id for region in self.record.regions) or (SCORE,))

    def _severity(self, values: frozenset[str]) -> Fit | None:
        return severity_fit(values, self.record.severity, [region.id for region in self.record.regions[:1]])

    def _over_regions(self, measure: Measure, values: frozenset[str]) -> Fit | None:
        """The best fit of any region, weighed by its peak; those that stand out less tell less."""
        record = self.record
        if not record.regions or not record.width or not record.height:
            return None
        top, size = max(region.peak for region in record.regions), (record.height, record.width)
        fits = [
            Fit(weight(region, top) * measure(region, values, size), (region.id,))
            for region in record.regions
        ]
        return max(fits, key=lambda fit: fit.value)


@dataclass(frozen=True)
class Placed:
    """Something in a picture: its id, box, the cell that its centre is in, and how much it counts, 0 to 1."""

    id: str
    box: Box
    position: str
    weight: float


def places_of(placed: Sequence[Placed], size: tuple[int, int]) -> dict[str, Fit]:
    """How much each cell of the 3×3 grid holds of what counts most; nothing where nothing is placed.

    Parameters
    ----------
    size : (height, width) in the pixels of the boxes.
    """
    if not placed:
        return {}
    found: dict[str, Fit] = {}
    for y, row in enumerate(POSITIONS):
        for x, place in enumerate(row):
            fits = [
                Fit(each.weight * share(each.box, each.position, (x, y), size), (each.id,)) for each in placed
            ]
            found[place] = max(fits, key=lambda fit: fit.value)
    return found


def place_fit(term: Term, places: dict[str, Fit]) -> Fit | None:
    """The best of the places that a term names; those that it names nearly fit less well."""
    fits = [(places[at].value, places[at]) for at in term.values if at in places]
    fits += [(NEARLY * places[at].value, places[at]) for at in term.nearly if at in places]
    if not fits:
        return None
    value, best = max(fits, key=lambda each: (each[0], each[1].evidence))
    return Fit(value, best.evidence)


def count_fit(values: frozenset[str], have: int, ids: tuple[str, ...]) -> Fit:
    """How well a number, or "several", fits the one that was counted."""
    if "several" in values:
        return Fit(SURE if have > 1 else 1 - SURE, ids)
    off = min(abs(int(value) - have) for value in values)
    return Fit((SURE, 0.3)[off] if off < 2 else 1 - SURE, ids)


def severity_fit(values: frozenset[str], severity: int | None, ids: Sequence[str]) -> Fit | None:
    """How well levels fit the one that was graded; None where none was."""
    if severity is None:
        return None
    off = min(abs(SEVERITIES.index(value) - severity) for value in values)
    return Fit((SURE, 0.3)[off] if off < 2 else 1 - SURE, tuple(ids) or (SCORE,))
