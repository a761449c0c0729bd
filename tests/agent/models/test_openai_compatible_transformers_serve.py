"""A real model behind a real server: ``transformers serve`` as a process, with a tiny Idefics3."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from langchain_core.messages import BaseMessage

from anomalist.agent.choice.model_choice import choose_by_model
from anomalist.agent.models.openai_compatible import open_endpoint
from anomalist.errors import ModelError
from anomalist.vision.profile import Profile
from tests.forks import Forked
from tests.pictures import holed, write

AskAbout = Callable[..., list[BaseMessage]]


@contextmanager
def serving(folder: Path, log: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Serve a model; gives its ``openai:`` name and the process."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [Path(sys.executable).with_name("transformers"), "serve", folder]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output, env=env) as process,
    ):
        try:
            _wait(lambda: _answers(f"http://127.0.0.1:{port}/health"), log)
            yield f"http://127.0.0.1:{port}/v1#{folder}", process
        finally:
            process.kill()


def _wait(ready: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 240
    while not ready():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="module")
def rest(tiny_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tiny_model("idefics3"), tmp_path_factory.mktemp("serve") / "log") as (rest, _):
        yield rest


def test_pictures_reach_the_model_and_its_words_come_back(rest: str, ask_about: AskAbout) -> None:
    model = open_endpoint(rest).bind(max_tokens=8)
    none, one, two = (model.invoke(ask_about(pictures=seeds)) for seeds in ((), (1,), (1, 2)))
    read = [reply.usage_metadata["input_tokens"] for reply in (none, one, two) if reply.usage_metadata]
    assert read[2] - read[1] == read[1] - read[0] > 4
    assert one.content
    assert one.response_metadata["finish_reason"] == "length"


def test_a_streamed_reply_is_the_same_reply(rest: str, ask_about: AskAbout) -> None:
    model = open_endpoint(rest).bind(max_tokens=8)
    pieces = [chunk.content for chunk in model.stream(ask_about())]
    assert len([piece for piece in pieces if piece]) > 1
    assert "".join(map(str, pieces)) == model.invoke(ask_about()).content


def test_without_log_probabilities_options_are_read_from_replies(rest: str, ask_about: AskAbout) -> None:
    model = open_endpoint(rest)
    model.max_tokens = 4
    choice = choose_by_model(model, ask_about(), ("scratch", "crack"), seed=0)
    assert choice.method == "parsed"


def test_a_model_that_the_server_does_not_have_is_an_error(rest: str, ask_about: AskAbout) -> None:
    with pytest.raises(ModelError, match="answered with HTTP 400: Server is pinned to"):
        open_endpoint(rest.partition("#")[0] + "#another").invoke(ask_about())


def test_killed_in_mid_reply_the_batch_goes_on_with_what_was_measured(
    tiny_model: Callable[[str], Path], tiles_profile: Profile, tmp_path: Path
) -> None:
    for name in ("a.png", "b.png"):
        write(tmp_path / "new" / name, holed(800))
    log = tmp_path / "log"
    with serving(tiny_model("idefics3"), log) as (rest, server):
        words = ("inspect", tmp_path / "new", "--json", "--profile", tiles_profile.path)
        with Forked(*words, "--model", f"openai:{rest}") as client:
            _wait(lambda: "Request received" in log.read_text(), log)
            time.sleep(0.3)
            server.kill()
            output, messages = client.communicate(300)
            assert client.returncode == 3, messages
    first, second = (json.loads(line) for line in output.splitlines())
    assert "broke off in mid-reply" in first["error"]
    assert "No model server answers" in second["error"]
    for row in (first, second):
        assert (row["status"], row["label"]) == ("ok", "undecided")
        assert row["regions"] and row["p_value"] < 0.05
    assert "Traceback" not in messages
