"""The first tables: accounts, keys, sessions, jobs, inspections and zones."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Float, Integer, String, Text

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "accounts",
        Column("name", String(80), primary_key=True),
        Column("role", String(20), nullable=False),
        Column("password", Text, nullable=False),
        Column("created", Float, nullable=False),
    )
    op.create_table(
        "keys",
        Column("digest", String(64), primary_key=True),
        Column("shown", String(16), nullable=False),
        Column("name", String(80), nullable=False),
        Column("role", String(20), nullable=False),
        Column("created", Float, nullable=False),
    )
    op.create_table(
        "sessions",
        Column("digest", String(64), primary_key=True),
        Column("account", String(80), nullable=False, index=True),
        Column("csrf", String(64), nullable=False),
        Column("expires", Float, nullable=False),
    )
    _create_jobs()
    _create_inspections()
    op.create_table(
        "zones",
        Column("scene", String(120), primary_key=True),
        Column("zones", Text, nullable=False),
        Column("owner", String(80), nullable=False),
        Column("time", Float, nullable=False),
    )


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        Column("id", String(32), primary_key=True),
        Column("kind", String(20), nullable=False),
        Column("state", String(12), nullable=False, index=True),
        Column("owner", String(80), nullable=False),
        Column("spec", Text, nullable=False),
        Column("progress", Text, nullable=False),
        Column("result", Text, nullable=False),
        Column("error", Text, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("worker", String(40), nullable=False),
        Column("beat", Float, nullable=False),
        Column("created", Float, nullable=False, index=True),
        Column("started", Float),
        Column("finished", Float),
    )


def _create_inspections() -> None:
    op.create_table(
        "inspections",
        Column("id", String(32), primary_key=True),
        Column("run", String(80), nullable=False, index=True),
        Column("source", Text, nullable=False),
        Column("name", String(255), nullable=False),
        Column("outcome", String(12), nullable=False),
        Column("severity", Integer, nullable=False),
        Column("kind", String(40), nullable=False),
        Column("score", Float),
        Column("profile", String(120), nullable=False),
        Column("owner", String(80), nullable=False),
        Column("time", Float, nullable=False),
        Column("record", Text, nullable=False),
    )
    op.create_index("inspections_by_time", "inspections", ["time", "id"])
    op.create_index("inspections_by_outcome", "inspections", ["outcome", "time"])
