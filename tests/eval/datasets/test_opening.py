"""Each data set is recognised by its own layout, made in miniature, and told what it lacks."""

from __future__ import annotations

import base64
import csv
import io
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalist.errors import DataError
from anomalist.eval.datasets.layouts import LabelledSet
from anomalist.eval.datasets.opening import IMAGE_LAYOUTS, open_image_sets
from anomalist.eval.image_datasets import outline_mask
from tests.pictures import SIDE, holed, tile, write

MASK = np.zeros((SIDE, SIDE), np.uint8)
MASK[8:24, 8:24] = 255
EMPTY = np.zeros_like(MASK)


def pictures(folder: Path, names: str, make: Callable[[int], np.ndarray] = tile) -> None:
    """Pictures with these names, separated by blanks, in a folder."""
    for number, name in enumerate(names.split()):
        write(folder / name, make(number))


def masks(folder: Path, names: str) -> None:
    pictures(folder, names, lambda _: MASK)


def mvtec_ad(root: Path) -> None:
    for product in ("bottle", "screw"):
        pictures(root / product / "train/good", "000.png 001.png 002.png")
        pictures(root / product / "test/good", "000.png")
        pictures(root / product / "test/broken", "000.png 001.png", holed)
        masks(root / product / "ground_truth/broken", "000_mask.png 001_mask.png")


def mvtec_loco(root: Path) -> None:
    place = root / "pushpins"
    pictures(place / "train/good", "000.png 001.png")
    pictures(place / "validation/good", "000.png")
    pictures(place / "test/good", "000.png")
    for kind in ("logical_anomalies", "structural_anomalies"):
        pictures(place / "test" / kind, "000.png", holed)
        masks(place / "ground_truth" / kind / "000", "000.png 001.png")


def mvtec_ad_2(root: Path) -> None:
    place = root / "can"
    pictures(place / "train/good", "000_regular.png 001_regular.png")
    pictures(place / "validation/good", "000_regular.png")
    pictures(place / "test_public/good", "000_regular.png")
    pictures(place / "test_public/bad", "000_regular.png", holed)
    masks(place / "test_public/ground_truth/bad", "000_regular_mask.png")
    pictures(place / "test_private", "000.png")


def btad(root: Path) -> None:
    pictures(root / "01/train/ok", "0000.bmp 0001.bmp")
    pictures(root / "01/test/ok", "0010.bmp")
    pictures(root / "01/test/ko", "0000.bmp", holed)
    masks(root / "01/ground_truth/ko", "0000.png")


def visa(root: Path) -> None:
    rows = []
    for number, (split, label) in enumerate(
        [("train", "normal"), ("train", "normal"), ("test", "normal"), ("test", "anomaly")]
    ):
        kind = "Normal" if label == "normal" else "Anomaly"
        image, mask = f"candle/Data/Images/{kind}/{number:03d}.JPG", ""
        write(root / image, tile(number))
        if label == "anomaly":
            mask = f"candle/Data/Masks/Anomaly/{number:03d}.png"
            write(root / mask, MASK)
        rows.append(("candle", split, label, image, mask))
    table(root / "split_csv/1cls.csv", ("object", "split", "label", "image", "mask"), rows)


def real_iad(root: Path) -> None:
    def row(part: str, kind: str, name: str) -> dict[str, str | None]:
        image = f"{part}/S0001/{name}.jpg"
        write(root / "realiad_256/audiojack" / image, tile(len(name)))
        mask = image.replace(".jpg", ".png") if kind != "OK" else None
        if mask:
            write(root / "realiad_256/audiojack" / mask, MASK)
        return {"category": "audiojack", "anomaly_class": kind, "image_path": image, "mask_path": mask}

    content = {
        "meta": {"normal_class": "OK", "prefix": "audiojack/"},
        "train": [row("OK", "OK", "C1"), row("OK", "OK", "C12")],
        "test": [row("OK", "OK", "C123"), row("NG/HS", "HS", "C1234")],
    }
    (root / "realiad_jsons").mkdir(parents=True)
    (root / "realiad_jsons/audiojack.json").write_text(json.dumps(content))


def kolektor(root: Path) -> None:
    for part, names in (("train", "10000 10001 10002"), ("test", "20000 20001")):
        for number, name in enumerate(names.split()):
            write(root / part / f"{name}.png", tile(number))
            write(root / part / f"{name}_GT.png", MASK if number == 1 else EMPTY)


