"""The case store: nothing is lost, nothing is overwritten, and what is alike is found."""

from __future__ import annotations

import getpass
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from anomalist.errors import DataError
from anomalist.memory.cases import Case, CaseStore, Feedback
from anomalist.settings import Settings
from anomalist.storage import sqlite


def feedback(**changes: Any) -> Feedback:
    values = {"action": "dismissed", "media": "event", "source": "yard.mp4", "profile": "yard", **changes}
    return Feedback.model_validate(values)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cases.sqlite"


@pytest.fixture
def store(home_of_rows: Path) -> Iterator[CaseStore]:
    with CaseStore(home_of_rows / "cases.sqlite") as store:
        yield store


# --- what is kept -----------------------------------------------------------------------------------------


def test_a_case_comes_back_as_it_was(store: CaseStore, path: Path) -> None:
    given = feedback(
        action="corrected",
        media="picture",
        who="Ines",
        source="tiles/7.png",
        sha256="ab" * 32,
        key="k1",
        part="R2",
        start=1.5,
        end=4,
        text="a scratch “here”\n; DROP TABLE cases",
        kind="line",
        severity=3,
        note="ask Öğe",
    )
    added = store.add(given)
    assert added.id == "case:1"
    assert abs((datetime.now(UTC) - datetime.fromisoformat(added.created)).total_seconds()) < 60
    assert Feedback(**{name: getattr(added, name) for name in Feedback.model_fields}) == given
    assert (added.undone, added.undone_by) == (None, None)
    with CaseStore(path) as other:
        assert other.get("case:1") == other.get(1) == other.get("1") == added


def test_who_is_the_user_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert feedback().who == getpass.getuser()

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert feedback().who == "unknown"


def test_it_lives_in_the_home_of_the_settings() -> None:
    with CaseStore() as store:
        assert store.path == Settings().home / "cases.sqlite"
        store.add(feedback())
    assert (Settings().home / "cases.sqlite").is_file()


@pytest.mark.parametrize(
    "changes",
    [
        {"action": "liked"},
        {"media": "sound"},
        {"severity": 5},
        {"severity": -1},
        {"start": 3, "end": 2},
        {"start": float("nan")},
        {"end": float("inf")},
        {"who": ""},
        {"colour": "red"},
    ],
)
def test_feedback_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        feedback(**changes)


def test_text_that_is_not_unicode_is_refused(store: CaseStore) -> None:
    with pytest.raises(DataError, match="not Unicode"):
        store.add(feedback(text="\ud800"))
    assert store.list() == ()


def test_the_newest_come_first_and_can_be_chosen(store: CaseStore) -> None:
    store.add(feedback())
    store.add(feedback(action="escalate"))
    store.add(feedback(profile="gate"))
    store.add(feedback(profile=None, action="seen"))
    store.undo("case:1")

    def ids(**wanted: Any) -> list[str]:
        return [case.id for case in store.list(**wanted)]

    assert ids() == ["case:4", "case:3", "case:2"]
    assert ids(undone=True) == ["case:4", "case:3", "case:2", "case:1"]
    assert ids(profile="yard") == ["case:2"]
    assert ids(profile="yard", undone=True) == ["case:2", "case:1"]
    assert ids(action="dismissed") == ["case:3"]
    assert ids(profile="nowhere") == []


def test_undoing_keeps_the_case_and_says_who_and_when(store: CaseStore) -> None:
    before = store.add(feedback(who="Ines"))
    after = store.undo(before.id, "Omar")
    assert after.undone is not None
    assert after.undone_by == "Omar"
    assert after.model_copy(update={"undone": None, "undone_by": None}) == before
    assert store.get(before.id) == after
    with pytest.raises(DataError, match=r"case:1 was undone already, by Omar at \d{4}-"):
        store.undo(before.id)


def test_the_parts_of_a_selection_hold_or_are_undone_with_it(store: CaseStore) -> None:
    parts = [(feedback(source=f"{n}.mp4"), {}) for n in range(3)]
    whole = store.add_selection(feedback(source="selection"), parts)
    store.add(feedback(source="other.mp4"))
    assert [each.source for each in store.with_parts(whole.id)] == ["selection", "0.mp4", "1.mp4", "2.mp4"]
    store.undo("case:2")
    assert [each.id for each in store.with_parts(whole.id)] == ["case:1", "case:3", "case:4"]
    assert [each.id for each in store.with_parts("case:5")] == ["case:5"]


@pytest.mark.parametrize("id", ["case:9", 9, "case:999999999999999999"])
def test_a_case_that_is_not_there_is_named(store: CaseStore, id: str | int) -> None:
    for call in (store.get, store.undo, lambda id: store.attach(id, "s", [1.0])):
        with pytest.raises(DataError, match=r'There is no case:9+ in ".*cases'):
            call(id)


