"""Measuring in several processes gives the records of one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from anomalist.composition import InspectionSettings
from anomalist.errors import DataError, ProfileError
from anomalist.pipeline import Inspector
from anomalist.types.image import Record
from anomalist.vision.evidence import EvidenceSource, ProfileEvidence
from anomalist.vision.parallel import evidence_opener, measure_in_processes, open_checked
from anomalist.vision.profile import Profile
from tests.boards import board, noisy
from tests.pictures import holed, tile, write, write_tiles


def decided(record: Record) -> Record:
    return record.replace(time=None, milliseconds=None)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write(tmp_path / "good.png", board())


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Good tiles that get darker all the time, two with holes, and what can't be read."""
    drifting = [write(tmp_path / f"a{i:02d}.png", tile(500 + i) - 30) for i in range(20)]
    holes = [write(tmp_path / f"b{i}.png", holed(900 + i)) for i in range(2)]
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    return [*drifting[:7], tmp_path / "bad.png", holes[0], *drifting[7:], tmp_path / "gone.png", holes[1]]


def test_two_workers_give_the_records_of_one_in_the_same_order(
    tiles_profile: Profile, pictures: list[Path]
) -> None:
    one, two = (
        [decided(each.record) for each in Inspector(tiles_profile, workers=n).inspect_many(pictures)]
        for n in (1, 2)
    )
    assert one == two
    assert [record.source for record in two] == [str(path) for path in pictures]
    assert [record.status for record in two].count("error") == 2
    drifts = [record.input_shift.drift for record in two if record.input_shift and record.input_shift.drift]
    assert drifts  # the run was seen as one, in order


def test_workers_are_no_part_of_what_a_record_depends_on(tiles_profile: Profile) -> None:
    one, two = (Inspector(tiles_profile, workers=n).settings_digest for n in (1, 2))
    assert one == two
    with pytest.raises(DataError, match="0 workers"):
        Inspector(tiles_profile, workers=0)


def test_a_picture_that_kills_processes_becomes_a_record_with_its_error(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the workers, reading is replaced by what dies of a file that begins so."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, pathlib\n"
        "read = pathlib.Path.read_bytes\n"
        "def read_bytes(path):\n"
        "    data = read(path)\n"
        "    if data.startswith(b'poison'):\n"
        "        os.kill(os.getpid(), 11)\n"
        "    return data\n"
        "pathlib.Path.read_bytes = read_bytes\n"
    )
    paths = [write(tmp_path / "new" / f"{i}.png", noisy(board(), i)) for i in range(5)]
    paths[2].write_bytes(b"poison")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    inspector = Inspector(InspectionSettings(reference=good, workers=2))
    records = [each.record for each in inspector.inspect_many(paths)]
    assert [record.status for record in records] == ["ok", "ok", "error", "ok", "ok"]
    assert "killed by SIGSEGV" in str(records[2].error) and "set aside" in str(records[2].error)


def test_a_worker_with_another_version_of_the_profile_is_refused(
    tiles_profile: Profile, tmp_path: Path
) -> None:
    source = ProfileEvidence(tiles_profile, 0.05)
    assert open_checked(evidence_opener(source), source.digest).digest == source.digest
    with pytest.raises(ProfileError, match=r"another version of .* \(.*, not 0000"):
        open_checked(evidence_opener(source), "0" * 64)
    copy = Path(shutil.copytree(tiles_profile.path, tmp_path / "copy"))
    moved = Inspector(copy, workers=2)
    shutil.rmtree(copy)
    with pytest.raises(ProfileError, match="copy"):
        list(moved.inspect_many(write_tiles(tmp_path / "new", 2)))


def test_other_sources_are_opened_again_as_they_are(good: Path, tmp_path: Path) -> None:
    from anomalist.vision.detectors.reference import load_reference
    from anomalist.vision.detectors.unsupervised import MutualEvidence, ZeroShotEvidence

    tiles = write_tiles(tmp_path / "new", 5)
    sources: list[EvidenceSource] = [load_reference(good), ZeroShotEvidence(), MutualEvidence(tiles, 3)]
    for source in sources:
        assert open_checked(evidence_opener(source), source.digest).name == source.name

    class Stranger:
        name, digest = "stranger", "0"

    with pytest.raises(DataError, match="stranger can't be opened in another process"):
        next(measure_in_processes(Stranger(), tiles, 2))  # type: ignore[arg-type]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interruption_ends_all_processes(good: Path, tmp_path: Path) -> None:
    for number in range(60):
        shutil.copy(good, tmp_path / f"{number}.png")
    words = ["inspect", tmp_path, "--reference", good, "--workers", "2", "--json"]
    command = [sys.executable, "-c", "from anomalist.cli.app import main; main()", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # in the background it is ignored
    ) as run:
        assert run.stdout is not None and run.stderr is not None
        assert run.stdout.readline()
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does: all of them get it
        messages = run.stderr.read().decode()
        assert run.wait(120) == 130
    assert "Traceback" not in messages
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.killpg(run.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("a worker is left")
