"""Exports: the runner, in a Python without the package, gives pictures the same labels and scores."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anomalist.agent.reasoning.policy import load_policy
from anomalist.edge import export
from anomalist.edge.export import export_profile
from anomalist.edge.runner.running import Runner
from anomalist.errors import DetectorError, ProfileError
from anomalist.pipeline import Inspector, learn
from anomalist.vision.features.dinov2 import open_shared
from anomalist.vision.profile import MixedProfile, Profile, load_profile
from tests.pictures import SIDE, holed, tile, write, write_tiles
from tests.profiles import save_small_profile

ALONE = """
import runpy, sys
for name in ("anomalist", "torch", "cv2", "scipy", "skimage", "faiss", "transformers", "pydantic"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
POLICY = load_policy()


def run_alone(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run an export in a Python that can import neither the package nor what it needs."""
    command = [sys.executable, "-c", ALONE, str(folder / "run.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def float32() -> Iterator[None]:
    """The package in float32, also where bfloat16 is fast: what the runner computes in."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("features.dinov2", "detectors.token_memory"):
            patch.setattr(f"anomalist.vision.{module}.uses_bfloat16", lambda device: False)
        open_shared.cache_clear()
        yield
        open_shared.cache_clear()


@pytest.fixture(scope="module")
def ensemble(
    tiles_profile: Profile, float32: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Profile, Path]:
    folder = tmp_path_factory.mktemp("ensemble") / "export"
    export_profile(tiles_profile.path, folder, policy=POLICY)
    return load_profile(tiles_profile.path), folder


@pytest.fixture(scope="module")
def surface(tmp_path_factory: pytest.TempPathFactory) -> tuple[Profile, Path]:
    """A surface of 12 bit in 16 with a region of interest, by the surface detector."""
    root = tmp_path_factory.mktemp("surface")
    for number in range(6):
        save_deep(root / "good" / f"{number}.png", tile(number))
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:, : SIDE // 2] = 255
    roi = write(root / "roi.png", mask)
    profile = learn(root / "good", profile=root / "profile", effort="fast", detector="surface", roi=roi)
    export_profile(profile.path, root / "export", policy=POLICY)
    return profile, root / "export"


def save_deep(path: Path, picture: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture[..., 0].astype(np.uint16) * 16).save(path)
    return path


def pictures(folder: Path) -> list[Path]:
    """Normal and defective ones, changed as a whole, of other modes, sizes and formats."""
    folder.mkdir()
    paths = [write(folder / f"good{number}.png", tile(100 + number)) for number in range(8)]
    paths += [write(folder / f"bad{number}.png", holed(200 + number)) for number in range(6)]
    paths.append(write(folder / "dark.png", (tile(300) * 0.3).astype(np.uint8)))
    paths.append(write(folder / "dim.png", (tile(301) * 0.9).astype(np.uint8)))
    paths.append(write(folder / "shifted.png", np.roll(tile(302), 9, 1)))
    paths.append(write(folder / "turned.png", np.rot90(tile(303)).copy()))
    paths.append(write(folder / "grey.png", tile(304)[..., 0]))
    paths.append(write(folder / "larger.png", np.kron(holed(305), np.ones((2, 2, 1), np.uint8))))
    paths.append(write(folder / "smaller.png", tile(306)[::2, ::2].copy()))
    paths.append(write(folder / "wide.png", tile(307)[:40]))
    paths.append(write(folder / "black.png", np.zeros((SIDE, SIDE, 3), np.uint8)))
    paths.append(
        write(folder / "noise.png", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    )
    paths.append(save_deep(folder / "deep.png", tile(308)))
    alpha = np.dstack([tile(309), np.full((SIDE, SIDE), 200, np.uint8)])
    paths.append(write(folder / "alpha.png", alpha))
    paths.append(folder / "coarse.jpg")
    Image.fromarray(holed(310)).save(paths[-1], quality=40)
    paths.append(folder / "palette.gif")
    Image.fromarray(tile(311)).save(paths[-1])
    return paths


def assert_same(profile: Profile, folder: Path, paths: list[Path]) -> None:
    """The runner gives the labels of the package, p-values and scores, too."""
    ran = run_alone(folder, "--json", *paths)
    assert ran.returncode == 0, ran.stderr
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    expected = list(Inspector(profile, model="evidence").inspect_many(paths))
    assert len(found) == len(expected) == len(paths)
    for own, theirs in zip(found, expected, strict=True):
        assert theirs.evidence is not None
        where = own["source"], own, theirs.evidence.score
        assert own["label"] == theirs.record.label, where
        assert own["score"] == pytest.approx(theirs.evidence.score, abs=1e-3), where
        assert own["p_value"] == pytest.approx(theirs.evidence.p_value, abs=0.1), where
        shift = theirs.evidence.input_shift
        assert own["input_changes"] == [change.name for change in (shift.changes if shift else ())], where


def test_the_ensemble_gives_the_same_without_the_package(
    ensemble: tuple[Profile, Path], tmp_path: Path
) -> None:
    assert_same(*ensemble, pictures(tmp_path / "new"))


def test_the_surface_detector_gives_the_same_inside_a_region_of_interest(
    surface: tuple[Profile, Path], tmp_path: Path
) -> None:
    profile, folder = surface
    paths = [save_deep(tmp_path / f"{number}.png", tile(100 + number)) for number in range(3)]
    paths += [save_deep(tmp_path / f"bad{number}.png", holed(200 + number)) for number in range(2)]
    paths += [save_deep(tmp_path / "beside.png", holed(300)[:, ::-1].copy())]
    for path in paths:
        own = Runner(folder).inspect(path)
        (theirs,) = Inspector(profile, model="evidence").inspect_many([path])
        assert theirs.evidence is not None
        assert own["label"] == theirs.record.label
        assert own["score"] == pytest.approx(theirs.evidence.score, abs=1e-3)
        row, column = np.unravel_index(
            np.where(mask_of(profile), theirs.evidence.score_map, -np.inf).argmax(), (SIDE, SIDE)
        )
        assert own["highest"] == [column, row]


def mask_of(profile: Profile) -> np.ndarray:
    assert profile.roi is not None
    return profile.roi


def test_what_cannot_be_read_is_no_verdict_and_the_rest_goes_on(
    surface: tuple[Profile, Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    colour = write(tmp_path / "tiny.png", tile(1)[:8, :8].copy())
    good = save_deep(tmp_path / "good.png", tile(1))
    ran = run_alone(surface[1], "--json", broken, colour, good)
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.returncode == 3
    assert [row["label"] for row in found[:2]] == [None, None] and found[2]["label"] is not None
    assert "no picture" in found[0]["error"] and "8×8" in found[1]["error"]


def test_a_name_that_is_no_text_is_told_and_the_rest_goes_on(
    surface: tuple[Profile, Path], tmp_path: Path
) -> None:
    good = save_deep(tmp_path / "good.png", tile(1))
    ran = run_alone(surface[1], tmp_path / "no\udcfftext.png", good)
    assert ran.returncode == 3
    told = ran.stdout.splitlines()
    assert "not judged" in told[0] and "good.png" in told[1]


def test_a_changed_file_is_refused(surface: tuple[Profile, Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in surface[1].iterdir():
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    with (copy / "head0.onnx").open("ab") as opened:
        opened.write(b" ")
    ran = run_alone(copy, tmp_path / "x.png")
    assert ran.returncode == 2 and "head0.onnx is not the file" in ran.stderr


def test_the_manifest_says_what_it_is_of_and_what_it_does_without(ensemble: tuple[Profile, Path]) -> None:
    profile, folder = ensemble
    manifest: dict[str, Any] = json.loads((folder / "edge.json").read_text())
    assert manifest["profile"] == profile.digest
    assert manifest["precision"] == "float32"
    assert len(manifest["calibration"]["scores"]) == len(profile.calibration.scores)
    assert any("severity" in each for each in manifest["left_out"])
    assert set(manifest["files"]) == {"run.py", "arrays.npz", "tokens.onnx"}


def test_what_cannot_be_exported_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = save_small_profile(tmp_path / "grey")
    with pytest.raises(DetectorError, match="can't be exported"):
        export_profile(small.path, tmp_path / "out", policy=POLICY, false_alarm_rate=0.3)
    mixed = MixedProfile(small.manifest, tmp_path, (small,), None, None)  # type: ignore[arg-type]
    monkeypatch.setattr(export, "load_any_profile", lambda name: mixed)
    with pytest.raises(ProfileError, match="several products"):
        export_profile("mixed", tmp_path / "out", policy=POLICY)
    assert not (tmp_path / "out").exists()


def test_another_folder_is_never_replaced(surface: tuple[Profile, Path], tmp_path: Path) -> None:
    profile, folder = surface
    with pytest.raises(ProfileError, match="already there"):
        export_profile(profile.path, folder, policy=POLICY)
    write_tiles(tmp_path / "mine", 1)
    with pytest.raises(ProfileError, match="other things"):
        export_profile(profile.path, tmp_path / "mine", policy=POLICY, force=True)
