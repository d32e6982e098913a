"""Registers again what a run removed: as a file for Partner Center's upload, or through its API.

A device can come back by hardware hash, product key id, or the tuple of serial number, manufacturer
and model (https://learn.microsoft.com/partner-center/developer/device-deployment-resources,
read 2026-11); if the service listed none of these, it can't be registered from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from partner_tools.channels.partner_center import barred
from partner_tools.clients.partner_center import (
    JobDevice,
    JobId,
    JobStatus,
    PartnerCenter,
    ServiceJob,
)
from partner_tools.engine.request_executor import RequestExecutor, interruption
from partner_tools.errors import Rejected, Unanswered, Unsent
from partner_tools.events import Event, Kind
from partner_tools.ledger import Ledger, RunDevice, hash_digest, read_kit
from partner_tools.model import Identity, Outcome, RunId

COLUMNS = {
    "Device Serial Number": "serial_number",
    "Windows Product ID": "product_key_id",
    "Hardware Hash": "hardware_hash",
    "Manufacturer name": "manufacturer",
    "Device model": "model",
}
"""As Partner Center's own upload wants it, letter case included
(https://learn.microsoft.com/partner-center/customers/autopilot, read 2026-11)."""

POLL_SECONDS = 5.0
POLL_FOR_SECONDS = 600.0
EDITED = (
    "the run's restore kit holds another hardware hash than the one that was removed: it was "
    "changed since, and would register another machine"
)
ALREADY_THERE = "806"
"""ZtdDeviceAlreadyAssigned: registered to this very customer, which is what was wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restorable:
    """One device that was removed, and what it can be registered with; `why_not` where it can't."""

    device: RunDevice
    identity: Identity
    why_not: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreContext:
    """The dependencies of registering. `now` is the wall clock in UTC."""

    client: PartnerCenter
    executor: RequestExecutor
    ledger: Ledger
    now: Callable[[], datetime]
    new_id: Callable[[], str]


def restorable(ledger: Ledger, run: RunId, private_folder: Path) -> tuple[Restorable, ...]:
    """Every device that the run removed, and whether it can come back."""
    hashes = {found.target: found.hardware_hash for found in read_kit(private_folder, run)}
    return tuple(
        _restorable(each, hashes.get(each.target) if each.target else None)
        for each in ledger.devices(run, outcomes={Outcome.REMOVED})
    )


def upload_file(devices: Iterable[Restorable]) -> tuple[str, tuple[Restorable, ...]]:
    """The file for Partner Center's upload, and the devices that it cannot hold.

    The upload knows no quoting, so that a value with a comma, a quotation mark or a letter
    outside Windows-1252 can only go through the API; so does one that a spreadsheet would
    calculate when the file is opened.
    """
    lines, left_out = [",".join(COLUMNS)], []
    for each in devices:
        cells = [getattr(each.identity, name) or "" for name in COLUMNS.values()]
        if each.why_not is None and all(_is_plain(cell) for cell in cells):
            lines.append(",".join(cells))
        else:
            left_out.append(each)
    return "\r\n".join([*lines, ""]), tuple(left_out)


def register(context: RestoreContext, devices: Sequence[Restorable]) -> int:
    """Register the devices again in the batches they were in; the number that came back.

    Every intent is durable before its request leaves, every answer when it is counted. Devices
    that came back in an earlier attempt are left alone.
    """
    waiting = [each for each in devices if each.why_not is None and not _is_back(each)]
    back = sum(_is_back(each) for each in devices)
    for tenant, batch_id, group in _by_batch(waiting):
        back += _register_group(context, tenant, batch_id, group)
    return back


def _is_back(each: Restorable) -> bool:
    return each.device.history.restored == "done"


def _restorable(device: RunDevice, hardware_hash: str | None) -> Restorable:
    found, named = device.found, device.device.identity
    # The ledger has the digest of the service's hash, or of the batch's.
    recorded = {device.found_hash_digest, device.hardware_hash_digest}
    is_edited = bool(hardware_hash) and hash_digest(hardware_hash or "") not in recorded
    shown = {
        name: getattr(found, name, None) or getattr(named, name)
        for name in ("serial_number", "manufacturer", "model", "product_key_id")
    }
    identity = Identity(**shown, hardware_hash=None if is_edited else hardware_hash)
    why_not = EDITED if is_edited else _why_not(device, identity)
    return Restorable(device=device, identity=identity, why_not=why_not)


def _why_not(device: RunDevice, identity: Identity) -> str | None:
    tuple_is_whole = identity.serial_number and identity.manufacturer and identity.model
    if identity.hardware_hash or identity.product_key_id or tuple_is_whole:
        return None
    if device.found_hash_digest:
        return (
            "it was registered by its hardware hash, and no restore kit of the run is on this "
            "machine: it lies where the run was planned, unless it was deleted"
        )
    return "Partner Center showed neither hardware hash, product key id, nor manufacturer and model"


def _is_plain(cell: str) -> bool:
    from partner_tools.report.tables import inert

    if inert(cell) != cell:
        return False
    try:
        cell.encode("cp1252")
    except UnicodeEncodeError:
        return False
    return not any(character in ',"' or not character.isprintable() for character in cell)


def _by_batch(
    devices: Iterable[Restorable],
) -> Iterator[tuple[str, str, tuple[Restorable, ...]]]:
    """The devices by customer and the batch they were in: its id is their group tag."""
    groups: dict[tuple[str, str], list[Restorable]] = {}
    for each in devices:
        customer, target = each.device.history.customer, each.device.target
        if customer is not None and target is not None:
            groups.setdefault((customer, target.batch_id), []).append(each)
    for (tenant, batch_id), group in groups.items():
        yield tenant, batch_id, tuple(group)


def _register_group(
    context: RestoreContext, tenant: str, batch_id: str, group: tuple[Restorable, ...]
) -> int:
    with barred(tenant):
        job_id = _upload(context, tenant, batch_id, group)
        job = _await(context, tenant, job_id)
    said = {_key(each): each for each in job.devices}
    back = 0
    for each in group:
        done, detail = _verdict(job, said.get(_key(each.identity)))
        _note(context, (each,), Kind.RESTORED, {"done": done, "detail": detail})
        back += done
    return back


def _upload(
    context: RestoreContext, tenant: str, batch_id: str, group: tuple[Restorable, ...]
) -> JobId:
    """Add to the batch that they were in; a batch that is gone is made again (app+user only).

    Each request has its intent durable before it leaves, and its id as long as no answer came. An
    attempt begins with adding, because one before it may have made the batch.
    """
    identities = [each.identity for each in group]
    unanswered: dict[bool, str] = {}

    def send(*, is_new: bool) -> JobId:
        request_id = unanswered.pop(is_new, None)
        if request_id is None:
            request_id = context.new_id()
            payload = {"requestId": request_id, "batchId": batch_id}
            _note(context, group, Kind.RESTORING, payload)
        try:
            return context.client.register(tenant, batch_id, identities, request_id, is_new=is_new)
        except (Unanswered, Unsent):
            unanswered[is_new] = request_id
            raise

    def attempt() -> JobId:
        try:
            return send(is_new=False)
        except Rejected as rejection:
            if rejection.status != 404:
                raise
        return send(is_new=True)

    return context.executor.call_with_retry(attempt)


def _await(context: RestoreContext, tenant: str, job_id: JobId) -> ServiceJob:
    """Ask until the upload is done, or our patience is: then whatever it is by then."""
    deadline = context.executor.clock() + POLL_FOR_SECONDS
    pause = POLL_SECONDS / 10
    while True:
        job = context.executor.call_with_retry(lambda: context.client.job(tenant, job_id))
        if job.done or context.executor.clock() > deadline:
            return job
        if context.executor.stop.wait(pause):
            raise interruption()
        pause = min(pause * 2, POLL_SECONDS)


def _verdict(job: ServiceJob, said: JobDevice | None) -> tuple[bool, str]:
    """Read the service's result for one device: a finished job alone doesn't give it."""
    if said is None:
        return False, f"the upload is {job.status} and does not mention this device"
    if said.status is JobStatus.FINISHED or said.error_code == ALREADY_THERE:
        return True, said.error_description or "registered"
    why = " ".join(filter(None, (said.error_code, said.error_description)))
    return False, why or f"the upload left it {said.status}"


def _key(named: JobDevice | Identity) -> tuple[str | None, str | None]:
    return (named.serial_number, None) if named.serial_number else (None, named.product_key_id)


def _note(
    context: RestoreContext, group: Sequence[Restorable], kind: Kind, payload: Mapping[str, object]
) -> None:
    at = context.now()
    context.ledger.record(
        [
            Event(
                run=each.device.run,
                kind=kind,
                at=at,
                device=each.device.index,
                payload=payload,
            )
            for each in group
        ]
    )