def mtd(root: Path) -> None:
    pictures(root / "MT_Free/Imgs", "exp1_num_1.jpg exp1_num_2.jpg exp1_num_3.jpg")
    pictures(root / "MT_Blowhole/Imgs", "exp1_num_4.jpg", holed)
    masks(root / "MT_Blowhole/Imgs", "exp1_num_4.png")


def deep_pcb(root: Path) -> None:
    for name in ("00041000", "00041001"):
        place = root / "group00041/00041"
        pictures(place, f"{name}_temp.jpg {name}_test.jpg")
        boxes = root / "group00041/00041_not" / f"{name}.txt"
        boxes.parent.mkdir(exist_ok=True)
        boxes.write_text("8 8 24 24 1\n40 40 44 48 2\n")
    for part, name in (("trainval", "00041000"), ("test", "00041001")):
        line = f"group00041/00041/{name}.jpg group00041/00041_not/{name}.txt\n"
        (root / f"{part}.txt").write_text(line)


def neu(root: Path) -> None:
    pictures(root / "IMAGES", "patches_1.jpg")
    box = "<bndbox><xmin>8</xmin><ymin>8</ymin><xmax>24</xmax><ymax>24</ymax></bndbox>"
    (root / "ANNOTATIONS").mkdir()
    text = f"<annotation><object><name>patches</name>{box}</object></annotation>"
    (root / "ANNOTATIONS/patches_1.xml").write_text(text)


def coco(root: Path) -> None:
    pictures(root / "images", "a.jpg b.jpg c.jpg")
    content = {
        "images": [{"id": i, "file_name": f"{name}.jpg"} for i, name in enumerate("abcd")],
        "categories": [{"id": 7, "name": "scratch"}],
        "annotations": [
            {"image_id": 0, "category_id": 7, "bbox": [8, 8, 16, 16], "segmentation": []},
            {
                "image_id": 1,
                "category_id": 7,
                "bbox": [0, 0, 9, 9],
                "segmentation": [[8, 8, 24, 8, 24, 24, 8, 24]],
            },
        ],
    }
    (root / "annotations").mkdir()
    (root / "annotations/instances.json").write_text(json.dumps(content))


def labels_csv(root: Path) -> None:
    pictures(root / "p", "a.png b.png c.png")
    write(root / "m.png", MASK)
    rows = [("p/a.png", "good", "", "x"), ("p\\b.png", "dent", "m.png", "y"), ("p/c.png", "0", "", "x")]
    table(root / "labels.csv", ("image", "label", "mask", "group"), rows)


def plain(root: Path) -> None:
    pictures(root / "good", "a.png b.png c.png")
    pictures(root / "dent", "a.png", holed)
    masks(root / "ground_truth/dent", "a.png")


def labelme(root: Path) -> None:
    pictures(root, "a.png b.png")
    shapes = [
        {"label": "dent", "shape_type": "rectangle", "points": [[24, 24], [8, 8]]},
        {"label": "dent", "shape_type": "polygon", "points": [[30, 30], [40, 30], [30, 40]]},
    ]
    (root / "b.json").write_text(json.dumps({"shapes": shapes, "imagePath": "b.png"}))


def table(path: Path, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])


CASES = [
    (mvtec_ad, "MVTec AD or MPDD", 3, {"good": 1, "broken": 2}),
    (mvtec_loco, "MVTec LOCO AD", 3, {"good": 1, "logical_anomalies": 1, "structural_anomalies": 1}),
    (mvtec_ad_2, "MVTec AD 2", 3, {"good": 1, "bad": 1}),
    (btad, "BTAD", 2, {"good": 1, "ko": 1}),
    (visa, "VisA", 2, {"good": 1, "anomaly": 1}),
    (real_iad, "Real-IAD", 2, {"good": 1, "HS": 1}),
    (kolektor, "KolektorSDD2", 2, {"good": 1, "defect": 1}),
    (mtd, "magnetic tiles (MTD)", None, {"good": 3, "blowhole": 1}),
    (deep_pcb, "DeepPCB", 1, {"good": 1, "defect": 1}),
    (neu, "NEU-DET", 0, {"patches": 1}),
    (coco, "COCO", None, {"good": 1, "scratch": 2}),
    (labels_csv, "a folder with labels.csv", None, {"good": 2, "dent": 1}),
    (plain, "folders by kind", None, {"good": 3, "dent": 1}),
    (labelme, "LabelMe", None, {"good": 1, "dent": 1}),
]


def opened(make: Callable[[Path], None], root: Path) -> tuple[str, LabelledSet]:
    make(root)
    layout, sets = open_image_sets(root)
    return layout.name, sets[0]


