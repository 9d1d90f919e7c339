"""Values in a query, normalised: two spellings of one value give equal terms.

Aliases are resolved, names carry the schema's own case, numbers their value, and operands of
commutative operators are sorted.
"""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from t2sql.sql.names import fold, quoted_text

_COMMUTATIVE = frozenset("+*")
# Short enough to be exact; a text with leading zeros is a code, not a number.
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,14})?(?:\.\d{1,15})?(?<=\d)")
_SHOWN_CHARACTERS = 60
_INFIX = frozenset(("+", "-", "*", "/", "%", "||", "&", "|", "<<", ">>"))
# With DESC or ASC: the place of a row among all by one key, a window function.
RANKS = frozenset(("RANK", "DENSE_RANK", "ROW_NUMBER"))
AGGREGATES = frozenset(("COUNT", "SUM", "AVG", "MIN", "MAX", "TOTAL", "GROUP_CONCAT"))


@dataclasses.dataclass(frozen=True)
class ColumnTerm:
    """A column of one of the tables that a query reads.

    Attributes:
      table: the table's name as in the schema; "" where the name could not be resolved.
      name: the column's name as in the schema, else as written.
      instance: 0 for the table's first use in its SELECT, 1 for the second, and so on; -1 - n
        for the n-th use in an enclosing SELECT.
    """

    table: str
    name: str
    instance: int = 0

    def __post_init__(self):
        object.__setattr__(self, "_key", (fold(self.table), fold(self.name), self.instance))

    @property
    def table_use(self) -> tuple[str, int]:
        """The table, folded, and which of its uses: equal for columns of one entry of FROM."""
        return self._key[0], self.instance

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ColumnTerm) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __str__(self) -> str:
        number = self.instance if self.instance >= 0 else -1 - self.instance
        use = f"#{number + 1}" if number > 0 else ""
        outer = "outer " if self.instance < 0 else ""
        return f"{outer}{self.table}{use}.{self.name}" if self.table else self.name


@dataclasses.dataclass(frozen=True)
class Literal:
    """A constant; `'20'` and `20` are equal, as they are to a typed column.

    Attributes:
      value: in one spelling for all numbers of one value.
      is_text: whether it stands in quotes.
      written: as it stands in the query; "" for `value`.
    """

    value: str
    is_text: bool = dataclasses.field(default=False, compare=False)
    written: str = dataclasses.field(default="", compare=False)

    @property
    def exact(self) -> "Literal":
        """Equal for constants that are written alike: not for `20` and `20.0`, nor `'20'`."""
        written = self.written or self.value
        return Literal(quoted_text(written) if self.is_text else written, self.is_text)

    @property
    def typed(self) -> "Literal":
        """Equal for constants of one value and one type: not for `'20'` and `20`."""
        return Literal(f"'{self.value}'") if self.is_text else self

    def __str__(self) -> str:
        value = self.written or self.value
        if len(value) > _SHOWN_CHARACTERS:
            value = f"{value[:_SHOWN_CHARACTERS]}…"
        return quoted_text(value) if self.is_text else value


@dataclasses.dataclass(frozen=True)
class Star:
    """The argument of `COUNT(*)`."""

    def __str__(self) -> str:
        return "*"


@dataclasses.dataclass(frozen=True)
class Call:
    """A function, an operator or an aggregate applied to terms.

    Attributes:
      name: its name in upper case, or its sign.
      args: what it is applied to.
      distinct: whether an aggregate leaves out duplicates.
      text: how SQL writes it, where that is no plain call; "" otherwise.
    """

    name: str
    args: tuple[Any, ...]
    distinct: bool = False
    text: str = dataclasses.field(default="", compare=False)

    @property
    def is_aggregate(self) -> bool:
        return self.name in AGGREGATES

    def __str__(self) -> str:
        if self.text:
            return self.text
        args = [str(arg) for arg in self.args]
        if self.name in _INFIX and len(args) == 2:
            chained = _is_infix(self.args[0]) and self.args[0].name == self.name
            sides = [f"({arg})" if _is_infix(arg) else str(arg) for arg in self.args]
            return f"{args[0] if chained else sides[0]} {self.name} {sides[1]}"
        return f"{self.name}({'DISTINCT ' if self.distinct else ''}{', '.join(args)})"


def _is_infix(term: Any) -> bool:
    return isinstance(term, Call) and term.name in _INFIX and len(term.args) == 2


@dataclasses.dataclass(frozen=True)
class Nested:
    """A subquery used as a value.

    Attributes:
      query: a `description.Query`.
      spelling: "" for IN or a comparison; else what says the same: EXISTS or LEFT JOIN.
    """

    query: Any
    spelling: str = dataclasses.field(default="", compare=False)

    def __str__(self) -> str:
        return f"({self.query})" if self.query else "(a subquery)"


Term = ColumnTerm | Literal | Star | Call | Nested


def literal(text: str, *, is_text: bool) -> Literal:
    """A constant, with numbers brought to one spelling: `20`, `20.0` and `'20'` are equal."""
    if not _NUMBER.fullmatch(text):
        return Literal(text, is_text=is_text)
    number = float(text)
    value = str(int(number)) if number == int(number) else repr(number)
    return Literal(value, is_text, written=text)


def call(name: str, *args: Term, distinct: bool = False, text: str = "") -> Call:
    """A call with the operands of a commutative operator in one order."""
    if name in _COMMUTATIVE:
        args = tuple(sorted(args, key=str))
    return Call(name, tuple(args), distinct, text)


def replace_columns(term: Term, change: Callable[[ColumnTerm], ColumnTerm]) -> Term:
    """The term with every column outside of subqueries changed."""
    if isinstance(term, ColumnTerm):
        return change(term)
    if isinstance(term, Call):
        args = tuple(replace_columns(arg, change) for arg in term.args)
        return call(term.name, *args, distinct=term.distinct, text=term.text)
    return term


def columns_of(term: Term) -> list[ColumnTerm]:
    """The columns in a term, those of subqueries left out."""
    if isinstance(term, ColumnTerm):
        return [term]
    if isinstance(term, Call):
        return [column for arg in term.args for column in columns_of(arg)]
    return []


def aggregates_of(term: Term) -> list[Call]:
    """The aggregates in a term."""
    if not isinstance(term, Call):
        return []
    inner = [call for arg in term.args for call in aggregates_of(arg)]
    return [term, *inner] if term.is_aggregate else inner


def nested_of(term: Term) -> list[Nested]:
    """The subqueries in a term."""
    if isinstance(term, Nested):
        return [term]
    return (
        [nested for arg in term.args for nested in nested_of(arg)] if isinstance(term, Call) else []
    )
