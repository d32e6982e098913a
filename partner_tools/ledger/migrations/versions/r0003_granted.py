"""Rates that were granted and never refused, beside those that are a limit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Say of each remembered rate whether the service refused more."""
    op.add_column(
        "rates", sa.Column("refused", sa.Boolean, nullable=False, server_default=sa.true())
    )
