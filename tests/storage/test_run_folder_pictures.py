"""The run folder: whole rows only, whatever happens while they are written."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from anomalist.errors import DataError
from anomalist.storage.run_folder import ImageRunFolder, inspection_key, reduced_map, stored_map_size
from anomalist.types.common import Claim, DetectorInfo
from anomalist.types.image import RECORD_FORMAT, Evidence, Inspection, Media, Record

DIGEST = "0123456789abcdef" * 4
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits, signals or locks")


def inspection(source: str = "a.png", score: float = 1.5, size: int = 4) -> Inspection:
    score_map = np.arange(size * size, dtype=np.float32).reshape(size, size) + np.float32(score)
    evidence = Evidence(
        detector=DetectorInfo(name="test", digest=DIGEST),
        score=score,
        score_map=score_map,
        mask=score_map > score_map.mean(),
        roi_area=size * size,
    )
    record = Record(
        source=source,
        status="ok",
        label="anomalous",
        score=score,
        severity=2,
        claims=(Claim(text="Ein Riß\nund   mehr ☃", evidence=("score",)),),
        sha256=DIGEST,
        detector=evidence.detector,
    )
    pixels = np.zeros((size, size, 3), np.uint8)
    return Inspection(record, Media(source, DIGEST, pixels), evidence)


def failure(source: str = "a.png", sha256: str | None = None) -> Inspection:
    return Inspection(Record(source=source, status="error", error="It can't be read.", sha256=sha256))


def key(source: str = "a.png", sha256: str | None = DIGEST) -> str:
    return inspection_key(source, sha256, DIGEST, "")


def lines(folder: Path) -> list[bytes]:
    return (folder / "records.jsonl").read_bytes().splitlines(keepends=True)


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Return a run folder with three rows."""
    with ImageRunFolder.open(tmp_path / "run") as run:
        for source in ("a.png", "b.png", "c.png"):
            run.append_inspection(inspection(source), key(source))
    return tmp_path / "run"


# --- rows and files -------------------------------------------------------------------------------------


def test_a_row_begins_with_the_keys_that_people_read(tmp_path: Path) -> None:
    with ImageRunFolder.open(tmp_path) as run:
        run.append_inspection(inspection(), key())
    read_by_people = "source,status,label,score,p_value,threshold,severity,kind,regions,claims,error"
    assert ",".join(json.loads(lines(tmp_path)[0])).startswith(read_by_people + ",")


def test_what_was_appended_is_read_back(tmp_path: Path) -> None:
    with ImageRunFolder.open(tmp_path / "new" / "run") as run:
        stored = [
            run.append_inspection(inspection("ä.png"), key("ä.png")),
            run.append_inspection(failure("b.png"), key("b.png")),
        ]
        assert run.records() == stored
    assert ImageRunFolder(tmp_path / "new" / "run").records() == stored
    assert stored[0] == inspection("ä.png").record.replace(
        key=key("ä.png"), map=stored[0].map, mask=stored[0].mask
    )


def test_map_and_mask_lie_beside_the_rows(tmp_path: Path) -> None:
    evidence = inspection().evidence
    assert evidence is not None
    with ImageRunFolder.open(tmp_path) as run:
        record = run.append_inspection(inspection(), key())
    assert record.map == f"maps/{key()[:16]}.npy"
    assert record.mask == f"masks/{key()[:16]}.png"
    score_map = np.load(tmp_path / record.map, allow_pickle=False)
    assert score_map.dtype == np.float32
    assert np.array_equal(score_map, evidence.score_map)
    with Image.open(tmp_path / record.mask) as mask:
        assert np.array_equal(np.asarray(mask), evidence.mask * 255)


def test_an_error_row_has_no_arrays(tmp_path: Path) -> None:
    with ImageRunFolder.open(tmp_path) as run:
        record = run.append_inspection(failure(), key(sha256=None))
    assert (record.map, record.mask) == (None, None)
    assert [path.name for path in tmp_path.iterdir()] == ["records.jsonl"]


def test_a_folder_without_records_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataError, match="is not a run folder"):
            ImageRunFolder(path)


def test_only_an_opened_folder_is_written(three: Path) -> None:
    with pytest.raises(ValueError, match=r"ImageRunFolder\.open"):
        ImageRunFolder(three).append_inspection(inspection("d.png"), key("d.png"))


# --- what is done ---------------------------------------------------------------------------------------


