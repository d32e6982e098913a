"""Microsoft Graph in the customers' tenants: Autopilot, Intune and Entra ID as they behave."""

from __future__ import annotations

from partner_tools.sandbox.graph.service import Graph

__all__ = ["Graph"]
