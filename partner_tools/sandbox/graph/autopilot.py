"""Operations on Autopilot identities and their sync, on imports, and on device associations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from operator import attrgetter

from partner_tools.sandbox.graph.asked import Asked, Refusal, found_row
from partner_tools.sandbox.graph.estate import NEVER, Estate, stamp
from partner_tools.sandbox.graph.leaving import (
    Parting,
    delete_association,
    part_with_identity,
    sync,
    syncing,
)
from partner_tools.sandbox.graph.pages import answer, by_serial, in_order, one, top
from partner_tools.sandbox.graph.searching import (
    associations,
    autopilot_identities,
    imported_identities,
)
from partner_tools.sandbox.graph.shapes import (
    ASSOCIATION,
    IDENTITY,
    IMPORTED_AUTOPILOT,
    IMPORTED_IDENTITY,
    Shape,
)
from partner_tools.sandbox.graph.table import Row, Table
from partner_tools.sandbox.wire import Response

IDENTITIES = "deviceManagement/windowsAutopilotDeviceIdentities"
SETTINGS = "deviceManagement/windowsAutopilotSettings/$entity"
IMPORTED = "deviceManagement/importedWindowsAutopilotDeviceIdentities"
CORPORATE = "deviceManagement/importedDeviceIdentities"
ASSOCIATED = "deviceManagement/tenantAssociatedDevices"

PARTINGS: Mapping[Parting, tuple[int, str, str]] = {
    Parting.UNKNOWN: (404, "ResourceNotFound", "The device was not found"),
    Parting.UNDER_WAY: (400, "BadRequest", "A deletion of this device is in progress"),
    Parting.ENROLLED: (400, "BadRequest", "The device is enrolled and cannot be deleted"),
}


def list_identities(asked: Asked) -> Response:
    """A page of identities; lists don't say when a device was last in contact."""
    if asked.option("select") is not None:
        raise Refusal(500, "InternalServerError", "An internal server error has occurred")
    limit = asked.quirks.autopilot_page_size
    size = top(asked, limit)
    if size is None:
        raise Refusal(400, "BadRequest", "Invalid value for $top")
    rows = autopilot_identities(asked, asked.estate.identities)
    return by_serial(asked, IDENTITIES, rows, partial(_listed, asked), min(size, limit))


def get_identity(asked: Asked) -> Response:
    row = _shown(asked, found_row(asked, asked.estate.identities))
    expanded = (asked.option("expand") or "").split(",") if asked.beta else ()
    for name in filter(None, expanded):
        row[name.strip()] = None
    context = f"{asked.request.base_url}/{asked.target.version}/$metadata#{IDENTITIES}/$entity"
    return answer({"@odata.context": context, **row})


def delete_identity(asked: Asked) -> Response:
    """Accept a removal that takes its time."""
    row = found_row(asked, asked.estate.identities)
    parting = part_with_identity(asked.estate, row["id"], asked.now)
    if parting is not Parting.ACCEPTED:
        raise Refusal(*PARTINGS[parting])
    return Response(status=asked.quirks.autopilot_delete_status)


def unassign_user(asked: Asked) -> Response:
    row = found_row(asked, asked.estate.identities)
    asked.estate.identities.change(row["id"], userPrincipalName="", addressableUserName="")
    return Response(status=204)


def allow_next_enrollment(asked: Asked) -> Response:
    row = found_row(asked, asked.estate.identities)
    asked.estate.identities.change(row["id"], userlessEnrollmentStatus="allowed")
    return Response(status=204)


def delete_by_serial(asked: Asked) -> Response:
    """`deleteDevices`: says for each serial whether its removal was accepted."""
    serials = asked.body().get("serialNumbers")
    if not isinstance(serials, list) or not all(isinstance(one, str) for one in serials):
        raise Refusal(400, "BadRequest", "serialNumbers must be a list of strings")
    context = (
        f"{asked.request.base_url}/beta/$metadata"
        "#Collection(microsoft.graph.deletedWindowsAutopilotDeviceState)"
    )
    value = [state for serial in serials for state in _deleted(asked, serial)]
    return answer({"@odata.context": context, "value": value})


def get_settings(asked: Asked) -> Response:
    estate, quirks = asked.estate, asked.quirks
    running = syncing(estate, asked.now)
    asked_at = estate.synced_at
    done_at = None if asked_at is None or running else asked_at + quirks.sync
    return answer(
        {
            "@odata.context": f"{asked.request.base_url}/beta/$metadata#{SETTINGS}",
            "id": asked.estate.tenant_id,
            "lastSyncDateTime": NEVER if done_at is None else stamp(done_at),
            "lastManualSyncTriggerDateTime": NEVER if asked_at is None else stamp(asked_at),
            "syncStatus": "inProgress" if running else "completed",
        }
    )


