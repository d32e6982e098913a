"""From the checked values of a row to the device that the rest of the program knows. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from partner_tools.intake.table import Row
from partner_tools.model import Device, Identity


def device_of(row: Row) -> Device:
    """The device of a row whose values keep the batch schema."""
    values = row.values or {}
    replacement = values.get("replacement")
    return Device(
        row=row.line,
        identity=_identity(values),
        customer=_text(values, "customer"),
        reference=_text(values, "reference"),
        replacement=_identity(replacement) if isinstance(replacement, dict) else None,
        extra=(*row.extra, *_extra(values.get("extra"))),
    )


def _identity(values: Mapping[str, object]) -> Identity:
    return Identity(
        serial_number=_text(values, "serialNumber"),
        manufacturer=_text(values, "manufacturer"),
        model=_text(values, "model"),
        product_key_id=_text(values, "productKeyId"),
        hardware_hash=_text(values, "hardwareHash"),
    )


def _text(values: Mapping[str, object], name: str) -> str | None:
    value = values.get(name)
    return value if isinstance(value, str) else None


def _extra(values: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(values, dict):
        return ()
    return tuple((str(name), str(text)) for name, text in values.items())
