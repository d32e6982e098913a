"""Microsoft Graph, read side: what a customer's tenant still knows of a device."""

from __future__ import annotations

from partner_tools.clients.graph.client import Graph, Page

__all__ = ["Graph", "Page"]
