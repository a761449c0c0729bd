"""Rules are previewed before they are saved; scenes are remembered and found."""

from __future__ import annotations

from fastapi.testclient import TestClient

from anomalist.audit.reading import read_entries
from anomalist.memory.rules.store import current_rules
from tests.server.conftest import HOLED, upload

NEW = {"profile": "tiles", "text": "a spot is on the tile", "polarity": "anomalous", "keywords": ["spot"]}


def test_a_new_rule_is_previewed_then_saved(client: TestClient) -> None:
    run = upload(client, ("hole.png", HOLED))[0]["run"]
    preview = client.post("/v1/rules/preview", json={**NEW, "runs": [run]}).json()
    assert preview["impact"]["looked_at"] == 1
    assert not any(rule.text == NEW["text"] for rule in current_rules("tiles"))
    saved = client.post("/v1/rules", json=NEW).json()
    assert saved["origin"] == "person"
    assert client.get("/v1/rules", params={"profile": "tiles", "text": "SPOT is"}).json() == [saved]
    assert client.post("/v1/rules", json=NEW).status_code == 422, "a twin"
    (entry,) = read_entries(kinds=["rule"])
    assert entry.content["what"] == "added"


def test_a_change_is_a_new_version_and_the_old_one_stays(client: TestClient) -> None:
    saved = client.post("/v1/rules", json=NEW).json()
    change = {"profile": "tiles", "id": saved["id"], "severity": 3, "note": "it leaks"}
    assert client.post("/v1/rules", json=change).json()["version"] == 2
    versions = client.get(f"/v1/rules/{saved['id']}/versions").json()
    assert [each["rule"]["severity"] for each in versions] == [0, 3]
    assert versions[1]["who"] == client.get("/v1/me").json()["name"]
    assert client.post("/v1/rules", json=change).status_code == 422, "it is like that already"


def test_a_contradiction_is_named(client: TestClient) -> None:
    client.post("/v1/rules", json=NEW)
    other = {**NEW, "polarity": "normal", "keywords": []}
    preview = client.post("/v1/rules/preview", json=other).json()
    assert preview["contradictions"]
    assert preview["impact"] is None


def test_what_can_not_be_a_rule_is_refused(client: TestClient) -> None:
    assert client.post("/v1/rules", json={"profile": "tiles", "text": "123"}).status_code == 422
    assert client.post("/v1/rules", json={"profile": "tiles"}).status_code == 400


def test_scenes_are_remembered_found_and_forgotten(client: TestClient) -> None:
    assert len(client.get("/v1/memory/scenes", params={"limit": 5}).json()) == 5
    found = client.get("/v1/memory/scenes", params={"text": "somebody climbs a fence", "limit": 3}).json()
    assert found[0]["similarity"] > found[2]["similarity"] > 0
    body = {"category": "yard", "text": "Somebody leaves a bag at the gate.", "side": "anomalous"}
    (stored,) = client.post("/v1/memory/gate/scenes", json=body).json()
    mine = client.get("/v1/memory/scenes", params={"name": "gate", "text": "a bag is left"}).json()
    assert mine[0]["scene"] == stored
    assert client.delete(f"/v1/memory/gate/scenes/{stored['id']}").json() == {"forgotten": 1}
    assert client.get("/v1/memory/scenes", params={"name": "none"}).status_code == 422
