"""What is put in place of a part of a picture: of the same place of a fixtured product, in tone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from anomalist.audit.normal_patches import normal_patches, tone_between
from anomalist.vision.media.images import load_image
from tests.pictures import write


def test_the_tone_of_a_patch_goes_on_as_a_plane_and_at_the_edge_of_the_picture_as_a_mean() -> None:
    y, x = np.mgrid[:30, :40].astype(np.float32)
    around = np.stack([100 + x, 50 + 2 * y, 90 - x + y], -1)
    ring = np.ones((30, 40), np.bool_)
    ring[8:22, 10:30] = False
    flat = np.full_like(around, 80)
    assert np.abs(flat + tone_between(flat, around, ring) - around).max() < 0.01
    ring[:22] = False  # nothing of the picture above
    assert np.ptp(tone_between(flat, around, ring), axis=(0, 1)).max() == 0


def test_of_a_product_that_always_lies_alike_the_same_place_is_normal(tmp_path: Path) -> None:
    """A missing hole is bare metal, which is normal elsewhere and would fit its surroundings."""
    chance = np.random.default_rng(0)
    plates = []
    for number in range(4):
        plate = np.full((120, 160, 3), 150, np.uint8) + chance.integers(0, 4, (120, 160, 1), np.uint8)
        plate[50 + number : 62 + number, 30:42] = 20  # the hole, which moves a little
        plates.append(write(tmp_path / f"{number}.png", plate))
    without = np.full((120, 160, 3), 151, np.uint8)
    box = (28, 48, 44, 68)
    for template, darkest in ((object(), 20), (None, 150)):
        fitting = normal_patches(known_from(plates, template), without, box)
        assert len(fitting) == 4 and {patch.min() for patch in fitting} == {darkest}


def known_from(paths: list[Path], template: object | None) -> Any:
    """As much of a profile as a patch is found with."""
    return SimpleNamespace(
        detector=SimpleNamespace(nearest_normal_patch=lambda pixels, box: SimpleNamespace(picture=0)),
        inputs=SimpleNamespace(template=template),
        manifest=SimpleNamespace(normals=[load_image(path) for path in paths]),
    )
