"""The audit log as a user meets it: search, show, verify, replay, export, remove, promises, review."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from anomalist.audit.log import AuditLog, audit_folder
from anomalist.audit.reading import read_entries, verify_log
from anomalist.cli.app import app
from anomalist.errors import DataError
from anomalist.vision.profile import Profile
from tests.forks import Forked
from tests.pictures import holed, tile, write


def run(*arguments: str | Path, said: str | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=said)


def rows(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


@pytest.fixture
def inspected(tiles_profile: Profile, tmp_path: Path) -> Path:
    """A run of five tiles, two of them with a hole, in the log of this test."""
    for number in range(5):
        picture = (holed if number > 2 else tile)(800 + number)
        write(tmp_path / "new" / f"{number}.png", picture)
    done = run(
        "inspect", tmp_path / "new", "--profile", f"{tiles_profile.path}/", "--out", tmp_path / "run",
        "--model", "evidence", "--keep-media", "anomalous",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return tmp_path / "run"


def test_inspecting_writes_the_log_and_it_can_be_found_shown_verified_and_replayed(
    inspected: Path, tmp_path: Path
) -> None:
    assert [entry.kind for entry in read_entries()] == ["session", *["inspection"] * 5]
    verified = run("audit", "verify")
    assert verified.exit_code == 0 and "SOUND" in verified.stdout
    found = rows(run("audit", "search", "--label", "anomalous", "--json"))
    name = next(str(each["id"]) for each in found if "4.png" in json.dumps(each))
    shown = run("audit", "show", name, "--out", tmp_path / "page.html")
    assert "From p-value to label" in shown.stdout and (tmp_path / "page.html").is_file()
    again = run("audit", "replay", "all")
    assert again.exit_code == 0 and again.stdout.count("equal ") == 5, again.output
    assert "Without R1: the score falls" in run("audit", "reasons", name).stdout
    less = run("audit", "reasons", name, "--without", "policy", "--without", "rule:none-1").stdout
    assert "It was the shipped policy." in less and "rule:none-1 was not recalled" in less
    assert "Without R1" not in less
    assert run("audit", "page", "--out", tmp_path / "period.html").exit_code == 0


def test_the_same_run_again_writes_nothing_twice(
    inspected: Path, tiles_profile: Profile, tmp_path: Path
) -> None:
    run(
        "inspect",
        tmp_path / "new",
        "--profile",
        f"{tiles_profile.path}/",
        "--out",
        inspected,
        "--model",
        "evidence",
    )
    assert len(list(read_entries(kinds=["inspection"]))) == 5


def test_a_replay_of_nothing_is_no_success() -> None:
    with AuditLog() as log:
        log.append("setting", {"a": 1})
    assert isinstance(run("audit", "replay", "all").exception, DataError)
    assert isinstance(run("audit", "show", "9" * 5000).exception, DataError)


def test_damage_is_told_by_exit_code_and_in_words(inspected: Path) -> None:
    (segment,) = (audit_folder() / "log").glob("segment-*")
    segment.write_bytes(segment.read_bytes().replace(b'new/3.png","status"', b'new/7.png","status"', 1))
    done = run("audit", "verify")
    assert done.exit_code == 1 and "changed: entry 4 (segment-000000000000.jsonl, line 5)" in done.stdout
    assert not rows(run("audit", "verify", "--json"))[0]["sound"]


def test_a_bundle_is_exported_and_an_anchor_made(inspected: Path, tmp_path: Path) -> None:
    anchor = run("audit", "anchor").stdout.strip()
    assert run("audit", "verify", "--anchor", anchor).exit_code == 0
    assert run("audit", "export", "4", "--out", tmp_path / "bundle").exit_code == 0
    done = subprocess.run(
        [sys.executable, "-I", "-S", tmp_path / "bundle" / "verify.py"], capture_output=True
    )
    assert done.returncode == 0, done.stdout


def test_content_is_removed_with_a_reason_after_asking(inspected: Path) -> None:
    assert run("audit", "remove", "4", "--why", "asked for", said="n\n").exit_code == 2
    done = run("audit", "remove", "4", "--why", "asked for", said="y\n")
    assert done.exit_code == 0 and "1 contents" in done.stdout
    assert run("audit", "verify").exit_code == 0
    assert "not taken again" not in run("audit", "replay", "5").stdout
    assert isinstance(run("audit", "replay", "4").exception, DataError)
    assert run("audit", "retain", "--days", "0", "--yes").exit_code == 0
    assert verify_log().sound


def test_settings_are_entries_and_hold(tiles_profile: Profile, tmp_path: Path) -> None:
    done = run("audit", "settings", "--redact", "source", "--keep-media", "all")
    assert "Media kept: all. Never written: source." in done.stdout
    picture = write(tmp_path / "secret-name.png", tile(1))
    run("inspect", picture, "--profile", f"{tiles_profile.path}/", "--model", "evidence")
    text = b"".join(file.read_bytes() for file in (audit_folder() / "log").glob("segment-*"))
    assert b"secret-name" not in text
    assert [entry.kind for entry in read_entries()] == ["setting", "session", "inspection"]


def test_promises_plan_card_and_review(inspected: Path, tiles_profile: Profile) -> None:
    assert "promised   5 % false alarms" in run("audit", "promises").stdout
    assert "out of reach" in run("audit", "plan", "--normals", "8").stdout
    assert "2 hours" in run("audit", "plan", "--false-events-per-hour", "0.5").stdout
    assert tiles_profile.digest in run("audit", "card", f"{tiles_profile.path}/").stdout
    done = run("review", inspected, "--precision", "0.01", said="a\na\nn\nq\n")
    assert done.exit_code == 0, done.output
    answers = [entry.content["answer"] for entry in read_entries(kinds=["review"])]
    assert answers == ["anomalous", "anomalous", "normal"]
    assert "False alarms among normals" in done.stdout


def test_probes_write_a_page_json_and_an_entry(tiles_profile: Profile, tmp_path: Path) -> None:
    for number in range(2):
        write(tmp_path / "fresh" / f"{number}.png", tile(970 + number))
    done = run(
        "audit", "probe", "--profile", f"{tiles_profile.path}/", tmp_path / "fresh", "--each", "1",
        "--out", tmp_path / "probes",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert {"probes.html", "probes.json"} <= {path.name for path in (tmp_path / "probes").iterdir()}
    (entry,) = read_entries(kinds=["probe"])
    assert entry.content["grid"] and "No probes" not in run("audit", "card", f"{tiles_profile.path}/").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["audit", "verify"], "no audit log"),
        (["audit", "show", "12"], "no audit log"),
        (["audit", "search", "--kind", "nonsense"], "no entries of the kind"),
        (["audit", "plan"], "How many normals"),
        (["audit", "plan", "--normals", "5", "--rate", "2"], "between 0 and 1"),
        (["audit", "card", "nothing-like-that"], "no profile"),
        (["review", "nowhere"], "not a run folder"),
    ],
)
def test_wrong_use_is_one_clear_error(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.exit_code != 0 and message in str(done.exception)


def test_help_does_not_load_the_audit_log() -> None:
    code = (
        "import sys; from anomalist.cli import app; "
        "sys.exit(any(name.startswith(('anomalist.audit', 'cryptography')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_kill_9_while_two_processes_inspect_into_one_log_loses_and_doubles_nothing(
    tiles_profile: Profile, tmp_path: Path
) -> None:
    for number in range(30):
        write(tmp_path / "new" / f"{number:02d}.png", tile(2000 + number))
    words = ["inspect", tmp_path / "new", "--profile", f"{tiles_profile.path}/", "--model", "evidence"]
    outputs = [tmp_path / name for name in ("one.txt", "two.txt")]
    processes = []
    for output in outputs:
        with output.open("w") as written:
            run_folder = tmp_path / output.stem
            processes.append(Forked(*words, "--json", "--out", run_folder, stdout=written.fileno()))
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not all(output.stat().st_size for output in outputs):
        time.sleep(0.05)
    for process in processes:
        process.kill()
        process.wait(60)
        process.close()
    reported = {
        (output.stem, json.loads(line)["source"])
        for output in outputs
        for line in output.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    }
    for output in outputs:  # goes on where it was
        assert run(*words, "--json", "--out", tmp_path / output.stem).exit_code == 0
    entries = [
        (Path(entry.content["run"]).name, entry.source) for entry in read_entries(kinds=["inspection"])
    ]
    assert reported and reported <= set(entries)
    assert len(entries) == len(set(entries)) == 60
    assert verify_log().sound