def test_what_is_done_is_known_at_once_and_after_reopening(tmp_path: Path) -> None:
    with ImageRunFolder.open(tmp_path) as run:
        assert not run.done("a.png", key())
        run.append_inspection(inspection(), key())
        assert run.done("a.png", key())
    with ImageRunFolder.open(tmp_path) as run:
        assert run.done("a.png", key())
        assert not run.done("other.png", key("other.png"))


@pytest.mark.parametrize(("sha256", "done"), [(None, False), (DIGEST, True)])
def test_a_file_that_could_not_be_read_is_tried_again(tmp_path: Path, sha256: str | None, done: bool) -> None:
    with ImageRunFolder.open(tmp_path) as run:
        run.append_inspection(failure(sha256=sha256), key(sha256=sha256))
        assert (run.done("a.png", key(sha256=sha256)) is not None) is done
    with ImageRunFolder.open(tmp_path) as run:
        assert (run.done("a.png", key(sha256=sha256)) is not None) is done


def test_a_mended_file_replaces_its_error_in_its_old_place(tmp_path: Path) -> None:
    with ImageRunFolder.open(tmp_path) as run:
        run.append_inspection(failure("a.png"), key(sha256=None))
        run.append_inspection(inspection("b.png"), key("b.png"))
        run.append_inspection(inspection("a.png"), key("a.png"))
        assert [(record.source, record.status) for record in run.records()] == [
            ("a.png", "ok"),
            ("b.png", "ok"),
        ]
    assert len(lines(tmp_path)) == 3, "nothing is erased"


def test_only_the_last_row_of_a_picture_counts_as_done(tmp_path: Path) -> None:
    before, after = key(sha256="1" * 64), key(sha256="2" * 64)
    with ImageRunFolder.open(tmp_path) as run:
        run.append_inspection(inspection(score=1), before)
        run.append_inspection(inspection(score=2), after)
    with ImageRunFolder.open(tmp_path) as run:  # the file has been changed back in the meantime
        assert run.done("a.png", after)
        assert not run.done("a.png", before)
        run.append_inspection(inspection(score=1), before)
        assert run.done("a.png", before)
        assert not run.done("a.png", after)
        assert [record.score for record in run.records()] == [1]


PARTS = st.tuples(
    st.text(max_size=5), st.none() | st.text(max_size=5), st.text(max_size=5), st.text(max_size=5)
)


@settings(max_examples=100)
@given(PARTS, PARTS)
def test_keys_are_equal_only_when_all_their_parts_are(one: tuple[str, ...], two: tuple[str, ...]) -> None:
    assert (inspection_key(*one) == inspection_key(*two)) == (one == two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (("a", "b", "c", "d"), ("ab", "", "c", "d")),
        (("a", None, "c", "d"), ("a", "None", "c", "d")),
        (("a", None, "c", "d"), ("a", "", "c", "d")),
        (("a", "b", 'c","d', ""), ("a", "b", "c", 'd",""')),
        (("a\n", "b", "c", "d"), ("a", "\nb", "c", "d")),
    ],
)
def test_keys_do_not_run_together(one: tuple[str, ...], two: tuple[str, ...]) -> None:
    assert inspection_key(*one) != inspection_key(*two)
    assert len(inspection_key(*one)) == 64


# --- crashes --------------------------------------------------------------------------------------------


def test_a_last_line_torn_at_any_byte_is_ignored_and_written_over(three: Path) -> None:
    content = (three / "records.jsonl").read_bytes()
    whole = ImageRunFolder(three).records()
    start = len(content) - len(lines(three)[-1])
    for end in range(start, len(content)):
        (three / "records.jsonl").write_bytes(content[:end])
        assert ImageRunFolder(three).records() == whole[:2]
        with ImageRunFolder.open(three) as run:
            assert (three / "records.jsonl").read_bytes() == content[:start]
            assert not run.done("c.png", key("c.png"))
            assert run.done("b.png", key("b.png"))
    with ImageRunFolder.open(three) as run:
        run.append_inspection(inspection("c.png"), key("c.png"))
    assert (three / "records.jsonl").read_bytes() == content


WRITER = """
import sys
from pathlib import Path
import numpy as np
from anomalist.storage.run_folder import ImageRunFolder
from anomalist.errors import DataError
from anomalist.types.common import DetectorInfo
from anomalist.types.image import Evidence, Inspection, Record

def inspection(source, size):
    score_map = np.ones((size, size), np.float32)
    evidence = Evidence(DetectorInfo(name="t", digest="0"), 1.0, score_map, score_map > 2, size * size)
    return Inspection(Record(source=source, status="ok", sha256="0"), None, evidence)

folder = Path(sys.argv[1])
"""


