"""What speaks against removing a device now, by what its tenant shows of it."""

from __future__ import annotations

from enum import StrEnum

from partner_tools.outstanding.nouns import Decision, Plane, Status, StepId


class Risk(StrEnum):
    """A reason to think again before a registration is removed."""

    FIRMWARE_MANAGED = "firmware-managed"
    AMBIGUOUS = "ambiguous"
    IN_INTUNE = "in-intune"
    DEVICE_ASSOCIATION = "device-association"
    KEYS_NOT_SAVED = "keys-not-saved"
    INTUNE_NOT_VERIFIED = "intune-not-verified"
    KEYS_NOT_VERIFIED = "keys-not-verified"


WORDS = {
    Risk.FIRMWARE_MANAGED: "firmware managed by Intune (DFCI): unlock it first, or its menus stay "
    "locked",
    Risk.AMBIGUOUS: "more than one record in the customer's tenant answers to it",
    Risk.IN_INTUNE: "still in Intune: the customer's delete there should come first",
    Risk.DEVICE_ASSOCIATION: "bound to the tenant by device association, which outlasts the "
    "registration: the handoff says how to lift it",
    Risk.KEYS_NOT_SAVED: "BitLocker keys or a local administrator password are stored: have them "
    "saved first",
    Risk.INTUNE_NOT_VERIFIED: "whether Intune manages it was not verified",
    Risk.KEYS_NOT_VERIFIED: "whether keys are stored was not verified",
}
"""Each risk as a person reads it before confirming."""

REFUSING = frozenset(Risk) - {Risk.KEYS_NOT_VERIFIED, Risk.DEVICE_ASSOCIATION}
"""What `--require-intune-clear` does not let pass. Reading keys takes a permission of its own,
which says nothing of Intune; so their being unknown is named and refuses nothing. A device
association is no enrolment, and removing the registration makes it no worse."""

_STEPS = {
    (StepId.UNLOCK_FIRMWARE, Status.OUTSTANDING): Risk.FIRMWARE_MANAGED,
    (StepId.RESOLVE_AMBIGUITY, Status.OUTSTANDING): Risk.AMBIGUOUS,
    (StepId.BACK_UP_KEYS, Status.OUTSTANDING): Risk.KEYS_NOT_SAVED,
    (StepId.BACK_UP_KEYS, Status.NOT_VERIFIED): Risk.KEYS_NOT_VERIFIED,
}
_INTUNE = {
    Status.OUTSTANDING: Risk.IN_INTUNE,
    Status.EXPECTED: Risk.IN_INTUNE,
    Status.NOT_VERIFIED: Risk.INTUNE_NOT_VERIFIED,
}


def risks(decision: Decision) -> tuple[Risk, ...]:
    """The risks of one device in the order of `Risk`; none where its tenant is clear of it."""
    met = {_STEPS.get((step.id, step.status)) for step in decision.steps}
    intune = decision.planes.get(Plane.INTUNE)
    met.add(_INTUNE.get(intune.status) if intune else None)
    association = decision.planes.get(Plane.DEVICE_ASSOCIATION)
    if association and association.status in (Status.OUTSTANDING, Status.EXPECTED):
        met.add(Risk.DEVICE_ASSOCIATION)
    return tuple(risk for risk in Risk if risk in met)
