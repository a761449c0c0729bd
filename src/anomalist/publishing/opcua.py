"""OPC UA: the last result of each station as nodes of a server. Needs the package asyncua.

Objects/anomalist/STATION has the variables Label, Severity, SeverityLevel, Score, Defect, Regions, Source,
Time, Text and Error. It serves for as long as the process runs.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from anomalist.errors import DataError
from anomalist.publishing.message import ResultMessage
from anomalist.vision.media.sources import host_only, split_address

NAMESPACE = "urn:anomalist"

_TEXTS = ("Label", "Severity", "Defect", "Source", "Time", "Text", "Error")


class OpcUaPublisher:
    """Serves the last result of each station by OPC UA. A context manager.

    Parameters
    ----------
    address : opc.tcp://HOST:PORT/, on which it listens.

    Raises DataError for another address, or one that can't be listened on.
    """

    def __init__(self, address: str) -> None:
        parts = split_address(address)
        if parts.scheme != "opc.tcp" or not parts.hostname or parts.port is None or "@" in parts.netloc:
            raise DataError(
                f"{host_only(address)} is no OPC UA address.",
                "It looks like opc.tcp://127.0.0.1:4840/, without a user: each client is told it.",
            )
        self._address = address
        self._stations: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        from asyncua.sync import Server

        self._server = Server()
        self._server.set_endpoint(self._address)
        self._server.set_server_name("anomalist")
        self._namespace = self._server.register_namespace(NAMESPACE)
        self._folder = self._server.nodes.objects.add_folder(self._namespace, "anomalist")
        try:
            self._server.start()
        except OSError as error:
            self._server.tloop.stop()
            shown = host_only(self._address)
            raise DataError(f"OPC UA can't be served at {shown}: {error}.") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()

    def publish(self, message: ResultMessage, body: str) -> None:
        """Write a message to the nodes of its station; what is not known is empty, or NaN, or −1."""
        from asyncua import ua

        nodes = self._stations.get(message.station) or self._add_station(message.station)
        texts = {name: getattr(message, name.lower()) or "" for name in _TEXTS}
        for name, text in texts.items():
            nodes[name].write_value(text)
        score = float("nan") if message.score is None else message.score
        nodes["Score"].write_value(ua.Variant(score, ua.VariantType.Double))
        for name, number in (("SeverityLevel", message.severity_level), ("Regions", message.regions)):
            nodes[name].write_value(ua.Variant(-1 if number is None else number, ua.VariantType.Int32))

    def _add_station(self, station: str) -> dict[str, Any]:
        from asyncua import ua

        place = self._folder.add_object(self._namespace, station)
        nodes = {name: place.add_variable(self._namespace, name, "") for name in _TEXTS}
        nodes["Score"] = place.add_variable(self._namespace, "Score", float("nan"), ua.VariantType.Double)
        for name in ("SeverityLevel", "Regions"):
            nodes[name] = place.add_variable(self._namespace, name, -1, ua.VariantType.Int32)
        self._stations[station] = nodes
        return nodes
