"""Observations as the ledger stores them, and the probes that they record.

The content of the ledger's `observed` event, as `probe_from` reads and `evidence_from` writes it:

- `plane`: a `Plane`; `subject`: a `Subject` (left out: `device`)
- `source`: a `EvidenceSource` (left out or unknown: `channel`, which proves least)
- `status`: `outstanding` (the probe found it), `clear` (it ran and found nothing), `reported` (the
  customer's results file says so) or `not-verified` (it failed)
- `ids`, `attributes`: of the one object that was found, named as Microsoft Graph names them;
  `found` instead, a list of such pairs, where there were several
- `error`, `requestId`: of the probe
- `observedAt`: when, ISO 8601 with an offset
- `report`: of a results file of the customer's, when that was, `at`, and when the `file` was
  written; where it has them the `step` that was done, the `account`, and how it is `joined`
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from partner_tools import json_forms
from partner_tools.events import Event, Kind, RunDevice
from partner_tools.model import GONE, Outcome
from partner_tools.outstanding.types import (
    CLEAR_HOLDS,
    FACTS,
    REPORTING,
    STATUSES,
    DeviceFacts,
    EvidenceSource,
    Flag,
    Found,
    JoinType,
    Plane,
    Probe,
    ProbeResult,
    Report,
    Status,
    Subject,
)

_OPPOSITES = {
    Flag.DEVICE_ASSOCIATION: Flag.NO_DEVICE_ASSOCIATION,
    Flag.NO_DEVICE_ASSOCIATION: Flag.DEVICE_ASSOCIATION,
}


def facts_in(text: str) -> tuple[frozenset[Flag], tuple[str, ...]]:
    """The facts that a cell states, separated by blanks, commas or semicolons, and what is none.

    >>> facts_in("0x80180014; tuesday")
    (frozenset({<Flag.REENROLLMENT_BLOCKED: 'reenrollment-blocked'>}), ('tuesday',))
    """
    words = re.split(r"[\s,;|]+", text.strip())
    known = frozenset(FACTS[word.casefold()] for word in words if word.casefold() in FACTS)
    return known, tuple(word for word in words if word and word.casefold() not in FACTS)


def observed_facts(extra: Iterable[tuple[str, str]]) -> frozenset[Flag]:
    """The facts that a batch states in its column `Observed`."""
    return frozenset().union(*(facts_in(cell)[0] for name, cell in extra if is_observed(name)))


def is_observed(header: str) -> bool:
    """Whether a column of a batch states facts."""
    return header.strip().casefold() == "observed"


def statement(flag: Flag, at: datetime) -> Probe:
    """A fact that a person states, as evidence that the ledger can keep."""
    return Probe(
        plane=Plane.DEVICE_FIRMWARE,
        subject=Subject.STATEMENT,
        source=EvidenceSource.PERSON,
        result=ProbeResult.FOUND,
        observed_at=at,
        found=(Found(attributes={"fact": flag.value}),),
    )


def stated(facts: DeviceFacts) -> frozenset[Flag]:
    """All flags of a device; of two statements that exclude each other the newer one counts."""
    flags = set(facts.flags)
    for probe in probes(facts, Plane.DEVICE_FIRMWARE, Subject.STATEMENT):
        for one in probe.found:
            flag = FACTS.get(str(one.attributes.get("fact")).casefold())
            if flag is not None:
                flags.discard(_OPPOSITES.get(flag, flag))
                flags.add(flag)
    return frozenset(flags)


SOURCES = {source.value: source for source in EvidenceSource}
_RESULTS = {
    Status.CLEAR.value: ProbeResult.ABSENT,
    Status.REPORTED.value: ProbeResult.ABSENT,
    Status.OUTSTANDING.value: ProbeResult.FOUND,
}


def probe_from(evidence: Mapping[str, Any]) -> Probe:
    """Read a stored observation. A status that says neither `clear` nor `outstanding` failed.

    Raises ValueError where plane, subject or time are not what this version knows.
    """
    report = evidence.get("report")
    return Probe(
        plane=Plane(evidence["plane"]),
        result=_RESULTS.get(str(evidence.get("status")), ProbeResult.FAILED),
        observed_at=datetime.fromisoformat(evidence["observedAt"]),
        source=SOURCES.get(str(evidence.get("source")), EvidenceSource.CHANNEL),
        subject=Subject(evidence.get("subject", Subject.DEVICE)),
        found=found_in(evidence),
        error=evidence.get("error"),
        request_id=evidence.get("requestId"),
        report=None if report is None else json_forms.structure(Report, report),
    )


def evidence_from(probe: Probe) -> dict[str, Any]:
    """The payload of the `observed` event for a probe; `probe_from` reads it back as it was.

    The ledger sets `observedAt` to the event's own time, which is the probe's.
    """
    reported = probe.source in REPORTING and probe.result is ProbeResult.ABSENT
    objects = [{"ids": dict(one.ids), "attributes": dict(one.attributes)} for one in probe.found]
    return json_forms.stated(
        plane=probe.plane,
        subject=probe.subject,
        source=probe.source,
        status=Status.REPORTED if reported else STATUSES[probe.result],
        observedAt=probe.observed_at,
        error=probe.error,
        requestId=probe.request_id,
        report=probe.report,
        **(objects[0] if len(objects) == 1 else {"found": objects or None}),
    )


def observed(device: RunDevice, probe: Probe) -> Event:
    """The event by which the ledger keeps a look at a device of a run."""
    return Event(
        run=device.run,
        kind=Kind.OBSERVED,
        at=probe.observed_at,
        device=device.index,
        payload=evidence_from(probe),
    )


def found_in(
    holder: Mapping[str, Any], several: str = "found", attributes: str = "attributes"
) -> tuple[Found, ...]:
    """The objects of an observation: its own ids and attributes, or a list of several."""
    single = [holder] if "ids" in holder or attributes in holder else []
    return tuple(
        Found(ids=one.get("ids", {}), attributes=one.get(attributes, {}))
        for one in holder.get(several, single)
    )


ALL_ZERO = "00000000-0000-0000-0000-000000000000"
"""Graph's way to say "no such id", next to null and the empty text."""

