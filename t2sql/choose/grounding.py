"""Whether the values that a query compares are where it looks for them.

`SELECT count(*) FROM player WHERE team = 'UCLA'` runs, and even returns a row. But if no team is
called UCLA and a college is, it hardly answers the question; nor does a query that leaves out a
value of the database which the question names.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from t2sql.data import read_schema
from t2sql.data import schema as schema_lib
from t2sql.diagnosis import conditions, parsing
from t2sql.diagnosis.description import all_cores
from t2sql.diagnosis.reading import QueryReader
from t2sql.diagnosis.terms import ColumnTerm, Literal
from t2sql.sql.names import quoted, quoted_text

_EQUALITY = ("=", "!=")
_LIKE = ("LIKE", "NOT LIKE")


class Comparison(NamedTuple):
    """A comparison of a column with a constant.

    Attributes:
      table: that has the column; "" where the query or the schema has none.
      operator: `IN (list)` is so many `=`.
      is_text: whether the constant stands in quotes.
    """

    table: str
    column: str
    operator: str
    value: str
    is_text: bool


def comparisons(sql: str, schema: schema_lib.Schema) -> list[Comparison]:
    """The comparisons in WHERE and HAVING, nested queries included; none if sqlglot reads none."""
    try:
        tree = parsing.parse(sql)
        cores = all_cores(QueryReader(schema, sql).read(tree)) if tree else []
    except parsing.TooComplexError:
        return []
    return [
        Comparison(
            atom.left.table, atom.left.name, atom.operator, atom.right.value, atom.right.is_text
        )
        for core in cores
        for condition in (core.where, core.having)
        for atom in conditions.atoms(condition)
        if isinstance(atom.left, ColumnTerm) and isinstance(atom.right, Literal)
    ]


def faults(
    sql: str,
    database: Path,
    named: Sequence[Sequence[str]],
    holds: Callable[[str], bool],
) -> int:
    """How many texts are not where the query looks, and how many values it leaves out.

    Args:
      sql: the query.
      database: that it reads.
      named: the values that the question names, each in all its spellings.
      holds: whether a query on the database returns a row.
    """
    schema = _schema(database)
    compared = comparisons(sql, schema)
    texts = dict.fromkeys(test for test in compared if test.is_text and _is_whole(test))
    misplaced = sum(
        bool(schema.column(test.table, test.column)) and not holds(_probe(test)) for test in texts
    )
    used = {test.value.strip("%").casefold() for test in compared}
    return misplaced + sum(used.isdisjoint(map(str.casefold, spellings)) for spellings in named)


def _is_whole(test: Comparison) -> bool:
    """Whether the constant is compared with whole values, not with parts of them."""
    wild = "%" in test.value or "_" in test.value
    return test.operator in _EQUALITY or (test.operator in _LIKE and not wild)


def _probe(test: Comparison) -> str:
    """A query that returns a row if the column holds the text."""
    operator = "LIKE" if test.operator in _LIKE else "="
    return (
        f"SELECT 1 FROM {quoted(test.table)} "
        f"WHERE {quoted(test.column)} {operator} {quoted_text(test.value)} LIMIT 1"
    )


@functools.lru_cache(maxsize=4)
def _schema(database: Path) -> schema_lib.Schema:
    return read_schema.schema_from_sqlite(database)
