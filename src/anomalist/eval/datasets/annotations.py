"""Pictures labelled with annotation tools: COCO files, and LabelMe files beside the pictures.

Pictures without an annotation are good ones.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from anomalist.errors import DataError
from anomalist.eval.datasets.layouts import LabelledSet, Layout, labelled, pictures_in
from anomalist.eval.image_datasets import GOOD, LabelledImage, Polygon, box_polygon
from anomalist.vision.media.masks import listed


def _read_coco(folder: Path) -> list[LabelledSet]:
    tables = sorted((folder / "annotations").glob("*.json"))
    return [_coco_set(folder, table) for table in tables]


def _coco_set(folder: Path, table: Path) -> LabelledSet:
    try:
        content = json.loads(table.read_text(encoding="utf-8"))
        kinds = {each["id"]: str(each["name"]) for each in content["categories"]}
        pictures = {each["id"]: str(each["file_name"]) for each in content["images"]}
        marks: dict[Any, list[tuple[str, tuple[Polygon, ...]]]] = defaultdict(list)
        for each in content["annotations"]:
            marks[each["image_id"]].append((kinds[each["category_id"]], _coco_shapes(each)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{table} is no whole COCO file: {error!r}.") from error
    items: list[LabelledImage] = []
    missing: list[str] = []
    for number, name in pictures.items():
        place = next((p for p in (folder / "images" / name, folder / name) if p.is_file()), None)
        if place is None:
            missing.append(name)
            continue
        own = marks.get(number, [])
        polygons = tuple(polygon for _, shapes in own for polygon in shapes)
        (item,) = labelled(folder, [place], own[0][0] if own else GOOD)
        items.append(replace(item, polygons=polygons))
    if not items:
        raise DataError(f"None of the pictures of {table} is in {folder / 'images'}.")
    notes = (f"{len(missing)} pictures of {table.name} are missing: {listed(missing)}",) if missing else ()
    return LabelledSet(table.stem, tuple(items), notes=notes)


def _coco_shapes(annotation: dict[str, Any]) -> tuple[Polygon, ...]:
    """Polygons of an annotation; its box where it has none. Run lengths are not read: their box is taken."""
    shapes = annotation.get("segmentation")
    if isinstance(shapes, list) and shapes:
        return tuple(
            tuple((float(x), float(y)) for x, y in zip(shape[::2], shape[1::2], strict=True))
            for shape in shapes
        )
    left, top, width, height = (float(value) for value in annotation["bbox"])
    return (box_polygon(left, top, left + width, top + height),)


def _read_labelme(folder: Path) -> list[LabelledSet]:
    items = []
    for path in pictures_in(folder):
        table = path.with_suffix(".json")
        kinds, polygons = _labelme_shapes(table) if table.is_file() else ([], ())
        (item,) = labelled(folder, [path], kinds[0] if kinds else GOOD)
        items.append(replace(item, polygons=polygons))
    return [LabelledSet(folder.resolve().name, tuple(items))]


def _labelme_shapes(table: Path) -> tuple[list[str], tuple[Polygon, ...]]:
    try:
        shapes = json.loads(table.read_text(encoding="utf-8"))["shapes"]
        kinds = [str(shape["label"]) for shape in shapes]
        polygons = []
        for shape in shapes:
            points = tuple((float(x), float(y)) for x, y in shape["points"])
            if shape.get("shape_type") == "rectangle":
                (x0, y0), (x1, y1) = points
                points = box_polygon(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
            polygons.append(points)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{table} is no LabelMe file: {error!r}.") from error
    return kinds, tuple(polygons)


COCO = Layout(
    "COCO",
    (("annotations/*.json", "annotations/<name>.json"), ("images", "images/")),
    _read_coco,
)
LABELME = Layout(
    "LabelMe", (("*.json", "<picture>.json"), ("*.[jpbJPB][pnmPNM]*", "<picture>.jpg")), _read_labelme
)
