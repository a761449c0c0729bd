"""Labelled captions of clips: ``NN.csv`` with frame, label and caption, and labels of events beside them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomalist.errors import DataError
from anomalist.types import BoolArray

EVENTS = "event_labels.csv"


@dataclass(frozen=True, eq=False)
class CaptionedClip:
    """One clip: a caption and a label a frame.

    Parameters
    ----------
    name : "07".
    captions : one a frame, in order.
    labels : bool (n,), True is anomalous.
    events : by name, bool (n,); names that this clip isn't labelled for are missing.
    """

    name: str
    captions: tuple[str, ...]
    labels: BoolArray
    events: Mapping[str, BoolArray]

    @property
    def even(self) -> bool:
        """Whether its number is even: nothing was chosen on these."""
        return int(self.name) % 2 == 0


def read_clips(folder: Path) -> tuple[CaptionedClip, ...]:
    """Read the clips of a folder, in order of their numbers.

    Raises
    ------
    DataError : no clips, a file or row that can't be read, labels other than 0 and 1, or event labels that
        don't fit the clips.
    """
    paths = sorted(path for path in folder.glob("*.csv") if path.stem.isdigit()) if folder.is_dir() else []
    if not paths:
        raise DataError(f'"{folder}" holds no captioned clips.', "They are files 01.csv, 02.csv and so on.")
    clips = {path.stem: _read_clip(path) for path in paths}
    events = _read_events(folder / EVENTS, {name: len(labels) for name, (_, labels) in clips.items()})
    return tuple(
        CaptionedClip(name, captions, labels, events.get(name, {}))
        for name, (captions, labels) in clips.items()
    )


def _read_clip(path: Path) -> tuple[tuple[str, ...], BoolArray]:
    rows = _rows(path, ("frame", "label", "caption"))
    if not rows:
        raise DataError(f'"{path}" holds no captions.')
    return tuple(row["caption"] for row in rows), np.array([_label(path, row["label"]) for row in rows])


def _read_events(path: Path, lengths: Mapping[str, int]) -> dict[str, dict[str, BoolArray]]:
    """Labels by clip and event; an empty cell means that the clip isn't labelled for that event."""
    if not path.exists():
        return {}
    by_clip: dict[str, list[dict[str, str]]] = {}
    for row in _rows(path, ("clip", "frame")):
        by_clip.setdefault(row["clip"], []).append(row)
    found: dict[str, dict[str, BoolArray]] = {}
    for clip, rows in by_clip.items():
        if len(rows) != lengths.get(clip):
            raise DataError(
                f'"{path}" has {len(rows)} rows for clip {clip}, its captions {lengths.get(clip)}.'
            )
        names = [name for name in rows[0] if name not in ("clip", "frame") and rows[0][name] != ""]
        found[clip] = {name: np.array([_label(path, row[name]) for row in rows]) for name in names}
    return found


def _rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, restval="", strict=True)
            missing = [name for name in columns if name not in (reader.fieldnames or [])]
            if missing:
                raise DataError(f'"{path}" has no column {missing[0]}.')
            return list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f'"{path}" can\'t be read: {error}.') from error


def _label(path: Path, value: str) -> bool:
    if value not in ("0", "1"):
        raise DataError(f'"{path}" has the label "{value[:20]}".', "Labels are 0 and 1.")
    return value == "1"
