"""Necessity and stability: whether a verdict needs the regions that it cites, and whether it holds.

Necessity: each cited region, with what is connected to it in the map above the level at which regions begin,
is replaced by the nearest normal patch, blended in at its edge, and the picture is measured again; a place of
the same size that nothing cites is the control. Stability: the picture is
measured again under light, noise and JPEG, and decided under resampled calibrations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from anomalist.agent.reasoning.policy import decide_label
from anomalist.errors import DataError, MediaError
from anomalist.types.common import BoolArray, Box, FloatArray, Label, UInt8Array
from anomalist.types.image import Evidence, Media, Record, Region, is_alarm
from anomalist.vision.evidence import EvidenceSource, MixedEvidence, ProfileEvidence, measure, score_inputs
from anomalist.vision.media.images import load_image

if TYPE_CHECKING:
    from anomalist.audit.reading import LogEntry
    from anomalist.audit.replay import Replayer
    from anomalist.pipeline import Inspector
    from anomalist.vision.profile import NormalPicture, Profile

MARGIN = 0.35
"""Margin around a region that is replaced with it, as a share of its longer side."""
_MIN_MARGIN = 4  # pixels


@dataclass(frozen=True)
class Trial:
    """One thing done to a picture, and what came of it.

    Parameters
    ----------
    what : "without R1", "light +10 %", in words.
    cited : ids of the regions that were replaced; none of a control or of a disturbance.
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
    regions = cited_regions(inspection.record, evidence)
    return try_reasons(inspector, media, evidence, regions, seed=seed)


def cited_regions(record: Record, evidence: Evidence) -> list[Region]:
    """The regions that the claims of a verdict cite, in their order in the evidence."""
    cited = {id_ for claim in record.claims for id_ in claim.evidence}
    return [region for region in evidence.regions if region.id in cited]


def try_reasons(
    inspector: Inspector, media: Media, evidence: Evidence, cited: list[Region], *, seed: int = 0
) -> ReasonsAudit:
    """Replace cited regions and controls of one measured picture, and disturb it.

    ``cited`` are the regions that the verdict names. Raises DataError as `audit_reasons` does.
    """
    profile, rate = _profile_of(inspector.evidence_source, media)

    def again(
        what: str,
        pixels: UInt8Array,
        boxes: tuple[Box, ...] = (),
        ids: tuple[str, ...] = (),
        *,
        control: bool = False,
    ) -> Trial:
        changed = Media(media.source, media.sha256, pixels)
        (scored,) = score_inputs(profile, [changed])
        label, _ = decide_label(measured := measure(profile, changed, scored, rate), inspector.policy)
        trial = _trial(what, measured, label, rate, ids, control=control)
        return replace(trial, boxes=boxes)

    rng = np.random.default_rng(seed)
    trials = []
    everything = media.pixels
    places, taken = _places(evidence, media, profile.manifest.place)
    for region in cited:
        one = replaced(profile, media.pixels, places[region.id])
        if one is None:
            raise DataError(
                f"No normal patch is known for {region.id}.",
                "The detector has no memory bank, or a normal picture is gone or has changed.",
            )
        trials.append(again(f"Without {region.id}", one, (places[region.id],), (region.id,)))
        whole = replaced(profile, everything, places[region.id])
        everything = everything if whole is None else whole
    if len(cited) > 1:
        names = tuple(region.id for region in cited)
        boxes = tuple(places[name] for name in names)
        trials.append(again(f"Without {', '.join(names)} together", everything, boxes, names))
    unnamed = unnamed_peak(evidence, cited)
    filled = None if unnamed is None else replaced(profile, media.pixels, unnamed)
    if filled is not None and unnamed is not None:
        _mark(taken, grown(unnamed, media.size))
        where = f"at ({unnamed[0]}, {unnamed[1]}), which no cited region names"
        trials.append(again(f"Without the place where the map is highest, {where}", filled, (unnamed,)))
    for region in cited:
        free = uncited_place(taken, places[region.id], rng)
        control = None if free is None else replaced(profile, media.pixels, free)
        if control is not None and free is not None:
            what = f"Control: another place of the size of {region.id}, at ({free[0]}, {free[1]})"
            trials.append(again(what, control, (free,), control=True))
    disturbed = tuple(
        again(what, change(media.pixels, np.random.default_rng(seed)))
        for what, change in DISTURBANCES.items()
    )
    about = evidence.calibration
    label, _ = decide_label(evidence, inspector.policy)
    before = _trial("As it is", evidence, label, rate)
    return ReasonsAudit(before, tuple(trials), disturbed, about.instability if about else None)


MAX_PLACE_SHARE = 0.25
"""Share of the picture that a region may grow to when it is replaced with what is around it."""


