"""From a picture's score and map to Evidence: p-value, threshold, mask and regions."""

from __future__ import annotations

import numpy as np

from anomalist.errors import CalibrationError, MediaError
from anomalist.types import Basis, DetectorInfo, Evidence, Media
from anomalist.vision.calibration import DEFAULT_RATE, groups_needed
from anomalist.vision.detectors import Scored
from anomalist.vision.profile import Profile
from anomalist.vision.regions import find_regions, segment
from anomalist.vision.roi import fitted_roi


def checked_rate(profile: Profile, asked: float | None) -> float:
    """The false-alarm rate to decide at: the one that was asked for, or the default.

    Raises CalibrationError when a rate that was asked for is none or can't be reached. The default may be out
    of reach; the decision is then left open, see `Calibration.reachable`.
    """
    if asked is None:
        return DEFAULT_RATE
    if not 0 < asked < 1:
        raise CalibrationError(f"The false-alarm rate must be between 0 and 1, got {asked}.")
    have, needed = profile.calibration.n_groups, groups_needed(asked)
    if have < needed:
        what = "groups of normal pictures" if profile.manifest.grouped else "normal pictures"
        raise CalibrationError(
            f"A false-alarm rate of {asked:g} needs {needed} {what} for calibration; "
            f"this profile has {have}, which support {1 / (have + 1):.3g} and above.",
            "Learn from more pictures, or ask for a higher rate.",
        )
    return asked


def examine(profile: Profile, media: Media, scored: Scored, rate: float) -> Evidence:
    """Put the numbers of one scored picture together, to be decided at the false-alarm ``rate``.

    Raises MediaError when the numbers are not finite or the region of interest vanishes at this size.
    """
    _refuse_infinite(scored)
    calibration, manifest = profile.calibration, profile.manifest
    roi = fitted_roi(profile.roi, media.size)
    threshold = calibration.threshold(rate)
    # Out of reach: show what stands out from every normal picture that there is.
    high = max(threshold if threshold is not None else float(calibration.scores.max()), manifest.low)
    mask = segment(scored.score_map, roi, high=high, low=manifest.low)
    regions = find_regions(media.pixels, scored.score_map, mask, roi)
    known = profile.detector.name_regions(media.pixels, regions)
    return Evidence(
        detector=DetectorInfo(
            name=manifest.detector, version=manifest.version, digest=manifest.files["detector.safetensors"]
        ),
        score=float(scored.scores.mean()),
        score_map=scored.score_map,
        mask=mask,
        roi_area=int(roi.sum()) if roi is not None else mask.size,
        p_value=calibration.p_value(scored.scores),
        threshold=threshold,
        calibration=calibration.summary(scored.scores, rate),
        regions=tuple(
            region.model_copy(update={"known": kind}) for region, kind in zip(regions, known, strict=True)
        ),
    )


def examine_uncalibrated(
    media: Media, scored: Scored, detector: DetectorInfo, basis: Basis, *, high: float, low: float
) -> Evidence:
    """Put the numbers of one picture together where no normal pictures say how unusual they are.

    ``high`` and ``low`` are the levels of `regions.segment`. Raises MediaError as `examine` does.
    """
    _refuse_infinite(scored)
    mask = segment(scored.score_map, None, high=high, low=low)
    return Evidence(
        detector=detector,
        score=float(scored.scores.mean()),
        score_map=scored.score_map,
        mask=mask,
        roi_area=mask.size,
        regions=find_regions(media.pixels, scored.score_map, mask),
        basis=basis,
        notes=("uncalibrated: scores rank pictures, they decide nothing",),
    )


def _refuse_infinite(scored: Scored) -> None:
    if not np.isfinite(scored.scores).all() or not np.isfinite(scored.score_map).all():
        raise MediaError("The detector gave no finite score for this picture.")
