"""Lists of Microsoft Graph: the properties of a row, `$filter`, `$select`, and pages.

Properties: the metadata of 2026-08-20 (https://github.com/microsoftgraph/msgraph-metadata), v1.0
in full where a client may look at it, beta as far as it says more about leaving devices.

Filters: OASIS OData 4.01, part 2, as far as Microsoft Graph's documentation uses it for devices
(`or`, `and`, `not`, comparisons, `in`, `contains`, `startswith`, `endswith`, `any`). Each service
supports other parts of it. Intune follows its v1.0 metadata, ignores the rest, and for an empty
value finds every device (https://github.com/microsoftgraph/microsoft-graph-docs/issues/20196 and
19890, microsoft-graph-docs-contrib/issues/2416); `ne` behaved like `eq`
(https://github.com/microsoft/Intune-PowerShell-SDK/issues/114). Autopilot: microsoft-graph-docs
issues 9357 and 12174, msgraph-sdk-powershell issues 1260 and 2464. Directory:
https://learn.microsoft.com/graph/aad-advanced-queries (2025-09).

Pages: Autopilot continues after the last serial
(https://github.com/microsoftgraph/microsoft-graph-docs/issues/8186); the other lists after the last
row, by an opaque token. Links name the host that the client called.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any
from urllib.parse import quote, urlencode

from partner_tools.sandbox.faults import FaultKind
from partner_tools.sandbox.graph.estate import NEVER, NO_ID, Row, Table
from partner_tools.sandbox.graph.request import Family, ParsedRequest, Refusal, answer
from partner_tools.sandbox.wire import Response


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A kind of row: its type's name, and every property with its value where a row has none.

    `hidden` are empty in lists, and by id unless they are selected.
    """

    type: str
    v1: Mapping[str, Any]
    beta: Mapping[str, Any]
    hidden: frozenset[str] = frozenset()

    def properties(self, *, beta: bool) -> Mapping[str, Any]:
        return {**self.v1, **self.beta} if beta else self.v1

    def whole(self, row: Row, *, beta: bool) -> Row:
        """Every property of the version, the hidden ones too."""
        return {name: row.get(name, empty) for name, empty in self.properties(beta=beta).items()}

    def shown(self, row: Row, *, beta: bool) -> Row:
        """The row as a list shows it."""
        found = self.whole(row, beta=beta)
        return {**found, **{name: self.v1[name] for name in self.hidden}}


def _texts(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names, "")


def _nulls(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names)


IDENTITY = Shape(
    type="windowsAutopilotDeviceIdentity",
    v1={
        "id": None,
        **_texts(
            "groupTag",
            "purchaseOrderIdentifier",
            "serialNumber",
            "productKey",
            "manufacturer",
            "model",
        ),
        "enrollmentState": "notContacted",
        "lastContactedDateTime": NEVER,
        **_texts(
            "addressableUserName",
            "userPrincipalName",
            "resourceName",
            "skuNumber",
            "systemFamily",
        ),
        "azureActiveDirectoryDeviceId": NO_ID,
        "managedDeviceId": NO_ID,
        "displayName": "",
    },
    beta={
        "azureAdDeviceId": NO_ID,
        "deploymentProfileAssignmentStatus": "notAssigned",
        "deploymentProfileAssignmentDetailedStatus": "none",
        "deploymentProfileAssignedDateTime": NEVER,
        "remediationState": "noRemediationRequired",
        "remediationStateLastModifiedDateTime": NEVER,
        "userlessEnrollmentStatus": "unknown",
        **_texts("deviceAccountUpn", "deviceAccountPassword", "deviceFriendlyName"),
    },
)

