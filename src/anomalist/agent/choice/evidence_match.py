"""Match parsed terms against a picture's record: a value from 0 to 1, or None where it can't decide.

Regions are matched by shape, size, tone, direction and place, weighted by their peak.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from anomalist.agent.choice.option_parsing import (
    MAX_COUNT,
    UNANSWERABLE,
    Term,
    counted_thing,
    normalised_name,
    parse_terms,
)
from anomalist.agent.reasoning.claims import SCORE_ID
from anomalist.agent.reasoning.wording import LINE_ELONGATION, reference_kind
from anomalist.types.common import SEVERITIES, Box, Claim, FloatArray
from anomalist.types.image import REGION_ID, Record, Region
from anomalist.vision.attributes import MIN_ELONGATION, POSITIONS
from anomalist.vision.calibration import DEFAULT_RATE
from anomalist.vision.regions import MOST_REGIONS

if TYPE_CHECKING:
    from anomalist.vision.detectors.known_kinds import KindSimilarity


CERTAIN_MATCH = 0.95
"""Match value where the measurement is clear; a clear mismatch has 1 − CERTAIN_MATCH."""

SMALL_AREA, LARGE_AREA = 0.005, 0.05
"""Shares of the inspected area: a region is small up to the first, large from the second."""

AXIS_TOLERANCE = 20.0
"""Degrees off an axis from which a direction is diagonal."""

RegionMatcher = Callable[[Region, frozenset[str], tuple[int, int]], float]
"""Maps a region, the accepted values, and (height, width) of the picture to a match value, 0 to 1."""


def named_regions(text: str) -> tuple[str, ...]:
    """The ids of regions in a text; what is a part of a file name is none."""
    return tuple(dict.fromkeys(map(str.upper, _REGION_ID.findall(text))))


def weight(region: Region, top: float) -> float:
    """Weight of a region relative to the one with the highest peak."""
    return max(0.0, region.peak / top) if top > 0 else 1.0


def cell_share(box: Box, position: str, cell: tuple[int, int], size: tuple[int, int]) -> float:
    """Share of a box in a grid cell (column, row); 1 in the cell of its centre."""
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
    axis = "horizontal" if off < AXIS_TOLERANCE else "vertical" if off > 90 - AXIS_TOLERANCE else ""
    return CERTAIN_MATCH if (axis or ("rising" if angle < 90 else "falling")) in values else 1 - CERTAIN_MATCH


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


_COUNTED_ASPECTS = frozenset({"kind", "named", "form", "tone", "size", "colour", "texture"})
"""Aspects of what is counted that each region has by itself."""

_REGION_ID = re.compile(rf"(?<![\w./-]){REGION_ID}(?![\w-]|\.\w)", re.I)
_BY_AREA = re.compile(r"\b(?:largest|biggest|smallest)\b", re.I)

VERDICT_LEAN = 0.55
"""Least probability of the recorded label, and upper limit for either label of an undecided record."""

NEAR_MATCH = 0.6
"""Match value of "on the left" for something at the upper left."""


@dataclass(frozen=True)
class TermMatch:
    """A match value, 0 to 1, and the ids that it rests on."""

    value: float
    evidence: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class RecordMatcher:
    """Matches terms against the record of a picture.

    Parameters
    ----------
    record : of the inspected picture.
    score_map : anomaly map, float32 (H, W), where available; it also covers places without a region.
    likeness : similarity to labelled kinds; by default that of the record's regions.
    """

    record: Record
    score_map: FloatArray | None = None
    likeness: KindSimilarity | None = None

    unanswerable = UNANSWERABLE
    what = "picture"
    margin = 0.0

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The sentences of the verdict."""
        return self.record.claims

    def read(self, text: str, *, counting: bool = False) -> tuple[Term, ...]:
        """Parse a question or an option about this picture."""
        return parse_terms(text, self.names, counting=counting)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The labelled kinds that the picture was compared with."""
        if self.likeness is not None:
            return tuple(self.likeness.shares)
        known = {region.known.name for region in self.record.regions if region.known}
        return tuple(sorted({name for name in (*known, self.record.kind) if name}))

    @cached_property
    def anomalous(self) -> TermMatch | None:
        """Match value of "something is wrong": rate / (rate + p), limited to the side of the verdict.

        It is one half where p equals the false-alarm rate. It ranks pictures and agrees with the verdict, but
        is no calibrated probability.
        """
        record = self.record
        if not record.judged or record.label is None:
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
        """Match value of each cell of the 3×3 grid, relative to the most anomalous one."""
        return self._by_map() if self.score_map is not None else self._by_regions()

    def narrowed(
        self, question_terms: Sequence[Term], option_terms: Sequence[Sequence[Term]]
    ) -> RecordMatcher:
        """The matcher for the regions at a place in the question, unless options are places, yes or no."""
        if any(term.aspect in ("place", "answer") for terms in option_terms for term in terms):
            return self
        counted = any(term.aspect == "count" for terms in option_terms for term in terms)
        named = [term for term in question_terms if term.aspect == "place"]
        # Of a side, what is at its corners is counted, too.
        places = {at for term in named for at in (*term.values, *(term.near_values if counted else ()))}
        if not places:
            return self
        regions = tuple(region for region in self.record.regions if region.attributes.position in places)
        return RecordMatcher(self.record.replace(regions=regions), self.score_map, self.likeness)

    def about(self, question: str) -> RecordMatcher:
        """The matcher for the regions that a question names, or for the largest or smallest one."""
        regions = self.record.regions
        named = named_regions(question)
        meant = tuple(region for region in regions if region.id in named)
        if not meant and regions and (order := _BY_AREA.search(question)):
            most = min if order[0].casefold() == "smallest" else max
            meant = (most(regions, key=lambda region: region.area),)
        if not meant or len(meant) == len(regions):
            return self
        return RecordMatcher(self.record.replace(regions=meant))  # map and likeness are of all of them

    def counting(self, text: str) -> RecordMatcher:
        """The matcher for the regions that a text counts: of "two scratches" those that are like one."""
        terms = [term for term in self.read(counted_thing(text)) if term.aspect in _COUNTED_ASPECTS]
        if not any(term.aspect in ("kind", "named") for term in terms):
            return self
        alone = (
            (region, RecordMatcher(self.record.replace(regions=(region,)))) for region in self.record.regions
        )
        fits = tuple(region for region, one in alone if all(one._holds(term) for term in terms))
        return RecordMatcher(self.record.replace(regions=fits), self.score_map, self.likeness)

    def _holds(self, term: Term) -> bool:
        found = self.fit(term)
        return found is not None and found.value > 0.5

    def fit(self, term: Term) -> TermMatch | None:
        """Match one term against the record; None for "answer", "others" and "unsaid", which need more."""
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
        """Match values of grid cells by the share of each region in a cell, weighted by its peak."""
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
        """Match values of grid cells by the anomaly map: cell maximum, scaled from median to maximum."""
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
        """Match labelled kinds by similarity, else by the kind that each region resembles."""
        if self.likeness is not None:
            share = sum(self.likeness.shares.get(name, 0.0) for name in values)
            ids = (*(region.id for region in self.record.regions[:1]), *self.likeness.cases)
            return TermMatch(share, ids or (SCORE_ID,))
        wanted = {normalised_name(name) for name in values}
        named = [region for region in self.record.regions if region.known and region.known.name]
        if not named:
            return None
        right = [
            region for region in named if region.known and normalised_name(region.known.name or "") in wanted
        ]
        region = (right or named)[0]
        assert region.known is not None  # as for all in `named`
        value = CERTAIN_MATCH * max(0.0, min(1.0, region.known.similarity))
        return TermMatch(value if right else 1 - CERTAIN_MATCH, (region.id, *region.known.cases))

    def _count(self, values: frozenset[str]) -> TermMatch | None:
        if self.anomalous is None:
            return None
        have = 0 if self.record.label == "normal" else len(self.record.regions)
        numbers = {int(value) for value in values if value.isdigit()}
        beyond = set(range(MOST_REGIONS, MAX_COUNT + 1))
        if have >= MOST_REGIONS and numbers & beyond and not beyond <= numbers:
            return None  # no more of them are measured
        return match_count(values, have, tuple(region.id for region in self.record.regions) or (SCORE_ID,))

    def _severity(self, values: frozenset[str]) -> TermMatch | None:
        return match_severity(values, self.record.severity, [region.id for region in self.record.regions[:1]])

    def _over_regions(self, measure: RegionMatcher, values: frozenset[str]) -> TermMatch | None:
        """The best match of any region, weighted by its peak."""
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
    """A box with its id, the grid cell of its centre, and its weight, 0 to 1."""

    id: str
    box: Box
    position: str
    weight: float


def match_grid(placed: Sequence[PlacedBox], size: tuple[int, int]) -> dict[str, TermMatch]:
    """Match value of each cell of the 3×3 grid: the best weighted share of a box; empty without boxes.

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
    """The best of a term's places; its ``near_values`` count less."""
    fits = [(places[at].value, places[at]) for at in term.values if at in places]
    fits += [(NEAR_MATCH * places[at].value, places[at]) for at in term.near_values if at in places]
    if not fits:
        return None
    value, best = max(fits, key=lambda each: (each[0], each[1].evidence))
    return TermMatch(value, best.evidence)


def match_count(values: frozenset[str], have: int, ids: tuple[str, ...]) -> TermMatch:
    """Match a number, or "several", with a count."""
    if "several" in values:
        return TermMatch(CERTAIN_MATCH if have > 1 else 1 - CERTAIN_MATCH, ids)
    off = min((abs(int(value) - have) for value in values), default=2)  # none is fewer than 0
    return TermMatch((CERTAIN_MATCH, 0.3)[off] if off < 2 else 1 - CERTAIN_MATCH, ids)


def match_severity(values: frozenset[str], severity: int | None, ids: Sequence[str]) -> TermMatch | None:
    """Match severity levels with the recorded one; None where there is none."""
    if severity is None:
        return None
    off = min(abs(SEVERITIES.index(value) - severity) for value in values)
    return TermMatch((CERTAIN_MATCH, 0.3)[off] if off < 2 else 1 - CERTAIN_MATCH, tuple(ids) or (SCORE_ID,))
