"""A place of artefacts that several servers share: a store of objects, and a copy of what is needed here.

Files are written here first, so that nothing waits for the store but what another server must find at once.
A thread sends what is new; which files were sent is on the disk, so that nothing is lost when the store or
this process ends. Keys are paths below the folder of the server; ``runs/NAME/writer`` holds who writes a run.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from anomalist.errors import DataError
from anomalist.storage.artifacts import composed
from anomalist.storage.files import digest_of, file_sha256, staged_folder
from anomalist.storage.object_store import ObjectStore
from anomalist.storage.places import PlaceUnreachableError

TICK = 10.0
"""Seconds between two looks at what is new, here and there."""
LEAST_WAIT = 1.0
"""Seconds between two times that runs are sent; more where it takes long."""
FRESH = 2.0
"""Seconds for which what was brought counts as new."""

_UPLOAD = re.compile(
    r"(?:^|/)(uploads/(?:[0-9a-f]{2}/[0-9a-f]{32}/[^/\0]+|products/[0-9a-f]{32}(?:/[^\0]*)?))$"
)
_ROWS = ".jsonl"
_PARTS = ("calibration", "maps", "masks", "frames", "clips")
"""Folders of a run that are shared, beside its rows; reports are written again where they are read."""


class SentFiles:
    """Which version of each file the store has, on the disk.

    Parameters
    ----------
    path : of a SQLite file.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._rows = sqlite3.connect(path, timeout=30, check_same_thread=False)
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):
                self._rows.execute(f"PRAGMA {pragma}")
            self._rows.execute(
                "CREATE TABLE IF NOT EXISTS files "
                "(key TEXT PRIMARY KEY, here TEXT NOT NULL, there TEXT NOT NULL)"
            )
        except sqlite3.Error as error:
            raise DataError(f"{path} can't be used: {error}.", "Remove it: files are sent again.") from error

    def get(self, key: str) -> tuple[str, str]:
        """Signature of the file here and version of the object there, when the two were equal."""
        with self._lock:
            row = self._rows.execute("SELECT here, there FROM files WHERE key = ?", (key,)).fetchone()
        return ("", "") if row is None else (row[0], row[1])

    def set(self, key: str, here: str, there: str = "") -> None:
        """Note that the two are equal now."""
        with self._lock, self._rows:
            self._rows.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", (key, here, there))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._rows.close()


