"""Intents: the shipped vectors are those of the phrasings, and questions find what they are after."""

from __future__ import annotations

import re

import numpy as np
import pytest
from safetensors import safe_open

from anomalist.agent.asking.intents import CLASSIFIER_FILE, SubjectKind, classify_intent, examples, intents
from anomalist.agent.asking.question import read_question
from anomalist.eval.question_answering_set import read_questions
from anomalist.memory.embedding import load_encoder


def test_the_shipped_vectors_are_of_these_phrasings() -> None:
    texts, _, digest = examples(intents())
    with safe_open(str(CLASSIFIER_FILE), "numpy") as file:
        assert file.metadata()["texts"] == digest, "run scripts/build_intents.py"
        vectors = file.get_tensor("vectors")
    some = list(range(0, len(texts), 40))
    fresh = load_encoder().encode([texts[i] for i in some])
    np.testing.assert_allclose((vectors[some].astype(np.float32) * fresh).sum(1), 1, atol=1e-3)


def test_patterns_can_be_read_and_no_phrasing_is_twice() -> None:
    texts, _, _ = examples(intents())
    assert len(texts) == len(set(texts))
    for intent in intents().values():
        for pattern in intent.patterns:
            re.compile(pattern)


def test_no_question_that_is_kept_apart_is_a_phrasing() -> None:
    texts = {text.strip("?.! ").casefold() for text in examples(intents())[0]}
    assert not [
        question.text
        for question in read_questions().apart
        if question.text.strip("?.! ").casefold() in texts
    ]


@pytest.mark.parametrize(
    ("text", "about", "intent"),
    [
        ("wrong?", "picture", "verdict"),
        ("So there is nothing the matter with it, right?", "picture", "verdict"),
        ("in what place is the scratch", "picture", "where"),
        ("How come it was rejected? Why?", "picture", "why"),
        ("how tall is R2", "picture", "measure"),
        ("how many", "picture", "count"),
        ("what would happen at a false-alarm rate of 3 %?", "picture", "rate"),
        ("this is a dent, severity 2", "picture", "feedback"),
        ("is this a dent?", "picture", "kind"),
        ("What alloy is it?", "picture", "beyond"),
        ("who is the queen of Denmark", "picture", "beyond"),
        ("purple monkey dishwasher", "picture", "beyond"),
        ("when did it start", "clip", "when"),
        ("which tiles are broken?", "batch", "search"),
    ],
)
def test_intents(text: str, about: SubjectKind, intent: str) -> None:
    assert classify_intent(read_question(text), about).intent == intent
