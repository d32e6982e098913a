"""An OEM Direct API of the sandbox: speaks as a wire profile says, and watches for tenants."""

from __future__ import annotations

from partner_tools.sandbox.oem_direct.service import OemDirect
from partner_tools.sandbox.oem_direct.tripwire import Trip

__all__ = ["OemDirect", "Trip"]
