"""The repair depot's checklist: one page to print, the order of the work and a box for each step.

It renders the handoff document of a run and adds the depot's part of the work, which is the same
for every device (https://learn.microsoft.com/autopilot/autopilot-motherboard-replacement).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from partner_tools.report.guide import OUTCOMES
from partner_tools.report.handoff import Document
from partner_tools.report.page import environment, policy, text


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the work. `short` is printed beside the box of each device."""

    short: str
    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the order comes from."""

    title: str
    link: str
    date: str


SOURCE = Source(
    title="Windows Autopilot motherboard replacement",
    link="https://learn.microsoft.com/autopilot/autopilot-motherboard-replacement",
    date="2025-08-13",
)

STEPS = (
    Step(
        short="Deregistered",
        title="Deregister the damaged device",
        text="It is done where its box is ticked. Never replace a board before that.",
    ),
    Step(
        short="Board replaced",
        title="Replace the motherboard",
        text="A board with TPM beside a second network card that stays, or a BIOS whose data cannot"
        " be written, is not supported: the device cannot be registered again.",
    ),
    Step(
        short="Key injected",
        title="Inject the replacement product key and write the BIOS data",
        text="A board without the replacement key violates Microsoft's policy. Serial number,"
        " maker, model and UUID have to be in the BIOS before the hash is captured.",
    ),
    Step(
        short="New hash captured",
        title="Capture the new 4K hardware hash",
        text="In audit mode of the full operating system, after the key is in the BIOS. The hash of"
        " the old board identifies nothing any more.",
    ),
    Step(
        short="Hash checked",
        title="Check the hash: partner-tools hash check",
        text="It compares serial number, maker, model and product key id with the hash, and names"
        " the BIOS fields that Autopilot needs and the hash lacks.",
    ),
    Step(
        short="Registered again",
        title="Register the device again, by its hash alone",
        text="In Partner Center or in Intune. By product key id or serial number it fails with"
        " ZtdDeviceNotFound, and the OEM Direct API takes no hashes.",
    ),
    Step(
        short="Reset, returned",
        title="Reset the device to its first start, and return it",
        text="If the start shows another organisation, open a Microsoft case titled"
        " “Windows Autopilot Deregistration Request”. Error 0x80180014: the customer deletes"
        " the device from Intune first.",
    ),
)

RULES = (
    "A board from a device that was in Autopilot: deregister the donor first, then the damaged"
    " device. Never register the donor again.",
    "A disk from a device that was not in Autopilot changes nothing: do not deregister for it.",
    "Deregistered is not unlinked: since August 2026 a tenant can bind a device in its firmware"
    " (Windows Autopilot device association). It takes precedence over a registration and survives"
    " a reset. Look on the device, in an elevated PowerShell with the module UEFI: Get-UEFIVariable"
    " -Namespace '{B3DE75DA-819C-4FD5-9F01-C3D49E8CBBD7}' -VariableName DeviceLinkJwtCompressed,"
    " and the same for DeviceLinkJwtLastWrite. If either has a value, the device is bound: have the"
    " customer unenrol it, then clear both with Set-UEFIVariable -Value $null. DeviceLinkId and"
    " DeviceLinkCreationTimeUtc alone are no association; Windows makes them anew.",
)


def write_checklist(document: Document, stream: BinaryIO) -> None:
    """The checklist as one HTML file without network or script, in UTF-8."""
    style = text("checklist.css")
    page = environment().get_template("checklist.html")
    content = page.render(
        document=document,
        steps=STEPS,
        rules=RULES,
        source=SOURCE,
        words={"outcomes": OUTCOMES},
        style=style,
        policy=policy(style),
    )
    stream.write(content.encode("utf-8", "replace"))
