"""The certificate as a page to print, and the page that checks one in a browser, offline."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import segno

from partner_tools.report.certificate import RELEASED, open_locks
from partner_tools.report.page import environment, policy, text
from partner_tools.signing import fingerprint, grouped

LOCKS: Mapping[str, str] = {
    "autopilot": "Windows Autopilot registration",
    "device-association": "Device association (firmware)",
    "intune": "Microsoft Intune enrollment",
    "entra": "Microsoft Entra ID device object",
    "active-directory": "Active Directory computer object",
    "configuration-manager": "Configuration Manager record",
    "device-firmware": "Managed firmware settings (DFCI)",
    "corporate-identifier": "Corporate device identifier",
}
SHORT: Mapping[str, str] = {
    "autopilot": "Autopilot",
    "device-association": "Associa\u00adtion",
    "intune": "Intune",
    "entra": "Entra ID",
    "active-directory": "AD",
    "configuration-manager": "Config\u00adMgr",
    "device-firmware": "Firm\u00adware",
    "corporate-identifier": "Corp. id",
}
STATUSES: Mapping[str, str] = {
    "clear": "clear",
    "not-applicable": "does not apply",
    "outstanding": "still there",
    "expected": "going, not gone",
    "reported": "reported gone, not checked",
    "not-verified": "not verified",
}
SOURCES: Mapping[str, str] = {
    "graph": "Microsoft Graph",
    "channel": "removal service",
    "active-directory": "Active Directory",
    "customer": "former owner's word",
    "person": "person at the device",
    "partner": "partner's word",
}
OUTCOMES: Mapping[str, str] = {
    "removed": "The registration was removed",
    "absent": "The registration was gone already",
    "already-removed": "The registration had been removed earlier",
    "not-found": "This partner had not registered it; nothing was removed",
}


def certificate_page(document: Mapping[str, Any]) -> bytes:
    """A signed certificate as one HTML file without network or script, in UTF-8."""
    style = text("certificate.css")
    page = environment().get_template("certificate.html")
    content = page.render(
        document=document,
        released=document["kind"] == RELEASED,
        open_locks=open_locks,
        words={
            "locks": LOCKS,
            "short": SHORT,
            "statuses": STATUSES,
            "sources": SOURCES,
            "outcomes": OUTCOMES,
        },
        signers=[
            (grouped(fingerprint(each["key"])), each["signedAt"]) for each in document["signatures"]
        ],
        code=_code(document["digest"]),
        style=style,
        policy=policy(style),
    )
    return content.encode("utf-8", "replace")


def checking_page() -> bytes:
    """The page that checks certificates: static, without network, the same for every partner."""
    style, script = text("certificate.css"), text("verify.js")
    content = (
        environment()
        .get_template("verify.html")
        .render(
            style=style,
            script=script,
            policy=policy(style, script),
            words={"locks": LOCKS, "statuses": STATUSES, "sources": SOURCES, "outcomes": OUTCOMES},
        )
    )
    return content.encode()


def _code(content: str) -> str:
    """A QR code as an inline SVG, dark on light whatever the page's colours."""
    made = io.BytesIO()
    segno.make(content, error="m").save(
        made, kind="svg", xmldecl=False, svgns=False, omitsize=True, light="#fff", dark="#000"
    )
    return made.getvalue().decode("ascii")
