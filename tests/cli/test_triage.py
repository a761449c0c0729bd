"""The video commands as a user runs them: learn a scene, triage, feedback, follow, and what can go wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from anomalist.cli.app import app
from anomalist.errors import AnomalistError, DataError
from anomalist.vision.motion.scene import Scene
from tests.publishing.test_webhook import receiver
from tests.street import make_film, walker
from tests.street_files import write_film
from tests.things import racing, write_examples

RUNNER = walker(6.0, 60.0, speed=4.0)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_film(folder / "calm.mp4", make_film(5, people=43))
    write_film(folder / "runner.mp4", make_film(9.5, RUNNER, people=42))
    (folder / "text.mp4").write_text("this is no video")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "notes.txt").write_text("not a video by name")
    return folder


@pytest.fixture
def scene(street: Scene) -> str:
    return f"{street.path}/"


def test_triage_ranks_reports_and_goes_on_past_bad_files(clips: Path, scene: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("triage", clips, "--profile", scene, "--out", out)
    assert done.exit_code == 3, done.output  # two could not be judged
    assert "runner.mp4" in done.stdout
    assert "times the usual speed" in " ".join(done.stdout.split())
    assert {"clips.jsonl", "triage.json", "triage.md", "triage.html", "frames"} <= {
        path.name for path in out.iterdir()
    }
    report = json.loads((out / "triage.json").read_text())
    assert report["alerts"][0]["source"].endswith("runner.mp4")
    assert {Path(one["source"]).name for one in report["unjudged"]} >= {"text.mp4", "empty.mp4"}


def test_json_gives_one_record_a_clip(clips: Path, scene: str) -> None:
    done = run("triage", clips, "--profile", scene, "--json")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    by_name = {Path(record["source"]).name: record for record in records}
    assert by_name["calm.mp4"]["label"] == "normal"
    assert by_name["runner.mp4"]["label"] == "anomalous"
    assert by_name["text.mp4"]["status"] == by_name["empty.mp4"]["status"] == "error"
    assert by_name["text.mp4"]["label"] is None


def test_a_second_run_does_only_what_is_open(clips: Path, scene: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = clips / "runner.mp4"
    run("triage", first, "--profile", scene, "--out", out)
    row = (out / "clips.jsonl").read_text()
    done = run("triage", first, clips / "calm.mp4", "--profile", scene, "--out", out)
    assert done.exit_code == 0, done.output
    rows = (out / "clips.jsonl").read_text().splitlines()
    assert json.loads(rows[0])["time"] == json.loads(row)["time"]
    assert len(rows) == 2


def test_two_workers_give_the_records_of_one_in_the_same_order(
    clips: Path, scene: str, tmp_path: Path
) -> None:
    def rows(*options: str | Path) -> list[dict[str, object]]:
        done = run("triage", clips, "--profile", scene, "--json", *options)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        return [{**row, "time": None, "seconds": None, "key_frames": None} for row in found]

    out = tmp_path / "out"
    run("triage", clips / "runner.mp4", "--profile", scene, "--out", out)
    shared = rows("--workers", "2", "--out", out)
    assert [Path(str(row["source"])).name for row in shared] == [
        "calm.mp4",
        "empty.mp4",
        "runner.mp4",
        "text.mp4",
    ]
    assert len((out / "clips.jsonl").read_text().splitlines()) == 4
    assert rows() == [
        {**row, "events": [{**event, "key_frame": None, "clip": None} for event in row["events"]]}  # type: ignore[attr-defined]
        for row in shared
    ]


def test_a_later_run_keeps_the_clips_of_earlier_ones(clips: Path, scene: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("runner.mp4", "calm.mp4"):
        run("triage", clips / name, "--profile", scene, "--out", out)
    rows = [json.loads(line) for line in (out / "clips.jsonl").read_text().splitlines()]
    assert [Path(row["source"]).name for row in rows] == ["runner.mp4", "calm.mp4"]
    alerts = json.loads((out / "triage.json").read_text())["alerts"]
    assert {Path(alert["source"]).name for alert in alerts} == {"runner.mp4"}


def test_fail_on_is_an_exit_code(clips: Path, scene: str) -> None:
    assert run("triage", clips / "calm.mp4", "--profile", scene, "--fail-on", "anomalous").exit_code == 0
    assert run("triage", clips / "runner.mp4", "--profile", scene, "--fail-on", "anomalous").exit_code == 1


def test_fail_on_is_refused_where_clips_are_only_ranked(clips: Path) -> None:
    refused = run("triage", clips / "runner.mp4", "--fail-on", "anomalous")
    assert isinstance(refused.exception, DataError)
    assert "--profile" in str(refused.exception)
    assert run("triage", clips / "runner.mp4", "--fail-on", "undecided").exit_code == 1


@pytest.mark.parametrize(
    "words", [("--model", "scripted:x"), ("--policy", "mine.toml"), ("--watch", "a dog")], ids=" ".join
)
def test_options_of_judging_are_refused_where_clips_are_only_ranked(
    clips: Path, words: tuple[str, str]
) -> None:
    refused = run("triage", clips / "calm.mp4", *words)
    assert "go with --profile" in str(refused.exception)
    assert words[0] in str(refused.exception)


def test_a_stream_has_no_verdict_to_fail_on(clips: Path, scene: str) -> None:
    words = ("--profile", scene, "--follow", "--fail-on", "anomalous")
    assert "--fail-on is for clips" in str(run("triage", clips / "calm.mp4", *words).exception)


def test_feedback_moves_the_rank_and_can_be_taken_back(clips: Path, scene: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("triage", clips / "runner.mp4", "--profile", scene, "--out", out)

    def value() -> float:
        moved = json.loads((out / "triage.json").read_text())["alerts"][0]["adjustment"]
        return moved["value"] if moved else 0.0

    assert value() == 0
    done = run("feedback", out, "runner.mp4:E1", "dismissed", "--note", "a jogger")
    assert done.exit_code == 0, done.output
    assert value() < 0
    assert run("feedback", out, "E1", "--undo").exit_code == 0
    assert value() == 0
    assert run("report", out).exit_code == 0
    with pytest.raises(AnomalistError, match="Say seen"):
        raise run("feedback", out, "E1").exception or AssertionError


def test_following_a_file_prints_alerts_and_posts_them(clips: Path, scene: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with receiver() as (address, taken):
        done = run(
            "triage", clips / "runner.mp4", "--profile", scene, "--follow", "--webhook", address, "--out", out
        )
    assert done.exit_code == 0, done.output
    alerts = [json.loads(line) for line in done.stdout.splitlines()]
    assert [alert["state"] for alert in alerts] == ["opened", "closed"]
    assert [json.loads(body) for body in taken.bodies] == alerts
    picture = alerts[0]["event"]["key_frame"]
    assert (out / picture).read_bytes()[:2] == b"\xff\xd8"  # a JPEG
    assert len((out / "alerts.jsonl").read_text().splitlines()) == 2


def test_several_cameras_give_one_stream_of_alerts_and_a_restart_tells_nothing_twice(
    clips: Path, scene: str, tmp_path: Path
) -> None:
    table, out = tmp_path / "cameras.toml", tmp_path / "out"
    table.write_text(f"[gate]\nsource = '{clips / 'runner.mp4'}'\nprofile = '{scene}'\n")
    words = ["triage", "--follow", table, f"yard={clips / 'calm.mp4'}", "--profile", scene, "--out", out]
    done = run(*words)
    assert done.exit_code == 0, done.output
    told = [(row["camera"], row["state"]) for row in map(json.loads, done.stdout.splitlines())]
    assert [state for camera, state in told if camera == "gate"] == ["opened", "closed", "ended"]
    assert [state for camera, state in told if camera == "yard"] == ["ended"]
    assert "Following gate: at most" in done.stderr
    again = run(*words)
    assert (again.exit_code, again.stdout) == (0, "")
    broken = run("triage", "--follow", f"yard={tmp_path / 'no.mp4'}", "--profile", scene)
    assert broken.exit_code == 3
    assert json.loads(broken.stdout)["state"] == "ended"


def test_a_scene_is_learned_from_files_and_a_promise_is_said(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_film(tmp_path / f"{seed}.mp4", make_film(8, people=seed))
    done = run("learn-scene", tmp_path / "1.mp4", tmp_path / "2.mp4", "--profile", "cam3")
    assert done.exit_code == 0, done.output
    assert "false events an hour" in done.stderr
    again = run("learn-scene", tmp_path / "1.mp4", tmp_path / "2.mp4", "--profile", "cam3")
    assert "--force" in str(again.exception)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--webhook", "http://127.0.0.1:9/"], "--follow"),
        (["--false-events-per-hour", "0.01"], "support no fewer"),
        (["--zones", "missing.json"], "can't be used"),
        (["--watch", ""], "empty|word"),
        (["--follow", "rtsp://a/1"], "has no name"),
        (["--ray", "local"], "--ray is for cameras"),
        (["--follow", "cam=rtsp://a/1", "cam=rtsp://a/2", "b.toml"], "no name|can't be read"),
    ],
)
def test_what_cannot_be_done_is_one_error(clips: Path, scene: str, arguments: list[str], said: str) -> None:
    done = run("triage", clips / "calm.mp4", "--profile", scene, *arguments)
    assert done.exit_code != 0
    assert isinstance(done.exception, AnomalistError)
    import re

    assert re.search(said, str(done.exception))


def test_no_videos_is_an_error(scene: str, tmp_path: Path) -> None:
    done = run("triage", tmp_path, "--profile", scene)
    assert "No videos" in str(done.exception)


def test_a_profile_of_pictures_is_refused(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "profile.json").write_text("{}")
    done = run("triage", clips, "--profile", f"{tmp_path}/")
    assert "learn-scene" in str(done.exception)


def test_a_run_folder_that_is_copied_is_still_readable(clips: Path, scene: str, tmp_path: Path) -> None:
    run("triage", clips / "runner.mp4", "--profile", scene, "--out", tmp_path / "a")
    copy = Path(shutil.copytree(tmp_path / "a", tmp_path / "b"))
    assert run("report", copy).exit_code == 0


@pytest.mark.usefixtures("in_full")
def test_examples_name_what_moves_and_what_is_left_out_is_said(scene: str, tmp_path: Path) -> None:
    film = make_film(9, people=42, change=racing("forklift"))
    clip = write_film(tmp_path / "forklift.mp4", film)
    examples = write_examples(tmp_path / "examples")
    (examples / "bicycle" / "broken.png").write_bytes(b"no picture")
    options = ("--profile", scene, "--examples", examples, "--out", tmp_path / "out")
    done = run("triage", clip, *options, "--watch", "a forklift")
    assert done.exit_code == 0, done.output
    assert "Left out" in done.output
    assert "broken.png" in done.output
    page = (tmp_path / "out" / "triage.html").read_text()
    assert "is called forklift by the examples in" in page
    assert "forklift" in (tmp_path / "out" / "triage.md").read_text()


def test_examples_and_detectors_that_can_not_be_used_end_with_the_reason(scene: str, tmp_path: Path) -> None:
    clip = write_film(tmp_path / "clip.mp4", make_film(3, people=42))
    (tmp_path / "empty").mkdir()
    for options, reason in (
        (("--examples", tmp_path / "empty"), "There are no examples in"),
        (("--object-detector", "hf:nobody/nothing"), "is not on this machine"),
    ):
        failed = run("triage", clip, "--profile", scene, *options)
        assert isinstance(failed.exception, AnomalistError)
        assert reason in str(failed.exception)
        alone = run("triage", clip, *options)
        assert "go with --profile" in str(alone.exception)
