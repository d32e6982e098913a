"""OEM Direct as the engine needs it: plans a batch, and reads answers and their codes.

This channel has no listing, so the rows are all there is.

A device goes by product key id, or by serial number, manufacturer and model; a hash is never
sent, but contains all of these. Incomplete or contradictory devices are not sent.
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from partner_tools.clients.oem.client import Ids, OemDirect, OemReply, OemResult, shown
from partner_tools.clients.oem.profile import CodeMeaning, IdentityKind, Profile
from partner_tools.clients.oem.wire import Entry, kinds
from partner_tools.engine.channel import (
    Acceptance,
    Answer,
    Deferral,
    Doubt,
    Polling,
    Removal,
    Sightings,
    Verdict,
)
from partner_tools.errors import (
    InputError,
    Rejected,
    ServiceError,
    Throttled,
    Unauthorized,
    Unavailable,
    Unsent,
)
from partner_tools.model import (
    ChannelName,
    Customer,
    Device,
    Explanation,
    Identity,
    Outcome,
    PlannedCustomer,
    PlannedDevice,
    TenantId,
)
from partner_tools.plan import PlanProposal, contradicted, duplicate, held_back, is_held

Derive = Callable[[str], Identity]
"""Reads the identity from a hardware hash, without the hash; InputError if it isn't one."""

_NAMES = {
    "serial_number": "serial number",
    "manufacturer": "manufacturer",
    "model": "model",
    "product_key_id": "product key id",
}


def draft(
    devices: Sequence[Device],
    profile: Profile,
    *,
    default_customer: str | None = None,
    held: Collection[str] = (),
) -> PlanProposal:
    """Plan every device of a batch, in its order. Nothing is asked of the service.

    The devices are `completed`. `held` are serials and product key ids that may never be removed.
    A customer is only noted: it receives the handoff, and is never sent.
    """
    planned: list[PlannedDevice] = []
    pending = defaultdict[tuple[str | None, ...], list[PlannedDevice]](list)
    for position, device in enumerate(devices):
        each = _planned(position, device, profile, device.customer or default_customer, held)
        planned.append(_or_duplicate(each, pending) if each.outcome is Outcome.PENDING else each)
    return PlanProposal(
        devices=tuple(planned), customers=_customers(planned), notes=_notes(profile, planned)
    )


def completed(device: Device, derive: Derive) -> Device:
    """The device with what its hardware hash adds to its identity, and where the two disagree.

    A hash that cannot be read adds nothing. The ledger keeps no hash, so this comes before it.
    """
    identity = device.identity
    if not identity.hardware_hash:
        return device
    try:
        stated = derive(identity.hardware_hash)
    except InputError:
        return device
    added = {
        name: value
        for name in _NAMES
        if (value := getattr(stated, name)) and not getattr(identity, name)
    }
    pairs = (
        (label, getattr(identity, name), getattr(stated, name)) for name, label in _NAMES.items()
    )
    contradictions = tuple(
        f"{label}: the row says {row!r}, its hardware hash says {hashed!r}"
        for label, row, hashed in pairs
        if row and hashed and row.strip() != hashed.strip()
    )
    return replace(
        device,
        identity=replace(identity, **added),
        derived=(*device.derived, *(_NAMES[name] for name in added)),
        hash_confirms=bool(stated.serial_number or stated.product_key_id) and not contradictions,
        contradictions=contradictions,
    )


def _planned(
    position: int,
    device: Device,
    profile: Profile,
    customer: str | None,
    held: Collection[str],
) -> PlannedDevice:
    """One device, not sent where it is held, incomplete or contradictory."""
    identity = device.identity
    blank = PlannedDevice(
        index=position,
        device=device,
        customer=TenantId(customer) if customer else None,
        outcome=Outcome.PENDING,
    )
    if is_held(blank, held):
        return held_back(blank)
    if device.contradictions:
        return contradicted(blank, "; ".join(device.contradictions))
    identifying = kinds(profile, identity)
    if not identifying:
        lacking = " and the ".join(
            label
            for name, label in _NAMES.items()
            if name != "product_key_id" and not getattr(identity, name)
        )
        lacks = {IdentityKind.PKID: "a product key id", IdentityKind.TUPLE: f"the {lacking}"}
        ways = {
            IdentityKind.PKID: "the product key id (on the box)",
            IdentityKind.TUPLE: "serial number, manufacturer and model as the firmware has them",
        }
        return replace(
            blank,
            outcome=Outcome.REFUSED,
            rule="incomplete",
            detail=f"the row lacks {' and '.join(lacks[kind] for kind in profile.identity_order)}, "
            "and its hardware hash, if any, does not say them",
            remedy=f"add {', or '.join(ways[kind] for kind in profile.identity_order)}",
        )
    for name, label in _NAMES.items():
        if _UNSENDABLE.search(getattr(identity, name) or ""):
            return replace(
                blank,
                outcome=Outcome.REFUSED,
                rule="unsendable",
                detail=f"the {label} holds a character that no request can carry",
                remedy="correct the row; look for line breaks and control characters",
            )
    if not device.derived:
        return blank
    by = " and ".join(_KIND_NAMES[kind] for kind in identifying)
    derived = ", ".join(device.derived)
    return replace(blank, detail=f"identified by {by}; from its hardware hash: {derived}")


