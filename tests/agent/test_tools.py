"""Every tool can be told to a model: the subject first, then simple arguments, a docstring, a record back."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable

import pytest

from anomalist.agent.tools import TOOLS
from anomalist.agent.tools.subject import Result, Subject


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.__name__)
def test_a_tool_is_plain(tool: Callable[..., Result]) -> None:
    hints = typing.get_type_hints(tool)
    first, *others = inspect.signature(tool).parameters.values()
    assert hints[first.name] is Subject
    assert issubclass(hints["return"], Result)
    assert tool.__doc__
    for parameter in others:
        assert parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        assert "Subject" not in str(hints[parameter.name])
