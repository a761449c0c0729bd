"""Exports for other programs: CSV (RFC 4180, safe against formula injection), COCO JSON, and plug-ins.

An exporter is a function ``(records, folder)`` that writes files into a run folder. `PICTURE_EXPORTERS` run
with every report of pictures; plug-ins are asked for by name.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic_core import to_json

from anomalist.errors import DataError
from anomalist.plugins import load_plugin
from anomalist.report.figures import load_mask
from anomalist.report.wording import main_reason, outcome
from anomalist.storage.files import write_atomically, write_error
from anomalist.types.clip import ClipRecord
from anomalist.types.common import SEVERITIES, BoolArray
from anomalist.types.image import Record, Region

CSV_COLUMNS = (
    "source", "outcome", "severity", "severity_word", "kind", "score", "p_value", "threshold",
    "false_alarm_rate", "regions", "reason", "error", "width", "height", "sha256", "profile", "detector",
    "map", "mask", "time", "product",
)  # fmt: skip

# What spreadsheets take for the start of a formula, full-width forms included (OWASP, "CSV Injection").
_FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")


class Exporter(Protocol):
    """Writes the records of a run in another format.

    A plug-in of the group ``anomalist.exporters`` is a function of this form.
    """

    def __call__(self, records: Sequence[Record] | Sequence[ClipRecord], folder: Path, /) -> object:
        """Write files into the run folder, which holds what the records name: maps, masks, frames, clips.

        Parameters
        ----------
        records : of pictures or, from a triage, of clips; both have ``source``, ``status``, ``label`` and
            ``error``. Maps and masks are paths relative to ``folder``.
        folder : the run folder. Don't change the files that are there.
        """
        ...


def load_exporters(names: Sequence[str]) -> list[Exporter]:
    """Find exporters by name, entry point or ``module:function``; raises DataError for an unknown one."""
    return [load_plugin("anomalist.exporters", name) for name in names]


def run_exporters(
    exporters: Iterable[Exporter], records: Sequence[Record] | Sequence[ClipRecord], folder: Path
) -> None:
    """Run exporters over the records of a run folder; raises DataError when one can't write."""
    for exporter in exporters:
        try:
            exporter(records, folder)
        except OSError as error:
            raise write_error(Path(error.filename or folder), error) from error


def write_csv(records: Sequence[Record], folder: Path) -> Path:
    """Write results.csv: one row a picture, RFC 4180, UTF-8, in the order given.

    ``regions`` reads ``R1 x0 y0 x1 y1; R2 …`` (half-open boxes, pixels). Text that a spreadsheet would run
    as a formula gets an apostrophe in front; numbers stay numbers.
    """
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(CSV_COLUMNS)
    for record in records:
        row = _csv_row(record)
        writer.writerow([_escape_formula(row[column]) for column in CSV_COLUMNS])
    return write_atomically(folder / "results.csv", table.getvalue())


def write_coco(records: Sequence[Record], folder: Path) -> Path:
    """Write coco.json, COCO detection: images, categories (kinds), and an annotation for each region.

    A verdict names the kind of the first region; of the others whose kind was not recorded it is "unnamed".
    Pictures called normal are images without annotations; regions of undecided ones are annotated and say
    ``"outcome": "undecided"``. Pictures that could not be inspected stand in ``info.errors`` only.
    Segmentations are uncompressed RLE (column-major counts, the first one of background), as
    ``pycocotools.mask.frPyObjects`` takes them.

    Parameters
    ----------
    records : what was inspected.
    folder : the run folder, which holds the masks and gets the file.

    Raises
    ------
    DataError
        If a mask is missing or doesn't hold the record's regions.
    """
    inspected = [record for record in records if outcome(record) != "error"]
    flagged = [record for record in inspected if outcome(record) != "normal"]
    kinds = sorted({_kind(record, region) for record in flagged for region in record.regions})
    category = {kind: index for index, kind in enumerate(kinds, start=1)}
    annotations: list[dict[str, Any]] = []
    for image_id, record in enumerate(inspected, start=1):
        if outcome(record) == "normal" or not record.regions:
            continue
        for region, inside in region_masks(record, folder):
            base = {"id": len(annotations) + 1, "image_id": image_id}
            base["category_id"] = category[_kind(record, region)]
            annotations.append(base | _coco_annotation(record, region, inside))
    content = {
        "info": _coco_info(records),
        "images": [_coco_image(record, image_id) for image_id, record in enumerate(inspected, start=1)],
        "categories": [
            {"id": index, "name": kind, "supercategory": "anomaly"} for kind, index in category.items()
        ],
        "annotations": annotations,
    }
    return write_atomically(folder / "coco.json", to_json(content, indent=1, inf_nan_mode="null") + b"\n")


PICTURE_EXPORTERS: Mapping[str, Callable[[Sequence[Record], Path], Path]] = {
    "csv": write_csv,
    "coco": write_coco,
}
"""By name; all of them run with every report of pictures."""


