"""Runs the rules of `grammar.py`, lexeme by lexeme, with the actions of `scope.py`.

A prefix may be read in several ways; a `ParserState` is the set of them. States are made once
and kept, so that rows that stand at the same place share them.
"""

import bisect
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from t2sql.constraint import grammar
from t2sql.constraint.costs import Costs
from t2sql.constraint.from_clause import Name
from t2sql.constraint.scope import ScopeCheck, Scopes

# Stands for any name of an answer's own choice: no query holds it.
_NEW_NAME = b"\0"


class Stack:
    """The symbols still to be read, as a linked list; equal stacks are one object.

    Attributes:
      symbol: the next one.
      rest: those after it; None for nothing.
      cost: how many tokens the shortest text for all of them takes, about, at most.
    """

    __slots__ = ("symbol", "rest", "cost")

    def __init__(self, symbol: str, rest: "Stack | None", cost: int):
        self.symbol, self.rest, self.cost = symbol, rest, cost


class Way(NamedTuple):
    """One way to read a prefix: what has to follow, and what its names mean."""

    stack: Stack | None
    scopes: Scopes


class ParserState:
    """All ways to read a prefix that ends with a lexeme.

    Attributes:
      complete: whether the prefix is a statement.
      words: keywords and names that may follow without quotes, each with the ways after it.
      quoted: names that may follow in quotes.
      fresh: whether a name of the user's choice may follow, and the ways after it.
      classes: the ways after "<number>", "<integer>", "<string>" and "<text>".
      punctuation: the ways after each.
    """

    def __init__(self, parser: "Parser", ways: frozenset[Way]):
        self._parser = parser
        self._ways = ways
        self.complete = False
        self.words: dict[Name, set[Way]] = {}
        self.quoted: dict[Name, set[Way]] = {}
        self.classes: dict[str, set[Way]] = {}
        self.punctuation: dict[bytes, set[Way]] = {}
        self._fresh: list[tuple[Stack | None, Callable[[Name], Scopes | None]]] = []
        self._next: dict[tuple[str, bytes], ParserState | None] = {}
        self._prices: dict[str, tuple[list[bytes], list[int]]] = {}
        for way in parser.expand(ways):
            self._add(way)

    @functools.cached_property
    def cost(self) -> int:
        """How many tokens the shortest completion takes, about, at most."""
        return self._parser.cost(self._ways)

    @functools.cached_property
    def cost_after_fresh(self) -> int:
        """As `cost`, after a name of the answer's own choice."""
        return self._parser.cost(self._ways_after_fresh(_NEW_NAME))

    @functools.cached_property
    def growth(self) -> int:
        """By how much one more token can raise `cost`."""
        return max(self._parser.costs.of_one_token(way.scopes) for way in self._ways)

    @property
    def takes_fresh(self) -> bool:
        return bool(self._fresh)

    @functools.cached_property
    def needs_no_quotes(self) -> bool:
        """Whether all names that may follow may do so without quotes."""
        return self.quoted.keys() <= self.words.keys()

    @property
    def is_start(self) -> bool:
        """Whether nothing has been read yet."""
        return self is self._parser.start

    @property
    def goes_on(self) -> bool:
        """Whether any lexeme may follow."""
        known = self.words or self.quoted or self.classes or self.punctuation
        return bool(known) or self.takes_fresh

    def is_known_word_prefix(self, text: bytes) -> bool:
        """Whether a keyword or a known name that may follow begins with `text`."""
        return _has_prefix(self._sorted_words, text)

    def is_quoted_prefix(self, text: bytes) -> bool:
        """Whether a name that may follow in quotes begins with `text`."""
        return _has_prefix(self._sorted_quoted, text)

    def is_bracketed_prefix(self, text: bytes) -> bool:
        """The same of one that may follow in brackets, which cannot hold a closing one."""
        return _has_prefix(self._sorted_bracketed, text)

    def is_column_prefix(self, text: bytes) -> bool:
        """Whether a column of the schema, in scope or not, begins with `text`."""
        return _has_prefix(self._parser.check.columns, text)

    def is_punctuation_prefix(self, text: bytes) -> bool:
        return any(mark.startswith(text) for mark in self.punctuation)

    def after(self, kind: str, text: bytes = b"") -> "ParserState | None":
        """The state after a lexeme; None where it may not follow.

        Args:
          kind: "word", "quoted", "punctuation" or a class such as "<string>".
          text: the word, name or mark, folded; what a "<text>" holds.
        """
        key = (kind, text)
        if key not in self._next:
            self._next[key] = self._parser.state(self._ways_after(kind, text))
        return self._next[key]

    def _ways_after(self, kind: str, text: bytes) -> Iterable[Way]:
        if kind == "punctuation":
            return self.punctuation.get(text, ())
        if kind == "<text>":
            check = self._parser.check
            return {
                way
                for way in self.classes.get(kind, ())
                if not check.is_ambiguous(text, way.scopes)
            } | self.quoted.get(text, set())
        if kind == "quoted":
            return self.quoted.get(text, ())
        if kind == "word":
            return self.words.get(text, set()) | self._ways_after_fresh(text)
        return self.classes.get(kind, ())

    def _ways_after_fresh(self, text: bytes) -> set[Way]:
        if text in grammar.RESERVED:
            return set()
        ways = ((stack, name(text)) for stack, name in self._fresh)
        return {Way(stack, scopes) for stack, scopes in ways if scopes is not None}

    def options(self, kind: str, text: bytes = b"") -> Iterator[tuple[bytes, int]]:
        """What may follow that begins with `text`, each with the cost of what comes after it.

        Args:
          kind: "word", "quoted" or "punctuation".
          text: the beginning, folded.
        """
        names, costs = self._priced(kind)
        for place in range(bisect.bisect_left(names, text), len(names)):
            if not names[place].startswith(text):
                return
            yield names[place], costs[place]

    def _priced(self, kind: str) -> tuple[list[bytes], list[int]]:
        if kind not in self._prices:
            known = {"word": self.words, "quoted": self.quoted, "punctuation": self.punctuation}
            names = sorted(known[kind])
            self._prices[kind] = names, [self._parser.cost(known[kind][name]) for name in names]
        return self._prices[kind]

    def cost_after(self, kind: str) -> int:
        """As `cost`, after a lexeme of a class."""
        return self._parser.cost(self.classes[kind])

    @functools.cached_property
    def word_prefixes(self) -> frozenset[bytes]:
        """The beginnings of all known words that may follow."""
        return frozenset(word[:length] for word in self.words for length in range(1, len(word) + 1))

    @functools.cached_property
    def _sorted_words(self) -> list[Name]:
        return sorted(self.words)

    @functools.cached_property
    def _sorted_quoted(self) -> list[Name]:
        return sorted(self.quoted)

    @functools.cached_property
    def _sorted_bracketed(self) -> list[Name]:
        return [name for name in self._sorted_quoted if b"]" not in name]

    def _add(self, way: Way) -> None:
        if way.stack is None:
            self.complete = True
            return
        symbol, rest = way.stack.symbol, way.stack.rest
        if symbol.isupper():
            self.words.setdefault(symbol.lower().encode(), set()).add(Way(rest, way.scopes))
        elif symbol[0] == '"':
            mark = symbol.strip('"').encode()
            self.punctuation.setdefault(mark, set()).add(Way(rest, way.scopes))
        elif symbol in grammar.CLASSES:
            self.classes.setdefault(symbol, set()).add(Way(rest, way.scopes))
        else:
            self._add_names(symbol.strip("<>"), rest, way.scopes)

    def _add_names(self, kind: str, rest: Stack | None, scopes: Scopes) -> None:
        check = self._parser.check
        if (fresh := check.fresh(kind, scopes)) is not None:
            self._fresh.append((rest, fresh))
        for name, after in check.names(kind, scopes):
            way = Way(rest, after)
            self.quoted.setdefault(name, set()).add(way)
            if self._parser.needs_no_quotes(name):
                self.words.setdefault(name, set()).add(way)


