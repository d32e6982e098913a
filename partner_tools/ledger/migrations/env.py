"""Runs migrations on the connection that the caller opened, in the caller's transaction."""

from alembic import context

from partner_tools.ledger.migrate import metadata
from partner_tools.ledger.tables import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
