"""The scenes that ship: enough, varied, in step with their vectors and with the files they are built from."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from anomalist.errors import DataError
from anomalist.memory.embedding import SentenceEncoder
from anomalist.memory.scenes import scene
from anomalist.memory.scenes.scene import (
    SENTENCE_FRAMING,
    apply_frame,
    shipped_pairs,
    shipped_scene_vectors,
    shipped_scenes,
)
from tests.memory.scenes.scene_cases import LetterPairEncoder

BUILDER = Path(__file__).parents[3] / "scripts" / "build_scenes.py"


def test_there_are_enough_of_many_categories() -> None:
    pairs = shipped_pairs()
    assert len(pairs) >= 3000
    places = Counter(pair.normal.category for pair in pairs)
    kinds = Counter(pair.anomalous.category for pair in pairs)
    assert len(places) >= 25
    assert len(kinds) >= 25
    assert {"street", "shop", "station hall", "factory", "home", "road", "warehouse"} <= set(places)
    assert max(places.values()) < len(pairs) / 20
    assert max(kinds.values()) < len(pairs) / 10


def test_nothing_is_told_twice() -> None:
    for side in ("normal", "anomalous"):
        texts = [apply_frame(s.text, s.side, s.category, "none") for s in shipped_scenes() if s.side == side]
        assert len(set(texts)) > 0.97 * len(texts)


def test_few_scenes_are_nearly_the_same() -> None:
    vectors = shipped_scene_vectors()[np.random.default_rng(0).permutation(7000)[:2000]]
    alike = vectors @ vectors.T - 2 * np.eye(len(vectors), dtype=np.float32)
    assert (alike.max(1) > 0.95).mean() < 0.2


def test_every_sentence_reads_as_one() -> None:
    for each in shipped_scenes():
        assert each.text[0].isupper()
        assert each.text.endswith(".")
        assert "{" not in each.text
        words = each.text.lower().split()
        assert not [word for word, after in pairwise(words) if word == after], each.text


def test_the_vectors_are_those_of_the_sentences(encoder: SentenceEncoder) -> None:
    rows = [0, 1, 2500, 6999]
    scenes = [shipped_scenes()[row] for row in rows]
    again = encoder.encode([apply_frame(s.text, s.side, s.category, SENTENCE_FRAMING) for s in scenes])
    assert np.abs(again - shipped_scene_vectors()[rows]).max() < 2e-3
    assert np.linalg.norm(shipped_scene_vectors(), axis=1) == pytest.approx(1, abs=1e-5)


def test_they_are_what_the_builder_makes() -> None:
    spec = importlib.util.spec_from_file_location("build_scenes", BUILDER)
    assert spec
    assert spec.loader
    builder = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["build_scenes"] = builder  # dataclasses look their module up
    spec.loader.exec_module(builder)
    assert builder.as_text(builder.build()) == scene.SCENES.read_text(encoding="utf-8")


@pytest.fixture
def reread() -> Iterator[None]:
    """The vectors are read once for all; here and afterwards anew."""
    scene._sentence_vectors.cache_clear()
    yield
    scene._sentence_vectors.cache_clear()


@pytest.mark.usefixtures("reread")
def test_vectors_of_other_sentences_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "scenes.jsonl"
    text = scene.SCENES.read_text(encoding="utf-8")
    other.write_text(text.replace("bicycle", "unicycle"), encoding="utf-8")
    monkeypatch.setattr(scene, "SCENES", other)
    with pytest.raises(DataError, match="not those of the sentences"):
        shipped_scene_vectors()


@pytest.mark.usefixtures("reread")
def test_vectors_cut_short_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = tmp_path / "scenes.safetensors"
    cut.write_bytes(scene.VECTORS.read_bytes()[:100_000])
    monkeypatch.setattr(scene, "VECTORS", cut)
    with pytest.raises(DataError, match="can't be read"):
        shipped_scene_vectors()


def test_another_encoder_embeds_them_once() -> None:
    encoder = LetterPairEncoder()
    first = shipped_scene_vectors(encoder)
    assert first.shape == (len(shipped_scenes()), 64)

    class Forgetful(LetterPairEncoder):
        def encode(self, texts: object) -> np.ndarray:
            raise AssertionError("embedded again")

    assert (shipped_scene_vectors(Forgetful()) == first).all()