MANAGED = Shape(
    type="managedDevice",
    v1={
        "id": None,
        "userId": "",
        "deviceName": "",
        "managedDeviceOwnerType": "company",
        "enrolledDateTime": NEVER,
        "lastSyncDateTime": NEVER,
        "operatingSystem": "Windows",
        "complianceState": "compliant",
        "jailBroken": "Unknown",
        "managementAgent": "mdm",
        "osVersion": "10.0.22631.4317",
        "easActivated": True,
        "easDeviceId": "",
        "easActivationDateTime": NEVER,
        "azureADRegistered": True,
        "deviceEnrollmentType": "unknown",
        "activationLockBypassCode": None,
        "emailAddress": "",
        "azureADDeviceId": NO_ID,
        "deviceRegistrationState": "registered",
        "deviceCategoryDisplayName": "Unknown",
        "isSupervised": False,
        "exchangeLastSuccessfulSyncDateTime": NEVER,
        "exchangeAccessState": "none",
        "exchangeAccessStateReason": "none",
        **_texts("remoteAssistanceSessionUrl", "remoteAssistanceSessionErrorDetails"),
        "isEncrypted": False,
        "userPrincipalName": "",
        "model": "",
        "manufacturer": "",
        "imei": "",
        "complianceGracePeriodExpirationDateTime": "9999-12-31T23:59:59Z",
        "serialNumber": "",
        "phoneNumber": "",
        "androidSecurityPatchLevel": "",
        "userDisplayName": "",
        **_nulls("configurationManagerClientEnabledFeatures"),
        "wiFiMacAddress": "",
        **_nulls("deviceHealthAttestationState"),
        "subscriberCarrier": "",
        "meid": "",
        "totalStorageSpaceInBytes": 254_833_328_128,
        "freeStorageSpaceInBytes": 181_193_932_800,
        "managedDeviceName": "",
        "partnerReportedThreatState": "unknown",
        "requireUserEnrollmentApproval": None,
        "managementCertificateExpirationDate": NEVER,
        "iccid": None,
        "udid": None,
        "notes": None,
        "ethernetMacAddress": None,
        "physicalMemoryInBytes": 0,
        "enrollmentProfileName": "",
        "deviceActionResults": [],
        "managementState": "managed",
    },
    beta={
        "joinType": "unknown",
        "autopilotEnrolled": False,
        "deviceFirmwareConfigurationInterfaceManaged": False,
        "chassisType": "unknown",
        "ownerType": "company",
        "aadRegistered": True,
        "azureActiveDirectoryDeviceId": NO_ID,
        "retireAfterDateTime": NEVER,
        "skuFamily": "Pro",
        "skuNumber": 48,
        "processorArchitecture": "x64",
        "deviceType": "windowsRT",
        "lostModeState": "disabled",
    },
    hidden=frozenset(
        {
            "activationLockBypassCode",
            "ethernetMacAddress",
            "iccid",
            "notes",
            "physicalMemoryInBytes",
            "udid",
        }
    ),
)

DEVICE = Shape(
    type="device",
    v1={
        **_nulls("id", "deletedDateTime", "accountEnabled", "approximateLastSignInDateTime"),
        **_nulls("complianceExpirationDateTime", "createdDateTime", "deviceCategory", "deviceId"),
        **_nulls("deviceMetadata", "deviceOwnership"),
        "deviceVersion": 2,
        **_nulls("displayName", "domainName", "enrollmentProfileName", "enrollmentType"),
        **_nulls("externalSourceName", "isCompliant", "isManaged", "isManagementRestricted"),
        **_nulls("isRooted", "managementType", "manufacturer", "mdmAppId", "model"),
        **_nulls("onPremisesLastSyncDateTime", "onPremisesSecurityIdentifier"),
        **_nulls("onPremisesSyncEnabled", "operatingSystem", "operatingSystemVersion"),
        "physicalIds": [],
        **_nulls("profileType", "registrationDateTime", "sourceType"),
        "systemLabels": [],
        "trustType": None,
        "alternativeSecurityIds": [],
        "extensionAttributes": dict.fromkeys(
            f"extensionAttribute{number}" for number in range(1, 16)
        ),
    },
    beta=_nulls("deviceSystemMetadata", "hostnames", "kind", "name", "platform", "status"),
)

RECOVERY_KEY = Shape(
    type="bitlockerRecoveryKey",
    v1=_nulls("id", "createdDateTime", "volumeType", "deviceId"),
    beta={},
)

LOCAL_CREDENTIAL = Shape(
    type="deviceLocalCredentialInfo",
    v1=_nulls("id", "deviceName", "lastBackupDateTime", "refreshDateTime"),
    beta={},
)

IMPORTED_AUTOPILOT = Shape(
    type="importedWindowsAutopilotDeviceIdentity",
    v1={
        "id": None,
        **_texts("groupTag", "serialNumber", "productKey"),
        **_nulls("hardwareIdentifier"),
        **_texts("importId", "assignedUserPrincipalName"),
        "state": {
            "deviceImportStatus": "complete",
            "deviceRegistrationId": "",
            "deviceErrorCode": 0,
            "deviceErrorName": "",
        },
    },
    beta={},
)

