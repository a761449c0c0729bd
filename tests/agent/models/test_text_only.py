"""Models that read text only: they write and choose, are never shown pictures, and may come as GGUF files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from pydantic import BaseModel, ConfigDict

from anomalist.agent.choice.model_choice import choose_by_model
from anomalist.agent.models.local import LocalChatModel, open_local
from anomalist.agent.models.selection import select_model
from anomalist.agent.models.structured import ask_structured
from anomalist.agent.models.text_only import find_gguf, takes_pictures
from anomalist.agent.reasoning.policy import load_policy
from anomalist.agent.reasoning.vlm_reasoner import VLMReasoner
from anomalist.errors import ModelError
from anomalist.types.common import Recall
from anomalist.types.image import Evidence, Media

AskAbout = Callable[..., list[BaseMessage]]


@pytest.fixture
def model(opened: Callable[..., LocalChatModel]) -> LocalChatModel:
    return opened("llama")


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid")

    label: Literal["normal", "anomalous"]
    sure: bool


def test_it_writes_json_by_schema_and_chooses_letters(model: LocalChatModel) -> None:
    talk = [SystemMessage("You inspect."), HumanMessage("Is it?"), AIMessage("Yes."), HumanMessage("Sure?")]

    said = ask_structured(model, talk, _Said, retries=0)
    choice = choose_by_model(model, talk, ("scratch", "crack"), seed=0)

    assert said.value is not None, said.problems
    assert choice.method == "logprobs"


def test_a_picture_is_refused_in_words(model: LocalChatModel, ask_about: AskAbout) -> None:
    with pytest.raises(ModelError, match="reads text only: it can't be shown pictures"):
        model.invoke(ask_about())
    assert not takes_pictures(model)


def test_a_model_that_sees_takes_pictures(opened: Callable[..., LocalChatModel]) -> None:
    assert takes_pictures(opened("llava"))


def test_about_pictures_the_verdict_is_by_measurement_and_says_why(
    model: LocalChatModel, media: Media, evidence: Callable[..., Evidence], region: Callable[..., object]
) -> None:
    seen = evidence(regions=[region()])

    verdict = VLMReasoner(model, "hf:words").judge(media, seen, Recall(), load_policy())

    assert verdict.reasoner.endswith("; hf:words was not asked: it reads text only")
    assert verdict.label == "anomalous"
    assert not verdict.replies


def test_a_conversation_longer_than_its_window_says_what_to_do(tmp_path: Path) -> None:
    from scripts.random_models import save_llama

    short = open_local(str(save_llama(tmp_path / "short", window=64)))
    with pytest.raises(ModelError, match=r"holds 64.*Ask about less at once"):
        short.invoke([HumanMessage("word " * 100)])


def test_a_gguf_file_that_cannot_be_read_is_one_clear_error(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    file = tmp_path / "damaged.gguf"
    file.write_bytes(b"GGUF" + bytes(60))

    for name in (file, tmp_path):
        with pytest.raises(ModelError, match=r"^damaged.gguf can't be read[^\n]*$"):
            open_local(str(name))


def test_of_a_folder_the_only_model_is_taken_and_of_several_none(tmp_path: Path) -> None:
    first = tmp_path / "a.Q4_1.gguf"
    first.touch()
    (tmp_path / "mmproj-a.gguf").touch()  # the part that sees, which only llama.cpp reads
    assert find_gguf(tmp_path) == first

    (tmp_path / "b.gguf").touch()
    with pytest.raises(ModelError, match=r"several GGUF files \(a.Q4_1.gguf, b.gguf\)"):
        find_gguf(tmp_path)


def test_a_missing_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "gguf", None)
    file = tmp_path / "a.gguf"
    file.write_bytes(b"GGUF")
    monkeypatch.setenv("ANOMALIST_MODEL", f"hf:{file}")

    choice = select_model()

    assert choice.spec == "evidence"
    assert "pip install gguf" in (choice.missing or "")
