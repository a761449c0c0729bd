"""Plug-ins are found by name, entry point or dotted path, and nothing else is imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer

from anomalist.errors import AnomalistError, DataError, DetectorError, ModelError
from anomalist.plugins import GROUPS, GroupName, describe_plugin, load_plugin, names_plugin
from anomalist.vision.detectors.surface import SurfaceDetector
from tests.pictures import tile, write

DETECTORS: GroupName = "anomalist.detectors"
EXPORTERS: GroupName = "anomalist.exporters"
REASONERS: GroupName = "anomalist.reasoners"
FEATURES: GroupName = "anomalist.features"


class Packages:
    """A folder on the path to which packages with entry points can be added."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, module: str, code: str, entry_points: str = "") -> None:
        (self.folder / f"{module}.py").write_text(code, encoding="utf-8")
        info = self.folder / f"{module}-2.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 2.5\n")
        (info / "entry_points.txt").write_text(entry_points)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Packages]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    yield Packages(tmp_path)
    for name in set(sys.modules) - before:
        if name.startswith("their"):
            del sys.modules[name]


EXPORT = "def export(records, folder): pass\n"


def test_the_own_detector_is_found_by_its_name() -> None:
    assert load_plugin(DETECTORS, "surface") is SurfaceDetector


def test_every_own_name_can_be_loaded() -> None:
    for group, spec in GROUPS.items():
        for name in spec.own:
            load_plugin(group, name)


def test_an_entry_point_is_found_by_its_name_and_nothing_else_is_imported(packages: Packages) -> None:
    packages.add(
        "theirs", EXPORT, "[anomalist.exporters]\npdf = theirs:export\nother = theirs_other:export\n"
    )
    packages.add("theirs_other", EXPORT)
    assert "theirs" not in sys.modules
    assert names_plugin(EXPORTERS, "pdf")
    assert describe_plugin(EXPORTERS, "pdf") == "pdf (theirs 2.5)"
    assert "theirs" not in sys.modules
    assert load_plugin(EXPORTERS, "pdf") is sys.modules["theirs"].export
    assert "theirs_other" not in sys.modules


def test_a_dotted_path_may_lead_into_a_class(packages: Packages) -> None:
    packages.add("theirs", "class Exports:\n    @staticmethod\n    def pdf(records, folder): return 'pdf'\n")
    assert load_plugin(EXPORTERS, "theirs:Exports.pdf")([], Path()) == "pdf"


def test_a_name_of_another_group_is_not_found(packages: Packages) -> None:
    packages.add("theirs", EXPORT, "[anomalist.exporters]\npdf = theirs:export\n")
    with pytest.raises(
        DetectorError,
        match=r"There is no detector 'pdf'\. Known: anomalib, ensemble, surface, or module:Object",
    ):
        load_plugin(DETECTORS, "pdf")
    with pytest.raises(DataError, match=r"There is no exporter 'csv'\. Known: pdf, or module:Object"):
        load_plugin(EXPORTERS, "csv")


@pytest.mark.parametrize("name", ["", "a", "a:", ":b", "a b:c", "a/b:c", "1a:b", "a:b:c", "../a:b"])
def test_what_is_no_dotted_path_is_never_imported(name: str) -> None:
    assert not names_plugin(DETECTORS, name)
    with pytest.raises(DetectorError, match="There is no detector"):
        load_plugin(DETECTORS, name)


@pytest.mark.parametrize(
    ("code", "name", "why"),
    [
        ("", "nowhere:export", "there is no module nowhere"),
        ("", "nowhere.deeper:export", "there is no module nowhere"),
        ("", "theirs.deeper:export", r"there is no module theirs\.deeper"),
        ("", "theirs:export", "theirs has no export"),
        ("import nowhere", "theirs:export", "theirs needs nowhere, which is missing"),
        ("1 / 0", "theirs:export", r"theirs can't be imported \(ZeroDivisionError: division by zero\)"),
        ("export = 3", "theirs:export", "is no exporter: .* has no __call__"),
    ],
)
def test_what_is_missing_is_named_in_one_line(packages: Packages, code: str, name: str, why: str) -> None:
    packages.add("theirs", code)
    with pytest.raises(DataError, match=rf"^[^\n]*{why}[^\n]*$"):
        load_plugin(EXPORTERS, name)


def test_the_members_that_an_object_lacks_are_named(packages: Packages) -> None:
    packages.add("theirs", "class Half:\n    name = 'half'\n    def score(self): ...\n")
    with pytest.raises(
        DetectorError, match=r"theirs:Half is no detector.*Half has no folds, prepare, learn,"
    ):
        load_plugin(DETECTORS, "theirs:Half")


def test_two_packages_that_offer_one_name_are_both_named(packages: Packages) -> None:
    for module in ("theirs_a", "theirs_b"):
        packages.add(module, EXPORT, f"[anomalist.exporters]\npdf = {module}:export\n")
    with pytest.raises(DataError, match=r"theirs_a:export, theirs_b:export|theirs_b:export, theirs_a:export"):
        load_plugin(EXPORTERS, "pdf")


