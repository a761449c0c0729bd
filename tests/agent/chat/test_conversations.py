from __future__ import annotations

import pickle
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from anomalist.agent.chat.chat import Chat
from anomalist.agent.chat.conversations import MAX_NAME_CHARS, Conversations
from anomalist.agent.tools.subject import Subject
from anomalist.errors import DataError


def test_what_a_conversation_is_about_is_kept_with_its_records(one: Subject, kept: Conversations) -> None:
    kept.save_subject("a", {"profile": "tiles"}, one)
    kept.save_subject("r", {"run": "out"}, one)
    assert kept.records("a") == (one.records, ())
    assert kept.records("r") == ((), ())  # a run has its own
    entry = kept.find("a")
    assert entry is not None and entry.about == {"profile": "tiles"} and entry.turns == 0
    assert kept.find("b") is None
    with pytest.raises(DataError, match="no conversation 'b'"):
        kept.records("b")


def test_a_new_conversation_gets_a_name_like_the_wanted_one(one: Subject, kept: Conversations) -> None:
    names = [kept.begin("part", {}, one, numbered=True) for _ in range(3)]
    assert names == ["part", "part-2", "part-3"]
    assert kept.begin("\n\x00", {}, one, numbered=True) == "chat"
    assert len(kept.begin("x" * 500, {}, one, numbered=True)) <= MAX_NAME_CHARS
    with pytest.raises(DataError, match="nothing to talk about"):
        kept.begin("empty", {}, Subject())


def test_a_conversation_that_is_there_is_not_begun_again(
    one: Subject, three: Subject, kept: Conversations
) -> None:
    with Conversations(kept.path) as other:
        other.begin("day 1", {}, one)
        with pytest.raises(DataError, match="'day 1' already"):
            kept.begin("day 1", {}, three)
    assert kept.records("day 1") == (one.records, ())


def test_conversations_that_begin_at_once_have_names_of_their_own(one: Subject, kept: Conversations) -> None:
    def begun(_: int) -> str:
        with Conversations(kept.path) as own:
            start.wait(30)
            return own.begin("part", {}, one, numbered=True)

    start = threading.Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        names = list(pool.map(begun, range(4)))
    assert sorted(names) == ["part", "part-2", "part-3", "part-4"]


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 81])
def test_a_name_that_people_can_not_write_is_refused(one: Subject, kept: Conversations, name: str) -> None:
    with pytest.raises(DataError, match="can't be called"):
        kept.save_subject(name, {}, one)


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\x00" + b"x" * 5000])
def test_a_broken_file_is_one_clear_error_and_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.sqlite"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.sqlite"):
        Conversations(path)
    assert path.read_bytes() == content


def test_a_file_of_something_else_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE other (a)")
    connection.close()
    with pytest.raises(DataError, match="no file of conversations"):
        Conversations(path)


@pytest.mark.parametrize("column", ["checkpoint", "records"])
def test_damage_inside_is_said_of_the_conversation(one: Subject, kept: Conversations, column: str) -> None:
    chat = Chat(one, kept, "a")
    chat.ask("Where is it?")
    kept.close()
    with sqlite3.connect(kept.path) as connection:
        if column == "records":
            connection.execute("UPDATE conversations SET pictures = '[{]'")
        else:
            connection.execute("UPDATE checkpoints SET checkpoint = x'c1c1c1'")
    connection.close()
    with Conversations(kept.path) as again:
        with pytest.raises(DataError, match=r"'a' in .* is damaged"):
            again.records("a") if column == "records" else again.messages("a")
        assert [entry.name for entry in again.list()] == ["a"]


def test_nothing_that_is_pickled_or_of_another_type_is_read(one: Subject, kept: Conversations) -> None:
    serde = kept.saver.serde
    with pytest.raises(NotImplementedError):
        serde.loads_typed(("pickle", pickle.dumps([1])))
    stored = serde.dumps_typed(one.records[0].regions[0])
    assert not isinstance(serde.loads_typed(stored), type(one.records[0].regions[0]))


def test_one_checkpoint_of_each_conversation_stays(one: Subject, kept: Conversations) -> None:
    for name in ("a", "b"):
        chat = Chat(one, kept, name)
        for question in ("Where is it?", "How bad is it?", "How sure are you?"):
            chat.ask(question)
    kept.close()
    with sqlite3.connect(kept.path) as connection:
        rows = connection.execute("SELECT thread_id, count(*) FROM checkpoints GROUP BY 1").fetchall()
    connection.close()
    assert rows == [("a", 1), ("b", 1)]
    with Conversations(kept.path) as again:
        assert [len(again.messages(name)) for name in ("a", "b")] == [6, 6]


def test_a_conversation_goes_on_at_another_server(
    one: Subject, shared_memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Conversations() as first:
        chat = Chat(one, first, "a")
        for question in ("Where is it?", "How bad is it?"):
            chat.ask(question)
        said = first.messages("a")
        assert first._rows.execute("SELECT count(*) AS n FROM checkpoints").fetchone() == {"n": 1}
    monkeypatch.setenv("ANOMALIST_HOME", str(tmp_path / "other"))
    with Conversations() as second:
        assert [message.content for message in second.messages("a")] == [message.content for message in said]
        Chat(one, second, "a").ask("How sure are you?")
        assert len(second.messages("a")) == 6
        assert second.find("a") is not None
    assert not (tmp_path / "other").exists()


def test_a_database_that_goes_away_is_one_clear_error(one: Subject, shared_memory: str) -> None:
    with Conversations() as kept:
        chat = Chat(one, kept, "a")
        chat.ask("Where is it?")
        with psycopg.connect(shared_memory.replace("+psycopg", ""), autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                " AND backend_type = 'client backend'"
            )
        with pytest.raises(DataError, match="can't be reached"):
            chat.ask("How bad is it?")
        with pytest.raises(DataError, match="can't be reached"):
            kept.list()
    with Conversations() as again:
        assert len(again.messages("a")) == 2
