"""What a schema is: tables, typed columns and keys.

Names are the original ones, as SQL uses them; look-ups ignore case, as SQLite does.
"""

import dataclasses
import functools
from typing import NamedTuple

from t2sql.sql.names import fold

COLUMN_TYPES = ("text", "number", "time", "boolean", "others")


class ColumnRef(NamedTuple):
    """A column by its table's and its own original names."""

    table: str
    column: str


class ForeignKey(NamedTuple):
    """One column that refers to another; a composite key is one of these per column."""

    source: ColumnRef
    target: ColumnRef


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """A column.

    Attributes:
      name: the original name.
      type: one of `COLUMN_TYPES`, Spider's five.
      natural_name: the name in plain words, such as "song release year".
      has_affinity: whether SQLite turns what it is compared with into its own type; a column
        that is declared without a type keeps the number 3 and the text '3' apart.
    """

    name: str
    type: str
    natural_name: str
    has_affinity: bool = dataclasses.field(default=True, repr=False)

    def __post_init__(self):
        _check_names(self.name, self.type, self.natural_name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A table, or what SQL takes for one.

    Attributes:
      name: the original name.
      natural_name: the name in plain words.
      columns: in the order of the database.
      kind: "table", "virtual table" or "view".
    """

    name: str
    natural_name: str
    columns: tuple[Column, ...]
    kind: str = "table"

    def __post_init__(self):
        _check_names(self.name, self.natural_name)

    def column(self, name: str) -> Column | None:
        """The column of that name in any case, or None."""
        return self._by_name.get(fold(name))

    @functools.cached_property
    def _by_name(self) -> dict[str, Column]:
        return {fold(column.name): column for column in reversed(self.columns)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schema:
    """The schema of one database.

    Attributes:
      db_id: the database's id; its folder's name.
      tables: in the order of `tables.json` or of creation.
      primary_keys: the key columns of all tables.
      foreign_keys: in the order they are declared.
      left_out: tables, views and columns (`table.column`) that the database has and SQLite cannot
        open.
    """

    db_id: str
    tables: tuple[Table, ...]
    primary_keys: tuple[ColumnRef, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    left_out: tuple[str, ...] = dataclasses.field(default=(), repr=False)

    def table(self, name: str) -> Table | None:
        """The table of that name in any case, or None."""
        return self._by_name.get(fold(name))

    def column(self, table: str, name: str) -> Column | None:
        """A table's column, both names in any case; None where either does not exist."""
        owner = self.table(table)
        return owner.column(name) if owner else None

    def tables_with(self, column: str) -> tuple[Table, ...]:
        """The tables that have a column of that name, in schema order."""
        return tuple(table for table in self.tables if table.column(column))

    def is_primary_key(self, table: str, column: str) -> bool:
        """Whether the column is (part of) its table's primary key."""
        return (fold(table), fold(column)) in self._primary

    def leaves_out(self, name: str) -> bool:
        """Whether the database has a table, view or column of that name that cannot be opened."""
        return fold(name) in self._left_out

    @functools.cached_property
    def _left_out(self) -> frozenset[str]:
        names = frozenset(map(fold, self.left_out))
        return names | {name.rpartition(".")[2] for name in names}

    @functools.cached_property
    def _by_name(self) -> dict[str, Table]:
        return {fold(table.name): table for table in reversed(self.tables)}

    @functools.cached_property
    def _primary(self) -> frozenset[tuple[str, str]]:
        return frozenset((fold(key.table), fold(key.column)) for key in self.primary_keys)


def natural_name(name: str) -> str:
    """The name in plain words, made from the original one."""
    return name.replace("_", " ").lower()


def _check_names(*names: str) -> None:
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{name!r} is not a name")
