"""Blind probes: synthetic defects of graded size and contrast on fresh normals, and what a profile misses.

Each probe is one normal picture with one defect, measured like any other picture. The map of what is found,
by size, contrast and place, has an interval for every share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from anomalist.agent.tools.subject import ProbeCell, ProbeResult
from anomalist.audit.log import audit_folder, has_log
from anomalist.audit.normal_patches import as_pixels
from anomalist.audit.promises import Interval, clopper_pearson
from anomalist.audit.reading import LogEntry, read_entries
from anomalist.audit.replay import find_medium
from anomalist.errors import AnomalistError, DataError
from anomalist.storage.files import file_sha256
from anomalist.types.common import FloatArray, UInt8Array
from anomalist.types.image import Media, Record, is_alarm
from anomalist.vision.detectors.base import Progress, no_progress
from anomalist.vision.evidence import ProfileEvidence, measure, score_inputs, validated_rate
from anomalist.vision.media.images import list_images, load_image
from anomalist.vision.profile import Profile
from anomalist.vision.regions import resize_roi
from anomalist.vision.synthetic_defects import MASK_RENDERERS

SIZES = (0.01, 0.02, 0.04, 0.08, 0.16)
"""Longer side of a defect, as a share of that of the picture."""
CONTRASTS = (0.04, 0.08, 0.16, 0.32)
"""Step of the grey level, 0 to 1."""
SHAPES = ("spot", "blob", "crack", "box")
PLACES = (
    "upper left",
    "upper",
    "upper right",
    "left",
    "centre",
    "right",
    "lower left",
    "lower",
    "lower right",
)
_CANVAS = 128  # pixels of the canvas that masks are drawn on
_MIN_SIDE = 2  # pixels of the smallest defect


def newest_probes(folder: Path | None = None) -> dict[str, LogEntry]:
    """The entry of the newest blind probes in the audit log of each profile that has some, by its name."""
    if not has_log(folder):
        return {}
    return {str(entry.content.get("profile")): entry for entry in read_entries(folder, kinds=["probe"])}


def probe_results() -> dict[str, ProbeResult]:
    """The same as questions are answered by, from the log of this user."""
    return {name: _result(entry) for name, entry in newest_probes().items()}


def _result(entry: LogEntry) -> ProbeResult:
    cells = [
        ProbeCell(
            size=cell["size"],
            contrast=cell["contrast"],
            painted=cell["of"],
            found=round((cell["share"] or 0) * cell["of"]),
        )
        for cell in entry.content.get("grid") or ()
    ]
    return ProbeResult(entry=entry.id, time=entry.time, cells=tuple(cells))


@dataclass(frozen=True)
class Probe:
    """One painted defect, and what came of it.

    Parameters
    ----------
    size, contrast : as painted; ``contrast`` is positive for lighter.
    place : of nine in the picture.
    found : whether the picture was an alarm.
    located : whether a region or the peak of the map lies on the defect.
    """

    source: str
    shape: str
    size: float
    contrast: float
    place: str
    score: float
    p_value: float
    found: bool
    located: bool


@dataclass(frozen=True)
class ProbeMap:
    """What a profile finds and misses, by size, contrast and place.

    Parameters
    ----------
    untouched : share of the same pictures, without a defect, that are alarms.
    """

    profile: str
    digest: str
    rate: float
    seed: int
    probes: tuple[Probe, ...]
    untouched: Interval

    def found(self, size: float | None = None, contrast: float | None = None, place: str = "") -> Interval:
        """Share that is found, of all that fit; ``contrast`` is that of both lighter and darker ones."""
        fitting = [
            probe.found
            for probe in self.probes
            if size in (None, probe.size)
            and contrast in (None, abs(probe.contrast))
            and place in ("", probe.place)
        ]
        return clopper_pearson(sum(fitting), len(fitting))

    @property
    def located(self) -> Interval:
        """Share of those found whose place is right, too."""
        right = [probe.located for probe in self.probes if probe.found]
        return clopper_pearson(sum(right), len(right))

    def grid(self) -> tuple[tuple[Interval, ...], ...]:
        """A row for each contrast, the strongest first, with a cell for each size."""
        return tuple(tuple(self.found(size, contrast) for size in SIZES) for contrast in reversed(CONTRASTS))

    def smallest_found(self, share: float = 0.9) -> Mapping[float, float | None]:
        """By contrast the smallest size from which on at least this share is found; None where none is."""
        found: dict[float, float | None] = {}
        for contrast in CONTRASTS:
            smallest = None
            for size in reversed(SIZES):
                if (self.found(size, contrast).share or 0.0) < share:
                    break
                smallest = size
            found[contrast] = smallest
        return found


def fresh_normals(profile: Profile, given: Sequence[Path], folder: Path | None = None) -> list[Path]:
    """Normal pictures that a profile was not learned from.

    Those in ``given`` (pictures and folders); without any, pictures of the log that people called normal or
    that this profile called normal, where the file is still there.

    Raises DataError where there are none.
    """
    known = {normal.sha256 for normal in profile.manifest.normals}
    if given:
        found = [path for path in list_images(given).images if file_sha256(path) not in known]
    else:
        found = list(_normals_of_log(profile, known, audit_folder() if folder is None else folder))
    if not found:
        raise DataError(
            f"No normal pictures that {profile.name} was not learned from.",
            "Name a folder of fresh ones: anomalist audit probe --profile NAME DIR",
        )
    return found


def _normals_of_log(profile: Profile, known: set[str], folder: Path) -> Iterator[Path]:
    seen = set(known)
    for entry in read_entries(folder, kinds=["inspection"]):
        record = entry.content.get("record") or {}
        sha256 = record.get("sha256")
        if (
            record.get("label") != "normal"
            or record.get("profile_digest") != profile.digest
            or sha256 in seen
        ):
            continue
        seen.add(str(sha256))
        try:
            yield find_medium(folder, Record.model_validate(record))
        except (AnomalistError, ValueError):
            continue


def run_probes(
    profile: Profile,
    normals: Sequence[Path],
    *,
    each: int = 10,
    rate: float | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> ProbeMap:
    """Paint defects on normals and measure them.

    Parameters
    ----------
    normals : pictures without defects that the profile was not learned from.
    each : probes for each size and contrast.
    rate : false-alarm rate that is decided at; None takes that of the profile.

    Raises
    ------
    CalibrationError : the rate is out of reach.
    MediaError : no normal can be read.
    """
    source = ProfileEvidence(profile, validated_rate(profile, rate))
    rng = np.random.default_rng(seed)
    jobs = [(size, contrast) for size in SIZES for contrast in CONTRASTS for _ in range(each)]
    order = rng.permutation(len(normals))
    pictures: dict[int, Media] = {}
    probes = []
    for number, (size, contrast) in enumerate(jobs):
        media = _picture(normals, int(order[number % len(order)]), pictures)
        probes.append(_one(source, media, size, contrast, rng))
        progress("probes", number + 1, len(jobs))
    quiet = [_is_alarm(source, media) for media in pictures.values()]
    return ProbeMap(
        profile.name,
        profile.digest,
        source.rate,
        seed,
        tuple(probes),
        clopper_pearson(sum(quiet), len(quiet)),
    )


def _picture(normals: Sequence[Path], number: int, known: dict[int, Media]) -> Media:
    if number not in known:
        if len(known) >= 64:  # large pictures would fill the memory
            return load_image(normals[number])
        known[number] = load_image(normals[number])
    return known[number]


def _is_alarm(source: ProfileEvidence, media: Media) -> bool:
    (scored,) = score_inputs(source.profile, [media])
    p = measure(source.profile, media, scored, source.rate).p_value
    return p is not None and is_alarm(p, source.rate)


def _one(
    source: ProfileEvidence, media: Media, size: float, contrast: float, rng: np.random.Generator
) -> Probe:
    shape = str(rng.choice(SHAPES))
    signed = contrast if rng.random() < 0.5 else -contrast
    allowed = resize_roi(source.profile.roi, media.size)
    alpha = place_mask(rng, shape, size, media.size, allowed)
    pixels = paint(media.pixels, alpha, signed)
    painted = Media(media.source, media.sha256, pixels)
    (scored,) = score_inputs(source.profile, [painted])
    evidence = measure(source.profile, painted, scored, source.rate)
    inside = alpha > 0.3
    ys, xs = np.nonzero(inside)
    column, row = int(3 * xs.mean() / media.size[1]), int(3 * ys.mean() / media.size[0])
    peak = np.unravel_index(int(evidence.score_map.argmax()), evidence.score_map.shape)
    near = _dilated(inside, max(4, round(0.02 * max(media.size))))
    p = evidence.p_value if evidence.p_value is not None else 1.0
    return Probe(
        source=media.source,
        shape=shape,
        size=size,
        contrast=signed,
        place=PLACES[3 * min(row, 2) + min(column, 2)],
        score=evidence.score,
        p_value=p,
        found=is_alarm(p, source.rate),
        located=bool((evidence.mask & near).any() or near[peak]),
    )


def place_mask(
    rng: np.random.Generator,
    shape: str,
    size: float,
    picture: tuple[int, int],
    allowed: npt.NDArray[np.bool_] | None,
) -> FloatArray:
    """A soft mask of a defect in a picture, float32 (H, W) in [0, 1].

    Parameters
    ----------
    shape : a renderer of masks by name.
    size : its longer side, as a share of that of the picture.
    picture : height and width.
    allowed : bool (H, W), where its middle may be; None for everywhere.
    """
    import cv2

    side = max(_MIN_SIDE, round(size * max(picture)))
    stamp = _stamp(rng, shape)
    factor = side / max(stamp.shape)
    target = (max(1, round(stamp.shape[1] * factor)), max(1, round(stamp.shape[0] * factor)))
    small = np.asarray(cv2.resize(stamp, target, interpolation=cv2.INTER_AREA), np.float32)
    small = np.pad(small / max(float(small.max()), 1e-6), 2)
    small = np.asarray(cv2.GaussianBlur(small, (0, 0), 0.6), np.float32)
    small = small[: picture[0], : picture[1]]
    height, width = small.shape
    alpha = np.zeros(picture, np.float32)
    for _ in range(100):
        y = int(rng.integers(0, picture[0] - height + 1))
        x = int(rng.integers(0, picture[1] - width + 1))
        if allowed is None or allowed[y + height // 2, x + width // 2]:
            break
    alpha[y : y + height, x : x + width] = small / max(float(small.max()), 1e-6)
    return alpha


def _stamp(rng: np.random.Generator, shape: str) -> FloatArray:
    """A mask cut to its bounding box, float32 (h, w)."""
    for _ in range(20):
        mask = MASK_RENDERERS[shape](rng, _CANVAS)
        ys, xs = np.nonzero(mask > 0.3)
        if len(ys):
            return np.ascontiguousarray(mask[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1], np.float32)
    return np.ones((8, 8), np.float32)


def paint(pixels: UInt8Array, alpha: FloatArray, contrast: float) -> UInt8Array:
    """The picture with its grey level moved by ``contrast`` (−1 to 1) where ``alpha`` is 1.

    Where that would leave the range it is moved the other way, so that every contrast can be seen.
    """
    level = float(pixels[alpha > 0.3].mean()) / 255 if (alpha > 0.3).any() else 0.5
    if not 0 <= level + contrast <= 1:
        contrast = -contrast
    changed = pixels.astype(np.float32) + 255 * contrast * alpha[..., None]
    return as_pixels(changed)


def _dilated(mask: npt.NDArray[np.bool_], by: int) -> npt.NDArray[np.bool_]:
    import cv2

    grown = cv2.dilate(mask.astype(np.uint8), np.ones((2 * by + 1, 2 * by + 1), np.uint8))
    return np.asarray(grown > 0)
