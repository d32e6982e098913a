"""OData `$filter` expressions: read into a tree, and turned into a test of rows.

Grammar: OASIS OData 4.01, part 2, as far as Microsoft Graph's documentation uses it for devices
(`or`, `and`, `not`, comparisons, `in`, `contains`, `startswith`, `endswith`, `any`). What a route
makes of the parts that it does not support is the route's business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from partner_tools.sandbox.graph.table import Row

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


def parse(text: str) -> Tree:
    """The tree of a filter. Raises FilterError."""
    reader = _Reader(text)
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


def holds(leaf: Leaf) -> Predicate:
    """The test that a leaf is by its words. Text is compared without case."""
    name = leaf.name
    if leaf.element:
        return lambda row: any(_compare(leaf, one) for one in row.get(name) or ())
    if leaf.operator == "contains":  # the one that meets whole fleets
        wanted = str(leaf.value).casefold()
        return lambda row: row.get(name) is not None and wanted in str(row[name]).casefold()
    return lambda row: _compare(leaf, row.get(name))


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

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

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
            return self._any(name, depth + 1)
        return self._comparison(name)

    def _function(self, name: str) -> Leaf:
        prop = self._word()
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
