"""Which rules hold for a profile."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomalist.errors import DataError
from anomalist.memory.rules.rule import Rule, shipped_anomalies
from anomalist.memory.rules.store import RuleStore, adopt_shipped_rules, find_profile_rule, rules_for

OWN = Rule(
    id="rule:new-1",
    text="a tram stops between stations",
    polarity="anomalous",
    kind="activity",
    origin="person",
)


def test_without_any_of_its_own_the_shipped_ones_hold_and_no_file_is_made(tmp_path: Path) -> None:
    assert rules_for("cam3", tmp_path / "cases.sqlite") == shipped_anomalies()
    assert not list(tmp_path.iterdir())


def test_its_own_rules_hold_without_the_disabled_ones(tmp_path: Path) -> None:
    path = tmp_path / "cases.sqlite"
    with RuleStore(path) as store:
        (first,) = store.add("cam3", [OWN])
        second, _ = store.add("cam3", [OWN, OWN.model_copy(update={"text": "a tram goes backwards"})])
        store.change(first.model_copy(update={"enabled": False}))
    assert [rule.id for rule in rules_for("cam3", path)] == [second.id, "rule:3"]
    assert rules_for("cam4", path) == shipped_anomalies()


def test_the_first_rules_are_stored_once(tmp_path: Path) -> None:
    with RuleStore(tmp_path / "cases.sqlite") as store:
        mine = adopt_shipped_rules(store, "cam3")
        assert [rule.text for rule in mine] == [rule.text for rule in shipped_anomalies()]
        assert adopt_shipped_rules(store, "cam3") == mine
        assert store.add_first("cam3", [OWN]) == mine  # another process was faster


def test_a_rule_is_found_by_every_form_of_its_id(tmp_path: Path) -> None:
    with RuleStore(tmp_path / "cases.sqlite") as store:
        store.add("cam4", [OWN])
        shipped = find_profile_rule(store, "cam3", "shipped-7")
        assert shipped.text == shipped_anomalies()[6].text
        store.change(shipped.model_copy(update={"text": "something else"}))
        assert find_profile_rule(store, "cam3", "rule:shipped-7").text == "something else"
        assert find_profile_rule(store, "cam3", shipped.id.removeprefix("rule:")).version == 2
        for wrong in ("rule:1", "rule:999", "shipped-0", "seven"):
            with pytest.raises(DataError):
                find_profile_rule(store, "cam3", wrong)
