"""Which cameras are followed: ``NAME=ADDRESS`` words, or a TOML file with a table a camera."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from anomalist.errors import DataError
from anomalist.storage.artifacts import composed_name, without_marks
from anomalist.types.common import Frozen
from anomalist.vision.media.images import one_line
from anomalist.vision.media.sources import redact_url

_NAME = re.compile(r"\w[\w .-]*")
_MOST_LETTERS, _MOST_BYTES = 63, 200  # of a name, which pictures of its events begin with
_TABLE_HELP = 'Write a table a camera: [cam1], below it source = "rtsp://…" and profile = "yard".'


class Camera(Frozen):
    """One camera that is followed."""

    name: str = Field(description="letters, digits, spaces, dots, dashes and underscores; composed (NFC)")
    source: str = Field(min_length=1, description="an address, or a file that stands for one")
    profile: str = Field(min_length=1, description="name or folder of its scene")


def names_cameras(words: Sequence[str]) -> bool:
    """Whether words name cameras (see `read_cameras`), rather than being one unnamed source."""
    return len(words) != 1 or _is_table(words[0]) or _split(words[0])[0] is not None


def read_cameras(words: Sequence[str], profile: str | None = None) -> tuple[Camera, ...]:
    """Read the cameras that words name.

    Parameters
    ----------
    words : each "NAME=ADDRESS", or the path of a TOML file with a table for each camera, which holds its
        ``source`` and, where it is not that of all, its ``profile``.
    profile : the scene of cameras that name none.

    Raises
    ------
    DataError : a camera has no name, no source or no scene, two have one name, or a file can't be read.
    """
    given = [pair for word in words for pair in _named(word)]
    cameras, names = [], set()
    for typed, fields in given:
        name = composed_name(typed)
        if not _is_name(name):
            raise DataError(
                f'"{one_line(name)}" can\'t be the name of a camera.',
                f"Use letters, digits, spaces, dots, dashes and underscores, {_MOST_LETTERS} at most.",
            )
        if name.casefold() in names:
            raise DataError(f"Two cameras are named {name}.", "Give each a name of its own.")
        names.add(name.casefold())
        cameras.append(_camera(name, fields, profile))
    if not cameras:
        raise DataError("No camera is named.", _TABLE_HELP)
    return tuple(cameras)


def _is_table(word: str) -> bool:
    return word.lower().endswith(".toml") and _split(word)[0] is None


def _is_name(name: str) -> bool:
    """Whether a camera may have this name, which is composed."""
    letters = without_marks(name)
    fits = len(name) <= _MOST_LETTERS and len(name.encode("utf-8", "replace")) <= _MOST_BYTES
    return fits and _NAME.fullmatch(letters) is not None and letters[0] == name[0] and name == name.rstrip()


def _split(word: str) -> tuple[str | None, str]:
    """Name and source; a path that is there is no name, whatever signs it holds."""
    name, _, source = word.partition("=")
    is_named = source and _is_name(composed_name(name)) and not Path(word).exists()
    return (name, source) if is_named else (None, word)


def _named(word: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if _is_table(word):
        yield from _read_table(Path(word)).items()
        return
    name, source = _split(word)
    if name is None:
        raise DataError(
            f'"{one_line(redact_url(word))}" has no name, and several cameras are followed.',
            "Name each: --follow cam1=rtsp://… cam2=rtsp://…",
        )
    yield name, {"source": source}


def _read_table(path: Path) -> dict[str, dict[str, Any]]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f'"{path}" can\'t be read: {error.strerror or error}.', _TABLE_HELP) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f'"{path}" is no valid TOML: {error}.', _TABLE_HELP) from error
    for name, fields in content.items():
        if not isinstance(fields, dict):
            raise DataError(f'{path}: "{name}" is not the table of a camera.', _TABLE_HELP)
    return content


def _camera(name: str, fields: dict[str, Any], profile: str | None) -> Camera:
    known = [each for each in Camera.model_fields if each != "name"]
    for field in fields:
        if field not in known:
            near = difflib.get_close_matches(field, known, n=1)
            meant = f"Did you mean {near[0]}?" if near else f"A camera has {' and '.join(known)}."
            raise DataError(f'The camera {name} has an unknown entry "{one_line(field)}".', meant)
    if fields.get("profile", profile) is None:
        raise DataError(
            f"The camera {name} has no scene.",
            "Give --profile for all, or a profile for each in a TOML file.",
        )
    try:
        return Camera.model_validate({"profile": profile} | fields | {"name": name})
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"]))
        raise DataError(f"The camera {name}: {where}: {wrong['msg']}.", _TABLE_HELP) from None
