"""The fleet: who handed a run in, the pace that all share, and who sees which depot."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BYTES = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the depot to `runs`, and the two tables beside them."""
    op.add_column("runs", sa.Column("depot", BYTES))
    op.create_index("ix_runs_depot_created_at", "runs", ["depot", "created_at"])
    op.create_table(
        "paces",
        sa.Column("service", BYTES, nullable=False),
        sa.Column("scope", BYTES, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("service", "scope", name="pk_paces"),
    )
    op.create_table(
        "depot_logins",
        sa.Column("login", BYTES, nullable=False),
        sa.Column("depot", BYTES, nullable=False),
        sa.PrimaryKeyConstraint("login", "depot", name="pk_depot_logins"),
    )
