"""The list of inspected pictures: filtered, paged, and brought up to date from run folders.

Run folders hold everything; the database holds what lists are made of, so that they stay fast.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import ColumnElement, and_, collate, func, or_, select

from anomalist.report.wording import outcome
from anomalist.server.database import Database, InspectionRow
from anomalist.server.problems import NotFoundError
from anomalist.storage.files import digest_of
from anomalist.storage.run_folder import ImageRunFolder
from anomalist.types.image import Record


@dataclass(frozen=True)
class Inspected:
    """One inspected picture: its id, its run, who asked for it, and its record."""

    id: str
    run: str
    owner: str
    record: Record

    @property
    def name(self) -> str:
        """File name of the picture."""
        return Path(self.record.source).name


@dataclass(frozen=True)
class Listing:
    """What is listed of inspected pictures; everything given must fit.

    Parameters
    ----------
    outcome : normal, anomalous, undecided, or error.
    text : part of the name or of the kind.
    most : rows at most.
    after : (time, id) of the last row of the page before; None for the first page.
    """

    run: str = ""
    outcome: str = ""
    profile: str = ""
    text: str = ""
    most: int = 50
    after: tuple[float, str] | None = None


@dataclass(frozen=True)
class ListedPage:
    """One page of a list.

    Parameters
    ----------
    total : rows that fit on all pages.
    next : ``after`` of the next page; None for the last.
    """

    rows: tuple[Inspected, ...]
    total: int
    next: tuple[float, str] | None


class InspectionStore:
    """The inspected pictures in the database; several threads may use one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, run: str, records: Iterable[Record], owner: str) -> list[Inspected]:
        """Add the records of a run; one that is there already stays as it is."""
        added = [Inspected(inspection_id(run, record), run, owner, record) for record in records]
        with self._database.session() as session:
            for each in added:
                if session.get(InspectionRow, each.id) is None:
                    session.add(_row(each))
            session.commit()
        return added

    def adopt(self, run: str, folder: Path, owner: str = "") -> int:
        """Add what a run folder holds and the database doesn't: a process was killed between the two.

        Returns how many. ``owner`` is who asked for them, where that is known.
        """
        records = ImageRunFolder(folder).records()
        with self._database.session() as session:
            known = set(session.scalars(select(InspectionRow.id).where(InspectionRow.run == run)))
        missing = [record for record in records if inspection_id(run, record) not in known]
        self.add(run, missing, owner)
        return len(missing)

    def restore(self, run: str, folder: Path) -> None:
        """Add to a run folder what the database has of the run and the folder lacks."""
        with ImageRunFolder.open(folder) as opened, self._database.session() as session:
            known = {inspection_id(run, record) for record in opened.records()}
            rows = session.scalars(
                select(InspectionRow).where(InspectionRow.run == run).order_by(InspectionRow.time)
            )
            for row in rows:
                if row.id not in known:
                    opened.append(_inspected(row).record)

    def get(self, id: str) -> Inspected:
        """One inspected picture. Raises NotFoundError."""
        with self._database.session() as session:
            row = session.get(InspectionRow, id)
            if row is None:
                raise NotFoundError(f"There is no inspection {id[:32]}.")
            return _inspected(row)

    def page(self, asked: Listing) -> ListedPage:
        """One page of inspected pictures, the newest first."""
        fits = _conditions(asked, self._database.folding)
        shown = (
            select(InspectionRow).where(*fits).order_by(InspectionRow.time.desc(), InspectionRow.id.desc())
        )
        if asked.after is not None:
            time, id = asked.after
            earlier = or_(InspectionRow.time < time, and_(InspectionRow.time == time, InspectionRow.id < id))
            shown = shown.where(earlier)
        with self._database.session() as session:
            total = session.scalar(select(func.count()).select_from(InspectionRow).where(*fits)) or 0
            rows = session.scalars(shown.limit(asked.most + 1)).all()
        more = len(rows) > asked.most
        rows = rows[: asked.most]
        return ListedPage(
            tuple(_inspected(row) for row in rows), total, (rows[-1].time, rows[-1].id) if more else None
        )

    def counts(self) -> dict[str, int]:
        """How many pictures have which outcome."""
        asked = select(InspectionRow.outcome, func.count()).group_by(InspectionRow.outcome)
        with self._database.session() as session:
            return {row[0]: row[1] for row in session.execute(asked)}

    def runs(self, most: int = 50) -> list[tuple[str, int, float]]:
        """(name, pictures, time of the last) of the runs, the newest first."""
        last = func.max(InspectionRow.time)
        asked = select(InspectionRow.run, func.count(), last).group_by(InspectionRow.run)
        with self._database.session() as session:
            rows = session.execute(asked.order_by(last.desc()).limit(most))
            return [(run, number, time) for run, number, time in rows]


def inspection_id(run: str, record: Record) -> str:
    """The id of an inspection: of its run, picture and time, so that a row is never added twice."""
    return digest_of(run, record.source, record.key, record.time)[:20]


def _conditions(asked: Listing, folding: str | None) -> list[ColumnElement[bool]]:
    fits: list[ColumnElement[bool]] = []
    if asked.run:
        fits.append(InspectionRow.run == asked.run)
    if asked.outcome:
        fits.append(InspectionRow.outcome == asked.outcome)
    if asked.profile:
        fits.append(InspectionRow.profile == asked.profile)
    if asked.text:
        columns = (InspectionRow.name, InspectionRow.kind)
        if folding is None:
            fits.append(or_(*(each.icontains(asked.text, autoescape=True) for each in columns)))
        else:
            folded = (func.lower(collate(each, folding)) for each in columns)
            fits.append(or_(*(each.contains(asked.text.lower(), autoescape=True) for each in folded)))
    return fits


def _row(each: Inspected) -> InspectionRow:
    record = each.record
    return InspectionRow(
        id=each.id,
        run=each.run,
        source=_storable(record.source),
        name=_storable(each.name)[-255:],
        outcome=outcome(record),
        severity=record.severity or 0,
        kind=(record.kind or "")[:40],
        score=record.score,
        profile=(record.profile or "")[:120],
        owner=each.owner,
        time=_seconds(record.time),
        record=_storable(record.model_dump_json()),
    )


def _inspected(row: InspectionRow) -> Inspected:
    return Inspected(row.id, row.run, row.owner, Record.model_validate_json(row.record))


def _storable(text: str) -> str:
    """As a database takes it: without null characters and what is no text."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


def _seconds(time: str | None) -> float:
    if time is None:
        return 0.0
    return datetime.datetime.fromisoformat(time).timestamp()
