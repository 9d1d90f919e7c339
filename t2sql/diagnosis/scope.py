"""Which table and column a name means, as SQLite resolves it."""

import dataclasses

from t2sql.data.schema import Table
from t2sql.diagnosis.terms import ColumnTerm, Term
from t2sql.sql.names import fold

_ROW_IDS = frozenset(("rowid", "oid", "_rowid_"))


@dataclasses.dataclass(frozen=True)
class NameProblem:
    """A name that does not resolve.

    Attributes:
      kind: "table", "column", "ambiguous", or "qualifier" for a T3 in T3.name that nothing
        in FROM is called.
      name: the name as written, without its qualifier.
      tables: the tables that it was looked for in, or, if ambiguous, found in.
      as_text: whether SQLite takes it as text, because it is in double quotes.
      meant: the table that an unknown one is read as; "" where none is like it.
    """

    kind: str
    name: str
    tables: tuple[str, ...] = ()
    as_text: bool = False
    meant: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One table or subquery that a SELECT reads.

    Attributes:
      alias: the name that qualifies its columns, folded.
      name: its name for people: the table's, or the alias of a subquery.
      columns: folded column name -> term, in order.
      is_open: whether its columns are unknown, so that any name may be one.
    """

    alias: str
    name: str
    columns: dict[str, Term]
    is_open: bool = False

    def get(self, name: str) -> Term | None:
        key = fold(name)
        term = self.columns.get(key)
        if term is None and (self.is_open or key in _ROW_IDS):
            return ColumnTerm(self.name, name)
        return term


def table_entry(table: Table, alias: str, instance: int) -> Entry:
    """The entry of a table of the schema."""
    columns = {
        fold(column.name): ColumnTerm(table.name, column.name, instance) for column in table.columns
    }
    return Entry(alias=fold(alias), name=table.name, columns=columns)


class NameScope:
    """The names that one SELECT sees.

    Attributes:
      entries: what it reads, in the order of FROM.
      aliases: folded alias -> term of what it returns.
      merged: folded names of columns that USING or NATURAL made one.
      parent: the SELECT around it, or None.
    """

    def __init__(self, parent: "NameScope | None" = None):
        self.entries: list[Entry] = []
        self.aliases: dict[str, Term] = {}
        self.merged: set[str] = set()
        self.parent = parent

    def find(self, name: str) -> tuple[Term | None, list[str]]:
        """The term that an unqualified name means, and the tables that have such a column."""
        closed = [entry for entry in self.entries if not entry.is_open and entry.get(name)]
        owners = closed or [entry for entry in self.entries if entry.is_open]
        if not owners:
            return self._find_outside(name)
        names = [entry.name for entry in owners]
        return owners[0].get(name), names[:1] if fold(name) in self.merged else names

    def _find_outside(self, name: str) -> tuple[Term | None, list[str]]:
        alias = self.aliases.get(fold(name))
        if alias is not None or self.parent is None:
            return alias, []
        term, owners = self.parent.find(name)
        return outside(term), owners

    def entry(self, qualifier: str) -> tuple[Entry | None, bool]:
        """The entry that a qualifier means, and whether it belongs to this SELECT itself."""
        entry = next((entry for entry in self.entries if entry.alias == fold(qualifier)), None)
        if entry or self.parent is None:
            return entry, True
        return self.parent.entry(qualifier)[0], False

    def tables(self) -> tuple[str, ...]:
        """The names of all that is read."""
        return tuple(dict.fromkeys(entry.name for entry in self.entries))


def outside(term: Term | None) -> Term | None:
    """The same column as seen from a subquery."""
    if isinstance(term, ColumnTerm) and term.instance >= 0:
        return ColumnTerm(term.table, term.name, -1 - term.instance)
    return term
