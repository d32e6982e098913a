"""Which rows a `$filter` finds: each service's own rules, and what it makes of the rest.

Intune: the v1.0 metadata of 2026-08-20 says what is supported. What is not is ignored, and an
empty value finds every device (https://github.com/microsoftgraph/microsoft-graph-docs/issues/20196
and 19890, microsoft-graph-docs-contrib/issues/2416); `ne` behaved like `eq`
(https://github.com/microsoft/Intune-PowerShell-SDK/issues/114).
Autopilot: microsoft-graph-docs issues 9357 and 12174, msgraph-sdk-powershell issues 1260 and 2464.
Directory: https://learn.microsoft.com/graph/aad-advanced-queries (2025-09).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from partner_tools.sandbox.graph.asked import Asked, Family, Refusal
from partner_tools.sandbox.graph.filters import (
    FilterError,
    Leaf,
    Predicate,
    Tree,
    equalities,
    holds,
    leaves,
    negates,
    parse,
    predicate_of,
)
from partner_tools.sandbox.graph.shapes import DEVICE, MANAGED, Shape
from partner_tools.sandbox.graph.table import Row, Table

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
"""What the directory's devices can be filtered by without advanced queries."""
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
"""What needs `ConsistencyLevel: eventual` and `$count=true`, as every `not` does."""
MOST_ALTERNATIVES = 15
"""How many tests the directory lets `or` join."""


def managed_devices(asked: Asked, table: Table) -> Iterable[Row]:
    """The managed devices that Intune finds."""
    tree = _tree(asked, MANAGED)
    if tree is None:
        return table.rows(asked.since)
    found = _quickly(asked, table, tree, MANAGED_FILTERS)
    return _slowly(asked, table, tree, _managed) if found is None else found


def autopilot_identities(asked: Asked, table: Table) -> Iterable[Row]:
    """The identities that Autopilot finds: `contains` on the serial, or a lucky id."""
    tree = _tree(asked, None)
    if tree is None:
        return table.rows(asked.since)
    if not isinstance(tree, Leaf) or not _autopilot_understands(tree):
        raise Refusal(400, "BadRequest", "An error has occurred")
    return _slowly(asked, table, tree, holds)


def imported_identities(asked: Asked, table: Table) -> Iterable[Row]:
    """Imports; as with identities, only `contains` on the serial is understood."""
    return autopilot_identities(asked, table)


def associations(asked: Asked, table: Table) -> Iterable[Row]:
    """Device associations: `contains` on the serial finds them, `eq` finds none that are there
    (WindowsDeviceLink issue 1, read 2026-11). Under quirks a filter is ignored, or refused."""
    tree = _tree(asked, None)
    if tree is None or asked.quirks.association_filter == "ignored":
        return table.rows(asked.since)
    if asked.quirks.association_filter == "refused" or not isinstance(tree, Leaf):
        raise Refusal(400, "BadRequest", "An error has occurred")
    return _slowly(asked, table, tree, holds) if tree.operator == "contains" else ()


def directory_devices(asked: Asked, table: Table) -> Iterable[Row]:
    """The objects that the directory finds, or its refusal of what it does not support."""
    tree = _tree(asked, DEVICE)
    if tree is None:
        return table.rows(asked.since)
    _check_directory(asked, tree)
    found = _quickly(asked, table, tree, DEVICE_FILTERS)
    return _slowly(asked, table, tree, holds) if found is None else found


def of_one_device(asked: Asked, table: Table) -> Iterable[Row]:
    """Recovery keys, which can be filtered by their device alone."""
    tree = _tree(asked, None)
    if tree is None:
        return table.rows(asked.since)
    if not isinstance(tree, Leaf) or (tree.name, tree.operator) != ("deviceId", "eq"):
        raise Refusal(400, "badRequest", "Only filtering by deviceId is supported.")
    return table.having("deviceId", [str(tree.value)])


def _tree(asked: Asked, shape: Shape | None) -> Tree | None:
    """The filter that was sent, if its properties exist in this version."""
    text = asked.option("filter")
    if text is None:
        return None
    try:
        tree = parse(text)
    except FilterError as error:
        text = f"Invalid filter clause: {error}"
        raise Refusal(400, "BadRequest", text, family=Family.GRAPH) from error
    if shape is not None:
        known = shape.properties(beta=asked.beta)
        for leaf in leaves(tree):
            check_property(leaf.name, known, shape)
    return tree


def check_property(name: str, known: Iterable[str], shape: Shape) -> None:
    """Raises Refusal for a property that a type does not have in this version."""
    if name not in known:
        text = f"Could not find a property named '{name}' on type 'microsoft.graph.{shape.type}'."
        raise Refusal(400, "BadRequest", text, family=Family.GRAPH)


def _quickly(
    asked: Asked, table: Table, tree: Tree, supported: Mapping[str, frozenset[str]]
) -> list[Row] | None:
    """What an index finds; None where the rows must be looked at one by one."""
    plain = equalities(tree)
    if plain is None or asked.since is not None:
        return None
    name, values = plain
    operators = {leaf.operator for leaf in leaves(tree)}
    usable = table.indexes(name) and all(values) and operators <= supported.get(name, frozenset())
    return table.having(name, values) if usable else None


def _slowly(
    asked: Asked, table: Table, tree: Tree, of_leaf: Callable[[Leaf], Predicate]
) -> list[Row]:
    test = predicate_of(tree, of_leaf)
    return [row for row in table.rows(asked.since) if test(row)]


def _managed(leaf: Leaf) -> Predicate:
    """The test that Intune makes of a leaf: none at all for what it does not support."""
    operators = MANAGED_FILTERS.get(leaf.name, frozenset())
    operator = leaf.operator
    if operator == "ne" and "ne" not in operators:
        operator = "eq"
    if operator not in operators or leaf.value == "":
        return lambda _row: True
    like = Leaf(name=leaf.name, operator=operator, values=leaf.values)
    return holds(like)


def _autopilot_understands(leaf: Leaf) -> bool:
    if leaf.operator == "contains" and leaf.name == "serialNumber":
        return "-" not in str(leaf.value)
    return leaf.operator == "eq" and leaf.name == "azureActiveDirectoryDeviceId"


def _check_directory(asked: Asked, tree: Tree) -> None:
    alternatives = list(leaves(tree))
    if len(alternatives) > MOST_ALTERNATIVES:
        text = (
            "Too many child clauses specified in search filter expression containing 'OR' "
            f"operators: {len(alternatives)}. Max allowed: {MOST_ALTERNATIVES}."
        )
        raise Refusal(400, "Request_UnsupportedQuery", text)
    advanced = asked.eventual and (asked.option("count") or "").lower() == "true"
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
