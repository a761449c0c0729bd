"""The rules on disk: versions, crashes, several processes, damage."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
from pathlib import Path

import pytest

from anomalist.errors import DataError
from anomalist.memory.cases import CaseStore, Feedback
from anomalist.memory.rules.induction import Induction
from anomalist.memory.rules.rule import Rule, shipped_anomalies
from anomalist.memory.rules.store import (
    RuleStore,
    adopt_shipped_rules,
    find_profile_rule,
    rules_for,
    store_induction,
)
from anomalist.storage.row_store import is_stored
from tests.memory.rules.rule_cases import rule


@pytest.fixture
def path(home_of_rows: Path) -> Path:
    return home_of_rows / "cases.sqlite"


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
def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "cases.sqlite"
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


WALK = rule("a person is walking", "normal", origin="induced")
READ = rule("a person is reading", "normal", 2, origin="induced")
RIDE = rule("a person is riding a bicycle", number=3, origin="shipped")


def test_the_same_again_changes_nothing(path: Path) -> None:
    with RuleStore(path) as store:
        first = store_induction(store, "cam3", Induction((WALK, READ, RIDE), (), 10))
        again = store_induction(store, "cam3", Induction((WALK, READ, RIDE), (), 10))
        assert (len(first.added), len(again.added), again.changed, again.unchanged) == (3, 0, (), 3)
        assert "induction" in store.history(1)[0].who


def test_what_is_no_longer_found_is_disabled_and_what_is_usual_now_too(path: Path) -> None:
    with RuleStore(path) as store:
        store_induction(store, "cam3", Induction((WALK, READ, RIDE), (), 10))
        usual = RIDE.model_copy(update={"enabled": False, "note": "Usual here."})
        kept = store_induction(store, "cam3", Induction((WALK,), (usual,), 10))
        assert [(each.text, each.version, each.enabled) for each in kept.changed] == [
            (READ.text, 2, False),
            (RIDE.text, 2, False),
        ]
        back = store_induction(store, "cam3", Induction((WALK, READ, RIDE), (), 10))
        assert all(each.enabled and each.version == 3 for each in back.changed)


def test_a_person_has_the_last_word(path: Path) -> None:
    with RuleStore(path) as store:
        store_induction(store, "cam3", Induction((WALK, RIDE), (), 10))
        store.change(store.get(1).model_copy(update={"enabled": False}), who="alice")
        store.add("cam3", [rule("a person is reading", "normal")], who="alice")
        kept = store_induction(store, "cam3", Induction((WALK, READ, RIDE), (), 10))
        assert {each.text for each in kept.untouched} == {WALK.text, READ.text}
        assert not kept.added
        assert not store.get(1).enabled


def test_what_a_person_reworded_does_not_come_back_in_its_old_words(path: Path) -> None:
    with RuleStore(path) as store:
        store_induction(store, "cam3", Induction((WALK, RIDE), (), 10))
        narrower = f"{RIDE.text} off the lane"
        store.change(store.get(2).model_copy(update={"text": narrower}), who="alice")
        again = store_induction(store, "cam3", Induction((WALK, RIDE), (), 10))
        assert (again.added, again.changed, again.unchanged) == ((), (), 1)
        assert [each.text for each in again.untouched] == [narrower]
        assert [each.text for each in store.list("cam3", disabled=False)] == [WALK.text, narrower]


def test_two_inductions_at_once_store_each_rule_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other() -> None:
        with RuleStore(path) as store:
            store_induction(store, "cam3", Induction((WALK, READ), (), 10))

    def list_then_wait(self: RuleStore, profile: str, **more: bool) -> tuple[Rule, ...]:
        found = listed(self, profile, **more)
        if beside.ident is None:
            beside.start()
            beside.join(2)  # it is done by then, or waits for this one
        return found

    beside, listed = threading.Thread(target=other), RuleStore.list
    monkeypatch.setattr(RuleStore, "list", list_then_wait)
    with RuleStore(path) as store:
        store_induction(store, "cam3", Induction((WALK, READ), (), 10))
        beside.join()
        assert [each.text for each in store.list("cam3")] == [WALK.text, READ.text]


OWN = Rule(
    id="rule:new-1",
    text="a tram stops between stations",
    polarity="anomalous",
    kind="activity",
    origin="person",
)


def test_without_any_of_its_own_the_shipped_ones_hold_and_nothing_is_made(path: Path) -> None:
    assert rules_for("cam3", path) == shipped_anomalies()
    assert not is_stored(path)


def test_its_own_rules_hold_without_the_disabled_ones(path: Path) -> None:
    with RuleStore(path) as store:
        (first,) = store.add("cam3", [OWN])
        second, _ = store.add("cam3", [OWN, OWN.model_copy(update={"text": "a tram goes backwards"})])
        store.change(first.model_copy(update={"enabled": False}))
    assert [rule.id for rule in rules_for("cam3", path)] == [second.id, "rule:3"]
    assert rules_for("cam4", path) == shipped_anomalies()


def test_the_first_rules_are_stored_once(path: Path) -> None:
    with RuleStore(path) as store:
        mine = adopt_shipped_rules(store, "cam3")
        assert [rule.text for rule in mine] == [rule.text for rule in shipped_anomalies()]
        assert adopt_shipped_rules(store, "cam3") == mine
        assert store.add_first("cam3", [OWN]) == mine  # another process was faster


def test_a_rule_is_found_by_every_form_of_its_id(path: Path) -> None:
    with RuleStore(path) as store:
        store.add("cam4", [OWN])
        shipped = find_profile_rule(store, "cam3", "shipped-7")
        assert shipped.text == shipped_anomalies()[6].text
        store.change(shipped.model_copy(update={"text": "something else"}))
        assert find_profile_rule(store, "cam3", "rule:shipped-7").text == "something else"
        assert find_profile_rule(store, "cam3", shipped.id.removeprefix("rule:")).version == 2
        for wrong in ("rule:1", "rule:999", "shipped-0", "seven"):
            with pytest.raises(DataError):
                find_profile_rule(store, "cam3", wrong)
