"""Documents without pictures: the letter is that of the option that was called, or that a sentence says."""

from __future__ import annotations

import re

import numpy as np

from anomalist.training.small_model import questions
from anomalist.training.small_model.descriptions import KIND_NAMES
from anomalist.training.small_model.documents import draw_text_document, options_document, sentence_document

GROUPS = (
    KIND_NAMES,
    questions.TONE_NAMES,
    questions.SHAPE_NAMES,
    questions.DIRECTION_NAMES,
    questions.HUE_NAMES,
    questions.PLACE_NAMES,
)


def _meanings(name: str) -> set[tuple[str, ...]]:
    return {names for group in GROUPS for names in group.values() if name in names}


def test_who_calls_an_option_gets_its_letter() -> None:
    for seed in range(20):
        document = options_document(np.random.default_rng(seed))

        assert document.pictures == ()
        for (listed, *_), *turns in document.branches:
            options = dict(re.findall(r"^([A-J])\. (.+)$", listed, re.MULTILINE))
            assert len(options) >= 2
            for (called, *_), (letter, own, means) in zip(turns[::2], turns[1::2], strict=True):
                name = called.removeprefix("<|user|>").partition("<|end|>")[0]
                assert own
                right = _meanings(means) & _meanings(options[letter.removesuffix("<|end|>")])
                assert right & _meanings(name) if not name.startswith("R1") else right


def test_a_sentence_is_read_not_written_and_asked_about() -> None:
    for seed in range(20):
        document = sentence_document(np.random.default_rng(seed))
        ((said, own, _),) = document.beginning

        assert not own
        assert re.search(r"<\|assistant\|>R[1-3] shows .+\.<\|end\|>$", said)
        for (asked, *_), (letter, mine, means) in document.branches:
            assert asked.startswith("<|user|>")
            assert mine
            assert means
            assert re.fullmatch(r"[A-J]<\|end\|>", letter)


def test_both_kinds_are_drawn() -> None:
    drawn = [draw_text_document(np.random.default_rng(seed)) for seed in range(30)]
    lists = [document.beginning[0][0] == "<|user|>" for document in drawn]
    assert 5 < sum(lists) < 25
