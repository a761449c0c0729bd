"""Inspecting over HTTP gives what Python gives; what was inspected is listed, shown and corrected."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from anomalist.audit.reading import read_entries, verify_log
from anomalist.composition import InspectionSettings
from anomalist.pipeline import Inspector
from anomalist.querying.runs import query
from tests.pictures import tile, write
from tests.publishing.test_webhook import receiver
from tests.server.conftest import GOOD, HOLED, Open, png, upload


def test_the_same_verdict_as_python(client: TestClient, tmp_path: Path) -> None:
    (found,) = upload(client, ("hole.png", HOLED))
    (tmp_path / "hole.png").write_bytes(HOLED)
    own = Inspector(InspectionSettings("tiles", false_alarm_rate=0.1)).inspect(tmp_path / "hole.png")
    ours, theirs = own.record.model_dump(mode="json"), found["record"]
    for field in ("label", "score", "p_value", "threshold", "severity", "kind", "claims", "regions"):
        assert theirs[field] == ours[field], field
    assert theirs["label"] == "anomalous"


def test_every_decision_is_in_the_audit_log_under_the_name_of_who_asked(client: TestClient) -> None:
    upload(client, ("a.png", HOLED), ("b.png", GOOD))
    upload(client, ("c.png", GOOD))
    decisions = list(read_entries(kinds=["inspection"]))
    assert len(decisions) == 3
    assert len(list(read_entries(kinds=["session"]))) == 1
    assert verify_log().sound
    me = client.get("/v1/me").json()["name"]
    assert {entry.content["actor"] for entry in decisions} == {me}


def test_what_can_not_be_read_is_an_error_and_never_normal(client: TestClient) -> None:
    (found,) = upload(client, ("broken.png", b"\x89PNG\r\n\x1a\n and no more"))
    assert found["record"]["status"] == "error"
    assert found["record"]["label"] is None
    assert "broken.png" in found["record"]["error"]


def test_lists_are_filtered_and_paged(client: TestClient) -> None:
    upload(client, *[(f"good{number}.png", GOOD) for number in range(5)], ("hole.png", HOLED))
    first = client.get("/v1/inspections", params={"limit": 4}).json()
    rest = client.get("/v1/inspections", params={"limit": 4, "after": first["next"]}).json()
    names = [each["name"] for page in (first, rest) for each in page["inspections"]]
    assert sorted(names) == ["good0.png", "good1.png", "good2.png", "good3.png", "good4.png", "hole.png"]
    assert rest["next"] is None
    anomalous = client.get("/v1/inspections", params={"outcome": "anomalous"}).json()
    assert [each["name"] for each in anomalous["inspections"]] == ["hole.png"]
    assert client.get("/v1/inspections", params={"text": "HOLE"}).json()["total"] == 1
    assert client.get("/v1/inspections", params={"text": "%"}).json()["total"] == 0


def test_picture_map_region_and_normal_counterpart_are_shown(client: TestClient) -> None:
    (found,) = upload(client, ("hole.png", HOLED))
    place = f"/v1/inspections/{found['id']}"
    for path, kind in (
        ("picture", "jpeg"),
        ("heat", "png"),
        ("regions/R1", "jpeg"),
        ("regions/R1/normal", "jpeg"),
    ):
        reply = client.get(f"{place}/{path}")
        assert reply.status_code == 200, path
        assert reply.headers["content-type"] == f"image/{kind}"
        assert len(reply.content) > 300
    assert client.get(f"{place}/regions/R99").status_code == 404


def test_feedback_is_stored_audited_and_taken_back(client: TestClient) -> None:
    (found,) = upload(client, ("hole.png", HOLED))
    body = {"judgement": "corrected", "kind": "drill hole", "severity": 3, "note": "by design"}
    case = client.post(f"/v1/inspections/{found['id']}/feedback", json=body).json()
    assert (case["kind"], case["severity"], case["action"]) == ("drill hole", 3, "corrected")
    assert client.delete(f"/v1/feedback/{case['id']}").json()["undone"]
    said = [entry.content for entry in read_entries(kinds=["feedback"])]
    assert [bool(each.get("undone")) for each in said] == [False, True]
    assert client.get("/v1/feedback").json() == []


def test_only_a_finding_can_be_confirmed(client: TestClient) -> None:
    bad, good = upload(client, ("hole.png", HOLED), ("good.png", GOOD))
    for found, offered in ((bad, True), (good, False)):
        place = f"/v1/inspections/{found['id']}/feedback"
        assert client.post(place, json={"judgement": "confirmed"}).is_success == offered
        page = client.get(f"/inspections/{found['id']}").text
        assert ("The verdict is right" in page, "This is fine" in page) == (offered, True)


def test_a_run_is_queried_as_on_the_command_line_and_reported(client: TestClient, home: Path) -> None:
    (found, *_) = upload(client, ("hole.png", HOLED), ("good.png", GOOD))
    asked = {"runs": [found["run"]], "query": "label=anomalous by kind"}
    over_http = client.post("/v1/query", json=asked).json()
    in_python = query(home / "server" / "runs" / found["run"], asked["query"])
    assert over_http == json.loads(in_python.model_dump_json())
    report = client.get(f"/v1/runs/{found['run']}/report")
    assert "hole.png" in report.text
    assert "script-src 'sha256-" in report.headers["content-security-policy"]
    assert client.get("/v1/runs").json()[0]["pictures"] == 2


def test_a_file_of_a_run_whose_name_is_too_long_is_not_there(client: TestClient) -> None:
    (found,) = upload(client, ("hole.png", HOLED))
    for name in ("nothing.png", f"{'検' * 100}.png"):
        assert client.get(f"/v1/runs/{found['run']}/masks/{name}").status_code == 404


def test_paths_are_inspected_in_the_allowed_folders_alone(opened: Open, tmp_path: Path) -> None:
    root = tmp_path / "line"
    root.mkdir()
    (root / "a.png").write_bytes(HOLED)
    client = opened(roots=(root,))
    body = {"paths": [str(root / "a.png")], "profile": "tiles", "false_alarm_rate": 0.1}
    found = client.post("/v1/inspections/paths", json=body).json()["inspections"]
    assert found[0]["record"]["label"] == "anomalous"
    assert client.post("/v1/inspections/paths", json={"paths": [str(root)]}).status_code == 400
    outside = client.post("/v1/inspections/paths", json={"paths": [str(tmp_path / "home")]})
    assert outside.status_code == 403


def test_an_unknown_profile_is_said_with_a_remedy(client: TestClient) -> None:
    files = [("files", ("a.png", GOOD, "image/png"))]
    reply = client.post("/v1/inspections", files=files, data={"profile": "nothing"})
    assert reply.status_code == 422
    assert "nothing" in reply.json()["error"]
    assert reply.json()["remedy"]


def test_results_are_published_as_those_of_the_command_line(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver() as (address, taken):
        monkeypatch.setenv("ANOMALIST_PUBLISH", address)
        client = opened()
        found = upload(client, ("hole.png", HOLED), ("good.png", GOOD))
        for _ in range(100):
            if len(taken.bodies) == 2:
                break
            time.sleep(0.05)
    published = [json.loads(body) for body in taken.bodies]
    for field in ("label", "score", "source"):
        assert [each[field] for each in published] == [each["record"][field] for each in found]


def test_a_good_picture_takes_the_place_of_a_profile(client: TestClient, tmp_path: Path) -> None:
    files = [
        ("files", ("hole.png", HOLED, "image/png")),
        ("reference", ("good.png", png(tile(77)), "image/png")),
    ]
    reply = client.post("/v1/inspections", files=files)
    (found,) = reply.json()["inspections"]
    (tmp_path / "hole.png").write_bytes(HOLED)
    good = write(tmp_path / "good.png", tile(77))
    by_python = Inspector(InspectionSettings(reference=good)).inspect(tmp_path / "hole.png").record
    for name in ("label", "score", "basis"):
        assert found["record"][name] == getattr(by_python, name), name
    assert len(found["record"]["regions"]) == len(by_python.regions) >= 1
    region = found["record"]["regions"][0]["id"]
    beside = client.get(f"/v1/inspections/{found['id']}/regions/{region}/normal")
    assert beside.headers["content-type"] == "image/jpeg", beside.text
    both = client.post("/v1/inspections", files=files, data={"profile": "tiles"})
    assert both.status_code == 400


def test_who_reasons_and_what_was_fetched_is_told(client: TestClient) -> None:
    assert client.get("/v1/model").json()["spec"]
    models = client.get("/v1/models").json()
    assert all(each["spec"].startswith("hf:") and each["bytes"] > 0 for each in models)
    assert "Who reasons" in client.get("/learn").text
