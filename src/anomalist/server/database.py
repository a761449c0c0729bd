"""Tables of the server, and its database: SQLite by default, PostgreSQL by one setting.

Alembic brings the tables up to date when the server starts. Times are seconds since 1970, UTC.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Index, String, Text, create_engine, event, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.orm import Session as OrmSession

from anomalist.errors import DataError, first_line

BUSY_SECONDS = 30


class Table(DeclarativeBase):
    """Base of the tables."""


class AccountRow(Table):
    """A person who logs in."""

    __tablename__ = "accounts"
    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    role: Mapped[str] = mapped_column(String(20))
    password: Mapped[str] = mapped_column(Text)
    disabled: Mapped[bool] = mapped_column(default=False)
    created: Mapped[float]


class KeyRow(Table):
    """An API key; only its hash is kept."""

    __tablename__ = "keys"
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    shown: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(80))
    role: Mapped[str] = mapped_column(String(20))
    created: Mapped[float]


class SessionRow(Table):
    """A login; only the hash of its token is kept."""

    __tablename__ = "sessions"
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    account: Mapped[str] = mapped_column(String(80), index=True)
    csrf: Mapped[str] = mapped_column(String(64))
    expires: Mapped[float]


class JobRow(Table):
    """Work that was accepted and is done by the server in its own time."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(12), index=True)
    owner: Mapped[str] = mapped_column(String(80))
    spec: Mapped[str] = mapped_column(Text)
    progress: Mapped[str] = mapped_column(Text, default="")
    result: Mapped[str] = mapped_column(Text, default="")
    error: Mapped[str] = mapped_column(Text, default="")
    attempts: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str] = mapped_column(String(40), default="")
    beat: Mapped[float] = mapped_column(default=0.0)
    created: Mapped[float] = mapped_column(index=True)
    started: Mapped[float | None]
    finished: Mapped[float | None]


class InspectionRow(Table):
    """One inspected picture: what lists are filtered by, and the record as its run folder has it."""

    __tablename__ = "inspections"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    run: Mapped[str] = mapped_column(String(80), index=True)
    source: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(String(255))
    outcome: Mapped[str] = mapped_column(String(12))
    severity: Mapped[int] = mapped_column(default=0)
    kind: Mapped[str] = mapped_column(String(40), default="")
    score: Mapped[float | None]
    profile: Mapped[str] = mapped_column(String(120), default="")
    owner: Mapped[str] = mapped_column(String(80), default="")
    time: Mapped[float]
    record: Mapped[str] = mapped_column(Text)

    __table_args__ = (
        Index("inspections_by_time", "time", "id"),
        Index("inspections_by_outcome", "outcome", "time"),
    )


class ZonesRow(Table):
    """Zones that people drew on the picture of a scene."""

    __tablename__ = "zones"
    scene: Mapped[str] = mapped_column(String(120), primary_key=True)
    zones: Mapped[str] = mapped_column(Text)
    owner: Mapped[str] = mapped_column(String(80))
    time: Mapped[float]


class CameraRow(Table):
    """A live camera, and which server follows it."""

    __tablename__ = "cameras"
    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    scene: Mapped[str] = mapped_column(String(120))
    address: Mapped[str] = mapped_column(Text)
    owner: Mapped[str] = mapped_column(String(80))
    wanted: Mapped[bool]
    state: Mapped[str] = mapped_column(String(12))
    note: Mapped[str] = mapped_column(Text)
    run: Mapped[str] = mapped_column(String(80))
    alerts: Mapped[int]
    worker: Mapped[str] = mapped_column(String(40))
    beat: Mapped[float]
    changed: Mapped[float]


class Database:
    """The server's database, with its tables up to date.

    Parameters
    ----------
    url : as SQLAlchemy takes it.

    Raises
    ------
    DataError : it can't be reached or written, or its driver is missing.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            if url.startswith("sqlite:///"):
                Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
            self.engine = _engine(url)
            self._migrate()
            self.folding = self._folding()
        except (SQLAlchemyError, OSError, ModuleNotFoundError) as error:
            raise DataError(
                f"The server's database can't be used: {first_line(error)}.",
                "ANOMALIST_SERVER_DATABASE says where it is; PostgreSQL needs the package psycopg.",
            ) from error

    def _folding(self) -> str | None:
        """The collation that folds every letter, where PostgreSQL's locale folds ASCII alone; else None."""
        if self.engine.dialect.name != "postgresql":
            return None
        with self.engine.connect() as connection:
            if connection.scalar(text("SELECT getdatabaseencoding()")) != "UTF8":
                return None
            if connection.scalar(text("SELECT lower('Ä') = 'ä'")):
                return None
            known = "SELECT collname FROM pg_collation WHERE collname IN ('und-x-icu', 'C.utf8', 'pg_c_utf8')"
            found = connection.scalar(text(f"{known} ORDER BY collname DESC LIMIT 1"))
            return None if found is None else str(found)

    def session(self) -> OrmSession:
        """A session; use it in a ``with`` statement, and commit."""
        return OrmSession(self.engine, expire_on_commit=False)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def _migrate(self) -> None:
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", "anomalist.server:migrations")
        with self.engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _settings(connection: Any, _: object) -> None:  # noqa: ANN401
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        # SQLite's own knows ASCII alone, PostgreSQL's what its locale knows: in UTF-8 every letter.
        connection.create_function("lower", 1, _folded, deterministic=True)

    return engine


def _folded(text: str | None) -> str | None:
    return None if text is None else text.casefold()
