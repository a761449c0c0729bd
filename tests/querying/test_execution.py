"""Queries give what the records hold: compared with the same counted by hand over the records."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from anomalist.errors import DataError
from anomalist.eval.run_examples import LAST_DAY, picture_records
from anomalist.memory.cases import CaseStore, Feedback
from anomalist.querying.execution import period, run_query
from anomalist.querying.parsing import parse_query
from anomalist.querying.query import Condition, Query, QueryResult
from anomalist.querying.tables import Tables, tables_of_records
from anomalist.types.common import SEVERITIES
from anomalist.types.image import Record

RECORDS = tuple(picture_records(120))


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tables]:
    with CaseStore(tmp_path_factory.mktemp("said") / "cases.sqlite") as store:
        for record in RECORDS[:3]:
            store.add(
                Feedback(action="corrected", media="picture", source=record.source, who="ada", severity=0)
            )
        store.add(Feedback(action="confirmed", media="picture", source="elsewhere.png", who="bo"))
        cases = store.list(undone=True)
    with tables_of_records(RECORDS, cases) as made:
        yield made


def ask(tables: Tables, text: str) -> QueryResult:
    return run_query(tables, parse_query(text), LAST_DAY)


def folder(record: Record) -> str:
    return str(Path(record.source).parent.relative_to("parts"))


def test_counts_are_those_of_the_records(tables: Tables) -> None:
    result = ask(tables, "count label=anomalous")
    assert result.value == sum(record.label == "anomalous" for record in RECORDS)
    assert result.of == len(RECORDS)
    by = dict(ask(tables, "label=anomalous by kind").rows)
    assert by == dict(Counter(record.kind for record in RECORDS if record.label == "anomalous"))
    both = {row[:2]: row[2] for row in ask(tables, "count by folder, severity").rows}
    wanted = Counter(
        (folder(record), None if record.severity is None else SEVERITIES[record.severity])
        for record in RECORDS
    )
    assert both == dict(wanted)


def test_no_number_is_too_large_and_no_date_too_late(tables: Tables) -> None:
    assert len(ask(tables, f"list top {'9' * 30}").rows) == len(RECORDS)
    for late in ("9999-12", "9999-12-31", "9999-12-31T23:59", "9999-12-31T23:59:59"):
        assert ask(tables, f"count time<{late}").value == len(RECORDS)
        assert ask(tables, f"count time>{late}").value == ask(tables, f"count time={late}").value == 0


def test_a_list_leaves_nothing_out(tables: Tables) -> None:
    result = ask(tables, "label=normal")
    names = {row[result.columns.index("name")] for row in result.rows}
    assert names == {r.source.removeprefix("parts/") for r in RECORDS if r.label == "normal"}
    assert result.matched == len(result.rows) > 50
    assert len(ask(tables, "label=normal top 2").rows) == 2
    assert ask(tables, "label=normal top 2").notes == (f"2 of {result.matched} are listed, as asked",)


def test_severities_have_an_order_and_shares_are_read_in_per_cent(tables: Tables) -> None:
    assert ask(tables, "count severity>=major").value == sum((r.severity or 0) >= 3 for r in RECORDS)
    assert ask(tables, "count p<2%").value == sum((r.p_value or 1) < 0.02 for r in RECORDS)
    assert ask(tables, "max severity").rows[0][-1] == "critical"


def test_a_folder_is_any_folder_in_the_path(tables: Tables) -> None:
    for name in ("brick", "late", "brick/late"):
        wanted = sum(name in (folder(r), *folder(r).split("/")) for r in RECORDS)
        assert ask(tables, f"count folder={name}").value == wanted > 0
    assert ask(tables, "count folder=brick|grass").value == 80


def test_what_is_not_equal_includes_what_is_empty(tables: Tables) -> None:
    assert ask(tables, "count kind!=scratch").value == sum(r.kind != "scratch" for r in RECORDS)
    assert ask(tables, 'count label=""').value == sum(r.status == "error" for r in RECORDS)


def test_shares_and_means(tables: Tables) -> None:
    rows = {row[0]: row[1:] for row in ask(tables, "share label=anomalous by product").rows}
    for product, (number, share) in rows.items():
        group = [r for r in RECORDS if r.profile == product]
        assert number == len(group)
        assert share == pytest.approx(sum(r.label == "anomalous" for r in group) / len(group))
    scores = [r.score for r in RECORDS if r.score is not None and r.profile == "brick"]
    assert ask(tables, "mean score folder=brick").value == pytest.approx(sum(scores) / len(scores))


def test_a_comparison_tests_whether_the_shares_differ(tables: Tables) -> None:
    result = ask(tables, "share label=anomalous compare folder=brick with folder!=brick")
    first, second = result.groups
    assert (first.name, second.name) == ("folder = brick", "folder != brick")
    assert result.difference == pytest.approx((second.value or 0) - (first.value or 0))
    assert result.p_value is not None
    assert 0 < result.p_value < 0.2
    assert ask(tables, "share label=anomalous compare folder=brick with folder=nowhere").p_value is None


def test_a_trend_goes_by_time_in_order(tables: Tables) -> None:
    result = ask(tables, "label=anomalous trend day")
    assert [row[0] for row in result.rows] == ["2026-11-28", "2026-11-29", "2026-11-30"]
    assert sum(int(row[1] or 0) for row in result.rows) == sum(r.label == "anomalous" for r in RECORDS)
    assert result.slope is not None


def test_periods_count_from_the_day_that_is_given(tables: Tables) -> None:
    today = sum((r.time or "").startswith("2026-11-30") for r in RECORDS)
    assert ask(tables, "count time=today").value == today
    assert ask(tables, "count time=2026-11-30").value == today
    assert ask(tables, "count time<today").value == len(RECORDS) - today
    assert ask(tables, "count time>=2026-11-29").value == ask(tables, "count time>2026-11-28").value
    first, last = period("last month", datetime.date(2026, 1, 15))
    assert (str(first.date()), str(last.date())) == ("2025-12-01", "2026-01-01")


def test_findings_alike_are_found_by_their_vectors(tables: Tables) -> None:
    name = next(r.source for r in RECORDS if r.regions)
    result = ask(tables, f"alike {name}")
    place = result.columns.index("similarity")
    similar = [float(row[place] or 0) for row in result.rows]
    assert similar == sorted(similar, reverse=True)
    assert all(value >= 0.8 for value in similar)
    assert not any(name.endswith(str(row[0])) for row in result.rows)
    with pytest.raises(DataError, match="has nothing to compare"):
        ask(tables, "alike unknown.png")


def test_feedback_is_that_on_the_sources_of_the_run(tables: Tables) -> None:
    assert dict(ask(tables, "feedback by person").rows) == {"ada": 3}
    assert ask(tables, "count feedback severity=none undone=no").value == 3


def test_a_value_that_occurs_nowhere_is_said_with_the_nearest(tables: Tables) -> None:
    (note,) = ask(tables, "count kind=scrach").notes
    assert note.startswith('no kind is "scrach"; the nearest: scratch')


def test_none_comes_with_how_many_were_not_decided() -> None:
    numbered = [each.replace(source=f"{place}.png") for place, each in enumerate(RECORDS)]
    failed = [each.replace(source=f"in/a/{each.source}") for each in numbered if each.label is None]
    good = [each.replace(source=f"in/b/{each.source}") for each in numbered if each.label == "normal"]
    note = f"{len(failed)} of the {len(failed)} pictures there could not be judged or are undecided"
    with tables_of_records([*failed, *good]) as made:
        for text in ("label=anomalous", "count regions where", "share label=anomalous of"):
            assert ask(made, f"{text} folder=a").notes == (note,)
        for text in ("label=anomalous folder=b", "count folder=a", "label=undecided folder=a"):
            assert ask(made, text).notes == ()


def test_values_are_bound_and_never_part_of_the_statement(tables: Tables) -> None:
    asked = Query(where=(Condition(column="kind", values=("x' OR 1=1 --",)),))
    assert run_query(tables, asked).value == 0
    assert ask(tables, 'count kind="\'; DROP TABLE pictures_rows; --"').value == 0
    assert ask(tables, "count").value == len(RECORDS)


def test_times_of_day_are_compared_and_grouped(tables: Tables) -> None:
    early = sum((r.time or "")[11:16] < "09:30" for r in RECORDS)
    assert ask(tables, "count clock<9:30").value == early
    assert ask(tables, 'count clock>="9:30 am"').value == len(RECORDS) - early
    counted = ask(tables, "count by hour")
    hours = Counter(float((r.time or "")[11:13]) for r in RECORDS)
    assert {row[0]: row[-1] for row in counted.rows} == hours
    with pytest.raises(DataError, match='"25:00" is no time of day'):
        ask(tables, "clock>=25:00")


def test_groups_are_sorted_by_their_measure_from_the_lowest_up() -> None:
    good, bad = (next(each for each in RECORDS if each.label == label) for label in ("normal", "anomalous"))
    failed = next(each for each in RECORDS if each.status == "error")
    placed = [(bad, "a"), (bad, "a"), (bad, "b"), (good, "b"), (good, "c"), (failed, "d")]
    records = [each.replace(source=f"in/{name}/{place}.png") for place, (each, name) in enumerate(placed)]
    with tables_of_records(records) as made:
        fewest = ask(made, "count label=anomalous by folder sort count")
        assert fewest.rows == (("c", 0), ("b", 1), ("a", 2))
        assert ask(made, "count regions by folder sort count top 1").rows == (("c", 0),)
        lowest = ask(made, "share label=anomalous by folder sort share top 2")
        assert lowest.rows == (("c", 1, 0.0), ("b", 2, 0.5))
        most = ask(made, "count label=anomalous by folder sort -count top 1")
        assert most.rows == (("a", 2),)
        errors = ask(made, "count status=error by folder sort count")
        assert errors.rows == (("a", 0), ("b", 0), ("c", 0), ("d", 1))
        assert ask(made, "count folder=d by folder sort count").rows == (("d", 1),)


def test_a_series_that_is_not_in_order_has_no_slope(tables: Tables) -> None:
    assert ask(tables, "count trend day").slope is not None
    assert ask(tables, "count trend day top 3").slope is None
    assert ask(tables, "count trend day sort count").slope is None
