"""Questions over HTTP get the answers of Python; conversations stream and store what is right."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from anomalist.audit.reading import read_entries
from tests.server.conftest import GOOD, HOLED, Open, upload


def events(text: str) -> list[tuple[str, Any]]:
    found = []
    for part in text.split("\n\n"):
        if part:
            name, data = part.split("\n")
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


@pytest.fixture
def asked(client: TestClient) -> str:
    id: str = upload(client, ("hole.png", HOLED))[0]["id"]
    return id


def test_an_answer_cites_what_it_rests_on(client: TestClient, asked: str) -> None:
    reply = client.post("/v1/ask", json={"inspections": [asked], "question": "Where is the defect?"}).json()
    assert reply["answered"]
    assert "R1 is at the upper left" in reply["text"]
    assert "R1" in reply["claims"][0]["evidence"]
    (entry,) = read_entries(kinds=["answer"])
    assert entry.content["answer"]["question"] == "Where is the defect?"


def test_options_get_a_letter(client: TestClient, asked: str) -> None:
    body = {"inspections": [asked], "question": "Is there a defect?", "options": ["Yes", "No"]}
    assert client.post("/v1/ask", json=body).json()["letter"] == "A"


def test_a_whole_run_is_asked(client: TestClient) -> None:
    run = upload(client, ("hole.png", HOLED), ("good.png", GOOD))[0]["run"]
    reply = client.post("/v1/ask", json={"run": run, "question": "How many are anomalous?"}).json()
    assert reply["answered"], reply
    assert reply["text"].startswith("1 of 2")


def test_a_conversation_streams_compares_and_stores_what_is_right(client: TestClient, asked: str) -> None:
    place = "/v1/conversations/one"
    first = client.post(place, json={"inspections": [asked], "text": "Compare it with a normal one."})
    assert first.headers["content-type"].startswith("text/event-stream")
    assert events(first.text)[-1][0] == "answer"
    assert "the nearest normal picture has" in events(first.text)[-1][1]["text"]
    last = client.post(place, json={"text": "This is a scratch, severity 3."})
    assert events(last.text)[-1][1]["answered"]
    (case,) = client.get("/v1/feedback").json()
    assert (case["kind"], case["severity"]) == ("scratch", 3)
    assert len(list(read_entries(kinds=["feedback"]))) == 1
    assert len(client.get(place).json()) == 2


def test_what_a_conversation_takes_back_is_in_the_audit_log(client: TestClient, asked: str) -> None:
    for text in ("This is a scratch.", "This is fine.", "Undo that."):
        client.post("/v1/conversations/one", json={"inspections": [asked], "text": text})
    said = [
        (each.content["case"]["id"], bool(each.content.get("undone")))
        for each in read_entries(kinds=["feedback"])
    ]
    assert said == [("case:1", False), ("case:2", False), ("case:2", True)]


def test_who_may_only_see_asks_and_does_not_correct(opened: Open) -> None:
    client = opened()
    id = upload(client, ("hole.png", HOLED))[0]["id"]
    key = client.post("/v1/keys", json={"name": "tv", "role": "viewer"}).json()["key"]
    client.headers["authorization"] = f"Bearer {key}"
    body = {"inspections": [id], "text": "Where is it?"}
    assert events(client.post("/v1/conversations/two", json=body).text)[-1][0] == "answer"
    assert client.post("/v1/conversations/two", json={"text": "This is fine."}).status_code == 403
    for text in ("This is fine.", "Undo case:1."):
        refused = client.post("/v1/ask", json={"inspections": [id], "question": text})
        assert refused.status_code == 403, refused.text
    assert client.get("/v1/feedback").json() == []


def test_what_is_said_in_place_of_a_question_is_in_the_audit_log(client: TestClient, asked: str) -> None:
    for text in ("This is a scratch, severity 3.", "Undo that."):
        reply = client.post("/v1/ask", json={"inspections": [asked], "question": text}).json()
        assert reply["answered"], reply
    stored, undone = (entry.content for entry in read_entries(kinds=["feedback"]))
    assert stored["case"]["kind"] == "scratch"
    assert "undone" not in stored
    assert undone["case"]["id"] == stored["case"]["id"]
    assert undone["undone"]


def test_what_can_not_be_asked_is_said(client: TestClient, asked: str) -> None:
    assert client.post("/v1/ask", json={"question": "Why?"}).status_code == 400
    assert client.post("/v1/ask", json={"run": "none", "question": "Why?"}).status_code == 404
    nobody = client.post("/v1/conversations/three", json={"text": "Why?"})
    assert events(nobody.text) == [
        ("error", {"error": "There is no conversation 'three'.", "remedy": ""}),
    ]
    empty = client.post("/v1/ask", json={"inspections": [asked], "question": "   "})
    assert empty.status_code == 422
