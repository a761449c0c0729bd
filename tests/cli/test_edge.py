"""Export and import on the command line: what can't be done is one clear error, and nothing is written."""

from __future__ import annotations

from pathlib import Path

from tests.cli.running import run
from tests.pictures import write_tiles
from tests.profiles import save_small_profile


def test_a_detector_that_cannot_be_exported_is_named(tmp_path: Path) -> None:
    profile = save_small_profile(tmp_path / "grey")
    done = run("export", "--profile", profile.path, "--output", tmp_path / "out", "--false-alarm-rate", "0.3")
    assert done.returncode == 2
    assert "can't be exported" in done.stderr and "ensemble" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_profile_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = run("export", "--profile", "nothing", "--output", tmp_path / "out")
    assert done.returncode == 2 and "no profile nothing" in done.stderr


def test_a_folder_without_a_model_is_named_before_a_profile_is_written(tmp_path: Path) -> None:
    write_tiles(tmp_path / "good", 2)
    profile = tmp_path / "profile"
    done = run("import", "anomalib", tmp_path, tmp_path / "good", "--profile", profile)
    assert done.returncode == 2 and "no model of anomalib" in done.stderr
    assert not profile.exists()
