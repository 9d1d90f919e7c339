"""Runs the rules of `grammar.py`, lexeme by lexeme, with the actions of `scope.py`.

A prefix may be read in several ways; a `ParserState` is the set of them. A state finds out
only what it is asked: whether this word may follow, not which ones may. States are made once
and kept, so that answers that stand at the same place share them.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from t2sql.constraint import grammar
from t2sql.constraint.costs import Costs
from t2sql.constraint.from_clause import Name
from t2sql.constraint.grammar import Stack
from t2sql.constraint.scope import Names, ScopeCheck, with_prefix
from t2sql.constraint.scope_actions import Scopes

# Stands for any name of an answer's own choice: no query holds it.
_NEW_NAME = b"\0"


class Way(NamedTuple):
    """One way to read a prefix: what has to follow, and what its names mean."""

    stack: Stack | None
    scopes: Scopes


Ways = frozenset[Way]
_NO_WAY: Ways = frozenset()


class ParserState:
    """All ways to read a prefix that ends with a lexeme.

    A lexeme is of a kind: "word", "quoted" (a name in quotes), "punctuation", or a class that
    holds no names such as "<string>". Its text is folded.
    """

    def __init__(self, parser: "Parser", ways: Ways):
        self._parser = parser
        self._ways = ways
        self.forget()

    def forget(self) -> None:
        """Drops what has been found out about the lexemes that may follow."""
        self._known: dict[tuple[str, bytes], Ways] = {}
        self._after: dict[tuple[str, bytes], ParserState | None] = {}
        self._costs: dict[tuple[str, bytes], int] = {}
        # A lexeme that may follow, by its beginning; None where there is none.
        self._prefixes: dict[tuple[str, bytes], bytes | None] = {}
        # The one that was found last, to answer for its other beginnings.
        self._witness: dict[str, bytes] = {}

    @functools.cached_property
    def complete(self) -> bool:
        """Whether the prefix is a statement."""
        return any(
            self._parser.act(actions, scopes) is not None
            for stack, scopes in self._ways
            for actions in grammar.next_of(stack).ends
        )

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

    @functools.cached_property
    def takes_fresh(self) -> bool:
        """Whether a name of the answer's own choice may follow."""
        return any(grammar.next_of(stack).may_be_fresh for stack, _ in self._ways) and bool(
            self._fresh
        )

    @property
    def is_start(self) -> bool:
        """Whether nothing has been read yet."""
        return self is self._parser.start

    @functools.cached_property
    def goes_on(self) -> bool:
        """Whether any lexeme may follow."""
        act = self._parser.act
        return (
            any(grammar.next_of(stack).is_free for stack, _ in self._ways)
            or any(
                act(actions, scopes) is not None
                for stack, scopes in self._ways
                for actions in grammar.next_of(stack).actions
            )
            or any(names.any() for _, names in self._slots)
            or self.takes_fresh
        )

    def may_be(self, kind: str, text: bytes = b"") -> bool:
        """Whether a lexeme may follow; for a word, that is no name of the answer's own choice."""
        return bool(self._ways_of(kind, text))

    def is_prefix(self, kind: str, text: bytes) -> bool:
        """Whether a lexeme that may follow begins with `text`.

        Args:
          kind: "word", "quoted", "punctuation", or "bracketed" for a name in brackets, which
            cannot hold a closing one.
          text: the beginning.
        """
        return self._beginning_with(kind, text) is not None

    def _beginning_with(self, kind: str, text: bytes) -> bytes | None:
        """Some lexeme that may follow and begins with `text`."""
        witness = self._witness.get(kind)
        if witness is not None and witness.startswith(text):
            return witness
        key = (kind, text)
        if key not in self._prefixes:
            self._prefixes[key] = next(self.beginning(kind, text), None)
        if (witness := self._prefixes[key]) is not None:
            self._witness[kind] = witness
        return witness

    def first_option(self, kind: str, text: bytes) -> tuple[bytes, int] | None:
        """Some lexeme that begins with `text`, with the cost of what comes after it."""
        lexeme = self._beginning_with(kind, text)
        return None if lexeme is None else (lexeme, self.cost_after(kind, lexeme))

    def is_column_prefix(self, text: bytes) -> bool:
        """Whether a column of the schema, in scope or not, begins with `text`."""
        return next(with_prefix(self._parser.check.columns, text), None) is not None

    def beginning(self, kind: str, text: bytes = b"") -> Iterator[bytes]:
        """The lexemes that may follow and begin with `text`; kinds as in `is_prefix`."""
        bracketed, kind = kind == "bracketed", "quoted" if kind == "bracketed" else kind
        seen = set()
        for lexeme in self.candidates(kind, text):
            if lexeme in seen or (bracketed and b"]" in lexeme):
                continue
            seen.add(lexeme)
            if self._ways_of(kind, lexeme):
                yield lexeme

    def candidates(self, kind: str, text: bytes) -> Iterator[bytes]:
        """The lexemes that begin with `text` among which those of `beginning` are."""
        if kind == "punctuation":
            for stack, _ in self._ways:
                marks = grammar.next_of(stack).marks
                yield from (mark for mark in marks if mark.startswith(text))
            return
        if kind == "word":
            for stack, _ in self._ways:
                yield from with_prefix(grammar.next_of(stack).keywords, text)
        for _, names in self._slots:
            yield from with_prefix(names.candidates, text)

    def after(self, kind: str, text: bytes = b"") -> "ParserState | None":
        """The state after a lexeme; None where it may not follow.

        Args:
          kind: "word", "quoted", "punctuation" or a class such as "<string>".
          text: the word, name or mark, folded; what a "<text>" holds.
        """
        key = (kind, text)
        if key not in self._after:
            self._after[key] = self._parser.state(self._ways_after(kind, text))
        return self._after[key]

    def cost_after(self, kind: str, text: bytes = b"") -> int:
        """As `cost`, after a lexeme that may follow."""
        key = (kind, text)
        if key not in self._costs:
            self._costs[key] = self._parser.cost(self._ways_of(kind, text))
        return self._costs[key]

    def options(self, kind: str, text: bytes = b"") -> Iterator[tuple[bytes, int]]:
        """What `beginning` gives, in order, each with the cost of what comes after it."""
        lexemes = sorted(self.beginning(kind, text))
        return ((lexeme, self.cost_after(kind, lexeme)) for lexeme in lexemes)

    def _ways_after(self, kind: str, text: bytes) -> Ways:
        if kind == "word" and self.takes_fresh:
            return self._ways_of(kind, text) | self._ways_after_fresh(text)
        if kind == "<text>":
            check = self._parser.check
            plain = (way for way in self._ways_of(kind) if not check.is_ambiguous(text, way.scopes))
            return self._ways_of("quoted", text).union(plain)
        return self._ways_of(kind, text)

    def _ways_of(self, kind: str, text: bytes = b"") -> Ways:
        """The ways after a lexeme that is no name of the answer's own choice."""
        key = (kind, text)
        if key not in self._known:
            self._known[key] = frozenset(self._find_ways(kind, text)) or _NO_WAY
        return self._known[key]

    def _find_ways(self, kind: str, text: bytes) -> Iterator[Way]:
        act = self._parser.act
        if kind != "quoted":
            for stack, scopes in self._ways:
                following = grammar.next_of(stack)
                if kind == "word":
                    steps = following.words.get(text, ())
                elif kind == "punctuation":
                    steps = following.marks.get(text, ())
                else:
                    steps = following.classes.get(kind, ())
                for actions, rest in steps:
                    if (after := act(actions, scopes)) is not None:
                        yield Way(rest, after)
        if kind == "quoted" or (kind == "word" and self._parser.needs_no_quotes(text)):
            for rest, names in self._slots:
                for after in names.after(text):
                    yield Way(rest, after)

    def _ways_after_fresh(self, text: bytes) -> Ways:
        if text in grammar.RESERVED:
            return _NO_WAY
        after = ((rest, name(text)) for rest, name in self._fresh)
        return frozenset(Way(rest, scopes) for rest, scopes in after if scopes is not None)

    @functools.cached_property
    def _slots(self) -> list[tuple[Stack | None, Names]]:
        """The names that may follow, with what has to follow them."""
        return [
            (rest, self._parser.check.names(kind, scopes)) for kind, scopes, rest in self._names
        ]

    @functools.cached_property
    def _fresh(self) -> list[tuple[Stack | None, Callable[[Name], Scopes | None]]]:
        """What a name of the answer's own choice leads to."""
        fresh = (
            (rest, self._parser.check.fresh(kind, scopes)) for kind, scopes, rest in self._names
        )
        return [(rest, name) for rest, name in fresh if name is not None]

    @functools.cached_property
    def _names(self) -> dict[tuple[str, Scopes, Stack | None], None]:
        """The kinds of names that may follow."""
        after = (
            (kind, self._parser.act(actions, scopes), rest)
            for stack, scopes in self._ways
            for kind, (actions, rest) in grammar.next_of(stack).names
        )
        return dict.fromkeys(name for name in after if name[1] is not None)


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
        self._stack_costs: dict[Stack | None, int] = {None: 0}
        self._states: dict[Ways, ParserState | None] = {}
        self.start = self.state([Way(grammar.push(("statement",), None), ())])

    def __len__(self) -> int:
        """How many states are kept."""
        return len(self._states)

    def forget(self) -> None:
        """Drops the states but for the first; who holds one may go on with it."""
        for state in filter(None, self._states.values()):
            state.forget()  # they refer to each other: else only a collection frees them
        self._states.clear()
        self.check.forget()
        self.start.forget()

    def state(self, ways: Iterable[Way]) -> ParserState | None:
        """The state that these ways make; None for no way, or only dead ends."""
        ways = frozenset(ways)
        if not ways:
            return None
        if ways not in self._states:
            state = ParserState(self, ways)
            self._states[ways] = state if state.goes_on or state.complete else None
        return self._states[ways]

    def act(self, actions: tuple[str, ...], scopes: Scopes) -> Scopes | None:
        """The scopes after some actions; None where one of them is not allowed."""
        for action in actions:
            if scopes is None:
                return None
            scopes = self.check.act(action, scopes)
        return scopes

    def needs_no_quotes(self, name: Name) -> bool:
        """Whether a name of the schema, or one given with AS, can be a word."""
        if name in self.check.names_of_schema:
            return name in self._plain
        return name not in grammar.RESERVED

    def cost(self, ways: Iterable[Way]) -> int:
        """How many tokens the shortest completion of one of the ways takes, about, at most."""
        return min(
            self._stack_cost(way.stack) + self.costs.of_scopes(self._scopes(way)) for way in ways
        )

    def _stack_cost(self, stack: Stack | None) -> int:
        cost = self._stack_costs.get(stack)
        if cost is None:
            cost = self.costs.of_symbol(stack.symbol) + self._stack_cost(stack.rest)
            self._stack_costs[stack] = cost
        return cost

    def _scopes(self, way: Way) -> Scopes:
        """A way's scopes; where another arm of a compound is next, with what that has to repeat."""
        stack = way.stack
        if stack and stack.symbol == "ALL":
            stack = stack.rest
        is_arm = stack is not None and stack.symbol == "!arm"
        return self.check.act("arm", way.scopes) if is_arm else way.scopes
