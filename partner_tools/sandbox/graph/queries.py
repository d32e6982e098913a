"""Lists of Microsoft Graph: the properties of a row, `$filter`, `$select`, and pages.

`shapes.json` holds the properties of each type with their values where a row has none: v1.0 in full
where a client may look at it, beta as far as it says more about leaving devices. It also holds the
filters that Intune's and the directory's devices support.

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

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from partner_tools.json_forms import structure
from partner_tools.sandbox.faults import FaultKind
from partner_tools.sandbox.graph.estate import Row, Table
from partner_tools.sandbox.graph.request import (
    ParsedRequest,
    refusal,
)
from partner_tools.sandbox.reading import named, read_data
from partner_tools.sandbox.wire import Response, page_token, position_in

Filters = Mapping[str, frozenset[str]]
"""The operators that a service supports, by property."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A kind of row: its type's name, its path and the name of its table in an estate, and every
    property with its value where a row has none.

    `hidden` are empty in lists, and by id unless they are selected. `advanced` filters need
    `ConsistencyLevel: eventual` and `$count=true`, as every `not` does.
    """

    type: str
    path: str
    table: str
    v1: Row = field(metadata=named("v1.0"))
    beta: Row
    hidden: frozenset[str]
    writable: frozenset[str] = frozenset()
    filters: Filters = field(default_factory=dict)
    advanced: Filters = field(default_factory=dict, metadata=named("advancedFilters"))

    def properties(self, *, beta: bool) -> Row:
        return self.beta if beta else self.v1

    def whole(self, row: Row, *, beta: bool) -> Row:
        """Every property of the version, the hidden ones too."""
        return {name: row.get(name, empty) for name, empty in self.properties(beta=beta).items()}

    def shown(self, row: Row, *, beta: bool) -> Row:
        """The row as a list shows it."""
        return {**self.whole(row, beta=beta), **{name: self.v1[name] for name in self.hidden}}


_SHAPES = {
    name: structure(Shape, {**row, "type": name, "beta": {**row["v1.0"], **row["beta"]}})
    for name, row in read_data(__package__, "shapes.json").items()
}
IDENTITY = _SHAPES["windowsAutopilotDeviceIdentity"]
MANAGED = _SHAPES["managedDevice"]
DEVICE = _SHAPES["device"]
RECOVERY_KEY = _SHAPES["bitlockerRecoveryKey"]
LOCAL_CREDENTIAL = _SHAPES["deviceLocalCredentialInfo"]
IMPORTED_AUTOPILOT = _SHAPES["importedWindowsAutopilotDeviceIdentity"]
IMPORTED_IDENTITY = _SHAPES["importedDeviceIdentity"]
ASSOCIATION = _SHAPES["tenantAssociatedDevice"]
DELETED_DEVICE = replace(DEVICE, table="deleted")

Value = str | bool | None
Predicate = Callable[[Row], bool]

COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")
}
FUNCTIONS: Mapping[str, Callable[[str, str], bool]] = {
    "contains": operator.contains,
    "startswith": str.startswith,
    "endswith": str.endswith,
}
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
class Chain:
    """Parts, all of which (`and`) or one of which (`or`) must hold, or one that must `not`."""

    word: str
    parts: tuple[Tree, ...]


Tree = Leaf | Chain


def parse(text: str, known: Iterable[str] = ()) -> Tree:
    """The tree of a filter. Raises FilterError.

    `known` properties are found in any letter case: the names in the tree are spelled as there.
    """
    reader = _Reader(text, known)
    tree = reader.chain("or", 0)
    if reader.peek() is not None:
        raise reader.syntax_error()
    return tree


def leaves(tree: Tree) -> Iterator[Leaf]:
    if isinstance(tree, Leaf):
        yield tree
    else:
        for part in tree.parts:
            yield from leaves(part)


def negates(tree: Tree) -> bool:
    """Whether there is a `not` in it."""
    return isinstance(tree, Chain) and (tree.word == "not" or any(map(negates, tree.parts)))


def equalities(tree: Tree) -> tuple[str, tuple[str, ...]] | None:
    """The property and values of a tree that is nothing but `a eq 'x' or a eq 'y' …`."""
    parts = tree.parts if isinstance(tree, Chain) and tree.word == "or" else (tree,)
    found = [part for part in parts if isinstance(part, Leaf) and part.operator in {"eq", "in"}]
    names = {leaf.name for leaf in found}
    values = [value for leaf in found for value in leaf.values if isinstance(value, str)]
    if len(found) < len(parts) or len(names) != 1:
        return None
    whole = len(values) == sum(len(leaf.values) for leaf in found)
    return (names.pop(), tuple(values)) if whole else None


def predicate_of(tree: Tree, of_leaf: Callable[[Leaf], Predicate]) -> Predicate:
    """The test of a row that a tree is, given the test that each leaf is."""
    if isinstance(tree, Leaf):
        return of_leaf(tree)
    tests = [predicate_of(part, of_leaf) for part in tree.parts]
    if tree.word == "not":
        return lambda row: not tests[0](row)
    whole = any if tree.word == "or" else all
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
    wanted = leaf.value
    if leaf.operator == "in":
        return any(_key(found) == _key(value) for value in leaf.values)
    if leaf.operator in {"eq", "ne"}:
        return COMPARISONS[leaf.operator](_key(found), _key(wanted))
    if found is None or wanted is None:
        return False
    if leaf.operator in FUNCTIONS:
        return FUNCTIONS[leaf.operator](str(found).casefold(), str(wanted).casefold())
    return COMPARISONS[leaf.operator](str(_key(found)), str(_key(wanted)))


def _key(value: object) -> object:
    """A value as it is compared: times as times, text without case."""
    if not isinstance(value, str):
        return value
    if len(value) >= 10 and value[4:5] == "-" and value[7:8] == "-":
        with suppress(ValueError, OverflowError):
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    return value.casefold()


class _Reader:
    def __init__(self, text: str, known: Iterable[str]) -> None:
        self.text = text
        self.position = 0
        self._known = {name.lower(): name for name in known}

    def syntax_error(self) -> FilterError:
        return FilterError(f"Syntax error at position {self.position} in '{self.text}'.")

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
            return Chain(word="not", parts=(self._single(depth + 1),))
        if self._took("("):
            tree = self.chain("or", depth + 1)
            self._expect(")")
            return tree
        name = self._word()
        if name.lower() in FUNCTIONS and self._took("("):
            prop = self._property(self._word())
            self._expect(",")
            leaf = Leaf(name=prop, operator=name.lower(), values=(self._literal(),))
            self._expect(")")
            return leaf
        prop = self._property(name)
        return self._any(prop, depth + 1) if self._took("/") else self._comparison(prop)

    def _property(self, name: str) -> str:
        return self._known.get(name.lower(), name)

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
        return replace(inner, name=prop, element=True)

    def _comparison(self, prop: str) -> Leaf:
        word = self._word().lower()
        if word == "in":
            self._expect("(")
            values = [self._literal()]
            while self._took(","):
                values.append(self._literal())
            self._expect(")")
            return Leaf(name=prop, operator=word, values=tuple(values))
        if word not in COMPARISONS:
            raise self.syntax_error()
        return Leaf(name=prop, operator=word, values=(self._literal(),))

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
            raise self.syntax_error()
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


MOST_ALTERNATIVES = 15
"""How many tests the directory lets `or` join."""


def table_of(parsed: ParsedRequest, shape: Shape) -> Table:
    table: Table = getattr(parsed.estate, shape.table)
    return table


def managed_devices(parsed: ParsedRequest) -> Iterable[Row]:
    shown = MANAGED.properties(beta=parsed.beta)

    def of_leaf(leaf: Leaf) -> Predicate:
        """The test that Intune makes of a leaf: none at all for what it does not support."""
        operators = MANAGED.filters.get(leaf.name, frozenset())
        word = "eq" if leaf.operator == "ne" and "ne" not in operators else leaf.operator
        if word not in operators or leaf.value == "":
            return lambda _row: True
        return holds(Leaf(name=leaf.name, operator=word, values=leaf.values), shown.get(leaf.name))

    return _found(parsed, MANAGED, _tree(parsed, MANAGED), of_leaf)


def autopilot_identities(parsed: ParsedRequest, shape: Shape) -> Iterable[Row]:
    """The identities or imports that Autopilot finds: `contains` on the serial, or a lucky id."""
    tree = _tree(parsed, IDENTITY, strict=False)
    if tree is None:
        return _found(parsed, shape, tree)
    if isinstance(tree, Leaf):
        test, value = (tree.operator, tree.name), str(tree.value)
        by_serial = test == ("contains", "serialNumber") and "-" not in value
        if by_serial or test == ("eq", "azureActiveDirectoryDeviceId"):
            # A blank finds nothing, without an error (IntuneOffboarding issue 8, 2024-04;
            # andrew-s-taylor/WindowsAutopilotInfo issue 1, 2023-06).
            return () if " " in value else _found(parsed, shape, tree)
    raise refusal("failed")


def associations(parsed: ParsedRequest) -> Iterable[Row]:
    """Device associations: `contains` on the serial finds them, `eq` finds none that are there
    (WindowsDeviceLink issue 1, read 2026-11). Under quirks a filter is ignored, or refused."""
    tree = _tree(parsed, ASSOCIATION, strict=False)
    if tree is None or parsed.quirks.association_filter == "ignored":
        return _found(parsed, ASSOCIATION, None)
    if parsed.quirks.association_filter == "refused" or not isinstance(tree, Leaf):
        raise refusal("failed")
    return _found(parsed, ASSOCIATION, tree) if tree.operator == "contains" else ()


def directory_devices(parsed: ParsedRequest) -> Iterable[Row]:
    """The objects that the directory finds, or its refusal of what it does not support."""
    tree = _tree(parsed, DEVICE)
    if tree is not None:
        _check_directory(parsed, tree)
    return _found(parsed, DEVICE, tree)


def of_one_device(parsed: ParsedRequest) -> Iterable[Row]:
    """Recovery keys, which can be filtered by their device alone."""
    tree = _tree(parsed, RECOVERY_KEY, strict=False)
    if tree is None:
        return _found(parsed, RECOVERY_KEY, None)
    if not isinstance(tree, Leaf) or (tree.name, tree.operator) != ("deviceId", "eq"):
        raise refusal("key filter")
    return parsed.estate.recovery_keys.having("deviceId", [str(tree.value)])


def _tree(parsed: ParsedRequest, shape: Shape, *, strict: bool = True) -> Tree | None:
    """The filter that was sent. `strict`: refused if this version lacks one of its properties."""
    text = parsed.option("filter")
    if text is None:
        return None
    try:
        tree = parse(text, known := shape.properties(beta=parsed.beta))
    except FilterError as error:
        raise refusal("bad filter", error=error) from error
    if strict:
        for leaf in leaves(tree):
            check_property(leaf.name, known, shape)
    return tree


def check_property(name: str, known: Iterable[str], shape: Shape) -> None:
    """Raises Refusal for a property that a type does not have in this version."""
    if name not in known:
        raise refusal("unknown property", name=name, type=shape.type)


def _found(
    parsed: ParsedRequest,
    shape: Shape,
    tree: Tree | None,
    of_leaf: Callable[[Leaf], Predicate] = holds,
) -> Iterable[Row]:
    """The rows that a filter finds: by an index where one serves, else one by one."""
    table = table_of(parsed, shape)
    if tree is None:
        return table.rows(parsed.since)
    plain = equalities(tree)
    if plain is not None and parsed.since is None:
        name, values = plain
        operators = {leaf.operator for leaf in leaves(tree)}
        supported = operators <= shape.filters.get(name, frozenset())
        if supported and all(values) and table.indexes(name):
            return table.having(name, values)
    return filter(predicate_of(tree, of_leaf), table.rows(parsed.since))


def _check_directory(parsed: ParsedRequest, tree: Tree) -> None:
    alternatives = list(leaves(tree))
    if len(alternatives) > MOST_ALTERNATIVES:
        raise refusal("many alternatives", count=len(alternatives), most=MOST_ALTERNATIVES)
    if negates(tree) and not parsed.counting:
        raise refusal("unsupported filter", name="not")
    for leaf in alternatives:
        simple = leaf.operator in DEVICE.filters.get(leaf.name, ())
        advanced = leaf.operator in DEVICE.advanced.get(leaf.name, ()) and parsed.counting
        listed = leaf.element == (leaf.name == "physicalIds")
        if not listed or not (simple or advanced):
            raise refusal("unsupported filter", name=leaf.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order of rows: the place of each, the token to continue behind it, and the place behind
    which this page begins (None: the first page)."""

    place: Callable[[Row], Any]
    token: Callable[[Row], str]
    start: Any