_UNSENDABLE = re.compile("[\\x00-\\x1f\\x7f\\ud800-\\udfff\\ufffe\\uffff]")
"""What no XML or JSON body can carry unchanged."""

_KIND_NAMES = {
    IdentityKind.PKID: "product key id",
    IdentityKind.TUPLE: "serial number, manufacturer and model",
}


def _or_duplicate(
    each: PlannedDevice, pending: defaultdict[tuple[str | None, ...], list[PlannedDevice]]
) -> PlannedDevice:
    """The device, a duplicate where one in `pending` has its product key id or its tuple.

    Rows that share the tuple and have different product key ids are different: a board was
    replaced, and each of its ids may have a registration.
    """
    identity = each.device.identity
    key, named = (
        identity.product_key_id,
        (identity.serial_number, identity.manufacturer, identity.model),
    )
    names = [*([(key,)] if key else []), *([named] if all(named) else [])]
    for earlier in (one for name in names for one in pending[name]):
        other = earlier.device.identity.product_key_id
        if not key or not other or key == other:
            return duplicate(each, earlier.device.row)
    for name in names:
        pending[name].append(each)
    return each


def _customers(planned: Iterable[PlannedDevice]) -> tuple[PlannedCustomer, ...]:
    """Whom the removals concern, as far as the batch says. Their estates cannot be seen here."""
    removals: dict[TenantId, int] = {}
    for each in planned:
        if each.customer is not None:
            going = each.outcome is Outcome.PENDING
            removals[each.customer] = removals.get(each.customer, 0) + going
    return tuple(
        PlannedCustomer(
            customer=Customer(tenant_id=tenant, domain=str(tenant) if "." in tenant else None),
            estate=0,
            removals=count,
        )
        for tenant, count in removals.items()
    )


def _notes(profile: Profile, planned: Iterable[PlannedDevice]) -> tuple[str, ...]:
    notes = []
    if not profile.profile_confirmed:
        notes.append(
            f"wire profile {profile.label}: the API's contract is not public, and no one has "
            "confirmed this profile against the whitepaper (oem.profile_confirmed)"
        )
    derived = sum(each.outcome is Outcome.PENDING and bool(each.device.derived) for each in planned)
    if derived:
        named = "1 device is" if derived == 1 else f"{derived} devices are"
        notes.append(f"{named} named by what the hardware hash says; no hash is sent")
    notes.append(
        "this channel has no listing: what is registered, and to whom, cannot be seen beforehand"
    )
    return tuple(notes)


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


@cache
def public_codes() -> tuple[Code, ...]:
    """The codes of `oem_codes.toml`, which has the sources too.

    That the OEM Direct API uses those of Intune and Partner Center is an assumption.
    """
    file = Path(__file__).with_name("oem_codes.toml")
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    return tuple(
        Code(
            name=name,
            number=each.get("number"),
            meaning=CodeMeaning(each["meaning"]),
            detail=each["detail"],
            remedy=tables["remedies"].get(each["remedy"], each["remedy"]),
        )
        for name, each in tables["codes"].items()
    )