class Parser:
    """The states of one schema.

    Args:
      check: knows its names.
      plain: the names of the schema that need no quotes.
      count: how many tokens a text takes.
    """

    def __init__(
        self, check: ScopeCheck, plain: frozenset[Name], count: Callable[[bytes], int] = len
    ):
        self.check = check
        self.costs = Costs(check, count)
        self._plain = plain
        self._stacks: dict[tuple[str, int], Stack] = {}
        self._states: dict[frozenset[Way], ParserState] = {}
        start = Way(self._push(("statement",), None), ())
        self.start = self.state([start])

    def state(self, ways: Iterable[Way]) -> ParserState | None:
        """The state that these ways make; None for no way, or only dead ends."""
        ways = frozenset(ways)
        if ways not in self._states:
            state = ParserState(self, ways)
            self._states[ways] = state if state.complete or state.goes_on else None
        return self._states[ways]

    def needs_no_quotes(self, name: Name) -> bool:
        """Whether a name of the schema, or one given with AS, can be a word."""
        if name in self.check.names_of_schema:
            return name in self._plain
        return name not in grammar.RESERVED

    def cost(self, ways: Iterable[Way]) -> int:
        """How many tokens the shortest completion of one of the ways takes, about, at most."""
        return min(
            (way.stack.cost if way.stack else 0) + self.costs.of_scopes(self._begun(way))
            for way in ways
        )

    def _begun(self, way: Way) -> Scopes:
        """A way's scopes; where another arm is next, with what it has to repeat."""
        stack = way.stack
        if stack and stack.symbol == "ALL":
            stack = stack.rest
        begins = stack is not None and stack.symbol == "!arm"
        return self.check.act("arm", way.scopes) if begins else way.scopes

    def expand(self, ways: Iterable[Way]) -> set[Way]:
        """The ways with a lexeme on top, or none: actions done and rules replaced."""
        found: set[Way] = set()
        open_ways = list(ways)
        while open_ways:
            way = open_ways.pop()
            symbol = way.stack.symbol if way.stack else ""
            if symbol.startswith("!"):
                scopes = self.check.act(symbol[1:], way.scopes)
                if scopes is not None:
                    open_ways.append(Way(way.stack.rest, scopes))
            elif symbol in grammar.RULES:
                open_ways.extend(
                    Way(self._push(alternative, way.stack.rest), way.scopes)
                    for alternative in grammar.RULES[symbol]
                )
            else:
                found.add(way)
        return found

    def _push(self, symbols: tuple[str, ...], stack: Stack | None) -> Stack | None:
        for symbol in reversed(symbols):
            key = (symbol, id(stack))
            if key not in self._stacks:
                cost = self.costs.of_symbol(symbol) + (stack.cost if stack else 0)
                self._stacks[key] = Stack(symbol, stack, cost)
            stack = self._stacks[key]
        return stack


def _has_prefix(names: list[Name], text: bytes) -> bool:
    place = bisect.bisect_left(names, text)
    return place < len(names) and names[place].startswith(text)