ASSOCIATION = Shape(
    type="tenantAssociatedDevice",
    v1={},
    beta={
        "id": None,
        "serialNumber": "",
        "smbiosUuid": NO_ID,
        "associationState": "preassociated",
        "devicePreparationPolicyId": NO_ID,
        **_texts("preAssociatedByUserPrincipalName", "assignedToUserPrincipalName"),
        "preAssociationDateTime": NEVER,
        "associationDateTime": NEVER,
        "managedDeviceId": NO_ID,
    },
)
"""In no published metadata: as three public projects read it (2026-11)."""

IMPORTED_IDENTITY = Shape(
    type="importedDeviceIdentity",
    v1={},
    beta={
        "id": None,
        "importedDeviceIdentifier": "",
        "importedDeviceIdentityType": "serialNumber",
        "lastModifiedDateTime": NEVER,
        "createdDateTime": NEVER,
        "lastContactedDateTime": NEVER,
        "description": "",
        "enrollmentState": "notContacted",
        "platform": "unknown",
    },
)


Value = str | bool | None
Predicate = Callable[[Row], bool]

COMPARISONS = frozenset({"eq", "ne", "lt", "le", "gt", "ge"})
FUNCTIONS = frozenset({"contains", "startswith", "endswith"})
DEEPEST = 50

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>'(?:[^']|'')*')
      | (?P<word>\d{4}-\d\d-\d\d(?:T[\d:.]+(?:Z|[+-][\d:]+)?)?(?![\w-])|[^\s'(),:/]+)
      | (?P<mark>[(),:/])
    )""",
    re.VERBOSE,
)


class FilterError(Exception):
    """The text is no filter; says what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One test of one property; `element`: of any element of a list."""

    name: str
    operator: str
    values: tuple[Value, ...]
    element: bool = False

    @property
    def value(self) -> Value:
        return self.values[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Negation:
    inner: Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Several parts, all of which (`and`) or one of which (`or`) must hold."""

    word: str
    parts: tuple[Tree, ...]


Tree = Leaf | Negation | Chain


def parse(text: str, known: Iterable[str] = ()) -> Tree:
    """The tree of a filter. Raises FilterError.

    `known` properties are found in any letter case: the names in the tree are spelled as there.
    """
    reader = _Reader(text, known)
    tree = reader.chain("or", 0)
    if reader.peek() is not None:
        raise FilterError(f"Syntax error at position {reader.position} in '{text}'.")
    return tree


def leaves(tree: Tree) -> Iterator[Leaf]:
    match tree:
        case Leaf():
            yield tree
        case Negation(inner=inner):
            yield from leaves(inner)
        case Chain(parts=parts):
            for part in parts:
                yield from leaves(part)


def negates(tree: Tree) -> bool:
    """Whether there is a `not` in it."""
    match tree:
        case Negation():
            return True
        case Chain(parts=parts):
            return any(map(negates, parts))
    return False


def equalities(tree: Tree) -> tuple[str, tuple[str, ...]] | None:
    """The property and values of a tree that is nothing but `a eq 'x' or a eq 'y' …`."""
    found = list(leaves(tree))
    pure = all(leaf.operator in {"eq", "in"} for leaf in found) and not negates(tree)
    if isinstance(tree, Chain) and (tree.word != "or" or not _flat(tree)):
        return None
    names = {leaf.name for leaf in found}
    values = [value for leaf in found for value in leaf.values]
    if not pure or len(names) != 1 or not all(isinstance(value, str) for value in values):
        return None
    return names.pop(), tuple(map(str, values))


def predicate_of(tree: Tree, of_leaf: Callable[[Leaf], Predicate]) -> Predicate:
    """The test of a row that a tree is, given the test that each leaf is."""
    match tree:
        case Leaf():
            return of_leaf(tree)
        case Negation(inner=inner):
            negated = predicate_of(inner, of_leaf)
            return lambda row: not negated(row)
        case Chain(word=word, parts=parts):
            tests = [predicate_of(part, of_leaf) for part in parts]
            whole = any if word == "or" else all
            return lambda row: whole(test(row) for test in tests)


def holds(leaf: Leaf, empty: Value = None) -> Predicate:
    """The test that a leaf is by its words. Text is compared without case.

    `empty` is what a row shows of the property where it says nothing.
    """
    name = leaf.name
    if leaf.element:
        return lambda row: any(_compare(leaf, one) for one in row.get(name) or ())
    if leaf.operator == "contains":  # the one that meets whole fleets
        wanted = str(leaf.value).casefold()
        return lambda row: wanted in str(row.get(name, empty) or "").casefold()
    return lambda row: _compare(leaf, row.get(name, empty))


def _compare(leaf: Leaf, found: object) -> bool:
    operator, wanted = leaf.operator, leaf.value
    if operator in {"eq", "in"}:
        return any(_key(found) == _key(value) for value in leaf.values)
    if operator == "ne":
        return _key(found) != _key(wanted)
    if found is None or wanted is None:
        return False
    if operator in FUNCTIONS:
        return _text_test(operator, str(found).casefold(), str(wanted).casefold())
    left, right = str(_key(found)), str(_key(wanted))
    return {
        "lt": left < right,
        "le": left <= right,
        "gt": left > right,
        "ge": left >= right,
    }[operator]


def _text_test(operator: str, found: str, wanted: str) -> bool:
    if operator == "contains":
        return wanted in found
    return found.startswith(wanted) if operator == "startswith" else found.endswith(wanted)


def _key(value: object) -> object:
    """A value as it is compared: times as times, text without case."""
    if not isinstance(value, str):
        return value
    if len(value) >= 10 and value[4:5] == "-" and value[7:8] == "-":
        with suppress(ValueError, OverflowError):
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    return value.casefold()


def _flat(chain: Chain) -> bool:
    return all(isinstance(part, Leaf) for part in chain.parts)


class _Reader:
    """Reads a filter from left to right."""

    def __init__(self, text: str, known: Iterable[str]) -> None:
        self.text = text
        self.position = 0
        self._known = {name.lower(): name for name in known}

    def peek(self) -> re.Match[str] | None:
        """The next token, without taking it."""
        if not self.text[self.position :].strip():
            return None
        found = _TOKEN.match(self.text, self.position)
        if found is None:
            raise FilterError(
                f"There is an unterminated string literal at position {len(self.text)} "
                f"in '{self.text}'."
            )
        return found

    def chain(self, word: str, depth: int) -> Tree:
        """`or` of `and` of single tests."""
        parts = [self._part(word, depth)]
        while self._took(word):
            parts.append(self._part(word, depth))
        return parts[0] if len(parts) == 1 else Chain(word=word, parts=tuple(parts))

    def _part(self, word: str, depth: int) -> Tree:
        return self.chain("and", depth) if word == "or" else self._single(depth)

    def _single(self, depth: int) -> Tree:
        if depth > DEEPEST:
            raise FilterError("The filter is nested too deeply.")
        if self._took("not"):
            return Negation(inner=self._single(depth + 1))
        if self._took("("):
            tree = self.chain("or", depth + 1)
            self._expect(")")
            return tree
        name = self._word()
        if name.lower() in FUNCTIONS and self._took("("):
            return self._function(name.lower())
        if self._took("/"):
            return self._any(self._property(name), depth + 1)
        return self._comparison(self._property(name))

    def _property(self, name: str) -> str:
        return self._known.get(name.lower(), name)

    def _function(self, name: str) -> Leaf:
        prop = self._property(self._word())
        self._expect(",")
        value = self._literal()
        self._expect(")")
        return Leaf(name=prop, operator=name, values=(value,))

    def _any(self, prop: str, depth: int) -> Leaf:
        if not self._took("any"):
            raise FilterError(f"The path of '{prop}' is not supported.")
        self._expect("(")
        self._word()
        self._expect(":")
        inner = self._single(depth)
        self._expect(")")
        if not isinstance(inner, Leaf):
            raise FilterError("An any() with several conditions is not supported.")
        return Leaf(name=prop, operator=inner.operator, values=inner.values, element=True)

    def _comparison(self, prop: str) -> Leaf:
        operator = self._word().lower()
        if operator == "in":
            return Leaf(name=prop, operator="in", values=tuple(self._literals()))
        if operator not in COMPARISONS:
            raise FilterError(f"Syntax error at position {self.position} in '{self.text}'.")
        return Leaf(name=prop, operator=operator, values=(self._literal(),))

    def _literals(self) -> Iterator[Value]:
        self._expect("(")
        yield self._literal()
        while self._took(","):
            yield self._literal()
        self._expect(")")

    def _literal(self) -> Value:
        token = self._take()
        if token["text"] is not None:
            return token["text"][1:-1].replace("''", "'")
        words: dict[str, Value] = {"true": True, "false": False, "null": None}
        word: str = token["word"] or ""
        if not word:
            raise FilterError(f"Expression expected at position {self.position}.")
        return words.get(word.lower(), word)

    def _word(self) -> str:
        token = self._take()
        if not token["word"]:
            raise FilterError(f"Syntax error at position {self.position} in '{self.text}'.")
        return str(token["word"])

    def _take(self) -> re.Match[str]:
        token = self.peek()
        if token is None:
            raise FilterError(f"Expression expected at position {len(self.text)}.")
        self.position = token.end()
        return token

    def _took(self, wanted: str) -> bool:
        """Take the next token if it is this one."""
        token = self.peek()
        if token is None or (token["word"] or token["mark"] or "").lower() != wanted:
            return False
        self.position = token.end()
        return True

    def _expect(self, wanted: str) -> None:
        if not self._took(wanted):
            raise FilterError(f"'{wanted}' expected at position {self.position}.")


MANAGED_FILTERS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(
        (
            "serialNumber",
            "azureADDeviceId",
            "manufacturer",
            "operatingSystem",
            "managementAgent",
            "managementState",
            "complianceState",
            "deviceCategoryDisplayName",
            "imei",
            "exchangeAccessState",
            "jailBroken",
        ),
        frozenset({"eq"}),
    ),
    "deviceName": frozenset({"eq", "contains"}),
    "model": frozenset({"eq", "contains"}),
    "userPrincipalName": frozenset({"eq", "ne"}),
    "emailAddress": frozenset({"contains"}),
    "osVersion": frozenset({"contains"}),
    "phoneNumber": frozenset({"contains"}),
    "lastSyncDateTime": frozenset({"lt", "gt"}),
    "enrolledDateTime": frozenset({"lt", "gt"}),
    "complianceGracePeriodExpirationDateTime": frozenset({"lt", "gt"}),
}
"""What Intune's devices can be filtered by; anything else finds everything."""

