"""MQTT: results by topic, with discovery by Home Assistant. Needs the package paho-mqtt.

Topics: ``anomalist/STATION/result`` holds the last result (JSON, retained), ``anomalist/STATION/status``
"online" or "offline" (retained). Where this process dies the broker can set one topic alone, that of the
first station: the others are said to be available while both are "online".
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from anomalist import __version__
from anomalist.errors import DataError
from anomalist.publishing.message import ResultMessage, split_address
from anomalist.publishing.outbox import DeliveryError, Outbox
from anomalist.vision.media.sources import host_only

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
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        parts = split_address(address)
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise DataError(
                f"{host_only(address)} is no broker.", "It looks like mqtt://HOST:1883/PREFIX."
            )
        self._host, secure = parts.hostname, parts.scheme == "mqtts"
        self._port = parts.port or (8883 if secure else 1883)
        self._prefix = parts.path.strip("/") or "anomalist"
        self._connected = Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = lambda *_: self._connected.clear()
        if parts.username:
            given = password or unquote(parts.password or "")
            self._client.username_pw_set(unquote(parts.username), given or None)
        if secure:
            self._client.tls_set()
        self._started, self._refused = False, ""
        self._station: str | None = None
        self._announced: set[str] = set()
        self._stations: set[str] = set()
        shown = f"{parts.scheme}://{self._host}:{self._port}/{self._prefix}"
        self._outbox = Outbox(outbox, shown, self._send, on_failure)

    def __enter__(self) -> Self:
        self._outbox.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._outbox.__exit__(kind, error, trace)
        if self._connected.is_set():
            said = [
                self._client.publish(self._topic(station, "status"), "offline", 1, retain=True)
                for station in sorted(self._stations)
            ]
            for each in said:
                each.wait_for_publish(_WAIT)
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, message: ResultMessage, body: str) -> None:
        """Publish a message; the whole ``body`` is left to webhooks."""
        self._outbox.put(message.id, message.station, message.model_dump_json())

    def _topic(self, station: str, what: str) -> str:
        return f"{self._prefix}/{station}/{what}"

    def _send(self, id: str, topic: str, body: str) -> None:
        station = topic
        self._connect(station)
        for each in dict.fromkeys((self._station or station, station)):  # the first tells of all
            self._announce(each)
        self._deliver(self._topic(station, "result"), body)

    def _announce(self, station: str) -> None:
        if station in self._announced:
            return
        for name, config in discovery(self._prefix, station, self._station or station).items():
            self._deliver(f"{DISCOVERY}/{name}/config", json.dumps(config))
        self._deliver(self._topic(station, "status"), "online")
        self._announced.add(station)
        self._stations.add(station)

    def _connect(self, station: str) -> None:
        """Connect where that isn't done; the broker says "offline" when the connection is lost."""
        if self._connected.is_set():
            return
        self._refused = ""
        try:
            if not self._started:
                self._station = station
                self._client.will_set(self._topic(station, "status"), "offline", 1, retain=True)
                self._client.connect(self._host, self._port, keepalive=30)
                self._client.loop_start()
                self._started = True
        except (OSError, ValueError) as error:
            raise DeliveryError(f"it can't be reached ({error})") from error
        if not self._connected.wait(_WAIT):
            raise DeliveryError(self._refused or "it can't be reached")

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:  # noqa: ANN401
        if reason.is_failure:
            self._refused = f"it refused the connection ({reason})"
        else:
            self._announced.clear()
            self._connected.set()

    def _deliver(self, topic: str, body: str) -> None:
        sent = self._client.publish(topic, body, 1, retain=True)
        try:
            sent.wait_for_publish(_WAIT)
        except (RuntimeError, ValueError) as error:
            self._connected.clear()
            raise DeliveryError(str(error)) from error
        if not sent.is_published():
            raise DeliveryError("it did not acknowledge the message")


def discovery(prefix: str, station: str, first: str) -> dict[str, dict[str, Any]]:
    """Discovery messages of Home Assistant for a station, by their topic between prefix and "/config".

    ``first`` is the station whose status the broker sets where the process dies.
    """
    device = {
        "identifiers": [f"anomalist_{station}"],
        "name": f"anomalist {station}",
        "manufacturer": "anomalist",
        "sw_version": __version__,
    }
    common = {
        "state_topic": f"{prefix}/{station}/result",
        "availability": [{"topic": f"{prefix}/{each}/status"} for each in dict.fromkeys((station, first))],
        "availability_mode": "all",
        "json_attributes_topic": f"{prefix}/{station}/result",
        "device": device,
    }

    def entity(kind: str, name: str, shown: str, template: str, **more: str) -> tuple[str, dict[str, Any]]:
        about = {"name": shown, "unique_id": f"anomalist_{station}_{name}", "value_template": template}
        return f"{kind}/anomalist_{station}/{name}", {**common, **about, **more}

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
