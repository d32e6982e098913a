"""Takes in a customer's results file: `verify --evidence FILE`.

The file is foreign and decides only what it may: steps that it reports done become `reported`,
never `clear`. One that belongs to another tenant, another handoff or an older state is refused
whole, and so is one that holds a key or a password.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from partner_tools.errors import InputError, UnknownRunError
from partner_tools.events import TRANSITIONS, Kind
from partner_tools.files import read_document
from partner_tools.model import Outcome, RunId
from partner_tools.outstanding.evidence import observed, probe_from, statement
from partner_tools.outstanding.types import EvidenceSource, Flag, Owner, StepId

if TYPE_CHECKING:
    from partner_tools.ledger import Ledger, RunDevice, RunRecord

LARGEST_RESULT: Final = 64 * 1024 * 1024
"""Bytes; ten thousand devices take some twelve million."""
CLOCKS_APART: Final = timedelta(days=1)
_REMEDY = "name the file that the customer's script or cleanup wrote (handoff-result-….json)"


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenIn:
    """The result of a results file. `open_steps` counts the customer's steps that are left in the
    devices of the file, `reasons` why devices were left, in the file's words."""

    run: RunId
    devices: int
    finished: int
    by: str
    at: datetime
    open_steps: Mapping[StepId, int]
    reasons: Mapping[str, int]

    @property
    def open_titles(self) -> Mapping[str, int]:
        """The steps that are left as the handoff calls them, with how many devices have them."""
        from partner_tools.report.guide import GUIDE

        return {GUIDE[step].title: number for step, number in self.open_steps.items()}

    @property
    def exit_code(self) -> int:
        """7 while the customer has something left to do, by what is known now."""
        return 7 if self.open_steps else 0


def take_in(ledger: Ledger, file: Path, run: str | None, at: datetime) -> TakenIn:
    """Make what a results file says durable evidence; all of it or nothing.

    Raises InputError for a file that is refused; its rule says why. The content is never quoted.
    """
    from partner_tools.report.results import reported_probes

    result = _read(file)
    record = _run_of(ledger, result, run)
    tenant = _require_answer(ledger, record, result)
    pairs = _matched(ledger, record, tenant, result)
    _require_newer((device for device, _ in pairs), result, at)
    ledger.record(
        [
            observed(device, probe)
            for device, told in pairs
            if (device.history.state, Kind.OBSERVED) in TRANSITIONS
            for probe in reported_probes(told, result, at)
        ]
    )
    return _taken_in(ledger, record, pairs, result, at)


def state_facts(
    ledger: Ledger, run: RunId, stated: Sequence[tuple[str, Flag]], at: datetime
) -> None:
    """Make durable what people saw at devices of a run, by serial number.

    Raises InputError for a serial number that the run has not, or has twice; then nothing is kept.
    """
    by_serial: dict[str | None, list[RunDevice]] = {}
    for device in ledger.devices(run):
        if device.history.outcome is not Outcome.DUPLICATE:
            by_serial.setdefault(device.device.identity.serial_number, []).append(device)
    events = []
    for serial, flag in stated:
        found = by_serial.get(serial, [])
        if len(found) != 1 or (found[0].history.state, Kind.OBSERVED) not in TRANSITIONS:
            what = "has no such device" if not found else "cannot keep it of this device"
            raise InputError(
                f"run {run} {what}: {serial}",
                rule="observed-device",
                remedy="name the serial number as the run lists it: `partner-tools runs RUN`",
            )
        events.append(observed(found[0], statement(flag, at)))
    ledger.record(events)


def _read(file: Path) -> dict[str, Any]:
    from partner_tools.intake.schema import checker
    from partner_tools.report.results import secret_in

    document = read_document(
        file, LARGEST_RESULT, what="results file", rule="evidence-unreadable", remedy=_REMEDY
    )
    place = secret_in(document)
    if place is not None:
        raise InputError(
            "the results file holds what may be a recovery key, a password or a token; nothing was"
            " taken in",
            rule="evidence-secret",
            remedy="delete the file, have the customer change what it shows, and ask for the "
            "results file as the script writes it, which never contains a secret",
        )
    faults = checker("handoff-result").violations(document)
    if faults:
        where = faults[0].place("/") or "the whole file"
        raise InputError(
            f"{str(file)!r} is not a results file: {where}: {faults[0].message}",
            rule="evidence-invalid",
            remedy=_REMEDY,
        )
    kept: dict[str, Any] = document
    return kept


