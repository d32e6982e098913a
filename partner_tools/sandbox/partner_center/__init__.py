"""Partner Center's REST API, as far as devices are concerned.

Documented or recorded behaviour is served as such; the rest is an assumption and listed
as such in `docs/reference/sandbox.md`: 404 with code 1000 for a device that is gone, 403 with 811
for one that another registered, 400 with 3000 for one that may not be deleted and for a batch that
exists already, batch ids found in any letter case, a continuation token that is a position.
"""

from __future__ import annotations

from partner_tools.sandbox.partner_center.service import PartnerCenter

__all__ = ["PartnerCenter"]