def _places(evidence: Evidence, media: Media, level: float | None) -> tuple[dict[str, Box], BoolArray]:
    """The place of each region, and bool (H, W) of what no control may touch: these, with their margins."""
    taken = np.asarray(evidence.mask, np.bool_).copy()
    places = {region.id: place_of(evidence, region, level) for region in evidence.regions}
    for place in places.values():
        _mark(taken, grown(place, media.size))
    return places, taken


def place_of(evidence: Evidence, region: Region, level: float | None = None) -> Box:
    """The box of a region and of what is connected to it in the map above the level at which regions begin.

    An outline follows the pixels that differ most; what made the score reaches further. Without a level, or
    where that would take more than ``MAX_PLACE_SHARE`` of the picture, it is half of the region's height over
    the median of the map; where that is too much as well, the region's own box.
    """
    values = evidence.score_map
    half = (float(np.median(values)) + region.peak) / 2
    for height in (half if level is None else min(level, half), half):
        mine = _connected(values >= height, region.box)
        mine[region.box[1] : region.box[3], region.box[0] : region.box[2]] = True
        x0, y0, x1, y1 = place = _box_of(mine)
        if (x1 - x0) * (y1 - y0) <= MAX_PLACE_SHARE * values.size:
            return place
    return region.box


def _connected(high: BoolArray, box: Box) -> BoolArray:
    """The parts of a mask that touch a box."""
    from anomalist.vision.regions import label_components

    labels, _ = label_components(high)
    inside = np.unique(labels[box[1] : box[3], box[0] : box[2]])
    return np.isin(labels, inside[inside > 0])


def _box_of(mask: BoolArray) -> Box:
    ys, xs = np.nonzero(mask)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def unnamed_peak(evidence: Evidence, cited: list[Region]) -> Box | None:
    """The box of the place where the anomaly map is highest; None where a cited region touches it.

    The place is what is connected to the peak above half of its height over the median.
    """
    values = evidence.score_map
    y, x = (int(each) for each in np.unravel_index(int(values.argmax()), values.shape))
    high = values >= (float(np.median(values)) + float(values.max())) / 2
    mine = _connected(high, (x, y, x + 1, y + 1))
    if any(mine[y0:y1, x0:x1].any() for x0, y0, x1, y1 in (region.box for region in cited)):
        return None
    return _box_of(mine)


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


def grown(box: Box, size: tuple[int, int]) -> Box:
    """A box with the margin that is replaced with it, cut to the picture."""
    x0, y0, x1, y1 = box
    margin = max(_MIN_MARGIN, round(MARGIN * max(x1 - x0, y1 - y0)))
    return max(0, x0 - margin), max(0, y0 - margin), min(size[1], x1 + margin), min(size[0], y1 + margin)


def _mark(mask: BoolArray, box: Box) -> None:
    mask[box[1] : box[3], box[0] : box[2]] = True


def replaced(profile: Profile, pixels: UInt8Array, box: Box) -> UInt8Array | None:
    """The picture with the nearest normal patch in place of a box, blended in at the edge.

    The tone of the patch is fitted to the ring around the box. None where no patch is known.
    """
    size = (pixels.shape[0], pixels.shape[1])
    left, top, right, bottom = grown(box, size)
    ring = np.ones((bottom - top, right - left), np.bool_)
    ring[box[1] - top : box[3] - top, box[0] - left : box[2] - left] = False
    around = pixels[top:bottom, left:right].astype(np.float32)
    patch = _normal_patch(profile, pixels, box, around, ring)
    if patch is None:
        return None
    fitted = patch + tone_between(patch, around, ring) if ring.any() else patch
    result = pixels.copy()
    result[top:bottom, left:right] = blended(around, fitted, ring)
    return result


def tone_between(patch: FloatArray, around: FloatArray, ring: BoolArray) -> FloatArray:
    """What has to be added to a patch to go on in tone from its ring, a plane a channel: float32 (h, w, 3).

    Light falls off across a picture: a mean alone would leave a step at two of the four sides. At the edge of
    the picture, where a side has no ring, it is the mean: nothing says how the tone goes on there.
    """
    height, width = ring.shape
    if not all(side.all() for side in (ring[0], ring[-1], ring[:, 0], ring[:, -1])):
        return np.broadcast_to((around - patch)[ring].mean(0), patch.shape)
    y, x = np.mgrid[:height, :width]
    terms = np.stack([np.ones(ring.shape), x / width - 0.5, y / height - 0.5], axis=-1)
    found, *_ = np.linalg.lstsq(terms[ring], (around - patch)[ring].astype(np.float64), rcond=None)
    return np.asarray(terms @ found, np.float32)


