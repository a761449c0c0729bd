"""Whole pictures without the package: the same changes are named, and the same taken out, as with it."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from anomalist.edge.export import input_arrays
from anomalist.edge.runner.inputs import InputComparison, measure_picture
from anomalist.vision.shift.fitting import fit_input_model
from anomalist.vision.shift.model import InputModel, InputSample
from anomalist.vision.shift.statistics import ImageStatistics, measure_statistics
from anomalist.vision.shift.storage import save_input_model
from scripts.generated_parts import DEFECTS, LARGE, PRODUCTS, SMALL, make_part, make_scene

NORMALS = 8


@pytest.fixture(scope="module", params=PRODUCTS[::3])
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, InputModel, InputComparison]:
    """The model of whole pictures of a product, and what the runner reads of it."""
    pictures = [make_part(request.param, seed)[0] for seed in range(NORMALS)]
    samples = [InputSample.of(picture, None) for picture in pictures]
    fitted = fit_input_model(samples, lambda number: pictures[number], None, 0)
    model = replace(fitted, corrections={"light": 1.0, "pose": 2.0, "size": 4.0, "compression": 8.0})
    file = tmp_path_factory.mktemp("inputs") / "inputs.safetensors"
    save_input_model(model, file)
    return request.param, model, InputComparison(*input_arrays(file))


def test_the_same_is_named_and_taken_out(both: tuple[str, InputModel, InputComparison]) -> None:
    product, model, runner = both
    scene = make_scene(product, 1010)[0]
    pictures = [make_part(product, 1000)[0], make_part(product, 2000, next(iter(DEFECTS)))[0]]
    pictures += [pictures[0][:-1], *(change(scene) for change in list(SMALL.values())[::2])]
    pictures += [change(scene) for change, _ in list(LARGE.values())[::2]]
    for picture in pictures:
        expected, found = model.assess(picture), runner.assess(picture, None)
        assert tuple(change.name for change in expected.shift.changes) == found.changes
        assert expected.shift.score_correction == pytest.approx(found.less)
        assert (expected.pixels != found.pixels).mean() < 0.002
        assert np.abs(expected.pixels.astype(int) - found.pixels).max() <= 1
        assert (expected.matrix is None) == (found.matrix is None)
        if expected.matrix is not None and found.matrix is not None:
            assert np.allclose(expected.matrix, found.matrix, atol=1e-3)


@pytest.mark.parametrize(
    "place",
    [
        (slice(1250, 1450), slice(20, 300)),
        (slice(1497, None), slice(None)),
        (slice(None), slice(2996, None)),
    ],
    ids=["a corner", "the last rows", "the last columns"],
)
def test_the_same_is_measured_of_a_large_picture_whose_middle_does_not_count(
    place: tuple[slice, slice],
) -> None:
    roi = np.zeros((1500, 2999), bool)
    roi[place] = True
    picture = np.random.default_rng(0).normal(120, 25, (1500, 2999, 3)).clip(0, 255).astype(np.uint8)
    expected, found = measure_statistics(picture, roi), measure_picture(picture, roi)
    for field in fields(ImageStatistics):
        value = np.asarray(getattr(expected, field.name))
        assert np.isfinite(value).all()
        np.testing.assert_allclose(getattr(found, field.name), value, rtol=1e-3, atol=1e-3)