def run_python(code: str, folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WRITER + code, str(folder)], stdout=subprocess.PIPE, text=True
    )


@contextlib.contextmanager
def running(code: str, folder: Path) -> "Iterator[subprocess.Popen[str]]":
    """Run a writer and kill it in the end."""
    with run_python(code, folder) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@posix_only
@pytest.mark.parametrize("milliseconds", [20, 73, 141])
def test_a_killed_process_leaves_no_row_without_its_files(tmp_path: Path, milliseconds: int) -> None:
    endless = """
with ImageRunFolder.open(folder) as run:
    print("ready", flush=True)
    for number in range(10**9):
        run.append_inspection(inspection(f"{number}.png", 32), f"{number:064}"[::-1])
"""
    with running(endless, tmp_path) as process:
        time.sleep(milliseconds / 1000)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with ImageRunFolder.open(tmp_path) as run:
        records = run.records()
        assert all(line.endswith(b"\n") for line in lines(tmp_path))
        run.append_inspection(inspection("last.png"), key("last.png"))
        assert len(run.records()) == len(records) + 1
    assert [record.source for record in records] == [f"{number}.png" for number in range(len(records))]
    for record in records:
        assert record.map is not None
        assert record.mask is not None
        assert np.load(tmp_path / record.map).shape == (32, 32)
        with Image.open(tmp_path / record.mask) as mask:
            mask.load()


@posix_only
@pytest.mark.parametrize(
    ("limit", "size"), [(5000, 4), (5001, 4), (5400, 4), (2000, 64)], ids=["row", "row 2", "row 3", "map"]
)
def test_a_full_disk_is_a_clear_error_and_leaves_no_half_row(tmp_path: Path, limit: int, size: int) -> None:
    until_full = f"""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
with ImageRunFolder.open(folder) as run:
    try:
        for number in range(10**9):
            run.append_inspection(inspection(f"{{number}}.png", {size}), f"{{number:064}}"[::-1])
    except DataError as error:
        print(number, error)
"""
    with run_python(until_full, tmp_path) as process:
        said, _ = process.communicate(timeout=300)
    number, message = said.split(" ", 1)
    assert message.startswith("The disk is full")
    assert "Make room" in message
    content = (tmp_path / "records.jsonl").read_bytes()
    assert content.count(b"\n") == int(number)
    assert content == b"" or content.endswith(b"\n")
    assert list(tmp_path.rglob("*.part")) == []
    assert (size == 64) == (int(number) == 0)
    with ImageRunFolder.open(tmp_path) as run:  # there is room again
        run.append_inspection(inspection("last.png"), key("last.png"))
        assert len(run.records()) == int(number) + 1


# --- what can't be used ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        b"not json\n",
        b'{"source": "b.png", "status"\n',
        b'{"source": "b.png", "status": "perhaps"}\n',
        b'{"source": "b.png", "status": "ok", "unknown": 1}\n',
        b'{"source": "b.png", "status": "ok", "format": "one"}\n',
        b"[]\n",
        b"null\n",
        b"[" * 100_000 + b"\n",
        b"\x00" * 20 + b"\n",
        b'{"source": "\xff", "status": "ok"}\n',
    ],
)
def test_a_damaged_line_is_named_by_its_number(three: Path, damage: bytes) -> None:
    before = lines(three)
    (three / "records.jsonl").write_bytes(before[0] + damage + before[2])
    damaged = (three / "records.jsonl").read_bytes()
    with pytest.raises(DataError, match=r"Line 2 of .*records\.jsonl. is damaged"):
        ImageRunFolder(three).records()
    with pytest.raises(DataError, match="Line 2 of"):
        ImageRunFolder.open(three)
    assert (three / "records.jsonl").read_bytes() == damaged, "nothing is thrown away"


def test_removing_the_damaged_line_helps_as_the_message_says(three: Path) -> None:
    first, _, third = lines(three)
    (three / "records.jsonl").write_bytes(first + b"\n" + third)
    with ImageRunFolder.open(three) as run:
        assert [record.source for record in run.records()] == ["a.png", "c.png"]
        assert not run.done("b.png", key("b.png"))


