"""The rules on disk: versions, crashes, several processes, damage."""

from __future__ import annotations

import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from anomalist.errors import DataError
from anomalist.memory.cases import CaseStore, Feedback
from anomalist.memory.rules.store import RuleStore
from tests.memory.rules.made import rule


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cases.sqlite"


def test_every_version_stays(path: Path) -> None:
    with RuleStore(path) as store:
        (first,) = store.add("cam3", [rule("a man is juggling")], who="alice")
        store.change(first.model_copy(update={"severity": 2}), who="bob")
    with RuleStore(path) as store:
        history = store.history("1")
        assert [(v.rule.version, v.rule.severity, v.who) for v in history] == [(1, 0, "alice"), (2, 2, "bob")]
        assert store.get("rule:1").severity == 2
        assert store.profile_of(1) == "cam3"


def test_a_change_of_an_older_version_is_refused(path: Path) -> None:
    with RuleStore(path) as store, RuleStore(path) as other:
        (first,) = store.add("cam3", [rule("a man is juggling")])
        other.change(first.model_copy(update={"severity": 2}))
        with pytest.raises(DataError, match="changed meanwhile"):
            store.change(first.model_copy(update={"severity": 3}))
        with pytest.raises(DataError, match="changed meanwhile"):
            store.replace("cam3", [rule("something new")], {first.id: first})
        assert len(store.list("cam3")) == 1, "all or nothing"


@pytest.mark.parametrize("id", ["rule:9", "case:1", "", "rule:0", "1; DROP TABLE rules"])
def test_a_rule_that_is_not_there_is_one_error(path: Path, id: str) -> None:
    with RuleStore(path) as store, pytest.raises(DataError, match="rule"):
        store.get(id)


def test_rules_without_a_profile_are_refused(path: Path) -> None:
    with RuleStore(path) as store, pytest.raises(DataError, match="--profile"):
        store.add(" ", [rule("a man is juggling")])


def test_cases_live_in_the_same_file(path: Path) -> None:
    with CaseStore(path) as cases:
        cases.add(Feedback(action="seen", media="event", source="a.mp4"))
    with RuleStore(path) as store:
        store.add("cam3", [rule("a man is juggling")])
    with CaseStore(path) as cases:
        assert len(cases.list()) == 1


def write_many(path: Path, start: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    with RuleStore(path) as store:
        for number in range(20):
            store.add("cam3", [rule(f"thing {number} is there")])


def test_two_processes_write_at_once_and_nothing_is_lost(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(2)
    workers = [context.Process(target=write_many, args=(path, start)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    with RuleStore(path) as store:
        rules = store.list("cam3")
    assert len({each.id for each in rules}) == len(rules) == 40


@pytest.mark.parametrize("damage", ["cut in half", "text", "row"])
def test_a_damaged_file_is_named_and_left_alone(path: Path, damage: str) -> None:
    with RuleStore(path) as store:
        store.add("cam3", [rule(f"thing {n} is there") for n in range(300)])
    if damage == "row":
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE rule_versions SET body = '{\"text\": 1}'")
    elif damage == "text":
        path.write_text("these are my rules " * 200)
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"cases\.sqlite"), RuleStore(path) as store:
        store.list("cam3")
    assert path.read_bytes() == before