_EQUAL = frozenset({"eq"})
_PREFIX = frozenset({"eq", "startswith", "ge", "le"})
_TIMES = frozenset({"eq", "ge", "le"})
DEVICE_FILTERS: Mapping[str, frozenset[str]] = {
    "id": frozenset({"eq", "in"}),
    "deviceId": frozenset({"eq"}),
    "displayName": frozenset({"eq", "in", "startswith", "ge", "le"}),
    "physicalIds": _PREFIX,
    "accountEnabled": _EQUAL,
    "isCompliant": _EQUAL,
    "isManaged": _EQUAL,
    "mdmAppId": _EQUAL,
    "onPremisesSyncEnabled": _EQUAL,
    "operatingSystem": _PREFIX,
    "operatingSystemVersion": _PREFIX,
    "approximateLastSignInDateTime": _TIMES,
    "registrationDateTime": _TIMES,
    "profileType": _EQUAL,
}
"""The properties of directory devices that basic queries can filter by."""
DEVICE_ADVANCED_FILTERS: Mapping[str, frozenset[str]] = {
    "id": frozenset({"ne"}),
    "deviceId": frozenset({"ne", "startswith"}),
    "displayName": frozenset({"ne", "endswith"}),
    "accountEnabled": frozenset({"ne"}),
    "isCompliant": frozenset({"ne"}),
    "isManaged": frozenset({"ne"}),
    "mdmAppId": frozenset({"ne"}),
    "onPremisesSyncEnabled": frozenset({"ne"}),
    "operatingSystem": frozenset({"ne"}),
    "operatingSystemVersion": frozenset({"ne"}),
    "onPremisesSecurityIdentifier": frozenset({"eq", "ne"}),
}
"""Filters that need `ConsistencyLevel: eventual` and `$count=true`, as every `not` does."""
MOST_ALTERNATIVES = 15
"""How many tests the directory lets `or` join."""