def _run_of(ledger: Ledger, result: Mapping[str, Any], run: str | None) -> RunRecord:
    try:
        record = ledger.run(result["handoff"]["run"])
    except UnknownRunError:
        raise _other_handoff("the ledger has no run that it follows") from None
    if record.run != result["handoff"]["run"]:
        raise _other_handoff("the ledger has no run that it follows")
    if run is not None and ledger.run(run).run != record.run:
        raise _other_handoff(f"it follows run {record.run}")
    return record


def _require_answer(ledger: Ledger, record: RunRecord, result: Mapping[str, Any]) -> str:
    """The tenant whose handoff the file answers."""
    handed = ledger.handed_over(record.run)
    tenant: str = result["tenantId"]
    answered = [each["customer"] for each in handed if each["digest"] == result["answers"]]
    known = answered or [each["customer"] for each in handed]
    if known and tenant not in known:
        raise InputError(
            f"the results file comes from tenant {tenant}, and the handoff that it should answer"
            " went to another one",
            rule="evidence-other-tenant",
            remedy="ask the customer to run the script in the tenant that the handoff names",
        )
    if not answered:
        raise _other_handoff(
            "no handoff that was written of this run has the digest that it answers"
        )
    return tenant


def _matched(
    ledger: Ledger, record: RunRecord, tenant: str, result: Mapping[str, Any]
) -> list[tuple[RunDevice, Mapping[str, Any]]]:
    """Each device of the file with the run's own."""
    known = {
        each.device.row: each
        for each in ledger.devices(record.run)
        if each.history.customer == tenant
    }
    pairs, seen = [], set()
    for told in result["devices"]:
        own = known.get(told["row"] or 0)
        if own is None or own.device.identity.serial_number != told["serialNumber"]:
            raise _other_handoff(f"the handoff has no such device in row {told['row']}")
        if own.index in seen:
            raise InputError(
                f"the results file has row {told['row']} twice",
                rule="evidence-invalid",
                remedy=_REMEDY,
            )
        seen.add(own.index)
        pairs.append((own, told))
    return pairs


def _require_newer(devices: Iterable[RunDevice], result: Mapping[str, Any], at: datetime) -> None:
    """Refuse what was written before something that is known already of any of its devices."""
    written = datetime.fromisoformat(result["updatedAt"])
    if written - at > CLOCKS_APART:
        raise InputError(
            f"the results file is dated {written:%Y-%m-%d %H:%M} UTC, which is in the future",
            rule="evidence-invalid",
            remedy="check the clock of this machine, then that of the customer's",
        )
    for device in devices:
        for probe in map(probe_from, device.history.evidence):
            own = (
                probe.source in (EvidenceSource.GRAPH, EvidenceSource.DIRECTORY)
                and probe.observed_at > written
            )
            told = probe.report if probe.source is EvidenceSource.CUSTOMER else None
            if own or (told is not None and told.file >= written):
                what = "a look of our own" if own else "a results file that was taken in already"
                raise InputError(
                    f"the results file of {written:%Y-%m-%d %H:%M} UTC is not newer than {what}"
                    f" (row {device.device.row}); nothing was taken in",
                    rule="evidence-older",
                    remedy="ask for the newest results file; `trace` shows what is known of a "
                    "device",
                )


def _taken_in(
    ledger: Ledger,
    record: RunRecord,
    pairs: list[tuple[RunDevice, Mapping[str, Any]]],
    result: Mapping[str, Any],
    at: datetime,
) -> TakenIn:
    from partner_tools.report.handoff import OPEN
    from partner_tools.runs.observation import decision

    named = {device.index for device, _ in pairs}
    left = Counter(
        step.id
        for device in ledger.devices(record.run)
        if device.index in named
        for step in decision(device, record.reason, at).steps
        if step.status in OPEN and step.owner is not Owner.PARTNER
    )
    by = result["by"]
    return TakenIn(
        run=record.run,
        devices=len(pairs),
        finished=sum(told["outcome"] in ("done", "duplicate") for _, told in pairs),
        by=f"{by['tool']}, {by['account']}" if by["account"] else by["tool"],
        at=datetime.fromisoformat(result["updatedAt"]),
        open_steps=left,
        reasons=Counter(
            told.get("rule") or told["outcome"]
            for _, told in pairs
            if told["outcome"] in ("left", "refused")
        ),
    )


def _other_handoff(why: str) -> InputError:
    return InputError(
        f"the results file answers another handoff: {why}",
        rule="evidence-other-handoff",
        remedy="name the run that it belongs to, or ask for the results of the handoff that you "
        "sent; handoffs that were written before version 0.2 cannot be answered",
    )