_SERIAL_TOKEN = re.compile(r"LastSerialNumber='(?P<serial>.*?)'(?:,LastId='(?P<id>[^']*)')?")


def by_serial(parsed: ParsedRequest) -> Order:
    token = parsed.option("skiptoken")
    found = _SERIAL_TOKEN.fullmatch(token) if token is not None else None
    if token is not None and found is None:
        raise refusal("bad skip token")
    return Order(
        place=lambda row: (row["serialNumber"], row["id"]),
        token=lambda row: f"LastSerialNumber='{row['serialNumber']}',LastId='{row['id']}'",
        start=(found["serial"], found["id"] or "~") if found else None,
    )


def by_arrival(parsed: ParsedRequest, shape: Shape) -> Order:
    token, operation = parsed.option("skiptoken"), parsed.target.operation
    place = table_of(parsed, shape).position
    start = position_in(token, operation) if token is not None else None
    if token is not None and start is None:
        raise refusal("expired page")
    return Order(place=place, token=lambda row: page_token(operation, place(row)), start=start)


def page(
    parsed: ParsedRequest,
    shape: Shape,
    rows: Iterable[Row],
    size: int,
    *,
    order: Order | None = None,
    total: bool = False,
    counted: bool = False,
    added: Callable[[Row], Row] = lambda _row: {},
) -> Response:
    """One page, of the properties that were selected and what is `added` to each row.

    `total`: the `@odata.count` of the first page is the whole list's, as the directory counts.
    `counted`: every page says how many rows are on it, as Intune's `@odata.count` does
    (https://github.com/microsoftgraph/microsoft-graph-docs/issues/18143, 2022-08).
    """
    chosen = _selection(parsed, shape)
    order = order or by_arrival(parsed, shape)
    place, start = order.place, order.start
    ordered = sorted(rows, key=place)
    behind = [row for row in ordered if start is None or place(row) > start]
    shown = behind[:size]
    body: dict[str, Any] = {}
    if start is None and total:
        body["@odata.count"] = len(ordered)
    if parsed.has_fault(FaultKind.STICKY_TOKEN):
        body["@odata.nextLink"] = _link(parsed, parsed.option("skiptoken") or "")
    elif len(behind) > size:
        body["@odata.nextLink"] = _link(parsed, order.token(shown[-1]))
    if parsed.has_fault(FaultKind.REPEAT_PAGE):
        shown = ordered[:size]
    if counted:
        body["@odata.count"] = len(shown)
    body["value"] = [{**_chosen_of(parsed, shape, row, chosen), **added(row)} for row in shown]
    return parsed.answer(f"{shape.path}({','.join(chosen)})" if chosen else shape.path, body)