def managed_devices(parsed: ParsedRequest, table: Table) -> Iterable[Row]:
    """The managed devices that Intune finds."""
    tree = _tree(parsed, MANAGED)
    if tree is None:
        return table.rows(parsed.since)
    found = _quickly(parsed, table, tree, MANAGED_FILTERS)
    shown = MANAGED.properties(beta=parsed.beta)
    return _slowly(parsed, table, tree, partial(_managed, shown)) if found is None else found


def autopilot_identities(parsed: ParsedRequest, table: Table) -> Iterable[Row]:
    """The identities that Autopilot finds: `contains` on the serial, or a lucky id."""
    tree = _tree(parsed, IDENTITY, strict=False)
    if tree is None:
        return table.rows(parsed.since)
    if not isinstance(tree, Leaf) or not _autopilot_understands(tree):
        raise Refusal(400, "BadRequest", "An error has occurred")
    if " " in str(tree.value):
        # A blank finds nothing, without an error (IntuneOffboarding issue 8, 2024-04;
        # andrew-s-taylor/WindowsAutopilotInfo issue 1, 2023-06).
        return ()
    return _slowly(parsed, table, tree, holds)


def imported_identities(parsed: ParsedRequest, table: Table) -> Iterable[Row]:
    """Imports; as with identities, only `contains` on the serial is understood."""
    return autopilot_identities(parsed, table)


