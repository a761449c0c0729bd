"""Language models through the command line, end to end: replayed, behind a server, missing, killed."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from anomalist.vision.profile import Profile
from tests.cli.running import rows, run
from tests.forks import Forked
from tests.pictures import holed, tile, write

SERVER = Path(__file__).parents[1] / "agent" / "models" / "chat_server.py"
KEY = "sk-very-secret-0123456789"

DESCRIPTION = {
    "scene": "A brushed grey tile.",
    "observations": [{"text": "The grain runs from top to bottom.", "evidence": []}],
    "text_seen": [],
}
JUDGEMENT = {
    "claims": [{"text": "The tile has a round hole.", "evidence": ["score"]}],
    "label": "anomalous",
    "kind": "missing material",
    "severity_step": "same",
    "severity_reason": "",
    "severity_evidence": [],
}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two tiles with a hole and a good one."""
    write(tmp_path / "new" / "a.png", holed(801))
    write(tmp_path / "new" / "b.png", holed(802))
    write(tmp_path / "new" / "c.png", tile(803))
    return tmp_path / "new"


def script(path: Path, *replies: object) -> Path:
    path.write_text("".join(json.dumps({"reply": reply}) + "\n" for reply in replies))
    return path


@contextmanager
def served(path: Path, *replies: object) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run a chat-completions server that gives these replies; gives its URL and the process."""
    path.write_text(json.dumps([reply if isinstance(reply, str) else json.dumps(reply) for reply in replies]))
    command = [sys.executable, str(SERVER), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


def said(row: dict[str, Any]) -> list[str]:
    """What a model said in a record."""
    return [claim["text"] for claim in row["claims"] if claim["source"] == "model"]


def test_a_replayed_model_judges_beside_the_detector(
    tiles_profile: Profile, pictures: Path, tmp_path: Path
) -> None:
    name = f"scripted:{script(tmp_path / 'replies.jsonl', DESCRIPTION, JUDGEMENT)}"
    done = run("inspect", pictures, "--profile", tiles_profile.path, "--model", name, "--json")
    bad, _, good = found = rows(done.stdout)
    assert done.returncode == 0, done.stderr
    assert [said(row) for row in found] == [["The tile has a round hole."]] * 3
    assert (bad["label"], bad["kind"], bad["disagreements"]) == ("anomalous", "missing material", [])
    assert good["label"] == "undecided"  # the model alone raises no alarm, and is not overruled silently
    assert good["disagreements"] and "model" in str(good["why_undecided"])
    assert [len(row["replies"]) for row in found] == [2, 2, 2]  # type: ignore[arg-type]
    assert bad["model"] == name
    assert done.stderr.startswith("Reasoning: replies replayed from")


def test_what_the_user_says_and_who_reasons_are_part_of_what_is_done(
    tiles_profile: Profile, pictures: Path, tmp_path: Path
) -> None:
    name = f"scripted:{script(tmp_path / 'replies.jsonl', DESCRIPTION, JUDGEMENT)}"
    knowledge = tmp_path / "knowledge.json"
    knowledge.write_text(json.dumps({"Mine": {"tile": {"good": "Streaks are normal.", "hole": "A hole."}}}))
    words = ("inspect", pictures, "--profile", tiles_profile.path, "--out", tmp_path / "run", "--json")
    counts = [
        len(rows(run(*words, *more).stdout))
        for more in (
            ("--model", name),
            ("--model", name),
            ("--model", name, "--ignore", "dust", "--ignore", "glare"),
            ("--model", name, "--product", "tile", "--product-knowledge", knowledge, "--watch", "holes"),
            (),
        )
    ]
    assert counts == [3, 0, 3, 3, 3]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model", "hf:owner/unheard-of"), "anomalist models pull owner/unheard-of"),
        (("--model", "gpt"), "no kind of model called 'gpt'"),
        (("--model", "scripted:gone.jsonl"), "gone.jsonl"),
        (("--ignore", "dust"), "Only a language model understands words"),
        (("--model", "scripted:x", "--product-knowledge", "k.json"), "Name it with --product"),
    ],
)
def test_a_model_that_can_not_be_used_stops_before_any_picture(
    tiles_profile: Profile, pictures: Path, words: tuple[str, ...], message: str
) -> None:
    done = run("inspect", pictures, "--profile", tiles_profile.path, *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_a_server_behind_a_url_runs_the_same_pipeline(
    tiles_profile: Profile, pictures: Path, tmp_path: Path
) -> None:
    with served(tmp_path / "replies.json", *[DESCRIPTION, JUDGEMENT] * 3) as (url, _):
        words = ("inspect", pictures, "--profile", tiles_profile.path, "--model", f"openai:{url}#plain")
        done = run(*words, "--out", tmp_path / "run", "--json", ANOMALIST_API_KEY=KEY)
    found = rows(done.stdout)
    assert done.returncode == 0, done.stderr
    assert [said(row) for row in found] == [["The tile has a round hole."]] * 3
    assert "Pictures leave" not in done.stderr
    everything = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(everything) > 5
    assert not [path for path in everything if KEY.encode() in path.read_bytes()]
    assert KEY not in done.stdout + done.stderr


def test_a_server_killed_in_mid_reply_leaves_the_evidence_and_the_batch_goes_on(
    tiles_profile: Profile, pictures: Path, tmp_path: Path
) -> None:
    replies = (DESCRIPTION, JUDGEMENT, DESCRIPTION, '{"claims": [{"text": KILL')
    with served(tmp_path / "replies.json", *replies) as (url, process):
        words = ("inspect", pictures, "--profile", tiles_profile.path, "--model", f"openai:{url}#plain")
        done = run(*words, "--out", tmp_path / "run", "--json")
        assert process.wait(60) != 0
    first, second, third = rows(done.stdout)
    assert done.returncode == 3
    assert first["label"] == "anomalous" and first["error"] is None
    assert second["label"] == third["label"] == "undecided"
    assert "broke off in mid-reply" in str(second["error"])
    assert "The detector alone calls the picture anomalous" in str(second["why_undecided"])
    assert "No model server answers" in str(third["error"])
    assert second["regions"] and second["score"] is not None and second["status"] == "ok"
    assert (tmp_path / "run" / str(second["map"])).is_file()
    assert "broke off in mid-reply" in (tmp_path / "run" / "report.md").read_text()


def test_pictures_whose_model_failed_are_done_again_once_it_is_back(
    tiles_profile: Profile, pictures: Path, tmp_path: Path
) -> None:
    path = tmp_path / "replies.jsonl"
    path.write_text(json.dumps({"prompt": "describe.v1", "reply": DESCRIPTION}) + "\n")
    words = ("inspect", pictures, "--profile", tiles_profile.path, "--out", tmp_path / "run", "--json")
    broken = run(*words, "--model", f"scripted:{path}")
    script(path, DESCRIPTION, JUDGEMENT)
    whole, again = (run(*words, "--model", f"scripted:{path}") for _ in range(2))
    assert [done.returncode for done in (broken, whole, again)] == [3, 0, 0]
    assert [len(rows(done.stdout)) for done in (broken, whole, again)] == [3, 3, 0]
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert [row["error"] for row in report["records"]] == [None] * 3


def test_auto_says_in_one_line_which_reasoner_it_took(
    tiles_profile: Profile, pictures: Path, tmp_path: Path
) -> None:
    path = script(tmp_path / "replies.jsonl", DESCRIPTION, JUDGEMENT)
    words = ("inspect", pictures, "--profile", tiles_profile.path, "--json")
    there = run(*words, ANOMALIST_MODEL=f"scripted:{path}")
    gone = run(*words, ANOMALIST_MODEL="openai:http://127.0.0.1:9/v1#m")
    assert there.stderr == f"Reasoning: replies replayed from {path}.\n"
    assert gone.stderr.count("\n") == 1 and "No model server answers at 127.0.0.1:9" in gone.stderr
    assert [said(row) for row in rows(gone.stdout)] == [[]] * 3
    doctor = json.loads(run("doctor", "--json", ANOMALIST_MODEL=f"scripted:{path}").stdout)
    assert doctor["reasoner"] == f"replies replayed from {path}."


def test_a_terminal_shows_the_reasoning_as_it_is_written(
    tiles_profile: Profile, pictures: Path, tmp_path: Path
) -> None:
    path = script(tmp_path / "replies.jsonl", DESCRIPTION, JUDGEMENT)
    terminal, end = pty.openpty()
    words = ("inspect", pictures / "a.png", "--profile", tiles_profile.path, "--model", f"scripted:{path}")
    with Forked(*words, stderr=end, COLUMNS="200", TERM="xterm") as done:
        os.close(end)
        shown = ""
        while piece := _read(terminal):
            shown += piece.decode(errors="replace")
        os.close(terminal)
        table = done.communicate(300)[0]
    order = [
        shown.find(text) for text in ("A brushed grey tile.", "The grain runs", "The tile has a round hole.")
    ]
    assert -1 not in order and order == sorted(order)
    assert shown.rfind("a.png: anomalous") > order[-1]
    assert "severity_step" not in shown and "missing material" not in shown
    assert "anomalous" in table


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other end is closed
        return b""


@pytest.mark.parametrize(
    ("address", "said", "status"),
    [
        ("", "cases.sqlite, none yet", 0),
        ("postgresql://u:hush@127.0.0.1:1/plant", "postgresql://127.0.0.1:1/plant can't be reached", 2),
    ],
)
def test_doctor_says_where_rules_and_cases_are(address: str, said: str, status: int) -> None:
    done = run("doctor", "--json", ANOMALIST_MEMORY=address)
    assert done.returncode == status
    assert said in json.loads(done.stdout)["memory"]
    assert "hush" not in done.stdout + done.stderr


def test_doctor_knows_a_shared_database(shared_memory: str) -> None:
    done = run("doctor", "--json", ANOMALIST_MEMORY=shared_memory)
    names = [package["name"] for package in json.loads(done.stdout)["packages"]]
    assert len(names) == len(set(names)), "each package once"
    assert json.loads(done.stdout)["memory"] == "the database in ANOMALIST_MEMORY, none yet"