def test_a_factory_that_fails_or_wants_arguments_is_named(packages: Packages) -> None:
    packages.add("theirs", "def make(size): ...\n")
    with pytest.raises(
        ModelError, match=r"theirs:make can't be loaded: it can't be called without arguments"
    ):
        load_plugin(REASONERS, "theirs:make")


def test_an_own_name_can_not_be_taken(packages: Packages) -> None:
    packages.add("theirs", "Other = object", "[anomalist.detectors]\nsurface = theirs:Other\n")
    assert load_plugin(DETECTORS, "surface") is SurfaceDetector


def test_an_exporter_that_nobody_offers_is_refused_before_anything_is_inspected(tmp_path: Path) -> None:
    from anomalist.cli.app import app

    picture = write(tmp_path / "a.png", tile(1))
    words = ["inspect", str(picture), "--export", "pdf"]
    command = typer.main.get_command(app)
    with pytest.raises(DataError, match="There is no exporter 'pdf'"):
        command([*words, "--out", str(tmp_path / "run")], standalone_mode=False)
    assert not (tmp_path / "run").exists()
    with pytest.raises(DataError, match=r"--export.*--out"):
        command(words, standalone_mode=False)


# --- names read from a file -------------------------------------------------------------------------------

MODULE = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n" + EXPORT


def test_a_dotted_path_in_a_file_is_not_imported(packages: Packages) -> None:
    packages.add("theirs", MODULE)
    with pytest.raises(
        DataError, match=r"theirs:export of the profile x is not installed.*its code is not run"
    ):
        load_plugin(EXPORTERS, "theirs:export", stored_in="the profile x")
    assert not (packages.folder / "ran").exists()
    assert load_plugin(EXPORTERS, "theirs:export")  # asked for by the user
    assert (packages.folder / "ran").exists()


def test_a_dotted_path_in_a_file_is_imported_where_a_package_offers_it(packages: Packages) -> None:
    packages.add("theirs", MODULE, "[anomalist.exporters]\nwhatever = theirs:export\n")
    assert load_plugin(EXPORTERS, "theirs:export", stored_in="the profile x")


def test_a_dotted_path_in_a_file_is_followed_where_the_user_imported_its_module(packages: Packages) -> None:
    packages.add("theirs", MODULE)
    __import__("theirs")
    assert load_plugin(EXPORTERS, "theirs:export", stored_in="the profile x")


def test_a_name_in_a_file_that_is_not_installed_says_so() -> None:
    with pytest.raises(DataError, match=r"The exporter 'pdf' of the profile x is not installed\. Install"):
        load_plugin(EXPORTERS, "pdf", stored_in="the profile x")


# --- feature extractors -----------------------------------------------------------------------------------

DESCRIBE = """
import numpy as np
class Constant:
    def describe(self, pictures):
        return {}
"""
UNIT = "np.full((len(pictures), 2, 3, 4), 0.5, np.float32)"


def test_a_backbone_of_another_package_describes_patches(packages: Packages) -> None:
    from anomalist.vision.features.backbones import open_backbone

    packages.add("theirs", DESCRIBE.format(UNIT), "[anomalist.features]\nflat = theirs:Constant\n")
    backbone = open_backbone("flat")
    assert backbone.name == "flat"
    assert backbone.describe([np.zeros((32, 32, 3), np.uint8)] * 5).shape == (5, 2, 3, 4)


@pytest.mark.parametrize(
    ("given", "arrived"),
    [
        (f"{UNIT}.astype(np.float64)", r"got float64 \(2, 2, 3, 4\)"),
        (f"{UNIT}[:1]", r"got float32 \(1, 2, 3, 4\)"),
        (f"{UNIT}[:, 0]", r"got float32 \(2, 3, 4\)"),
        (f"{UNIT}[:, :0]", r"got float32 \(2, 0, 3, 4\)"),
        (f"2 * {UNIT}", "got lengths 2 to 2"),
        (f"{UNIT} * np.float32(np.nan)", "got lengths nan"),
        ("None", "got NoneType"),
    ],
)
def test_what_a_backbone_gives_is_checked(packages: Packages, given: str, arrived: str) -> None:
    from anomalist.vision.features.backbones import open_backbone

    packages.add("theirs", DESCRIBE.format(given))
    with pytest.raises(AnomalistError, match=f"theirs:Constant must give .*{arrived}"):
        open_backbone("theirs:Constant").describe([np.zeros((32, 32, 3), np.uint8)] * 2)


def test_a_backbone_in_a_file_is_not_imported(packages: Packages) -> None:
    from anomalist.vision.features.backbones import open_backbone

    packages.add("theirs", DESCRIBE.format(UNIT))
    with pytest.raises(DetectorError, match="its code is not run"):
        open_backbone("theirs:Constant", stored_in="the scene yard")
    assert "theirs" not in sys.modules
