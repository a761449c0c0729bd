"""Video sources by path or URL: listing folders, checking stream URLs, redacting their secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit, urlunsplit

from anomalist.errors import MediaError
from anomalist.vision.media.images import IMAGE_SUFFIXES, one_line, visible_entries

SCHEMES = frozenset({"http", "https", "rtmp", "rtmps", "rtp", "rtsp", "rtsps", "udp"})
"""Schemes of the addresses that are read."""

_SECRET_PARAMETER = re.compile(
    r"([?&;][^=&;]*(?:pass|pwd|token|secret|key|auth|sig|credential)[^=&;]*=)[^&;#]*", re.I
)


def is_url(source: str | Path) -> bool:
    """Whether a source is an address ("rtsp://camera/1"); a ``Path`` never is."""
    return isinstance(source, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", source) is not None


def scheme_of(address: str) -> str:
    """Return the scheme in lower case.

    Raises
    ------
    MediaError
        If it isn't one of ``SCHEMES``, or the address can't be parsed.
    """
    scheme = address.partition("://")[0].lower()
    name = redact_url(address)
    if scheme not in SCHEMES:
        raise MediaError(
            f'"{one_line(name)}" can\'t be opened: "{one_line(scheme, 20)}" addresses are not read.',
            f"Give a path, or an address that starts with {', '.join(sorted(SCHEMES))}.",
        )
    try:
        parts = urlsplit(address)
        complete = (parts.hostname or scheme in ("udp", "rtp")) and (parts.port is None or parts.port > 0)
    except ValueError:
        complete = False
    if not complete or _cuts_a_password(parts):
        raise MediaError(
            f'"{one_line(name)}" is not a complete address.',
            "Check its host and port; in a password # is written %23, / %2F, ? %3F, % %25.",
        )
    return scheme


def _cuts_a_password(parts: SplitResult) -> bool:
    """Whether a "#", "/" or "?" of a password seems to end the host: "rtsp://user:pass#word@camera"."""
    behind = parts.path + parts.query + parts.fragment
    if ":" not in parts.netloc or "@" in parts.netloc or "@" not in behind:
        return False
    try:
        return parts.port is None
    except ValueError:
        return True


def redact_url(address: str) -> str:
    """Return the address without the password, and with "…" for the values of query keys like "token"."""
    scheme, _, rest = address.partition("://")
    try:
        parts = urlsplit(address)
        misread = _cuts_a_password(parts)
    except ValueError:
        misread = True
    if misread:
        return f"{scheme}://{rest.rpartition('@')[2]}"
    user, at, host = parts.netloc.rpartition("@")
    parts = parts._replace(netloc=user.partition(":")[0] + at + host)
    return _SECRET_PARAMETER.sub(r"\1…", urlunsplit(parts))


VIDEO_SUFFIXES = frozenset(
    {".264", ".265", ".3g2", ".3gp", ".asf", ".avi", ".dav", ".dv", ".h264", ".h265", ".hevc", ".m2v", ".vob"}
    | {".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts"}
    | {".mxf", ".ogv", ".ts", ".webm", ".wmv"}
)
"""Endings of names that folders are searched for."""

_COMPANIONS = frozenset({".db", ".ini", ".log", ".txt", ".xml"})
"""Endings of what file managers and recorders leave beside frames. A table is none: it
makes the pictures a data set."""


@dataclass(frozen=True)
class VideoListing:
    """The sources to open, and how many other files were skipped because of their name."""

    videos: tuple[str | Path, ...]
    skipped: int


def list_videos(paths: Sequence[str | Path]) -> VideoListing:
    """List the videos among files, folders and addresses, in a fixed order and without repeats.

    An address, or a path that isn't a folder, is always in the list, even when it doesn't exist, so that
    ``open_video`` can say what is wrong with it. A folder of numbered pictures ("frame_001.png"), beside
    which may lie what file managers and recorders leave there ("Thumbs.db"), is one video. Other folders are
    searched with everything below, sorted by their paths, for names that end like a video's
    (``VIDEO_SUFFIXES``) and for such folders of frames; hidden files and folders don't count. Linked folders
    are followed, but no folder is entered twice.

    Raises
    ------
    MediaError
        If a folder can't be listed.
    """
    videos: dict[str, str | Path] = {}  # by address or absolute path: the first spelling wins
    skipped: set[str] = set()
    entered: set[str] = set()
    for path in paths:
        if is_url(path):
            videos.setdefault(str(path), path)
        elif os.path.isdir(path):  # noqa: PTH112
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
        entries = visible_entries(folder)
        if _is_frame_sequence(entries):
            videos.append(folder)
            continue
        for entry in entries:
            if entry.is_dir():
                folders.append(entry)
            else:
                (videos if entry.suffix.lower() in VIDEO_SUFFIXES else others).append(entry)
    return sorted(videos, key=Path.as_posix), others


def _is_frame_sequence(entries: list[Path]) -> bool:
    """Whether these are pictures whose names differ only in their numbers, with nothing but notes beside."""
    pictures = [entry for entry in entries if entry.suffix.lower() in IMAGE_SUFFIXES and not entry.is_dir()]
    others = [entry for entry in entries if entry not in pictures]
    names = {re.sub(r"\d+", "#", entry.stem) for entry in pictures}
    return (
        len(names) == 1
        and "#" in names.pop()
        and all(entry.suffix.lower() in _COMPANIONS and not entry.is_dir() for entry in others)
    )


def _absolute(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100
