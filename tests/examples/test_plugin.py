"""The example package is installed into a folder of its own and used as its README says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import anomalist
from anomalist.errors import DetectorError
from anomalist.vision.profile import load_profile
from tests.cli.running import run
from tests.pictures import holed, tile, write, write_tiles

SOURCE = Path(__file__).parents[2] / "examples" / "plugin"


class Workplace:
    """A folder with pictures and profiles; what is done in it sees the example package."""

    def __init__(self, folder: Path, packages: Path) -> None:
        self.folder, self.packages = folder, packages

    @contextmanager
    def entered(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.syspath_prepend(self.packages)
            yield
        for name in [name for name in sys.modules if name.startswith("anomalist_brightness")]:
            del sys.modules[name]

    def done(self, *words: str) -> None:
        """Run ``anomalist``."""
        with self.entered():
            finished = run(*words)
        assert finished.returncode == 0, finished.stderr

    def records(self, run: str) -> dict[str, dict[str, object]]:
        lines = (self.folder / run / "records.jsonl").read_text(encoding="utf-8").splitlines()
        return {Path(record["source"]).stem: record for record in map(json.loads, lines)}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    folder = tmp_path_factory.mktemp("plugin")
    # A copy, as building leaves files beside the source.
    shutil.copytree(SOURCE, folder / "source", ignore=shutil.ignore_patterns("build", "*.egg-info"))
    packages = folder / "packages"
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    install = [sys.executable, "-m", "pip", "install", "--quiet", *options, "--target", str(packages)]
    subprocess.run([*install, str(folder / "source")], check=True, timeout=300)
    write_tiles(folder / "good", 24)
    write(folder / "new" / "fine.png", tile(100))
    write(folder / "new" / "hole.png", holed(101))
    made = Workplace(folder, packages)
    with made.entered():
        anomalist.learn("good", profile="./brightness", detector="brightness")  # only Python can name it
    return made


def test_detector_reasoner_and_exporter_are_used_by_name(workplace: Workplace) -> None:
    words = ("--model", "one-claim", "--out", "run", "--export", "sarif")
    workplace.done("inspect", "new", "--profile", "./brightness", *words)
    records = workplace.records("run")
    assert [records[name]["label"] for name in ("fine", "hole")] == ["normal", "anomalous"]
    assert records["hole"]["detector"]["name"] == "brightness"  # type: ignore[index]
    assert records["hole"]["reasoner"] == "one claim"
    (claim,) = records["hole"]["claims"]  # type: ignore[misc]
    assert claim["evidence"] == ["score"] and "anomalous" in claim["text"]  # type: ignore[index]
    x0, y0, x1, y1 = records["hole"]["regions"][0]["box"]  # type: ignore[index]
    assert x0 <= 16 < x1 and y0 <= 16 < y1
    written = workplace.folder / "run" / "results.sarif"
    (found,) = json.loads(written.read_text(encoding="utf-8"))["runs"][0]["results"]
    assert found["ruleId"] == "anomalous"
    assert found["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "new/hole.png"

    written.unlink()
    workplace.done("report", "run", "--export", "anomalist_brightness.exporter:write_sarif")
    assert written.is_file()


@pytest.fixture(scope="module")
def colour(workplace: Workplace) -> Path:
    """A profile of the surface detector with the feature extractor of the example."""
    learn = ("learn", "good", "--profile", "./colour", "--effort", "fast", "--limit", "4")
    workplace.done(*learn, "--backbone", "colour-gradients")
    return workplace.folder / "colour"


def test_the_feature_extractor_serves_the_memory_bank_of_the_surface_detector(
    workplace: Workplace, colour: Path
) -> None:
    workplace.done("inspect", "new", "--profile", str(colour), "--out", "run-colour")
    records = workplace.records("run-colour")
    assert records["hole"]["score"] > records["fine"]["score"]  # type: ignore[operator]


def test_a_profile_without_its_package_names_what_is_missing(workplace: Workplace) -> None:
    with pytest.raises(
        DetectorError, match="The detector 'brightness' of the profile brightness is not inst"
    ):
        load_profile(workplace.folder / "brightness")


def test_a_profile_without_its_feature_extractor_names_what_is_missing(colour: Path) -> None:
    with pytest.raises(DetectorError, match=r"colour-gradients .* the profile colour .* Install the package"):
        load_profile(colour)
