"""Row stores: the same in a file and in a database that several servers share."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import psycopg
import pytest

from anomalist.agent.chat.conversations import Conversations
from anomalist.agent.tools.subject import Subject
from anomalist.errors import DataError
from anomalist.memory.cases import CaseStore, Feedback
from anomalist.memory.rules.store import RuleStore, rules_for
from anomalist.memory.scenes.memory import load_memory, memory_path
from anomalist.memory.scenes.scene import new_scene
from anomalist.memory.scenes.store import SceneStore
from anomalist.storage.postgres import MAX_NAME_BYTES, schema_name, translated
from anomalist.storage.row_store import is_stored, shared_rows
from tests.memory.rules.rule_cases import rule


def feedback(source: str, **changes: object) -> Feedback:
    values = {"action": "confirmed", "media": "picture", "source": source, "profile": "tiles", **changes}
    return Feedback.model_validate(values)


@pytest.fixture
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The homes of two servers; the first is that of this process."""
    monkeypatch.setenv("ANOMALIST_HOME", str(tmp_path / "one"))
    return tmp_path / "one", tmp_path / "two"


@pytest.mark.usefixtures("shared_memory")
def test_what_one_home_stores_another_reads(
    homes: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_stored(homes[0] / "cases.sqlite")
    with CaseStore() as cases:
        case = cases.add(feedback("a.png"), {"space": [1.0, 2.0]})
    with RuleStore() as rules:
        rules.add("tiles", [rule("a scratch is seen")])
    with SceneStore(memory_path("yard")) as scenes:
        scenes.add([new_scene("anomalous", "fire", "a bin is on fire", "ines")])
    with Conversations() as conversations:
        conversations.save_subject("shift", {"profile": "tiles"}, Subject())
    assert not list(homes[0].rglob("*.sqlite*")), "nothing is in files"

    monkeypatch.setenv("ANOMALIST_HOME", str(homes[1]))
    assert is_stored(homes[1] / "cases.sqlite")
    with CaseStore() as cases:
        assert cases.list() == (case,)
        assert cases.similar("space", [1.0, 2.0], 1)[0].similarity == pytest.approx(1)
    assert [each.text for each in rules_for("tiles")] == ["a scratch is seen"]
    with SceneStore(memory_path("yard")) as scenes:
        assert [each.text for each in scenes.list()] == ["a bin is on fire"]
    assert [each.text for each in load_memory("yard").own] == ["a bin is on fire"]
    with Conversations() as conversations:
        assert [entry.name for entry in conversations.list()] == ["shift"]
    assert not homes[1].exists()


def test_a_new_database_takes_the_rows_of_the_files_along(
    homes: tuple[Path, Path], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with CaseStore() as cases:
        kept = cases.add(feedback("a.png"), {"space": [3.0, 4.0]})
        undone = cases.undo(cases.add(feedback("b.png")).id)
    with RuleStore() as rules:
        (first,) = rules.add("tiles", [rule("a scratch is seen")])
        rules.change(first.replace(severity=3))
        history = rules.history(first.id)
    with SceneStore(memory_path("yard")) as scenes:
        scenes.add(
            [new_scene("normal", "day", "a man walks", "ines"), new_scene("normal", "day", "a dog", "ines")]
        )
        scenes.delete(["scene:2"])
        stored, vectors = scenes.scenes_and_vectors()
    files = {path: path.read_bytes() for path in homes[0].rglob("*.sqlite")}

    request.getfixturevalue("shared_memory")
    with CaseStore() as cases:
        assert cases.list(undone=True) == (undone, kept)
        assert cases.vectors("space")[1] == pytest.approx(np.array([[0.6, 0.8]]))
        assert cases.add(feedback("c.png")).id == "case:3", "ids go on"
    with RuleStore() as rules:
        assert rules.history(first.id) == history
        assert rules.add("tiles", [rule("a dent is seen")])[0].id == "rule:2"
    with SceneStore(memory_path("yard")) as scenes:
        assert scenes.list() == stored
        assert (scenes.scenes_and_vectors()[1] == vectors).all()
        assert scenes.add([new_scene("normal", "day", "a cat", "ines")])[0].id == "scene:3", (
            "never used twice"
        )
    assert {path: path.read_bytes() for path in homes[0].rglob("*.sqlite")} == files, "and stay as they are"

    monkeypatch.setenv("ANOMALIST_HOME", str(homes[1]))
    (homes[1] / "memory").mkdir(parents=True)
    with CaseStore() as cases:
        assert len(cases.list()) == 2


@pytest.mark.usefixtures("shared_memory", "homes")
def test_of_two_who_change_a_rule_at_once_one_is_told() -> None:
    with RuleStore() as store:
        (first,) = store.add("tiles", [rule("a scratch is seen")])
    begin, told = threading.Barrier(8), []

    def change(severity: int) -> None:
        with RuleStore() as store:
            begin.wait()
            try:
                store.change(first.replace(severity=severity % 5, note=str(severity)))
            except DataError as error:
                told.append(str(error))

    threads = [threading.Thread(target=change, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 7
    assert all("was changed meanwhile" in text for text in told)
    with RuleStore() as store:
        assert len(store.history(first.id)) == 2


@pytest.mark.usefixtures("shared_memory", "homes")
def test_a_newer_database_is_refused_and_another_schema_is_said_to_be_missing_tables() -> None:
    CaseStore().close()
    with CaseStore() as store:
        store._rows.execute("UPDATE layout SET version = 9")
    with pytest.raises(DataError, match=r"has version 9.*reads up to 1"):
        CaseStore()


def test_a_writer_that_does_not_end_is_named(
    homes: tuple[Path, Path], shared_memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalist.storage.postgres.WAIT", 0.1)
    url = shared_memory.replace("+psycopg", "")
    with CaseStore() as store, closing(psycopg.connect(url)) as other:
        other.execute("SELECT pg_advisory_xact_lock(hashtextextended('anomalist_cases', 0))")
        with pytest.raises(DataError, match="are being written by somebody else"):
            store.add(feedback("a.png"))
        assert store.list() == (), "reading goes on"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://plant/anomalist", "not the address of a PostgreSQL database"),
        ("postgresql://u:hush@127.0.0.1:1/anomalist", "postgresql://127.0.0.1:1/anomalist can't be reached"),
        ("postgresql://u:hush@127.0.0.1:port/x y", "can't be re"),
        ("postgresql://u:hush@[::1/x", "can't be re"),
    ],
)
def test_an_address_that_is_none_or_not_there_is_one_error_without_the_password(
    monkeypatch: pytest.MonkeyPatch, url: str, message: str
) -> None:
    monkeypatch.setenv("ANOMALIST_MEMORY", url)
    for opened in (CaseStore, RuleStore, Conversations):
        with pytest.raises(DataError, match=message) as found:
            opened()
        assert "hush" not in str(found.value)
    with pytest.raises(DataError, match=message):
        rules_for("tiles")


def test_files_elsewhere_are_never_shared(
    homes: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANOMALIST_MEMORY", "postgresql://nobody@127.0.0.1:1/nothing")
    for path in (tmp_path / "cases.sqlite", homes[0] / "other.sqlite", homes[0] / "runs" / "cases.sqlite"):
        assert shared_rows(path) is None
        CaseStore(path).close()
        assert path.is_file()


def test_names_of_schemas_fit_and_differ() -> None:
    names = {schema_name(f"memory_{text}") for text in ("yard", "y" * 80, "y" * 81, "Çağ" * 30, "ç" * 40)}
    assert len(names) == 5
    assert all(len(name.encode()) <= MAX_NAME_BYTES for name in names)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT * FROM a WHERE b = ? AND c = :name", "SELECT * FROM a WHERE b = %s AND c = %(name)s"),
        ("SELECT a % 2, b::text", "SELECT a %% 2, b::text"),
        (
            "CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT, b REAL, c BLOB, d INTEGER) STRICT",
            "CREATE TABLE a (id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, b DOUBLE PRECISION,"
            " c BYTEA, d BIGINT)",
        ),
    ],
)
def test_statements_are_translated(statement: str, expected: str) -> None:
    assert translated(statement) == expected
