"""Whether the values that a query compares are where it looks for them.

`SELECT count(*) FROM player WHERE team = 'UCLA'` runs, and even returns a row; but where no
team is called so, and a college is, it is hardly what was asked. Likewise a query that leaves
out a value of the database which the question names.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from t2sql.data import read_schema
from t2sql.data import schema as schema_lib
from t2sql.diagnosis import conditions, parsing
from t2sql.diagnosis.description import Core, all_cores
from t2sql.diagnosis.reading import QueryReader
from t2sql.diagnosis.terms import Column, Literal
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
    """Those in WHERE and HAVING, of nested queries too; none where the SQL cannot be read."""
    try:
        tree = parsing.parse(sql)
        cores = all_cores(QueryReader(schema, sql).read(tree)) if tree else []
    except parsing.TooComplexError:
        return []
    return [found for core in cores for found in _of_core(core)]


def _of_core(core: Core) -> list[Comparison]:
    return [
        Comparison(
            atom.left.table, atom.left.name, atom.operator, atom.right.value, atom.right.is_text
        )
        for condition in (core.where, core.having)
        for atom in conditions.atoms(condition)
        if isinstance(atom.left, Column) and isinstance(atom.right, Literal)
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
    found = comparisons(sql, schema)
    texts = dict.fromkeys(each for each in found if each.is_text and _is_whole(each))
    misplaced = sum(
        bool(schema.column(each.table, each.column)) and not holds(_probe(each)) for each in texts
    )
    used = {each.value.strip("%").casefold() for each in found}
    return misplaced + sum(used.isdisjoint(map(str.casefold, spellings)) for spellings in named)


def _is_whole(each: Comparison) -> bool:
    """Whether the constant is compared with whole values, not with parts of them."""
    wild = "%" in each.value or "_" in each.value
    return each.operator in _EQUALITY or (each.operator in _LIKE and not wild)


def _probe(each: Comparison) -> str:
    operator = "LIKE" if each.operator in _LIKE else "="
    return (
        f"SELECT 1 FROM {quoted(each.table)} "
        f"WHERE {quoted(each.column)} {operator} {quoted_text(each.value)} LIMIT 1"
    )


@functools.lru_cache(maxsize=4)
def _schema(database: Path) -> schema_lib.Schema:
    return read_schema.schema_from_sqlite(database)
