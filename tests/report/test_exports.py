from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from PIL import Image

from anomalist.errors import DataError
from anomalist.report.exports import CSV_COLUMNS, PICTURE_EXPORTERS, region_masks, rle, write_coco, write_csv
from anomalist.types.common import BoolArray
from anomalist.types.image import KnownKind, Record

if TYPE_CHECKING:
    from conftest import Run

masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


def decode(code: dict[str, Any]) -> BoolArray:
    """Read COCO's uncompressed run lengths, as its format describes them."""
    flat = np.concatenate([np.full(run, i % 2 == 1) for i, run in enumerate(code["counts"])])
    return flat.reshape(code["size"], order="F")


def read(target: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(target.read_bytes().decode("utf-8"), newline="")))


@given(masks)
@settings(max_examples=80)
def test_run_lengths_decode_to_the_mask(mask: BoolArray) -> None:
    code = rle(mask)
    assert np.array_equal(decode(code), mask)
    assert all(run > 0 for run in code["counts"][1:])


def test_run_lengths_go_down_the_columns_and_begin_with_background() -> None:
    mask = np.array([[True, False], [True, True]])
    assert rle(mask) == {"size": [2, 2], "counts": [0, 2, 1, 1]}


def test_csv_has_one_row_a_picture_with_its_values(run: Run, tmp_path: Path) -> None:
    target = write_csv(run.records, tmp_path)
    rows = read(target)
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [row["source"] for row in rows] == [record.source for record in run.records]
    nasty = rows[2]
    assert (nasty["outcome"], nasty["severity_word"], nasty["kind"]) == ("anomalous", "major", "line")
    assert float(nasty["p_value"]) == 0.025
    assert float(nasty["false_alarm_rate"]) == 0.05
    assert nasty["regions"] == "R1 0 10 20 30; R2 60 40 64 44"
    assert (rows[-1]["outcome"], rows[-1]["score"]) == ("error", "")
    assert target.read_bytes().count(b"\r\n") == len(rows) + 1


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", " =1", "＝1", '=cmd|" /C calc"!A0']
)
def test_text_that_a_spreadsheet_would_run_is_defused(text: str, tmp_path: Path) -> None:
    record = Record(source=text, status="error", error=text)
    row = read(write_csv([record], tmp_path))[0]
    assert (row["source"], row["error"]) == (f"'{text}", f"'{text}")


def test_a_negative_score_stays_a_number(tmp_path: Path) -> None:
    record = Record(source="a,b\n.png", status="ok", label="normal", score=-1.5)
    row = read(write_csv([record], tmp_path))[0]
    assert (row["score"], row["source"]) == ("-1.5", "a,b\n.png")


def test_coco_has_the_regions_of_what_was_flagged(run: Run, tmp_path: Path) -> None:
    target = write_coco(run.records, run.folder)
    coco = json.loads(target.read_text("utf-8"))
    assert [image["file_name"] for image in coco["images"]] == [r.source for r in run.records[:-1]]
    assert [(c["id"], c["name"]) for c in coco["categories"]] == [(1, "line"), (2, "spot"), (3, "unnamed")]
    assert [(a["id"], a["image_id"], a["category_id"]) for a in coco["annotations"]] == [
        (1, 3, 1),
        (2, 3, 3),
        (3, 4, 2),
    ]
    assert coco["info"]["errors"] == [
        {"file_name": "<script>alert(1)</script>.png", "error": "This is <not> a picture."}
    ]


def test_regions_are_of_their_own_kinds_not_all_of_that_of_the_verdict(run: Run) -> None:
    record = next(each for each in run.records if len(each.regions) == 2)
    first, other = record.regions
    dent = other.replace(known=KnownKind(name="dent", similarity=0.9, cases=("case:dent/1",)))
    for region, kind in ((dent, "dent"), (other.replace(change="missing"), "missing material")):
        coco = json.loads(
            write_coco([record.replace(regions=(first, region))], run.folder).read_text("utf-8")
        )
        names = {each["id"]: each["name"] for each in coco["categories"]}
        assert [names[each["category_id"]] for each in coco["annotations"]] == ["line", kind]


def test_each_annotation_is_the_component_of_its_region(run: Run, tmp_path: Path) -> None:
    coco = json.loads(write_coco(run.records, run.folder).read_text("utf-8"))
    assert coco["annotations"]
    for annotation in coco["annotations"]:
        inside = decode(annotation["segmentation"])
        x, y, width, height = annotation["bbox"]
        assert inside.shape == (80, 120)
        assert inside.sum() == annotation["area"] == inside[y : y + height, x : x + width].sum()
        assert annotation["iscrowd"] == 0
        assert annotation["attributes"]["outcome"] == "anomalous"


def test_regions_that_share_a_box_are_told_apart_by_area(run: Run) -> None:
    record = run.named("mild")
    mask = np.zeros((80, 120), dtype=np.bool_)
    mask[[10, 20], 10:21] = mask[10:21, [10, 20]] = True  # a frame of 40 pixels
    mask[12:19, 12:19] = True  # and what lies within, apart from it
    Image.fromarray(mask.astype(np.uint8) * 255).save(run.folder / str(record.mask))
    frame = record.regions[0].replace(box=(10, 10, 21, 21), area=40)
    core = record.regions[0].replace(id="R2", box=(12, 12, 19, 19), area=49)
    pairs = region_masks(record.replace(regions=(frame, core)), run.folder)
    assert [int(inside.sum()) for _, inside in pairs] == [40, 49]
    assert not (pairs[0][1][2:9, 2:9] & pairs[1][1]).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": None}, "names no mask"),
        ({"mask": "masks/none.png"}, "missing or damaged"),
        ({"mask": "../../etc/passwd"}, "outside its run folder"),
        ({"mask": "masks/0.png"}, "does not hold R1"),
    ],
)
def test_a_mask_that_does_not_fit_is_one_clear_error(run: Run, changes: dict[str, Any], message: str) -> None:
    record = run.named("mild").replace(**changes)
    with pytest.raises(DataError, match=message):
        write_coco([record], run.folder)
    assert not (run.folder / "coco.json").exists()


@pytest.mark.parametrize("name", sorted(PICTURE_EXPORTERS))
def test_exports_are_the_same_bytes_twice(run: Run, name: str) -> None:
    first = PICTURE_EXPORTERS[name](run.records, run.folder).read_bytes()
    assert PICTURE_EXPORTERS[name](run.records, run.folder).read_bytes() == first
