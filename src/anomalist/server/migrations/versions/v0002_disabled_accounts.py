"""Accounts can be disabled."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Boolean, Column, false

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; who is there stays enabled."""
    op.add_column("accounts", Column("disabled", Boolean, nullable=False, server_default=false()))
