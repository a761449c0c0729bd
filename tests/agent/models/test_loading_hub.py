from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from anomalist.agent.models.loading import format_bytes

SERVER = Path(__file__).with_name("hub_server.py")
ANOMALIST = Path(sys.executable).with_name("anomalist")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A stand-in for the Hub with a few models, as a process of its own; gives its URL."""
    root = tmp_path_factory.mktemp("hub")
    for name, kind in [("some/vlm", "smolvlm"), ("some/bert", "bert"), ("some/pickled", "smolvlm")]:
        folder = root / name
        (folder / "onnx").mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"model_type": kind}))
        (folder / "onnx" / "config.json").write_text("{}")
        for file in ("pytorch_model.bin", "modeling.py", "README.md", "tokenizer.json", "merges.txt"):
            (folder / file).write_text("{}")
        if name != "some/pickled":
            (folder / "model.safetensors").write_bytes(bytes(2_000_000))
    with subprocess.Popen(
        [sys.executable, str(SERVER), str(root)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def models(hub: str, home: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return started(hub, home, [str(ANOMALIST), "models", *words], **environment)


def started(hub: str, home: Path, command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own: the library of the Hub reads its settings when it is imported."""
    env = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", **environment}
    return subprocess.run(
        command, capture_output=True, text=True, env=env, timeout=300, check=False, stdin=subprocess.DEVNULL
    )


def fetched(home: Path) -> set[str]:
    return {path.name for path in home.rglob("snapshots/*/*")}


def test_a_pulled_model_is_listed_and_found_and_brings_nothing_that_runs(hub: str, tmp_path: Path) -> None:
    done = models(hub, tmp_path, "pull", "some/vlm", "--yes")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("some/vlm: 2 MB in 4 files, licence: apache-2.0.\n")
    assert done.stdout == "--model hf:some/vlm\n"
    assert fetched(tmp_path) == {"config.json", "model.safetensors", "tokenizer.json", "merges.txt"}
    listed = models(hub, tmp_path, "list", "--json", HF_HUB_OFFLINE="1")
    assert [json.loads(line)["model"] for line in listed.stdout.splitlines()] == ["hf:some/vlm"]
    assert "hf:some/vlm" in models(hub, tmp_path, "list").stdout
    code = "from anomalist.agent.models.loading import local_folder; print(local_folder('some/vlm'))"
    env = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert (Path(found.stdout.strip()) / "model.safetensors").is_file()


def test_nothing_is_fetched_unless_somebody_says_yes(hub: str, tmp_path: Path) -> None:
    done = models(hub, tmp_path, "pull", "some/vlm")
    assert done.returncode == 2
    assert "2 MB" in done.stderr and "Say --yes" in done.stderr
    assert not fetched(tmp_path)
    with urllib.request.urlopen(f"{hub}/asked", timeout=300) as answer:
        before = len(json.load(answer))
    models(hub, tmp_path, "list")
    with urllib.request.urlopen(f"{hub}/asked", timeout=300) as answer:
        assert len(json.load(answer)) == before + 1  # listing asks the Hub for nothing


ONE_AFTER_THE_OTHER = """
import sys
from anomalist.cli.app import main
for name in sys.argv[1:]:
    sys.argv = ["anomalist", "models", "pull", name, "--yes"]
    try:
        main()
    except SystemExit as stop:
        print(name, stop.code)
    print("next", file=sys.stderr)
"""


def test_what_can_not_be_fetched_is_one_clear_error(hub: str, tmp_path: Path) -> None:
    refused = {
        "some/bert": "no vision-language model of transformers (its type is bert)",
        "some/pickled": "has no safetensors weights",
        "some/gated": "only for those who accepted its terms",
        "some/unheard-of": "There is no model some/unheard-of",
        "a/b/c": "not the name of a model",
    }
    done = started(hub, tmp_path, [sys.executable, "-c", ONE_AFTER_THE_OTHER, *refused])
    assert done.stdout.splitlines() == [f"{name} 2" for name in refused]
    *told, rest = done.stderr.split("next\n")
    for message, said in zip(refused.values(), told, strict=True):
        assert message in said
    assert not rest
    assert "Traceback" not in done.stderr
    assert not fetched(tmp_path)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "switched off by HF_HUB_OFFLINE"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "can't be fetched from http://127.0.0.1:9"),
    ],
)
def test_a_hub_that_may_not_or_can_not_be_reached_is_one_clear_error(
    hub: str, tmp_path: Path, environment: dict[str, str], message: str
) -> None:
    done = models(hub, tmp_path, "pull", "some/vlm", "--yes", **environment)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    assert not fetched(tmp_path)


def test_without_models_the_list_says_how_to_get_one(tmp_path: Path) -> None:
    assert "anomalist models pull NAME" in models("http://127.0.0.1:9", tmp_path, "list").stdout


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (30_028, "30 kB"), (4_260_000_000, "4.26 GB")]
)
def test_sizes_are_written_for_people(count: int, text: str) -> None:
    assert format_bytes(count) == text
