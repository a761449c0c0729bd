"""Pictures for the report: drawn, encoded, and with the places to click on."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomalist.errors import DataError
from anomalist.report.pictures import Layers, load_map
from anomalist.types import Box, FloatArray, Record, UInt8Array

LARGE, SMALL = 560, 160  # the longer side, pixels

Range = tuple[float, float]


@dataclass(frozen=True)
class Figure:
    """A drawn picture, and where to click on it: (region id, css position) in per cent."""

    uri: str
    width: int
    height: int
    boxes: tuple[tuple[str, str], ...] = ()


def heat_ranges(records: Iterable[Record], folder: Path) -> dict[str, Range]:
    """Give every picture of a detector the same colours, so that they can be compared.

    From the middle of a typical map to the peak of a typical region; one extreme picture doesn't make all
    others black, and noise doesn't glow. Without any region, to the highest peak of all.
    """
    middles: dict[str, list[float]] = {}
    peaks: dict[str, list[float]] = {}
    highest: dict[str, float] = {}
    for record in records:
        try:
            score_map = load_map(record, folder)
        except DataError:  # said where the picture would be
            continue
        if score_map is None or not np.isfinite(score_map).any():
            continue
        finite: FloatArray = score_map[np.isfinite(score_map)]
        digest = detector_digest(record)
        middles.setdefault(digest, []).append(float(np.median(finite)))
        highest[digest] = max(highest.get(digest, -np.inf), float(finite.max()))
        if record.regions:
            peaks.setdefault(digest, []).append(record.regions[0].peak)
    return {
        digest: (statistics.median(values), statistics.median(peaks.get(digest, [highest[digest]])))
        for digest, values in middles.items()
    }


def overlay_figure(
    record: Record, layers: Layers, heat_range: Range | None, side: int, *, labelled: bool
) -> Figure | None:
    """Outline the regions on the picture, or on the anomaly map where the picture is gone."""
    from anomalist.vision.drawing import display_size, heat, overlay

    ground = layers.pixels
    if ground is None and layers.score_map is not None and heat_range is not None:
        ground = heat(None, layers.score_map, *heat_range, max_side=max(layers.score_map.shape))
    if ground is None:
        return None
    mask = layers.mask if record.regions else np.zeros(ground.shape[:2], dtype=np.bool_)
    drawn = overlay(ground, mask, record.regions if labelled else (), max_side=side)
    height, width = display_size(ground.shape[:2], side)
    share = (width / ground.shape[1] / drawn.shape[1], height / ground.shape[0] / drawn.shape[0])
    boxes = tuple((region.id, _css_box(region.box, share)) for region in record.regions)
    return _figure(drawn, boxes)


def heat_figure(layers: Layers, heat_range: Range | None) -> Figure | None:
    """Lay the anomaly map over the picture; None where either is missing."""
    from anomalist.vision.drawing import heat

    if layers.pixels is None or layers.score_map is None or heat_range is None:
        return None
    return _figure(heat(layers.pixels, layers.score_map, *heat_range, max_side=LARGE))


def scale_uri() -> str:
    """Encode the colours of the anomaly map, from low to high, for the legend."""
    from anomalist.vision.drawing import colour_scale, data_uri

    return data_uri(colour_scale(), "png")


def detector_digest(record: Record) -> str:
    """Give the digest of the detector, whose maps share one range; "" for none."""
    return record.detector.digest if record.detector else ""


def _figure(drawn: UInt8Array, boxes: tuple[tuple[str, str], ...] = ()) -> Figure:
    from anomalist.vision.drawing import data_uri

    small = max(drawn.shape) <= SMALL
    return Figure(data_uri(drawn, quality=72 if small else 85), drawn.shape[1], drawn.shape[0], boxes)


def _css_box(box: Box, share: tuple[float, float]) -> str:
    x0, y0, x1, y1 = box
    left, width = 100 * x0 * share[0], 100 * (x1 - x0) * share[0]
    top, height = 100 * y0 * share[1], 100 * (y1 - y0) * share[1]
    return f"left:{left:.2f}%;top:{top:.2f}%;width:{width:.2f}%;height:{height:.2f}%"
