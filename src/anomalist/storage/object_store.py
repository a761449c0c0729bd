"""A store of objects by key, at any address of fsspec: S3-compatible ones, and others.

Credentials and the endpoint come from the environment, as the package of the file system reads them.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from anomalist.errors import DataError, first_line
from anomalist.storage.files import staged_file
from anomalist.storage.places import PlaceUnreachableError

_OPTIONS: dict[str, dict[str, Any]] = {
    # Whoever waits for a picture is told soon; what can wait is tried again by who sends it.
    "s3": {"config_kwargs": {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 1}}},
}
_TRIES = 2


class ObjectStore:
    """Objects by key, below an address.

    Parameters
    ----------
    address : as in ``s3://bucket/folder``.

    Raises
    ------
    DataError : there is no file system for the address, or its package is not installed.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self.trouble = ""
        scheme = address.partition("://")[0]
        try:
            from fsspec.core import url_to_fs

            self._system, root = url_to_fs(
                self.address, use_listings_cache=False, skip_instance_cache=True, **_OPTIONS.get(scheme, {})
            )
        except Exception as error:  # each file system has its own errors
            raise DataError(
                f"{self.address} can't be used as a store: {_text(error)}.",
                "Name one as in s3://bucket/folder, and install what it needs: pip install 'anomalist[s3]'",
            ) from error
        self._root = root.rstrip("/")
        if hasattr(self._system, "retries"):
            self._system.retries = _TRIES

    def check(self) -> None:
        """Write and read a word. Raises DataError where that can't be done, with what to do."""
        key = "check"
        try:
            self._system.pipe_file(self._path(key), b"ok")
            if self._system.cat_file(self._path(key)) != b"ok":
                raise DataError(f"The store {self.address} gives back other bytes than were written.")
        except DataError:
            raise
        except FileNotFoundError as error:
            raise DataError(
                f"The store {self.address} is not there: {_text(error)}.",
                "Make the bucket, or mend ANOMALIST_SERVER_STORE.",
            ) from error
        except Exception as error:
            raise self._unreachable(error) from error

    def read(self, key: str) -> bytes | None:
        """The bytes of an object; None where there is none. Raises PlaceUnreachableError."""
        content: bytes | None = self._do(lambda: self._system.cat_file(self._path(key)))
        return content

    def write(self, key: str, content: bytes) -> None:
        """Write an object whole. Raises PlaceUnreachableError."""
        self._change(lambda: self._system.pipe_file(self._path(key), content))

    def upload(self, path: Path, key: str) -> None:
        """Write a file as an object, whole. Raises PlaceUnreachableError."""
        self._change(lambda: self._system.put_file(str(path), self._path(key)))

    def download(self, key: str, path: Path) -> bool:
        """Make a file of an object, whole or not at all; returns whether there is one.

        Raises PlaceUnreachableError.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError), staged_file(path) as staged:
            if self._do(lambda: self._fetched(key, staged)) is None:
                raise FileNotFoundError(key)
            return True
        return False

    def versions(self, prefix: str) -> dict[str, str]:
        """Key and version of each object right below a prefix. Raises PlaceUnreachableError."""
        rows = self._do(lambda: self._system.ls(self._path(prefix), detail=True)) or []
        return {
            f"{prefix}/{PurePosixPath(row['name']).name}": _version(row)
            for row in rows
            if row["type"] == "file" and row["name"].rstrip("/") != self._path(prefix)
        }

    def find(self, prefix: str) -> list[str]:
        """Keys of all objects below a prefix. Raises PlaceUnreachableError."""
        names = self._do(lambda: self._system.find(self._path(prefix))) or []
        start = self._path(prefix) + "/"
        return [f"{prefix}/{name.removeprefix(start)}" for name in names if name.startswith(start)]

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _fetched(self, key: str, path: Path) -> bool:
        self._system.get_file(self._path(key), str(path))
        return True

    def _do(self, action: Any) -> Any:  # noqa: ANN401
        """What an action gives; None where the object is not there."""
        try:
            found = action()
        except FileNotFoundError:
            found = None
        except Exception as error:
            raise self._unreachable(error) from error
        self.trouble = ""
        return found

    def _change(self, action: Any) -> None:  # noqa: ANN401
        try:
            action()
        except Exception as error:  # here, what is not there is the bucket
            raise self._unreachable(error) from error
        self.trouble = ""

    def _unreachable(self, error: Exception) -> PlaceUnreachableError:
        refused = isinstance(error, PermissionError) or "credentials" in str(error).lower()
        what = "refuses the credentials" if refused else "can't be reached"
        found = PlaceUnreachableError(
            f"The store {self.address} {what}: {_text(error)}.",
            "Mend the credentials in the environment of the server, and what they may do there."
            if refused
            else "It is tried again; check that it runs and that its address is right.",
        )
        self.trouble = found.message
        return found


def _version(row: dict[str, Any]) -> str:
    """What is another when an object was written again."""
    return str(row.get("ETag") or (row.get("size"), row.get("mtime") or row.get("created")))


def _text(error: Exception) -> str:
    return first_line(error)[:200].rstrip(".")
