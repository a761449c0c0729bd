"""What the tests of detectors share: the shipped network, read once, and what it learns from a few tiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from anomalist.types.common import UInt8Array
from anomalist.vision.detectors.fusion import (
    FusionModel,
    NormalImages,
    PatchBank,
    build_patch_bank,
    fit_model,
)
from anomalist.vision.features.backbones import to_working_size
from anomalist.vision.features.extractor import FeatureExtractor, shipped_network
from tests.pictures import tile


@pytest.fixture(scope="session")
def extractor() -> FeatureExtractor:
    return FeatureExtractor(shipped_network())


@pytest.fixture(scope="session")
def normals() -> Sequence[UInt8Array]:
    """Ten good tiles at working size, 128×128."""
    return [to_working_size(tile(number)) for number in range(10)]


@pytest.fixture(scope="session")
def remembered(extractor: FeatureExtractor, normals: Sequence[UInt8Array]) -> PatchBank:
    return build_patch_bank(
        extractor, NormalImages(normals, np.arange(len(normals))), None, lambda done, total: None
    )


@pytest.fixture(scope="session")
def model(
    extractor: FeatureExtractor, normals: Sequence[UInt8Array], remembered: PatchBank
) -> FusionModel[PatchBank]:
    return fit_model(
        extractor, [extractor.network.head], 0, remembered, NormalImages(normals, np.arange(len(normals)))
    )
