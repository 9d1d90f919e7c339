"""A schema in few tokens, for small models: types, keys and a few values of each text column.

A table is a line:

    singer: id number key; name text 'Joe Sharp', 'Timbaland'; band number -> band.id

Beside the schema stands what of a question is in the database, as in BRIDGE (Lin et al.
2020) and PICARD (Scholak et al. 2021): `singer.name = 'Joe Sharp'` tells which column a
value belongs to and how it is spelt there. The schema comes first and is the same for all
questions, so that they can share it.
"""

import copy
import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

from t2sql.data.read_schema import schema_from_sqlite
from t2sql.data.schema import Column, ColumnRef, Schema, Table
from t2sql.data.values import ColumnValue, ValueIndex, read_values
from t2sql.data.written_values import WrittenValues
from t2sql.sql.names import quote_name, quoted_text

# What the prompt shows; `benchmarks.prompt_parts` measures what each part is worth.
SHOW_TYPES = SHOW_KEYS = True
VALUES_PER_COLUMN = 2
# Longer values say little of a column for their tokens, and are seldom asked for whole.
MAX_SHOWN_CHARS = 24
MATCHES = 4
# With values in other forms; they make a prompt longer by so many characters (40 tokens) at most.
WRITTEN_MATCHES = 6
WRITTEN_CHARS = 110
# From so many columns on a schema shows one value a column, and from twice as many none.
MANY_COLUMNS = 60


class CompactDatabase:
    """What a small model is told of one database.

    Args:
      database: SQLite file.
      written: whether values are named in other forms than theirs too (`written_values`).

    Attributes:
      text: the schema, a line per table.

    Raises:
      InputError: the file is missing, empty, without tables, damaged, or not SQLite.
    """

    def __init__(self, database: Path, *, written: bool = False):
        self._schema = schema_from_sqlite(database)
        self._values = read_values(database, self._schema)
        self._index = ValueIndex(self._values)
        self._written = WrittenValues(self._schema, self._values) if written else None
        self.text = _schema_text(self._schema, self._values)

    def shuffled_text(self, permutation: Callable[[int], Iterable[int]]) -> str:
        """The schema with its tables, and the columns of each, in another order.

        Args:
          permutation: of so many indices, as numpy's generators draw one.
        """

        def shuffled[T](items: Sequence[T]) -> tuple[T, ...]:
            return tuple(items[index] for index in permutation(len(items)))

        tables = tuple(
            dataclasses.replace(table, columns=shuffled(table.columns))
            for table in shuffled(self._schema.tables)
        )
        return _schema_text(dataclasses.replace(self._schema, tables=tables), self._values)

    def thinned(self, needed: Collection[str], keep: Callable[[], bool]) -> "CompactDatabase":
        """The database as if some tables and columns that are not needed were not there.

        Args:
          needed: names of tables and columns, in lower case, that stay.
          keep: whether the next table or column that is not needed stays.
        """

        def stays(name: str) -> bool:
            return name.casefold() in needed or keep()

        tables = []
        for table in filter(lambda table: stays(table.name), self._schema.tables):
            columns = tuple(column for column in table.columns if stays(column.name))
            if columns:
                tables.append(dataclasses.replace(table, columns=columns))
        if not tables:
            return self
        names = {ColumnRef(table.name, column.name) for table in tables for column in table.columns}
        keys = tuple(key for key in self._schema.foreign_keys if {key.source, key.target} <= names)
        other = copy.copy(self)
        other._schema = dataclasses.replace(self._schema, tables=tuple(tables), foreign_keys=keys)
        other.text = _schema_text(other._schema, self._values)
        return other

    def matches(self, question: str) -> tuple[str, ...]:
        """Values of text columns that a question names, as conditions; the longest first.

        A value is named where its words stand in the question in their order, in any case.
        Values within a longer one that is named are left out; of one value in several
        spellings, the question's own comes first.
        """
        stored = _conditions(self._index.find(question), MATCHES)
        if self._written is None:
            return stored
        written = _conditions(self._written.find(question), WRITTEN_MATCHES)
        most = sum(map(len, stored)) + WRITTEN_CHARS
        return tuple(
            condition
            for condition, chars in zip(
                written, itertools.accumulate(map(len, written)), strict=True
            )
            if chars <= most
        )

    def named(self, question: str) -> tuple[tuple[str, ...], ...]:
        """The values that a question names, each in all its spellings."""
        return tuple(
            tuple(dict.fromkeys(match.value for match in matches))
            for matches in self._index.find(question)
        )


def _schema_text(schema: Schema, values: dict[ColumnRef, list[str]]) -> str:
    column_count = sum(len(table.columns) for table in schema.tables)
    shown = max(VALUES_PER_COLUMN - column_count // MANY_COLUMNS, 0)
    # Of two keys from one column, the one declared first.
    targets = {key.source: key.target for key in reversed(schema.foreign_keys)}

    def column_text(table: Table, column: Column) -> str:
        ref = ColumnRef(table.name, column.name)
        words = [quote_name(column.name)]
        if SHOW_TYPES:
            words.append(column.type)
        if SHOW_KEYS and schema.is_primary_key(*ref):
            words.append("key")
        if SHOW_KEYS and ref in targets:
            words.append(f"-> {_dotted(targets[ref])}")
        if ref not in targets:
            words += _shown_values(values[ref], shown)
        return " ".join(words)

    return "\n".join(
        f"{quote_name(table.name)}: "
        + "; ".join(column_text(table, column) for column in table.columns)
        for table in schema.tables
    )


def _shown_values(values: list[str], count: int) -> Iterator[str]:
    """Up to `count` values; of those made of digits (dates, phones: a token each), one."""
    short = [value for value in values if len(value) <= MAX_SHOWN_CHARS][:count]
    if any(sum(map(str.isdigit, value)) > 3 for value in short):
        short = short[:1]
    if short:
        yield ", ".join(map(quoted_text, short))


def _conditions(values: Iterable[Sequence[ColumnValue]], most: int) -> tuple[str, ...]:
    """Each value's first column, then each one's second: none crowds out another."""
    turns = itertools.zip_longest(*values)
    conditions = (_condition(match) for turn in turns for match in turn if match is not None)
    return tuple(itertools.islice(dict.fromkeys(conditions), most))


def _condition(match: ColumnValue) -> str:
    return f"{_dotted(match.column)} = {quoted_text(match.value)}"


def _dotted(ref: ColumnRef) -> str:
    return ".".join(map(quote_name, ref))
