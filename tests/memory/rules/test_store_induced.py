"""An induction stored, and another one later."""

from __future__ import annotations

from pathlib import Path

from anomalist.memory.rules.induction import Induction
from anomalist.memory.rules.store import RuleStore, store_induction
from tests.memory.rules.made import rule

WALK = rule("a person is walking", "normal", origin="induced")
READ = rule("a person is reading", "normal", 2, origin="induced")
RIDE = rule("a person is riding a bicycle", number=3, origin="shipped")


def test_the_same_again_changes_nothing(tmp_path: Path) -> None:
    with RuleStore(tmp_path / "cases.sqlite") as store:
        first = store_induction(store, "cam3", Induction((WALK, READ, RIDE), (), 10))
        again = store_induction(store, "cam3", Induction((WALK, READ, RIDE), (), 10))
        assert (len(first.added), len(again.added), again.changed, again.unchanged) == (3, 0, (), 3)
        assert "induction" in store.history(1)[0].who


def test_what_is_no_longer_found_is_disabled_and_what_is_usual_now_too(tmp_path: Path) -> None:
    with RuleStore(tmp_path / "cases.sqlite") as store:
        store_induction(store, "cam3", Induction((WALK, READ, RIDE), (), 10))
        usual = RIDE.model_copy(update={"enabled": False, "note": "Usual here."})
        kept = store_induction(store, "cam3", Induction((WALK,), (usual,), 10))
        assert [(each.text, each.version, each.enabled) for each in kept.changed] == [
            (READ.text, 2, False),
            (RIDE.text, 2, False),
        ]
        back = store_induction(store, "cam3", Induction((WALK, READ, RIDE), (), 10))
        assert all(each.enabled and each.version == 3 for each in back.changed)


def test_a_person_has_the_last_word(tmp_path: Path) -> None:
    with RuleStore(tmp_path / "cases.sqlite") as store:
        store_induction(store, "cam3", Induction((WALK, RIDE), (), 10))
        store.change(store.get(1).model_copy(update={"enabled": False}), who="alice")
        store.add("cam3", [rule("a person is reading", "normal")], who="alice")
        kept = store_induction(store, "cam3", Induction((WALK, READ, RIDE), (), 10))
        assert {each.text for each in kept.untouched} == {WALK.text, READ.text}
        assert not kept.added
        assert not store.get(1).enabled