def region_masks(record: Record, folder: Path) -> list[tuple[Region, BoolArray]]:
    """Pair each region with its own pixels, bool (y1 - y0, x1 - x0): its 8-connected part of the stored mask.

    Raises
    ------
    DataError
        If the mask is missing, or has no component of a region's box and area.
    """
    mask = load_mask(record, folder)
    if mask is None:
        raise DataError(f"The record of {record.source} names no mask.", "Inspect the picture again.")
    pairs = []
    for region in record.regions:
        inside = _component_in_box(mask, region)
        if inside is None:
            raise DataError(
                f"The mask {record.mask} does not hold {region.id} of {record.source}.",
                "The run folder was altered; inspect the picture again.",
            )
        pairs.append((region, inside))
    return pairs


def _component_in_box(mask: BoolArray, region: Region) -> BoolArray | None:
    """The component of a mask that has the box and area of a region, within its box."""
    from scipy import ndimage

    x0, y0, x1, y1 = region.box
    # With a pixel around it, what goes on outside of the box is another component.
    top, left = max(0, y0 - 1), max(0, x0 - 1)
    labels, _ = ndimage.label(mask[top : y1 + 1, left : x1 + 1], structure=np.ones((3, 3), dtype=np.bool_))
    wanted = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    for index, found in enumerate(ndimage.find_objects(labels), start=1):
        inside: BoolArray = labels[wanted] == index
        if found == wanted and int(inside.sum()) == region.area:
            return inside
    return None


def rle(
    inside: BoolArray, corner: tuple[int, int] = (0, 0), size: tuple[int, int] | None = None
) -> dict[str, list[int]]:
    """Encode a part of a mask as uncompressed COCO RLE: runs down the columns, the first one of False.

    Parameters
    ----------
    inside : bool (h, w).
    corner : (x, y) of its upper left pixel in the mask.
    size : (height, width) of the mask; by default that of the part.
    """
    height, width = size or inside.shape
    padded = np.pad(inside.T.astype(np.int8), ((0, 0), (1, 1)))
    columns, starts = np.nonzero(np.diff(padded, axis=1) == 1)
    _, ends = np.nonzero(np.diff(padded, axis=1) == -1)
    offsets = (columns + corner[0]) * height + corner[1]
    begins, stops = offsets + starts, offsets + ends
    apart = np.ones(len(begins), np.bool_)
    apart[1:] = begins[1:] != stops[:-1]  # a run may go on at the top of the next column
    begins, stops = begins[apart], stops[np.append(apart[1:], True)] if len(stops) else stops
    bounds = np.concatenate(([0], np.stack([begins, stops], axis=1).ravel(), [height * width]))
    counts = np.diff(bounds).tolist()
    if len(counts) > 1 and not counts[-1]:
        counts.pop()
    return {"size": [int(height), int(width)], "counts": counts}


def _csv_row(record: Record) -> dict[str, object]:
    boxes = (" ".join(map(str, (region.id, *region.box))) for region in record.regions)
    own = {
        "outcome": outcome(record),
        "severity_word": None if record.severity is None else SEVERITIES[record.severity],
        "false_alarm_rate": record.calibration and record.calibration.false_alarm_rate,
        "regions": "; ".join(boxes),
        "reason": main_reason(record),
        "detector": record.detector and record.detector.name,
        "product": record.product_name,
    }
    return {column: own[column] if column in own else getattr(record, column) for column in CSV_COLUMNS}


def _escape_formula(cell: object) -> object:
    """Leave numbers alone; None becomes empty; defuse text that would be run as a formula."""
    if isinstance(cell, str) and (
        cell.startswith(_FORMULA_STARTS) or cell.lstrip().startswith(_FORMULA_STARTS)
    ):
        return f"'{cell}"
    return "" if cell is None else cell


def _kind(record: Record, region: Region) -> str:
    """The kind of a region, as far as it was recorded: the verdict's is that of the first one.

    The others have one by the labelled defects that they are like, or by what a reference says of them.
    """
    if region.id == record.regions[0].id:
        return record.kind or "unnamed"
    if region.known is not None and region.known.name is not None:
        return region.known.name
    return f"{region.change} material" if region.change in ("missing", "extra") else "unnamed"


def _coco_image(record: Record, image_id: int) -> dict[str, Any]:
    return {
        "id": image_id,
        "file_name": record.source,
        "width": record.width,
        "height": record.height,
        "sha256": record.sha256,
        "outcome": outcome(record),
        "score": record.score,
        "p_value": record.p_value,
    }


def _coco_annotation(record: Record, region: Region, inside: BoolArray) -> dict[str, Any]:
    x0, y0, x1, y1 = region.box
    return {
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": region.area,
        "iscrowd": 0,
        "segmentation": rle(inside, (x0, y0), (record.height or y1, record.width or x1)),
        "score": region.peak,
        "attributes": {
            "region": region.id,
            "outcome": outcome(record),
            "severity": record.severity,
            "mean": region.mean,
            **region.attributes.model_dump(mode="json"),
        },
    }


def _coco_info(records: Iterable[Record]) -> dict[str, Any]:
    records = list(records)
    return {
        "description": "Regions found by anomalist. The score is the peak of the anomaly map, unscaled.",
        "version": ", ".join(sorted({record.version for record in records})),
        "date_created": max(chain((record.time or "" for record in records), [""])),
        "errors": [
            {"file_name": record.source, "error": record.error}
            for record in records
            if outcome(record) == "error"
        ],
    }
