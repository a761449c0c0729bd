from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from anomalist.agent.models.selection import describe_model, open_model, select_model
from anomalist.errors import ModelError


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "replies.jsonl"
    path.write_text(json.dumps({"reply": "Fine."}) + "\n")
    return f"scripted:{path}"


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def test_a_model_is_opened_by_its_name(script: str) -> None:
    assert open_model(script).invoke("Well?").content == "Fine."


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "no kind of model"),
        ("qwen", "no kind of model called 'qwen'"),
        ("gguf:file", "no kind of model called 'gguf'"),
        ("hf", "no kind of model called 'hf'"),
        ("builtin", "builtin is no longer part of anomalist. Leave it out: measurements"),
        ("hf:", "Nothing follows hf:"),
        ("hf:owner/unheard-of", "anomalist models pull owner/unheard-of"),
        ("hf:./unheard-of", "no folder ./unheard-of"),
        ("hf:owner/name?quantization=nf4", "no option quantization=nf4"),
        ("hf:owner/name?dtype", "no option dtype="),
        ("hf:owner/name?max_pixels=many", "max_pixels must be a whole number, got many"),
        ("hf:owner/name?max_pixels=²", "max_pixels must be a whole number"),
        ("hf:owner/name?max_pixels=0", "max_pixels must be"),
        ("scripted:unheard-of.jsonl", "unheard-of.jsonl"),
        ("openai:http://localhost:1", "Which model"),
    ],
)
def test_a_model_that_is_not_there_is_one_clear_error(spec: str, message: str) -> None:
    with pytest.raises(ModelError, match=r"^[^\n]*$") as caught:
        open_model(spec)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("evidence", "no language model"),
        (
            "hf:a/b?quantisation=nf4&max_pixels=1000",
            "a/b, quantisation nf4, max_pixels 1000, on this",
        ),
        ("openai:http://localhost:11434#qwen3-vl:2b", "qwen3-vl:2b at localhost:11434"),
        ("openai:https://h.example/v1#m", "m at h.example, off this machine"),
        ("scripted:a.jsonl", "replies replayed from a.jsonl"),
    ],
)
def test_a_name_is_put_into_words_without_opening_anything(spec: str, words: str) -> None:
    assert words in describe_model(spec)


def test_a_configured_model_that_was_removed_costs_words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALIST_MODEL", "builtin")
    choice = select_model()
    assert choice.spec == "evidence"
    assert "no longer part of anomalist" in (choice.missing or "")


def test_auto_without_a_configured_model_is_the_evidence_reasoner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANOMALIST_MODEL", raising=False)
    choice = select_model()
    assert choice.spec == "evidence"
    assert choice.why == "Reasoning: evidence (measurement only, no language model)."


def test_auto_takes_the_configured_model_where_it_is(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALIST_MODEL", script)
    assert select_model().spec == script
    assert "replies replayed" in select_model().why
    assert select_model("evidence").spec == "evidence"  # what is asked for by name comes first


@pytest.mark.parametrize(
    ("configured", "reason"),
    [
        ("scripted:gone.jsonl", "no file gone.jsonl"),
        ("hf:owner/unheard-of", "not on this machine"),
        ("openai:http://127.0.0.1:{port}/v1#m", "No model server answers at 127.0.0.1:{port}"),
        ("nonsense", "no kind of model"),
    ],
)
def test_auto_falls_back_in_one_line_that_says_why(
    configured: str, reason: str, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANOMALIST_MODEL", configured.format(port=closed_port))
    choice = select_model()
    assert choice.spec == "evidence"
    assert reason.format(port=closed_port) in choice.why
    assert "\n" not in choice.why


def test_looking_for_a_remote_server_announces_no_pictures(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ANOMALIST_MODEL", "openai:http://nowhere.invalid/v1#m")
    assert "No model server answers at nowhere.invalid" in select_model().why
    assert "leave this machine" not in caplog.text


def test_a_model_that_is_asked_for_by_name_is_never_swapped() -> None:
    assert select_model("hf:owner/unheard-of").spec == "hf:owner/unheard-of"