@pytest.mark.parametrize("id", ["", "case:", "case:0", -1, "rule:1", "case:1x", "1; DROP", "9" * 30])
def test_what_is_no_id_is_refused(store: CaseStore, id: str | int) -> None:
    with pytest.raises(DataError, match="is not the id of a case"):
        store.get(id)


# --- embeddings -------------------------------------------------------------------------------------------


def test_the_most_similar_cases_are_found(store: CaseStore) -> None:
    for vector in ([1, 0, 0], [0, 2, 0], [3, 4, 0]):
        store.add(feedback(), {"space": vector})
    store.add(feedback())  # without an embedding
    found = store.similar("space", [0, 5, 0], 2)
    assert [case.id for case, _ in found] == ["case:2", "case:3"]
    assert [likeness for _, likeness in found] == pytest.approx([1, 0.8])
    each = store.similar_to_each("space", [[0, 5, 0], [1, 1, 1]], 2)
    assert each == (tuple(found), store.similar("space", [1, 1, 1], 2))
    assert store.similar_to_each("space", [], 2) == ()
    assert len(store.similar("space", [1, 1, 1], 99)) == 3
    assert store.similar("other", [1.0, 0, 0], 3) == ()


def test_what_is_undone_or_of_another_profile_is_not_found(store: CaseStore) -> None:
    for profile in ("yard", "gate", "yard"):
        store.add(feedback(profile=profile), {"space": [1, 2]})
    store.undo("case:1")
    assert {case.id for case, _ in store.similar("space", [1, 2], 9)} == {"case:2", "case:3"}
    assert [case.id for case, _ in store.similar("space", [1, 2], 9, profile="yard")] == ["case:3"]


def test_vectors_come_with_their_cases_and_of_length_one(store: CaseStore) -> None:
    store.add(feedback(), {"a": [3, 4], "b": [1, 2, 2]})
    store.add(feedback(profile="gate"))
    store.attach(2, "a", np.array([0, 1e-30]))
    cases, vectors = store.vectors("a")
    assert [case.id for case in cases] == ["case:2", "case:1"]
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, [[0, 1], [0.6, 0.8]])
    assert store.vectors("a", profile="yard")[1].shape == (1, 2)
    assert store.vectors("none")[1].shape == (0, 0)


def test_an_embedding_can_be_replaced(store: CaseStore) -> None:
    store.add(feedback(), {"a": [1, 0]})
    store.attach("case:1", "a", [0, 1])
    assert np.array_equal(store.vectors("a")[1], [[0, 1]])


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        ([1.0, np.nan], "must be finite"),
        ([1.0, np.inf], "must be finite"),
        ([1.0, 1e300], "must be finite"),
        ([0.0, 0.0], "not all zero"),
        ([1.0, 0.0, 0.0], r'Embeddings in "a" have 2 numbers, got 3'),
        ([], r"must be \(d,\), got \(0,\)"),
        ([[1.0, 0.0]], r"must be \(d,\), got \(1, 2\)"),
    ],
)
def test_a_vector_that_does_not_fit_is_refused_and_nothing_is_stored(
    store: CaseStore, vector: list[Any], message: str
) -> None:
    store.add(feedback(), {"a": [1, 0]})
    with pytest.raises(DataError, match=message):
        store.add(feedback(), {"b": [1], "a": vector})
    with pytest.raises(DataError, match=message):
        store.attach(1, "a", vector)
    with pytest.raises(DataError, match=message):
        store.similar("a", vector, 1)
    assert len(store.list()) == 1
    assert store.vectors("b")[0] == ()


def test_a_space_needs_a_name_and_a_search_a_number(store: CaseStore) -> None:
    with pytest.raises(DataError, match="has no name"):
        store.add(feedback(), {"": [1.0]})
    with pytest.raises(ValueError, match="k must be at least 1"):
        store.similar("a", [1.0], 0)


# --- other processes, and crashes -------------------------------------------------------------------------

_WRITER = """
import sys
from anomalist.memory.cases import CaseStore
from anomalist.memory.cases import Feedback
with CaseStore(sys.argv[1]) as store:
    for number in range(int(sys.argv[3])):
        store.add(
            Feedback(action="seen", media="event", source=f"{number}.mp4", who=sys.argv[2]),
            {"space": [1.0, number]},
        )
    print("done", flush=True)
    if sys.argv[2] == "killed":
        sys.stdin.read()
"""