PLACEHOLDER_SERIALS = frozenset(
    {"", "0", "none", "default string", "system serial number", "to be filled by o.e.m."}
)

_JOINS = {
    "azuread": JoinType.ENTRA_JOINED,
    "serverad": JoinType.HYBRID_JOINED,
    "workplace": JoinType.REGISTERED,
    "azureadjoined": JoinType.ENTRA_JOINED,
    "hybridazureadjoined": JoinType.HYBRID_JOINED,
    "azureadregistered": JoinType.REGISTERED,
}
"""`trustType` of the directory and `joinType` of Intune; their case varies in the wild."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceSummary:
    """One plane as the newest usable evidence shows it. `present` None means unknown."""

    present: bool | None = None
    probe: Probe | None = None
    older: Probe | None = None
    """The last result before the newest probe failed, or one too old to be relied on."""

    @property
    def seen(self) -> tuple[Found, ...]:
        """The objects that are known, newest first; of the older probe where the newest failed."""
        shown = [probe.found for probe in (self.probe, self.older) if probe and probe.found]
        return shown[0] if shown else ()

    def values(self, name: str) -> frozenset[str]:
        """Collect one attribute of the objects there, in lower case; only while present."""
        return frozenset(text(one, name) for one in self.seen if self.present) - {""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """The facts with every plane sighted."""

    facts: DeviceFacts
    autopilot: EvidenceSummary
    intune: EvidenceSummary
    association: EvidenceSummary
    entra: EvidenceSummary
    directory: EvidenceSummary
    configuration_manager: EvidenceSummary
    keys: EvidenceSummary
    join_type: JoinType
    ambiguous: bool

    @classmethod
    def of(cls, facts: DeviceFacts) -> Case:
        """Sight every plane."""
        facts = replace(facts, flags=stated(facts))
        autopilot, intune = _sight_autopilot(facts), summarize(facts, Plane.INTUNE)
        entra = summarize(facts, Plane.ENTRA)
        return cls(
            facts=facts,
            autopilot=autopilot,
            intune=intune,
            association=summarize(facts, Plane.DEVICE_ASSOCIATION),
            entra=entra,
            directory=summarize(facts, Plane.ACTIVE_DIRECTORY),
            configuration_manager=summarize(facts, Plane.CONFIGURATION_MANAGER),
            keys=_sight_keys(facts),
            join_type=_join_type(intune, entra),
            ambiguous=is_ambiguous(facts, autopilot, intune),
        )

    @property
    def done_before_entra(self) -> bool:
        """Whether Autopilot and Intune are both proved clear, of one unmistakable device."""
        return (
            self.autopilot.present is False and self.intune.present is False and not self.ambiguous
        )

    @property
    def removed(self) -> bool:
        """Whether the channel has nothing left to do."""
        return self.facts.outcome in GONE

    def found(self, subject: Subject, plane: Plane) -> bool:
        """Whether the newest probe of a side question found something."""
        return summarize(self.facts, plane, subject).present is True


def probes(facts: DeviceFacts, plane: Plane, subject: Subject = Subject.DEVICE) -> list[Probe]:
    """The probes of one question, in the order in which they were recorded.

    People's word that something is gone is left out: `reported.overlay` judges it.
    """
    return [
        probe
        for probe in facts.probes
        if probe.plane is plane
        and probe.subject is subject
        and (probe.source not in REPORTING or probe.result is ProbeResult.FOUND)
    ]


def summarize(
    facts: DeviceFacts, plane: Plane, subject: Subject = Subject.DEVICE
) -> EvidenceSummary:
    """Summarize the evidence for one question."""
    return _newest(facts, probes(facts, plane, subject))


def _newest(facts: DeviceFacts, looks: Sequence[Probe]) -> EvidenceSummary:
    """The newest probe decides; where it failed, or `clear` is too old, the state is unknown."""
    if not looks:
        return EvidenceSummary()
    newest = looks[-1]
    ran = [probe for probe in looks[:-1] if probe.result is not ProbeResult.FAILED]
    older = ran[-1] if ran else None
    match newest.result:
        case ProbeResult.FAILED:
            return EvidenceSummary(probe=newest, older=older)
        case ProbeResult.FOUND:
            return EvidenceSummary(present=True, probe=newest)
        case ProbeResult.ABSENT:
            lapsed = facts.at - newest.observed_at > CLEAR_HOLDS
            return (
                EvidenceSummary(older=newest)
                if lapsed
                else EvidenceSummary(present=False, probe=newest)
            )


def _sight_autopilot(facts: DeviceFacts) -> EvidenceSummary:
    """Graph sees every registration of the tenant, a channel only the partner's own.

    So a channel's silence proves something only of what it removed itself, and never outweighs
    Graph; what either saw before the removal proves nothing any more, but keeps its ids.
    """
    looks = probes(facts, Plane.AUTOPILOT)
    after = [probe for probe in looks if not _before_removal(facts, probe)]
    graph = _newest(facts, [probe for probe in after if probe.source is EvidenceSource.GRAPH])
    channel = _newest(facts, [probe for probe in after if probe.source is not EvidenceSource.GRAPH])
    chosen = _stronger(facts, graph, channel)
    before = [probe for probe in looks if _before_removal(facts, probe) and probe.found]
    if before and not chosen.seen:
        return EvidenceSummary(present=chosen.present, probe=chosen.probe, older=before[-1])
    return chosen


def _stronger(
    facts: DeviceFacts, graph: EvidenceSummary, channel: EvidenceSummary
) -> EvidenceSummary:
    if graph.probe is None:
        proves_nothing = channel.present is False and facts.outcome not in GONE
        return EvidenceSummary() if proves_nothing else channel
    newest = next(
        (
            probe
            for probe in reversed(facts.probes)
            if probe is graph.probe or probe is channel.probe
        ),
        None,
    )
    newer = channel.probe is not None and newest is channel.probe
    if graph.present is False and newer and channel.present is not False:
        return channel
    return graph


def _before_removal(facts: DeviceFacts, probe: Probe) -> bool:
    if facts.looked_before is not None:
        earlier = facts.probes[: facts.looked_before]
        return facts.outcome in GONE and any(probe is each for each in earlier)
    return (
        facts.outcome in GONE
        and facts.removed_at is not None
        and probe.observed_at < facts.removed_at
    )


def _sight_keys(facts: DeviceFacts) -> EvidenceSummary:
    """Recovery keys and local passwords as one question: either is reason enough to save them."""
    subjects = (Subject.RECOVERY_KEYS, Subject.LOCAL_PASSWORD)
    sights = [summarize(facts, Plane.ENTRA, subject) for subject in subjects]
    by_presence = {one.present: one for one in reversed(sights)}
    return by_presence.get(True) or by_presence.get(None) or sights[0]


def _join_type(intune: EvidenceSummary, entra: EvidenceSummary) -> JoinType:
    """The strongest claim of any object: a hybrid device has a pre-created one beside its own."""
    claims = {_JOINS.get(text(one, "trustType")) for one in entra.seen if not _pre_created(one)}
    claims |= {_JOINS.get(text(one, "joinType")) for one in intune.seen}
    for join in (JoinType.HYBRID_JOINED, JoinType.ENTRA_JOINED, JoinType.REGISTERED):
        if join in claims:
            return join
    looked = intune.present is False and entra.present is not None
    return JoinType.NONE if looked else JoinType.UNKNOWN


def _pre_created(found: Found) -> bool:
    """Whether registration made this object and no device ever joined with it."""
    trust = text(found, "trustType")
    never_joined = "registrationDateTime" in found.attributes and not text(
        found, "registrationDateTime"
    )
    return not trust or (trust == "azuread" and never_joined)


def is_ambiguous(facts: DeviceFacts, *sights: EvidenceSummary) -> bool:
    if facts.outcome is Outcome.AMBIGUOUS:
        return True
    serial = facts.serial_number
    if serial is not None and serial.strip().casefold() in PLACEHOLDER_SERIALS:
        return True
    return any(
        one.present and (len(one.seen) > 1 or any(is_of_another(it, serial) for it in one.seen))
        for one in sights
    )


def is_of_another(found: Found, serial: str | None) -> bool:
    """Whether an object carries another serial number than the device's."""
    named = found.attributes.get("serialNumber")
    return serial is not None and bool(named) and str(named).strip() != serial.strip()


def text(found: Found, name: str) -> str:
    """An attribute in lower case; empty where the service has none or says so by zeros."""
    value = found.attributes.get(name)
    return "" if value is None or value == ALL_ZERO else str(value).strip().casefold()


def is_true(found: Found, name: str) -> bool:
    """Whether an attribute is literally true."""
    return found.attributes.get(name) is True
