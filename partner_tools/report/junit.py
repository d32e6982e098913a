"""A run's result as JUnit XML, which build servers show: one test case for each device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unicodedata import category
from xml.etree.ElementTree import Element, SubElement, tostring

from partner_tools.files import write_private
from partner_tools.model import GONE

_FINE = frozenset(outcome.value for outcome in GONE)


def write_junit(document: Mapping[str, Any], file: Path) -> None:
    """Write a result as JUnit XML; whole or not at all."""
    write_private(file, build_junit(document))


def build_junit(document: Mapping[str, Any]) -> bytes:
    """The XML: a failure for each device that is neither removed nor absent."""
    devices = document["devices"]
    failed = [each for each in devices if each["outcome"] not in _FINE]
    suite = Element(
        "testsuite",
        name=f"partner-tools {document['channel']}",
        tests=str(len(devices)),
        failures=str(len(failed)),
    )
    for each in devices:
        _case(suite, each, document["run"])
    content: bytes = tostring(suite, encoding="utf-8", xml_declaration=True)
    return content


def _case(suite: Element, device: Mapping[str, Any], run: str) -> None:
    name = device["serialNumber"] or device.get("productKeyId") or "no identifier"
    case = SubElement(suite, "testcase", classname=run, name=_legal(f"{device['row']}: {name}"))
    if device["outcome"] not in _FINE:
        failure = SubElement(case, "failure", type=device["outcome"])
        failure.set("message", _legal(device["detail"] or device["outcome"]))
        failure.text = _legal(device["remedy"] or "")


def _legal(text: str) -> str:
    """The text without what would reorder its line, and without what XML 1.0 cannot hold
    (https://www.w3.org/TR/xml/#charsets): none of that can be printed, nor is it a space."""
    return "".join(
        character
        if character.isprintable() or character in "\t\n\r" or category(character) == "Zs"
        else "\ufffd"
        for character in text
    )
