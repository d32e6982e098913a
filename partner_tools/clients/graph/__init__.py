"""Microsoft Graph: what a customer's tenant still knows of a device, and what a cleanup changes."""

from __future__ import annotations

from partner_tools.clients.graph.changes import ApprovalNeeded, Changes, Done
from partner_tools.clients.graph.client import Graph, Page

__all__ = ["ApprovalNeeded", "Changes", "Done", "Graph", "Page"]
