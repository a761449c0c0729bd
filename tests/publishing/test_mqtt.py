"""MQTT with a real broker."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from anomalist.errors import DataError
from anomalist.publishing.mqtt import MqttPublisher, discovery
from tests.publishing.test_webhook import message
from tests.waiting import until

ROOT = Path(__file__).parents[2]
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def broker(folder: Path, port: int, *lines: str) -> Iterator[str]:
    """A mosquitto on a port; its address."""
    config = folder / "mosquitto.conf"
    # It would give up being root, and then not read the files of this test.
    config.write_text(
        "\n".join(["user root", f"listener {port} 127.0.0.1", *(lines or ("allow_anonymous true",))]) + "\n"
    )
    command = [str(MOSQUITTO), "-c", str(config)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"mqtt://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody takes at the end of a process is tried for a moment only."""
    monkeypatch.setattr("anomalist.publishing.outbox.LAST_SECONDS", 0.7)


def retained(port: int) -> dict[str, str]:
    """What a client that comes later gets, by topic: what the broker sends before the client's own mark."""
    found: dict[str, str] = {}
    told = Event()

    def on_connect(client: Client, *_: object) -> None:
        client.subscribe("#")
        client.publish("all/told", b"")

    def on_message(_: Client, __: object, sent: MQTTMessage) -> None:
        if sent.topic == "all/told":
            told.set()
        else:
            found[sent.topic] = sent.payload.decode()

    client = Client(CallbackAPIVersion.VERSION2)
    client.on_connect, client.on_message = on_connect, on_message
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert told.wait(60)
    client.disconnect()
    client.loop_stop()
    return found


def publish_to(publisher: MqttPublisher, *stations: str) -> None:
    for number, station in enumerate(stations):
        publisher.publish(message(number).replace(station=station), "")


def status(found: dict[str, str], station: str) -> str | None:
    return found.get(f"anomalist/{station}/status")


@needs_broker
def test_results_and_their_discovery_are_there_for_who_comes_later(tmp_path: Path) -> None:
    port = free_port()
    with broker(tmp_path, port) as address:
        with MqttPublisher(address, tmp_path / "outbox.sqlite", pytest.fail) as publisher:
            for number in range(3):
                publisher.publish(message(number), "")
            until(lambda: publisher._outbox.waiting() == 0)
            while_running = retained(port)
        after = retained(port)
    assert json.loads(while_running["anomalist/tiles/result"])["source"] == "2.png"
    assert while_running["anomalist/tiles/status"] == "online"
    assert after["anomalist/tiles/status"] == "offline"
    config = json.loads(after["homeassistant/binary_sensor/anomalist_tiles/anomaly/config"])
    assert config["state_topic"] == "anomalist/tiles/result"
    assert config["availability"] == [{"topic": "anomalist/tiles/status"}]


STATIONS = ("gate", "yard", "line_7")


@needs_broker
def test_every_station_is_offline_when_the_process_is_done(tmp_path: Path) -> None:
    port = free_port()
    with broker(tmp_path, port) as address:
        with MqttPublisher(address, tmp_path / "outbox.sqlite", pytest.fail) as publisher:
            publish_to(publisher, *STATIONS)
            until(lambda: publisher._outbox.waiting() == 0)
            assert {status(retained(port), each) for each in STATIONS} == {"online"}
        assert {status(retained(port), each) for each in STATIONS} == {"offline"}


@needs_broker
def test_no_station_stays_available_when_the_process_is_killed(tmp_path: Path) -> None:
    """Also when a later process publishes some of them again."""
    port, box = free_port(), tmp_path / "outbox.sqlite"
    code = (
        "import pathlib, sys, time\n"
        "from anomalist.publishing.mqtt import MqttPublisher\n"
        "from tests.publishing.test_mqtt import publish_to\n"
        "with MqttPublisher(sys.argv[1], pathlib.Path(sys.argv[2]), print) as publisher:\n"
        "    publish_to(publisher, *sys.argv[3:])\n"
        "    time.sleep(600)\n"
    )
    with broker(tmp_path, port) as address:
        killed = subprocess.Popen([sys.executable, "-c", code, address, str(box), *STATIONS], cwd=ROOT)
        try:
            until(lambda: {status(retained(port), each) for each in STATIONS} == {"online"})
        finally:
            killed.kill()
            killed.wait()
        until(lambda: {status(retained(port), each) for each in STATIONS} == {"offline"})
        with MqttPublisher(address, box, pytest.fail) as publisher:
            publish_to(publisher, "gate")
            until(lambda: publisher._outbox.waiting() == 0)
            found = retained(port)
    assert [status(found, each) for each in STATIONS] == ["online", "offline", "offline"]
    for each in STATIONS:
        config = json.loads(found[f"homeassistant/binary_sensor/anomalist_{each}/anomaly/config"])
        assert config["availability"] == [{"topic": f"anomalist/{each}/status"}]


