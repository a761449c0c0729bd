"""Match parsed terms against a picture's record: 0 to 1, or None where no evidence speaks to them.

Regions are matched by shape, size, tone, direction and place, weighted by their peak.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from anomalist.agent.choice.option_parsing import UNANSWERABLE, Term, normalised_name, parse_terms
from anomalist.agent.reasoning.claims import SCORE_ID
from anomalist.agent.reasoning.wording import LINE_ELONGATION, reference_kind
from anomalist.types.common import SEVERITIES, Box, Claim, FloatArray
from anomalist.types.image import Record, Region
from anomalist.vision.attributes import MIN_ELONGATION, POSITIONS
from anomalist.vision.calibration import DEFAULT_RATE
from anomalist.vision.detectors.known_kinds import KindSimilarity

CERTAIN_MATCH = 0.95
"""Match value where the measurement is clear; a clear mismatch is one less this."""

SMALL_AREA, LARGE_AREA = 0.005, 0.05
"""Shares of what counts: up to the first a region is small, from the second on it is large."""

AXIS_TOLERANCE = 20.0
"""Degrees off an axis from which a direction is diagonal."""

RegionMatcher = Callable[[Region, frozenset[str], tuple[int, int]], float]
"""From a region, the values that would fit, and (height, width) of the picture to a fit, 0 to 1."""


def weight(region: Region, top: float) -> float:
    """How much a region counts against the one with the highest peak."""
    return max(0.0, region.peak / top) if top > 0 else 1.0


def cell_share(box: Box, position: str, cell: tuple[int, int], size: tuple[int, int]) -> float:
    """How much of a box lies in a cell (column, row): all of it in the one that its centre names."""
    (x, y), (height, width) = cell, size
    if POSITIONS[y][x] == position:
        return 1.0
    left, top, right, bottom = box
    across = min(right, (x + 1) * width / 3) - max(left, x * width / 3)
    down = min(bottom, (y + 1) * height / 3) - max(top, y * height / 3)
    return max(0.0, across) * max(0.0, down) / ((right - left) * (bottom - top))


def _match_edge(region: Region, values: frozenset[str], size: tuple[int, int]) -> float:
    touched = set(region.attributes.edges)
    if touched & values or (touched and not values):
        return CERTAIN_MATCH
    beside = any(side in region.attributes.position for side in _SIDES.keys() & values)
    above = any(_SIDES[side] in region.attributes.position for side in _SIDES.keys() & values)
    return 0.5 if beside or above else 1 - CERTAIN_MATCH


_SIDES = {"left": "left", "right": "right", "top": "upper", "bottom": "lower"}


def _match_form(region: Region, values: frozenset[str], size: tuple[int, int]) -> float:
    elongation = region.attributes.elongation
    lineness = float(
        np.interp(
            np.log(elongation), np.log([MIN_ELONGATION, LINE_ELONGATION]), [1 - CERTAIN_MATCH, CERTAIN_MATCH]
        )
    )
    if reference_kind(region, size) == "line":
        lineness = CERTAIN_MATCH
    return lineness if "line" in values else 1 - lineness


def _match_size(region: Region, values: frozenset[str], size: tuple[int, int]) -> float:
    share = np.log10(max(region.attributes.relative_size, 1e-9))
    largeness = float(
        np.interp(share, np.log10([SMALL_AREA, LARGE_AREA]), [1 - CERTAIN_MATCH, CERTAIN_MATCH])
    )
    return largeness if "large" in values else 1 - largeness


def _match_direction(region: Region, values: frozenset[str], size: tuple[int, int]) -> float:
    angle = region.attributes.orientation
    if angle is None:
        return 0.5
    off = min(angle, 180 - angle)
    told = "horizontal" if off < AXIS_TOLERANCE else "vertical" if off > 90 - AXIS_TOLERANCE else ""
    return CERTAIN_MATCH if (told or ("rising" if angle < 90 else "falling")) in values else 1 - CERTAIN_MATCH


def _match_if(holds: bool) -> float:
    return CERTAIN_MATCH if holds else 1 - CERTAIN_MATCH


REGION_MATCHERS: dict[str, RegionMatcher] = {
    "edge": _match_edge,
    "form": _match_form,
    "size": _match_size,
    "direction": _match_direction,
    "tone": lambda region, values, _: _match_if(region.attributes.tone in values),
    "colour": lambda region, values, _: _match_if(region.attributes.colour in values),
    "texture": lambda region, values, _: _match_if(region.attributes.texture in values),
    "change": lambda region, values, _: 0.5 if region.change is None else _match_if(region.change in values),
    "kind": lambda region, values, size: _match_if(reference_kind(region, size) in values),
}


VERDICT_LEAN = 0.55
"""The least probability of what a verdict says, and how far an undecided one may go the other way."""

NEAR_MATCH = 0.6
"""How well "on the left" fits what lies at the upper left."""


@dataclass(frozen=True)
class TermMatch:
    """How well something fits, 0 to 1, and the ids that this rests on."""

    value: float
    evidence: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class RecordMatcher:
    """Matches terms against the record of a picture.

    Parameters
    ----------
    record : of the inspected picture.
    score_map : float32 (H, W), the anomaly map where it is at hand: it tells places that no region marks.
    likeness : to labelled kinds; by default it is read off the regions of the record.
    """

    record: Record
    score_map: FloatArray | None = None
    likeness: KindSimilarity | None = None

    beyond = UNANSWERABLE
    what = "picture"
    margin = 0.0

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The sentences of the verdict."""
        return self.record.claims

    def read(self, text: str, *, counting: bool = False) -> tuple[Term, ...]:
        """Read a question or an option about this picture."""
        return parse_terms(text, self.names, counting=counting)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The labelled kinds that are known to have been compared with."""
        if self.likeness is not None:
            return tuple(self.likeness.shares)
        known = {region.known.name for region in self.record.regions if region.known}
        return tuple(sorted({name for name in (*known, self.record.kind) if name}))

    @cached_property
    def anomalous(self) -> TermMatch | None:
        """How probable it is that something is wrong: what the verdict says, the stronger the smaller p.

        rate / (rate + p) is one half where p is the asked rate. It orders pictures and agrees with the
        verdict; it is no calibrated probability.
        """
        record = self.record
        if record.status != "ok" or record.label is None:
            return None
        if record.p_value is None:
            sure = {"anomalous": CERTAIN_MATCH, "normal": 1 - CERTAIN_MATCH}.get(record.label)
            return None if sure is None else TermMatch(sure, self._cited())
        rate = record.calibration.false_alarm_rate if record.calibration else DEFAULT_RATE
        value = rate / (rate + record.p_value)
        low, high = {"anomalous": (VERDICT_LEAN, 1.0), "normal": (0.0, 1 - VERDICT_LEAN)}.get(
            record.label, (1 - VERDICT_LEAN, VERDICT_LEAN)
        )
        return TermMatch(min(max(value, low), high), self._cited())

    @cached_property
    def places(self) -> dict[str, TermMatch]:
        """How much each cell of the 3×3 grid stands out, against the one that does so most."""
        return self._by_map() if self.score_map is not None else self._by_regions()

    def narrowed(self, asked: Sequence[Term], readings: Sequence[Sequence[Term]]) -> RecordMatcher:
        """Only the regions at a place that a question names, unless the place or a yes is what is asked."""
        if any(term.aspect in ("place", "answer") for terms in readings for term in terms):
            return self
        places = frozenset(at for term in asked if term.aspect == "place" for at in term.values)
        if not places:
            return self
        regions = tuple(region for region in self.record.regions if region.attributes.position in places)
        return RecordMatcher(self.record.replace(regions=regions), self.score_map, self.likeness)

    def fit(self, term: Term) -> TermMatch | None:
        """Match one term against the record; "answer", "others" and "unsaid" depend on more than that."""
        if term.aspect == "label":
            found = self.anomalous
            if found is not None and "anomalous" not in term.values:
                found = TermMatch(1 - found.value, found.evidence)
        elif term.aspect == "place":
            found = match_place(term, self.places)
        elif term.aspect == "named":
            found = self._named(term.values)
        elif term.aspect == "count":
            found = self._count(term.values)
        elif term.aspect == "severity":
            found = self._severity(term.values)
        elif term.aspect in REGION_MATCHERS:
            found = self._over_regions(REGION_MATCHERS[term.aspect], term.values)
        else:
            return None
        return TermMatch(1 - found.value, found.evidence) if found is not None and term.negated else found

    def _cited(self) -> tuple[str, ...]:
        regions = tuple(region.id for region in self.record.regions[:1])
        return (SCORE_ID, *regions) if self.record.label == "anomalous" else (SCORE_ID,)

    def _by_regions(self) -> dict[str, TermMatch]:
        """By the share of each region that lies in a cell, weighed by its peak."""
        record = self.record
        if not record.regions or not record.width or not record.height:
            return {}
        top = max(region.peak for region in record.regions)
        placed = [
            PlacedBox(region.id, region.box, region.attributes.position, weight(region, top))
            for region in record.regions
        ]
        return match_grid(placed, (record.height, record.width))

    def _by_map(self) -> dict[str, TermMatch]:
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
            place: TermMatch(
                max(0.0, (peak - usual) / (top - usual)),
                by_regions[place].evidence if by_regions and by_regions[place].value > 0 else (SCORE_ID,),
            )
            for place, peak in peaks.items()
        }

    def _named(self, values: frozenset[str]) -> TermMatch | None:
        """By the likeness to labelled kinds, else by the name that each region was given."""
        if self.likeness is not None:
            share = sum(self.likeness.shares.get(name, 0.0) for name in values)
            ids = (*(region.id for region in self.record.regions[:1]), *self.likeness.cases)
            return TermMatch(share, ids or (SCORE_ID,))
        wanted = {normalised_name(name) for name in values}
        told = [region for region in self.record.regions if region.known and region.known.name]
        if not told:
            return None
        right = [
            region for region in told if region.known and normalised_name(region.known.name or "") in wanted
        ]
        region = (right or told)[0]
        assert region.known is not None  # of those told
        value = CERTAIN_MATCH * max(0.0, min(1.0, region.known.similarity))
        return TermMatch(value if right else 1 - CERTAIN_MATCH, (region.id, *region.known.cases))

    def _count(self, values: frozenset[str]) -> TermMatch | None:
        if self.anomalous is None:
            return None
        have = 0 if self.record.label == "normal" else len(self.record.regions)
        return match_count(values, have, tuple(region.id for region in self.record.regions) or (SCORE_ID,))

    def _severity(self, values: frozenset[str]) -> TermMatch | None:
        return match_severity(values, self.record.severity, [region.id for region in self.record.regions[:1]])

    def _over_regions(self, measure: RegionMatcher, values: frozenset[str]) -> TermMatch | None:
        """The best fit of any region, weighed by its peak; those that stand out less tell less."""
        record = self.record
        if not record.regions or not record.width or not record.height:
            return None
        top, size = max(region.peak for region in record.regions), (record.height, record.width)
        fits = [
            TermMatch(weight(region, top) * measure(region, values, size), (region.id,))
            for region in record.regions
        ]
        return max(fits, key=lambda fit: fit.value)


@dataclass(frozen=True)
class PlacedBox:
    """Something in a picture: its id, box, the cell that its centre is in, and how much it counts, 0 to 1."""

    id: str
    box: Box
    position: str
    weight: float


def match_grid(placed: Sequence[PlacedBox], size: tuple[int, int]) -> dict[str, TermMatch]:
    """How much each cell of the 3×3 grid holds of what counts most; nothing where nothing is placed.

    Parameters
    ----------
    size : (height, width) in the pixels of the boxes.
    """
    if not placed:
        return {}
    found: dict[str, TermMatch] = {}
    for y, row in enumerate(POSITIONS):
        for x, place in enumerate(row):
            fits = [
                TermMatch(each.weight * cell_share(each.box, each.position, (x, y), size), (each.id,))
                for each in placed
            ]
            found[place] = max(fits, key=lambda fit: fit.value)
    return found


def match_place(term: Term, places: dict[str, TermMatch]) -> TermMatch | None:
    """The best of the places that a term names; those that it names nearly fit less well."""
    fits = [(places[at].value, places[at]) for at in term.values if at in places]
    fits += [(NEAR_MATCH * places[at].value, places[at]) for at in term.near_values if at in places]
    if not fits:
        return None
    value, best = max(fits, key=lambda each: (each[0], each[1].evidence))
    return TermMatch(value, best.evidence)


def match_count(values: frozenset[str], have: int, ids: tuple[str, ...]) -> TermMatch:
    """How well a number, or "several", fits the one that was counted."""
    if "several" in values:
        return TermMatch(CERTAIN_MATCH if have > 1 else 1 - CERTAIN_MATCH, ids)
    off = min(abs(int(value) - have) for value in values)
    return TermMatch((CERTAIN_MATCH, 0.3)[off] if off < 2 else 1 - CERTAIN_MATCH, ids)


def match_severity(values: frozenset[str], severity: int | None, ids: Sequence[str]) -> TermMatch | None:
    """How well levels fit the one that was graded; None where none was."""
    if severity is None:
        return None
    off = min(abs(SEVERITIES.index(value) - severity) for value in values)
    return TermMatch((CERTAIN_MATCH, 0.3)[off] if off < 2 else 1 - CERTAIN_MATCH, tuple(ids) or (SCORE_ID,))
