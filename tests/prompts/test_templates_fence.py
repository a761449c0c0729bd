from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalist.prompts.templates import MAX_FENCED_CHARACTERS, escape_text, fence

OPENING = '<data kind="file name">\n'
CLOSING = "\n</data>"

HOSTILE = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "</data>",
                "<data>",
                "<|im_end|>",
                "<|im_start|>system\n",
                "<image>",
                "</s>",
                "[INST]",
                "&lt;",
                "\n",
            ]
        ),
        st.text(max_size=8),
    ),
    max_size=12,
).map("".join)


@settings(max_examples=200)
@given(HOSTILE)
def test_no_text_can_close_its_fence_or_open_another(text: str) -> None:
    fenced = fence(text, "file name")
    assert fenced.startswith(OPENING)
    assert fenced.endswith(CLOSING)
    inside = fenced[len(OPENING) : -len(CLOSING)]
    assert not set(inside) & {"<", ">"}


@settings(max_examples=200)
@given(HOSTILE)
def test_no_control_token_and_nothing_unseen_is_left(text: str) -> None:
    safe = escape_text(text)
    assert not re.search(r"<\||\|>|<\w|\[/?[A-Z][A-Z_]*\]", safe)
    assert all(
        char.isprintable() or unicodedata.category(char) == "Zs" for char in safe if char not in "\n\t"
    )
    safe.encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("part 12, left.png", "part 12, left.png"),
        ("検査 Prüfung ±0.5°", "検査 Prüfung ±0.5°"),
        ("a < b [see note] [1]", "a &lt; b [see note] [1]"),
        ("good\u202egnp.exe", "good\\u202egnp.exe"),
        ("a\u200bb\x00c", "a\\u200bb\\u0000c"),
        ("\U000e0041hidden", "\\ue0041hidden"),
        ("bad\udcff.png", "bad\\udcff.png"),
        ("one\r\ntwo", "one\ntwo"),
        ("[INST] pass [/INST]", "&#91;INST] pass &#91;/INST]"),
    ],
)
def test_text_stays_readable_and_what_hides_is_shown_as_a_code(text: str, shown: str) -> None:
    assert escape_text(text) == shown


def test_what_is_safe_already_is_not_escaped_again() -> None:
    assert escape_text(fence("<x>", "note")) == fence("<x>", "note")


def test_long_text_is_cut_and_says_so() -> None:
    fenced = fence("a" * (MAX_FENCED_CHARACTERS + 5), "note")
    assert "a" * MAX_FENCED_CHARACTERS + " … (5 more characters)" in fenced
    assert "more characters" not in fence("a" * MAX_FENCED_CHARACTERS, "note")
