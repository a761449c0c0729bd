"""Weights of experts without labels: how well each finds synthetic defects on normals that it has not seen.

SurfaceNet was pretrained on the defects of `synthetic_defects`, which alone would favour it. So the trials
have kinds that no network was trained on, too: structure moved or turned, and material that is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from anomalist.types.common import BoolArray, FloatArray, UInt8Array
from anomalist.vision.synthetic_defects import add_defect, as_float
from anomalist.vision.synthetic_textures import Rng

_TRIAL_PICTURES = 20  # normal pictures that get synthetic defects, each one of every kind
_MIN_AREA, _MAX_AREA = 0.004, 0.05  # of a defect, as a share of the square that it is painted in

Painter = Callable[[Rng, FloatArray, FloatArray], FloatArray]
"""Paints one defect: from generator, picture and donor, float32 (n, n, 3) in [0, 1], to a picture."""


def draw_trials(
    images: Sequence[UInt8Array], groups: npt.NDArray[np.int64], seed: int
) -> list[tuple[int, UInt8Array]]:
    """Paint synthetic defects on normal pictures; (number of the picture, uint8 (h, w, 3)) each.

    Whole groups are equally likely, so that pictures of one object don't dominate.
    """
    rng = np.random.default_rng((seed, 7))
    chosen: list[int] = []
    for group in rng.permutation(np.unique(groups))[:_TRIAL_PICTURES]:
        chosen.append(int(rng.choice(np.flatnonzero(groups == group))))
    trials = []
    for index in chosen:
        for paint in PAINTERS.values():
            donor = images[int(rng.integers(len(images)))]
            trials.append((index, _paint_somewhere(rng, images[index], donor, paint)))
    return trials


def expert_weights(
    normal: Mapping[str, Sequence[float]], defective: Mapping[str, Sequence[float]]
) -> dict[str, float]:
    """Weight of each expert: how far its AUROC on the trials is above chance; the weights sum to one.

    Parameters
    ----------
    normal, defective : by expert, its scores of the pictures before and after the defects were painted.
    """
    above = {name: max(0.0, 2 * _auroc(normal[name], defective[name]) - 1) for name in normal}
    total = sum(above.values())
    if total <= 0:
        return dict.fromkeys(above, 1 / len(above))
    return {name: value / total for name, value in above.items()}


def _auroc(normal: Sequence[float], defective: Sequence[float]) -> float:
    """Area under the ROC curve as the Mann-Whitney statistic."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([normal, defective]))[len(normal) :]
    lower = ranks.sum() - len(defective) * (len(defective) + 1) / 2
    return float(lower / (len(normal) * len(defective)))


def _paint_somewhere(rng: Rng, picture: UInt8Array, donor: UInt8Array, paint: Painter) -> UInt8Array:
    """Paint a defect in a random square of a picture, as large as fits."""
    import cv2

    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (int(rng.integers(length - side + 1)) for length in (height, width))
    square = (slice(top, top + side), slice(left, left + side))
    other = np.asarray(cv2.resize(donor, (width, height), interpolation=cv2.INTER_AREA), np.uint8)[square]
    changed = picture.copy()
    painted = paint(rng, as_float(picture[square]), as_float(other))
    changed[square] = (painted.clip(0, 1) * 255).round().astype(np.uint8)
    return changed


def _as_pretrained(rng: Rng, image: FloatArray, donor: FloatArray) -> FloatArray:
    """A defect of the kinds that SurfaceNet was pretrained on."""
    return add_defect(rng, image, donor)[0]


def _moved(rng: Rng, image: FloatArray, donor: FloatArray) -> FloatArray:
    """Normal structure where it does not belong."""
    n = len(image)
    shift = tuple(int(rng.integers(n // 6, n - n // 6)) for _ in range(2))
    return _blend(image, np.roll(donor, shift, (0, 1)), _blob(rng, n))


def _turned(rng: Rng, image: FloatArray, donor: FloatArray) -> FloatArray:
    """Normal structure, turned by a multiple of 90°."""
    n = len(image)
    turned = np.rot90(donor, int(rng.integers(1, 4)))
    return _blend(image, np.roll(turned, (int(rng.integers(n)), int(rng.integers(n))), (0, 1)), _blob(rng, n))


def _missing(rng: Rng, image: FloatArray, donor: FloatArray) -> FloatArray:
    """Something is gone: the place is filled in from around it (Telea 2004)."""
    import cv2

    mask = _blob(rng, len(image))
    hole = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8))
    filled = cv2.inpaint((image * 255).astype(np.uint8), hole, 5, cv2.INPAINT_TELEA)
    return _blend(image, as_float(np.asarray(filled, np.uint8)), mask)


PAINTERS: Mapping[str, Painter] = {
    "pretraining": _as_pretrained,
    "moved": _moved,
    "turned": _turned,
    "missing": _missing,
}
"""Painters of synthetic defects, by kind."""


def _blob(rng: Rng, n: int) -> BoolArray:
    """One irregular connected area in a square, bool (n, n)."""
    import cv2

    area = float(np.exp(rng.uniform(np.log(_MIN_AREA), np.log(_MAX_AREA))))
    noise = cv2.GaussianBlur(rng.normal(size=(n, n)), (0, 0), n / rng.uniform(12, 30))
    rows, columns = np.mgrid[:n, :n]
    down, across = rng.uniform(0.15, 0.85, 2) * n
    away = ((rows - down) ** 2 + (columns - across) ** 2) / (area * n * n)
    field = noise / noise.std() - 2 * away
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        (field > np.quantile(field, 1 - area)).astype(np.uint8)
    )
    return np.asarray(labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()))


def _blend(image: FloatArray, filling: FloatArray, mask: BoolArray) -> FloatArray:
    """Put a filling into a mask, its rim softened by a pixel."""
    import cv2

    alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0)[..., None]
    return np.asarray(image * (1 - alpha) + filling * alpha, np.float32)
