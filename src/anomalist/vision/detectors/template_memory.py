"""Template of a product that always lies alike: mean and deviation of its pixels, and differences to them.

A memory bank does not know where a patch belongs: bare metal is normal, also where a hole should be. Here
each picture is registered to the template, and its pixels are compared with the mean of the normal pictures
in standard deviations of these, after the light was matched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from anomalist.types.common import BoolArray, FloatArray, UInt8Array
from anomalist.vision.alignment import Matrix
from anomalist.vision.detectors.token_memory import top_score
from anomalist.vision.shift.arithmetic import match_light, template_size
from anomalist.vision.shift.registration import (
    Pose,
    Template,
    band_pass,
    fit_template,
    full_size_matrix,
    shape_of,
    to_frame,
)

_LEAST_DEVIATION = 5.0  # grey levels, added to the standard deviation of the normals
_BLUR = 1.2  # pixels: what differs in one pixel alone is noise
_TOP_SHARE = 0.002  # of the pixels, whose mean difference is the score of a picture


@dataclass(frozen=True, eq=False)
class TemplateMemory:
    """Mean and deviation of the pixels of normal pictures, each moved to the template.

    Parameters
    ----------
    template : that pictures are registered to.
    mean, deviation : float32 (H, W), grey levels at working size.
    found : agreement with the template from which a picture shows the product.
    learned : the moved normals by number, float16 (H, W); only until they are left out no more.
    """

    template: Template
    mean: FloatArray
    deviation: FloatArray
    found: float
    learned: Mapping[int, npt.NDArray[np.float16]] = field(default_factory=dict, repr=False)

    @classmethod
    def fit(cls, pictures: Sequence[UInt8Array]) -> TemplateMemory | None:
        """Fit to normal pictures at working size, uint8 (H, W, 3); None where they don't lie alike."""
        shapes = {picture.shape for picture in pictures}
        if len(shapes) > 1:
            return None
        height, width = pictures[0].shape[:2]
        structures = [band_pass(picture, template_size(height, width)) for picture in pictures]
        fitted = fit_template(structures)
        if fitted is None:
            return None
        moved = [
            _moved(picture, fitted.template.register(structure))
            for picture, structure in zip(pictures, structures, strict=True)
        ]
        mean = np.asarray(np.stack(moved).mean(0), np.float32)
        learned = {number: _lit(one, mean).astype(np.float16) for number, one in enumerate(moved)}
        memory = cls(fitted.template, mean, np.zeros_like(mean), fitted.found, learned)
        mean, deviation = memory._moments(np.empty(0, np.int32))
        return replace(memory, mean=mean, deviation=deviation)

    def forget(self) -> TemplateMemory:
        """The memory without what is needed to leave pictures out."""
        return replace(self, learned={})

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What `of_arrays` reads."""
        return {
            "template": self.template.structure,
            "mean": self.mean,
            "deviation": self.deviation,
            "found": np.array([self.found], np.float64),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> TemplateMemory:
        """Restore what `arrays` gave."""
        template = Template(arrays["template"])
        return cls(template, arrays["mean"], arrays["deviation"], float(arrays["found"][0]))

    def differences(
        self, picture: UInt8Array, excluded: npt.NDArray[np.int32] | None = None
    ) -> FloatArray | None:
        """Difference of each pixel to the mean of the normals, in their standard deviations: float32 (H, W).

        Parameters
        ----------
        picture : uint8 (H, W, 3) at working size.
        excluded : normals that are left out; only after learning.

        Returns
        -------
        0 outside the template; None where the picture is of another size, or does not show the product.
        """
        import cv2

        if picture.shape[:2] != self.mean.shape:
            return None
        height, width = self.mean.shape
        pose = self.template.register(band_pass(picture, template_size(height, width)))
        if pose.agreement < self.found:
            return None
        mean, deviation = (self.mean, self.deviation) if excluded is None else self._moments(excluded)
        off = _lit(_moved(picture, pose), mean) - mean
        away = np.abs(cv2.GaussianBlur(off, (0, 0), _BLUR)) / (deviation + _LEAST_DEVIATION)
        matrix, size = _full_size(picture, pose), (width, height)
        return np.asarray(cv2.warpAffine(away, matrix[:2], size, flags=cv2.INTER_LINEAR), np.float32)

    @cached_property
    def _sums(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Sums, over what was learned, of the differences to the mean and of their squares."""
        total, squares = np.zeros(self.mean.shape, np.float64), np.zeros(self.mean.shape, np.float64)
        for one in self.learned.values():
            off = one.astype(np.float64) - self.mean
            total += off
            squares += off * off
        return total, squares

    def _moments(self, excluded: npt.NDArray[np.int32]) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the learned pictures, without some."""
        gone = [self.learned[number] for number in excluded.tolist() if number in self.learned]
        count = len(self.learned) - len(gone)
        if count < 1:
            return self.mean, self.deviation
        total, squares = self._sums
        for one in gone:
            off = one.astype(np.float64) - self.mean
            total, squares = total - off, squares - off * off
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean * mean, 0))
        return (self.mean + mean).astype(np.float32), deviation.astype(np.float32)


def template_score(differences: FloatArray, inside: BoolArray | None) -> float:
    """Score of a picture: mean of its highest differences, float32 (H, W), inside the ROI."""
    return top_score(differences, inside, _TOP_SHARE)


def _moved(picture: UInt8Array, pose: Pose) -> FloatArray:
    """Grey levels of a picture in the frame of the template."""
    import cv2

    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return to_frame(grey, _full_size(picture, pose))


def _full_size(picture: UInt8Array, pose: Pose) -> Matrix:
    size = shape_of(picture)
    return full_size_matrix(pose.matrix, template_size(*size), size)


def _lit(grey: FloatArray, mean: FloatArray) -> FloatArray:
    """Grey levels in the light of the mean."""
    slope, level = match_light(mean, grey)
    return np.asarray((grey - level) / max(slope, 0.1), np.float32)
