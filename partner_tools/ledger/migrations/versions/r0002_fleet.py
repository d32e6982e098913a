"""The fleet: who handed a run in, the pace that all share, who sees which depot, and roles."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from partner_tools.ledger import postgresql as roles

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BYTES = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the depot to `runs`, and the two tables beside them."""
    op.add_column("runs", sa.Column("depot", BYTES))
    op.create_index("ix_runs_depot_created_at", "runs", ["depot", "created_at"])
    in_doubt = sa.text("state IN ('sent', 'doubt', 'resent')")
    op.create_index(
        "ix_devices_in_doubt",
        "devices",
        ["run"],
        sqlite_where=in_doubt,
        postgresql_where=in_doubt,
    )
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
    roles.set_up(op.get_bind())
