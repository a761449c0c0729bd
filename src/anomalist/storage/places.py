"""Places of artefacts: where servers keep uploads, runs and profiles, beside the files of their own home.

One server needs its files alone. Several that share the work reach one place, and each has a copy of what it
needs; what another made is brought when it is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from anomalist.errors import DataError
from anomalist.storage.artifacts import profile_path


class PlaceUnreachableError(DataError):
    """The place that several servers share can't be reached, or refuses; it may work again later."""


class ArtifactPlace(Protocol):
    """Where a server keeps what it makes. All methods may be called by several threads."""

    @property
    def trouble(self) -> str:
        """Why it can't be used at the moment; "" where it can."""
        ...

    def start(self) -> None:
        """Begin to bring and send; raises DataError where the place can't be used at all."""
        ...

    def close(self) -> None:
        """End; what was not sent yet is sent by the next process."""
        ...

    def keep(self, path: Path) -> None:
        """Have an upload there before this returns. Raises PlaceUnreachableError."""
        ...

    def send_soon(self, path: Path) -> None:
        """Have an upload, or what is new in a run folder, there soon; nothing waits for it."""
        ...

    def here(self, path: Path) -> Path:
        """The same file on this machine, brought where it is not here; ``path`` itself where it is nowhere.

        Raises PlaceUnreachableError.
        """
        ...

    def bring_run(self, run: Path) -> None:
        """Bring the rows of a run that another server writes.

        Raises PlaceUnreachableError where they can't be brought and none are here.
        """
        ...

    def take_run(self, run: Path) -> bool:
        """Become the one who writes a run; whether another wrote it before. Raises PlaceUnreachableError."""
        ...

    def share_profiles(self, *, at_once: bool) -> None:
        """Send profiles that are new here, and bring those that are new there; where it can't be, it waits.

        ``at_once`` also where that was done a moment ago.
        """
        ...


class HomePlace:
    """The files of one home: everything is there already."""

    trouble = ""

    def start(self) -> None:
        """Nothing to begin."""

    def close(self) -> None:
        """Nothing to end."""

    def keep(self, path: Path) -> None:
        """It is kept."""

    def send_soon(self, path: Path) -> None:
        """It is there."""

    def here(self, path: Path) -> Path:
        """It is here, or nowhere."""
        return path

    def bring_run(self, run: Path) -> None:
        """It is here, or nowhere."""

    def take_run(self, run: Path) -> bool:
        """Only processes of this home write it."""
        return False

    def share_profiles(self, *, at_once: bool) -> None:
        """Whoever shares them shares the folder."""


_used: list[ArtifactPlace] = [HomePlace()]


def here(path: Path) -> Path:
    """Where a file of a record, a manifest or a run lies on this machine: see `ArtifactPlace.here`."""
    return _used[-1].here(path)


def send_soon(path: Path) -> None:
    """See `ArtifactPlace.send_soon`."""
    _used[-1].send_soon(path)


def bring_run(run: Path) -> None:
    """See `ArtifactPlace.bring_run`."""
    _used[-1].bring_run(run)


def take_run(run: Path) -> bool:
    """See `ArtifactPlace.take_run`."""
    return _used[-1].take_run(run)


def share_profiles(*, at_once: bool = False) -> None:
    """See `ArtifactPlace.share_profiles`."""
    _used[-1].share_profiles(at_once=at_once)


def bring_profile(name: str | Path) -> None:
    """Have a profile or a scene here as it is shared, also one that another server shared a moment ago.

    Raises ProfileError for a name that can't be one.
    """
    share_profiles(at_once=not profile_path(name).is_dir())


@contextmanager
def using_place(place: ArtifactPlace) -> Iterator[None]:
    """Let this process find files in a place, for as long as the context lasts."""
    _used.append(place)
    try:
        yield
    finally:
        _used.remove(place)
