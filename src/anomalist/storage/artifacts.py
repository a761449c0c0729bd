"""Learned artefacts: versioned folders of files with a JSON manifest and SHA-256 hashes, replaced as a whole.

A profile of pictures and a scene of a camera are two kinds of artefact. Those with a plain name live side by
side under ``ANOMALIST_HOME``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Generic, NoReturn, TypeVar

from pydantic import Field, ValidationError

from anomalist import __version__
from anomalist.errors import ProfileError
from anomalist.settings import Settings
from anomalist.storage.files import file_sha256, staged_folder
from anomalist.types.common import Frozen


class ArtifactManifest(Frozen):
    """What the manifest of every artefact begins with."""

    ADDED_LATER: ClassVar[tuple[str, ...]] = ()
    """Fields that artefacts of older versions lack: as None they don't count in the digest."""

    format: int
    version: str = __version__
    name: str
    created: str = Field(description="UTC, ISO 8601")

    @property
    def digest(self) -> str:
        """Hex SHA-256 over what was learned and from what; not over the name, the place or the date."""
        later = {name for name in self.ADDED_LATER if getattr(self, name) is None}
        content = self.model_dump(mode="json", exclude={"name", "created"} | later)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


ManifestT = TypeVar("ManifestT", bound=ArtifactManifest)
_MOST_BYTES = 240  # of a name: file systems take 255


def profile_path(name: str | Path) -> Path:
    """Where an artefact lives: a plain name under ``ANOMALIST_HOME``, anything with a slash is a folder.

    A name is composed (NFC), however it was typed. Raises ProfileError for a name that can't be one.
    """
    text = str(name)
    if isinstance(name, Path) or "/" in text or os.sep in text or text.startswith("."):
        return Path(name)
    plain = composed_name(text)
    letters = without_marks(plain)
    if not re.fullmatch(r"\w[\w .+-]*", letters) or letters[0] != plain[0]:
        raise ProfileError(
            f"{text!r} is not a profile name.", "Use letters, digits, '-', '_', '+', '.', or give a folder."
        )
    if len(plain) > 100 or len(plain.encode()) > _MOST_BYTES:
        raise ProfileError(
            f"{text!r} is not a profile name: it is too long.",
            f"Use 100 characters at most, and no more than {_MOST_BYTES} bytes of UTF-8.",
        )
    return Settings().profiles / plain


def composed_name(name: str) -> str:
    """A name as it is kept, however it was typed (NFC)."""
    return unicodedata.normalize("NFC", name)


def without_marks(name: str) -> str:
    """A name without the marks that belong to the letters of many scripts, and are none themselves."""
    return "".join(each for each in name if unicodedata.category(each)[0] != "M")


def composed(folder: Path) -> Path:
    """The same folder by its composed name, where it has one: some file systems list decomposed names."""
    same = folder.with_name(composed_name(folder.name))
    return same if same.is_dir() else folder


def profile_name(profile: str | Path) -> str:
    """The name that records and rules know a profile by: that of its folder.

    Raises ProfileError for what can't be a name.
    """
    path = profile_path(profile)
    return path.name or path.resolve().name  # "." has none of its own


