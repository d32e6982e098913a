"""Read the Autopilot service's codes for a device that was to be deregistered. Pure.

A code is read by its name first and its number second, because services pair them wrongly: 806 has
been seen with the name of 808. The names and numbers are those that Intune and Partner Center show
(https://learn.microsoft.com/autopilot/add-devices and
https://learn.microsoft.com/autopilot/troubleshooting-faq, read 2026-11); that the OEM Direct API
uses the same is an assumption, and a profile's `oem.codes` extend and override them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from partner_tools.clients.oem.profile import CodeMeaning


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """One code: what it means for the device, in a sentence, and what to do next."""

    name: str
    number: str | None
    meaning: CodeMeaning
    detail: str
    remedy: str

    @property
    def shown(self) -> str:
        """The code as a person would search for it."""
        return " ".join(part for part in (self.number, self.name) if part)


_REGISTERING = (
    "this is an answer to a registration: look at the wire profile, and ask the OEM's contact at "
    "Microsoft what was done before you send anything again"
)

CODES: tuple[Code, ...] = (
    Code(
        name="StorageError",
        number="640",
        meaning=CodeMeaning.RETRY,
        detail="the service could not store the change for now",
        remedy="resume the run: it is asked again",
    ),
    Code(
        name="InvalidZtdRequestBody",
        number="801",
        meaning=CodeMeaning.STOP,
        detail="the service calls the request malformed, or misses a tenant in it: the wire "
        "profile does not fit, or its path only registers",
        remedy="compare the wire profile with your whitepaper (path, envelope, blank_style); no "
        "further device was sent",
    ),
    Code(
        name="InvalidZtdHardwareHash",
        number="802",
        meaning=CodeMeaning.REFUSED,
        detail="the service holds a hardware hash for it that is invalid or lacks maker or serial",
        remedy="ask Microsoft's OEM support to look at the record",
    ),
    Code(
        name="MissingZtdSerialNumberAndProductKey",
        number="803",
        meaning=CodeMeaning.REFUSED,
        detail="the service found neither a serial number nor a product key id in the request",
        remedy="compare oem.fields of the wire profile with your whitepaper, and the row with "
        "the device",
    ),
    Code(
        name="ZtdDeviceAlreadyAssigned",
        number="806",
        meaning=CodeMeaning.REFUSED,
        detail="the service says that the device is assigned to this tenant already",
        remedy=_REGISTERING,
    ),
    Code(
        name="ZtdDeviceIsNotRegistered",
        number="807",
        meaning=CodeMeaning.ABSENT,
        detail="the service holds no registration for this identity (807); this channel has no "
        "listing, so a misspelling is possible",
        remedy="compare the identity with the device; if it is right, nothing is left to do here",
    ),
    Code(
        name="ZtdDeviceAssignedToOtherTenant",
        number="808",
        meaning=CodeMeaning.REFUSED,
        detail="the service says that the device is registered to another tenant",
        remedy="ask that tenant to remove it in Intune, or Microsoft's OEM support",
    ),
    Code(
        name="ZtdDeviceAssignedToAnotherTenant",
        number=None,
        meaning=CodeMeaning.REFUSED,
        detail="the service says that the device is registered to another tenant",
        remedy="ask that tenant to remove it in Intune, or Microsoft's OEM support",
    ),
    Code(
        name="ZtdProfileIsNotRegistered",
        number="809",
        meaning=CodeMeaning.REFUSED,
        detail="the service speaks of a deployment profile that it does not know",
        remedy=_REGISTERING,
    ),
    Code(
        name="ZtdProfileAssignedToOtherTenant",
        number="810",
        meaning=CodeMeaning.REFUSED,
        detail="the service speaks of a deployment profile of another tenant",
        remedy=_REGISTERING,
    ),
    Code(
        name="ZtdDeviceRegisteredByOtherTenant",
        number="811",
        meaning=CodeMeaning.NOT_OWNED,
        detail="another party registered this device, and only that party may remove it",
        remedy="whoever registered it has to remove it; for the customer that is Intune",
    ),
    Code(
        name="ZtdDeviceNotFound",
        number="812",
        meaning=CodeMeaning.REFUSED,
        detail="the service knows no device with this identity; maker and model are "
        "case-sensitive, and a hash with these values must have reached Microsoft before",
        remedy="compare maker, model and serial number letter by letter with the firmware, or "
        "use the product key id",
    ),
    Code(
        name="ZtdDeviceIsNotUnique",
        number="813",
        meaning=CodeMeaning.AMBIGUOUS,
        detail="more than one device has this identity, so that the service removes none",
        remedy="name it by the other identifier (product key id, or serial, maker and model), or "
        "have whoever registered it remove it",
    ),
    Code(
        name="ZtdDeviceAlreadyAadRegistered",
        number="814",
        meaning=CodeMeaning.REFUSED,
        detail="the service says that the device's object exists in Microsoft Entra",
        remedy=_REGISTERING,
    ),
    Code(
        name="ZtdDeviceDuplicated",
        number=None,
        meaning=CodeMeaning.REFUSED,
        detail="the service saw the device twice and worked on one of them only",
        remedy="run the device again on its own",
    ),
    Code(
        name="HashNot4k",
        number=None,
        meaning=CodeMeaning.REFUSED,
        detail="the service speaks of a hardware hash, and none was sent",
        remedy=_REGISTERING,
    ),
)
"""The public table. 804 and 805 are in no public list."""

_WORD = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeTable:
    """The codes of one wire, by casefolded name and by number."""

    by_name: Mapping[str, Code]
    by_number: Mapping[str, Code]

    def read(self, code: str, *texts: str) -> Code | None:
        """The code that an answer speaks of: a known name in any text, else a known number.

        >>> code_table(()).read("806", "ZtdDeviceAssignedToOtherTenant").number
        '808'
        """
        for text in (code, *texts):
            for word in _WORD.findall(text):
                if found := self.by_name.get(word.casefold()):
                    return found
        return self.by_number.get(code)


def code_table(overrides: Iterable[tuple[str, CodeMeaning]]) -> CodeTable:
    """The public table with a profile's meanings over it; a known code is meant whole."""
    by_name = {code.name.casefold(): code for code in CODES}
    by_number = {code.number: code for code in CODES if code.number}
    for name, meaning in overrides:
        known = by_number.get(name) or by_name.get(name.casefold())
        code = _overridden(known, name, meaning)
        if code.name:
            by_name[code.name.casefold()] = code
        if code.number:
            by_number[code.number] = code
    return CodeTable(by_name=by_name, by_number=by_number)


def _overridden(known: Code | None, name: str, meaning: CodeMeaning) -> Code:
    if known is not None and known.meaning is meaning:
        return known
    plain = Code(
        name="" if name.isdigit() else name,
        number=name if name.isdigit() else None,
        meaning=meaning,
        detail=f"the service said {name}, which the wire profile reads as {meaning.value}",
        remedy="look the code up in your whitepaper",
    )
    return plain if known is None else replace(plain, name=known.name, number=known.number)
