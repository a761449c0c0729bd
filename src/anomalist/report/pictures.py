"""The arrays behind a record, read again from its files; what is lost or has changed is said, not hidden."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from anomalist.errors import DataError, MediaError
from anomalist.types import BoolArray, FloatArray, Record, UInt8Array

Layer = TypeVar("Layer", UInt8Array, FloatArray, BoolArray)


@dataclass(frozen=True, eq=False)
class Layers:
    """What there is to draw of one record.

    Parameters
    ----------
    pixels : uint8 (H, W, 3), RGB, of the very file that was inspected; None if it is gone or has changed.
    score_map : float32 (H, W), or None.
    mask : bool (H, W), or None.
    problems : a sentence for each thing that is missing.
    """

    pixels: UInt8Array | None
    score_map: FloatArray | None
    mask: BoolArray | None
    problems: tuple[str, ...]


def load_layers(record: Record, folder: Path) -> Layers:
    """Read picture, map and mask of a record; never raises for a file that is missing or damaged."""
    problems: list[str] = []

    def attempt(load: Callable[[Record, Path], Layer | None]) -> Layer | None:
        try:
            return load(record, folder)
        except (DataError, MediaError) as problem:
            problems.append(str(problem))
            return None

    pixels, score_map, mask = attempt(load_source), attempt(load_map), attempt(load_mask)
    sizes = {layer.shape[:2] for layer in (pixels, score_map, mask) if layer is not None}
    if len(sizes) > 1:
        problems.append("Picture, anomaly map and mask are not of one size, so only the picture is drawn.")
        score_map = mask = None
    return Layers(pixels, score_map, mask, tuple(problems))


def load_source(record: Record, folder: Path) -> UInt8Array:
    """Read the inspected picture, from where it was or from beside the run folder's records.

    Raises
    ------
    DataError
        If the file is gone, or is not the one that was inspected (by its SHA-256).
    MediaError
        If it can't be read.
    """
    from anomalist.vision.media import load_image

    path = next((p for p in (Path(record.source), folder / record.source) if _is_file(p)), None)
    if path is None:
        raise DataError("The picture is gone: there is no such file any more.")
    media = load_image(path)
    if media.sha256 != record.sha256:
        raise DataError(
            "The picture has changed since it was inspected (its SHA-256 differs), so it is not shown."
        )
    return media.pixels


def load_map(record: Record, folder: Path) -> FloatArray | None:
    """Read the anomaly map, float32 (H, W); None if the record names none.

    Raises
    ------
    DataError
        If the file is missing, damaged, of another size, or outside ``folder``.
    """
    if record.map is None:
        return None
    path = inside(folder, record.map)
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as problem:
        raise DataError(f"The anomaly map {record.map} is missing or damaged.") from problem
    if values.dtype != np.float32 or values.ndim != 2 or not values.size or not _fits(record, values.shape):
        raise DataError(f"The anomaly map {record.map} is not a float32 map of the size of the picture.")
    score_map: FloatArray = values
    return score_map


def load_mask(record: Record, folder: Path) -> BoolArray | None:
    """Read the mask of the regions, bool (H, W); None if the record names none.

    Raises
    ------
    DataError
        If the file is missing, damaged, of another size, or outside ``folder``.
    """
    from PIL import Image

    if record.mask is None:
        return None
    path = inside(folder, record.mask)
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            mask: BoolArray = np.asarray(picture.convert("L")) > 0
    except (OSError, ValueError, SyntaxError) as problem:
        raise DataError(f"The mask {record.mask} is missing or damaged.") from problem
    if not _fits(record, mask.shape):
        raise DataError(f"The mask {record.mask} is not of the size of the picture.")
    return mask


def _fits(record: Record, shape: tuple[int, ...]) -> bool:
    return shape == (record.height or shape[0], record.width or shape[1])


def inside(folder: Path, name: str) -> Path:
    """Resolve a path of the record; raises DataError for one that leads out of the run folder."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise DataError(f"The record names {name}, which lies outside its run folder.")
    return path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a null character
        return False
