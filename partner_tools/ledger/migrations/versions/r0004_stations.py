"""Stations name devices with a new run only, and write no run that a worker has begun with."""

from __future__ import annotations

from alembic import op

from partner_tools.ledger import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Grant again; a SQLite file has no roles."""
    postgresql.set_up(op.get_bind())
