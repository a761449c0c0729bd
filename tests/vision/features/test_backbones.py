"""Working sizes, patch descriptors from transformers backbones, and the device that they run on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anomalist.errors import DetectorError, MediaError
from anomalist.types.common import UInt8Array
from anomalist.vision.features.backbones import (
    TransformersBackbone,
    as_tensor,
    resolve_device,
    to_working_size,
    uses_bfloat16,
)
from anomalist.vision.features.extractor import FeatureExtractor, shipped_network


def noise(height: int, width: int, seed: int = 0) -> UInt8Array:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# --- working size -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "working"),
    [
        ((16, 16), (32, 32)),
        ((64, 64), (128, 128)),  # enlarged twofold at most
        ((100, 100), (192, 192)),
        ((192, 192), (192, 192)),
        ((256, 256), (256, 256)),
        ((384, 384), (384, 384)),
        ((250, 260), (256, 256)),
        ((512, 512), (384, 384)),
        ((1024, 2048), (256, 544)),
        ((3000, 3000), (384, 384)),
        ((16, 4000), (32, 2304)),  # however narrow, it is not longer than this
        ((30_000, 20), (2304, 32)),
    ],
)
def test_pictures_are_looked_at_in_a_size_that_the_network_takes(
    size: tuple[int, int], working: tuple[int, int]
) -> None:
    resized = to_working_size(np.zeros((*size, 3), np.uint8))
    assert resized.shape == (*working, 3)
    assert resized.dtype == np.uint8


def test_a_picture_of_the_right_size_is_left_alone() -> None:
    picture = noise(256, 320)
    assert np.array_equal(to_working_size(picture), picture)


def test_reducing_averages_and_enlarging_interpolates() -> None:
    assert to_working_size(noise(768, 768)).std() < 0.6 * noise(768, 768).std()
    half = np.zeros((64, 64, 3), np.uint8)
    half[:, 32:] = 200
    enlarged = to_working_size(half)
    assert enlarged[:, :62].max() == 0
    assert enlarged[:, 66:].min() == 200


@pytest.mark.parametrize("size", [(1, 1), (15, 400), (400, 15)])
def test_specks_are_refused_by_their_size(size: tuple[int, int]) -> None:
    with pytest.raises(MediaError, match=f"{size[1]}×{size[0]} pixels. At least 16"):
        to_working_size(np.zeros((*size, 3), np.uint8))


# --- as a tensor ------------------------------------------------------------------------------------------


def test_pictures_become_one_tensor_channels_first_from_0_to_1() -> None:
    pictures = [noise(4, 6), noise(4, 6, seed=1)]
    tensor = as_tensor(pictures)
    assert tensor.shape == (2, 3, 4, 6)
    assert tensor[1, 2, 3, 5].item() == pytest.approx(pictures[1][3, 5, 2] / 255)
    assert tensor.is_contiguous(memory_format=torch.channels_last)


# --- transformers backbones: tiny models of real architectures with random weights ------------------------

SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}


def _models() -> dict[str, Any]:
    import transformers as t

    vision = {**SMALL, "image_size": 64, "patch_size": 32}
    dino = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
    stages = {"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]}
    both = t.CLIPConfig(text_config={**SMALL, "vocab_size": 50_000}, vision_config=vision, projection_dim=8)
    return {
        "dinov2": t.Dinov2Model(t.Dinov2Config(**dino, image_size=56, patch_size=14)),
        "convnext": t.ConvNextModel(t.ConvNextConfig(**stages)),
        "resnet": t.ResNetModel(t.ResNetConfig(**stages, embedding_size=8, layer_type="basic")),
        "clip": t.CLIPModel(both),
        "clip vision": t.CLIPVisionModel(t.CLIPVisionConfig(**vision)),
        "siglip vision": t.SiglipVisionModel(t.SiglipVisionConfig(**vision)),
        "bert": t.BertModel(t.BertConfig(**SMALL, vocab_size=50)),
    }


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of model folders."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for name, model in _models().items():
        model.save_pretrained(folder / name)
    return folder


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("dinov2", (18, 18, 16)),
        ("convnext", (32, 32, 8)),
        ("resnet", (32, 32, 8)),
        ("clip", (8, 8, 16)),
        ("clip vision", (8, 8, 16)),
        ("siglip vision", (8, 8, 16)),
    ],
)
def test_a_backbone_describes_patches_in_their_places(
    models: Path, name: str, shape: tuple[int, int, int]
) -> None:
    backbone = TransformersBackbone(str(models / name))
    plain = np.full((200, 200, 3), 120, np.uint8)
    marked = plain.copy()
    marked[10:35, 160:190] = noise(25, 30)  # upper right
    before, after = backbone.describe([plain, marked])
    assert before.shape == shape
    assert before.dtype == np.float32
    assert np.linalg.norm(before, axis=2) == pytest.approx(1, abs=1e-5)
    row, column = np.unravel_index(np.linalg.norm(after - before, axis=2).argmax(), shape[:2])
    assert row < shape[0] / 3
    assert column >= shape[1] * 2 / 3


def test_descriptors_are_the_same_after_loading_again_and_for_any_batch(models: Path) -> None:
    pictures = [noise(100, 150), noise(300, 260, seed=1)]
    backbone, again = (TransformersBackbone(str(models / "dinov2")) for _ in range(2))
    together = backbone.describe(pictures)
    assert np.array_equal(together, again.describe(pictures))
    assert together[1:] == pytest.approx(backbone.describe(pictures[1:]), abs=1e-5)


def test_pictures_are_standardised_as_the_backbone_was_trained(models: Path) -> None:
    folder = models / "clip vision"
    backbone = TransformersBackbone(str(folder))
    settings = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.5, 0.5]}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    told = TransformersBackbone(str(folder))
    (folder / "preprocessor_config.json").unlink()
    assert not np.allclose(backbone.describe([noise(64, 64)]), told.describe([noise(64, 64)]), atol=1e-3)


@pytest.mark.parametrize("text", ["{", "[]", '{"image_mean": [0.5]}', '{"image_std": "x"}'])
def test_damaged_settings_of_a_backbone_are_refused(models: Path, text: str) -> None:
    file = models / "resnet" / "preprocessor_config.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DetectorError, match=r"preprocessor_config\.json is damaged"):
        TransformersBackbone(str(models / "resnet"))
    file.unlink()


def test_a_name_that_is_not_on_this_machine_tells_how_to_get_it() -> None:
    with pytest.raises(DetectorError, match=r"hf download facebook/dinov2-none$"):
        TransformersBackbone("facebook/dinov2-none")


@pytest.mark.parametrize("spelling", ["{folder}", "{folder}/none", "./none", "~/none"])
def test_a_folder_without_a_model_is_refused(spelling: str, tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match=r"is not a model folder: it has no config\.json"):
        TransformersBackbone(spelling.format(folder=tmp_path))


def test_a_language_model_is_refused(models: Path) -> None:
    with pytest.raises(DetectorError, match="not a vision model: it reads input_ids"):
        TransformersBackbone(str(models / "bert"))


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("damage", ["cut", "nonsense"])
def test_a_damaged_backbone_is_refused(models: Path, tmp_path: Path, file: str, damage: str) -> None:
    for source in (models / "dinov2").iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    whole = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"nonsense")
    with pytest.raises(DetectorError, match="can't be loaded"):
        TransformersBackbone(str(tmp_path))


def test_weights_as_pickles_are_refused(models: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((models / "dinov2" / "config.json").read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(DetectorError, match="can't be loaded"):
        TransformersBackbone(str(tmp_path))


# --- devices ----------------------------------------------------------------------------------------------


def devices(monkeypatch: pytest.MonkeyPatch, *, cuda: bool = False, mps: bool = False) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "device"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_the_fastest_device(
    cuda: bool, mps: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices(monkeypatch, cuda=cuda, mps=mps)
    assert resolve_device("auto") == torch.device(device)
    assert resolve_device() == torch.device(device)
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    devices(monkeypatch)
    with pytest.raises(DetectorError, match=rf"The device {name} is not there.*--device auto"):
        resolve_device(name)
    monkeypatch.setenv("ANOMALIST_DEVICE", name.upper())
    with pytest.raises(DetectorError, match=f"The device {name} is not there"):
        resolve_device()


def test_an_unknown_device_is_an_error() -> None:
    with pytest.raises(DetectorError, match=r"The device tpu is unknown. Known: auto, cpu, cuda, mps."):
        resolve_device("tpu")


def test_the_setting_says_what_networks_run_on(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALIST_DEVICE", "cuda")
    devices(monkeypatch)
    for open_one in (shipped_network, lambda: TransformersBackbone(str(models / "resnet"))):
        with pytest.raises(DetectorError, match="The device cuda is not there"):
            open_one()
    monkeypatch.setenv("ANOMALIST_DEVICE", "cpu")
    devices(monkeypatch, cuda=True)
    assert FeatureExtractor(shipped_network()).device == torch.device("cpu")


def test_bfloat16_is_used_where_the_hardware_multiplies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for able in (True, False):
        monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda able=able, **_: able)
        monkeypatch.setattr("torch.cpu.get_capabilities", lambda able=able: {"amx_bf16": able})
        assert uses_bfloat16(torch.device("cuda")) is able
        assert uses_bfloat16(torch.device("cpu")) is able
        assert not uses_bfloat16(torch.device("mps"))
