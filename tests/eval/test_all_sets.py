from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from anomalist.cli.app import app
from anomalist.errors import DataError
from anomalist.eval import all_sets
from anomalist.eval.all_sets import CASES, SkippedSet, run_all
from anomalist.eval.detection import Contender
from anomalist.eval.saved_runs import SavedRun
from anomalist.types.common import Frozen
from anomalist.vision.features.dinov2 import BackboneLocation, find_dinov2
from tests.eval.mmad.miniature import write_mmad
from tests.eval.sources import DarknessSource
from tests.pictures import holed, write, write_tiles

made: list[int] = []


class Figures(Frozen):
    auroc: float = 0.5


def make(*_: object) -> DarknessSource:
    made.append(1)
    return DarknessSource()


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set of pictures, MMAD, and something else; pictures are judged by their darkness."""
    root = tmp_path / "data"
    write_tiles(root / "tiles" / "good", 4)
    write(root / "tiles" / "hole" / "0.png", holed(9))
    write_mmad(root / "mmad")
    (root / "papers").mkdir()
    (root / "papers" / "notes.txt").write_text("hello")
    made.clear()
    monkeypatch.setattr(all_sets, "contenders", lambda *_: [Contender("darkness", make, "fast")])
    return root


def test_what_is_in_a_known_layout_is_measured_and_the_rest_skipped(data: Path, tmp_path: Path) -> None:
    mmad_0, mmad_1, skipped, tiles = run_all(data, tmp_path / "cache")
    assert isinstance(skipped, SkippedSet)
    assert (skipped.folder.name, "in no known layout" in skipped.why) == ("papers", True)
    assert isinstance(mmad_0, SavedRun) and isinstance(mmad_1, SavedRun) and isinstance(tiles, SavedRun)
    assert (mmad_0.benchmark, len(mmad_1.questions)) == ("mmad", 20)
    assert tiles.result["n_train"] == 2  # half of the good ones
    assert [picture.name for picture in tiles.pictures if not picture.normal] == ["hole/0.png"]
    assert len(made) == 1


@pytest.mark.parametrize("half", ["half", "zhalf"])
def test_the_whole_products_of_a_set_are_measured_and_the_half_fetched_one_is_named(
    half: str, data: Path, tmp_path: Path
) -> None:
    for product in ("one", "two"):
        for part in ("train/good", "test/good", "ground_truth"):
            write(data / "bottles" / product / part / "0.png", holed(9))
    write(data / "bottles" / half / "train" / "good" / "0.png", holed(9))
    found = list(run_all(data, tmp_path / "cache", only=["bottles"]))
    (skipped,) = [each for each in found if isinstance(each, SkippedSet)]
    assert skipped.name == f"bottles/{half}" and f"{half} is not whole" in skipped.why
    measured = [each.result["data"] for each in found if isinstance(each, SavedRun)]
    assert measured == ["bottles/one", "bottles/two"]
    write(data / "bottles" / half / "test" / "good" / "0.png", holed(9))
    assert len(list(run_all(data, tmp_path / "cache", only=["bottles"]))) == 3
    assert len(made) == 3, "what was measured before the rest was fetched is not measured again"


def test_a_product_without_pictures_to_learn_from_changes_nothing_for_the_others(
    data: Path, tmp_path: Path
) -> None:
    rows = ["object,split,label,image,mask"]
    for product, count in (("cap", 3), ("lid", 0)):
        for number in range(count):
            rows.append(f"{product},train,normal,{product}/Data/Images/t{number}.png,")
            write(data / "visa" / product / "Data" / "Images" / f"t{number}.png", holed(number))
        for number in range(2):
            rows.append(f"{product},test,normal,{product}/Data/Images/{number}.png,")
            write(data / "visa" / product / "Data" / "Images" / f"{number}.png", holed(number))
    (data / "visa" / "split_csv").mkdir()
    (data / "visa" / "split_csv" / "1cls.csv").write_text("\n".join(rows))
    cap, lid = run_all(data, tmp_path / "cache", only=["visa"])
    assert isinstance(cap, SavedRun) and cap.result["n_train"] == 3
    assert isinstance(lid, SkippedSet) and (lid.name, "to learn from" in lid.why) == ("visa/lid", True)


def test_one_part_that_cannot_be_measured_does_not_end_the_others(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def captions(folder: Path) -> Figures:
        if folder.name == "a":
            raise DataError("There are no labels.")
        return Figures()

    monkeypatch.setattr(all_sets, "evaluate_captions", captions)
    for part in ("a", "b"):
        (data / "films" / part).mkdir(parents=True)
        (data / "films" / part / "01.csv").touch()
    first, second = run_all(data, tmp_path / "cache", only=["films"])
    assert isinstance(first, SkippedSet) and first.name == "films/a"
    assert isinstance(second, SavedRun) and second.name == "b"


def test_sets_that_cannot_be_read_do_not_end_the_others(data: Path, tmp_path: Path) -> None:
    write(tmp_path / "outside.png", holed(9))
    write(data / "coco" / "images" / "0.png", holed(9))
    (data / "coco" / "annotations").mkdir()
    rows = {"images": [{"id": 1, "file_name": str(tmp_path / "outside.png")}]}
    text = json.dumps({**rows, "annotations": [], "categories": []})
    (data / "coco" / "annotations" / "all.json").write_text(text)
    (data / ".ipynb_checkpoints").mkdir()
    coco, *rest = run_all(data, tmp_path / "cache", only=["coco", "tiles"])
    assert isinstance(coco, SkippedSet) and "outside.png, which is not inside" in coco.why
    assert [isinstance(each, SavedRun) for each in rest] == [True]


def test_a_second_time_nothing_is_measured_again_unless_a_picture_changed(data: Path, tmp_path: Path) -> None:
    first = list(run_all(data, tmp_path / "cache"))
    assert list(run_all(data, tmp_path / "cache")) == first
    assert len(made) == 1
    write(data / "tiles" / "hole" / "0.png", holed(8))
    list(run_all(data, tmp_path / "cache"))
    assert len(made) == 2


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a folder"):
        list(run_all(tmp_path / "gone", tmp_path))


def test_the_commands_save_runs_with_a_page_and_compare_them(data: Path, tmp_path: Path) -> None:
    words = [
        "eval",
        "all",
        "--data",
        str(data),
        "--out",
        str(tmp_path / "out"),
        "--cache",
        str(tmp_path / "c"),
        "--page",
        str(tmp_path / "page.md"),
    ]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "evaluation.html").is_file()
    page = (tmp_path / "page.md").read_text()
    assert "## Pictures: tiles darkness fast seed 0" in page
    assert "- papers: papers is in no known layout." in page and str(tmp_path) not in page
    saved = sorted(path for path in (tmp_path / "out").glob("*.json"))
    assert len(saved) == 3
    one, two = (str(path) for path in saved if path.name.startswith("mmad"))
    done = CliRunner().invoke(
        app, ["eval", "compare", one, two], env={"COLUMNS": "140"}, catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    assert "Anomaly" in done.stdout
    assert "On 20 items that both judged" in done.stdout


def test_folders_can_be_named_and_whole_runs_are_kept(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Path] = []

    def sentences(folder: Path) -> Figures:
        measured.append(folder)
        return Figures()

    monkeypatch.setattr(all_sets, "evaluate_sentences", sentences)
    (data / "papers" / "sentences.csv").write_text("video,sentence,label")
    runs = [list(run_all(data, tmp_path / "cache", only=["papers"])) for _ in range(2)]
    assert runs[0] == runs[1] == [SavedRun(benchmark="sentences", name="papers", result={"auroc": 0.5})]
    assert len(measured) == 1
    list(run_all(data, tmp_path / "cache", only=["papers"], seed=1))
    assert len(measured) == 2, "another seed is another run"
    for part in ("a", "b"):
        (data / "papers" / part).mkdir()
    (data / "papers" / "a" / "clip").write_text("normal")
    list(run_all(data, tmp_path / "cache", only=["papers"]))
    (data / "papers" / "a" / "clip").rename(data / "papers" / "b" / "clip")
    list(run_all(data, tmp_path / "cache", only=["papers"]))
    assert len(measured) == 4, "what is in another folder has another part in it"
    found = replace(find_dinov2() or BackboneLocation("other", tmp_path, ""), origin="another one")
    monkeypatch.setattr("anomalist.vision.features.dinov2.find_dinov2", lambda: found)
    list(run_all(data, tmp_path / "cache", only=["papers"]))
    assert len(measured) == 5, "another backbone measures otherwise"
    with pytest.raises(DataError, match="no folder gone"):
        list(run_all(data, tmp_path / "cache", only=["gone"]))


def test_pictures_that_are_all_defective_are_asked_for_their_kind(data: Path, tmp_path: Path) -> None:
    for kind, tone in (("dark", 20), ("light", 230)):
        for number in range(CASES + 2):
            picture = np.full((48, 48, 3), 120, np.uint8)
            picture[10 : 20 + number, 12:30] = tone
            write(data / "steel" / "images" / f"{kind}_{number}.png", picture)
    (data / "steel" / "boxes.csv").write_text("image,x1,y1,x2,y2,type\n")
    (run,) = run_all(data, tmp_path / "cache", only=["steel"])
    assert isinstance(run, SavedRun) and run.benchmark == "questions"
    (kinds,) = run.result["results"]
    assert (kinds["subtask"], kinds["n"], kinds["value"]) == ("kind", 4, 1.0)