def associations(parsed: ParsedRequest, table: Table) -> Iterable[Row]:
    """Device associations: `contains` on the serial finds them, `eq` finds none that are there
    (WindowsDeviceLink issue 1, read 2026-11). Under quirks a filter is ignored, or refused."""
    tree = _tree(parsed, ASSOCIATION, strict=False)
    if tree is None or parsed.quirks.association_filter == "ignored":
        return table.rows(parsed.since)
    if parsed.quirks.association_filter == "refused" or not isinstance(tree, Leaf):
        raise Refusal(400, "BadRequest", "An error has occurred")
    return _slowly(parsed, table, tree, holds) if tree.operator == "contains" else ()


def directory_devices(parsed: ParsedRequest, table: Table) -> Iterable[Row]:
    """The objects that the directory finds, or its refusal of what it does not support."""
    tree = _tree(parsed, DEVICE)
    if tree is None:
        return table.rows(parsed.since)
    _check_directory(parsed, tree)
    found = _quickly(parsed, table, tree, DEVICE_FILTERS)
    return _slowly(parsed, table, tree, holds) if found is None else found


def of_one_device(parsed: ParsedRequest, table: Table) -> Iterable[Row]:
    """Recovery keys, which can be filtered by their device alone."""
    tree = _tree(parsed, RECOVERY_KEY, strict=False)
    if tree is None:
        return table.rows(parsed.since)
    if not isinstance(tree, Leaf) or (tree.name, tree.operator) != ("deviceId", "eq"):
        raise Refusal(400, "badRequest", "Only filtering by deviceId is supported.")
    return table.having("deviceId", [str(tree.value)])


def _tree(parsed: ParsedRequest, shape: Shape, *, strict: bool = True) -> Tree | None:
    """The filter that was sent. `strict`: refused if this version lacks one of its properties."""
    text = parsed.option("filter")
    if text is None:
        return None
    try:
        tree = parse(text, known := shape.properties(beta=parsed.beta))
    except FilterError as error:
        text = f"Invalid filter clause: {error}"
        raise Refusal(400, "BadRequest", text, family=Family.GRAPH) from error
    if strict:
        for leaf in leaves(tree):
            check_property(leaf.name, known, shape)
    return tree


def check_property(name: str, known: Iterable[str], shape: Shape) -> None:
    """Raises Refusal for a property that a type does not have in this version."""
    if name not in known:
        text = f"Could not find a property named '{name}' on type 'microsoft.graph.{shape.type}'."
        raise Refusal(400, "BadRequest", text, family=Family.GRAPH)


def _quickly(
    parsed: ParsedRequest, table: Table, tree: Tree, supported: Mapping[str, frozenset[str]]
) -> list[Row] | None:
    """Return the rows that an index finds; None where all rows must be scanned."""
    plain = equalities(tree)
    if plain is None or parsed.since is not None:
        return None
    name, values = plain
    operators = {leaf.operator for leaf in leaves(tree)}
    usable = table.indexes(name) and all(values) and operators <= supported.get(name, frozenset())
    return table.having(name, values) if usable else None


def _slowly(
    parsed: ParsedRequest, table: Table, tree: Tree, of_leaf: Callable[[Leaf], Predicate]
) -> list[Row]:
    test = predicate_of(tree, of_leaf)
    return [row for row in table.rows(parsed.since) if test(row)]


