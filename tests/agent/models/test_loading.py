"""What is on this machine, opened; and everything that can be wrong with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from langchain_core.messages import BaseMessage
from safetensors.torch import load_file, save_file

from anomalist.agent.models.loading import (
    catch_out_of_memory,
    local_folder,
    memory_remedy,
    weights_digest,
)
from anomalist.agent.models.local import LocalChatModel, open_local
from anomalist.errors import ModelError

TinyModel = Callable[[str], Path]
Opened = Callable[..., LocalChatModel]
AskAbout = Callable[..., list[BaseMessage]]


def edited(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None takes one away."""
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


@pytest.fixture
def copied(tiny_model: TinyModel, tmp_path: Path) -> Path:
    """A folder of an Idefics3 model that a test may damage."""
    return Path(shutil.copytree(tiny_model("idefics3"), tmp_path / "copy"))


@pytest.mark.parametrize("quantisation", ["nf4", "int8"])
@pytest.mark.parametrize("family", ["idefics3", "qwen2_5_vl"])
def test_a_quantisation_leaves_vision_tower_and_head_in_16_bit(
    opened: Opened, family: str, quantisation: str
) -> None:
    network = opened(family, quantisation).network
    linear = {name: module for name, module in network.named_modules() if isinstance(module, torch.nn.Linear)}
    quantised = {name for name, module in linear.items() if type(module) is not torch.nn.Linear}
    decoder = next(name for name, module in network.named_modules() if module is network.get_decoder())
    assert quantised == {name for name in linear if name.startswith(f"{decoder}.")}
    assert len(quantised) == 14
    assert {linear[name].weight.dtype for name in linear.keys() - quantised} == {torch.bfloat16}
    assert "lm_head" in linear.keys() - quantised


@pytest.mark.parametrize(
    ("dtype", "expected"), [("auto", "float32"), ("bfloat16", "bfloat16"), ("float16", "float16")]
)
def test_weights_are_loaded_as_asked(
    tiny_model: TinyModel, ask_about: AskAbout, dtype: Any, expected: str
) -> None:
    model = open_local(str(tiny_model("llava")), dtype=dtype)
    assert model.dtype == expected
    assert model.invoke(ask_about(), max_tokens=2).text is not None


def test_a_model_saved_quantised_opens_as_it_is(opened: Opened, copied: Path, ask_about: AskAbout) -> None:
    first = opened("idefics3", "nf4")
    (copied / "model.safetensors").unlink()
    first.network.save_pretrained(copied)
    again = open_local(str(copied))
    assert again.invoke(ask_about(), max_tokens=8).text == first.invoke(ask_about(), max_tokens=8).text
    with pytest.raises(ModelError, match="quantised already"):
        open_local(str(copied), quantisation="int8")


@pytest.mark.parametrize("family", ["idefics3", "smolvlm", "qwen2_5_vl", "qwen3_vl"])
def test_fewer_pixels_take_fewer_tokens(tiny_model: TinyModel, ask_about: AskAbout, family: str) -> None:
    def tokens(max_pixels: int | None) -> int:
        model = open_local(str(tiny_model(family)), max_pixels=max_pixels)
        usage = model.invoke(ask_about(), max_tokens=1).usage_metadata
        assert usage is not None
        return usage["input_tokens"]

    assert tokens(28 * 28) < tokens(None)


def test_the_digest_is_that_of_all_files_that_matter(copied: Path, tiny_model: TinyModel) -> None:
    first = weights_digest(tiny_model("idefics3"))
    (copied / "README.md").write_text("new")
    assert weights_digest(copied) == first == open_local(str(copied)).digest
    (copied / "chat_template.jinja").write_text("new")
    assert weights_digest(copied) != first


def test_a_model_that_is_not_here_names_the_command_that_fetches_it() -> None:
    with pytest.raises(ModelError, match=r"not on this machine.*anomalist models pull nobody/nothing"):
        open_local("nobody/nothing")


@pytest.mark.parametrize("name", ["./missing", "/no/such/folder", "~/no/such", "a/b/c"])
def test_a_missing_folder_is_not_mistaken_for_a_name(name: str) -> None:
    with pytest.raises(ModelError, match="There is no folder"):
        local_folder(name)


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    with pytest.raises(ModelError, match="is a file, not the folder of a model or a GGUF file"):
        open_local(str(tmp_path / "model.bin"))


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _half_downloaded(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _cut_in_half(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def _without_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights.pop("model.connector.modality_projection.proj.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _of_another_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["intermediate_size"] *= 2
    (folder / "config.json").write_text(json.dumps(config))


def _foreign_code(folder: Path) -> None:
    edited(folder / "config.json", model_type="own", auto_map={"AutoConfig": "own.Config"})
    (folder / "own.py").write_text("raise SystemExit('foreign code ran')")


def _text_only(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())["text_config"]
    (folder / "config.json").write_text(json.dumps(config))


def _unknown_kind(folder: Path) -> None:
    edited(folder / "config.json", model_type="of-the-future")


def _no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_no_config, "no config.json"),
        (_pickled, "pickles"),
        (_no_weights, "model.safetensors is missing"),
        (_half_downloaded, "model-00002-of-00002.safetensors is missing"),
        (_cut_in_half, "can't be loaded"),
        (_without_a_weight, "1 lack, as model.connector"),
        (_of_another_size, "don't belong to its config|can't be loaded"),
        (_foreign_code, "no foreign code is run"),
        (_text_only, "don't belong to its config"),
        (_unknown_kind, "of-the-future"),
        (_no_tokenizer, "processor of"),
        (_broken_config, "can't be read"),
    ],
)
def test_a_damaged_folder_is_one_clear_error(copied: Path, damage: Callable[[Path], None], told: str) -> None:
    damage(copied)
    with pytest.raises(ModelError, match=told) as caught:
        open_local(str(copied))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_a_model_without_a_chat_template_says_so(copied: Path, ask_about: AskAbout) -> None:
    (copied / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="chat template"):
        open_local(str(copied)).invoke(ask_about(), max_tokens=1)


@pytest.mark.parametrize(
    "options", [{"quantisation": "int3"}, {"dtype": "float8"}, {"max_pixels": 0}], ids=str
)
def test_an_unknown_option_is_an_error(tiny_model: TinyModel, options: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=str(next(iter(options.values())))):
        open_local(str(tiny_model("idefics3")), **options)


@pytest.mark.parametrize(("quantisation", "told"), [(None, "quantisation=nf4"), ("nf4", "a smaller model")])
def test_out_of_memory_names_the_smaller_option(quantisation: Any, told: str) -> None:
    remedy = memory_remedy(quantisation, pictures=True)
    with (
        pytest.raises(ModelError, match=f"more memory than there is.*{told}.*max_pixels"),
        catch_out_of_memory("Asking", remedy),
    ):
        torch.empty(1 << 60, dtype=torch.uint8)


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    with pytest.raises(RuntimeError, match="mat1"), catch_out_of_memory("Asking", ""):
        torch.ones(2, 3) @ torch.ones(2, 3)
