"""The receivers that results are published to, by their addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

from anomalist.errors import DataError
from anomalist.publishing.message import ResultMessage, message_of, scene_of
from anomalist.settings import Settings
from anomalist.storage.opening import OpensTogether
from anomalist.types.clip import ClipRecord
from anomalist.types.image import Record
from anomalist.vision.media.sources import host_only

if TYPE_CHECKING:
    from anomalist.streaming import LiveAlert

ResultT = TypeVar("ResultT", Record, ClipRecord)


class Publisher(Protocol):
    """Publishes results to one receiver; a context manager."""

    def publish(self, message: ResultMessage, body: str) -> None:
        """Publish a message; ``body`` is the whole result as JSON."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_publisher(address: str, on_failure: Callable[[str], None]) -> Publisher:
    """The publisher for an address: http(s)://, mqtt(s):// or opc.tcp://. Raises DataError for another."""
    settings = Settings()
    outbox = settings.home / "outbox.sqlite"
    scheme = address.partition("://")[0].lower()
    if scheme in ("http", "https"):
        from anomalist.publishing.webhook import Webhook

        return Webhook(address, outbox, on_failure, settings.webhook_secret.get_secret_value())
    if scheme in ("mqtt", "mqtts"):
        from anomalist.publishing.mqtt import MqttPublisher

        return MqttPublisher(address, outbox, on_failure, settings.mqtt_password.get_secret_value())
    if scheme == "opc.tcp":
        from anomalist.publishing.opcua import OpcUaPublisher

        return OpcUaPublisher(address)
    raise DataError(
        f"Nothing can be published to {host_only(address)}.",
        "Addresses begin with https://, http://, mqtts://, mqtt:// or opc.tcp://.",
    )


class Publishers(OpensTogether):
    """All receivers of results; a context manager.

    Parameters
    ----------
    addresses : see `open_publisher`; those of ``ANOMALIST_PUBLISH`` are added.
    on_failure : called with one sentence where a receiver fails.
    station : name of the scene or profile, for results that don't hold it.

    Raises DataError for an address that can't be published to.
    """

    def __init__(
        self, addresses: Sequence[str], on_failure: Callable[[str], None], station: str | None = None
    ) -> None:
        every = dict.fromkeys([*addresses, *Settings().publish.replace(",", " ").split()])
        self._receivers = [open_publisher(address, on_failure) for address in every]
        self._station = station
        self._on_failure = on_failure
        self._names: dict[str, set[str]] = {}  # by station, of what shares it
        self._have_stations = any(not each.lower().startswith("http") for each in every)

    def _open_all(self, opening: ExitStack) -> None:
        for receiver in self._receivers:
            opening.enter_context(receiver)

    def publish(self, result: Record | ClipRecord | LiveAlert) -> None:
        """Publish one result to all receivers."""
        if self._receivers:
            message, body = message_of(result, self._station), result.model_dump_json()
            if self._have_stations:
                self._note_name(message.station, scene_of(result, self._station))
            for receiver in self._receivers:
                receiver.publish(message, body)

    def _note_name(self, station: str, name: str) -> None:
        """Say once of each name that it shares a station with another one: its results hide the other's."""
        names = self._names.setdefault(station, set())
        if name not in names and names:
            others = " and ".join(sorted(names))
            self._on_failure(f"{name} and {others} share the station {station}: give one another name.")
        names.add(name)

    def each(self, results: Iterable[ResultT]) -> Iterator[ResultT]:
        """Pass results on, each after it was published."""
        for result in results:
            self.publish(result)
            yield result