def _managed(shown: Mapping[str, Any], leaf: Leaf) -> Predicate:
    """The test that Intune makes of a leaf: none at all for what it does not support."""
    operators = MANAGED_FILTERS.get(leaf.name, frozenset())
    operator = leaf.operator
    if operator == "ne" and "ne" not in operators:
        operator = "eq"
    if operator not in operators or leaf.value == "":
        return lambda _row: True
    like = Leaf(name=leaf.name, operator=operator, values=leaf.values)
    return holds(like, shown.get(leaf.name))


def _autopilot_understands(leaf: Leaf) -> bool:
    if leaf.operator == "contains" and leaf.name == "serialNumber":
        return "-" not in str(leaf.value)
    return leaf.operator == "eq" and leaf.name == "azureActiveDirectoryDeviceId"


def _check_directory(parsed: ParsedRequest, tree: Tree) -> None:
    alternatives = list(leaves(tree))
    if len(alternatives) > MOST_ALTERNATIVES:
        text = (
            "Too many child clauses specified in search filter expression containing 'OR' "
            f"operators: {len(alternatives)}. Max allowed: {MOST_ALTERNATIVES}."
        )
        raise Refusal(400, "Request_UnsupportedQuery", text)
    advanced = parsed.eventual and (parsed.option("count") or "").lower() == "true"
    if negates(tree) and not advanced:
        raise _unsupported("not")
    for leaf in alternatives:
        simple = leaf.operator in DEVICE_FILTERS.get(leaf.name, ())
        further = leaf.operator in DEVICE_ADVANCED_FILTERS.get(leaf.name, ())
        listed = leaf.element == (leaf.name == "physicalIds")
        if not listed or (not simple and not (further and advanced)):
            raise _unsupported(leaf.name)


def _unsupported(name: str) -> Refusal:
    text = (
        f"Unsupported or invalid query filter clause specified for property '{name}' "
        "of resource 'Device'."
    )
    return Refusal(400, "Request_UnsupportedQuery", text)


