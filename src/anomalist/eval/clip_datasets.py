"""Video data sets on disk: clips with frame labels and masks (UCSD Ped2), and captioned clips.

Captioned clips are files ``NN.csv`` with frame, label and caption, and ``event_labels.csv`` beside them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomalist.errors import DataError
from anomalist.types.common import BoolArray
from anomalist.vision.media.frames import Video
from anomalist.vision.media.masks import marked_pixels
from anomalist.vision.media.sources import list_videos
from anomalist.vision.media.video import open_video


@dataclass(frozen=True, eq=False)
class LabelledClip:
    """One test clip with frame labels.

    Parameters
    ----------
    name : of its file, without suffix.
    path : of its file.
    labels : bool (n,), one per frame, True is anomalous.
    masks : folder with FFF.png for anomalous frames, or None.
    """

    name: str
    path: Path
    labels: BoolArray
    masks: Path | None

    def video(self) -> Video:
        """Open the video."""
        return open_video(self.path)

    def mask(self, frame: int, size: tuple[int, int]) -> BoolArray:
        """The mask of a frame, bool of shape ``size``; all False for a normal frame or without masks.

        Raises DataError when the mask of an anomalous frame is missing.
        """
        if self.masks is None or not self.labels[frame]:
            return np.zeros(size, np.bool_)
        file = self.masks / f"{frame:03d}.png"
        if not file.exists():
            raise DataError(
                f"Frame {frame} of clip {self.name} is labelled anomalous and has no mask {file}."
            )
        mask = marked_pixels(file)
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
class VideoDataset:
    """Normal training videos and labelled test clips of one camera."""

    training: tuple[Path, ...]
    testing: tuple[LabelledClip, ...]


def read_video_dataset(folder: Path) -> VideoDataset:
    """Read training/, testing/, labels.csv (clip,frame,label) and masks/ of a folder, the layout of Ped2.

    Raises
    ------
    DataError : something is missing, or labels and clips don't match.
    """
    training, testing = (_list_videos(folder / part) for part in ("training", "testing"))
    labels = _read_frame_labels(folder / "labels.csv")
    clips = []
    for path in testing:
        if path.stem not in labels:
            raise DataError(f"{folder / 'labels.csv'} says nothing about clip {path.stem}.")
        masks = folder / "masks" / path.stem
        clips.append(LabelledClip(path.stem, path, labels[path.stem], masks if masks.is_dir() else None))
    return VideoDataset(training, tuple(clips))


def _list_videos(folder: Path) -> tuple[Path, ...]:
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.", "DATA holds training/, testing/ and labels.csv.")
    found = tuple(Path(video) for video in list_videos([folder]).videos)
    if not found:
        raise DataError(f"There are no videos in {folder}.")
    return found


def _read_frame_labels(file: Path) -> dict[str, BoolArray]:
    by_clip: dict[str, dict[int, bool]] = {}
    for line, row in _read_csv_rows(file, ("clip", "frame", "label")):
        frame = row["frame"].strip()
        if not frame.isdecimal():
            raise DataError(f'"{file}", line {line}: no frame has the number "{frame[:20]}".')
        label, known = _parse_label(file, line, row["label"]), by_clip.setdefault(row["clip"], {})
        if known.setdefault(int(frame), label) != label:
            raise DataError(f'"{file}", line {line}: frame {int(frame)} of {row["clip"]} has both labels.')
    for clip, frames in by_clip.items():
        if sorted(frames) != list(range(len(frames))):
            raise DataError(f"{file}: the frames of clip {clip} are not 0, 1, 2, …")
    return {clip: np.array([frames[i] for i in range(len(frames))]) for clip, frames in by_clip.items()}


def leave_out_folds(paths: tuple[Path, ...], count: int) -> Iterator[tuple[list[Path], list[Path]]]:
    """Yield (rest, left out) for every fold: path i is left out of fold i modulo ``count``."""
    for fold in range(count):
        yield (
            [path for i, path in enumerate(paths) if i % count != fold],
            [path for i, path in enumerate(paths) if i % count == fold],
        )


EVENT_LABELS_FILE = "event_labels.csv"


@dataclass(frozen=True, eq=False)
class CaptionedClip:
    """One clip with a caption and a label per frame.

    Parameters
    ----------
    name : number of the clip, "07".
    captions : one per frame, in order.
    labels : bool (n,), True is anomalous.
    events : labels by event, bool (n,) each; events that this clip isn't labelled for are missing.
    """

    name: str
    captions: tuple[str, ...]
    labels: BoolArray
    events: Mapping[str, BoolArray]

    @property
    def even(self) -> bool:
        """Whether its number is even; settings were chosen on odd-numbered clips only."""
        return int(self.name) % 2 == 0


def read_captioned_clips(folder: Path) -> tuple[CaptionedClip, ...]:
    """Read the clips of a folder, in order of their numbers.

    Raises
    ------
    DataError : no clips, an unreadable file or row, labels other than 0 and 1, or event labels that don't fit
        the clips.
    """
    paths = sorted(path for path in folder.glob("*.csv") if path.stem.isdigit()) if folder.is_dir() else []
    if not paths:
        raise DataError(f'"{folder}" holds no captioned clips.', "They are files 01.csv, 02.csv and so on.")
    clips = {path.stem: _read_captions_csv(path) for path in paths}
    events = _read_events(
        folder / EVENT_LABELS_FILE, {name: len(labels) for name, (_, labels) in clips.items()}
    )
    return tuple(
        CaptionedClip(name, captions, labels, events.get(name, {}))
        for name, (captions, labels) in clips.items()
    )


def _read_captions_csv(path: Path) -> tuple[tuple[str, ...], BoolArray]:
    rows = _read_csv_rows(path, ("frame", "label", "caption"))
    if not rows:
        raise DataError(f'"{path}" holds no captions.')
    labels = [_parse_label(path, line, row["label"]) for line, row in rows]
    return tuple(row["caption"] for _, row in rows), np.array(labels)


def _read_events(path: Path, lengths: Mapping[str, int]) -> dict[str, dict[str, BoolArray]]:
    """Labels by clip and event; an empty cell means that the clip isn't labelled for that event."""
    if not path.exists():
        return {}
    by_clip: dict[str, list[tuple[int, dict[str, str]]]] = {}
    for line, row in _read_csv_rows(path, ("clip", "frame")):
        by_clip.setdefault(row["clip"], []).append((line, row))
    found: dict[str, dict[str, BoolArray]] = {}
    for clip, rows in by_clip.items():
        if len(rows) != lengths.get(clip):
            raise DataError(
                f'"{path}" has {len(rows)} rows for clip {clip}, its captions {lengths.get(clip)}.'
            )
        names = [name for name, cell in rows[0][1].items() if name not in ("clip", "frame") and cell != ""]
        found[clip] = {
            name: np.array([_parse_label(path, line, row[name]) for line, row in rows]) for name in names
        }
    return found


def _read_csv_rows(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file, each with the number of its line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="", strict=True)
            missing = [name for name in columns if name not in (reader.fieldnames or [])]
            if missing:
                raise DataError(
                    f'"{path}" has no column {missing[0]}.', f"It needs the columns {', '.join(columns)}."
                )
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f'"{path}" can\'t be read: {error}.') from error
    long = next((line for line, row in rows if len(row) > len(reader.fieldnames or ())), None)
    if long is not None:
        raise DataError(f'"{path}", line {long}: more cells than columns.', "Quote a text that has commas.")
    return rows


def _parse_label(path: Path, line: int, value: str) -> bool:
    if value.strip() not in ("0", "1"):
        raise DataError(f'"{path}", line {line}: the label is "{value[:20]}".', "Labels are 0 and 1.")
    return value.strip() == "1"
