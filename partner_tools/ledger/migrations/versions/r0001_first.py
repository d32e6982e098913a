"""Runs, their plans and customers, devices, the chain of events, and learned rates."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BYTES = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables of the first version."""
    _make_runs()
    _make_devices()
    _make_events()
    op.create_table(
        "rates",
        sa.Column("service", BYTES, nullable=False),
        sa.Column("scope", BYTES, nullable=False),
        sa.Column("per_second", sa.Float, nullable=False),
        sa.Column("learned_at", BYTES, nullable=False),
        sa.PrimaryKeyConstraint("service", "scope", name="pk_rates"),
    )


def _make_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("run", BYTES, nullable=False),
        sa.Column("channel", BYTES, nullable=False),
        sa.Column("state", BYTES, nullable=False),
        sa.Column("batch_id", BYTES, nullable=False),
        sa.Column("batch_digest", BYTES, nullable=False),
        sa.Column("file", sa.Text, nullable=False),
        sa.Column("reason", BYTES, nullable=False),
        sa.Column("reference", sa.Text),
        sa.Column("customer", sa.Text),
        sa.Column("actor", sa.Text),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("devices", sa.Integer, nullable=False),
        sa.Column("counts", sa.Text, nullable=False),
        sa.Column("created_at", BYTES, nullable=False),
        sa.Column("started_at", BYTES),
        sa.Column("finished_at", BYTES),
        sa.Column("plan_digest", BYTES),
        sa.Column("purged_at", BYTES),
        sa.Column("head_n", sa.Integer, nullable=False),
        sa.Column("head_hash", BYTES, nullable=False),
        sa.PrimaryKeyConstraint("run", name="pk_runs"),
    )
    op.create_index("ix_runs_created_at_run", "runs", ["created_at", "run"])
    op.create_index("ix_runs_state_created_at", "runs", ["state", "created_at"])
    op.create_index("ix_runs_batch_id_channel", "runs", ["batch_id", "channel"])
    op.create_table(
        "plans",
        sa.Column("run", BYTES, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("run", name="pk_plans"),
        sa.ForeignKeyConstraint(["run"], ["runs.run"], name="fk_plans_runs"),
    )
    op.create_table(
        "run_customers",
        sa.Column("customer", BYTES, nullable=False),
        sa.Column("run", BYTES, nullable=False),
        sa.PrimaryKeyConstraint("customer", "run", name="pk_run_customers"),
        sa.ForeignKeyConstraint(["run"], ["runs.run"], name="fk_run_customers_runs"),
    )
    op.create_index("ix_run_customers_run", "run_customers", ["run"])


def _make_devices() -> None:
    op.create_table(
        "devices",
        sa.Column("run", BYTES, nullable=False),
        sa.Column("idx", sa.Integer, nullable=False),
        sa.Column("row", sa.Integer, nullable=False),
        sa.Column("serial_number", BYTES),
        sa.Column("product_key_id", BYTES),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("customer", BYTES),
        sa.Column("target", sa.Text),
        sa.Column("found", sa.Text),
        sa.Column("state", BYTES, nullable=False),
        sa.Column("outcome", BYTES, nullable=False),
        sa.Column("settled_at", BYTES),
        sa.Column("history", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("run", "idx", name="pk_devices"),
        sa.ForeignKeyConstraint(["run"], ["runs.run"], name="fk_devices_runs"),
    )
    op.create_index("ix_devices_serial_number", "devices", ["serial_number"])
    op.create_index("ix_devices_product_key_id", "devices", ["product_key_id"])
    removed = sa.text("outcome = 'removed'")
    op.create_index(
        "ix_devices_removed",
        "devices",
        ["customer", "settled_at"],
        sqlite_where=removed,
        postgresql_where=removed,
    )


def _make_events() -> None:
    op.create_table(
        "events",
        sa.Column("run", BYTES, nullable=False),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column("at", BYTES, nullable=False),
        sa.Column("kind", BYTES, nullable=False),
        sa.Column("device", sa.Integer),
        sa.Column("payload", sa.Text),
        sa.Column("payload_digest", BYTES, nullable=False),
        sa.Column("previous", BYTES, nullable=False),
        sa.Column("hash", BYTES, nullable=False),
        sa.PrimaryKeyConstraint("run", "n", name="pk_events"),
        sa.ForeignKeyConstraint(["run"], ["runs.run"], name="fk_events_runs"),
    )
    op.create_index("ix_events_run_device_n", "events", ["run", "device", "n"])
