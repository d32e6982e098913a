"""Bodies of the OEM Direct sandbox, in JSON and XML: devices read, results written. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from partner_tools.clients.oem_profile import Profile
from partner_tools.sandbox.faults import ItemKind
from partner_tools.sandbox.oem_direct.items import Asked, Done
from partner_tools.sandbox.wire import Response, json_response, text_response


def read_devices(profile: Profile, body: bytes) -> list[Asked] | None:
    """The devices of a call, None for a body that the profile does not describe."""
    try:
        rows = _xml_rows(profile, body) if profile.is_xml else _json_rows(profile, body)
    except (ValueError, ElementTree.ParseError):
        return None
    if rows is None or not all(isinstance(row, Mapping) for row in rows):
        return None
    return [_asked(profile, place, row) for place, row in enumerate(rows)]


def write(profile: Profile, status: int, value: Mapping[str, Any] | list[Any]) -> Response:
    """An answer in the profile's media type."""
    if not profile.is_xml:
        return json_response(status, value)
    root = _element("Response", value)
    text = '<?xml version="1.0" encoding="utf-8"?>' + ElementTree.tostring(root, "unicode")
    return text_response(status, text, profile.media_type.split(";")[0])


def results(profile: Profile, done: Sequence[Done]) -> Any:
    """The per-device results under the profile's path and names, in the order of the call."""
    rows = [row for each in done for row in _rows(profile, each)]
    value: Any = {"Result": rows} if profile.is_xml else rows
    for name in reversed(list(filter(None, profile.response.items_path.split(".")))):
        value = {name: value}
    return value


def _rows(profile: Profile, done: Done) -> list[dict[str, Any]]:
    if done.fault is ItemKind.MISSING:
        return []
    row = _row(profile, done)
    status = profile.response.status_field
    if done.fault is ItemKind.NO_STATUS:
        del row[status]
    elif done.fault is ItemKind.EMPTY_STATUS:
        row[status] = ""
    elif done.fault is ItemKind.PENDING:
        row[status] = profile.response.pending_values[0]
    elif done.fault is ItemKind.TWICE:
        return [row, {**row, status: "Failed"}]
    return [row]


def _row(profile: Profile, done: Done) -> dict[str, Any]:
    """Under the profile's names. No OEM's wording of a failure is public."""
    response, asked = profile.response, done.asked
    row: dict[str, Any] = {}
    if asked.ref:
        row[response.fields.item_ref] = asked.ref
    if asked.pkid:
        row[response.fields.pkid] = asked.pkid
    elif asked.serial:
        row[response.fields.serial] = asked.serial
    row[response.status_field] = response.ok_values[0] if done.ok else "Failed"
    if not done.ok:
        row[response.code_field or "ErrorCode"] = done.number
        row[response.message_field or "ErrorDescription"] = done.name
    return row


def _json_rows(profile: Profile, body: bytes) -> list[Any] | None:
    value = json.loads(body.decode("utf-8"))
    key = profile.body.devices_key
    rows = value.get(key) if key and isinstance(value, Mapping) else value
    return rows if isinstance(rows, list) else None


def _xml_rows(profile: Profile, body: bytes) -> list[Any] | None:
    root = ElementTree.fromstring(body)  # noqa: S314 - expat without network
    if profile.xml.namespace and root.tag != f"{{{profile.xml.namespace}}}{profile.xml.root}":
        return None
    return [
        {child.tag.rpartition("}")[2]: child.text or "" for child in element}
        for element in root.iter()
        if element.tag.rpartition("}")[2] == profile.xml.device
    ]


def _asked(profile: Profile, place: int, row: Mapping[str, Any]) -> Asked:
    fields = profile.fields

    def text(name: str) -> str:
        value = row.get(name)
        return value if isinstance(value, str) else ""

    return Asked(
        place=place,
        ref=text(fields.item_ref),
        pkid=text(fields.pkid),
        serial=text(fields.serial),
        manufacturer=text(fields.manufacturer),
        model=text(fields.model),
    )


def _element(name: str, value: Any) -> ElementTree.Element:
    element = ElementTree.Element(name)
    if isinstance(value, Mapping):
        for key, inner in value.items():
            for each in inner if isinstance(inner, list) else [inner]:
                element.append(_element(key, each))
    else:
        element.text = "" if value is None else str(value)
    return element
