"""OPC UA, read by a client."""

from __future__ import annotations

import math

import pytest
from asyncua.sync import Client

from anomalist.errors import DataError
from anomalist.publishing.opcua import NAMESPACE, OpcUaPublisher
from tests.publishing.test_mqtt import free_port
from tests.publishing.test_webhook import message


def test_the_last_result_of_each_station_is_read_by_a_client() -> None:
    address = f"opc.tcp://127.0.0.1:{free_port()}/"
    with OpcUaPublisher(address) as publisher:
        bad = message(1).replace(label="anomalous", severity="major", severity_level=3, score=16.8, regions=2)
        for each in (message(0), bad, message(2).replace(station="lids", score=None, label=None)):
            publisher.publish(each, "")
        with Client(address) as client:
            space = client.get_namespace_index(NAMESPACE)

            def read(station: str, name: str) -> object:
                path = [f"{space}:anomalist", f"{space}:{station}", f"{space}:{name}"]
                return client.nodes.objects.get_child(path).read_value()

            assert [read("tiles", name) for name in ("Label", "Severity", "SeverityLevel", "Regions")] == [
                "anomalous", "major", 3, 2,
            ]  # fmt: skip
            assert read("tiles", "Score") == pytest.approx(16.8)
            assert (read("lids", "Label"), read("lids", "SeverityLevel")) == ("", 0)
            assert math.isnan(read("lids", "Score"))  # type: ignore[arg-type]


@pytest.mark.parametrize("address", ["opc.tcp://host", "http://host:4840", "opc.tcp://me:secret@host:4840/"])
def test_another_address_is_refused(address: str) -> None:
    with pytest.raises(DataError, match="no OPC UA address") as told:
        OpcUaPublisher(address)
    assert "secret" not in str(told.value)
