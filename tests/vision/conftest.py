"""What the tests of detectors share: the shipped network, read once, and what it learns from a few tiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from anomalist.types import UInt8Array
from anomalist.vision.eyes import Eyes
from anomalist.vision.features import working_picture
from anomalist.vision.fusion import Model, Remembered, fit_model, remember
from anomalist.vision.weights import shipped_network
from tests.pictures import tile


@pytest.fixture(scope="session")
def eyes() -> Eyes:
    return Eyes(shipped_network())


@pytest.fixture(scope="session")
def normals() -> Sequence[UInt8Array]:
    """Ten good tiles at working size, 128×128."""
    return [working_picture(tile(number)) for number in range(10)]


@pytest.fixture(scope="session")
def remembered(eyes: Eyes, normals: Sequence[UInt8Array]) -> Remembered:
    return remember(eyes, normals, np.arange(len(normals)), None, 0, lambda done, total: None)


@pytest.fixture(scope="session")
def model(eyes: Eyes, normals: Sequence[UInt8Array], remembered: Remembered) -> Model[Remembered]:
    return fit_model(eyes, [eyes.network.head], 0, remembered, normals, np.arange(len(normals)), 0)