def writer(path: Path, who: str, cases: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _WRITER, str(path), who, str(cases)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_processes_may_make_the_store_and_write_at_once(home_of_rows: Path) -> None:
    path = home_of_rows / "cases.sqlite"
    running = [writer(path, who, 60) for who in ("Ines", "Omar", "Pia")]
    for process in running:
        process.communicate(timeout=300)
    assert [process.returncode for process in running] == [0, 0, 0]
    with CaseStore(path) as store:
        cases = store.list()
        assert len({case.id for case in cases}) == 180
        for who in ("Ines", "Omar", "Pia"):
            own = [case.source for case in cases if case.who == who]
            assert own == [f"{number}.mp4" for number in reversed(range(60))]
        assert len(store.vectors("space")[0]) == 180


def test_what_was_added_outlives_a_killed_process(home_of_rows: Path) -> None:
    path = home_of_rows / "cases.sqlite"
    process = writer(path, "killed", 20)
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=300)
    with CaseStore(path) as store:
        assert len(store.list()) == len(store.vectors("space")[0]) == 20


def test_an_error_half_way_leaves_nothing_behind(store: CaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("pulled the plug")

    monkeypatch.setattr(store, "_attach", broken)
    with pytest.raises(RuntimeError, match="pulled the plug"):
        store.add(feedback(), {"a": [1.0]})
    assert store.list() == ()


def test_a_locked_file_is_said_to_be(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "WAIT", 0.05)
    with CaseStore(path) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DataError, match=r"cases\.sqlite.* is being written by another process"):
            store.add(feedback())
        assert store.list() == ()  # reading goes on


# --- files that are not ours, or broken -------------------------------------------------------------------


def _of_another_program(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE cases (id INTEGER)")
    connection.commit()
    connection.close()


def _of_another_program_with_a_version(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 1")
    connection.close()


def _newer(path: Path) -> None:
    full(path)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {sqlite.SCHEMA_VERSION + 1}")
    connection.close()


def _cut(path: Path) -> None:
    full(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _scribbled(path: Path) -> None:
    full(path)
    data = bytearray(path.read_bytes())
    data[4096:] = b"\x5a" * (len(data) - 4096)
    path.write_bytes(data)


def full(path: Path) -> None:
    with CaseStore(path) as store:
        for number in range(40):
            store.add(feedback(note="x" * 200), {"space": [1.0, number] * 50})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b"clip,frame\n" * 900), "is not a database, or is damaged"),
        (lambda path: path.write_bytes(b"SQLite format 3\x00" + b"\x07" * 4000), "is not a database|damaged"),
        (_of_another_program, "is a database of another program"),
        (_of_another_program_with_a_version, "is a database of another program"),
        (_newer, r"has version 2, this anomalist reads up to 1\. Upgrade"),
        (_cut, "is damaged"),
        (_scribbled, "is damaged"),
    ],
)
def test_a_file_that_is_not_ours_is_refused_and_left_alone(
    path: Path, make: Callable[[Path], object], message: str
) -> None:
    make(path)
    before = path.read_bytes()
    with pytest.raises(DataError, match=message) as caught:
        CaseStore(path)
    assert str(path) in caught.value.message
    assert path.read_bytes() == before
    assert not re.search(r"sqlite3|Traceback", str(caught.value))


def test_a_case_that_was_tampered_with_is_said_to_be_damaged(path: Path) -> None:
    with CaseStore(path) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        store.add(feedback(), {"space": [1.0, 2.0]})
        other.execute("UPDATE cases SET action = 'liked'")
        with pytest.raises(DataError, match=r"cases\.sqlite.* is damaged"):
            store.list()
        other.execute("UPDATE cases SET action = 'seen'")
        other.execute("UPDATE embeddings SET vector = x'0102'")
        with pytest.raises(DataError, match=r"cases\.sqlite.* is damaged"):
            store.vectors("space")
        other.execute("DROP TABLE embeddings")
        with pytest.raises(DataError, match=r"cases\.sqlite.* can't be used"):
            store.vectors("space")


def test_an_empty_file_is_a_new_one(path: Path) -> None:
    path.touch()
    with CaseStore(path) as store:
        assert store.add(feedback()).id == "case:1"


@pytest.mark.parametrize("name", [".", "file/below", "a\x00b", "x" * 300])
def test_a_place_that_can_not_be_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"is not a file|can't be opened"):
        CaseStore(tmp_path / name)


def test_folders_are_made(tmp_path: Path) -> None:
    CaseStore(tmp_path / "a" / "b" / "cases.sqlite").close()
    assert [file.name for file in (tmp_path / "a" / "b").iterdir()] == ["cases.sqlite"]


def test_a_case_can_not_be_changed(store: CaseStore) -> None:
    case: Case = store.add(feedback())
    with pytest.raises(ValidationError, match="frozen"):
        case.note = "other"  # type: ignore[misc]
