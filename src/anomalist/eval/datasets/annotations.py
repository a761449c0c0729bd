"""Pictures labelled with annotation tools: COCO files, and LabelMe files beside the pictures.

Pictures without an annotation are good ones.
"""

from __future__ import annotations

import base64
import json
import math
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from anomalist.errors import DataError, MediaError
from anomalist.eval.datasets.layouts import LabelledSet, Layout, labelled, pictures_in
from anomalist.eval.image_datasets import (
    GOOD,
    LabelledImage,
    Outline,
    PastedMask,
    Polygon,
    box_polygon,
)
from anomalist.vision.media.masks import decode_marks, listed

_LINE_WIDTH, _POINT_RADIUS = 10.0, 5.0
"""Of lines and points in the masks that LabelMe makes, pixels."""
_DISC_CORNERS = 90


def _read_coco(folder: Path) -> list[LabelledSet]:
    tables = sorted((folder / "annotations").glob("[!.]*.json"))
    return [_coco_set(folder, table) for table in tables]


def _coco_set(folder: Path, table: Path) -> LabelledSet:
    try:
        content = json.loads(table.read_text(encoding="utf-8"))
        kinds = {each["id"]: str(each["name"]) for each in content["categories"]}
        pictures = {each["id"]: str(each["file_name"]).replace("\\", "/") for each in content["images"]}
        marks: dict[Any, list[tuple[str, tuple[Polygon, ...]]]] = defaultdict(list)
        for each in content["annotations"]:
            marks[each["image_id"]].append((kinds[each["category_id"]], _coco_shapes(each)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{table} is no whole COCO file: {error!r}.") from error
    root = Path(os.path.normpath(folder.absolute()))
    items: list[LabelledImage] = []
    missing: list[str] = []
    for number, name in pictures.items():
        found = next((p for p in (folder / "images" / name, folder / name) if p.is_file()), None)
        if found is None:
            missing.append(name)
            continue
        place = Path(os.path.normpath(found.absolute()))
        if not place.is_relative_to(root):
            raise DataError(
                f"{table} names {name}, which is not inside {folder}.",
                "Copy the pictures into images/, and write their names relative to it.",
            )
        own = marks.get(number, [])
        outlines = tuple(polygon for _, shapes in own for polygon in shapes)
        (item,) = labelled(root, [place], own[0][0] if own else GOOD)
        items.append(replace(item, path=folder / item.name, outlines=outlines))
    if not items:
        raise DataError(f"None of the pictures of {table} is in {folder / 'images'}.")
    notes = (f"{len(missing)} pictures of {table.name} are missing: {listed(missing)}",) if missing else ()
    return LabelledSet(table.stem, tuple(items), notes=notes)


def _coco_shapes(annotation: dict[str, Any]) -> tuple[Polygon, ...]:
    """Polygons of an annotation; its box where it has none. Run lengths are not read: their box is taken."""
    shapes = annotation.get("segmentation")
    if isinstance(shapes, list):
        polygons = [
            tuple((float(x), float(y)) for x, y in zip(shape[::2], shape[1::2], strict=True))
            for shape in shapes
        ]
        if outlines := tuple(polygon for polygon in polygons if len(polygon) > 2):
            return outlines
    left, top, width, height = (float(value) for value in annotation["bbox"])
    return (box_polygon(left, top, left + width, top + height),)


def _read_labelme(folder: Path) -> list[LabelledSet]:
    items = []
    for path in pictures_in(folder):
        table = path.with_suffix(".json")
        kinds, outlines = _labelme_shapes(table) if table.is_file() else ([], ())
        (item,) = labelled(folder, [path], kinds[0] if kinds else GOOD)
        items.append(replace(item, outlines=outlines))
    return [LabelledSet(folder.resolve().name, tuple(items))]


def _labelme_shapes(table: Path) -> tuple[list[str], tuple[Outline, ...]]:
    """The kind of each shape, and what the shapes mark."""
    try:
        shapes = json.loads(table.read_text(encoding="utf-8"))["shapes"]
        kinds = [str(shape["label"]) for shape in shapes]
        drawn = [
            (
                str(shape.get("shape_type") or "polygon"),
                [(float(x), float(y)) for x, y in shape["points"]],
                str(shape.get("mask") or ""),
            )
            for shape in shapes
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{table} is no LabelMe file: {error!r}.") from error
    outlines: list[Outline] = []
    for number, (form, points, mask) in enumerate(drawn, start=1):
        try:
            outlines += _outlines_of(form, points, mask)
        except ValueError as error:
            raise DataError(
                f'Shape {number} of {table} can\'t be read, a "{form}" of {len(points)} points: {error}',
                "Draw it as a polygon.",
            ) from error
    return kinds, tuple(outlines)


def _outlines_of(form: str, points: Sequence[tuple[float, float]], mask: str) -> list[Outline]:
    """What a shape of LabelMe marks; lines and points are as wide as LabelMe draws them in a mask.

    A rectangle has two opposite corners; that of tools which write the same files may have all four.
    """
    match form, len(points):
        case "mask", 2:
            return [PastedMask(round(points[0][0]), round(points[0][1]), _picture_bytes(mask))]
        case "rectangle", 2:
            (x0, y0), (x1, y1) = points
            return [box_polygon(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))]
        case (("rectangle" | "oriented_rectangle" | "rotation"), 4):
            return [tuple(points)]
        case "polygon", count if count > 2:
            return [tuple(points)]
        case "circle", 2:  # its middle, and a point on it
            return [_disc(points[0], math.dist(*points))]
        case (("point" | "points"), count) if count:
            return [_disc(point, _POINT_RADIUS) for point in points]
        case (("line" | "linestrip"), count) if count > 1:
            strokes: list[Outline] = [_stroke(start, end) for start, end in pairwise(points)]
            return strokes + [_disc(joint, _LINE_WIDTH / 2) for joint in points[1:-1]]
    raise ValueError("such shapes are not known.")


def _picture_bytes(mask: str) -> bytes:
    """The bytes of a picture in base 64; raises ValueError where they are no picture."""
    data = base64.b64decode(mask)
    try:
        decode_marks(data)
    except MediaError as error:
        raise ValueError("its mask is no whole picture.") from error
    return data


def _disc(middle: tuple[float, float], radius: float) -> Polygon:
    angles = np.linspace(0, 2 * np.pi, _DISC_CORNERS, endpoint=False)
    return tuple(
        (middle[0] + radius * float(np.cos(angle)), middle[1] + radius * float(np.sin(angle)))
        for angle in angles
    )


def _stroke(start: tuple[float, float], end: tuple[float, float]) -> Polygon:
    (x0, y0), (x1, y1) = start, end
    half = _LINE_WIDTH / 2 / (math.dist(start, end) or 1.0)
    dx, dy = half * (y1 - y0), half * (x0 - x1)
    return ((x0 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1 - dx, y1 - dy), (x0 - dx, y0 - dy))


COCO = Layout(
    "COCO",
    (("annotations/[!.]*.json", "annotations/<name>.json"), ("images", "images/")),
    _read_coco,
)
LABELME = Layout(
    "LabelMe", (("*.json", "<picture>.json"), ("*.[jpbJPB][pnmPNM]*", "<picture>.jpg")), _read_labelme
)
