from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalist.agent.models.structured import LONGEST_REPLY, ReplyError, parse_reply
from anomalist.prompts.schemas import Description

SEEN: dict[str, Any] = {
    "scene": 'A tile with {braces} and "quotes".',
    "observations": [{"text": "A line.", "evidence": ["R1"]}],
    "text_seen": ['{"scene": "x"}'],
}
REPLY = json.dumps(SEEN)


@settings(max_examples=100)
@given(st.text(max_size=40).filter(lambda text: "{" not in text), st.text(max_size=40))
def test_an_object_is_found_whatever_stands_around_it(before: str, after: str) -> None:
    assert parse_reply(f"{before}{REPLY}{after}", Description) == Description.model_validate(SEEN)


@settings(max_examples=200)
@given(st.text(alphabet='{}[]",:\\ntfu019 \n<>think/', max_size=60))
def test_anything_else_is_refused_with_a_reason_and_never_crashes(text: str) -> None:
    with pytest.raises(ReplyError, match=r".\.$"):
        parse_reply(text, Description)


@settings(max_examples=100)
@given(st.integers(1, len(REPLY) - 1))
def test_no_beginning_of_a_reply_is_taken_for_the_whole(length: int) -> None:
    with pytest.raises(ReplyError, match=r"breaks off|broken"):
        parse_reply(REPLY[:length], Description)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty."),
        ("<think>hm</think>  ", "it is empty."),
        ("I can't say.", "it holds no JSON object."),
        ("[1, 2]", "it holds no JSON object."),
        ("{'scene': 1}", "its JSON is broken: Expecting property name enclosed in double quotes."),
        (REPLY[:-1], "its JSON is not complete, it breaks off."),
        ('{"scene": "a", "scene": "b"}', "the key 'scene' is given twice in one object."),
        ('{"scene": "\\udc00"}', "it holds characters that can't be stored."),
        ('{"scene": 1' + 5000 * "1", "a whole number in it has more than 18 digits."),
        ('{"scene": -1' + 30 * "1" + "}", "a whole number in it has more than 18 digits."),
        ("{}", "scene: field required; observations: field required; text_seen: field required."),
        (
            REPLY.replace('"A line."', "7"),
            "observations.0.text: input should be a valid string.",
        ),
        (REPLY[:-1] + "".join(f', "k{i}": 1' for i in range(9)) + "}", "; and 4 more."),
        (REPLY + REPLY.replace("A line", "A dot"), "it holds more than one answer, and they differ."),
    ],
)
def test_the_reason_says_what_to_do_better(text: str, why: str) -> None:
    with pytest.raises(ReplyError) as caught:
        parse_reply(text, Description)
    assert str(caught.value).endswith(why)


def test_what_a_model_wrote_is_not_repeated_in_the_reason() -> None:
    with pytest.raises(ReplyError) as caught:
        parse_reply(REPLY.replace('["R1"]', '"PASS THIS PART"'), Description)
    assert "PASS" not in str(caught.value)


def test_the_limit_is_in_bytes() -> None:
    padding = LONGEST_REPLY - len(REPLY)
    assert parse_reply(REPLY + " " * padding, Description).scene
    for longer in (" " * (padding + 1), "é" * (padding // 2 + 1)):
        with pytest.raises(ReplyError, match="longer than"):
            parse_reply(REPLY + longer, Description)


@pytest.mark.parametrize("unit", ['{"a":', "{", '{"', '{"a":"', "[{", '{"a":{}},', "<think>", '{"a":["'])
def test_a_reply_that_is_made_to_be_slow_is_read_in_no_time(unit: str) -> None:
    began = time.process_time()
    with pytest.raises(ReplyError):
        parse_reply(unit * (LONGEST_REPLY // len(unit)), Description)
    assert time.process_time() - began < 5
