"""Registration to a template, and to the grain of a texture."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.vision.shift.arithmetic import template_size, turn_and_scale
from anomalist.vision.shift.registration import (
    band_pass,
    fit_grain,
    fit_template,
    log_polar_spectrum,
)
from scripts.generated_parts import make_part, make_scene, moved

SIZE = template_size(256, 256)


def structures(product: str, seeds: range) -> list[np.ndarray]:
    """Structures of pictures of a product."""
    return [band_pass(make_part(product, seed)[0], SIZE) for seed in seeds]


@pytest.mark.parametrize("product", ["plate", "cap", "label"])
@pytest.mark.parametrize(
    ("dx", "dy", "degrees", "scale"), [(9, -7, 0, 1), (0, 0, 4, 1), (3, 2, -2, 1.1), (0, 0, 90, 1)]
)
def test_a_pose_is_found_again(product: str, dx: float, dy: float, degrees: float, scale: float) -> None:
    fitted = fit_template(structures(product, range(12)))
    assert fitted is not None
    template = fitted.template
    picture = make_part(product, 50)[0]
    plain = template.register(band_pass(picture, SIZE))
    seen = moved(dx, dy, -degrees, scale)(make_scene(product, 50)[0])
    pose = template.register(band_pass(seen, SIZE), accepted=float(fitted.agreements.min()) - 0.02)
    assert pose.degrees == pytest.approx(degrees, abs=0.5)
    assert pose.scale == pytest.approx(scale, abs=0.02)
    if not degrees and scale == 1:
        assert (pose.dx - plain.dx) * 256 == pytest.approx(dx, abs=0.5)
        assert (pose.dy - plain.dy) * 256 == pytest.approx(dy, abs=0.5)


def test_a_texture_without_a_place_has_no_template() -> None:
    assert fit_template(structures("woven", range(12))) is None


def test_grain_tells_turn_and_scale() -> None:
    grain, _ = fit_grain(structures("woven", range(12)))
    pose = grain.register(band_pass(moved(0, 0, -5, 1.1)(make_scene("woven", 60)[0]), SIZE))
    assert pose.degrees == pytest.approx(5, abs=0.7)
    assert pose.scale == pytest.approx(1.1, abs=0.02)


def test_normals_agree_with_the_grain_of_the_others_as_new_pictures_do() -> None:
    grain, poses = fit_grain(structures("woven", range(4)))
    new = [grain.register(one).agreement for one in structures("woven", range(60, 72))]
    assert np.median([pose.agreement for pose in poses]) == pytest.approx(np.median(new), abs=0.1)


def test_a_spectrum_is_neither_turned_nor_scaled_against_itself() -> None:
    spectrum = log_polar_spectrum(structures("plate", range(1))[0])
    ((degrees, scale),) = turn_and_scale(spectrum, spectrum, 1)
    assert degrees == pytest.approx(0, abs=0.01)
    assert scale == pytest.approx(1, abs=0.001)
