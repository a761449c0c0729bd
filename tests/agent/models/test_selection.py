from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from anomalist.agent.models.selection import describe_model, open_model, reasoner_for, select_model
from anomalist.agent.reasoning.evidence_reasoner import EvidenceReasoner
from anomalist.agent.reasoning.vlm_prompts import Guidance
from anomalist.agent.reasoning.vlm_reasoner import VLMReasoner
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
    choice = select_model("hf:owner/unheard-of")
    assert choice.spec == "hf:owner/unheard-of"
    with pytest.raises(ModelError, match="not on this machine"):
        reasoner_for(choice.spec)


def test_reasoners_carry_the_name_of_their_model_and_what_the_user_said(script: str) -> None:
    guidance = Guidance(ignore=("dust",))
    reasoner = reasoner_for(script, guidance=guidance)
    assert isinstance(reasoner, VLMReasoner)
    assert (reasoner.name, reasoner.guidance) == (script, guidance)
    assert isinstance(reasoner_for("evidence", guidance=Guidance()), EvidenceReasoner)


def test_words_for_a_model_are_not_dropped_where_there_is_none() -> None:
    with pytest.raises(ModelError, match="Only a language model understands words"):
        reasoner_for("evidence", guidance=Guidance(watch=("cracks",)))


REASONER = """
from anomalist.agent.reasoning.evidence_reasoner import EvidenceReasoner
class Brief(EvidenceReasoner):
    def __init__(self):
        super().__init__(name="brief", digest="b1")
"""


def test_a_reasoner_of_another_package_is_selected_by_name_path_or_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "brief_reasoner-2.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brief-reasoner\nVersion: 2.5\n")
    (info / "entry_points.txt").write_text("[anomalist.reasoners]\nbrief = brief_reasoner:Brief\n")
    (tmp_path / "brief_reasoner.py").write_text(REASONER)
    monkeypatch.syspath_prepend(tmp_path)
    assert describe_model("brief") == "brief (brief-reasoner 2.5)"
    for name in ("brief", "brief_reasoner:Brief"):
        reasoner = reasoner_for(name)
        assert (reasoner.name, reasoner.digest) == ("brief", "b1")
    monkeypatch.setenv("ANOMALIST_MODEL", "brief")
    assert select_model().spec == "brief"
    with pytest.raises(ModelError, match="Only a language model understands words"):
        reasoner_for("brief", guidance=Guidance(watch=("rust",)))
    with pytest.raises(ModelError, match=r"no kind of model called 'brief'.*judges pictures only"):
        open_model("brief")
    monkeypatch.setenv("ANOMALIST_MODEL", "gone_reasoner:Brief")
    assert "there is no module gone_reasoner" in select_model().why