def blended(around: FloatArray, inside: FloatArray, ring: BoolArray) -> UInt8Array:
    """Blend what belongs into a window, float32 (h, w, 3), into what is around it.

    ``ring`` is bool (h, w): the margin, in which the one passes over into the other.
    """
    import cv2

    alpha = (~ring).astype(np.float32)
    spread = max(1, round(MARGIN * max(ring.shape) / 3))
    alpha = cv2.GaussianBlur(cv2.dilate(alpha, np.ones((2 * spread + 1,) * 2, np.uint8)), (0, 0), spread / 2)
    return _as_pixels(around + alpha[..., None] * (inside - around))


_MORE_NORMALS = 7
"""Normal pictures, beside that of the nearest normal patch, in which a place that fits is looked for."""


def _normal_patch(
    profile: Profile, pixels: UInt8Array, box: Box, around: FloatArray, ring: BoolArray
) -> FloatArray | None:
    """What is normal there, float32 of the shape of ``around``.

    Of the picture of the nearest normal patch and a few others the place whose surroundings fit those of the
    box best, so that stripes and edges go on. What lies at a border of the picture is taken from that border.
    """
    nearest = profile.detector.nearest_normal_patch(pixels, box)
    if nearest is None:
        return None
    size = (pixels.shape[0], pixels.shape[1])
    left, top, right, bottom = grown(box, size)
    borders = (top == 0, bottom == size[0], left == 0, right == size[1])
    normals = profile.manifest.normals
    others = np.linspace(0, len(normals) - 1, min(_MORE_NORMALS, len(normals))).round().astype(int).tolist()
    best: tuple[float, FloatArray] | None = None
    for number in dict.fromkeys((nearest.picture, *others)):
        picture = _normal_picture(normals[number], size, ring.shape)
        if picture is not None:
            misfit, patch = _best_place(picture, around, ring, borders)
            if best is None or misfit < best[0]:
                best = misfit, patch
    return None if best is None else best[1]


def _normal_picture(
    learned: NormalPicture, size: tuple[int, int], least: tuple[int, ...]
) -> UInt8Array | None:
    """A normal picture at the scale of one of ``size``, at least of a size; None where it is gone."""
    import cv2

    try:
        normal = load_image(learned.source)
    except MediaError:
        return None
    if normal.sha256 != learned.sha256:
        return None
    picture = normal.pixels
    scale = max(size) / max(picture.shape[:2])
    if scale != 1:
        scaled = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
        picture = np.asarray(cv2.resize(picture, scaled, interpolation=cv2.INTER_AREA), np.uint8)
    down, across = max(0, least[0] - picture.shape[0]), max(0, least[1] - picture.shape[1])
    if down or across:
        picture = np.asarray(cv2.copyMakeBorder(picture, 0, down, 0, across, cv2.BORDER_REFLECT), np.uint8)
    return picture


def _best_place(
    picture: UInt8Array, around: FloatArray, ring: BoolArray, borders: tuple[bool, bool, bool, bool]
) -> tuple[float, FloatArray]:
    """The window of a normal picture whose ring fits best, and its squared misfit.

    ``borders`` says which sides of the window (top, bottom, left, right) are borders of the picture.
    """
    import cv2

    height, width = ring.shape
    room = picture.shape[0] - height, picture.shape[1] - width
    top, bottom, left, right = borders
    rows = slice(0, 1) if top else slice(room[0], room[0] + 1) if bottom else slice(0, room[0] + 1)
    columns = slice(0, 1) if left else slice(room[1], room[1] + 1) if right else slice(0, room[1] + 1)
    if not ring.any():
        y, x = room[0] // 2, room[1] // 2
        return 0.0, np.asarray(picture[y : y + height, x : x + width], np.float32)
    weights = np.repeat(ring[..., None], 3, 2).astype(np.float32)
    searched = picture[rows.start : rows.stop + height - 1, columns.start : columns.stop + width - 1]
    misfit = cv2.matchTemplate(searched.astype(np.float32), around, cv2.TM_SQDIFF, mask=weights)
    y, x = (int(each) for each in np.unravel_index(int(np.argmin(misfit)), misfit.shape))
    patch = searched[y : y + height, x : x + width]
    return float(misfit[y, x]), np.asarray(patch, np.float32)


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
        return _as_pixels(pixels.astype(np.float32) * np.float32(factor))

    return change


def _noise(sigma: float) -> Disturbance:
    def change(pixels: UInt8Array, rng: np.random.Generator) -> UInt8Array:
        return _as_pixels(pixels.astype(np.float32) + rng.normal(0, sigma, pixels.shape).astype(np.float32))

    return change


def _as_pixels(values: FloatArray) -> UInt8Array:
    pixels: UInt8Array = np.clip(values.round(), 0, 255).astype(np.uint8)
    return pixels


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