def start_sync(asked: Asked) -> Response:
    """204, 409 while one runs, 429 within ten minutes of the last."""
    if syncing(asked.estate, asked.now):
        raise Refusal(409, "Conflict", "A sync is already in progress")
    last = asked.estate.synced_at
    if last is not None and asked.now < last + asked.quirks.sync_interval:
        raise Refusal(429, "TooManyRequests", "A sync was requested less than 10 minutes ago")
    sync(asked.estate, asked.now)
    return Response(status=204)


def list_imported(asked: Asked) -> Response:
    table = asked.estate.imported_autopilot
    rows = imported_identities(asked, table)
    return in_order(asked, table, IMPORTED_AUTOPILOT, IMPORTED, rows, 1000)


def list_corporate(asked: Asked) -> Response:
    table = asked.estate.imported_identities
    return in_order(asked, table, IMPORTED_IDENTITY, CORPORATE, table.rows(asked.since), 1000)


def list_associations(asked: Asked) -> Response:
    table = asked.estate.associated
    rows = associations(asked, table)
    size = asked.quirks.autopilot_page_size
    return in_order(asked, table, ASSOCIATION, ASSOCIATED, rows, size)


def delete_one_association(asked: Asked) -> Response:
    delete_association(asked.estate, found_row(asked, asked.estate.associated), asked.now)
    return Response(status=204)


def _deleted(asked: Asked, serial: str) -> list[Row]:
    """What becomes of every identity with this serial; one that failed where there is none."""
    found = [row["id"] for row in asked.estate.identities.rows() if row["serialNumber"] == serial]
    states = []
    for name in found or [""]:
        parting = part_with_identity(asked.estate, name, asked.now)
        accepted = parting is Parting.ACCEPTED
        states.append(
            {
                "serialNumber": serial,
                "deviceRegistrationId": name,
                "deletionState": "accepted" if accepted else "failed",
                "errorMessage": "" if accepted else PARTINGS[parting][2],
            }
        )
    return states


def _listed(asked: Asked, row: Row) -> Row:
    shown = _shown(asked, row)
    if not asked.quirks.contact_in_lists:
        shown["lastContactedDateTime"] = NEVER
    return shown


def _shown(asked: Asked, row: Row) -> Row:
    shown = IDENTITY.shown(row, beta=asked.beta)
    if asked.beta and "azureAdDeviceId" not in row:
        shown["azureAdDeviceId"] = shown["azureActiveDirectoryDeviceId"]
    return shown


def _get(asked: Asked, table: Callable[[Estate], Table], shape: Shape, context: str) -> Response:
    return one(asked, shape, context, found_row(asked, table(asked.estate)))


def _delete(asked: Asked, table: Callable[[Estate], Table]) -> Response:
    row = found_row(asked, table(asked.estate))
    table(asked.estate).remove(row["id"], asked.now)
    return Response(status=204)


_IMPORTS: Callable[[Estate], Table] = attrgetter("imported_autopilot")
_ASSOCIATED: Callable[[Estate], Table] = attrgetter("associated")
_CORPORATE: Callable[[Estate], Table] = attrgetter("imported_identities")

HANDLERS: Mapping[str, Callable[[Asked], Response]] = {
    "list-autopilot-identities": list_identities,
    "get-autopilot-identity": get_identity,
    "delete-autopilot-identity": delete_identity,
    "unassign-user": unassign_user,
    "allow-next-enrollment": allow_next_enrollment,
    "delete-by-serial": delete_by_serial,
    "get-autopilot-settings": get_settings,
    "sync-autopilot": start_sync,
    "list-imported-autopilot": list_imported,
    "get-imported-autopilot": partial(
        _get, table=_IMPORTS, shape=IMPORTED_AUTOPILOT, context=IMPORTED
    ),
    "delete-imported-autopilot": partial(_delete, table=_IMPORTS),
    "list-imported-identities": list_corporate,
    "get-imported-identity": partial(
        _get, table=_CORPORATE, shape=IMPORTED_IDENTITY, context=CORPORATE
    ),
    "delete-imported-identity": partial(_delete, table=_CORPORATE),
    "list-associations": list_associations,
    "get-association": partial(_get, table=_ASSOCIATED, shape=ASSOCIATION, context=ASSOCIATED),
    "delete-association": delete_one_association,
}
"""What each operation does."""
