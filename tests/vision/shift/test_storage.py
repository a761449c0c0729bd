"""The model of whole pictures on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from anomalist.vision.shift.model import InputModel
from anomalist.vision.shift.storage import load_input_model, save_input_model
from scripts.generated_parts import LARGE, cropped, make_scene


@pytest.mark.parametrize("product", ["plate", "woven"])
def test_a_model_that_was_read_says_the_same(
    product: str, model_of: Callable[[str], InputModel], tmp_path: Path
) -> None:
    model = model_of(product)
    save_input_model(model, tmp_path / "model.safetensors")
    again = load_input_model(tmp_path / "model.safetensors")
    picture = make_scene(product, 1000)[0]
    for change in (cropped, LARGE["defocus"][0], LARGE["turned by 3°"][0]):
        one, other = model.assess(change(picture)), again.assess(change(picture))
        assert one.shift == other.shift
        np.testing.assert_array_equal(one.pixels, other.pixels)
