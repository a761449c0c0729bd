"""Whether a file is still what it was when something was said about it."""

from __future__ import annotations

import hashlib
from pathlib import Path


def changed_since(path: Path, sha256: str) -> str | None:
    """What happened to a file of that hash: "is gone" or "has changed"; None where nothing did.

    Raises OSError when the file can't be read.
    """
    if not path.is_file():
        return "is gone"
    return None if hashlib.sha256(path.read_bytes()).hexdigest() == sha256 else "has changed"
