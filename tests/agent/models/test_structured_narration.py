from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalist.agent.models.structured import SentenceStream

REPLY = {
    "scene": "A grey tile.",
    "observations": [{"text": 'A hole, about "9 px" wide: deep.', "evidence": ["R1"]}],
    "label": "anomalous",
    "kind": "missing material",
    "text_seen": [],
}


def told(*pieces: str) -> list[str]:
    sentences: list[str] = []
    narration = SentenceStream(sentences.append)
    for piece in pieces:
        narration.feed(piece)
    return sentences


@settings(max_examples=30)
@given(st.lists(st.integers(0, 400), max_size=8), st.booleans())
def test_sentences_are_told_however_the_reply_is_cut(cuts: list[int], indented: bool) -> None:
    text = json.dumps(REPLY, indent=2 if indented else None)
    ends = sorted(cut for cut in cuts if cut < len(text))
    pieces = [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]
    assert told(*pieces) == ["A grey tile.", 'A hole, about "9 px" wide: deep.']


@pytest.mark.parametrize(
    ("pieces", "sentences"),
    [
        (['{"a": "one two three"', "}"], ["one two three"]),
        (['{"a": "one two three'], []),  # not complete
        (['{"one two three": 1}'], []),  # a key
        (['I can\'t say "hello" to that.'], []),
        (['{"a": "cut of', '{"a": "one two three"}'], ["one two three"]),  # a broken reply, then a whole one
        (['{"a": "red \\u001b[31malert\\u0007 now"}'], ["red  [31malert  now"]),
        (['{"a": "tab\\tand\\nline"}'], ["tab and line"]),
        (["x" * 100_000, '{"a": "one two three"}'], ["one two three"]),
    ],
)
def test_what_is_told(pieces: list[str], sentences: list[str]) -> None:
    assert told(*pieces) == sentences
