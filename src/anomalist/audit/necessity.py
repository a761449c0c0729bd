"""Necessity and stability: whether a verdict needs the regions that it cites, and whether it holds.

Necessity: each cited region, with what is connected to it in the map above the level at which regions begin,
is replaced by the nearest normal patch, blended in at its edge, and the picture is measured again; so are the
weak places that a verdict cites beside its regions. Where a patch stands out itself, another is tried, for
what is asked is how the picture would be judged if nothing were wrong there. A place of the same size that
nothing cites is the control. Stability: the picture is measured again under light, noise and JPEG, and
decided under resampled calibrations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from anomalist.agent.reasoning.policy import Policy, decide_label
from anomalist.audit.normal_patches import as_pixels, normal_patches, patched
from anomalist.errors import DataError
from anomalist.types.common import BoolArray, Box, FloatArray, Label, UInt8Array
from anomalist.types.image import Evidence, Media, Place, Record, is_alarm
from anomalist.vision.evidence import EvidenceSource, MixedEvidence, ProfileEvidence, measure, score_inputs
from anomalist.vision.regions import box_of
from anomalist.vision.weak_places import connected_to, grown, places_taken, reaches_of

if TYPE_CHECKING:
    from anomalist.audit.reading import LogEntry
    from anomalist.audit.replay import Replayer
    from anomalist.pipeline import Inspector
    from anomalist.vision.profile import Profile

MAX_PATCHES = 3
"""Normal patches that are tried where the first stands out itself."""


@dataclass(frozen=True)
class Trial:
    """One thing done to a picture, and what came of it.

    Parameters
    ----------
    what : "without R1", "light +10 %", in words.
    cited : ids of the regions and weak places that were replaced; none of a control or of a disturbance.
    score, p_value, label : of the changed picture.
    alarm : whether its p-value is at or under the asked rate.
    control : whether something was replaced that nothing cites.
    highest : (x, y) of the pixel where the map of the changed picture is highest.
    boxes : what was replaced, without the margins in which it is blended in.
    """

    what: str
    score: float
    p_value: float | None
    label: Label
    alarm: bool
    cited: tuple[str, ...] = ()
    control: bool = False
    highest: tuple[int, int] | None = None
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class ReasonsAudit:
    """What a verdict needs, and what it withstands.

    Parameters
    ----------
    before : the picture as it is.
    trials : regions replaced and controls.
    disturbed : under light, noise and JPEG.
    instability : share of resampled calibrations that decide otherwise.
    """

    before: Trial
    trials: tuple[Trial, ...]
    disturbed: tuple[Trial, ...]
    instability: float | None

    @property
    def needed(self) -> tuple[str, ...]:
        """Regions each of which the alarm needs by itself."""
        return tuple(
            trial.cited[0]
            for trial in self.trials
            if len(trial.cited) == 1 and self.before.alarm and not trial.alarm
        )

    @property
    def needed_together(self) -> bool:
        """Whether the alarm needs the cited regions: without one of them, or without all, there is none."""
        return self.before.alarm and any(not trial.alarm for trial in self.trials if trial.cited)

    @property
    def verdict_needs(self) -> bool:
        """Whether without one of the cited regions, or without all, the verdict is another one."""
        return any(trial.label != self.before.label for trial in self.trials if trial.cited)

    @property
    def control_keeps(self) -> bool:
        """Whether the decision stays with every control."""
        return all(trial.alarm == self.before.alarm for trial in self.trials if trial.control)

    def sentences(self) -> Iterator[str]:
        """What came out, one sentence a trial."""
        for trial in (*self.trials, *self.disturbed):
            yield _sentence(self.before, trial)
        if self.instability is not None:
            yield f"Under resampled calibrations {100 * self.instability:.1f} % decide otherwise."


def _sentence(before: Trial, trial: Trial) -> str:
    same = trial.label if trial.label != before.label else f"still {trial.label}"
    old, new = f"{before.score:.2f}", f"{trial.score:.2f}"
    if old == new:
        return f"{trial.what}: the score stays at {old}: {same}."
    how = "falls" if trial.score < before.score else "rises"
    return f"{trial.what}: the score {how} from {old} to {new}: {same}."


def audit_reasons(entry: LogEntry, replayer: Replayer, *, seed: int = 0) -> ReasonsAudit:
    """Test the reasons of a logged decision on a picture, with the versions of then.

    Raises
    ------
    DataError : it can't be taken again, or was not measured against a profile with a nearest normal patch.
    """
    inspector, inspection = replayer.inspect(entry)
    media, evidence = inspection.media, inspection.evidence
    assert media is not None and evidence is not None  # what was inspected has both
    return try_reasons(inspector, media, evidence, places_of_verdict(inspection.record, evidence), seed=seed)


def places_of_verdict(record: Record, evidence: Evidence) -> list[Place]:
    """The regions and weak places that the claims of a verdict cite, in their order in the evidence."""
    cited = {id_ for claim in record.claims for id_ in claim.evidence}
    return [place for place in evidence.places if place.id in cited]


@dataclass(frozen=True, eq=False)
class _Trying:
    """Changes one picture, and judges it again."""

    profile: Profile
    media: Media
    policy: Policy
    rate: float

    def again(
        self,
        what: str,
        pixels: UInt8Array,
        boxes: tuple[Box, ...] = (),
        ids: tuple[str, ...] = (),
        *,
        control: bool = False,
    ) -> Trial:
        """Judge the picture with other pixels, uint8 (H, W, 3)."""
        changed = Media(self.media.source, self.media.sha256, pixels)
        (scored,) = score_inputs(self.profile, [changed])
        measured = measure(self.profile, changed, scored, self.rate)
        label, _ = decide_label(measured, self.policy)
        trial = _trial(what, measured, label, self.rate, ids, control=control)
        return replace(trial, boxes=boxes)

    def without(
        self, what: str, boxes: Mapping[str, Box], *, cited: bool = False, control: bool = False
    ) -> Trial:
        """Replace places, by name; where a patch stands out in an alarm, try the next that fits.

        Raises DataError where no normal patch is known.
        """
        chosen = dict.fromkeys(boxes, 0)
        known: dict[tuple[str | int, ...], list[FloatArray]] = {}
        found: list[Trial] = []
        for _ in range(MAX_PATCHES):
            pixels = self.media.pixels
            key: tuple[str | int, ...] = ()
            for name, box in boxes.items():
                key = (*key, name)  # what fits depends on what was put in before
                if key not in known:
                    known[key] = normal_patches(self.profile, pixels, box)
                if chosen[name] >= len(known[key]):
                    if found:
                        return min(found, key=_score)
                    raise DataError(
                        f"No normal patch is known for {name or 'a control'}.",
                        "The detector has no memory bank, or a normal picture is gone or has changed.",
                    )
                pixels = patched(pixels, box, known[key][chosen[name]])
                key = (*key, chosen[name])
            ids = tuple(boxes) if cited else ()
            found.append(self.again(what, pixels, tuple(boxes.values()), ids, control=control))
            at, size = found[-1].highest, self.media.size
            odd = [name for name, box in boxes.items() if _lies_in(at, grown(box, size))]
            if not found[-1].alarm or not odd:
                break
            chosen[odd[0]] += 1
        return min(found, key=_score)


def try_reasons(
    inspector: Inspector, media: Media, evidence: Evidence, cited: Sequence[Place], *, seed: int = 0
) -> ReasonsAudit:
    """Replace cited places and controls of one measured picture, and disturb it.

    ``cited`` are the places that the verdict names. Raises DataError as `audit_reasons` does.
    """
    profile, rate = _profile_of(inspector.evidence_source, media)
    trying = _Trying(profile, media, inspector.policy, rate)
    rng = np.random.default_rng(seed)
    places, taken = _places(evidence, cited, media, profile.manifest.place)
    trials = [trying.without(f"Without {name}", {name: box}, cited=True) for name, box in places.items()]
    if len(cited) > 1:
        trials.append(trying.without(f"Without {', '.join(places)} together", places, cited=True))
    unnamed = unnamed_peak(evidence, cited)
    if unnamed is not None:
        taken |= places_taken(media.size, (unnamed,))
        where = f"at ({unnamed[0]}, {unnamed[1]}), which nothing that is cited names"
        trials.append(trying.without(f"Without the place where the map is highest, {where}", {"": unnamed}))
    for each in cited:
        free = uncited_place(taken, places[each.id], rng)
        if free is not None:
            what = f"Control: another place of the size of {each.id}, at ({free[0]}, {free[1]})"
            trials.append(trying.without(what, {"": free}, control=True))
    disturbed = tuple(
        trying.again(what, change(media.pixels, np.random.default_rng(seed)))
        for what, change in DISTURBANCES.items()
    )
    about = evidence.calibration
    label, _ = decide_label(evidence, inspector.policy)
    before = _trial("As it is", evidence, label, rate)
    return ReasonsAudit(before, tuple(trials), disturbed, about.instability if about else None)


def _places(
    evidence: Evidence, cited: Sequence[Place], media: Media, level: float | None
) -> tuple[dict[str, Box], BoolArray]:
    """The box of each cited place, and bool (H, W) of what no control may touch.

    That are the outlines, all regions and the cited places, with their margins.
    """
    boxes = reaches_of(evidence.score_map, evidence.regions, level)
    reaches = {region.id: box for region, box in zip(evidence.regions, boxes, strict=True)}
    places = {each.id: reaches.get(each.id, each.box) for each in cited}
    taken = np.asarray(evidence.mask, np.bool_) | places_taken(
        media.size, (*reaches.values(), *places.values())
    )
    return places, taken


def _lies_in(point: tuple[int, int] | None, box: Box) -> bool:
    return point is not None and box[0] <= point[0] < box[2] and box[1] <= point[1] < box[3]


def unnamed_peak(evidence: Evidence, cited: Sequence[Place]) -> Box | None:
    """The box of the place where the anomaly map is highest; None where a cited place touches it.

    The place is what is connected to the peak above half of its height over the median.
    """
    values = evidence.score_map
    y, x = (int(each) for each in np.unravel_index(int(values.argmax()), values.shape))
    high = values >= (float(np.median(values)) + float(values.max())) / 2
    mine = connected_to(high, (x, y, x + 1, y + 1))
    if any(mine[y0:y1, x0:x1].any() for x0, y0, x1, y1 in (region.box for region in cited)):
        return None
    return box_of(mine)


def _profile_of(source: EvidenceSource, media: Media) -> tuple[Profile, float]:
    if isinstance(source, ProfileEvidence):
        return source.profile, source.rate
    if isinstance(source, MixedEvidence):
        ((match, profile),) = source.profile.recognise([media.pixels])
        return profile, source.rates[match.name]
    raise DataError(
        f"{source.name} has no calibrated normals to put in place of a region.",
        "Inspect with --profile to have reasons tested.",
    )


def _score(trial: Trial) -> float:
    return trial.score


def _trial(
    what: str,
    evidence: Evidence,
    label: Label,
    rate: float,
    ids: tuple[str, ...] = (),
    *,
    control: bool = False,
) -> Trial:
    p = evidence.p_value
    alarm = p is not None and is_alarm(p, rate)
    y, x = np.unravel_index(int(evidence.score_map.argmax()), evidence.score_map.shape)
    highest = int(x), int(y)
    return Trial(what, evidence.score, p, label, alarm, ids, control=control, highest=highest)


def uncited_place(taken: BoolArray, box: Box, rng: np.random.Generator) -> Box | None:
    """A box of the same size in which nothing is taken, bool (H, W); None where there is no room."""
    height, width = taken.shape
    across, down = box[2] - box[0], box[3] - box[1]
    for _ in range(200):
        if across > width or down > height:
            return None
        x, y = int(rng.integers(0, width - across + 1)), int(rng.integers(0, height - down + 1))
        if not taken[y : y + down, x : x + across].any():
            return x, y, x + across, y + down
    return None


Disturbance = Callable[[UInt8Array, np.random.Generator], UInt8Array]


def _light(factor: float) -> Disturbance:
    def change(pixels: UInt8Array, rng: np.random.Generator) -> UInt8Array:
        return as_pixels(pixels.astype(np.float32) * np.float32(factor))

    return change


def _noise(sigma: float) -> Disturbance:
    def change(pixels: UInt8Array, rng: np.random.Generator) -> UInt8Array:
        return as_pixels(pixels.astype(np.float32) + rng.normal(0, sigma, pixels.shape).astype(np.float32))

    return change


def _jpeg(quality: int) -> Disturbance:
    def change(pixels: UInt8Array, rng: np.random.Generator) -> UInt8Array:
        import cv2

        _, encoded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        return np.ascontiguousarray(np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])

    return change


DISTURBANCES: Mapping[str, Disturbance] = {
    "Light −10 %": _light(0.9),
    "Light +10 %": _light(1.1),
    "Noise of 2 grey levels": _noise(2),
    "JPEG of quality 80": _jpeg(80),
    "JPEG of quality 50": _jpeg(50),
}
"""What a verdict should withstand, by name."""
