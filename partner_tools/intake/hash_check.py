"""What the hash decoder says about the hash of a row, as a finding."""

from __future__ import annotations

from partner_tools.intake.rules import Finding
from partner_tools.model import Severity


def check_hash(text: str, column: str = "hardwareHash") -> tuple[Finding, ...]:
    """What is wrong with a hardware hash: an error, or warnings, or nothing."""
    from partner_tools.intake import hash_frame  # most batches have no hash to decode

    try:
        notes = hash_frame.verify(text)
    except hash_frame.HashError as error:
        found = Finding(
            rule=error.rule,
            severity=Severity.ERROR,
            message=error.message,
            remedy=error.remedy,
            column=column,
        )
        return (found,)
    return tuple(
        Finding(
            rule=note.rule,
            severity=Severity.WARNING,
            message=note.message,
            remedy=note.remedy,
            column=column,
        )
        for note in notes
    )
