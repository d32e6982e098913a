"""Filter the registrations of an estate. Pure.

For display only: removals are named by serial number and product key id, compared exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from partner_tools.model import Estate, Registration


@dataclass(frozen=True, slots=True, kw_only=True)
class EstateFilter:
    """The conditions for a registration; None and empty mean any. Moments without a zone are UTC.

    `model` and `manufacturer` are parts of the name, whatever the case; the others are exact.
    `removable` says whether Partner Center may delete it; where the service does not say, it may.
    """

    serial: tuple[str, ...] = ()
    batch: str | None = None
    model: str | None = None
    manufacturer: str | None = None
    uploaded_since: datetime | None = None
    uploaded_until: datetime | None = None
    removable: bool | None = None


def narrowed(estate: Estate, wanted: EstateFilter) -> Estate:
    """The estate reduced to the matching registrations, in its order."""
    found = tuple(each for each in estate.registrations if _fits(each, wanted))
    return replace(estate, registrations=found)


def _fits(each: Registration, wanted: EstateFilter) -> bool:
    return (
        (not wanted.serial or (each.serial_number or "").strip() in wanted.serial)
        and wanted.batch in (None, each.target.batch_id)
        and _contains(each.model, wanted.model)
        and _contains(each.manufacturer, wanted.manufacturer)
        and _was_uploaded(each, wanted.uploaded_since, wanted.uploaded_until)
        and wanted.removable in (None, _may_go(each))
    )


def _contains(name: str | None, part: str | None) -> bool:
    return part is None or part.casefold() in (name or "").casefold()


def _may_go(each: Registration) -> bool:
    operations = each.allowed_operations
    return operations is None or "DELETE" in {name.upper() for name in operations}


def _was_uploaded(each: Registration, since: datetime | None, until: datetime | None) -> bool:
    """Whether it was uploaded in the time; where that is not known, only if no time is asked."""
    if since is None and until is None:
        return True
    at = moment_of(each.uploaded_at)
    if at is None:
        return False
    return not (since and at < _in_utc(since)) and not (until and at >= _in_utc(until))


def moment_of(text: str | None) -> datetime | None:
    """A moment as the service writes it: with seven digits of a second, and any offset."""
    try:
        return None if text is None else _in_utc(datetime.fromisoformat(text))
    except ValueError:
        return None


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
