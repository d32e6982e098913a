"""Plans a batch for OEM Direct. Pure: this channel has no listing, so the rows are all there is.

A device goes by product key id, or by serial number, manufacturer and model; a hash is never
sent, but contains all of these. Incomplete or contradictory devices are not sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from partner_tools.channels.oem_codes import Code, CodeTable, code_table
from partner_tools.clients.oem.client import Ids, OemDirect, OemResult, Said, shown
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
from partner_tools.plan import PlanProposal, held_back, is_held

Derive = Callable[[str], Identity]
"""Reads the identity from a hardware hash, without the hash; InputError if it isn't one."""

_NAMES = {
    "serial_number": "serial number",
    "manufacturer": "maker",
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
    planned = [
        _plan_one(position, device, profile, default_customer, held)
        for position, device in enumerate(devices)
    ]
    settled = _without_duplicates(planned, profile)
    return PlanProposal(
        devices=settled,
        customers=_customers(settled),
        notes=_notes(profile, settled),
    )


def completed(device: Device, derive: Derive) -> Device:
    """The device with what its hardware hash adds to its identity, and where the two disagree.

    A hash that cannot be read adds nothing. The ledger keeps no hash, so this comes before it.
    """
    identity = device.identity
    if not identity.hardware_hash:
        return device
    try:
        said = derive(identity.hardware_hash)
    except InputError:
        return device
    added = {
        name: value
        for name in _NAMES
        if (value := getattr(said, name)) and not getattr(identity, name)
    }
    contradictions = _contradictions(identity, said)
    return replace(
        device,
        identity=replace(identity, **added),
        derived=(*device.derived, *(_NAMES[name] for name in added)),
        hash_confirms=bool(said.serial_number or said.product_key_id) and not contradictions,
        contradictions=contradictions,
    )


def _contradictions(given: Identity, said: Identity) -> tuple[str, ...]:
    pairs = ((label, getattr(given, name), getattr(said, name)) for name, label in _NAMES.items())
    return tuple(
        f"{label}: the row says {row!r}, its hardware hash says {hashed!r}"
        for label, row, hashed in pairs
        if row and hashed and row.strip() != hashed.strip()
    )


def _plan_one(
    position: int,
    device: Device,
    profile: Profile,
    default_customer: str | None,
    held: Collection[str],
) -> PlannedDevice:
    customer = device.customer or default_customer
    blank = PlannedDevice(
        index=position,
        device=device,
        customer=TenantId(customer) if customer else None,
        outcome=Outcome.PENDING,
    )
    if is_held(blank, held):
        return held_back(blank)
    refusal = _objection(device, profile)
    return replace(blank, detail=_how(device, profile)) if refusal is None else refusal(blank)


def _objection(device: Device, profile: Profile) -> Callable[[PlannedDevice], PlannedDevice] | None:
    """Why this device stays here, as the change that says so; None where it may go."""
    identity = device.identity
    if device.contradictions:
        return _refusal(
            "contradiction",
            "; ".join(device.contradictions),
            "correct the row, or leave out the column that is not certain",
            Outcome.AMBIGUOUS,
        )
    if not kinds(profile, identity):
        return _refusal("incomplete", _incomplete(identity, profile), _completing(profile))
    if odd := _unsendable(identity):
        return _refusal(
            "unsendable",
            f"the {odd} holds a character that no request can carry",
            "correct the row; look for line breaks and control characters",
        )
    return None


def _refusal(
    rule: str, detail: str, remedy: str, outcome: Outcome = Outcome.REFUSED
) -> Callable[[PlannedDevice], PlannedDevice]:
    return lambda blank: replace(blank, outcome=outcome, rule=rule, detail=detail, remedy=remedy)


def _incomplete(identity: Identity, profile: Profile) -> str:
    missing = [
        label
        for name, label in _NAMES.items()
        if name != "product_key_id" and not getattr(identity, name)
    ]
    lacks = {
        IdentityKind.PKID: "a product key id",
        IdentityKind.TUPLE: f"the {' and the '.join(missing)}",
    }
    said = " and ".join(lacks[kind] for kind in profile.identity_order)
    return f"the row lacks {said}, and its hardware hash, if any, does not say them"


def _completing(profile: Profile) -> str:
    ways = {
        IdentityKind.PKID: "the product key id (on the box)",
        IdentityKind.TUPLE: "serial number, maker and model exactly as the firmware has them",
    }
    return f"add {', or '.join(ways[kind] for kind in profile.identity_order)}"


def _unsendable(identity: Identity) -> str | None:
    """Name the field whose text no XML or JSON body can carry unchanged."""
    for name, label in _NAMES.items():
        if _UNSENDABLE.search(getattr(identity, name) or ""):
            return label
    return None


_UNSENDABLE = re.compile("[\\x00-\\x1f\\x7f\\ud800-\\udfff\\ufffe\\uffff]")


def _how(device: Device, profile: Profile) -> str | None:
    """Explain to a reviewer how a device to be removed is identified."""
    if not device.derived:
        return None
    used = " and ".join(_KIND_NAMES[kind] for kind in kinds(profile, device.identity))
    return f"goes by {used}; from its hardware hash: {', '.join(device.derived)}"


_KIND_NAMES = {
    IdentityKind.PKID: "product key id",
    IdentityKind.TUPLE: "serial number, maker and model",
}


def _without_duplicates(
    planned: Iterable[PlannedDevice], profile: Profile
) -> tuple[PlannedDevice, ...]:
    """A further row with the product key id or the tuple of an earlier one is a duplicate.

    Rows that share the tuple and have different product key ids are different: a board was
    replaced, and each of its ids may have a registration.
    """
    by_key: dict[str, PlannedDevice] = {}
    by_tuple: dict[tuple[str, ...], list[PlannedDevice]] = {}
    result = []
    for each in planned:
        earlier = _earlier(each, by_key, by_tuple)
        result.append(each if earlier is None else _duplicate(each, earlier))
        if earlier is None and each.outcome is Outcome.PENDING:
            identity = each.device.identity
            if identity.product_key_id:
                by_key[identity.product_key_id] = each
            if named := _tuple(identity):
                by_tuple.setdefault(named, []).append(each)
    return tuple(result)


def _earlier(
    each: PlannedDevice,
    by_key: dict[str, PlannedDevice],
    by_tuple: dict[tuple[str, ...], list[PlannedDevice]],
) -> PlannedDevice | None:
    if each.outcome is not Outcome.PENDING:
        return None
    key = each.device.identity.product_key_id
    if key and key in by_key:
        return by_key[key]
    for earlier in by_tuple.get(_tuple(each.device.identity) or (), ()):
        other = earlier.device.identity.product_key_id
        if not key or not other:
            return earlier
    return None


def _tuple(identity: Identity) -> tuple[str, ...] | None:
    parts = (identity.serial_number, identity.manufacturer, identity.model)
    return tuple(part for part in parts if part) if all(parts) else None


def _duplicate(each: PlannedDevice, earlier: PlannedDevice) -> PlannedDevice:
    return replace(
        each,
        outcome=Outcome.DUPLICATE,
        rule="named-before",
        detail=f"the same device as in row {earlier.device.row}",
        remedy="nothing to do: that row's outcome counts",
    )


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


Witness = Callable[[Removal], tuple[Outcome, str] | None]
"""Asks the ledger about a device unknown to the service: its outcome, and why."""

ASK_AGAIN = "resume the run: the same blank request is sent once more"
_OVERLOADED = 503


class OemDirectChannel:
    """Implements `engine.channel.Channel`, and drafts plans without any request.

    Devices come to it `oem_draft.completed`.
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
            said = self._client.deregister(_entries(removals), ids)
        except Rejected as rejection:
            return {**refused, **dict.fromkeys(_indices(removals), self._reader.whole(rejection))}
        except Unavailable as error:
            if error.status != _OVERLOADED:
                raise
            return {**refused, **dict.fromkeys(_indices(removals), _deferred(error))}
        return {**refused, **self._reader.verdicts(said, removals)}

    def poll(self, handle: str, removals: Sequence[Removal]) -> Mapping[int, Verdict]:
        """One question after accepted work. See `engine.channel.Channel.poll`.

        It carries the correlation id of the call, and no request id: that one was answered.
        """
        ids = Ids(request_id="", correlation_id=removals[0].correlation_id)
        said = self._client.progress(handle, _entries(removals), ids)
        return self._reader.verdicts(said, removals)

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
            said = self._client.validate(_entries(removals), ids)
        except Rejected as rejection:
            return dict.fromkeys(_indices(removals), self._reader.whole(rejection)), ()
        except (Throttled, Unauthorized, Unsent):
            raise
        except ServiceError as error:
            raise _not_sent(error) from error
        refused = self._reader.refusals(said, removals)
        return refused, [removal for removal in removals if removal.index not in refused]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerReader:
    """Says what an answer means for each device of its call. Pure."""

    profile: Profile
    codes: CodeTable
    witness: Witness = lambda _removal: None

    def verdicts(self, said: Said, removals: Sequence[Removal]) -> dict[int, Verdict]:
        """A verdict for every device of the call."""
        if said.results is None:
            return dict.fromkeys(_indices(removals), Acceptance(handle=said.handle or ""))
        return {
            removal.index: self._verdict(said, said.results.get(_ref(removal)), removal)
            for removal in removals
        }

    def refusals(self, said: Said, removals: Sequence[Removal]) -> dict[int, Verdict]:
        """Return the pre-flight's refusals by device; the others may proceed."""
        verdicts = self.verdicts(said, removals) if said.results else {}
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
        said = shown(rejection.description or "")
        return Answer(
            outcome=Outcome.REFUSED,
            rule="call-refused",
            detail=f"the service refused the whole call ({rejection.status}){why}"
            + (f"; it said {said!r}" if said else ""),
            remedy=code.remedy if code else rejection.remedy,
            status=rejection.status,
            code=code.shown if code else rejection.code,
            request_id=rejection.request_id,
            correlation_id=rejection.correlation_id,
            bars_run=True,
        )

    def _verdict(self, said: Said, result: OemResult | None, removal: Removal) -> Verdict:
        if result is None:
            return _doubt(said, "the answer has no result that is this device's alone")
        if not result.status:
            return _doubt(said, "the answer has a result for this device without a status")
        code = self.codes.read(result.code, result.message, result.status)
        status, response = result.status.casefold(), self.profile.response
        if status in map(str.casefold, response.ok_values):
            return _confirmed(said, result, code)
        if status in map(str.casefold, response.pending_values):
            return _pending(said, result)
        if code is not None:
            verdict = _by_code(said, result, code)
            if isinstance(verdict, Answer) and verdict.outcome is Outcome.ABSENT:
                return self._vouched(verdict, removal)
            return verdict
        stated = result.code or result.message
        if stated or status in map(str.casefold, response.failed_values):
            return _refused(said, result)
        return _doubt(
            said, f"its status {shown(result.status)!r} is in none of the profile's lists"
        )

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
        return replace(answer, outcome=Outcome.UNCONFIRMED, rule="no-witness", remedy=_WITNESS)


_WITNESS = (
    "compare the identity with the device, or add its hardware hash, which confirms it; "
    "oem.absent = 'ok' in the wire profile accepts such devices as done"
)


def _confirmed(said: Said, result: OemResult, code: Code | None) -> Verdict:
    if code is not None:
        return _doubt(
            said,
            f"the service confirms it ({shown(result.status)}) and contradicts that with "
            f"{code.shown}",
        )
    return _answer(said, result, Outcome.REMOVED, None)


def _pending(said: Said, result: OemResult) -> Verdict:
    if said.handle is not None:
        return Acceptance(handle=said.handle)
    return _doubt(said, f"the service only says {shown(result.status)!r}: accepted is not done")


_OUTCOMES: Mapping[CodeMeaning, Outcome] = {
    CodeMeaning.ABSENT: Outcome.ABSENT,
    CodeMeaning.NOT_OWNED: Outcome.NOT_OWNED,
    CodeMeaning.AMBIGUOUS: Outcome.AMBIGUOUS,
    CodeMeaning.REFUSED: Outcome.REFUSED,
    CodeMeaning.STOP: Outcome.REFUSED,
}


_RULES: Mapping[CodeMeaning, str] = {
    CodeMeaning.ABSENT: "no-registration",
    CodeMeaning.NOT_OWNED: "registered-by-another",
    CodeMeaning.AMBIGUOUS: "not-unique",
    CodeMeaning.REFUSED: "refused-by-service",
    CodeMeaning.STOP: "invalid-request",
}


def _by_code(said: Said, result: OemResult, code: Code) -> Verdict:
    if code.meaning is CodeMeaning.RETRY:
        return Deferral(detail=f"{code.shown}: {code.detail}", status=said.status, code=code.shown)
    if code.meaning is CodeMeaning.UNKNOWN:
        return _doubt(said, f"{code.shown}: {code.detail}")
    answer = _answer(said, result, _OUTCOMES[code.meaning], code)
    return replace(answer, bars_run=code.meaning is CodeMeaning.STOP)


def _refused(said: Said, result: OemResult) -> Answer:
    words = (result.code, result.message) if result.code or result.message else (result.status,)
    return replace(
        _answer(said, result, Outcome.REFUSED, None),
        rule="refused-by-service",
        detail=f"the service refused it: {shown(' '.join(filter(None, words)))}",
        remedy="look the code up in your whitepaper; name it in oem.codes if it means something "
        "else",
    )


def _answer(said: Said, result: OemResult, outcome: Outcome, code: Code | None) -> Answer:
    return Answer(
        outcome=outcome,
        rule=None if code is None else _RULES[code.meaning],
        detail=None if code is None else code.detail,
        remedy=None if code is None else code.remedy,
        status=said.status,
        code=(code.shown if code else shown(result.code)) or None,
        request_id=said.request_id or None,
        correlation_id=said.correlation_id or None,
    )


def _doubt(said: Said, detail: str) -> Doubt:
    return Doubt(answered=True, detail=detail, remedy=ASK_AGAIN, status=said.status)


def _deferred(error: ServiceError) -> Deferral:
    return Deferral(
        detail=error.message,
        status=error.status,
        code=error.code,
        retry_after=error.retry_after,
    )


def _not_sent(error: ServiceError) -> Unsent:
    """A pre-flight that failed: whatever became of it, no removal has left."""
    return Unsent(
        f"the pre-flight failed, so nothing was sent: {error.message}",
        remedy=error.remedy,
        rule="preflight",
        status=error.status,
        request_id=error.request_id,
        correlation_id=error.correlation_id,
        retry_after=error.retry_after,
    )


def _entries(removals: Sequence[Removal]) -> tuple[Entry, ...]:
    return tuple(Entry(ref=_ref(removal), identity=removal.identity) for removal in removals)


def _ref(removal: Removal) -> str:
    return str(removal.index + 1)


def _indices(removals: Sequence[Removal]) -> list[int]:
    return [removal.index for removal in removals]


def explain_assumptions(profile: Profile) -> tuple[str, ...]:
    """List the assumptions about this wire as sentences for `doctor`; empty once confirmed."""
    if profile.profile_confirmed:
        return ()
    return tuple(say(profile) for say in _ASSUMPTIONS)


_ASSUMPTIONS: tuple[Callable[[Profile], str], ...] = (
    lambda p: (
        "The API's contract is not public: only the operation's name, that TenantID and "
        "TenantDomain stay blank, and product key id or serial, maker and model as identifiers are "
        f"documented. This profile is {p.label} until oem.profile_confirmed = true."
    ),
    lambda p: (
        f"Address: {p.method} {p.path} at the base URL; only the name "
        "AutopilotDeviceRegistration is documented."
    ),
    lambda p: (
        f"Body: {p.media_type}, devices under {p.body.devices_key or 'a bare array'!r}, "
        f"at most {p.batch_limit} a call (1,000 is documented for registering)."
    ),
    lambda p: (
        f"Tenant: {' and '.join(p.body.tenant_fields)} per {p.body.tenant_scope.value}, "
        f"blank as {p.body.blank_style.value}; documented is only that they are left blank."
    ),
    lambda p: (
        f"Fields: {', '.join(p.fields.names)}; sent is "
        f"{' or '.join(kind.value for kind in p.identity_order)}, never a hardware hash."
    ),
    lambda p: f"Sign-in: {p.auth.mode.value}. No public source says how OEMs authenticate.",
    lambda p: (
        f"Answers: mode {p.response.mode.value}, results under "
        f"{p.response.items_path or 'the top'!r} matched by "
        f"{', '.join(key.value for key in p.response.match_on)}; success is "
        f"{', '.join(p.response.ok_values)} in {p.response.status_field!r}."
    ),
    lambda p: (
        "Codes: those of Intune and Partner Center (807 absent, 811 not owned, 812 refused, "
        f"813 ambiguous, 801 stops the run), {len(p.codes)} of them overridden."
    ),
    lambda p: "Sending a blank request twice does no harm: assumed, and needed to settle doubts.",
    lambda p: f"Pre-flight: {'on' if p.preflight.enabled else 'off'}; its contract is not public.",
)
