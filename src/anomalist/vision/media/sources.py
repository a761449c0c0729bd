"""Video sources by path or URL: listing folders, checking stream URLs, redacting their secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit, urlunsplit

from anomalist.errors import DataError, MediaError
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
    parts = address_parts(address)
    if parts is None or not (parts.hostname or scheme in ("udp", "rtp")):
        raise MediaError(f'"{one_line(name)}" is not a complete address.', f"Check its host. {ENCODE_HELP}")
    return scheme


ENCODE_HELP = (
    "A port is a number from 1 to 65535. Special characters of a password, and an @ in the path, are "
    "percent-encoded: # as %23, / as %2F, ? as %3F, @ as %40, % as %25."
)
"""What to do about an address that can't be read."""


def address_parts(address: str) -> SplitResult | None:
    """Return the parts of an address; None where it can't be read for sure.

    "#", "/" and "?" end the host: nobody can say whether "rtsp://me:12/34@camera" holds a password and a
    host, or a host, its port and a path. To take it for the latter could send the password to another host.
    """
    try:
        parts = urlsplit(address)
        sound = parts.port != 0
    except ValueError:
        return None
    before = re.sub(r"\[[^\]]*\]", "", parts.netloc)  # the colons of an IPv6 address begin no port
    ambiguous = ":" in before and "@" in parts.path + parts.query + parts.fragment
    return parts if sound and not ambiguous else None


def split_address(address: str) -> SplitResult:
    """Return the parts of an address; see `address_parts`.

    Raises DataError, which shows no password, where they can't be read for sure.
    """
    parts = address_parts(address)
    if parts is None:
        raise DataError(f"{host_only(address)} can't be read as an address.", ENCODE_HELP)
    return parts


def redact_url(address: str) -> str:
    """Return the address without the password, and with "…" for the values of query keys like "token".

    Of one that can't be read for sure the host alone is left. What stands before an address is kept; a path
    stays as it is.
    """
    found = re.search(r"[A-Za-z][A-Za-z0-9+.-]*://", address)
    if found is None:
        return address
    before, address = address[: found.start()], address[found.start() :]
    parts = address_parts(address)
    if parts is None:
        return before + host_only(address)
    user, at, host = parts.netloc.rpartition("@")
    parts = parts._replace(netloc=user.partition(":")[0] + at + host)
    return before + _SECRET_PARAMETER.sub(r"\1…", urlunsplit(parts))


def host_only(address: str) -> str:
    """Return the scheme, host and port of an address, also of one that can't be read; "…@" for a user."""
    start = address.find("://") + 3 if "://" in address else 0
    _, at, host = address[start:].rpartition("@")
    host = re.split("[/?#]", host, maxsplit=1)[0]
    # What is no port may be a password without its host.
    return address[:start] + ("…@" if at else "") + re.sub(r":(?!\d+$)[^\]]*$", "", host)


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
