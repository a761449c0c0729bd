"""How far cameras were followed before, from the alerts that a folder holds, so that none is told twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from anomalist.errors import DataError
from anomalist.storage.run_folder import ALERTS
from anomalist.streaming import LiveAlert
from anomalist.types.clip import Event

Told = tuple[str, str | float]
"""What was told: its state, and the id of its event or else its time."""


@dataclass(eq=False)
class CameraProgress:
    """How far one camera was followed.

    Parameters
    ----------
    source : the address, as it is shown.
    number : of its last event.
    time : of its last alert, seconds of stream time.
    when : the same by the clock.
    open : events that were opened and not closed, by id.
    told : every alert; signs of life and a model's opinions are left out.
    lost : whether it was said to be lost.
    ended : whether it had come to its end.
    """

    source: str = ""
    number: int = 0
    time: float = 0.0
    when: datetime | None = None
    open: dict[str, Event] = field(default_factory=dict)
    told: set[Told] = field(default_factory=set)
    lost: bool = False
    ended: bool = False

    def add(self, alert: LiveAlert) -> None:
        """Take note of the next alert."""
        self.source = alert.source
        self.time = max(self.time, alert.stream_time)
        self.when = datetime.fromisoformat(alert.time)
        self.ended = alert.state == "ended" and alert.why is None
        if alert.state in ("lost", "back", "ended"):
            self.lost = alert.state == "lost"
        if alert.state not in ("updated", "watching"):
            self.told.add(what_is_told(alert))
        if alert.event is not None:
            self.number = max(self.number, int(alert.event.id[1:]))
            if alert.state == "opened":
                self.open[alert.event.id] = alert.event
            elif alert.state == "closed":
                self.open.pop(alert.event.id, None)

    def is_done(self, source: str) -> bool:
        """Whether it is a file that was followed to its end."""
        return self.ended and self.source == source

    def seconds_since(self, now: datetime) -> float:
        """Seconds from the last alert until now; 0 where the clock was set back."""
        return 0.0 if self.when is None else max(0.0, (now - self.when).total_seconds())


def what_is_told(alert: LiveAlert) -> Told:
    """What two alerts have in common that tell the same."""
    return alert.state, alert.stream_time if alert.event is None else alert.event.id


def read_progress(folder: Path) -> dict[str, CameraProgress]:
    """How far each camera was followed into a folder, by its name.

    Raises DataError where what is there can't be read.
    """
    found: dict[str, CameraProgress] = {}
    path = folder / ALERTS
    for number, row in _rows(path):
        if not row.get("camera"):
            continue
        try:
            alert = LiveAlert.model_validate(row)
        except (ValidationError, ValueError) as error:
            raise _unreadable(path, number) from error
        found.setdefault(str(alert.camera), CameraProgress()).add(alert)
    return found


def utc() -> datetime:
    """The time of the clock."""
    return datetime.now(UTC)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The whole rows with their numbers, one after another: a file may hold a year."""
    if not path.is_file():
        return
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip() and line.endswith(b"\n"):
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise _unreadable(path, number)
                    yield number, row
    except OSError as error:
        raise DataError(f'"{path}" can\'t be read: {error.strerror or error}.') from error
    except ValueError as error:
        raise _unreadable(path, number) from error


def _unreadable(path: Path, number: int) -> DataError:
    return DataError(
        f'"{path}" can\'t be read: line {number} is no alert.',
        "Name another folder, or mend the line: what was told before is not known.",
    )
