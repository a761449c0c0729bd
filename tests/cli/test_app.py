from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from anomalist.vision.motion.scene import Scene
from anomalist.vision.profile import Profile
from tests.boards import board, noisy
from tests.cli.running import rows, run
from tests.forks import Forked
from tests.pictures import holed, tile, write, write_tiles

ORDER = [
    "source",
    "status",
    "label",
    "score",
    "p_value",
    "threshold",
    "severity",
    "kind",
    "regions",
    "claims",
    "error",
]


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder with a good, a bad and a broken picture, and a file that is none by name."""
    folder = tmp_path / "new"
    write(folder / "a-good.png", tile(800))
    write(folder / "b-bad.png", holed(801))
    (folder / "c-broken.jpg").write_text("hello")
    (folder / "notes.txt").write_text("hello")
    (folder / "d-dangling.png").symlink_to(tmp_path / "gone.png")
    return folder


def test_json_rows_go_to_stdout_and_everything_else_to_stderr(tiles_profile: Profile, mixed: Path) -> None:
    done = run("inspect", mixed, "--profile", tiles_profile.path, "--json")
    found = rows(done.stdout)
    assert [str(Path(str(row["source"])).name)[0] for row in found] == ["a", "b", "c", "d"]
    assert [row["status"] for row in found] == ["ok", "ok", "error", "error"]
    assert list(found[0])[: len(ORDER)] == ORDER
    assert found[1]["label"] == "anomalous"
    assert done.returncode == 3
    assert "not those of pictures: 1." in done.stderr


def test_without_json_a_table_names_every_picture(tiles_profile: Profile, mixed: Path) -> None:
    done = run("inspect", mixed, "--profile", tiles_profile.path)
    assert all(name in done.stdout for name in ("a-good.png", "b-bad.png", "c-broken.jpg", "anomalous"))


@pytest.mark.parametrize(
    "words",
    [
        ("--effort", "normal"),
        ("--seed", "0"),
        ("--limit", "5"),
        ("--roi", "roi.png"),
        ("--groups", "groups.csv"),
        ("--products",),
        ("--backbone", "mine"),
        ("--drop-outliers",),
        ("--keep-outliers",),
        ("--seed", "1", "--limit", "5"),
    ],
    ids=" ".join,
)
def test_learning_from_feedback_refuses_what_the_profile_has_already_also_at_its_default(
    words: tuple[str, ...],
) -> None:
    refused = run("learn", "--from-feedback", "--profile", "p", *words)
    assert refused.returncode == 2
    assert all(word in refused.stderr for word in words if word.startswith("--"))


def test_learning_from_feedback_names_nothing_that_was_not_given() -> None:
    missing = run("learn", "--from-feedback", "--profile", "p", "--force")
    assert missing.returncode == 2
    assert "--seed" not in missing.stderr and "p" in missing.stderr


def test_fail_on_tells_a_script(tiles_profile: Profile, tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.png", holed(1))
    good = write(tmp_path / "good.png", tile(802))
    words = ("--profile", tiles_profile.path, "--fail-on", "anomalous", "--json")
    assert run("inspect", bad, *words).returncode == 1
    assert run("inspect", good, *words).returncode == 0


@pytest.mark.parametrize("words", [(), ("--unlabelled",), ("--model", "evidence")])
def test_fail_on_is_refused_where_nothing_can_be_called_anomalous(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    write_tiles(tmp_path / "new", 3)
    refused = run("inspect", tmp_path / "new", "--fail-on", "anomalous", "--out", tmp_path / "run", *words)
    assert refused.returncode == 2
    assert "--profile" in refused.stderr and "--reference" in refused.stderr
    assert not (tmp_path / "run").exists()


def test_fail_on_works_by_a_reference_and_for_what_is_undecided_without_one(tmp_path: Path) -> None:
    good, bad = write(tmp_path / "good.png", tile(1)), write(tmp_path / "bad.png", holed(1))
    compared = run("inspect", bad, "--reference", good, "--fail-on", "anomalous", "--json")
    assert (compared.returncode, rows(compared.stdout)[0]["label"]) == (1, "anomalous")
    assert run("inspect", bad, "--fail-on", "undecided", "--json").returncode == 1


def test_fail_on_counts_what_was_inspected_before_an_interruption(
    tiles_profile: Profile, tmp_path: Path
) -> None:
    new = write(tmp_path / "new" / "bad.png", holed(1)).parent
    words = ("--profile", tiles_profile.path, "--fail-on", "anomalous", "--out", tmp_path / "run")
    first, again = run("inspect", new, *words), run("inspect", new, *words)
    assert (first.returncode, again.returncode) == (1, 1)
    assert "bad.png" in again.stdout
    good = write(tmp_path / "other" / "good.png", tile(802))
    assert run("inspect", good, *words).returncode == 0, "bad.png was not asked for"


def test_a_run_folder_resumes_and_holds_reports_and_exports(
    tiles_profile: Profile, mixed: Path, tmp_path: Path
) -> None:
    words = ("inspect", mixed, "--profile", tiles_profile.path, "--out", tmp_path / "run", "--json")
    first = run(*words)
    (mixed / "e-new.png").write_bytes((mixed / "a-good.png").read_bytes())
    second = run(*words)
    again = [Path(str(row["source"])).name for row in rows(second.stdout)]
    assert len(rows(first.stdout)) == 4
    assert again == ["d-dangling.png", "e-new.png"]  # what could not be read is tried again
    stored = rows((tmp_path / "run" / "records.jsonl").read_text())
    assert all((tmp_path / "run" / str(row["map"])).is_file() for row in stored if row["status"] == "ok")
    for name in ("report.html", "report.md", "report.json", "results.csv", "coco.json"):
        assert (tmp_path / "run" / name).stat().st_size > 100
    assert len(json.loads((tmp_path / "run" / "report.json").read_text())["records"]) == 5


def test_a_killed_run_goes_on_where_it_was(tiles_profile: Profile, tmp_path: Path) -> None:
    write_tiles(tmp_path / "new", 60, first=2000)
    words = [
        "inspect",
        tmp_path / "new",
        "--profile",
        tiles_profile.path,
        "--out",
        tmp_path / "run",
        "--json",
    ]
    with Forked(*words) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    before = len((tmp_path / "run" / "records.jsonl").read_text().splitlines())
    done = run(*words)
    sources = [row["source"] for row in rows((tmp_path / "run" / "records.jsonl").read_text())]
    assert 0 < before < 60
    assert len(rows(done.stdout)) == 60 - before
    assert len(sources) == len(set(sources)) == 60


def test_a_report_is_written_again_without_profile_or_model(
    tiles_profile: Profile, mixed: Path, tmp_path: Path
) -> None:
    run("inspect", mixed, "--profile", tiles_profile.path, "--out", tmp_path / "run")
    before = (tmp_path / "run" / "report.html").read_bytes()
    (tmp_path / "run" / "report.html").unlink()
    done = run("report", tmp_path / "run")
    assert done.returncode == 0
    assert (tmp_path / "run" / "report.html").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("inspect", "{tmp}/nothing.png", "--profile", "unknown"), "There is no profile unknown"),
        (("inspect", "{tmp}", "--profile", "{profile}"), "No pictures in"),
        (("inspect", "{tmp}/x.png", "--profile", "{profile}", "--false-alarm-rate", "0.001"), "999 normal"),
        (("inspect", "{tmp}/x.png", "--profile", "{profile}", "--policy", "{tmp}/no.toml"), "no.toml"),
        (("learn", "{tmp}", "--profile", "p"), "No pictures to learn from"),
        (("learn", "{tmp}/missing", "--profile", "p"), "missing"),
        (("learn", "{tmp}", "--profile", "../up:hill?/.."), "No pictures"),
        (("learn", "{tmp}", "--profile", "what?"), "not a profile name"),
        (("report", "{tmp}"), "records.jsonl"),
        (("eval", "detection", "--data", "{tmp}", "--train-normals", "3"), "is in no known layout"),
    ],
)
def test_what_the_user_can_mend_is_one_message_without_a_traceback(
    tiles_profile: Profile, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    done = run(*(word.format(tmp=tmp_path, profile=tiles_profile.path) for word in words))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_learn_writes_a_named_profile_and_profiles_lists_it(tmp_path: Path) -> None:
    write_tiles(tmp_path / "good", 4)
    (tmp_path / "good" / "zero.png").write_bytes(b"")
    done = run("learn", tmp_path / "good", "--profile", "mine", "--effort", "fast")
    assert done.returncode == 0
    assert "zero.png" in done.stderr and "needs 19 pictures" in done.stderr
    assert "mine" in run("profiles").stdout
    assert rows(run("profiles", "--json").stdout)[0]["name"] == "mine"
    again = run("learn", tmp_path / "good", "--profile", "mine", "--effort", "fast")
    assert again.returncode == 2 and "--force" in again.stderr


def test_learn_takes_several_products_and_profiles_lists_them(tmp_path: Path) -> None:
    for number in range(4):
        write(tmp_path / "goods" / "board" / f"{number}.png", noisy(board(), 5, number))
    for number in range(3):
        write(tmp_path / "goods" / "tile" / f"{number}.png", tile(number))
    (tmp_path / "goods" / "tile" / "zero.png").write_bytes(b"")
    done = run("learn", tmp_path / "goods", "--products", "--profile", "line", "--effort", "fast")
    assert done.returncode == 0, done.stderr
    assert "zero.png" in done.stderr
    assert "line is of 2 products." in done.stderr
    board_said, tile_said = (
        done.stderr.partition(f"Learned {name} from {n} pictures")[2].split("Learned")[0]
        for name, n in (("board", 4), ("tile", 3))
    )
    assert "until then 0.2 is decided at" in board_said
    assert "with fewer than 4 nothing is decided" in tile_said
    assert "board: 4 pictures, rates from 0.2" in run("profiles").stdout
    (listed,) = rows(run("profiles", "--json").stdout)
    assert (listed["name"], listed["kind"]) == ("line", "products")
    picture = write(tmp_path / "new.png", noisy(board(), 5, 50))
    shown = run("inspect", picture, "--profile", "line", "--model", "evidence")
    assert shown.returncode == 0 and "board" in shown.stdout
    again = run("learn", tmp_path / "goods", "--products", "--profile", "line")
    assert again.returncode == 2 and "--force" in again.stderr


def test_a_full_disk_while_learning_leaves_no_half_profile(tmp_path: Path) -> None:
    write_tiles(tmp_path / "good", 4)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        done = run("learn", tmp_path / "good", "--profile", tmp_path / "p", "--effort", "fast")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert done.returncode == 2
    assert "can't be written" in done.stderr and "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good"]


def test_doctor_says_what_would_be_used() -> None:
    done = run("doctor", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert found["weights_ok"]
    assert "no language model" in found["reasoner"]
    assert found["dinov2"].startswith("DINOv2: ")
    assert "networks run on " in found["device"]


def test_doctor_says_what_is_wrong_with_the_settings() -> None:
    wrong = {"ANOMALIST_BACKBONE": "./none", "ANOMALIST_DEVICE": "tpu"}
    done = run("doctor", "--json", **wrong)
    found = json.loads(done.stdout)
    assert "./none is not a model folder" in found["dinov2"]
    assert "The device tpu is unknown" in found["device"]


def test_an_unknown_device_ends_the_command_at_once(tmp_path: Path) -> None:
    done = run("learn", tmp_path, "--profile", "p", ANOMALIST_DEVICE="tpu")
    assert done.returncode == 2
    assert "The device tpu is unknown." in done.stderr


def test_help_does_not_import_the_heavy_packages() -> None:
    check = (
        "import sys; sys.argv = ['anomalist', '--help']\n"
        "from anomalist.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'faiss', 'cv2', 'skimage', 'scipy', 'langchain', 'jinja2'}\n"
        "sys.exit(f'imported {heavy & set(sys.modules)}' if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


def test_stdout_may_be_closed_early(tiles_profile: Profile, mixed: Path) -> None:
    with Forked("inspect", mixed, "--profile", tiles_profile.path, "--json") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert "Traceback" not in process.communicate()[1]


WITHOUT_EXTRAS = """
import sys
from anomalist.cli.app import EXTRAS, main

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in EXTRAS:
            return self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
main()
"""


def without_extras(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """The command line where no package of an extra is installed."""
    command = [sys.executable, "-c", WITHOUT_EXTRAS, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_pictures_need_no_package_of_an_extra(tiles_profile: Profile, mixed: Path) -> None:
    done = without_extras("inspect", mixed, "--profile", tiles_profile.path, "--json")
    assert "Traceback" not in done.stderr
    assert rows(done.stdout)


@pytest.mark.parametrize(("extra", "words"), [("models", ("chat", "a.png")), ("models", ("triage", "a.mp4"))])
def test_what_needs_an_extra_names_it(
    extra: str, words: tuple[str, ...], street: Scene, tmp_path: Path
) -> None:
    place = ("--profile", str(street.path)) if words[0] == "triage" else ()
    (tmp_path / words[1]).write_bytes(b"")
    done = without_extras(words[0], tmp_path / words[1], *place)
    assert done.returncode == 2
    assert f"anomalist[{extra}]" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupt_says_what_is_kept_and_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("anomalist.vision.learned.learned_folders", interrupted)
    found = run("profiles")
    assert found.returncode == 130
    assert found.stderr.strip().splitlines() == [
        "Interrupted. What is finished in a folder (--out) is kept; run the same command to go on there."
    ]
