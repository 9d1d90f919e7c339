"""A schema in few tokens, for small models: types, keys and a few values of each text column.

A table is a line:

    singer: id number key; name text 'Joe Sharp', 'Timbaland'; band number -> band.id

Beside the schema stands what of a question is in the database, as in BRIDGE (Lin et al.
2020) and PICARD (Scholak et al. 2021): `singer.name = 'Joe Sharp'` tells which column a
value belongs to and how it is spelt there. The schema comes first and is the same for all
questions, so that they can share it.
"""

import collections
import dataclasses
import itertools
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from t2sql.data.database import open_database
from t2sql.data.read_schema import schema_from_sqlite
from t2sql.data.schema import Column, ColumnRef, Schema, Table
from t2sql.sql.names import quote_name, quoted, quoted_text

VALUES_PER_COLUMN = 2
# Longer values say little of a column for their tokens, and are seldom asked for whole.
MAX_SHOWN_CHARS = 24
MAX_MATCHED_CHARS = 60
MAX_MATCHED_WORDS = 12
MATCHES = 4
# From so many columns on a schema shows one value a column, and from twice as many none.
MANY_COLUMNS = 60
# Rows of a table that are looked at.
MAX_ROWS = 100_000

_WORD = re.compile(r"\w+")
# Values that are words of nearly every question.
_COMMON_LIST = """
a all an and any are as at be by c d do does each for from has have how id in is it its last
list many name names no not of on one or order s show some t than that the their them there
this to type was were what when where which who with yes
"""
_COMMON = frozenset(_COMMON_LIST.split())


class _Place(NamedTuple):
    column: ColumnRef
    value: str


class CompactDatabase:
    """What a small model is told of one database.

    Args:
      database: SQLite file.

    Attributes:
      text: the schema, a line per table.

    Raises:
      InputError: the file is missing, empty, without tables, damaged, or not SQLite.
    """

    def __init__(self, database: Path):
        schema = schema_from_sqlite(database)
        with open_database(database) as connection:
            connection.text_factory = lambda raw: raw.decode(errors="replace")
            values = {ref: _text_values(connection, ref) for ref in _columns(schema)}
        self.text = _text(schema, values)
        self._schema = schema
        self._values = values
        self._places = _places_by_words(values)

    def shuffled_text(self, permutation: Callable[[int], Iterable[int]]) -> str:
        """The schema with its tables, and the columns of each, in another order.

        Args:
          permutation: of so many, as numpy's generators draw one.
        """
        tables = (
            dataclasses.replace(table, columns=_shuffled(table.columns, permutation))
            for table in _shuffled(self._schema.tables, permutation)
        )
        return _text(dataclasses.replace(self._schema, tables=tuple(tables)), self._values)

    def matches(self, question: str) -> tuple[str, ...]:
        """Values of text columns that a question names, as conditions; the longest first.

        A value is named where its words stand in the question in their order, in any case.
        Values within a longer one that is named are left out; of the same words in several
        spellings, the question's own comes first.
        """
        named = self._named(question)
        # Each value's first column, then each one's second: none crowds out another.
        turns = itertools.zip_longest(*named)
        places = (place for turn in turns for place in turn if place is not None)
        conditions = (f"{_dotted(place.column)} = {quoted_text(place.value)}" for place in places)
        return tuple(itertools.islice(dict.fromkeys(conditions), MATCHES))

    def named(self, question: str) -> tuple[tuple[str, ...], ...]:
        """The values that a question names, each in all its spellings."""
        return tuple(
            tuple(dict.fromkeys(place.value for place in places))
            for places in self._named(question)
        )

    def _named(self, question: str) -> list[list[_Place]]:
        """The places of each value that is named, the longest value first."""
        words = _words(question)
        found: list[list[_Place]] = []
        taken: set[int] = set()
        for size in range(min(len(words), MAX_MATCHED_WORDS), 0, -1):
            for start in range(len(words) - size + 1):
                places = self._places.get(words[start : start + size])
                if places and taken.isdisjoint(range(start, start + size)):
                    taken.update(range(start, start + size))
                    found.append(sorted(places, key=lambda place: place.value not in question))
        return found


def _shuffled[T](items: Sequence[T], permutation: Callable[[int], Iterable[int]]) -> tuple[T, ...]:
    return tuple(items[index] for index in permutation(len(items)))


def _columns(schema: Schema) -> Iterator[ColumnRef]:
    for table in schema.tables:
        for column in table.columns:
            yield ColumnRef(table.name, column.name)


def _text_values(connection: sqlite3.Connection, ref: ColumnRef) -> list[str]:
    """A column's short values that are stored as text, the most frequent first."""
    table, column = map(quoted, ref)
    rows = connection.execute(
        f"SELECT value FROM (SELECT {column} AS value FROM {table} LIMIT {MAX_ROWS}) "
        f"WHERE typeof(value) = 'text' AND length(value) BETWEEN 1 AND {MAX_MATCHED_CHARS} "
        "GROUP BY value ORDER BY count(*) DESC, value"
    )
    return [value for (value,) in rows if value.isprintable() and "\ufffd" not in value]


def _text(schema: Schema, values: dict[ColumnRef, list[str]]) -> str:
    shown = _values_per_column(schema)
    targets = {key.source: key.target for key in reversed(schema.foreign_keys)}
    return "\n".join(_line(schema, table, values, targets, shown) for table in schema.tables)


def _values_per_column(schema: Schema) -> int:
    many = sum(len(table.columns) for table in schema.tables) // MANY_COLUMNS
    return max(VALUES_PER_COLUMN - many, 0)


def _line(schema: Schema, table: Table, values, targets, shown: int) -> str:
    columns = (
        _column(schema, ColumnRef(table.name, column.name), column, values, targets, shown)
        for column in table.columns
    )
    return f"{quote_name(table.name)}: {'; '.join(columns)}"


def _column(schema: Schema, ref: ColumnRef, column: Column, values, targets, shown: int) -> str:
    shows = () if ref in targets else _shown(values[ref], shown)
    return " ".join([quote_name(column.name), *_type(column), *_keys(schema, ref, targets), *shows])


def _type(column: Column) -> Iterator[str]:
    yield column.type


def _keys(schema: Schema, ref: ColumnRef, targets: dict[ColumnRef, ColumnRef]) -> Iterator[str]:
    if schema.is_primary_key(*ref):
        yield "key"
    if ref in targets:
        yield f"-> {_dotted(targets[ref])}"


def _shown(values: list[str], count: int) -> Iterator[str]:
    """Up to `count` values; of those made of digits (dates, phones: a token each), one."""
    short = [value for value in values if len(value) <= MAX_SHOWN_CHARS][:count]
    if any(sum(map(str.isdigit, value)) > 3 for value in short):
        short = short[:1]
    if short:
        yield ", ".join(map(quoted_text, short))


def _places_by_words(
    values: dict[ColumnRef, list[str]],
) -> dict[tuple[str, ...], list[_Place]]:
    places: dict[tuple[str, ...], list[_Place]] = collections.defaultdict(list)
    for ref, of_column in values.items():
        for value in of_column:
            words = _words(value)
            if words and not (len(words) == 1 and _is_common(words[0])):
                places[words].append(_Place(ref, value))
    return dict(places)


def _is_common(word: str) -> bool:
    return word in _COMMON or (word.isdigit() and len(word) < 3)


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.casefold()))


def _dotted(ref: ColumnRef) -> str:
    return ".".join(map(quote_name, ref))
