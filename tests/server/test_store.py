"""Inspected pictures are listed, filtered and paged, and nothing is listed twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from anomalist.eval.run_examples import picture_records, write_picture_run
from anomalist.server.database import Database
from anomalist.server.problems import NotFoundError
from anomalist.server.store import InspectionStore, Listing


@pytest.fixture
def store(tmp_path: Path) -> Iterator[InspectionStore]:
    database = Database(f"sqlite:///{tmp_path / 'server.sqlite'}")
    yield InspectionStore(database)
    database.close()


def test_pages_of_many_records_hold_no_more_than_there_are(store: InspectionStore) -> None:
    records = list(picture_records(2_000))
    store.add("big", records, "a")
    for asked in (
        Listing(),
        Listing(outcome="anomalous"),
        Listing(text="scratch"),
        Listing(profile=records[0].profile or "", outcome="normal"),
    ):
        page, seen = store.page(asked), 0
        for _ in range(5):
            seen += len(page.rows)
            if page.next is None:
                break
            page = store.page(Listing(**{**vars(asked), "after": page.next}))
        assert seen <= page.total <= 2_000


def test_a_name_is_found_in_upper_and_lower_case_of_any_script(store: InspectionStore) -> None:
    (record,) = picture_records(1)
    names = ("ÜBER 1.png", "über 2.png", "ДЕТАЛЬ.png", "ΟΔΟΣ.png", "100%.png", "other.png")
    store.add("run", [record.replace(source=f"/line/{name}", key=name) for name in names], "a")
    for text, found in (
        ("über", names[:2]),
        ("ÜBER", names[:2]),
        ("деталь", ("ДЕТАЛЬ.png",)),
        ("οδος", ("ΟΔΟΣ.png",)),
        ("%", ("100%.png",)),
        ("_", ()),
    ):
        assert {each.name for each in store.page(Listing(text=text)).rows} == {*found}, text


def test_all_pages_hold_each_record_once(store: InspectionStore) -> None:
    records = list(picture_records(230))
    store.add("run", records, "a")
    seen, after = [], None
    while True:
        page = store.page(Listing(most=50, after=after))
        seen += [each.record.source for each in page.rows]
        after = page.next
        if after is None:
            break
    assert sorted(seen) == sorted(record.source for record in records)


def test_a_run_folder_is_adopted_once(store: InspectionStore, tmp_path: Path) -> None:
    folder = write_picture_run(tmp_path / "run", 20)
    assert store.adopt("run", folder, "anna") == 20
    assert store.adopt("run", folder) == 0
    assert {each.owner for each in store.page(Listing()).rows} == {"anna"}
    assert sum(store.counts().values()) == 20
    assert store.runs()[0][:2] == ("run", 20)


def test_what_is_not_there(store: InspectionStore) -> None:
    with pytest.raises(NotFoundError):
        store.get("00")