_WORD = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeTable:
    """The codes of one wire, by casefolded name and by number."""

    by_name: Mapping[str, Code]
    by_number: Mapping[str, Code]

    def read(self, code: str, *texts: str) -> Code | None:
        """The code that an answer speaks of: a known name in any text, else a known number.

        The name first, because services pair them wrongly: 806 was seen with the name of 808.

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
    by_name = {code.name.casefold(): code for code in public_codes()}
    by_number = {code.number: code for code in public_codes() if code.number}
    for name, meaning in overrides:
        known = by_number.get(name) or by_name.get(name.casefold())
        if known is not None and known.meaning is meaning:
            continue
        if known is not None:
            own_name, number = known.name, known.number
        else:
            own_name, number = ("", name) if name.isdigit() else (name, None)
        code = Code(
            name=own_name,
            number=number,
            meaning=meaning,
            detail=f"the service said {name}, which the wire profile reads as {meaning.value}",
            remedy="look the code up in your whitepaper",
        )
        if code.name:
            by_name[code.name.casefold()] = code
        if code.number:
            by_number[code.number] = code
    return CodeTable(by_name=by_name, by_number=by_number)


Witness = Callable[[Removal], tuple[Outcome, str] | None]
"""Asks the ledger about a device unknown to the service: its outcome, and why."""

ASK_AGAIN = "resume the run: the same blank request is sent once more"
_OVERLOADED = 503


class OemDirectChannel:
    """Implements `engine.channel.Channel`, and drafts plans without any request.

    Devices come to it as `completed` gives them.
    """

    observable = False
    repeats = False
    name = ChannelName.OEM_DIRECT

    def __init__(
        self,
        client: OemDirect,
        profile: Profile,
        witness: Witness = lambda _removal: None,
    ) -> None:
        self._client = client
        self._profile = profile
        self._reader = AnswerReader(
            profile=profile, codes=code_table(profile.codes), witness=witness
        )
        self.call_size = profile.batch_limit
        self.polling = Polling(
            interval=profile.poll.interval_s,
            max_interval=profile.poll.max_interval_s,
            deadline=profile.poll.deadline_s,
        )

    def draft(
        self, devices: Sequence[Device], *, default_customer: str | None, held: frozenset[str]
    ) -> PlanProposal:
        """Plan every device, in its order. Nothing is sent."""
        return draft(devices, self._profile, default_customer=default_customer, held=held)

    def changes(
        self, devices: Sequence[PlannedDevice], remaining: Mapping[str, int]
    ) -> Mapping[int, str]:
        """Nothing: what became of an old plan's devices cannot be seen here."""
        return {}

    def remove(self, removals: Sequence[Removal]) -> Mapping[int, Verdict]:
        """One call. See `engine.channel.Channel.remove`."""
        ids = Ids(request_id=removals[0].request_id, correlation_id=removals[0].correlation_id)
        refused, removals = self._validated(removals, ids)
        if not removals:
            return refused
        try:
            reply = self._client.deregister(_entries(removals), ids)
        except Rejected as rejection:
            return {**refused, **dict.fromkeys(_indices(removals), self._reader.whole(rejection))}
        except Unavailable as error:
            if error.status != _OVERLOADED:
                raise
            return {**refused, **dict.fromkeys(_indices(removals), _deferred(error))}
        return {**refused, **self._reader.verdicts(reply, removals)}

    def poll(self, handle: str, removals: Sequence[Removal]) -> Mapping[int, Verdict]:
        """One question after accepted work. See `engine.channel.Channel.poll`.

        It carries the correlation id of the call, and no request id: that one was answered.
        """
        ids = Ids(request_id="", correlation_id=removals[0].correlation_id)
        reply = self._client.progress(handle, _entries(removals), ids)
        return self._reader.verdicts(reply, removals)

    def recall(self, removals: Sequence[Removal]) -> Mapping[int, bool | Explanation]:
        """Not possible here: the channel is not observable."""
        raise ValueError(f"OEM Direct cannot look for {len(removals)} devices: it has no listing")

    def sightings(self, removals: Sequence[Removal]) -> Sightings:
        """Not possible here: the channel is not observable."""
        raise ValueError(f"OEM Direct cannot look for {len(removals)} devices: it has no listing")

    def _validated(
        self, removals: Sequence[Removal], ids: Ids
    ) -> tuple[dict[int, Verdict], Sequence[Removal]]:
        """The verdicts of those that the pre-flight refuses, and the others.

        Devices in doubt are not asked about: they may be gone already, and only the removal
        itself can say so.
        """
        doubted = any(removal.doubted for removal in removals)
        if doubted or not self._profile.preflight.enabled:
            return {}, removals
        try:
            reply = self._client.validate(_entries(removals), ids)
        except Rejected as rejection:
            return dict.fromkeys(_indices(removals), self._reader.whole(rejection)), ()
        except (Throttled, Unauthorized, Unsent):
            raise
        except ServiceError as error:
            # Whatever became of the pre-flight, no removal has left.
            raise Unsent(
                f"the pre-flight failed, so nothing was sent: {error.message}",
                remedy=error.remedy,
                rule="preflight",
                retry_after=error.retry_after,
                **error.facts,
            ) from error
        refused = self._reader.refusals(reply, removals)
        return refused, [removal for removal in removals if removal.index not in refused]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerReader:
    """Says what an answer means for each device of its call. Pure."""

    profile: Profile
    codes: CodeTable
    witness: Witness = lambda _removal: None

    def verdicts(self, reply: OemReply, removals: Sequence[Removal]) -> dict[int, Verdict]:
        """A verdict for every device of the call."""
        if reply.results is None:
            return dict.fromkeys(_indices(removals), Acceptance(handle=reply.handle or ""))
        return {
            removal.index: self._verdict(reply, reply.results.get(_ref(removal)), removal)
            for removal in removals
        }

    def refusals(self, reply: OemReply, removals: Sequence[Removal]) -> dict[int, Verdict]:
        """Return the pre-flight's refusals by device; the others may proceed."""
        verdicts = self.verdicts(reply, removals) if reply.results else {}
        return {
            index: replace(verdict, detail=f"the pre-flight refused it: {verdict.detail}")
            for index, verdict in verdicts.items()
            if isinstance(verdict, Answer) and verdict.outcome is not Outcome.REMOVED
        }

    def whole(self, rejection: Rejected) -> Verdict:
        """Return what the refusal of a whole call means for each of its devices."""
        code = self.codes.read(rejection.code or "", rejection.description or "")
        if code is not None and code.meaning is CodeMeaning.RETRY:
            return _deferred(rejection)
        why = f": {code.shown}, {code.detail}" if code else ""
        words = shown(rejection.description or "")
        answer = Answer.to(
            rejection,
            Outcome.REFUSED,
            rule="call-refused",
            detail=f"the service refused the whole call ({rejection.status}){why}"
            + (f"; it said {words!r}" if words else ""),
            remedy=code.remedy if code else rejection.remedy,
            bars_run=True,
        )
        return replace(answer, code=code.shown) if code else answer

    def _verdict(self, reply: OemReply, result: OemResult | None, removal: Removal) -> Verdict:
        if result is None:
            return _doubt(reply, "the answer has no result that is this device's alone")
        if not result.status:
            return _doubt(reply, "the answer has a result for this device without a status")
        code = self.codes.read(result.code, result.message, result.status)
        status, response = result.status.casefold(), self.profile.response
        as_answered = shown(result.status)
        if status in map(str.casefold, response.ok_values):
            if code is None:
                return _answer(reply, result, Outcome.REMOVED)
            contradiction = f"the service confirms it ({as_answered}) and contradicts that with"
            return _doubt(reply, f"{contradiction} {code.shown}")
        if status in map(str.casefold, response.pending_values):
            if reply.handle is not None:
                return Acceptance(handle=reply.handle)
            return _doubt(reply, f"the service only says {as_answered!r}: accepted is not done")
        if code is not None:
            return self._by_code(reply, result, code, removal)
        if result.code or result.message or status in map(str.casefold, response.failed_values):
            words = " ".join(filter(None, (result.code, result.message))) or result.status
            return replace(
                _answer(reply, result, Outcome.REFUSED),
                rule="refused-by-service",
                detail=f"the service refused it: {shown(words)}",
                remedy="look the code up in your whitepaper; name it in oem.codes if it means "
                "something else",
            )
        return _doubt(reply, f"its status {as_answered!r} is in none of the profile's lists")

    def _by_code(self, reply: OemReply, result: OemResult, code: Code, removal: Removal) -> Verdict:
        if code.meaning is CodeMeaning.RETRY:
            detail = f"{code.shown}: {code.detail}"
            return Deferral(detail=detail, status=reply.status, code=code.shown)
        if code.meaning is CodeMeaning.UNKNOWN:
            return _doubt(reply, f"{code.shown}: {code.detail}")
        outcome, rule = _MEANINGS[code.meaning]
        answer = replace(
            _answer(reply, result, outcome),
            rule=rule,
            detail=code.detail,
            remedy=code.remedy,
            code=code.shown,
            bars_run=code.meaning is CodeMeaning.STOP,
        )
        return self._vouched(answer, removal) if outcome is Outcome.ABSENT else answer

    def _vouched(self, answer: Answer, removal: Removal) -> Answer:
        """What 807 means: a misspelt identity gets the same answer as one that is gone.

        So it is `absent` only where something else knows the identity: an earlier request of ours,
        the device's own hardware hash, or an earlier removal in the ledger.
        """
        if removal.silent:
            detail = f"{answer.detail}; an earlier request of ours may have removed it"
            return replace(answer, detail=detail, remedy=None)
        if removal.confirmed:
            detail = f"{answer.detail}; the hardware hash states the same identity"
            return replace(answer, detail=detail, remedy=None)
        if known := self.witness(removal):
            outcome, detail = known
            return replace(
                answer, outcome=outcome, rule="removed-before", detail=detail, remedy=None
            )
        if self.profile.absent_is_ok:
            return answer
        return replace(
            answer,
            outcome=Outcome.UNCONFIRMED,
            rule="no-witness",
            remedy="compare the identity with the device, or add its hardware hash, which confirms "
            "it; oem.absent = 'ok' in the wire profile accepts such devices as done",
        )


