from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalist.errors import DataError
from anomalist.eval.image_datasets import (
    MIN_IOU,
    ImageDataset,
    load_folder,
    match_boxes,
    split_dataset,
)
from anomalist.types.common import Box


def draw(path: Path, size: tuple[int, int] = (4, 6), value: int = 128) -> Path:
    """Write a grey picture of (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, dtype=np.uint8)).save(path)
    return path


def write_groups(table: Path, rows: dict[str, str], header: str = "image,group") -> Path:
    with table.open("w", encoding="utf-8-sig", newline="") as file:  # as spreadsheets save it
        file.write(header + "\n")
        csv.writer(file).writerows(rows.items())
    return table


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eight good pictures, two scratches and two dents; one dent has no mask."""
    root = tmp_path / "data"
    for index in range(8):
        draw(root / "good" / f"{index}.png")
    for name in ("scratch/a.jpg", "scratch/b.png", "dent/c.png", "dent/d.png"):
        draw(root / name)
    for name in ("scratch/a.png", "scratch/b_mask.png", "dent/c.png"):
        draw(root / "ground_truth" / name, value=255)
    (root / "good" / "notes.txt").write_text("not a picture")
    (root / "good" / ".hidden.png").write_bytes(b"")
    (root / ".cache").mkdir()
    draw(root / ".cache" / "x.png")
    return root


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    """Pairs of good pictures, one tile with a good and a defective picture, one with a defect only."""
    tiles = {f"good/{index}.png": f"tile{index // 2}" for index in range(8)}
    tiles |= {"scratch/a.jpg": "tile0", "scratch/b.png": "tile1", "dent/c.png": "only, defects"}
    tiles |= {"dent/d.png": "tile3", "good/gone.png": "tile9"}
    return write_groups(tmp_path / "groups.csv", tiles)


def test_pictures_come_sorted_with_defect_and_mask(data: Path) -> None:
    loaded = load_folder(data)
    masks = {item.name: item.mask for item in loaded.items if not item.normal}
    truth = data / "ground_truth"
    assert [item.name for item in loaded.items][:3] == ["dent/c.png", "dent/d.png", "good/0.png"]
    assert len(loaded.items) == 12
    assert masks == {
        "dent/c.png": truth / "dent/c.png",
        "dent/d.png": None,
        "scratch/a.jpg": truth / "scratch/a.png",
        "scratch/b.png": truth / "scratch/b_mask.png",
    }
    assert {item.defect for item in loaded.items} == {"good", "scratch", "dent"}
    assert all(item.group == item.name for item in loaded.items)
    assert not loaded.grouped


def test_groups_are_read_as_csv_with_commas_and_rows_about_absent_pictures(data: Path, groups: Path) -> None:
    loaded = load_folder(data, groups)
    assert loaded.grouped
    assert {item.name: item.group for item in loaded.items}["dent/c.png"] == "only, defects"


def without_groups(data: Path, tmp_path: Path) -> Path:
    return write_groups(tmp_path / "g.csv", {f"good/{index}.png": "t" for index in range(8)})


def with_wrong_header(data: Path, tmp_path: Path) -> Path:
    return write_groups(tmp_path / "g.csv", {}, header="picture,tile")


def with_two_groups(data: Path, tmp_path: Path) -> Path:
    table = write_groups(tmp_path / "g.csv", {"good/0.png": "t"})
    table.write_text(table.read_text() + "good/0.png,u\n")
    return table


def with_binary(data: Path, tmp_path: Path) -> Path:
    return draw(tmp_path / "g.png")


def that_is_missing(data: Path, tmp_path: Path) -> Path:
    return tmp_path / "none.csv"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (without_groups, r"4 of 12 pictures have no group .* the first is dent/c.png"),
        (with_wrong_header, r"columns image,group, got \['picture', 'tile'\]"),
        (with_two_groups, "good/0.png into two groups: t and u"),
        (with_binary, "can't be read"),
        (that_is_missing, "can't be read"),
    ],
)
def test_a_table_of_groups_that_does_not_fit_is_refused(
    data: Path, tmp_path: Path, table: object, message: str
) -> None:
    assert callable(table)
    with pytest.raises(DataError, match=message):
        load_folder(data, table(data, tmp_path))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ((), "is not a folder"),
        (("scratch/a.png",), "no folder good/"),
        (("good/a.txt", "scratch/a.png"), "holds no pictures"),
    ],
)
def test_a_layout_with_something_missing_names_it(
    tmp_path: Path, made: tuple[str, ...], message: str
) -> None:
    root = tmp_path / "data"
    for name in made:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    with pytest.raises(DataError, match=message):
        load_folder(root)


