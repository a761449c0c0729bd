from __future__ import annotations

import json
from pathlib import Path

import pytest

from anomalist.errors import DataError
from anomalist.eval.mmad.questions import knowledge_name, read_list, read_mmad
from tests.eval.mmad.miniature import save, write_mmad


def test_pictures_come_with_questions_templates_and_masks(tmp_path: Path) -> None:
    write_mmad(tmp_path)
    data = read_mmad(tmp_path)
    assert len(data.pictures) == 8
    assert (data.missing, data.problems) == ((), ())
    hole = next(picture for picture in data.pictures if picture.name == "DS-MVTec/tile/image/hole/000.png")
    assert (hole.dataset, hole.product, hole.normal) == ("DS-MVTec", "tile", False)
    assert [q.subtask for q in hole.questions] == [
        "Anomaly Detection",
        "Defect Localization",
        "Object Analysis",
    ]
    assert hole.questions[1].options[hole.questions[1].right] == "Upper left"
    assert hole.templates[0] == tmp_path / "MVTec-AD/tile/train/good/000.png"
    assert hole.mask == tmp_path / "DS-MVTec/tile/masks/000.png"
    assert knowledge_name(hole) == "MVTec/tile"


def test_paths_may_be_written_with_backslashes(tmp_path: Path) -> None:
    content = write_mmad(tmp_path)
    save(tmp_path, {name.replace("/", "\\"): value for name, value in content.items()})
    assert {picture.name for picture in read_mmad(tmp_path).pictures} == set(content)


def test_what_is_missing_or_faulty_is_listed_and_the_rest_read(tmp_path: Path) -> None:
    content = write_mmad(tmp_path)
    first, second, third, *_ = content
    (tmp_path / first).unlink()
    content[second]["conversation"][0]["Answer"] = "F"
    content[third]["conversation"][0]["type"] = "Weather"
    save(tmp_path, content)
    data = read_mmad(tmp_path)
    assert data.missing == (first,)
    assert "none of its options A, B" in data.problems[0]
    assert "unknown type Weather" in data.problems[1]
    assert sum(len(picture.questions) for picture in data.pictures) == 20 - 2 - 2


def test_a_picture_that_is_there_twice_counts_once_and_is_named(tmp_path: Path) -> None:
    content = write_mmad(tmp_path)
    name = next(iter(content))
    text = json.dumps(content)
    (tmp_path / "mmad.json").write_text(f"{{{json.dumps(name)}: {json.dumps(content[name])}, {text[1:]}")
    data = read_mmad(tmp_path)
    assert len(data.pictures) == 8
    assert data.problems == (f"{name} is in mmad.json more than once: its last entry counts",)


@pytest.mark.parametrize("broken", ["half", "list", "gone", "empty"])
def test_a_folder_in_another_form_gets_one_clear_error(tmp_path: Path, broken: str) -> None:
    content = write_mmad(tmp_path)
    path = tmp_path / "mmad.json"
    if broken == "half":
        path.write_text(path.read_text()[: path.stat().st_size // 2])
    elif broken == "list":
        path.write_text("[]")
    elif broken == "gone":
        path.unlink()
    else:
        for name in content:
            (tmp_path / name).unlink()
    words = {
        "half": "no whole JSON",
        "list": "another form",
        "gone": "can't be read",
        "empty": "None of the 8",
    }
    with pytest.raises(DataError, match=words[broken]):
        read_mmad(tmp_path)


def test_a_list_of_faults_names_pictures_and_folders(tmp_path: Path) -> None:
    content = write_mmad(tmp_path)
    data = read_mmad(tmp_path)
    listed = tmp_path / "faults.txt"
    listed.write_text("# filed wrongly\nVisA\\pcb1\\test\\hole\\\n\nDS-MVTec/tile/image/good/001.png\n")
    assert read_list(listed, data) == {
        "VisA/pcb1/test/hole/000.png",
        "VisA/pcb1/test/hole/001.png",
        "DS-MVTec/tile/image/good/001.png",
    }
    listed.write_text("DS-MVTec/tile/image/good/9.png\n")
    with pytest.raises(DataError, match="is no picture"):
        read_list(listed, data)
    assert len(content) == 8


def test_a_sample_is_drawn_from_each_data_set_and_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    write_mmad(tmp_path)
    data = read_mmad(tmp_path)
    sample = data.sample(1, 3)
    assert [picture.dataset for picture in sample.pictures] == ["DS-MVTec", "VisA"]
    assert sample == data.sample(1, 3)