_MEANINGS: Mapping[CodeMeaning, tuple[Outcome, str]] = {
    CodeMeaning.ABSENT: (Outcome.ABSENT, "no-registration"),
    CodeMeaning.NOT_OWNED: (Outcome.NOT_OWNED, "registered-by-another"),
    CodeMeaning.AMBIGUOUS: (Outcome.AMBIGUOUS, "not-unique"),
    CodeMeaning.REFUSED: (Outcome.REFUSED, "refused-by-service"),
    CodeMeaning.STOP: (Outcome.REFUSED, "invalid-request"),
}
"""The outcome that a code stands for, and the rule that says why."""


def _answer(reply: OemReply, result: OemResult, outcome: Outcome) -> Answer:
    return Answer(
        outcome=outcome,
        status=reply.status,
        code=shown(result.code) or None,
        request_id=reply.request_id or None,
        correlation_id=reply.correlation_id or None,
    )


def _doubt(reply: OemReply, detail: str) -> Doubt:
    return Doubt(answered=True, detail=detail, remedy=ASK_AGAIN, status=reply.status)


def _deferred(error: ServiceError) -> Deferral:
    return Deferral(
        detail=error.message,
        status=error.status,
        code=error.code,
        retry_after=error.retry_after,
    )


def _entries(removals: Sequence[Removal]) -> tuple[Entry, ...]:
    return tuple(Entry(ref=_ref(removal), identity=removal.identity) for removal in removals)


