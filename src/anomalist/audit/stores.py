"""What belongs to an audit log beside its entries: settings, media, texts and learned profiles, all by hash.

Everything is stored once under its SHA-256: media in ``media/``, small texts (policies, rules, prompts) in
``texts/``, profiles and scenes in ``profiles/`` as hard links where the disk allows it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from anomalist.errors import DataError
from anomalist.storage.files import (
    file_sha256,
    staged_file,
    staged_folder,
    write_atomically,
    write_error,
)
from anomalist.types.common import Frozen

KeepMedia = Literal["all", "anomalous", "none"]
SETTINGS_FILE = "settings.json"


class AuditSettings(Frozen):
    """What the audit log keeps, and what it never writes."""

    format: int = 1
    keep_media: KeepMedia = Field("none", description="pictures and clips that are kept by content hash")
    redact: tuple[str, ...] = Field((), description="names of fields whose content is never written")


def load_settings(folder: Path) -> AuditSettings:
    """The settings of a log; the defaults where none were made. Raises DataError where they can't be read."""
    path = folder / SETTINGS_FILE
    try:
        return AuditSettings.model_validate(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return AuditSettings()
    except (OSError, ValueError, ValidationError) as error:
        raise DataError(
            f"The settings of the audit log {path} can't be read.",
            "Remove the file, and set again: anomalist audit settings",
        ) from error


def save_settings(folder: Path, settings: AuditSettings) -> None:
    """Write the settings of a log; raises DataError where they can't be."""
    write_atomically(folder / SETTINGS_FILE, settings.model_dump_json(indent=1) + "\n")


def media_path(folder: Path, sha256: str) -> Path:
    """Where a stored file lies, or would."""
    return folder / "media" / sha256[:2] / sha256


def keep_media(folder: Path, source: Path, sha256: str) -> bool:
    """Store a file under its hash; False where it is gone or is another one by now.

    Raises DataError when it can't be written.
    """
    target = media_path(folder, sha256)
    try:
        if not source.is_file():
            return target.exists()
        if target.exists() and target.stat().st_size == source.stat().st_size:
            return True  # one that was cut short is stored again
        target.parent.mkdir(parents=True, exist_ok=True)
        with staged_file(target) as staged:
            shutil.copyfile(source, staged)
            if file_sha256(staged) != sha256:
                raise FileNotFoundError
    except FileNotFoundError:
        return target.exists()
    except OSError as error:
        raise write_error(target, error) from error
    return True


def keep_text(folder: Path, text: str) -> str:
    """Store a text under the hash of its UTF-8; returns the hash. Raises DataError when that fails."""
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    target = folder / "texts" / sha256
    if stored_text(folder, sha256) is None:  # also where it was damaged
        write_atomically(target, text)
    return sha256


def stored_text(folder: Path, sha256: str) -> str | None:
    """A stored text; None where it is gone or has changed."""
    try:
        content = (folder / "texts" / sha256).read_bytes()
    except OSError:
        return None
    return content.decode() if hashlib.sha256(content).hexdigest() == sha256 else None


def profile_store(folder: Path, digest: str, name: str) -> Path:
    """Where a learned profile or scene of that digest lies, or would; its folder has its name."""
    return folder / "profiles" / digest[:16] / name


def kept_profile_path(folder: Path, digest: str, name: str) -> Path:
    """Where what was learned lies, or would: its folder may have had another name than it."""
    place = profile_store(folder, digest, name)
    others = (each for each in sorted(place.parent.glob("[!.]*")) if each.is_dir())
    return place if place.is_dir() else next(others, place)


def keep_profile(folder: Path, source: Path, digest: str) -> bool:
    """Store what was learned, by hard links where the disk allows it; False where it is gone.

    Raises DataError when it can't be written.
    """
    target = profile_store(folder, digest, source.name or source.resolve().name)
    if target.exists():
        return True
    if not source.is_dir():
        return False
    try:
        with staged_folder(target) as staged:
            for path in sorted(source.rglob("*")):
                place = staged / path.relative_to(source)
                if path.is_dir():
                    place.mkdir(exist_ok=True)
                else:
                    _link_or_copy(path, place)
    except OSError as error:
        if target.exists():  # another process was first
            return True
        raise write_error(target, error) from error
    return True


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        shutil.copyfile(source, target)
