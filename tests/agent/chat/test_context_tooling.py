from __future__ import annotations

import inspect
import json

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from anomalist.agent.chat.context import (
    MAX_RESULT_CHARS,
    StoredToolResult,
    as_langchain_tools,
    result_as_json,
    stored_tool_results,
)
from anomalist.agent.tools import TOOLS
from anomalist.agent.tools.subject import Subject
from anomalist.errors import DataError


def test_every_tool_is_described_by_its_docstring_and_typed_without_the_subject(one: Subject) -> None:
    bound = as_langchain_tools(lambda: one)
    assert [tool.name for tool in bound] == [tool.__name__ for tool in TOOLS]
    for tool, function in zip(bound, TOOLS, strict=True):
        assert tool.description == inspect.getdoc(function)
        assert list(tool.args) == list(inspect.signature(function).parameters)[1:]
        json.dumps(tool.args)


def test_results_are_json_with_their_ids(one: Subject) -> None:
    zoom = next(tool for tool in as_langchain_tools(lambda: one) if tool.name == "zoom")
    result = json.loads(zoom.invoke({"region": "R1"}))
    assert result["ids"] == ["R1"] and result["box"] == [40, 40, 90, 90]
    with pytest.raises(DataError, match="no R5"):
        zoom.invoke({"region": "R5"})


def test_a_tool_sees_what_the_conversation_is_about_right_now(one: Subject, three: Subject) -> None:
    now = [one]
    count = next(tool for tool in as_langchain_tools(lambda: now[0]) if tool.name == "search_records")
    assert json.loads(count.invoke({}))["searched"] == 1
    now[0] = three
    assert json.loads(count.invoke({}))["searched"] == 3


def test_a_long_result_is_cut_and_keeps_its_ids() -> None:
    text = result_as_json(StoredToolResult(ids=("case:7",), text="x" * 3 * MAX_RESULT_CHARS))
    assert len(text) < MAX_RESULT_CHARS + 50 and "cut" in text
    messages = [
        HumanMessage('{"ids": ["case:1"]}'),
        AIMessage('{"ids": ["case:2"]}'),
        ToolMessage(text, tool_call_id="1"),
    ]
    assert [result.ids for result in stored_tool_results(messages)] == [("case:7",)]
