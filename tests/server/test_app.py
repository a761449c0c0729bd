"""The whole application: its OpenAPI document under schemathesis, health, figures, and the start."""

from __future__ import annotations

from pathlib import Path

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings

from anomalist.errors import DataError
from anomalist.server.app import create_app
from anomalist.server.config import ServerConfig
from anomalist.server.jobs import JOB_KINDS
from anomalist.server.services import Services
from tests.server.conftest import GOOD, HOLED, PASSWORD, Open, upload

EXAMPLES = 4
"""Of each operation: enough to find a field that is not checked, and few enough to be fast."""


def test_no_request_that_the_document_allows_is_a_fault(opened: Open) -> None:
    client = opened(requests_per_minute=1_000_000, logins_per_minute=1_000_000, waiting=1000)
    upload(client, ("hole.png", HOLED))
    client.app.state.services.jobs.close()  # type: ignore[attr-defined]  # jobs are accepted, and none is done
    document = client.get("/v1/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    faults = []
    tried = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        assert operation is not None
        if operation.path == "/v1/cameras/events":
            continue  # goes on for as long as somebody listens

        @given(case=operation.as_strategy())
        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate],
        )
        def try_it(case: schemathesis.Case) -> None:
            nonlocal tried
            tried += 1
            sent = case.as_transport_kwargs(base_url="http://127.0.0.1")
            sent.pop("cookies", None)
            sent.pop("timeout", None)
            if isinstance(sent.get("data"), bytes):
                sent["content"] = sent.pop("data")
            reply = client.request(**sent)
            if reply.status_code >= 500:
                faults.append((case.method, case.path, reply.status_code, reply.text[:200]))

        try_it()
    assert faults == []
    assert tried >= 100


def test_jobs_refuse_what_they_can_not_use(client: TestClient) -> None:
    for kind in JOB_KINDS:
        for body in ({}, {"data": {"name": "x", "scene": "x"}}, {"json": {"paths": []}}, {"json": [1]}):
            assert 400 <= client.post(f"/v1/jobs/{kind}", **body).status_code < 500, (kind, body)  # type: ignore[arg-type]


def test_every_operation_of_the_api_is_described(client: TestClient) -> None:
    document = client.get("/v1/openapi.json").json()
    assert all(
        path.startswith("/v1/") or path in ("/healthz", "/readyz", "/metrics") for path in document["paths"]
    )
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            assert operation["description"], (method, path)


def test_health_readiness_and_figures(client: TestClient) -> None:
    assert client.get("/healthz").json()["status"] == "ok"
    assert client.get("/readyz").json() == {"ready": True, "waiting": 0, "why": ""}
    upload(client, ("hole.png", HOLED), ("good.png", GOOD))
    text = client.get("/metrics").text
    assert 'anomalist_pictures_total{verdict="anomalous"} 1.0' in text
    assert 'anomalist_requests_total{method="POST",route="/v1/inspections",status="200"} 1.0' in text


def test_another_address_needs_an_account(home: Path) -> None:
    config = ServerConfig(host="0.0.0.0")
    with pytest.raises(DataError, match="there is no account") as refused, Services(config):
        pass
    assert "anomalist accounts add" in refused.value.remedy
    with Services(ServerConfig()) as services:
        services.accounts.add("a", "admin", PASSWORD)
    with Services(config):
        pass


def test_one_server_works_in_a_folder_at_a_time(client: TestClient) -> None:
    with pytest.raises(DataError, match="Another server"), TestClient(create_app(ServerConfig())):
        pass