@pytest.mark.parametrize(
    ("make", "name", "train", "test"), CASES, ids=lambda each: getattr(each, "__name__", "")
)
def test_a_layout_is_recognised_and_read(
    tmp_path: Path, make: Callable[[Path], None], name: str, train: int | None, test: dict[str, int]
) -> None:
    found, first = opened(make, tmp_path)
    assert found == name
    assert (None if first.train is None else len(first.train)) == train
    assert Counter(item.defect for item in first.test) == test
    assert all(item.normal for item in first.train or ())
    for item in (*(first.train or ()), *first.test):
        assert item.path.is_file()
        assert item.normal == (item.mask is None and not item.outlines)
        assert item.mask is None or item.mask.exists()


def test_every_layout_has_its_case() -> None:
    assert {name for _, name, _, _ in CASES} == {layout.name for layout in IMAGE_LAYOUTS}


@pytest.mark.parametrize("make", [deep_pcb, neu, coco, labelme], ids=lambda each: each.__name__)
def test_boxes_and_outlines_mark_the_pixels_that_they_hold(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    _, first = opened(make, tmp_path)
    item = next(item for item in first.test if not item.normal)
    mask = outline_mask(item.outlines[:1], (SIDE, SIDE))
    assert (mask == (MASK > 0)).all()


def base64_png(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def within(distance: np.ndarray, least: float) -> np.ndarray:
    """The pixels at most so far away; those on the edge may be either."""
    return np.where(np.abs(distance - least) < 0.1, np.nan, distance < least)


ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE] + 0.5
DISC = within(np.hypot(COLUMNS - 20, ROWS - 30), 10)
SPOT = within(np.hypot(COLUMNS - 20, ROWS - 30), 5)
BAND = within(np.maximum(np.abs(ROWS - 30), 5 + np.maximum(10 - COLUMNS, COLUMNS - 40)), 5)
DIAMOND = within(np.abs(COLUMNS - 20) + np.abs(ROWS - 30), 10)
RING = np.zeros((6, 8), np.uint8)
RING[[0, -1]] = RING[:, [0, -1]] = 255
PASTED = np.zeros((SIDE, SIDE), np.bool_)
PASTED[30:36, 20:28] = RING > 0
CUT = np.zeros((SIDE, SIDE), np.bool_)
CUT[0:4, 0:5] = RING[2:, 3:] > 0


@pytest.mark.parametrize(
    ("form", "points", "more", "marked"),
    [
        ("rectangle", [[24, 8], [8, 24]], {}, MASK > 0),
        ("rectangle", [[8, 8], [24, 8], [24, 24], [8, 24]], {}, MASK > 0),
        ("polygon", [[8, 8], [24, 8], [24, 24], [8, 24]], {}, MASK > 0),
        (None, [[8, 8], [24, 8], [24, 24], [8, 24]], {}, MASK > 0),
        ("oriented_rectangle", [[10, 30], [20, 20], [30, 30], [20, 40]], {}, DIAMOND),
        ("rotation", [[10, 30], [20, 20], [30, 30], [20, 40]], {}, DIAMOND),
        ("circle", [[20, 30], [26, 38]], {}, DISC),
        ("point", [[20, 30]], {}, SPOT),
        ("line", [[10, 30], [40, 30]], {}, BAND),
        ("linestrip", [[10, 30], [25, 30], [40, 30]], {}, BAND),
        ("mask", [[20, 30], [27, 35]], {"mask": base64_png(RING)}, PASTED),
        ("mask", [[-3, -2], [4, 3]], {"mask": base64_png(RING)}, CUT),
    ],
)
def test_shapes_of_labelme_mark_what_was_drawn(
    tmp_path: Path,
    form: str | None,
    points: list[list[float]],
    more: dict[str, str],
    marked: np.ndarray,
) -> None:
    write(tmp_path / "a.png", tile(1))
    shape = {"label": "dent", "points": points, **({"shape_type": form} if form else {}), **more}
    (tmp_path / "a.json").write_text(json.dumps({"shapes": [shape]}))
    (item,) = open_image_sets(tmp_path)[1][0].test
    assert item.marked and item.defect == "dent"
    decided = ~np.isnan(marked.astype(float))
    found = item.truth((SIDE, SIDE))
    assert found.any()
    assert (found == marked)[decided].all()


@pytest.mark.parametrize(
    ("form", "points", "mask"),
    [
        ("circle", [[20, 30]], None),
        ("rectangle", [[8, 8], [24, 8], [24, 24]], None),
        ("polygon", [[8, 8], [24, 8]], None),
        ("linestrip", [[8, 8]], None),
        ("points", [], None),
        ("mask", [[20, 30], [27, 35]], None),
        ("mask", [[20, 30], [27, 35]], base64_png(RING)[:40]),
        ("mask", [[20, 30], [27, 35]], "!"),
        ("cuboid", [[8, 8], [24, 8]], None),
    ],
)
def test_a_shape_that_marks_nothing_is_one_clear_error(
    tmp_path: Path, form: str, points: list[list[float]], mask: str | None
) -> None:
    write(tmp_path / "a.png", tile(1))
    shape = {"label": "dent", "shape_type": form, "points": points, "mask": mask}
    (tmp_path / "a.json").write_text(json.dumps({"shapes": [shape]}))
    with pytest.raises(DataError, match=rf'Shape 1 of .*a\.json.*"{form}"'):
        open_image_sets(tmp_path)


def test_all_products_of_a_folder_are_read_or_one_by_itself(tmp_path: Path) -> None:
    mvtec_ad(tmp_path)
    assert [each.name for each in open_image_sets(tmp_path)[1]] == ["bottle", "screw"]
    assert [each.name for each in open_image_sets(tmp_path / "screw")[1]] == ["screw"]


@pytest.mark.parametrize(
    ("make", "gone", "said"),
    [
        (mvtec_ad, "*/test/good", "MVTec AD or MPDD, but it has no test/good/"),
        (mvtec_ad_2, "*/test_public/ground_truth", "MVTec AD 2, but it has no test_public/ground_truth/"),
        (visa, "split_csv", r"VisA, but it has no split_csv/1cls\.csv"),
        (real_iad, "realiad_256", "Real-IAD, but it has no realiad_1024"),
        (neu, "ANNOTATIONS", "NEU-DET, but it has no ANNOTATIONS"),
        (deep_pcb, "test.txt", r"DeepPCB, but it has no test\.txt"),
    ],
)
def test_a_wrong_layout_is_told_the_line_that_is_missing(
    tmp_path: Path, make: Callable[[Path], None], gone: str, said: str
) -> None:
    root = tmp_path / "data"
    make(root)
    for number, place in enumerate(sorted(root.glob(gone))):
        place.rename(tmp_path / f"away{number}")
    with pytest.raises(DataError, match=said):
        open_image_sets(root)


def test_a_folder_of_something_else_is_told_what_is_known(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match="in no known layout"):
        open_image_sets(tmp_path)
    with pytest.raises(DataError, match="not a folder"):
        open_image_sets(tmp_path / "gone")


@pytest.mark.parametrize(
    ("make", "file"),
    [
        (visa, "split_csv/1cls.csv"),
        (real_iad, "realiad_jsons/audiojack.json"),
        (coco, "annotations/instances.json"),
        (labelme, "b.json"),
        (neu, "ANNOTATIONS/patches_1.xml"),
        (labels_csv, "labels.csv"),
    ],
)
def test_a_table_that_is_cut_in_half_is_one_clear_error(
    tmp_path: Path, make: Callable[[Path], None], file: str
) -> None:
    make(tmp_path)
    place = tmp_path / file
    place.write_text(place.read_text()[:12])
    with pytest.raises(DataError, match=place.name.replace(".", r"\.")):
        open_image_sets(tmp_path)


def test_rows_about_missing_pictures_are_counted_and_rows_twice_refused(tmp_path: Path) -> None:
    labels_csv(tmp_path)
    (tmp_path / "p/a.png").unlink()
    (first,) = open_image_sets(tmp_path)[1]
    assert first.notes == ("1 pictures of the table are missing: p/a.png",)
    table(tmp_path / "labels.csv", ("image", "label"), [("p/b.png", "good"), ("p/b.png", "bad")])
    with pytest.raises(DataError, match="more than one row about p/b"):
        open_image_sets(tmp_path)


@pytest.mark.parametrize("label", ["", "  "])
@pytest.mark.parametrize(("make", "file"), [(labels_csv, "labels.csv"), (visa, "split_csv/1cls.csv")])
def test_a_picture_without_a_label_is_not_taken_for_a_defect(
    tmp_path: Path, make: Callable[[Path], None], file: str, label: str
) -> None:
    make(tmp_path)
    with (tmp_path / file).open(encoding="utf-8", newline="") as opened:
        head, *rows = csv.reader(opened)
    rows[-1][head.index("label")] = label
    table(tmp_path / file, tuple(head), [tuple(row) for row in rows])
    with pytest.raises(DataError, match=f"no label for {rows[-1][head.index('image')]}"):
        open_image_sets(tmp_path)


def test_the_official_split_is_kept_and_may_be_thinned(tmp_path: Path) -> None:
    _, first = opened(mvtec_ad, tmp_path)
    whole, two = first.split(None, 0), first.split(2, 0)
    assert (len(whole.train), len(two.train), len(two.test)) == (3, 2, 3)
    assert two == first.split(2, 0)


@pytest.mark.parametrize(
    ("make", "gone", "said"),
    [
        (mvtec_ad, "test", "test on"),
        (mvtec_ad, "test/good", "test on"),
        (mvtec_ad, "train", "learn from"),
        (mvtec_loco, "test", "test on"),
        (mvtec_ad_2, "test_public", "test on"),
        (btad, "test", "test on"),
        (btad, "train", "learn from"),
    ],
)
def test_a_product_that_was_fetched_by_half_is_named(
    tmp_path: Path, make: Callable[[Path], None], gone: str, said: str
) -> None:
    root = tmp_path / "data"
    make(root)
    (whole,) = sorted(root.iterdir())[:1]
    half = root / "half"
    shutil.copytree(whole, half)
    (half / gone).rename(tmp_path / "away")
    with pytest.raises(DataError, match=f"{half} is not whole: there are no good pictures to {said}"):
        open_image_sets(root)


def test_hidden_folders_are_no_kinds_no_products_and_no_annotations(tmp_path: Path) -> None:
    for make in (mvtec_ad, mvtec_ad_2, btad, coco, plain):
        root = tmp_path / make.__name__
        make(root)
        before = open_image_sets(root)[1]
        kinds = [place for place in root.rglob("*") if place.name in ("test", "test_public", "ground_truth")]
        for place in [root, *kinds]:
            for name in (".ipynb_checkpoints", ".git"):
                write(place / name / "test" / "good" / "a.png", tile(1))
                write(place / name / "a.png", tile(1))
        for path in [*root.glob("annotations/*.json")]:
            path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
        assert open_image_sets(root)[1] == before


@pytest.mark.parametrize("name", ["/elsewhere/a.jpg", "../../elsewhere/a.jpg"])
def test_a_picture_outside_of_a_coco_set_is_refused(tmp_path: Path, name: str) -> None:
    root, outside = tmp_path / "data", tmp_path / "elsewhere/a.jpg"
    coco(root)
    write(outside, tile(1))
    rename_first(root, str(outside) if name.startswith("/") else name)
    with pytest.raises(DataError, match="not inside"):
        open_image_sets(root)


@pytest.mark.parametrize("name", ["{root}/images/a.jpg", "../images/a.jpg", "images\\a.jpg"])
def test_other_names_of_a_picture_inside_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    root = tmp_path / "data"
    coco(root)
    before = open_image_sets(root)[1]
    rename_first(root, name.format(root=root))
    assert open_image_sets(root)[1] == before
    monkeypatch.chdir(root)
    (relative,) = open_image_sets(Path("../data"))[1]
    assert [item.name for item in relative.test] == [item.name for item in before[0].test]
    assert all(item.path.is_file() for item in relative.test)


def rename_first(root: Path, name: str) -> None:
    """Write another name of the first picture into the annotations of a COCO set."""
    file = root / "annotations/instances.json"
    content = json.loads(file.read_text())
    content["images"][0]["file_name"] = name
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("shapes", [[[]], [[8, 8, 24, 8]]])
def test_an_outline_without_an_area_leaves_the_box(tmp_path: Path, shapes: list[list[float]]) -> None:
    coco(tmp_path)
    file = tmp_path / "annotations/instances.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["segmentation"] = shapes
    file.write_text(json.dumps(content))
    item = next(item for item in open_image_sets(tmp_path)[1][0].test if item.name == "images/a.jpg")
    assert (item.truth((SIDE, SIDE)) == (MASK > 0)).all()


def test_a_row_of_real_iad_without_a_path_is_one_clear_error(tmp_path: Path) -> None:
    real_iad(tmp_path)
    file = tmp_path / "realiad_jsons/audiojack.json"
    content = json.loads(file.read_text())
    del content["test"][0]["image_path"]
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match="audiojack"):
        open_image_sets(tmp_path)


def test_without_an_official_split_a_number_is_needed(tmp_path: Path) -> None:
    _, first = opened(plain, tmp_path)
    with pytest.raises(DataError, match="no official split"):
        first.split(None, 0)
    assert len(first.split(1, 0).train) == 1