def test_rows_of_a_newer_format_ask_for_an_upgrade(three: Path) -> None:
    newer = {"source": "d.png", "status": "ok", "format": RECORD_FORMAT + 1, "something": "new"}
    with (three / "records.jsonl").open("a") as file:
        file.write(json.dumps(newer) + "\n")
    for read in (ImageRunFolder.open, lambda path: ImageRunFolder(path).records()):
        with pytest.raises(DataError, match=rf"Line 4 .*has format {RECORD_FORMAT + 1}.*Upgrade anomalist"):
            read(three)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("mine")
    for path in (tmp_path / "results", tmp_path / "results" / "below"):
        with pytest.raises(DataError, match="is not a folder"):
            ImageRunFolder.open(path)
    assert (tmp_path / "results").read_text() == "mine"


@posix_only
def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o555)
    monkeypatch.chdir(tmp_path)
    try:
        if os.geteuid() == 0:  # root may write everywhere
            os.seteuid(65534)
        for path in (Path(), Path("new")):
            with pytest.raises(DataError, match=r"can't be written: .*you may write to"):
                ImageRunFolder.open(path)
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        tmp_path.chmod(0o755)


@posix_only
def test_two_processes_do_not_write_to_one_folder(three: Path) -> None:
    hold = """
run = ImageRunFolder.open(folder)
print("ready", flush=True)
sys.stdin.read()
"""
    with running(hold, three):
        with pytest.raises(DataError, match=r"Another anomalist is writing to .*run"):
            ImageRunFolder.open(three)
        assert len(ImageRunFolder(three).records()) == 3, "reading goes on"
    ImageRunFolder.open(three).close()  # the lock went with the process


def test_the_lock_ends_with_the_with_statement(three: Path) -> None:
    for _ in range(2):
        with ImageRunFolder.open(three):
            pass
    with pytest.raises(RuntimeError, match="stop"), ImageRunFolder.open(three):
        raise RuntimeError("stop")
    ImageRunFolder.open(three).close()


# --- calibration ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [None, ["one", "two", "two"]])
def test_the_calibration_is_kept_beside_the_rows(tmp_path: Path, groups: list[str] | None) -> None:
    with ImageRunFolder.open(tmp_path) as run:
        assert run.calibration(DIGEST) is None
        run.write_calibration("Kachel №1", DIGEST, [0.1, 1e-17, 3.0], groups, {"method": "split"})
    assert (tmp_path / "calibration" / f"{DIGEST[:16]}.json").is_file()
    assert ImageRunFolder(tmp_path).calibration(DIGEST) == {
        "name": "Kachel №1",
        "digest": DIGEST,
        "scores": [0.1, 1e-17, 3.0],
        "groups": groups,
        "extra": {"method": "split"},
    }


def test_the_calibration_of_another_profile_is_not_mistaken_for_this_one(tmp_path: Path) -> None:
    with ImageRunFolder.open(tmp_path) as run:
        run.write_calibration("p", DIGEST, [1.0], None, {})
        assert run.calibration(DIGEST[:16] + "f" * 48) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe"])
def test_a_damaged_calibration_is_named(tmp_path: Path, damage: bytes) -> None:
    with ImageRunFolder.open(tmp_path) as run:
        run.write_calibration("p", DIGEST, [1.0], None, {})
        (tmp_path / "calibration" / f"{DIGEST[:16]}.json").write_bytes(damage)
        with pytest.raises(DataError, match=r"calibration.*is damaged"):
            run.calibration(DIGEST)


def test_the_map_of_a_large_picture_is_stored_smaller_and_no_peak_is_lost(tmp_path: Path) -> None:
    strip = np.zeros((40_001, 500), np.float32)
    strip[40_000, 499], strip[777, 13] = 7, 3
    small = reduced_map(strip)
    assert small.shape == stored_map_size(strip.shape) == (20_001, 250)
    assert (small[20_000, 249], small[388, 6], np.count_nonzero(small)) == (7, 3, 2)
    whole = np.ones((4000, 4000), np.float32)
    assert reduced_map(whole) is whole
    with ImageRunFolder.open(tmp_path) as folder:
        given = inspection()
        assert given.evidence is not None
        evidence = replace(given.evidence, score_map=strip, mask=strip > 2, roi_area=strip.size)
        record = folder.append_inspection(replace(given, evidence=evidence), key())
    assert np.load(tmp_path / str(record.map)).shape == small.shape
    with Image.open(tmp_path / str(record.mask)) as mask:
        assert mask.size == (500, 40_001)
