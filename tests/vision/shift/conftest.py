"""Models of whole pictures of generated products, fitted once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from anomalist.vision.shift.fitting import fit_input_model
from anomalist.vision.shift.model import InputModel, InputSample
from scripts.generated_parts import make_part

NORMALS = 24


@cache
def fitted(product: str) -> InputModel:
    """Model of 24 pictures of a product."""
    pictures = [make_part(product, seed)[0] for seed in range(NORMALS)]
    samples = [InputSample.of(picture, None) for picture in pictures]
    return fit_input_model(samples, lambda number: pictures[number], None, 0)


@pytest.fixture(scope="session")
def model_of() -> Callable[[str], InputModel]:
    """Gives the model of a product by name."""
    return fitted
