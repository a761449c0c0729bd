"""The text form of queries, and what its errors name."""

from __future__ import annotations

import pytest

from anomalist.errors import DataError
from anomalist.querying.parsing import parse_query
from anomalist.querying.query import Condition, Query


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("label=anomalous by kind", "count pictures where label=anomalous by kind"),
        ("label=anomalous", "list pictures where label=anomalous"),
        ("", "list pictures"),
        ("count", "count pictures"),
        ("regions by place, kind top 3", "count regions by place, kind top 3"),
        ("share label=anomalous and kind=spot of pictures where folder=a|b by product",
         "share label=anomalous kind=spot of pictures where folder=a|b by product"),
        ("label=anomalous by kind sort count top 1",
         "count pictures where label=anomalous by kind sort count top 1"),
        ("share label=anomalous trend day sort -share",
         "share label=anomalous of pictures trend day sort -share"),
        ("mean score trend day", "mean score pictures trend day"),
        ("share label=anomalous compare folder=brick with folder=gravel",
         "share label=anomalous of pictures compare folder=brick with folder=gravel"),
        ("kind='missing material'", 'list pictures where kind="missing material"'),
        ("severity>=3 size>2% sort -size", "list pictures where severity>=major size>0.02 sort -size"),
        ("alike new/scratch/03.png", "list pictures alike new/scratch/03.png"),
        ("position=centre verdict=normal", "list pictures where place=centre label=normal"),
        ("events where camera=gate by kind", "count events where camera=gate by kind"),
        ("clips events>2", "list clips where events>2"),
        ("time=yesterday time>='last week'", 'list pictures where time=yesterday time>="last week"'),
        ("feedback undone=no by person", "count feedback where undone=false by person"),
    ],
)  # fmt: skip
def test_queries_are_read_and_written_the_same(text: str, full: str) -> None:
    query = parse_query(text)
    assert str(query) == full
    assert parse_query(full) == query


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lable=anomalous", 'no column "lable". The nearest is "label"'),
        ("by kint", 'no column "kint". The nearest is "kind"'),
        ("label=anomalus", 'no label "anomalus". The nearest is "anomalous"'),
        ("severity=sever", 'no severity "sever"'),
        ("start>3", 'no column "start".* events has it'),
        ("score=high", '"score" is a number'),
        ("time=yesterdy", 'The nearest word is "yesterday"'),
        ("kind<3", '"kind" has no order'),
        ("label", "can't be read here"),
        ("label=anomalous bye kind", 'The nearest word is "by"'),
        ("top none", "needs a number"),
        ("top ²", "needs a number"),
        ("mean kind", '"kind" is no number'),
        ("share by kind", "no column"),
        ("compare folder=a", 'needs "with"'),
        ("trend minute", "none of hour, day, week, month"),
        ("by kind folder=a", "stands too late"),
        ("list by kind", "A list has no groups"),
        ("claims alike a.png", "nothing to compare"),
        ("label=", "ends too early"),
        ("x" * 3000, "at most 2,000"),
    ],
)
def test_errors_name_the_word_and_the_nearest_known_one(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_query(text)


def test_a_table_named_like_a_column_is_told_apart() -> None:
    assert parse_query("regions>2").table == "pictures"
    assert parse_query("regions").table == "regions"
    assert parse_query("clips by events").table == "clips"


def test_the_text_says_what_is_asked_in_one_line() -> None:
    query = parse_query("label=anomalous by folder")
    assert query.reading(96) == "of 96 pictures: label = anomalous, by folder"
    assert Condition(column="kind", operator="~", values=("a", "b")).words == "kind contains a or b"


@pytest.mark.parametrize("number", [1.23456789, 0.1 + 0.2, 1e-9, 12345678.0, 2.0, 1e22])
def test_numbers_are_written_as_exactly_as_they_are_read(number: float) -> None:
    query = Query(where=(Condition(column="score", operator=">=", values=(number,)),))
    assert parse_query(str(query)) == query