class SharedPlace:
    """A place that several servers share; see `ArtifactPlace`.

    Parameters
    ----------
    objects : the store.
    folder : of this server.
    profiles : folder of the profiles of its home.
    server : id of this server; no other has the same.
    complain : called with one sentence on what fails, once until it works again.
    """

    def __init__(
        self, objects: ObjectStore, folder: Path, profiles: Path, server: str, complain: Callable[[str], None]
    ) -> None:
        self._objects, self._folder, self._profiles = objects, folder, profiles
        self._server, self._complain = server, complain
        self._sent = SentFiles(folder / "shared.sqlite")
        self._syncing, self._changing = threading.Lock(), threading.Lock()
        self._waiting: set[Path] = set()
        self._conflict = ""
        self._brought: dict[str, float] = {}
        self._shared = 0.0
        self._wake, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)

    @property
    def trouble(self) -> str:
        """Why the store can't be used at the moment; "" where it can."""
        return self._objects.trouble or self._conflict

    def start(self) -> None:
        """Share the profiles and begin to send; raises DataError where the store can't be used."""
        self._objects.check()
        self._share_all()
        uploads, runs = self._folder / "uploads", self._folder / "runs"
        self._waiting |= {uploads, *(path for path in runs.glob("*") if path.is_dir())}
        self._wake.set()  # what the process before could not send waits no longer
        self._thread.start()

    def close(self) -> None:
        """Send what can be sent within a few seconds, and end."""
        self._closed.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        if not self._thread.is_alive():
            self._sent.close()

    def keep(self, path: Path) -> None:
        """Have an upload there, a file or a folder, before this returns. Raises PlaceUnreachableError."""
        if path.is_relative_to(self._folder):  # what was named by path lies where it lies
            for file in _all_files(path) if path.is_dir() else [path]:
                self._send(file)

    def send_soon(self, path: Path) -> None:
        """Have an upload, or what is new in a run folder, there soon."""
        with self._changing:
            self._waiting.add(path)
        self._wake.set()

    def here(self, path: Path) -> Path:
        """The same file here; brought where only the store has it. Raises PlaceUnreachableError."""
        key = self._key_of(path)
        if key is None or _exists(path):
            return path
        own = self._folder / key
        if not own.exists():
            if key.startswith("uploads/products/"):
                self._fetch_folder("/".join(key.split("/")[:3]))
            elif not self._fetch_file(key, own):
                return path
        return own if own.exists() else path

    def bring_run(self, run: Path) -> None:
        """Bring the rows of a run that another server writes.

        Raises PlaceUnreachableError where they can't be brought and none are here.
        """
        name = run.name
        if time.monotonic() - self._brought.get(name, -FRESH) < FRESH:
            return
        try:
            if self._writer(name) not in (None, self._server):
                self._bring_rows(run)
        except PlaceUnreachableError:
            if not any(run.glob(f"*{_ROWS}")):
                raise
        self._brought[name] = time.monotonic()

    def take_run(self, run: Path) -> bool:
        """Become the one who writes a run, with all rows of who did before."""
        before = self._writer(run.name)
        taken = before not in (None, self._server)
        if taken:
            self._bring_rows(run)
        if before != self._server:
            self._objects.write(f"runs/{run.name}/writer", self._server.encode())
        return taken

    def share_profiles(self, *, at_once: bool) -> None:
        """Send and bring profiles, unless that was done a moment ago or can't be done now."""
        if self._shared and time.monotonic() - self._shared < FRESH and not at_once:
            return
        with suppress(DataError):  # the thread meets it, too, and says so
            self._share_all()

    def _run(self) -> None:
        wait, failing = TICK, False
        while True:
            self._wake.wait(wait)
            self._wake.clear()
            began = time.monotonic()
            try:
                self._send_waiting()
                if not self._closed.is_set():
                    self._share_all()
                failing = False
            except DataError as error:
                if not failing:
                    self._complain(str(error))
                failing = True
            except Exception as error:  # a file that went away meanwhile
                self._complain(f"Not everything could be sent to the store: {error!r}")
            if self._closed.is_set():
                return
            taken = time.monotonic() - began
            wait = TICK
            self._closed.wait(TICK if failing else min(60.0, max(LEAST_WAIT, 10 * taken)))

    def _send_waiting(self) -> None:
        with self._changing:
            waiting, self._waiting = self._waiting, set()
        try:
            while waiting:
                path = next(iter(waiting))
                if path.parent == self._folder / "runs":
                    self._send_run(path)
                else:
                    self.keep(path)
                waiting.discard(path)
        finally:
            with self._changing:
                self._waiting |= waiting

    def _send_run(self, run: Path) -> None:
        mine = self._is_own(run.name)
        for file in _files_of(run):
            if mine or file.parent != run:  # whoever took the run over has its rows
                self._send(file)

    def _is_own(self, name: str) -> bool:
        """Whether this server writes a run; another may have taken it over."""
        writer = self._writer(name)
        if writer is None:
            self._objects.write(f"runs/{name}/writer", self._server.encode())
        return writer in (None, self._server)

    def _writer(self, run: str) -> str | None:
        content = self._objects.read(f"runs/{run}/writer")
        return None if content is None else content.decode()

    def _send(self, file: Path) -> None:
        try:
            here = _signature(file)
        except FileNotFoundError:  # it went away meanwhile
            return
        key = file.relative_to(self._folder).as_posix()
        if self._sent.get(key)[0] != here:
            self._objects.upload(file, key)
            self._sent.set(key, here)

    def _bring_rows(self, run: Path) -> None:
        prefix = f"runs/{run.name}"
        found = self._objects.versions(prefix) | self._objects.versions(f"{prefix}/calibration")
        for key, version in found.items():
            own = self._folder / key
            if (own.parent != run or own.suffix == _ROWS) and self._sent.get(key)[1] != version:
                self._fetch_file(key, own, version)

    def _fetch_file(self, key: str, own: Path, version: str = "") -> bool:
        if not self._objects.download(key, own):
            return False
        asked = re.match(r"uploads/[0-9a-f]{2}/([0-9a-f]{32})/", key)
        if asked and not file_sha256(own).startswith(asked[1]):
            own.unlink()
            raise DataError(f"{own.name} in the store is not what was uploaded: its hash differs.")
        self._sent.set(key, _signature(own), version)
        return True

    def _fetch_folder(self, key: str) -> None:
        files = self._objects.find(key)
        target = self._folder / key
        if not files or target.exists():
            return
        with staged_folder(target) as staged:
            for each in files:
                self._objects.download(each, staged / each.removeprefix(f"{key}/"))

    def _key_of(self, path: Path) -> str | None:
        """The key of a file of this server, or of an upload to another one: these are named by content."""
        if path.is_relative_to(self._folder):
            key = path.relative_to(self._folder).as_posix()
            return key if key.startswith(("runs/", "uploads/")) else None
        found = _UPLOAD.search(path.as_posix())
        return None if found is None or ".." in path.parts else found[1]

    def _share_all(self) -> None:
        with self._syncing:
            there = {
                Path(key).stem: version
                for key, version in self._objects.versions("profiles").items()
                if key.endswith(".json")
            }
            folders = self._profiles.iterdir() if self._profiles.is_dir() else ()
            own = (path for path in folders if path.is_dir() and not path.name.startswith("."))
            named = {composed(path).name for path in own}
            self._conflict = ""
            for name in sorted(named | there.keys()):
                try:
                    self._share(name, there.get(name, ""))
                except PlaceUnreachableError:
                    raise
                except DataError as error:  # the others are shared all the same
                    self._conflict = str(error)
            self._shared = time.monotonic()
        if self._conflict:
            raise DataError(self._conflict)

    def _share(self, name: str, version: str) -> None:
        """Make a profile the same here and there: whichever was learned anew since they were equal counts."""
        place, key = self._profiles / name, f"profiles/{name}"
        here = _folder_signature(place) if place.is_dir() else ""
        known_here, known_there = self._sent.get(key)
        if here == known_here and version == known_there:
            return
        changed = bool(here) and here != known_here
        if changed and version and not known_here and self._listed(name) != _hashes(place):
            raise DataError(
                f"The profile {name} here is another than the one in {self._objects.address}.",
                "Rename or remove one of the two.",
            )
        if version and not changed:
            self._bring_profile(place)
            here = _folder_signature(place)
        else:
            self._send_profile(place)
            version = self._objects.versions("profiles").get(f"{key}.json", "")
        self._sent.set(key, here, version)

    def _listed(self, name: str) -> dict[str, str]:
        """Hex SHA-256 of the files of a profile in the store, by their paths in it."""
        content = self._objects.read(f"profiles/{name}.json")
        files: dict[str, str] = json.loads(content or b"{}")
        return files

    def _send_profile(self, place: Path) -> None:
        """The files first, under the hash of all of them; then what names them, in one write."""
        files = _hashes(place)
        version = _version_of(files)
        for name in files:
            self._objects.upload(place / name, f"profiles/{place.name}/{version}/{name}")
        self._objects.write(f"profiles/{place.name}.json", json.dumps(files, sort_keys=True).encode())

    def _bring_profile(self, place: Path) -> None:
        files = self._listed(place.name)
        with staged_folder(place) as staged:
            for name, sha256 in files.items():
                file = staged / name
                self._objects.download(f"profiles/{place.name}/{_version_of(files)}/{name}", file)
                if not file.is_file() or file_sha256(file) != sha256:
                    raise DataError(
                        f"The profile {place.name} in {self._objects.address} is damaged: {name}."
                    )


def _files_of(run: Path) -> Iterator[Path]:
    """What is shared of a run: rows last, so that what they name is there before them."""
    for part in _PARTS:
        if (run / part).is_dir():
            yield from (file for file in sorted((run / part).iterdir()) if not file.name.startswith("."))
    yield from sorted(run.glob(f"*{_ROWS}"))


def _signature(file: Path) -> str:
    status = file.stat()
    return f"{status.st_mtime_ns}:{status.st_size}"


def _all_files(folder: Path) -> list[Path]:
    found = (file for file in folder.rglob("*") if not file.name.startswith("."))
    return sorted(file for file in found if file.is_file())


def _folder_signature(place: Path) -> str:
    files = [(file.relative_to(place).as_posix(), _signature(file)) for file in _all_files(place)]
    return digest_of(*(part for each in files for part in each)) if files else ""


def _hashes(place: Path) -> dict[str, str]:
    return {file.relative_to(place).as_posix(): file_sha256(file) for file in _all_files(place)}


def _version_of(files: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:32]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or holds a null character
        return False