@pytest.mark.parametrize("wanted", [1, 3, 4])
def test_whole_groups_go_to_one_side_in_the_order_of_the_shuffled_names(
    data: Path, groups: Path, wanted: int
) -> None:
    loaded = load_folder(data, groups)
    for seed in range(4):
        parts = split_dataset(loaded, wanted, seed)
        names = sorted({item.group for item in loaded.items})
        np.random.default_rng(seed).shuffle(names)
        good = {name: sum(item.normal for item in loaded.items if item.group == name) for name in names}
        taken: list[str] = []
        while sum(good[name] for name in taken) < wanted:
            taken.append(names[len(taken)])
        assert [item.name for item in parts.train] == [
            item.name for item in loaded.items if item.normal and item.group in taken
        ]
        assert [item.name for item in parts.test] == [
            item.name for item in loaded.items if item.group not in taken
        ]


def test_pictures_split_at_random_without_groups_and_all_defects_are_tested(data: Path) -> None:
    loaded = load_folder(data)
    parts = split_dataset(loaded, 5, seed=1)
    names = sorted(item.name for item in loaded.items if item.normal)
    np.random.default_rng(1).shuffle(names)
    assert {item.name for item in parts.train} == set(names[:5])
    assert {item.name for item in parts.test if item.normal} == set(names[5:])
    assert sum(not item.normal for item in parts.test) == 4
    assert not parts.grouped


def test_a_split_repeats_with_its_seed_and_only_with_it(data: Path) -> None:
    loaded = load_folder(data)
    splits = [split_dataset(loaded, 4, seed).train for seed in (0, 0, 1, 2, 3)]
    assert splits[0] == splits[1]
    assert len(set(splits)) > 1


def test_learning_from_nothing_tests_on_everything(data: Path, groups: Path) -> None:
    loaded = load_folder(data, groups)
    parts = split_dataset(loaded, 0, seed=0)
    assert parts.train == ()
    assert parts.test == loaded.items


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("wanted", [-1, 8, 9])
def test_a_split_without_test_normals_is_refused(
    data: Path, groups: Path, grouped: bool, wanted: int
) -> None:
    loaded = load_folder(data, groups if grouped else None)
    with pytest.raises(DataError, match="Ask for"):
        split_dataset(loaded, wanted, seed=0)


@pytest.fixture(scope="module")
def tiles(data_dir: Path) -> ImageDataset:
    return load_folder(data_dir / "mtd", data_dir / "mtd" / "groups.csv")


def test_the_magnetic_tiles_are_counted_as_described(tiles: ImageDataset) -> None:
    assert len(tiles.items) == 1344
    assert sum(item.normal for item in tiles.items) == 952
    assert all(item.normal == (item.mask is None) for item in tiles.items)
    assert len({item.group for item in tiles.items}) == 251


def test_no_magnetic_tile_is_on_both_sides(tiles: ImageDataset) -> None:
    for seed in range(5):
        parts = split_dataset(tiles, 300, seed)
        assert 300 <= len(parts.train) <= 306
        assert not {item.group for item in parts.train} & {item.group for item in parts.test}
        assert not any(not item.normal for item in parts.train)


def test_eight_normals_of_the_magnetic_tiles_become_11_to_13(tiles: ImageDataset) -> None:
    for seed in range(5):
        assert 11 <= len(split_dataset(tiles, 8, seed).train) <= 13


def test_matching_is_one_to_one_and_finds_as_many_as_there_can_be() -> None:
    labelled: list[Box] = [(0, 0, 10, 10), (0, 6, 10, 16)]
    # The first overlaps both labels, the second only the first one: greedy by overlap would lose a hit.
    predicted: list[Box] = [(0, 1, 10, 11), (0, 0, 10, 6)]
    assert sorted(match_boxes(predicted, labelled, 0)) == [(0, 1), (1, 0)]
    assert match_boxes([(0, 0, 10, 10)] * 3, [(0, 0, 10, 10)], 0) == [(0, 0)]
    assert match_boxes([], labelled, 0) == match_boxes(predicted, [], 0) == []


@pytest.mark.parametrize(("overlap", "hits"), [(5, 1), (4, 0)])
def test_a_hit_needs_an_overlap_above_a_third(overlap: int, hits: int) -> None:
    """Two boxes of 10 × 10: 5 columns in common are an IoU of 1/3, 4 are one of 1/4."""
    assert MIN_IOU < 1 / 3
    assert len(match_boxes([(0, 0, 10, 10)], [(10 - overlap, 0, 20 - overlap, 10)], 0)) == hits


def test_the_margin_widens_what_is_predicted() -> None:
    assert match_boxes([(10, 10, 14, 14)], [(4, 4, 20, 20)], 0) == []
    assert match_boxes([(10, 10, 14, 14)], [(4, 4, 20, 20)], 6) == [(0, 0)]