_SERIAL_TOKEN = re.compile(r"LastSerialNumber='(?P<serial>.*?)'(?:,LastId='(?P<id>[^']*)')?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list that is asked for. `show` makes an item of a row; `place` orders them."""

    parsed: ParsedRequest
    context: str
    rows: Iterable[Row]
    size: int
    place: Callable[[Row], Any]
    token: Callable[[Row], str]
    start: Any
    """The place of the last row before this page; None for the first page."""
    show: Callable[[Row], Row]
    total: int | None = None
    """`@odata.count` of the first page: the whole list's, as the directory counts."""
    counted: bool = False
    """Whether every page says how many rows are on it, as Intune's `@odata.count` does
    (https://github.com/microsoftgraph/microsoft-graph-docs/issues/18143, 2022-08)."""


def listed(listing: Listing) -> Response:
    """One page."""
    parsed, start = listing.parsed, listing.start
    ordered = sorted(listing.rows, key=listing.place)
    behind = [row for row in ordered if start is None or listing.place(row) > start]
    page = list(islice(behind, listing.size))
    body: dict[str, Any] = {"@odata.context": context(parsed, listing.context)}
    if start is None and listing.total is not None:
        body["@odata.count"] = listing.total
    if parsed.has_fault(FaultKind.STICKY_TOKEN):
        body["@odata.nextLink"] = _link(parsed, parsed.option("skiptoken") or "")
    elif len(behind) > listing.size:
        body["@odata.nextLink"] = _link(parsed, listing.token(page[-1]))
    if parsed.has_fault(FaultKind.REPEAT_PAGE):
        page = ordered[: listing.size]
    if listing.counted:
        body["@odata.count"] = len(page)
    body["value"] = [listing.show(row) for row in page]
    return answer(body)


def by_serial(
    parsed: ParsedRequest, context: str, rows: Iterable[Row], show: Callable[[Row], Row], size: int
) -> Response:
    """A page in the order of serials."""
    token = parsed.option("skiptoken")
    found = _SERIAL_TOKEN.fullmatch(token) if token is not None else None
    if token is not None and found is None:
        raise Refusal(400, "BadRequest", "Skip token is not valid.")
    return listed(
        Listing(
            parsed=parsed,
            context=context,
            rows=rows,
            size=size,
            place=lambda row: (row["serialNumber"], row["id"]),
            token=lambda row: f"LastSerialNumber='{row['serialNumber']}',LastId='{row['id']}'",
            start=(found["serial"], found["id"] or "~") if found else None,
            show=show,
            counted=True,
        )
    )


def in_order(
    parsed: ParsedRequest,
    table: Table,
    shape: Shape,
    context: str,
    rows: Iterable[Row],
    size: int,
    *,
    total: bool = False,
    counted: bool = False,
    added: Callable[[Row], Row] = lambda _row: {},
) -> Response:
    """A page in the order of arrival, of the properties that were selected."""
    chosen = selection(parsed, shape)
    kept = list(rows)
    select = f"({','.join(chosen)})" if chosen else ""
    return listed(
        Listing(
            parsed=parsed,
            context=f"{context}{select}",
            rows=kept,
            size=size,
            place=table.position,
            token=lambda row: _sealed(parsed, table.position(row)),
            start=_opened(parsed),
            show=lambda row: {**chosen_of(parsed, shape, row, chosen), **added(row)},
            total=len(kept) if total else None,
            counted=counted,
        )
    )


def one(
    parsed: ParsedRequest,
    shape: Shape,
    context_: str,
    row: Row,
    added: Callable[[Row], Row] = lambda _row: {},
) -> Response:
    """A single row, of the properties that were selected."""
    chosen = selection(parsed, shape)
    body = {"@odata.context": context(parsed, f"{context_}/$entity")}
    return answer({**body, **chosen_of(parsed, shape, row, chosen), **added(row)})


def selection(parsed: ParsedRequest, shape: Shape) -> tuple[str, ...]:
    """The names in `$select`; empty for everything. Raises Refusal for one that is none."""
    text = parsed.option("select") or ""
    known = shape.properties(beta=parsed.beta)
    spelled = {name.lower(): name for name in known}
    words = filter(None, map(str.strip, text.split(",")))
    names = tuple(spelled.get(word.lower(), word) for word in words)
    for name in names:
        check_property(name, known, shape)
    return names


def expansion(parsed: ParsedRequest, shape: Shape, *shown: str) -> tuple[str, ...]:
    """The names in `$expand`, of those that are `shown`. Raises Refusal for any other."""
    text = re.sub(r"\([^()]*\)", "", parsed.option("expand") or "")
    spelled = {name.lower(): name for name in shown}
    names = []
    for word in filter(None, map(str.strip, text.split(","))):
        check_property(name := spelled.get(word.lower(), word), shown, shape)
        names.append(name)
    return tuple(names)


def chosen_of(parsed: ParsedRequest, shape: Shape, row: Row, chosen: tuple[str, ...]) -> Row:
    if not chosen:
        return shape.shown(row, beta=parsed.beta)
    whole = shape.whole(row, beta=parsed.beta)
    return {name: whole[name] for name in chosen}


def top(parsed: ParsedRequest, default: int) -> int | None:
    """`$top` as a number, or the default; None for nonsense."""
    text = parsed.option("top")
    if text is None:
        return default
    return int(text) if text.isascii() and text.isdigit() and int(text) > 0 else None


def context(parsed: ParsedRequest, what: str) -> str:
    return f"{parsed.request.base_url}/{parsed.target.version}/$metadata#{what}"


def _link(parsed: ParsedRequest, token: str) -> str:
    """The same request again, with another token."""
    kept = [
        (name, value) for name, value in parsed.request.query.items() if "skiptoken" not in name
    ]
    query = urlencode([*kept, ("$skiptoken", token)], quote_via=quote, safe="$")
    return f"{parsed.request.base_url}{parsed.request.path}?{query}"


def _sealed(parsed: ParsedRequest, position: int) -> str:
    content = json.dumps([parsed.target.operation, position]).encode("utf-8")
    return base64.urlsafe_b64encode(content).decode("ascii")


def _opened(parsed: ParsedRequest) -> int | None:
    """The position in the token that came back; None for the first page."""
    token = parsed.option("skiptoken")
    if token is None:
        return None
    try:
        operation, position = json.loads(base64.urlsafe_b64decode(token))
    except (binascii.Error, ValueError, TypeError):
        operation, position = None, None
    if operation != parsed.target.operation or not isinstance(position, int):
        text = (
            "The specified page token value has expired and can no longer be included in your "
            "request."
        )
        raise Refusal(400, "Directory_ExpiredPageToken", text)
    return position
