"""Whether a batch can go out: counts, chance and a sampling plan; nothing is decided."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from anomalist.agent.asking.answering import answer
from anomalist.agent.asking.run_decisions import AcceptancePlan, OwnPlan, ship_draft
from anomalist.agent.tools.subject import Subject
from anomalist.errors import DataError
from anomalist.eval.run_examples import picture_records
from anomalist.querying.probabilities import binomial_tail
from anomalist.querying.tables import Tables, tables_of_records

RECORDS = tuple(picture_records(300))


@pytest.fixture
def tables() -> Iterator[Tables]:
    with tables_of_records(RECORDS) as made:
        yield made


def test_counts_chance_and_what_is_undecided_are_said(tmp_path: Path) -> None:
    reply = answer(Subject(records=RECORDS, cases=tmp_path / "c.sqlite"), "Can I ship this batch?")
    bad = sum(record.label == "anomalous" for record in RECORDS)
    judged = bad + sum(record.label == "normal" for record in RECORDS)
    assert f"{bad} anomalous" in reply.text
    assert f"alone would give about {0.05 * judged:.3g} alarms among {judged} good parts" in reply.text
    assert f"with a probability of {binomial_tail(bad, judged, 0.05):.2g}" in reply.text
    assert "are undecided (" in reply.text
    assert "could not be judged at all" in reply.text
    assert reply.text.endswith("Whether it goes out is your decision; nothing here makes it.")
    assert reply.dropped == ()


def test_few_alarms_may_all_be_false() -> None:
    good = [record for record in RECORDS if record.label == "normal"]
    bad = [record for record in RECORDS if record.label == "anomalous"][:2]
    with tables_of_records([*good, *bad]) as tables:
        text = " ".join(claim.text for claim in ship_draft(tables, ()).draft.claims)
    assert "they may all be false alarms" in text


def test_a_plan_is_applied_with_its_row_cited(tables: Tables) -> None:
    texts = [claim.text for claim in ship_draft(tables, (), AcceptancePlan(1.0, "II")).draft.claims]
    assert any(
        "level II, code letter H; table 2-A: row H, AQL 1: n = 50, Ac = 1, Re = 2" in text for text in texts
    )
    assert any("by this plan the lot is not accepted" in text for text in texts)
    again = [claim.text for claim in ship_draft(tables, (), AcceptancePlan(1.0, "II")).draft.claims]
    assert texts == again


def test_a_lot_without_defects_is_accepted() -> None:
    with tables_of_records([record for record in RECORDS if record.label == "normal"]) as tables:
        texts = [claim.text for claim in ship_draft(tables, (), AcceptancePlan(1.0)).draft.claims]
    assert any("by this plan the lot is accepted." in text for text in texts)


def test_an_aql_that_the_standard_lacks_is_refused(tables: Tables) -> None:
    with pytest.raises(DataError, match=r"1\.2 is no AQL of ISO 2859-1"):
        ship_draft(tables, (), AcceptancePlan(1.2))


def test_a_plan_of_ones_own_is_applied(tables: Tables) -> None:
    texts = [claim.text for claim in ship_draft(tables, (), OwnPlan(30, 0)).draft.claims]
    assert "A plan of your own: n = 30, Ac = 0, Re = 1." in texts
    assert any("In a random sample of 30 (seed 0)" in text for text in texts)
