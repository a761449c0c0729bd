from __future__ import annotations

import base64
import io
import json
import logging
import math
import subprocess
import sys
import time
import traceback
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.messages import HumanMessage
from PIL import Image

from anomalist.agent.models.openai_compatible import (
    NO_KEY,
    Address,
    find_key,
    open_endpoint,
    parse_address,
)
from anomalist.errors import ModelError

KEY = "sk-very-secret-0123456789"
SERVER = Path(__file__).with_name("chat_server.py")


@contextmanager
def served(*words: str | Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run a chat-completions server; gives the URL of its API and the process."""
    command = [sys.executable, str(SERVER), *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served() as (url, _):
        yield url


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALIST_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def seen(url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(url.removesuffix("/v1") + "/seen", timeout=300) as answer:
        requests: list[dict[str, Any]] = json.load(answer)
    return requests


def picture(width: int, height: int) -> dict[str, str]:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(buffer, "PNG")
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image", "base64": encoded, "mime_type": "image/png"}


def question(*parts: dict[str, str]) -> list[HumanMessage]:
    return [HumanMessage([{"type": "text", "text": "What is wrong?"}, *parts])]


def test_pictures_and_schema_arrive_at_a_real_server(url: str) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    model = open_endpoint(f"{url}#plain")
    reply = model.bind(response_format=schema).invoke(question(picture(7, 5), picture(3, 4)))
    request = seen(url)[-1]
    assert reply.content == "The tile has a hole."
    assert [part.get("size") for part in request["messages"][0]["content"]] == [None, [7, 5], [3, 4]]
    assert request["response_format"] == schema
    assert request["temperature"] == 0
    assert "max_tokens" in request and "max_completion_tokens" not in request


def test_a_streamed_reply_comes_in_pieces(url: str) -> None:
    pieces = [chunk.content for chunk in open_endpoint(f"{url}#plain").stream(question())]
    assert len([piece for piece in pieces if piece]) == 5
    assert "".join(map(str, pieces)) == "The tile has a hole."


async def _asked(model: Any) -> str:
    return str((await model.ainvoke(question())).content)


def test_asynchronous_use_gives_the_same_reply_and_the_same_errors(url: str) -> None:
    import asyncio

    assert asyncio.run(_asked(open_endpoint(f"{url}#plain"))) == "The tile has a hole."
    with pytest.raises(ModelError, match="HTTP 500"):
        asyncio.run(_asked(open_endpoint(f"{url}#broken")))


def test_a_server_that_refuses_schemas_is_asked_without_from_then_on(url: str) -> None:
    model = open_endpoint(f"{url}#bare")
    asked = model.bind(response_format={"type": "json_schema", "json_schema": {}})
    before = len(seen(url))
    assert [asked.invoke(question()).content for _ in range(2)] == ["The tile has a hole."] * 2
    streamed = "".join(str(chunk.content) for chunk in asked.stream(question()))
    assert streamed == "The tile has a hole."
    assert ["response_format" in request for request in seen(url)[before:]] == [True, False, False, False]


def test_options_are_read_off_the_log_probabilities(url: str) -> None:
    (row,) = open_endpoint(f"{url}#plain").option_logprobs([question(picture(2, 2))], "ABC") or [[]]
    assert row[0] == pytest.approx(math.log(math.exp(-0.5) + math.exp(-1.5)))
    assert row[1:] == [-2.0, -6.0]  # C is not listed: at most as probable as the last that is
    assert seen(url)[-1]["max_tokens"] == 1


@pytest.mark.parametrize(("model", "requests"), [("bare", 1), ("cot", 2)])
def test_without_log_probabilities_there_are_no_option_probabilities(
    url: str, model: str, requests: int
) -> None:
    opened, before = open_endpoint(f"{url}#{model}"), len(seen(url))
    assert [opened.option_logprobs([question()], "AB") for _ in range(2)] == [None, None]
    assert len(seen(url)) - before == requests  # one that has none is not asked again


FAILURES = {
    "broken": "HTTP 500: out of cheese",
    "busy": "HTTP 429: too many requests",
    "locked": "does not accept the key",
    "page": "does not speak the chat-completions protocol",
    "odd": "does not speak the chat-completions protocol",
    "moved": "HTTP 307",
    "unheard-of": "has no model unheard-of",
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(("model", "message"), FAILURES.items())
def test_each_failure_is_one_line_after_one_request_and_without_the_key(
    url: str, model: str, message: str, streaming: bool
) -> None:
    opened, before = open_endpoint(f"{url}#{model}"), len(seen(url))
    with pytest.raises(ModelError) as caught:
        list(opened.stream(question())) if streaming else opened.invoke(question())
    text = str(caught.value)
    assert message in text
    assert "\n" not in text and len(text) < 500
    assert KEY not in text
    assert len(seen(url)) - before == 1
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("streaming", [False, True])
def test_a_server_killed_in_mid_reply_is_an_error_not_half_a_reply(streaming: bool) -> None:
    with served() as (url, process):
        model = open_endpoint(f"{url}#dies")
        with pytest.raises(ModelError, match="broke off in mid-reply"):
            list(model.stream(question())) if streaming else model.invoke(question())
        process.wait(60)
        with pytest.raises(ModelError, match="No model server answers"):
            model.invoke(question())
        with pytest.raises(ModelError, match="No model server answers"):
            model.check()


def test_a_stream_that_ends_too_early_is_an_error_not_half_a_reply(url: str) -> None:
    with pytest.raises(ModelError, match="broke off in mid-reply"):
        list(open_endpoint(f"{url}#cut").stream(question()))


def test_a_reply_that_is_no_longer_wanted_is_stopped_at_the_server(url: str) -> None:
    with closing(open_endpoint(f"{url}#endless").stream(question())) as stream:  # type: ignore[type-var]
        assert [next(stream).content for _ in range(3)] == ["la "] * 3
    deadline = time.monotonic() + 60
    while {"stopped": "endless"} not in seen(url):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_server_that_does_not_answer_in_time_is_an_error(url: str) -> None:
    with pytest.raises(ModelError, match="did not answer in time"):
        open_endpoint(f"{url}#slow").invoke(question(), timeout=0.3)


def test_any_answer_shows_that_a_server_is_there(url: str) -> None:
    open_endpoint(f"{url}#plain").check()
    open_endpoint(f"{url}/elsewhere#plain").check()


def test_a_proxy_is_not_used_on_the_way_to_this_machine(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert open_endpoint(f"{url}#plain").invoke(question()).content == "The tile has a hole."


def test_the_key_shows_nowhere(url: str, caplog: pytest.LogCaptureFixture) -> None:
    from langchain_core.load import dumps

    model = open_endpoint(f"{url}#plain")
    with caplog.at_level(logging.DEBUG):
        reply = model.invoke(question(picture(2, 2)))
        with pytest.raises(ModelError) as caught:
            open_endpoint(f"{url}#broken").invoke(question())
    shown = [
        repr(model),
        str(model),
        model.model_dump_json(),
        dumps(model),
        repr(reply),
        reply.model_dump_json(),
    ]
    shown += ["".join(traceback.format_exception(caught.value)), repr(caught.value.args), caplog.text]
    assert caplog.text
    assert not [text for text in shown if KEY in text]


@pytest.mark.parametrize(
    ("rest", "address"),
    [
        ("http://localhost:11434/v1#qwen3-vl:2b", Address("http://localhost:11434/v1", "qwen3-vl:2b")),
        ("http://localhost:11434#a", Address("http://localhost:11434/v1", "a")),
        ("http://[::1]:80/#a", Address("http://[::1]:80/v1", "a")),
        ("https://h/api/v3/#org/a", Address("https://h/api/v3", "org/a")),
    ],
)
def test_addresses_are_read(rest: str, address: Address) -> None:
    assert parse_address(rest) == address


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("http://localhost:11434/v1", "Which model"),
        ("http://localhost#", "Which model"),
        ("localhost:11434#a", "is not the http address"),
        ("file:///etc/passwd#a", "is not the http address"),
        ("#a", "Nothing is not the http address"),
        ("http://[::1#a", "is not a URL"),
        ("http://h:port#a", "is not a URL"),
        (f"http://me:{KEY}@h/v1#a", "no password"),
        (f"http://me:12/{KEY}@h/v1#a", "is not a URL"),
        (f"http://h/v1?api-key={KEY}#a", "no query"),
    ],
)
def test_addresses_that_can_not_be_used_are_refused_without_repeating_secrets(
    rest: str, message: str
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        open_endpoint(rest)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "environment", "found"),
    [
        ("http://127.0.0.1/v1", {"OPENAI_API_KEY": "b"}, (NO_KEY, None)),
        (
            "http://127.0.0.1/v1",
            {"OPENAI_API_KEY": "b", "ANOMALIST_API_KEY": "a"},
            ("a", "ANOMALIST_API_KEY"),
        ),
        ("https://h/v1", {"OPENAI_API_KEY": "b", "ANOMALIST_API_KEY": "a"}, ("a", "ANOMALIST_API_KEY")),
        ("https://h/v1", {"OPENAI_API_KEY": "b", "ANOMALIST_API_KEY": " "}, ("b", "OPENAI_API_KEY")),
        ("http://h/v1", {"OPENAI_API_KEY": "b"}, (NO_KEY, None)),
        ("https://h/v1", {}, (NO_KEY, None)),
    ],
)
def test_a_key_goes_only_where_it_is_meant_to(
    url: str, environment: dict[str, str], found: tuple[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANOMALIST_API_KEY")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert find_key(Address(url, "m")) == found


@pytest.mark.parametrize("value", ["sk-one\nsk-two", "sk-\u20ac", "sk-\x07"])
def test_a_key_that_can_not_be_sent_is_refused_without_repeating_it(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANOMALIST_API_KEY", value)
    with pytest.raises(ModelError, match="characters that no key has") as caught:
        open_endpoint("https://h.example/v1#m")
    assert "sk-" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "notice"),
    [
        ("http://127.0.0.1:1/v1", ""),
        ("http://localhost/v1", ""),
        ("http://[::1]/v1", ""),
        ("https://localhost.example/v1", "sent to localhost.example, with the key in ANOMALIST_API_KEY."),
        ("http://192.168.1.5:8000/v1", "sent unencrypted to 192.168.1.5:8000"),
    ],
)
def test_it_is_said_once_when_pictures_leave_this_machine(
    url: str, notice: str, caplog: pytest.LogCaptureFixture
) -> None:
    open_endpoint(f"{url}#m")
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == bool(notice)
    assert notice in "".join(lines)
    assert KEY not in "".join(lines)


def test_the_notice_reaches_stderr_of_a_program_that_sets_up_no_log() -> None:
    code = "from anomalist.agent.models.openai_compatible import open_endpoint; open_endpoint('https://h.example/v1#m')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("Pictures leave this machine")
