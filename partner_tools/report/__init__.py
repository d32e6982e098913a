"""The handoff: one document per customer, and its renderings."""
