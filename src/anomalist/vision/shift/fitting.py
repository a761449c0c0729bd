"""Fitting of the model of whole pictures to normal ones, and to small changes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from anomalist.types.common import BoolArray, FloatArray, UInt8Array
from anomalist.vision.regions import resize_roi_to_grid
from anomalist.vision.shift.arithmetic import template_size
from anomalist.vision.shift.comparison import MeanPicture
from anomalist.vision.shift.model import (
    InputModel,
    InputSample,
    at_level,
    pose_row,
    resize,
)
from anomalist.vision.shift.nuisances import NUISANCES, compress
from anomalist.vision.shift.registration import (
    FOUND_SHARE,
    REGISTERED,
    Template,
    fit_grain,
    fit_template,
    full_size_matrix,
    shape_of,
    to_frame,
)
from anomalist.vision.shift.statistics import UsualLight, measure_statistics, statistic_row

SIMULATED = 16
"""Normal pictures, at most, whose small changes are simulated."""
_MEAN_SIDE = 512  # pixels
_SAME_SIZE = 0.03
_GRAIN_NORMALS = 3  # two agree with each other, or not, but for chance
_GRAIN_AGREEMENT, _GRAIN_DEGREES, _GRAIN_SCALE = 0.5, 1.0, 0.03


def fit_input_model(
    samples: Sequence[InputSample], read: Callable[[int], UInt8Array], roi: BoolArray | None, seed: int
) -> InputModel:
    """Fit the model to n normal pictures; ``read`` gives one again, uint8 (H, W, 3)."""
    size = _common_size([sample.size for sample in samples])
    usual = UsualLight.of([sample.statistics for sample in samples])
    rows = np.stack([statistic_row(sample.statistics, usual) for sample in samples])
    model = InputModel(
        size,
        usual,
        rows,
        *_ranges(_choose(len(samples), SIMULATED, seed), read, roi, size, rows, usual),
        None,
        None,
        np.zeros((1, 4)),
        -1.0,
        -1.0,
        min(sample.statistics.jpeg for sample in samples),
    )
    chosen = _choose(len(samples), REGISTERED, seed)
    placed = _with_pose(model, [samples[i].structure for i in chosen])
    if placed.template is None or size is None:
        return placed
    structures = {
        i: samples[i].structure for i in chosen if samples[i].structure.shape == template_size(*size)
    }
    return replace(placed, picture=_mean_picture(placed.template, structures, read, size))


def _mean_picture(
    template: Template,
    structures: Mapping[int, FloatArray],
    read: Callable[[int], UInt8Array],
    size: tuple[int, int],
) -> MeanPicture:
    """Mean of normal pictures, moved to the template, at most ``_MEAN_SIDE`` pixels a side."""
    scale = min(1.0, _MEAN_SIDE / max(size))
    kept = max(8, round(size[0] * scale)), max(8, round(size[1] * scale))
    moved = []
    for number, structure in structures.items():
        pose = template.register(structure)
        matrix = full_size_matrix(pose.matrix, shape_of(template.structure), kept)
        moved.append(to_frame(resize(read(number), kept), matrix))
    return MeanPicture.fit(moved)


def _choose(count: int, most: int, seed: int) -> list[int]:
    order = np.random.default_rng((seed, 11)).permutation(count)
    return sorted(order[:most].tolist())


def _common_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    array = np.array(sizes, np.float64)
    middle = np.median(array, 0)
    if (np.abs(array / middle - 1) > _SAME_SIZE).any():
        return None
    return int(middle[0]), int(middle[1])


def _ranges(
    chosen: Sequence[int],
    read: Callable[[int], UInt8Array],
    roi: BoolArray | None,
    size: tuple[int, int] | None,
    rows: npt.NDArray[np.float64],
    usual: UsualLight,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Lowest and highest statistics of normals and of small changes of them, by level: (3, 8) each."""
    found: list[list[npt.NDArray[np.float64]]] = [list(rows), [], []]
    for number in chosen:
        pixels = read(number)
        if size is not None and pixels.shape[:2] != size:
            pixels = resize(pixels, size)
        inside = resize_roi_to_grid(roi, pixels.shape)
        for name, change in NUISANCES.items():
            if name == "halved":
                continue  # seen at a level of size of its own
            found[0].append(statistic_row(measure_statistics(change(pixels), inside), usual))
        for level in (1, 2):
            small = at_level(pixels, level)
            for changed in (small, compress(small, 50)):
                # A small picture is enlarged first and reduced again, as one that is to be judged.
                seen = at_level(resize(changed, (pixels.shape[0], pixels.shape[1])), level)
                counts = resize_roi_to_grid(roi, seen.shape)
                found[level].append(statistic_row(measure_statistics(seen, counts), usual))
    return np.stack([np.min(each, 0) for each in found]), np.stack([np.max(each, 0) for each in found])


def _with_pose(model: InputModel, structures: Sequence[FloatArray]) -> InputModel:
    """The model with a template where the normals lie alike, or the grain where they have one."""
    if model.size is None:
        return model
    kept = [one for one in structures if one.shape == template_size(*model.size)]
    if len(kept) < 2:
        return model  # whether pictures lie alike, one doesn't tell
    fitted = fit_template(kept)
    if fitted is not None:
        low, high = fitted.agreements.min(), fitted.agreements.max()
        return replace(
            model,
            template=fitted.template,
            poses=np.stack([pose_row(pose) for pose in fitted.poses]),
            expected=float(low - max(0.02, 0.5 * (high - low))),
            found=fitted.found,
        )
    if len(kept) < _GRAIN_NORMALS:
        return model
    grain, poses = fit_grain(kept)
    rows = np.stack([pose_row(pose) for pose in poses])
    usable = np.median([pose.agreement for pose in poses]) >= _GRAIN_AGREEMENT
    if usable and rows[:, 2].std() <= _GRAIN_DEGREES and rows[:, 3].std() <= _GRAIN_SCALE:
        agreements = np.array([pose.agreement for pose in poses])
        low, high = agreements.min(), agreements.max()
        return replace(
            model,
            grain=grain,
            poses=rows,
            expected=float(low - max(0.1, high - low)),
            found=FOUND_SHARE * float(np.median(agreements)),
        )
    return model