def one(
    parsed: ParsedRequest,
    shape: Shape,
    row: Row,
    added: Callable[[Row], Row] = lambda _row: {},
    path: str = "",
) -> Response:
    """A single row, of the properties that were selected."""
    shown = _chosen_of(parsed, shape, row, _selection(parsed, shape))
    return parsed.answer(f"{path or shape.path}/$entity", {**shown, **added(row)})


def _selection(parsed: ParsedRequest, shape: Shape) -> list[str]:
    """The names in `$select`; empty for everything. Raises Refusal for one that is none."""
    known = shape.properties(beta=parsed.beta)
    spelled = {name.lower(): name for name in known}
    words = filter(None, map(str.strip, (parsed.option("select") or "").split(",")))
    names = [spelled.get(word.lower(), word) for word in words]
    for name in names:
        check_property(name, known, shape)
    return names


def _chosen_of(parsed: ParsedRequest, shape: Shape, row: Row, chosen: list[str]) -> Row:
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


def _link(parsed: ParsedRequest, token: str) -> str:
    """The same request again, with another token."""
    kept = [
        (name, value) for name, value in parsed.request.query.items() if "skiptoken" not in name
    ]
    query = urlencode([*kept, ("$skiptoken", token)], quote_via=quote, safe="$")
    return f"{parsed.request.base_url}{parsed.request.path}?{query}"
