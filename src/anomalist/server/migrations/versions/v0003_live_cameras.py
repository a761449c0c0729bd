"""Live cameras."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Boolean, Column, Float, Integer, String, Text

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "cameras",
        Column("name", String(80), primary_key=True),
        Column("scene", String(120), nullable=False),
        Column("address", Text, nullable=False),
        Column("owner", String(80), nullable=False),
        Column("wanted", Boolean, nullable=False),
        Column("state", String(12), nullable=False),
        Column("note", Text, nullable=False),
        Column("run", String(80), nullable=False),
        Column("alerts", Integer, nullable=False),
        Column("worker", String(40), nullable=False),
        Column("beat", Float, nullable=False),
        Column("changed", Float, nullable=False),
    )
