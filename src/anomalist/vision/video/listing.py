"""Lists of videos: files, folders of files, folders of frames, addresses."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anomalist.errors import MediaError
from anomalist.vision.media import IMAGE_SUFFIXES, shown
from anomalist.vision.video.addresses import is_address

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".dv", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts"}
    | {".mxf", ".ogv", ".ts", ".webm", ".wmv"}
)

_FRAME = re.compile(r"(.*?)\d+\.[^.]+")


@dataclass(frozen=True)
class VideoListing:
    """The sources to open, and how many other files were passed over because of their name."""

    videos: tuple[str | Path, ...]
    skipped: int


def list_videos(paths: Sequence[str | Path]) -> VideoListing:
    """List the videos among files, folders and addresses, in a fixed order and without repeats.

    An address, or a path that isn't a folder, is always in the list, even when it doesn't exist, so that
    ``open_video`` can say what is wrong with it. A folder that holds nothing but numbered pictures
    ("frame_001.png") is one video. Other folders are searched with everything below, sorted by their paths,
    for names that end like a video's (``VIDEO_SUFFIXES``) and for such folders of frames; hidden files and
    folders don't count. Linked folders are followed, but no folder is entered twice.

    Raises
    ------
    MediaError
        If a folder can't be listed.
    """
    videos: dict[str, str | Path] = {}  # by address or absolute path: the first spelling wins
    skipped: set[str] = set()
    entered: set[str] = set()
    for path in paths:
        if is_address(path):
            videos.setdefault(str(path), path)
        elif os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises on names that are too long
            found, others = _search(Path(path), entered)
            for video in found:
                videos.setdefault(_absolute(video), video)
            skipped.update(map(_absolute, others))
        else:
            videos.setdefault(_absolute(path), Path(path))
    return VideoListing(tuple(videos.values()), len(skipped - videos.keys()))


def _search(top: Path, entered: set[str]) -> tuple[list[Path], list[Path]]:
    """Return the videos below a folder and the other files; skip and add to the folders ``entered``."""
    videos: list[Path] = []
    others: list[Path] = []
    folders = [top]
    while folders:
        folder = folders.pop()
        real = os.path.realpath(folder)
        if real in entered:
            continue
        entered.add(real)
        try:
            entries = sorted((e for e in folder.iterdir() if not e.name.startswith(".")), reverse=True)
        except OSError as error:
            raise MediaError(
                f'The folder "{shown(folder)}" can\'t be listed: {error.strerror}.', "Change its permissions."
            ) from error
        if _are_frames(entries):
            videos.append(folder)
            continue
        for entry in entries:
            if entry.is_dir():
                folders.append(entry)
            else:
                (videos if entry.suffix.lower() in VIDEO_SUFFIXES else others).append(entry)
    return sorted(videos, key=Path.as_posix), others


def _are_frames(entries: list[Path]) -> bool:
    """Say whether these are pictures whose names differ only in a number at their end."""
    matches = [_FRAME.fullmatch(entry.name) for entry in entries]
    return (
        bool(entries)
        and len({match and match[1] for match in matches}) == 1
        and None not in matches
        and all(entry.suffix.lower() in IMAGE_SUFFIXES and not entry.is_dir() for entry in entries)
    )


def _absolute(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - Path.resolve would follow a link to its target
