"""MQTT: results by topic, with discovery by Home Assistant. Needs the package paho-mqtt.

Topics: ``anomalist/STATION/result`` holds the last result (JSON, retained), ``anomalist/STATION/status``
"online" or "offline" (retained). Where this process dies the broker says "offline", of one topic a
connection: so each station has a connection of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

from anomalist import __version__
from anomalist.errors import DataError
from anomalist.publishing.message import ResultMessage, station_name
from anomalist.publishing.outbox import DeliveryError, Outbox
from anomalist.vision.media.sources import host_only, split_address

if TYPE_CHECKING:
    from paho.mqtt.client import Client

PREFIX = "anomalist"
"""Of topics, where an address names none."""
DISCOVERY = "homeassistant"
"""Prefix under which Home Assistant looks for devices."""

_WAIT = 5.0  # seconds for a connection, and for the broker to take a message


class MqttPublisher:
    """Publishes results to a broker, at least once (QoS 1), in order. A context manager.

    Parameters
    ----------
    address : ``mqtt://USER:PASSWORD@HOST:PORT/PREFIX``, or mqtts:// over TLS; the prefix of topics is
        ``anomalist`` by default.
    outbox : file in which messages wait for a broker that is not there.
    on_failure : called with one sentence on what fails, once until something is delivered again.
    password : in place of one in the address.

    Raises DataError for another address.
    """

    def __init__(
        self, address: str, outbox: Path, on_failure: Callable[[str], None], password: str = ""
    ) -> None:
        parts = split_address(address)
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise DataError(f"{host_only(address)} is no broker.", "It looks like mqtt://HOST:1883/PREFIX.")
        self._secure = parts.scheme == "mqtts"
        self._place = parts.hostname, parts.port or (8883 if self._secure else 1883)
        self._prefix = unquote(parts.path).strip("/") or PREFIX
        if {"+", "#"} & set(self._prefix):
            raise DataError(
                f"The prefix {self._prefix} of {host_only(address)} can't be that of topics.",
                "It holds no + and no #.",
            )
        self._user = unquote(parts.username or "")
        self._password = password or unquote(parts.password or "")
        self._stations: dict[str, _Station] = {}
        shown = f"{parts.scheme}://{self._place[0]}:{self._place[1]}/{self._prefix}"
        self._outbox = Outbox(outbox, shown, self._send, on_failure)

    def __enter__(self) -> Self:
        self._outbox.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._outbox.__exit__(kind, error, trace)
        for station in self._stations.values():
            station.close()

    def publish(self, message: ResultMessage, body: str) -> None:
        """Publish a message; the whole ``body`` is left to webhooks."""
        self._outbox.put(message.id, message.station, message.model_dump_json())

    def _send(self, id: str, topic: str, body: str) -> None:
        if topic not in self._stations:
            self._stations[topic] = _Station(self._prefix, topic, self._new_client(), self._place)
        self._stations[topic].deliver(body)

    def _new_client(self) -> Client:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        client = Client(CallbackAPIVersion.VERSION2)
        if self._user:
            client.username_pw_set(self._user, self._password or None)
        if self._secure:
            client.tls_set()
        return client


class _Station:
    """The connection of one station to the broker, which says "offline" of it when the connection is lost.

    Parameters
    ----------
    prefix, station : of its topics.
    client : not connected yet.
    place : host and port of the broker.
    """

    def __init__(self, prefix: str, station: str, client: Client, place: tuple[str, int]) -> None:
        self._announced = {
            f"{DISCOVERY}/{name}/config": json.dumps(config)
            for name, config in discovery(prefix, station).items()
        }
        self._result, self._status = (f"{prefix}/{station}/{what}" for what in ("result", "status"))
        self._place = place
        self._connected = Event()
        self._started, self._refused = False, ""
        self._client = client
        client.on_connect = self._on_connect
        client.on_disconnect = lambda *_: self._connected.clear()
        client.will_set(self._status, "offline", 1, retain=True)

    def deliver(self, body: str) -> None:
        """Publish a result, connecting where that isn't done; raises DeliveryError."""
        self._connect()
        sent = self._client.publish(self._result, body, 1, retain=True)
        try:
            sent.wait_for_publish(_WAIT)
        except (RuntimeError, ValueError) as error:
            self._connected.clear()
            raise DeliveryError(str(error)) from error
        if not sent.is_published():
            raise DeliveryError("it did not acknowledge the message")

    def close(self) -> None:
        """Say "offline", and end the connection."""
        if self._connected.is_set():
            with suppress(RuntimeError, ValueError):  # lost meanwhile: then the broker says it
                self._client.publish(self._status, "offline", 1, retain=True).wait_for_publish(_WAIT)
        self._client.disconnect()
        self._client.loop_stop()

    def _connect(self) -> None:
        if self._connected.is_set():
            return
        self._refused = ""
        try:
            if not self._started:
                self._client.connect(*self._place, keepalive=30)
                self._client.loop_start()
                self._started = True
        except (OSError, ValueError) as error:
            raise DeliveryError(f"it can't be reached ({error})") from error
        if not self._connected.wait(_WAIT):
            raise DeliveryError(self._refused or "it can't be reached")

    def _on_connect(self, client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:  # noqa: ANN401
        if reason.is_failure:
            self._refused = f"it refused the connection ({reason})"
            return
        for topic, body in {**self._announced, self._status: "online"}.items():
            client.publish(topic, body, 1, retain=True)
        self._connected.set()


def discovery(prefix: str, station: str) -> dict[str, dict[str, Any]]:
    """Discovery messages of Home Assistant for a station, by their topic between prefix and "/config"."""
    # Stations of one name under two prefixes, as of two lines, are two devices.
    name = f"anomalist_{station}" if prefix == PREFIX else f"anomalist_{station_name(prefix)}_{station}"
    device = {
        "identifiers": [name],
        "name": f"{prefix} {station}",
        "manufacturer": "anomalist",
        "sw_version": __version__,
    }
    common = {
        "state_topic": f"{prefix}/{station}/result",
        "availability": [{"topic": f"{prefix}/{station}/status"}],
        "json_attributes_topic": f"{prefix}/{station}/result",
        "device": device,
    }

    def entity(kind: str, what: str, shown: str, template: str, **more: str) -> tuple[str, dict[str, Any]]:
        about = {"name": shown, "unique_id": f"{name}_{what}", "value_template": template}
        return f"{kind}/{name}/{what}", {**common, **about, **more}

    severity = "{{ value_json.severity or ('none' if value_json.label == 'normal' else 'unknown') }}"
    anomalous = "{{ 'ON' if value_json.label == 'anomalous' else 'OFF' }}"
    return dict(
        [
            entity("binary_sensor", "anomaly", "Anomaly", anomalous, device_class="problem"),
            entity("sensor", "verdict", "Verdict", "{{ value_json.label or 'not judged' }}"),
            entity("sensor", "severity", "Severity", severity),
            entity("sensor", "score", "Score", "{{ value_json.score }}", state_class="measurement"),
        ]
    )
