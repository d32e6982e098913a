"""The words that readers see for the document's ids, and text made safe to look at."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

OWNERS: Mapping[str, str] = {
    "partner": "Partner",
    "intune-administrator": "Intune administrator",
    "entra-administrator": "Entra ID administrator",
    "active-directory-administrator": "Active Directory administrator",
    "configuration-manager-administrator": "Configuration Manager administrator",
    "device-holder": "Whoever holds the device",
}

PLANES: Mapping[str, str] = {
    "autopilot": "Windows Autopilot",
    "intune": "Intune",
    "entra": "Entra ID",
    "active-directory": "Active Directory",
    "configuration-manager": "Configuration Manager",
    "device-association": "Device association",
    "device-firmware": "Device firmware",
}

STATUSES: Mapping[str, str] = {
    "outstanding": "Outstanding",
    "not-verified": "Not verified",
    "expected": "Expected",
    "clear": "Clear",
    "not-applicable": "Does not apply",
}
"""In the order in which a reader cares."""

OUTCOMES: Mapping[str, str] = {
    "removed": "Removed",
    "absent": "Already gone",
    "not-found": "Not found",
    "not-owned": "Not owned",
    "ambiguous": "Ambiguous",
    "refused": "Refused",
    "unknown": "Unknown",
    "pending": "Not attempted",
    "duplicate": "Listed twice",
}

JOIN_TYPES: Mapping[str, str] = {
    "entra-joined": "Entra joined",
    "hybrid-joined": "Hybrid joined",
    "registered": "Entra registered",
    "none": "Not joined",
    "unknown": "Not known",
}

REASONS: Mapping[str, str] = {
    "repair": "Repair",
    "end-of-life": "End of life",
    "resale": "Resale",
    "replacement": "Replacement",
    "lost-or-stolen": "Lost or stolen",
    "other": "Other",
}

CHANNELS: Mapping[str, str] = {
    "partner-center": "Microsoft Partner Center",
    "oem-direct": "OEM Direct API",
}

_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202f\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e0fff]"
)


def cleaned_up(document: Mapping[str, Any]) -> str | None:
    """What the customer's own cleanup did, in a sentence; None where there was none."""
    cleanup = document.get("cleanup")
    if cleanup is None:
        return None
    outcomes = cleanup["outcomes"]
    others = sum(outcomes.values()) - outcomes.get("removed", 0) - outcomes.get("absent", 0)
    told = (
        (outcomes.get("removed", 0), "cleared from Intune and Windows Autopilot"),
        (outcomes.get("absent", 0), "with nothing left there"),
        (others, "not finished or not touched, for the reason that its row gives"),
    )
    parts = ", ".join(f"{counted(number, 'device')} {what}" for number, what in told if number)
    return f"Cleanup in your own tenant (run {cleanup['id']}): {parts or 'no devices'}"


def visible(text: str) -> str:
    """The text with every character that hides or turns others spelled out, as ⟨U+202E⟩.

    Foreign text must not be able to look like something else (https://trojansource.codes, 2021).
    """
    return _INVISIBLE.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


def counted(number: int, noun: str) -> str:
    """`1 device`, `2 devices`; thousands set apart as in `12,000 devices`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
