"""A run's result as JUnit XML, which build servers show: one test case for each device.

Class and test names stay the same from run to run, so that a build server can show a device's
history: the class is the customer, else the depot or the channel, the test the device. The run is
a property.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unicodedata import category
from xml.etree.ElementTree import Element, SubElement, tostring

from partner_tools.files import write_private
from partner_tools.model import GONE, Outcome

_FINE = frozenset(outcome.value for outcome in GONE)
_SKIPPED = frozenset({Outcome.UNCONFIRMED, Outcome.DUPLICATE, Outcome.PENDING})
"""Nothing failed: nothing was done, or nothing is known of it. The exit code still says 7."""


def write_junit(document: Mapping[str, Any], file: Path, facts: Mapping[str, str | None]) -> None:
    """Write a result as JUnit XML; whole or not at all."""
    write_private(file, build_junit(document, facts))


def build_junit(document: Mapping[str, Any], facts: Mapping[str, str | None]) -> bytes:
    """The XML: a failure for each device that is not done, or the reason why it was skipped.

    `facts` become properties of the suite: `depot` and `reference`, a ticket, among them.
    """
    devices = document["devices"]
    skipped = sum(each["outcome"] in _SKIPPED for each in devices)
    fine = sum(each["outcome"] in _FINE for each in devices)
    suite = Element(
        "testsuite",
        name=f"partner-tools {document['channel']}",
        tests=str(len(devices)),
        failures=str(len(devices) - fine - skipped),
        skipped=str(skipped),
    )
    properties = SubElement(suite, "properties")
    for name, value in {"run": document["run"], "state": document["state"], **facts}.items():
        if value:
            SubElement(properties, "property", name=name, value=_legal(value))
    for each in devices:
        group = each["customer"] or facts.get("depot") or document["channel"]
        # Build servers take a dot for the end of a package.
        _case(suite, each, f"partner-tools.{group.replace('.', '-')}")
    content: bytes = tostring(suite, encoding="utf-8", xml_declaration=True)
    return content


def _case(suite: Element, device: Mapping[str, Any], group: str) -> None:
    name = device["serialNumber"] or device.get("productKeyId") or f"row {device['row']}"
    case = SubElement(suite, "testcase", classname=_legal(group), name=_legal(name))
    if device["outcome"] in _FINE:
        return
    kind = "skipped" if device["outcome"] in _SKIPPED else "failure"
    told = SubElement(case, kind, type=device["outcome"])
    told.set("message", _legal(device["detail"] or device["outcome"]))
    told.text = _legal(device["remedy"] or "")


def _legal(text: str) -> str:
    """The text without what would reorder its line, and without what XML 1.0 cannot hold
    (https://www.w3.org/TR/xml/#charsets): none of that can be printed, nor is it a space."""
    return "".join(
        character
        if character.isprintable() or character in "\t\n\r" or category(character) == "Zs"
        else "\ufffd"
        for character in text
    )
