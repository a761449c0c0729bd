"""Entries of an audit log, one line each, and what was judged with: read with the standard library alone.

An entry is a line of canonical JSON (RFC 8785), ``{"body":…,"hash":"…","head":{…}}``: ``head`` names the
position, the SHA-256 of the body and the hash of the entry before; ``hash`` is the SHA-256 of ``head``. A
body that was removed is ``null``; a later entry, a tombstone, says why. Bodies hold a random salt, so that
what was removed can't be guessed from its hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = 1
"""Newest format of entries that is understood."""
MAX_LINE = 16 * 1024 * 1024
"""Bytes of an entry at most; a longer line is damage, and is never read whole."""
FIRST_PREVIOUS = "0" * 64
"""What stands for the hash of the entry before the first."""
HEAD_FILE = "head.json"
SEGMENTS = "segment-*.jsonl"
_START, _MIDDLE, _HEAD = b'{"body":', b',"hash":"', b'","head":'
_TEXTS = ("body", "kind", "log", "previous", "time")
_LAST_POSITION = 2**53
"""Beyond it JSON is not sure of whole numbers."""
_MANIFESTS = ("profile.json", "scene.json", "products.json")
_ADDED_LATER = ("place", "masks", "scale", "check", "look", "overlays", "kind", "others")
"""Fields of manifests that don't count in the digest where they are null."""


def signed_message(log: str, position: int, hash_: str) -> bytes:
    """What a signature over the head of a log is made of."""
    return f"anomalist audit log {log} entry {position} {hash_}".encode()


@dataclass(frozen=True)
class RawEntry:
    """One line of a log, taken apart; ``body`` is JSON as stored, ``b"null"`` where it was removed."""

    body: bytes
    hash: str
    head: dict[str, Any]
    body_sound: bool

    @property
    def position(self) -> int:
        """Number of the entry in the log, from 0."""
        return int(self.head["position"])

    @property
    def content(self) -> dict[str, Any] | None:
        """The body taken apart; None where it was removed, or is no JSON object."""
        try:
            content = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return content if isinstance(content, dict) else None


class NewerFormat(ValueError):  # noqa: N818
    """The log was written by a newer version."""


def split_line(line: bytes) -> RawEntry | None:
    """Take a line (without its newline) apart and check its hash; None where it is no sound entry.

    Raises NewerFormat for an entry of a format that this version doesn't know.
    """
    middle = line.rfind(_MIDDLE)
    start = middle + len(_MIDDLE)
    begin = start + 64 + len(_HEAD)
    if middle < 0 or not line.startswith(_START) or line[start + 64 : begin] != _HEAD or line[-1:] != b"}":
        return None
    head = line[begin:-1]
    own = hashlib.sha256(head).hexdigest()
    if own.encode() != line[start : start + 64]:
        return None
    try:
        content = json.loads(head)
        if content["format"] > FORMAT:
            raise NewerFormat(f"format {content['format']}")
        position, texts = content["position"], [content[name] for name in _TEXTS]
    except NewerFormat:
        raise
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    # Whoever writes an entry by hand can give it right hashes, and anything in it.
    if type(position) is not int or not 0 <= position < _LAST_POSITION:
        return None
    if not all(type(each) is str for each in texts):
        return None
    body = line[len(_START) : middle]
    sound = body == b"null" or hashlib.sha256(body).hexdigest() == content["body"]
    return RawEntry(body, own, content, sound)


def join_line(body: bytes, hash_: str, head: bytes) -> bytes:
    """The line of an entry, without its newline; all parts are canonical JSON."""
    return _START + body + _MIDDLE + hash_.encode() + _HEAD + head + b"}"


def without_body(line: bytes, entry: RawEntry) -> bytes:
    """The line of an entry with null in place of its body; its hash vouches for what was there."""
    return join_line(b"null", entry.hash, line[line.rindex(_HEAD) + len(_HEAD) : -1])


def segment_files(folder: Path) -> list[Path]:
    """The segments of a log in order."""
    return sorted(folder.glob(SEGMENTS))


def read_lines(file: Path, size: int | None = None) -> Iterator[tuple[int, bytes, bool]]:
    """Yield (line number from 1, line without its newline, whether it had one), up to ``size`` bytes.

    What is longer than ``MAX_LINE`` comes as an empty line: it is read in pieces and dropped.
    """
    left = file.stat().st_size if size is None else size
    with file.open("rb") as opened:
        number = 0
        while left > 0:
            line = opened.readline(min(left, MAX_LINE))
            left -= len(line)
            number += 1
            if not line:
                return
            if len(line) == MAX_LINE and not line.endswith(b"\n"):
                ended = False
                while left > 0 and not ended:
                    rest = opened.readline(min(left, MAX_LINE))
                    left -= len(rest)
                    ended = rest.endswith(b"\n") or not rest
                yield number, b"", ended
                continue
            yield number, line.removesuffix(b"\n"), line.endswith(b"\n")


def is_sha256(text: Any) -> bool:  # noqa: ANN401
    """Whether something is the hex of a SHA-256."""
    return isinstance(text, str) and len(text) == 64 and not text.strip("0123456789abcdef")


def is_learned(folder: Path, digest: str) -> bool:
    """Whether a folder holds a profile or scene of a digest, with all files that its manifest names."""
    try:
        name = next(name for name in _MANIFESTS if (folder / name).is_file())
        about = json.loads((folder / name).read_bytes())
        left_out = {"name", "created"} | {each for each in _ADDED_LATER if about.get(each) is None}
        counted = {key: value for key, value in about.items() if key not in left_out}
        if hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest() != digest:
            return False
        files = {"router.safetensors": about["router"]} if "router" in about else about.get("files", {})
        if "arrays" in about:
            modes = (about, *(about.get("others") or ()))
            files = {
                f"scene{f'-{n}' if n > 1 else ''}.safetensors": m["arrays"] for n, m in enumerate(modes, 1)
            }
        return all(file_digest(folder / file) == sha256 for file, sha256 in files.items()) and all(
            is_learned(folder / "products" / each["name"], each["digest"])
            for each in about.get("products", ())
        )
    except (StopIteration, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def file_digest(file: Path) -> str:
    """Hex SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
