from __future__ import annotations

from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage

from anomalist.agent.models.scripted import open_scripted
from anomalist.agent.models.structured import user_message
from anomalist.errors import ModelError
from anomalist.prompts.templates import Prompt

HELLO = [HumanMessage("Hello")]


def write(folder: Path, text: str) -> str:
    path = folder / "replies.jsonl"
    path.write_text(text, encoding="utf-8")
    return str(path)


def asked(name: str) -> list[HumanMessage]:
    return [user_message(Prompt(name, "00", "?"))]


def test_replies_come_in_order_and_start_again_after_the_last(tmp_path: Path) -> None:
    model = open_scripted(write(tmp_path, '# a note\n{"reply": "one"}\n\n{"reply": "two"}\n'))
    assert [model.invoke(HELLO).text for _ in range(3)] == ["one", "two", "one"]


def test_an_object_is_said_as_json_and_text_as_it_is(tmp_path: Path) -> None:
    model = open_scripted(write(tmp_path, '{"reply": {"größe": [1]}}\n{"reply": "{broken"}'))
    assert [model.invoke(HELLO).text for _ in range(2)] == ['{"größe": [1]}', "{broken"]


def test_a_reply_can_be_kept_for_a_prompt(tmp_path: Path) -> None:
    rows = '{"prompt": "judge.v1", "reply": "j"}\n{"prompt": "describe.v1", "reply": "d"}\n{"reply": "any"}'
    model = open_scripted(write(tmp_path, rows))
    asking = ["describe.v1", "judge.v1", "judge.v1", "describe.v1", "other.v1"]
    assert [model.invoke(asked(name)).text for name in asking] == ["d", "any", "j", "d", "any"]


def test_a_prompt_without_a_reply_is_an_error(tmp_path: Path) -> None:
    model = open_scripted(write(tmp_path, '{"prompt": "judge.v1", "reply": "j"}'))
    with pytest.raises(ModelError, match=r"no reply to the prompt describe\.v1"):
        model.invoke(asked("describe.v1"))


@pytest.mark.parametrize("text", ["", "a", "word " * 30])
def test_it_streams_what_it_says(text: str, tmp_path: Path) -> None:
    model = open_scripted(write(tmp_path, f'{{"reply": "{text}"}}'))
    pieces = [chunk.text for chunk in model.stream(HELLO)]
    assert "".join(pieces) == text
    assert (sum(map(bool, pieces)) > 1) == (len(text) > 40)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no replies"),
        ("# only a note\n", "holds no replies"),
        ('{"reply": "ok"}\n{"reply": ', "Line 2 "),
        ('{"replies": []}', "Line 1 "),
        ('{"reply": 7}', "Line 1 "),
        ('"just text"', "Line 1 "),
        ('{"reply": "a", "picture": "b"}', "Line 1 "),
    ],
)
def test_a_mistake_in_the_script_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        open_scripted(write(tmp_path, text))
    assert "replies.jsonl" in caught.value.message


def test_a_script_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "latin.jsonl").write_bytes(b'{"reply": "\xff"}')
    with pytest.raises(ModelError, match="not UTF-8"):
        open_scripted(str(tmp_path / "latin.jsonl"))
    with pytest.raises(ModelError, match="can't be read: No such file"):
        open_scripted(str(tmp_path / "none.jsonl"))
    with pytest.raises(ModelError, match="can't be read: Is a directory"):
        open_scripted(str(tmp_path))