@dataclass(frozen=True)
class ArtifactKind(Generic[ManifestT]):
    """One kind of artefact: what its folder holds, and how people call it.

    Parameters
    ----------
    noun : "profile", as messages say it.
    manifest : type of the content of ``manifest_file``.
    format : the number that this version writes, and the only one that it reads.
    required, optional : names of the files beside the manifest.
    hashes_of : hex SHA-256 by file name, from a manifest.
    how_to_learn : remedy where there is no such artefact.
    others : manifest files of other kinds, and what a folder with one of them is.
    """

    noun: str
    manifest_file: str
    manifest: type[ManifestT]
    format: int
    required: tuple[str, ...]
    hashes_of: Callable[[ManifestT], Mapping[str, str]]
    how_to_learn: str
    optional: tuple[str, ...] = ()
    others: Mapping[str, str] = field(default_factory=dict)

    def is_at(self, path: Path) -> bool:
        """Whether a folder holds an artefact of this kind, sound or not."""
        return (path / self.manifest_file).is_file()

    def refuse_overwriting(self, path: Path, *, force: bool) -> None:
        """Raise ProfileError when something is in the way of a new artefact.

        With ``force`` one of the same kind may be replaced, but nothing else: not even one that other files
        were put into.
        """
        try:
            if not path.exists() and not path.is_symlink():
                return
            if not path.is_dir():
                raise ProfileError(f"{path} is not a folder.", "Choose another place.")
            entries = {entry.name for entry in path.iterdir()}
        except OSError as error:
            raise ProfileError(f"{path} can't be used: {error.strerror}.", "Choose another place.") from error
        other = next((what for file, what in self.others.items() if file in entries), None)
        if other and self.manifest_file not in entries:
            raise ProfileError(f"{path.name} is {other}, not a {self.noun}.", "Choose another name.")
        strange = entries - {self.manifest_file, *self.required, *self.optional}
        if self.manifest_file not in entries:
            strange = entries
        if strange:
            raise ProfileError(
                f"{path} is not a {self.noun}: a folder with other things in it ({min(strange)}).",
                "Choose another place.",
            )
        if entries and not force:
            raise ProfileError(f"The {self.noun} {path.name} is already there.", "Replace it with --force.")

    def save(
        self,
        path: Path,
        write_files: Callable[[Path], None],
        manifest_for: Callable[[dict[str, str]], ManifestT],
        *,
        force: bool,
    ) -> ManifestT:
        """Write an artefact whole or not at all; returns its manifest.

        With ``force`` it replaces the one that is there; when that fails, the old one stays.

        Parameters
        ----------
        write_files : writes everything but the manifest into a folder.
        manifest_for : makes the manifest from the hex SHA-256 by file name.

        Raises
        ------
        ProfileError : something is in the way, or it can't be written.
        """
        self.refuse_overwriting(path, force=force)
        with self._staged_folder(path) as folder:
            write_files(folder)
            manifest = manifest_for(
                {file.name: file_sha256(file) for file in sorted(folder.iterdir()) if file.is_file()}
            )
            (folder / self.manifest_file).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
        return manifest

    @contextmanager
    def _staged_folder(self, path: Path) -> Iterator[Path]:
        """A folder beside ``path`` that takes its place when all went well and vanishes when not."""
        from safetensors import SafetensorError

        try:
            with staged_folder(path.resolve()) as folder:  # a link keeps pointing to the artefact
                yield folder
        except (OSError, SafetensorError) as error:
            raise ProfileError(
                f"The {self.noun} can't be written to {path}: {getattr(error, 'strerror', None) or error}.",
                "Nothing was changed there. Free some space or choose another place.",
            ) from error

    def read_manifest(self, path: Path) -> ManifestT:
        """Read and check the manifest of an artefact, without its files.

        Raises
        ------
        ProfileError : it is not there, of another kind or format, or damaged.
        """
        try:
            if not any((path / file).exists() for file in (self.manifest_file, *self.required)):
                raise self._missing(path)
            content = json.loads((path / self.manifest_file).read_text(encoding="utf-8"))
            written = int(content["format"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.refuse_damaged(path, f"{self.manifest_file} can't be read", error)
        if written > self.format:
            raise ProfileError(
                f"The {self.noun} {path} has format {written}; this version reads up to {self.format}.",
                "Upgrade anomalist, or learn it again.",
            )
        if written < self.format:
            raise ProfileError(
                f"The {self.noun} {path} has format {written}, of an earlier version.",
                "Learn it again with --force.",
            )
        try:
            return self.manifest.model_validate(content)
        except ValidationError as error:
            field = ".".join(str(part) for part in error.errors()[0]["loc"])
            self.refuse_damaged(path, f"{self.manifest_file}, {field}", error)

    def _missing(self, path: Path) -> ProfileError:
        for file, what in self.others.items():
            if (path / file).exists():
                return ProfileError(f"{path.name} is {what}, not a {self.noun}.", self.how_to_learn)
        return ProfileError(f"There is no {self.noun} {path.name} ({path}).", self.how_to_learn)

    def check_files(self, path: Path, manifest: ManifestT) -> None:
        """Raise ProfileError when a file of the artefact is missing or has another hash."""
        hashes = self.hashes_of(manifest)
        for file in {*self.required, *hashes}:
            try:
                sound = file_sha256(path / file) == hashes.get(file)
            except OSError:
                sound = False
            if not sound:
                self.refuse_damaged(path, f"{file} is missing or changed")

    def refuse_damaged(self, path: Path, what: str, cause: Exception | None = None) -> NoReturn:
        """Raise the ProfileError of an artefact that can't be used as it is."""
        raise ProfileError(f"The {self.noun} {path} is damaged: {what}.", "Learn it again.") from cause
