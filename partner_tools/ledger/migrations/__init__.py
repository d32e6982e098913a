"""The versions of the ledger's tables, run by `partner_tools.ledger.migrate` through Alembic."""
