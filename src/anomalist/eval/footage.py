"""Labelled video on disk: normal clips to learn from, and test clips with a label a frame and masks."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomalist.errors import DataError
from anomalist.types import BoolArray
from anomalist.vision.media import load_image
from anomalist.vision.video.frames import Video
from anomalist.vision.video.listing import list_videos
from anomalist.vision.video.opening import open_video


@dataclass(frozen=True, eq=False)
class LabelledClip:
    """One test clip.

    Parameters
    ----------
    name : of its file, without the ending.
    labels : bool (n,), True is anomalous; one a frame.
    masks : folder with FFF.png for anomalous frames, or None.
    """

    name: str
    path: Path
    labels: BoolArray
    masks: Path | None

    def video(self) -> Video:
        """Open it."""
        return open_video(self.path)

    def mask(self, frame: int, size: tuple[int, int]) -> BoolArray:
        """The mask of a frame, bool ``size``: empty where the frame is labelled normal.

        Raises DataError when an anomalous frame has none.
        """
        if self.masks is None or not self.labels[frame]:
            return np.zeros(size, np.bool_)
        file = self.masks / f"{frame:03d}.png"
        if not file.exists():
            raise DataError(
                f"Frame {frame} of clip {self.name} is labelled anomalous and has no mask {file}."
            )
        mask: BoolArray = load_image(file).pixels.max(axis=2) > 0
        if mask.shape != size:
            raise DataError(f"The mask {file} has the size {mask.shape}, the frames have {size}.")
        return mask

    @property
    def events(self) -> tuple[tuple[int, int], ...]:
        """First and last frame of each run of anomalous frames."""
        padded = np.concatenate([[False], self.labels, [False]]).astype(np.int8)
        starts, ends = np.flatnonzero(np.diff(padded) == 1), np.flatnonzero(np.diff(padded) == -1)
        return tuple(zip(starts.tolist(), (ends - 1).tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class Footage:
    """A labelled set: videos of normal footage, and labelled test clips of the same camera."""

    training: tuple[Path, ...]
    testing: tuple[LabelledClip, ...]


def read_footage(folder: Path) -> Footage:
    """Read DATA/training, DATA/testing, DATA/labels.csv (clip,frame,label) and DATA/masks, as ped2 has them.

    Raises
    ------
    DataError : something is missing, or labels and clips don't match.
    """
    training, testing = (_videos(folder / part) for part in ("training", "testing"))
    labels = _labels(folder / "labels.csv")
    clips = []
    for path in testing:
        if path.stem not in labels:
            raise DataError(f"{folder / 'labels.csv'} says nothing about clip {path.stem}.")
        masks = folder / "masks" / path.stem
        clips.append(LabelledClip(path.stem, path, labels[path.stem], masks if masks.is_dir() else None))
    return Footage(training, tuple(clips))


def _videos(folder: Path) -> tuple[Path, ...]:
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.", "DATA holds training/, testing/ and labels.csv.")
    found = tuple(Path(video) for video in list_videos([folder]).videos)
    if not found:
        raise DataError(f"There are no videos in {folder}.")
    return found


def _labels(file: Path) -> dict[str, BoolArray]:
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            rows = list(csv.DictReader(opened))
        by_clip: dict[str, dict[int, bool]] = {}
        for row in rows:
            by_clip.setdefault(row["clip"], {})[int(row["frame"])] = row["label"] == "1"
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{file} can't be read: {error}.", "It needs the columns clip,frame,label."
        ) from error
    for clip, frames in by_clip.items():
        if sorted(frames) != list(range(len(frames))):
            raise DataError(f"{file}: the frames of clip {clip} are not 0, 1, 2, …")
    return {clip: np.array([frames[i] for i in range(len(frames))]) for clip, frames in by_clip.items()}


def folds(paths: tuple[Path, ...], count: int) -> Iterator[tuple[list[Path], list[Path]]]:
    """Yield (rest, left out) for every fold: path i is left out of fold i modulo ``count``."""
    for fold in range(count):
        yield (
            [path for i, path in enumerate(paths) if i % count != fold],
            [path for i, path in enumerate(paths) if i % count == fold],
        )
