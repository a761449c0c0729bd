"""Data sets whose labels are in a table: VisA (CSV), Real-IAD (JSON), and any ``labels.csv``."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from anomalist.errors import DataError
from anomalist.eval.datasets.layouts import BrokenSet, LabelledSet, Layout, attempt
from anomalist.eval.image_datasets import GOOD, LabelledImage
from anomalist.vision.media.masks import listed

_VISA_TABLES = "split_csv"
_NORMAL_WORDS = frozenset({"good", "normal", "ok", "0", "false"})
"""Labels of a table that say that nothing is wrong."""


def _read_visa(folder: Path) -> list[LabelledSet | BrokenSet]:
    table = folder / _VISA_TABLES / "1cls.csv"
    rows = read_table(table, ("object", "split", "label", "image", "mask"))
    by_product: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for row in rows:
        by_product[row["object"]].append(row)
    return [
        attempt(name, partial(_of_rows, table, name, own, kind="anomaly")) for name, own in by_product.items()
    ]


def _read_labels(folder: Path) -> list[LabelledSet]:
    table = folder / "labels.csv"
    return [_of_rows(table, folder.resolve().name, read_table(table, ("image", "label")), kind=None)]


def _of_rows(table: Path, name: str, rows: list[Mapping[str, str]], kind: str | None) -> LabelledSet:
    """A set from the rows of a table; pictures that are not there are left out and named."""
    folder = table.parents[1] if table.parent.name == _VISA_TABLES else table.parent
    train: list[LabelledImage] = []
    test: list[LabelledImage] = []
    missing: list[str] = []
    for row in rows:
        image = row["image"].replace("\\", "/")
        label = row["label"].strip()
        if not label:
            raise DataError(f"{table} has no label for {image}.", 'Write "good" or the kind of defect.')
        if not (folder / image).is_file():
            missing.append(image)
            continue
        normal = label.casefold() in _NORMAL_WORDS
        defect = GOOD if normal else kind or label
        mask = (row.get("mask") or "").replace("\\", "/")
        place = folder / mask if mask and not normal else None
        item = LabelledImage(folder / image, image, defect, place, row.get("group") or image)
        if row.get("split") == "train":
            train += [item] if normal else []
        else:
            test.append(item)
    if not test:
        raise DataError(f"None of the {len(rows)} pictures in {table} is there to test on.")
    notes = [f"{len(missing)} pictures of the table are missing: {listed(missing)}"] if missing else []
    official = any(row.get("split") for row in rows)
    return LabelledSet(
        name=name,
        test=tuple(test),
        train=tuple(train) if official else None,
        grouped=any(row.get("group") for row in rows),
        notes=tuple(notes),
    )


def read_table(path: Path, columns: tuple[str, ...]) -> list[Mapping[str, str]]:
    """The rows of a CSV file, UTF-8 with a header, of which each is about another ``image``.

    Raises
    ------
    DataError : it can't be read, lacks a column, or has two rows about one picture.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            lacking = [name for name in columns if name not in (reader.fieldnames or ())]
            if lacking:
                raise DataError(f"{path} has no column {lacking[0]}.", f"It needs {', '.join(columns)}.")
            rows: list[Mapping[str, str]] = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} can't be read: {error}.") from error
    names = [row["image"] for row in rows]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path} has more than one row about {twice}.", "Leave one.")
    return rows


_REAL_IAD_SIDES = ("realiad_1024", "realiad_512", "realiad_256")


def _read_real_iad(folder: Path) -> list[LabelledSet | BrokenSet]:
    pictures = next(folder / side for side in _REAL_IAD_SIDES if (folder / side).is_dir())
    tables = sorted((folder / "realiad_jsons").glob("**/*.json"))
    nearest = min(len(table.parts) for table in tables)
    return [
        attempt(table.stem, partial(_real_iad_product, pictures, table))
        for table in tables
        if len(table.parts) == nearest
    ]


def _real_iad_product(pictures: Path, table: Path) -> LabelledSet:
    try:
        content = json.loads(table.read_text(encoding="utf-8"))
        normal_class, root = str(content["meta"]["normal_class"]), pictures / content["meta"]["prefix"]
        parts = {
            part: [_real_iad_picture(root, row, normal_class) for row in content[part]]
            for part in ("train", "test")
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{table} is no table of Real-IAD: {error!r}.") from error
    train = tuple(item for item in parts["train"] if item.normal and item.path.is_file())
    test = tuple(item for item in parts["test"] if item.path.is_file())
    if not test:
        raise DataError(f"None of the test pictures of {table} is in {root}.")
    lacking = len(parts["test"]) - len(test)
    notes = (f"{lacking} test pictures of the table are missing",) if lacking else ()
    return LabelledSet(table.stem, test, train, grouped=True, notes=notes)


def _real_iad_picture(root: Path, row: Mapping[str, Any], normal_class: str) -> LabelledImage:
    name = str(row["image_path"])
    kind, mask = str(row["anomaly_class"]), row.get("mask_path")
    defect = GOOD if kind == normal_class else kind
    # The five views of one object lie in one folder.
    group = Path(name).parent.as_posix()
    return LabelledImage(root / name, name, defect, root / mask if mask else None, group)


VISA = Layout(
    "VisA",
    (("split_csv/1cls.csv", "split_csv/1cls.csv"), ("*/Data/Images", "<product>/Data/Images/")),
    _read_visa,
)
REAL_IAD = Layout(
    "Real-IAD",
    (
        ("realiad_jsons/**/*.json", "realiad_jsons/<product>.json"),
        ("realiad_[0-9]*", "realiad_1024/, realiad_512/ or realiad_256/"),
    ),
    _read_real_iad,
)
LABELS_CSV = Layout("a folder with labels.csv", (("labels.csv", "labels.csv (image,label)"),), _read_labels)
