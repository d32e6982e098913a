"""The words of a handoff: how each step is done, names for the document's ids, and safe text.

Each step has a title, a portal path, a command and the page that says so, with its date.

The texts hold for every customer; facts about one device are in the document's devices.
The reader replaces `<…>` in a command.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from partner_tools.model import GONE
from partner_tools.outstanding import REMOVED_BY_HAND, StepId

OWNERS: Mapping[str, str] = {
    "partner": "Partner",
    "intune-administrator": "Intune administrator",
    "entra-administrator": "Entra ID administrator",
    "active-directory-administrator": "Active Directory administrator",
    "configuration-manager-administrator": "Configuration Manager administrator",
    "device-holder": "Device holder",
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

MAIN_PLANES = ("autopilot", "intune", "entra", "active-directory")
"""The planes that every device has."""

STATUSES: Mapping[str, str] = {
    "outstanding": "Outstanding",
    "not-verified": "Not verified",
    "expected": "Expected",
    "reported": "Reported done",
    "clear": "Clear",
    "not-applicable": "Does not apply",
}
"""In the order in which a reader cares."""

OUTCOMES: Mapping[str, str] = {
    "removed": "Removed",
    "absent": "Already gone",
    "already-removed": "Removed earlier",
    "unconfirmed": "Not confirmed",
    "assessed": "Assessed",
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
    "assessment": "an assessment, without a partner's API",
}

NAME_LIMIT = 80
"""Characters of a customer's name in a file name: Windows allows 260 for a whole path."""

_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202f\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e0fff]"
)


def chapter_of(step: StepId, owner: str | None, channel: str) -> Chapter:
    """How a step is done. A partner may remove a registration by hand, and without a partner's
    removal there is none that failed."""
    if step is StepId.DEREGISTER_FROM_AUTOPILOT:
        if owner == "partner":
            return _BY_HAND
        if channel == "assessment":
            return replace(GUIDE[step], about=GUIDE[step].about.removeprefix(_NOT_THE_PARTNERS))
    return GUIDE[step]


def cleaned_up(document: Mapping[str, Any]) -> str | None:
    """Summarize the customer's own cleanup in a sentence; None where there was none."""
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


def by_hand(document: Mapping[str, Any]) -> tuple[str, ...]:
    """What was removed on Partner Center's pages, as reported and as seen, in a line for each."""
    notes = Counter(
        note
        for device in document["devices"]
        if (note := device["planes"]["autopilot"].get("note", "")).startswith(REMOVED_BY_HAND)
    )
    return tuple(f"{counted(number, 'device')}: {note}" for note, number in notes.items())


def count_gone(outcomes: Mapping[str, int]) -> int:
    """How many devices are out of Windows Autopilot, now or from before."""
    return sum(outcomes.get(outcome.value, 0) for outcome in GONE)


def visible(text: str) -> str:
    """The text with every character that hides or turns others spelled out, as ⟨U+202E⟩.

    Foreign text must not be able to look like something else (https://trojansource.codes, 2021).
    """
    return _INVISIBLE.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


