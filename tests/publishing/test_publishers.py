"""Results of pictures, clips and streams, published as one message each."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

import pytest

from anomalist.errors import DataError
from anomalist.publishing.message import message_of, station_name
from anomalist.publishing.publishers import Publishers, open_publisher
from anomalist.streaming import AlertState, LiveAlert
from anomalist.types.clip import ClipRecord, ClipVerdict
from anomalist.types.common import Label
from anomalist.types.image import Record
from anomalist.vision.media.sources import host_only
from anomalist.vision.profile import Profile
from tests.agent.event_cases import make_event
from tests.cli.running import run
from tests.pictures import holed, write
from tests.publishing.test_mqtt import free_port
from tests.publishing.test_webhook import receiver
from tests.subjects import scratched


def sign_of_life() -> LiveAlert:
    return LiveAlert(state="watching", source="cam", stream_time=60, time="t")


def test_a_picture_is_told_in_one_flat_object(tmp_path: Path) -> None:
    (record,) = scratched(tmp_path / "part.png").records
    message = message_of(record)
    assert (message.kind, message.station, message.label) == ("picture", "tiles", "anomalous")
    assert message.regions == 2 and message.text
    assert all(not isinstance(value, dict | list) for value in json.loads(message.model_dump_json()).values())


def test_what_could_not_be_judged_is_no_normal_result() -> None:
    failed = Record(source="a.png", status="error", error="It is no picture.")
    message = message_of(failed)
    assert (message.label, message.severity_level, message.error) == (None, None, "It is no picture.")
    clip = ClipRecord(source="a.mp4", status="error", error="It is no video.")
    for each in (message, message_of(clip)):
        assert (each.regions, each.score) == (None, None), "not counted is not none"
    trouble = LiveAlert(state="trouble", source="cam", stream_time=1, time="t", trouble="black")
    assert message_of(trouble, "yard").label is None


@pytest.mark.parametrize("state", ["watching", "recovered"])
@pytest.mark.parametrize(
    ("label", "why", "text", "error"),
    [
        (None, "covered", None, "covered"),
        (None, None, None, None),  # as an earlier version stored it: nothing is known
        ("undecided", "infra-red picture", "infra-red picture", None),
        ("anomalous", None, None, None),
        ("normal", None, None, None),
    ],
)
def test_a_sign_of_life_is_published_as_the_stream_stands(
    state: AlertState, label: Label | None, why: str | None, text: str | None, error: str | None
) -> None:
    message = message_of(sign_of_life().replace(state=state, label=label, why=why), "yard")
    assert (message.label, message.text, message.error) == (label, text, error)


def test_a_sign_of_life_during_an_event_tells_how_bad_it_is() -> None:
    worst = make_event(severity=3, score=2.5)
    alert = sign_of_life().replace(label="anomalous", worst=worst)
    message = message_of(alert, "yard")
    assert (message.label, message.severity, message.severity_level) == ("anomalous", "major", 3)
    assert (message.score, message.defect, message.text) == (2.5, worst.kind, worst.caption.text)
    opened = message_of(alert.replace(state="opened", event=worst, worst=None), "yard")
    assert message.id != opened.id and "E1" in opened.id


def test_what_is_told_when_a_stream_is_followed_again_has_another_id() -> None:
    first = sign_of_life().replace(time="2026-12-01T00:01:00.000+00:00")
    again = first.replace(time="2026-12-02T00:01:00.000+00:00")
    assert message_of(first).id == message_of(first, "yard").id != message_of(again).id


@pytest.mark.parametrize(
    ("label", "severity"), [("normal", ("none", 0)), ("undecided", (None, None)), (None, (None, None))]
)
def test_what_is_normal_has_no_severity_and_that_of_what_is_not_decided_is_not_known(
    label: Label | None, severity: tuple[str | None, int | None]
) -> None:
    verdict = None if label is None else ClipVerdict(label=label)
    results = [
        sign_of_life().replace(label=label),
        ClipRecord(source="a.mp4", status="ok").replace(verdict=verdict),
    ]
    if label is not None:
        results.append(Record(source="a.png", status="ok", label=label, severity=0))
    for result in results:
        message = message_of(result, "yard")
        assert (message.severity, message.severity_level) == severity


@pytest.mark.parametrize(
    ("profile", "station"), [("/data/My Profile/", "my_profile"), ("Ünit-7", "nit_7"), (None, "pictures")]
)
def test_a_station_has_a_name_that_a_topic_can_have(profile: str | None, station: str) -> None:
    assert message_of(sign_of_life(), profile).station == station


def test_names_that_are_not_latin_have_stations_of_their_own() -> None:
    names = [
        "検査",
        "組立",
        "检查",
        "Проходная",
        "Двор",
        "Двор 2",
        "Двор ٢",
        "साइट",
        "Halle Ω",
        "Halle Σ",
        "★",
        "☆",
    ]
    stations = {name: station_name(name) for name in names}
    assert len(set(stations.values()) - {"pictures"}) == len(names)
    assert all(re.fullmatch(r"[a-z0-9_]+", station) for station in stations.values())
    assert stations["Halle Ω"].startswith("halle_")
    assert station_name("検査") == "station_8e28a92e", "the same in each run, or what listens hears nothing"


def test_a_name_whose_letters_a_file_system_took_apart_stays_the_same() -> None:
    whole, apart = (unicodedata.normalize(form, "ворота Ёж") for form in ("NFC", "NFD"))
    assert whole != apart
    assert message_of(sign_of_life(), whole).station == message_of(sign_of_life(), apart).station


def test_two_names_that_share_a_station_are_told_once() -> None:
    told: list[str] = []
    address = f"opc.tcp://127.0.0.1:{free_port()}/"
    names = ["gate-1", "yard", "gate.1", "gate.1", "gate-1"]
    with Publishers([address], told.append) as published:
        for time, camera in enumerate(names):
            published.publish(sign_of_life().replace(camera=camera, stream_time=time))
    (sentence,) = told
    assert all(each in sentence for each in ("gate-1", "gate.1", "gate_1"))


def test_inspect_publishes_each_record_that_it_prints(tiles_profile: Profile, tmp_path: Path) -> None:
    picture = write(tmp_path / "bad.png", holed(801))
    with receiver() as (address, taken):
        done = run(
            "inspect", picture, "--profile", tiles_profile.path, "--json", "--publish", address,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [json.loads(body) for body in taken.bodies] == [json.loads(done.stdout)]


def test_addresses_of_the_environment_are_added(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (record,) = scratched(tmp_path / "part.png").records
    with receiver() as (one, first), receiver() as (other, second):
        monkeypatch.setenv("ANOMALIST_PUBLISH", f"{one}, {other}")
        with Publishers([one], pytest.fail) as published:
            published.publish(record)
    assert len(first.bodies) == len(second.bodies) == 1


def test_an_unknown_address_stops_before_anything_is_done() -> None:
    with pytest.raises(DataError, match="Nothing can be published"):
        Publishers(["smtp://host"], pytest.fail)


@pytest.mark.parametrize(
    "address",
    [
        "mqtt://me:hunter#2222@host:1883/line",
        "mqtt://me:hunter/2222@host",
        "mqtts://me:hunter?2222@host",
        "mqtt://me:2222#hunter@host",
        "mqtt://me:2222/hunter@host",
        "mqtt://me:[hunter2222@host",
        "mqtt://me:hunter2222@host:http",
        "mqtt://me:hunter2222@host:70000/line",
        "mqtt://me:hunter2222",
        "https://me:hunter/2222@host/hook",
        "https://me:2222#hunter@host/hook",
        "https://me:2222/hunter@host/hook",
        "https://me:2222?hunter@host",
        "https://me:hunter@x/2222@host/hook",
        "http://host:port/hunter2222",
        "opc.tcp://me:hunter2222@host:0/",
    ],
)
def test_an_address_that_can_not_be_read_is_told_without_its_password(address: str) -> None:
    with pytest.raises(DataError) as told:
        open_publisher(address, pytest.fail)
    assert "hunter" not in str(told.value) and "2222" not in str(told.value)
    assert "percent-encoded" in str(told.value) and "65535" in str(told.value)
    assert told.value.__cause__ is None and told.value.__context__ is None


@pytest.mark.parametrize("address", ["mqtt://me:hunter2222@:1883", "mqt://me:hunter2222@host", "2222@host"])
def test_another_address_is_told_without_its_password(address: str) -> None:
    with pytest.raises(DataError) as told:
        open_publisher(address, pytest.fail)
    assert "hunter" not in str(told.value) and "2222" not in str(told.value)


def test_a_password_that_is_percent_encoded_and_an_at_in_a_web_page_are_fine() -> None:
    for address in ("mqtt://me:a%23b%2Fc@host:1883/line", "https://host/@me/hook?to=a@b", "http://[::1]:80/"):
        assert open_publisher(address, pytest.fail)


def test_what_is_shown_of_an_address_tells_receivers_apart() -> None:
    assert host_only("https://me:secret@host:8443/hook") == "https://…@host:8443"
    assert host_only("opc.tcp://[::1]:4840/") == "opc.tcp://[::1]:4840"