def _ref(removal: Removal) -> str:
    return str(removal.index + 1)


def _indices(removals: Sequence[Removal]) -> list[int]:
    return [removal.index for removal in removals]


def explain_assumptions(p: Profile) -> tuple[str, ...]:
    """List the assumptions about this wire as sentences for `doctor`; empty once confirmed."""
    if p.profile_confirmed:
        return ()
    return (
        "The API's contract is not public: only the operation's name, that TenantID and "
        "TenantDomain stay blank, and product key id or serial, manufacturer and model as "
        f"identifiers are documented. This profile is {p.label} until oem.profile_confirmed = "
        "true.",
        f"Address: {p.method} {p.path} at the base URL; only the name "
        "AutopilotDeviceRegistration is documented.",
        f"Body: {p.media_type}, devices under {p.body.devices_key or 'a bare array'!r}, "
        f"at most {p.batch_limit} a call (1,000 is documented for registering).",
        f"Tenant: {' and '.join(p.body.tenant_fields)} per {p.body.tenant_scope.value}, "
        f"blank as {p.body.blank_style.value}; documented is only that they are left blank.",
        f"Fields: {', '.join(p.fields.names)}; sent is "
        f"{' or '.join(kind.value for kind in p.identity_order)}, never a hardware hash.",
        f"Sign-in: {p.auth.mode.value}. No public source says how OEMs authenticate.",
        f"Answers: mode {p.response.mode.value}, results under "
        f"{p.response.items_path or 'the top'!r} matched by "
        f"{', '.join(key.value for key in p.response.match_on)}; success is "
        f"{', '.join(p.response.ok_values)} in {p.response.status_field!r}.",
        "Codes: those of Intune and Partner Center (807 absent, 811 not owned, 812 refused, "
        f"813 ambiguous, 801 stops the run), {len(p.codes)} of them overridden.",
        "Sending a blank request twice does no harm: assumed, and needed to settle doubts.",
        f"Pre-flight: {'on' if p.preflight.enabled else 'off'}; its contract is not public.",
    )
