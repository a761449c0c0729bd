"""Pictures ask the same memory, by a tiny CLIP of random weights that loads like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anomalist.errors import DataError, ModelError
from anomalist.memory.embedding import ContrastiveEncoder, PictureEncoder, load_picture_encoder
from anomalist.memory.scenes.memory import SceneMemory
from anomalist.memory.scenes.scene import apply_frame, framing_for
from anomalist.memory.scenes.store import SceneStore
from tests.memory.scenes.scene_cases import LetterPairEncoder, scene


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    from scripts.random_models import train_tokenizer

    place = tmp_path_factory.mktemp("tiny-clip")
    tokenizer = train_tokenizer(["<pad>", "<end>"], "<end>", "<pad>")
    tokenizer.save_pretrained(place)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**sizes, **ends, "vocab_size": len(tokenizer), "max_position_embeddings": 48},
        vision_config={**sizes, "image_size": 32, "patch_size": 16},
        projection_dim=24,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(place, safe_serialization=True)
    size = {"height": 32, "width": 32}
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=size).save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def encoder(folder: Path) -> ContrastiveEncoder:
    return load_picture_encoder(str(folder))


def pictures() -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.integers(0, 255, (40, 60, 3)).astype(np.uint8), np.zeros((32, 32, 3), np.uint8)]


def test_texts_and_pictures_share_a_space(encoder: ContrastiveEncoder) -> None:
    seen, said = encoder.encode_pictures(pictures()), encoder.encode(["a fire", "smoke " * 500, "\ud800"])
    assert (seen.shape, said.shape, encoder.dimensions) == ((2, 24), (3, 24), 24)
    for vectors in (seen, said):
        assert vectors.dtype == np.float32
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert not np.allclose(seen[0], seen[1], atol=1e-3)
    assert encoder.encode([]).shape == (0, 24)


def test_the_name_tells_weights_apart(encoder: ContrastiveEncoder) -> None:
    stem, _, digest = encoder.name.rpartition("-")
    assert stem.startswith("tiny-clip")
    assert len(digest) == 12


def test_the_sides_are_framed_apart_for_pictures(encoder: ContrastiveEncoder) -> None:
    assert isinstance(encoder, PictureEncoder)
    assert (framing_for(encoder), framing_for(LetterPairEncoder())) == ("apart", "none")
    assert apply_frame("A man is running.", "normal", "park", "apart") == "Normal scene: a person is running."
    told = apply_frame("A man in a cap runs away.", "anomalous", "running", "apart")
    assert told == "Anomalous scene: running, a person runs away."


def test_pictures_ask_the_memory(encoder: ContrastiveEncoder, tmp_path: Path) -> None:
    with SceneStore(tmp_path / "clip.sqlite", encoder) as store:
        store.add([scene("a fire"), scene("people walk", "normal", "street")])
        memory = SceneMemory(*store.scenes_and_vectors(), encoder=encoder)
    response = memory.score_vectors(encoder.encode_pictures(pictures()))
    assert response.scores.shape == (2,)
    assert all(each.memories and each.memories[0].side == each.side for each in response.rationale)
    with pytest.raises(DataError, match=r"made with tiny-clip.* not with letter pairs"):
        SceneStore(tmp_path / "clip.sqlite", LetterPairEncoder())


def test_what_is_no_such_model_is_refused(tmp_path: Path) -> None:
    for name in (str(tmp_path), "nobody/nothing"):
        with pytest.raises(ModelError, match=r"can't be loaded\. Name a folder"):
            load_picture_encoder(name)