@needs_broker
def test_a_station_is_online_again_once_a_broker_that_forgot_all_is_back(tmp_path: Path) -> None:
    port = free_port()
    with broker(tmp_path, port) as address:
        publisher = MqttPublisher(address, tmp_path / "outbox.sqlite", lambda _: None)
        publisher.__enter__()
        publish_to(publisher, "gate")
        until(lambda: publisher._outbox.waiting() == 0)
    with broker(tmp_path, port):
        until(lambda: retained(port).get("anomalist/gate/status") == "online")
        assert any(topic.startswith("homeassistant/") for topic in retained(port))
        publisher.__exit__(None, None, None)


@needs_broker
@pytest.mark.usefixtures("hasty")
def test_what_was_published_without_a_broker_comes_once_it_is_there(tmp_path: Path) -> None:
    port, told = free_port(), list[str]()
    with MqttPublisher(f"mqtt://127.0.0.1:{port}/line", tmp_path / "box", told.append) as publisher:
        publisher.publish(message(1), "")
    assert any("can't be reached" in each for each in told)
    with broker(tmp_path, port) as address:
        with MqttPublisher(f"{address}/line", tmp_path / "box", pytest.fail) as publisher:
            publisher.publish(message(2), "")
        assert json.loads(retained(port)["line/tiles/result"])["source"] == "2.png"


@needs_broker
@pytest.mark.usefixtures("hasty")
def test_a_refused_user_is_told_and_the_password_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalist.publishing.mqtt._WAIT", 1.5)
    port, told = free_port(), list[str]()
    passwords = tmp_path / "passwords"
    passwords.touch()
    with broker(tmp_path, port, "allow_anonymous false", f"password_file {passwords}"):
        address = f"mqtt://me:secret@127.0.0.1:{port}"
        with MqttPublisher(address, tmp_path / "box", told.append) as publisher:
            publisher.publish(message(1), "")
    assert "refused the connection" in told[0]
    assert "secret" not in "".join(told)


def test_each_entity_of_a_station_has_an_id_of_its_own() -> None:
    configs = discovery("anomalist", "tiles")
    assert len({config["unique_id"] for config in configs.values()}) == len(configs) == 4
    assert {topic.partition("/")[0] for topic in configs} == {"binary_sensor", "sensor"}


def test_stations_of_one_name_on_two_lines_are_two_devices() -> None:
    every = [discovery(prefix, "tiles") for prefix in ("anomalist", "line1", "line2")]
    assert len({topic for configs in every for topic in configs}) == 12
    assert len({config["unique_id"] for configs in every for config in configs.values()}) == 12
    assert len({str(config["device"]) for configs in every for config in configs.values()}) == 3


@pytest.mark.parametrize("address", ["mqtt://", "tcp://host", "host:1883"])
def test_another_address_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no broker"):
        MqttPublisher(address, tmp_path / "box", pytest.fail)


@pytest.mark.parametrize("prefix", ["a+b", "line/%23"])
def test_a_prefix_that_no_topic_can_have_is_refused(prefix: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no \\+ and no #"):
        MqttPublisher(f"mqtt://host/{prefix}", tmp_path / "box", pytest.fail)


@needs_broker
def test_a_prefix_may_be_percent_encoded(tmp_path: Path) -> None:
    port = free_port()
    with broker(tmp_path, port) as address:
        with MqttPublisher(f"{address}/caf%C3%A9%40home", tmp_path / "box", pytest.fail) as publisher:
            publish_to(publisher, "gate")
        assert "café@home/gate/result" in retained(port)