def counted(number: int, noun: str) -> str:
    """`1 device`, `2 devices`; thousands set apart as in `12,000 devices`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def effort(minutes: Mapping[str, int | None]) -> str:
    """`about 5 hours by hand, about 40 minutes with the script`; an estimate."""
    by_hand, by_script = minutes["byHand"], minutes["byScript"]
    said = f"{duration(by_hand or 0)} by hand"
    return said if by_script is None else f"{said}, {duration(by_script)} with the script"


def start_here(document: Mapping[str, Any]) -> str | None:
    """The first step, who does it, with what, and how long all of it takes; None with nothing."""
    start = document.get("start")
    if start is None:
        return None
    title = next(one["title"] for one in document["guide"] if one["id"] == start["step"])
    with_what = " or ".join(TOOL_NAMES[tool] for tool in start["tools"])
    due = f" Please finish by {day_text(document['dueOn'])}." if document.get("dueOn") else ""
    return (
        f"Step {start['order']}: {title}. {OWNERS[start['owner']]}, {with_what}. All steps together"
        f" take {effort(start['minutes'])}.{due}"
    )


TOOL_NAMES = {
    "script": "with the PowerShell script",
    "cleanup": "with partner-tools cleanup",
    "by-hand": "by hand in the portal",
}


def duration(minutes: int) -> str:
    """`about 40 minutes`, `about 5 hours`."""
    if minutes < 90:
        return f"about {max(minutes, 1)} minute{'s' if minutes > 1 else ''}"
    return f"about {round(minutes / 60):,} hours"


def day_text(written: str) -> str:
    """`13 December 2026`."""
    day = date.fromisoformat(written)
    return f"{day.day} {day:%B %Y}"


def file_name(document: Mapping[str, Any]) -> str:
    """`handoff-<domain or tenant>-<run>`, without the suffix.

    The run is the one that looked last: a cleanup never writes over the handoff that it was given.
    """
    customer, run = document["customer"], document.get("cleanup") or document["run"]
    named = customer["domain"] or customer["tenantId"] or "unassigned"
    return f"handoff-{harmless(named.casefold())}-{harmless(run['id'])}"


def harmless(text: str) -> str:
    """The text as a part of a file name on any system.

    A changed text gets a digest, so that no two customers share a file.
    """
    kept = "-".join(re.findall(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*", text))
    if kept and kept == text and len(kept) <= NAME_LIMIT:
        return kept
    digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"{kept[:NAME_LIMIT].rstrip('._-')}-{digest}".lstrip("-")


# --- the steps ----------------------------------------------------------------------------------

INTUNE = "Microsoft Intune admin center"
ENTRA = "Microsoft Entra admin center"

_AUTOPILOT_LIST = (INTUNE, "Devices", "Windows", "Enrollment", "Windows Autopilot", "Devices")
_NOT_THE_PARTNERS = (
    "The partner could not remove these registrations: most likely your own organisation or another"
    " partner made them. "
)
_ENTRA_DEVICE = (ENTRA, "Entra ID", "Devices", "All devices", "the device")

TOOLS: Mapping[StepId, tuple[str, ...]] = {
    StepId.BACK_UP_KEYS: ("script",),
    StepId.DELETE_FROM_INTUNE: ("script", "cleanup"),
    StepId.RETRY_INTUNE_ACTION: ("script", "cleanup"),
    StepId.UNASSIGN_USER: ("script", "cleanup"),
    StepId.DEREGISTER_FROM_AUTOPILOT: ("script", "cleanup"),
    StepId.CONFIRM_AUTOPILOT_REMOVAL: ("script", "cleanup"),
}
"""The automation for a step besides the portal: the PowerShell script, `cleanup`."""

SCRIPT_MINUTES = 15
"""To start the script, read its preview and wait for what Autopilot does in the background."""
SCRIPT_SECONDS = 5
"""For one device and step: at most four requests. Both are estimates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The page that a statement rests on, with the date that it carries."""

    title: str
    date: str
    url: str

    def __str__(self) -> str:
        return f"{self.title}, {self.date}" if self.date else self.title


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """One step, explained. `caution` is what goes wrong if it is done carelessly.

    `minutes` is an estimate of ours for one device by hand; 0 where nothing but time is needed.
    `otherwise` is a page that contradicts `source`; the text then names both dates.
    """

    title: str
    about: str
    source: Source
    caution: str | None = None
    portal: tuple[str, ...] = ()
    minutes: int = 2
    otherwise: Source | None = None


_DEREGISTER = Source(
    title="Microsoft Learn: Windows Autopilot registration overview, Deregister a device",
    date="2026-02-25",
    url="https://learn.microsoft.com/autopilot/registration-overview#deregister-a-device",
)
_INTUNE_DELETE = Source(
    title="Microsoft Learn: Device action: delete",
    date="2025-10-27",
    url="https://learn.microsoft.com/intune/intune-service/remote-actions/device-delete",
)
_INTUNE_RETIRE = Source(
    title="Microsoft Learn: Device action: retire",
    date="2025-07-22",
    url="https://learn.microsoft.com/intune/intune-service/remote-actions/device-retire",
)
_ADD_DEVICES = Source(
    title="Microsoft Learn: Manually register devices with Windows Autopilot",
    date="2025-02-21",
    url="https://learn.microsoft.com/autopilot/add-devices",
)
_MOTHERBOARD = Source(
    title="Microsoft Learn: Windows Autopilot motherboard replacement",
    date="2025-08-13",
    url="https://learn.microsoft.com/autopilot/autopilot-motherboard-replacement",
)
_KNOWN_ISSUES = Source(
    title="Microsoft Learn: Windows Autopilot known issues",
    date="2025-01-14",
    url="https://learn.microsoft.com/autopilot/known-issues",
)
_STALE_DEVICES = Source(
    title="Microsoft Learn: Manage stale devices in Microsoft Entra ID",
    date="2024-04-22",
    url="https://learn.microsoft.com/entra/identity/devices/manage-stale-devices",
)
_FIRMWARE = Source(
    title="Microsoft Learn: Device Firmware Configuration Interface management",
    date="2025-02-27",
    url="https://learn.microsoft.com/autopilot/dfci-management",
)
_ASSOCIATION = Source(
    title="Microsoft Learn: Windows Autopilot device association, remove the association",
    date="2026-09-11",
    url="https://learn.microsoft.com/autopilot/device-preparation/device-association/remove-association",
)
_PRE_ASSOCIATION = Source(
    title="Microsoft Learn: Windows Autopilot device association overview",
    date="2026-08-25",
    url="https://learn.microsoft.com/autopilot/device-preparation/device-association/overview",
)
_GRAPH_METADATA = Source(
    title="Microsoft Graph metadata",
    date="2026-08-20",
    url="https://github.com/microsoftgraph/msgraph-metadata",
)

GUIDE: Mapping[StepId, Chapter] = {
    StepId.RESOLVE_AMBIGUITY: Chapter(
        title="Find out which record is meant",
        about=(
            "More than one record answers to the same identity, or the one that answered carries"
            " another serial number. Compare the listed ids with the device itself, and settle"
            " with the partner which one it is."
        ),
        caution="Delete nothing for these devices until it is certain which record is meant.",
        minutes=10,
        source=Source(
            title="Microsoft Graph documentation, issue 20196: filters that return every device",
            date="",
            url="https://github.com/microsoftgraph/microsoft-graph-docs/issues/20196",
        ),
    ),
    StepId.SETTLE_REMOVAL: Chapter(
        title="Wait for the partner to finish its part",
        about=(
            "The partner's removal of these devices from Windows Autopilot was not attempted yet,"
            " or its answer never came. The partner settles it and sends this report again."
        ),
        minutes=0,
        source=_DEREGISTER,
    ),
    StepId.UNLOCK_FIRMWARE: Chapter(
        title="Free the firmware from management (DFCI)",
        about=(
            "Give the device a DFCI profile that sets “Allow local user to change UEFI settings”"
            " to “Only not configured settings” and leaves everything else not configured. Sync,"
            " restart, and make sure that the firmware menus open. Then wipe the device."
        ),
        caution=(
            "Once the device is deleted from Intune or wiped, its firmware menus stay locked."
            " Only devices that a partner or manufacturer registered can be managed this way. If"
            " it is already too late, try “refresh management from network” in the firmware menus."
        ),
        portal=(INTUNE, "Devices", "Manage devices", "Configuration"),
        minutes=20,
        source=_FIRMWARE,
    ),
    StepId.BACK_UP_KEYS: Chapter(
        title="Save recovery keys and local administrator passwords",
        about=(
            "Deleting a device from Intune retires it: at its next check-in the BitLocker key"
            " protectors are removed and encryption is suspended, and nobody can sign in to it"
            " with a Microsoft Entra account any more. Save the BitLocker recovery keys and the"
            " local administrator password (Windows LAPS) while the directory still shows them. The"
            " PowerShell file's -SaveKeys does it for all devices and writes a receipt. The keys of"
            " a hybrid joined device can be in Active Directory or Configuration Manager instead."
            " An app that only lists keys needs BitlockerKey.ReadBasic.All, an application"
            " permission by Microsoft's list of changes (2024-08-27), although older pages still"
            " say that application permissions are not supported."
        ),
        caution="This comes before every deletion. A hybrid joined device's keys go at once.",
        portal=(*_ENTRA_DEVICE, "BitLocker keys, and Local administrator password recovery"),
        minutes=3,
        source=_INTUNE_DELETE,
    ),
    StepId.UNENROLL_OTHER_MDM: Chapter(
        title="Unenrol it from the other device management service",
        about=(
            "The directory says that another service than Intune manages these devices. Remove"
            " them in that service's own console."
        ),
        source=_DEREGISTER,
    ),
    StepId.DELETE_FROM_INTUNE: Chapter(
        title="Delete the device from Intune",
        about=(
            "Find the device by its serial number, open it and choose Delete. On Windows, Delete"
            " always retires the device too: it is unjoined at its next check-in. If Configuration"
            " Manager also manages it, delete its record there as well, or discovery brings it"
            " back. A lost or stolen device is wiped first: after a delete that is not possible"
            " any more."
        ),
        caution="Compare the serial number. Device names repeat and are never proof.",
        portal=(INTUNE, "Devices", "Windows", "the device", "Delete"),
        source=_INTUNE_DELETE,
    ),
    StepId.RETRY_INTUNE_ACTION: Chapter(
        title="Repeat the Intune action that failed",
        about=(
            "Intune was asked to retire or wipe the device and failed. Order it again while the"
            " device is online, or delete the device."
        ),
        portal=(INTUNE, "Devices", "Windows", "the device", "Retire, Wipe or Delete"),
        source=_INTUNE_RETIRE,
    ),
    StepId.WAIT_FOR_CHECK_IN: Chapter(
        title="Bring the device online once",
        about=(
            "A retire, wipe or delete is ordered and waits for the device's next check-in. Connect"
            " it to the internet, then ask for this report to be verified again. A device that"
            " never comes online keeps its records."
        ),
        portal=(INTUNE, "Devices", "Windows", "the device", "Device action status"),
        minutes=1,
        source=_INTUNE_RETIRE,
    ),
    StepId.DELETE_FROM_CONFIGURATION_MANAGER: Chapter(
        title="Delete the record in Configuration Manager",
        about=(
            "Remove the client and delete the device's record. While the client is installed,"
            " heartbeat discovery creates the record again."
        ),
        portal=("Configuration Manager console", "Assets and Compliance", "Devices", "Delete"),
        source=Source(
            title="Microsoft Learn: Remove-CMDevice",
            date="",
            url="https://learn.microsoft.com/powershell/module/configurationmanager/remove-cmdevice",
        ),
    ),
    StepId.ALLOW_REENROLLMENT: Chapter(
        title="Allow the device to enrol again",
        about=(
            "A device that enrolled by itself (self-deploying or pre-provisioned) cannot enrol a"
            " second time: setup ends with 0x80180014. Deleting it from Intune lifts that."
        ),
        portal=(INTUNE, "Devices", "All devices", "the device", "Delete"),
        source=_KNOWN_ISSUES,
    ),
    StepId.UNASSIGN_USER: Chapter(
        title="Unassign the user",
        about=(
            "Select the device, open the menu at the end of its line and choose Unassign user."
            " Where that is greyed out, continue with the next step."
        ),
        portal=(*_AUTOPILOT_LIST, "…", "Unassign user"),
        minutes=1,
        source=_DEREGISTER,
    ),
    StepId.DEREGISTER_FROM_AUTOPILOT: Chapter(
        title="Deregister the device from Windows Autopilot",
        about=(
            f"{_NOT_THE_PARTNERS}Find the device by its serial number, unassign its"
            " user if one is assigned, choose Delete, then Sync, and refresh every few minutes"
            " until it is gone. Only devices that are not enrolled in Intune can be deleted here,"
            " so Intune comes first. In the Microsoft 365 admin center the same is Devices,"
            " Autopilot, Delete device."
        ),
        portal=(*_AUTOPILOT_LIST, "Delete", "Sync"),
        source=_DEREGISTER,
    ),
    StepId.CONFIRM_AUTOPILOT_REMOVAL: Chapter(
        title="See that the device is gone from Windows Autopilot",
        about=(
            "A removal is accepted first and takes effect later, in minutes or in more than an"
            " hour. Choose Sync (at most every ten minutes), refresh, and look for the serial"
            " number. If it stays, delete it there."
        ),
        portal=(*_AUTOPILOT_LIST, "Sync"),
        minutes=1,
        source=_ADD_DEVICES,
    ),
    StepId.OPEN_SUPPORT_CASE: Chapter(
        title="Ask Microsoft to lift another organisation's registration",
        about=(
            "If the device shows another organisation at setup, or its registration is refused"
            " because it is assigned to another tenant, only Microsoft can lift it. Open a case"
            " titled “Windows Autopilot Deregistration Request” with the serial number, proof of"
            " ownership and the ids in this report."
        ),
        portal=(INTUNE, "Troubleshooting + support", "Help and support"),
        minutes=30,
        source=_MOTHERBOARD,
    ),
    StepId.DELETE_COMPUTER_OBJECT: Chapter(
        title="Hybrid joined devices: delete the computer object in Active Directory",
        about=(
            "Delete the computer object on premises, together with the recovery keys below it, and"
            " let Microsoft Entra Connect take its cloud object away. The object's GUID on premises"
            " is the device id in Microsoft Entra ID. Devices that are not hybrid joined have no"
            " such object."
        ),
        caution=(
            "Never delete only the cloud object: synchronization brings it back as pending. Save"
            " the keys first, they go with it."
        ),
        portal=("Active Directory Users and Computers", "the computer", "Delete"),
        source=_STALE_DEVICES,
    ),
    StepId.DISCONNECT_WORK_ACCOUNT: Chapter(
        title="Disconnect the work account on the device",
        about=(
            "This is a personal device with a work account. Its user disconnects the account; an"
            " Intune retire does the same at the next check-in."
        ),
        portal=("On the device", "Settings", "Accounts", "Access work or school", "Disconnect"),
        source=_INTUNE_RETIRE,
    ),
    StepId.DELETE_CORPORATE_IDENTIFIER: Chapter(
        title="Delete the corporate identifier",
        about=(
            "A corporate identifier marks the device as owned by your organisation when it enrols."
            " It does not bind the device at setup, so this is tidiness."
        ),
        portal=(INTUNE, "Devices", "Enrollment", "Corporate device identifiers", "Delete"),
        minutes=1,
        source=_GRAPH_METADATA,
    ),
    StepId.DELETE_IMPORT_RECORD: Chapter(
        title="Delete the record of the import",
        about="A finished import left a record behind. It binds nothing; delete it for tidiness.",
        minutes=1,
        source=_GRAPH_METADATA,
    ),
    StepId.VERIFY_ENTRA_REMOVAL: Chapter(
        title="Check Entra ID after a day; do not delete anything before",
        about=(
            "The directory object may be removed automatically once the device is gone from"
            " Windows Autopilot and Intune. Microsoft's pages disagree: one (2025-07-22) says that"
            " the object goes when the device is no longer registered with Windows Autopilot,"
            " another (2026-02-25) says that the object of a device that is or was enrolled is not"
            " removed automatically. So check a day after the last step before this one."
        ),
        caution=(
            "Do not delete it by hand as a matter of course. While the device is registered with"
            " Windows Autopilot the object anchors it, and deleting it makes enrolment fail."
        ),
        portal=_ENTRA_DEVICE,
        minutes=1,
        source=_DEREGISTER,
        otherwise=_INTUNE_RETIRE,
    ),
    StepId.DECIDE_ON_ENTRA_OBJECT: Chapter(
        title="Decide what becomes of the directory object that stayed",
        about=(
            "These devices are gone from Windows Autopilot and Intune, and their directory objects"
            " stayed beyond the grace period. Microsoft advises against deleting them without a"
            " specific reason; a device that leaves for good can be one. If you decide so: disable"
            " the object, wait until nobody misses it, then delete it. Since 2026 (preview)"
            " deleted objects of joined and registered devices can be restored for 30 days."
        ),
        caution="Save the recovery keys first. Leave the object if the device comes back to you.",
        portal=(*_ENTRA_DEVICE, "Disable, later Delete"),
        minutes=3,
        source=_DEREGISTER,
    ),
    StepId.DECIDE_ON_RESIDUAL_OBJECT: Chapter(
        title="Decide what becomes of the former hybrid object",
        about=(
            "These objects came from Active Directory and are not synchronized any more. Make sure"
            " that no computer object is left on premises; otherwise the next synchronization"
            " brings them back. Then disable them and, if you decide so, delete them."
        ),
        caution="Deleting a hybrid object is final: no deleted items, and its keys go at once.",
        portal=(*_ENTRA_DEVICE, "Disable, later Delete"),
        minutes=3,
        source=_STALE_DEVICES,
    ),
    StepId.REBUILD_REGISTRATION: Chapter(
        title="Rebuild the registration",
        about=(
            "The directory object was deleted while the device was still registered, so setup ends"
            " with 0x801C03F3. Remove what is left in Intune, Windows Autopilot and Microsoft"
            " Entra ID, in this order, and have the device registered again."
        ),
        minutes=15,
        source=_KNOWN_ISSUES,
    ),
    StepId.REGISTER_AGAIN: Chapter(
        title="When a repaired device comes back: register it again",
        about=(
            "A new mainboard makes it a new device. After the repair, register it with the new"
            " hardware hash, and with the hash only: its product key or serial number alone is"
            " answered with ZtdDeviceNotFound. Then reset it so that it starts at setup."
        ),
        minutes=10,
        source=_MOTHERBOARD,
    ),
    StepId.REMOVE_DEVICE_ASSOCIATION: Chapter(
        title="Clear the device association in the firmware",
        about=(
            "A tenant can bind a device through its firmware (Windows Autopilot device"
            " association, since August 2026). That survives a reset and a new installation and"
            " takes precedence over Windows Autopilot. Unenrol the device from Intune first. Then,"
            " on the device itself and in an elevated PowerShell, look for four firmware variables"
            " in the namespace {B3DE75DA-819C-4FD5-9F01-C3D49E8CBBD7}: DeviceLinkJwtCompressed and"
            " DeviceLinkJwtLastWrite are the association, DeviceLinkId and"
            " DeviceLinkCreationTimeUtc only an identity that Windows makes anew after a restart."
            " The module UEFI reads them with Get-UEFIVariable -Namespace … -VariableName …, and"
            " Set-UEFIVariable with -Value $null clears them. Older devices may use the names"
            " DeviceLinkBlob and DeviceLinkUtc."
        ),
        caution=(
            "Unenrol first, or Intune associates the device again at its next check-in. A removal"
            " that is pending ends when the device is reached; check the variables even then."
        ),
        portal=("On the device", "PowerShell as administrator"),
        minutes=10,
        source=_ASSOCIATION,
    ),
    StepId.DELETE_ASSOCIATION_RECORD: Chapter(
        title="Delete the device association record",
        about=(
            "A device that is only pre-associated is known to the tenant alone: deleting its"
            " record is enough, takes effect at once and needs nobody at the device. Left alone,"
            " the record binds the device to your tenant at its next setup with a network. Of a"
            " device that is associated, deleting the record may leave the association in the"
            " firmware, so the step before comes first. Where this report says not verified, look"
            " for the serial number in the list. partner-tools reads these records through an"
            " undocumented beta interface of Microsoft Graph (read 2026-11)."
        ),
        caution="Only after the device is out of Intune: an enrolled device is associated again.",
        portal=(INTUNE, "Devices", "Enrollment", "Device association", "Devices", "Delete"),
        minutes=1,
        source=_PRE_ASSOCIATION,
    ),
    StepId.CHECK_FIRMWARE_LOCKS: Chapter(
        title="Check for other firmware locks: BIOS password, Absolute",
        about=(
            "Open the firmware menus of the device. Clear supervisor, system and disk passwords."
            " If Absolute (formerly Computrace) is activated, remove the device in its console"
            " first: once activated, the setting in the firmware cannot be changed there. Lessors"
            " charge for every device that comes back with one of these locks. partner-tools"
            " cannot see them."
        ),
        portal=("On the device", "Firmware menus (F2, F10 or Esc at power-on)", "Security"),
        minutes=5,
        source=Source(
            title="Dell: Computrace replaced by the Absolute module, article 000142862",
            date="",
            url="https://www.dell.com/support/kbdoc/000142862",
        ),
    ),
    StepId.OFFBOARD_FROM_DEFENDER: Chapter(
        title="Offboard it from Microsoft Defender for Endpoint, where you use it",
        about=(
            "Run the offboarding package, or Offboard in the portal, while the device is still"
            " managed and online. The interface stops the sensor only; the package also clears"
            " what onboarding wrote into the registry. A reset removes the sensor from the"
            " device, and its entry in the portal then goes inactive. partner-tools does not look"
            " there."
        ),
        portal=("Microsoft Defender portal", "Assets", "Devices", "the device"),
        minutes=3,
        source=Source(
            title="Microsoft Learn: Offboard machine API",
            date="",
            url="https://learn.microsoft.com/defender-endpoint/api/offboard-machine-api",
        ),
    ),
    StepId.REMOVE_FROM_AUTOPATCH: Chapter(
        title="Remove it from Windows Autopatch, where you use it",
        about=(
            "Windows Autopatch keeps a record of each device under its device id in Microsoft"
            " Entra ID. The record binds nothing at setup, but it stays. Look it up as shown"
            " (permission WindowsUpdates.Read.All) and delete it with the method DELETE"
            " (WindowsUpdates.ReadWrite.All). partner-tools does not look there."
        ),
        minutes=2,
        source=Source(
            title="Microsoft Learn: Get updatableAsset (beta)",
            date="",
            url="https://learn.microsoft.com/graph/api/windowsupdates-updatableasset-get",
        ),
    ),
    StepId.RESET_DEVICE: Chapter(
        title="Reset the device before it leaves your hands",
        about=(
            "Deleting records does not clear the device: its system stays joined until it is reset"
            " or leaves the organisation itself. Wipe it from Intune before you delete it there,"
            " or reset it in Settings."
        ),
        portal=("On the device", "Settings", "System", "Recovery", "Reset this PC"),
        minutes=5,
        source=_STALE_DEVICES,
    ),
}
"""One chapter for every step of the enumeration."""

_BY_HAND = Chapter(
    title="Partner: deregister the device in Partner Center",
    about=(
        "Your partner removes these registrations on Partner Center's pages, one by one, and looks"
        " afterwards whether they are gone. Devices that Partner Center does not list for you were"
        " registered by your own organisation or another partner: your partner tells you which."
    ),
    portal=("Partner Center", "Customers", "the customer", "Devices"),
    source=_DEREGISTER,
)
"""The pages' names are those of 2026 (the source, read 2026-11)."""
