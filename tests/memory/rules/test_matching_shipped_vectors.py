"""The vectors that ship are those of the rules that ship; others are never used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from anomalist.memory.embedding import SentenceEncoder
from anomalist.memory.rules import matching
from anomalist.memory.rules.matching import RuleMatcher, encode_with_shipped, write_rule_vectors
from anomalist.memory.rules.rule import shipped_anomalies, usual_clauses
from anomalist.memory.rules.statements import plain_form
from anomalist.types.common import FloatArray
from tests.memory.scenes.scene_cases import LetterPairEncoder


class Counting:
    """The sentence encoder, which remembers what it had to embed."""

    def __init__(self, encoder: SentenceEncoder) -> None:
        self._encoder = encoder
        self.name, self.dimensions = encoder.name, encoder.dimensions
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> FloatArray:
        self.asked += texts
        return self._encoder.encode(texts)


def plain() -> list[str]:
    return [plain_form(text) for text in (*(rule.text for rule in shipped_anomalies()), *usual_clauses())]


def test_they_are_those_of_the_texts(encoder: SentenceEncoder) -> None:
    counting = Counting(encoder)
    assert np.abs(encode_with_shipped(plain(), counting) - encoder.encode(plain())).max() < 1e-5
    assert counting.asked == [], "run scripts/build_rules.py"


def test_only_what_does_not_ship_is_embedded(encoder: SentenceEncoder) -> None:
    counting = Counting(encoder)
    texts = [plain()[0], "a zebra crosses", plain()[1], "a zebra crosses"]
    assert np.abs(encode_with_shipped(texts, counting) - encoder.encode(texts)).max() < 1e-5
    assert counting.asked == ["a zebra crosses"]
    assert encode_with_shipped([], counting).shape == (0, 384)
    RuleMatcher(encoder=counting)
    assert counting.asked == ["a zebra crosses"]


@pytest.mark.parametrize("damage", ["stale", "cut", "missing"])
def test_a_file_of_other_rules_is_not_used(
    encoder: SentenceEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    path = tmp_path / "rules.safetensors"
    with monkeypatch.context() as before:
        before.setattr(matching, "usual_clauses", lambda: ("something else is usual",))
        write_rule_vectors(path)
    if damage == "cut":
        path.write_bytes(matching.VECTORS.read_bytes()[:1000])
    if damage == "missing":
        path.unlink()
    monkeypatch.setattr(matching, "VECTORS", path)
    counting = Counting(encoder)
    encode_with_shipped(plain()[:3], counting)
    assert counting.asked == plain()[:3]


def test_another_encoder_embeds_for_itself() -> None:
    assert (
        encode_with_shipped(plain()[:3], LetterPairEncoder()) == LetterPairEncoder().encode(plain()[:3])
    ).all()
