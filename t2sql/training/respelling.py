"""Schemas whose names are spelt in another way: `Stu_ID` as `stuId`, `STU_ID` or `stuid`.

A small model learns the names of its train databases by heart, and writes them from the
question alone. A name that is spelt anew in each epoch has to be read in the schema, as one
of a database that the model has never seen.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence

import numpy as np

from t2sql.data.schema import ColumnRef, ForeignKey, Schema, Table
from t2sql.sql.names import fold

_PLAIN = re.compile(r"[A-Za-z0-9_]+")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def _joined(separator: str, change: Callable[[str], str]) -> Callable[[Sequence[str]], str]:
    return lambda words: separator.join(map(change, words))


def _camel(words: Sequence[str]) -> str:
    return words[0].lower() + "".join(map(str.capitalize, words[1:]))


STYLES = (
    _joined("_", str.lower),
    _joined("_", str.upper),
    _joined("_", str.capitalize),
    _joined("", str.lower),
    _joined("", str.capitalize),
    _camel,
)


def respelt(schema: Schema, rng: np.random.Generator) -> Schema:
    """The schema with all its names in one of `STYLES`, its tables and columns in their order.

    It comes back as it is where two of its names would become one.
    """
    style = STYLES[rng.integers(len(STYLES))]
    # By folded name: what is `StuID` here and `stuid` there is one name to a query.
    spellings: dict[str, str] = {}
    for table in schema.tables:
        for name in (table.name, *(column.name for column in table.columns)):
            spellings.setdefault(fold(name), _respell(name, style))
    if len(set(map(fold, spellings.values()))) < len(spellings):
        return schema

    def spelt(name: str) -> str:
        return spellings[fold(name)]

    def renamed(table: Table) -> Table:
        columns = (dataclasses.replace(each, name=spelt(each.name)) for each in table.columns)
        return dataclasses.replace(table, name=spelt(table.name), columns=tuple(columns))

    def ref(old: ColumnRef) -> ColumnRef:
        return ColumnRef(spelt(old.table), spelt(old.column))

    return dataclasses.replace(
        schema,
        tables=tuple(map(renamed, schema.tables)),
        primary_keys=tuple(map(ref, schema.primary_keys)),
        foreign_keys=tuple(
            ForeignKey(ref(key.source), ref(key.target)) for key in schema.foreign_keys
        ),
    )


def _respell(name: str, style: Callable[[Sequence[str]], str]) -> str:
    """A name of other characters than letters, digits and _ stays as it is."""
    words = _WORD.findall(name) if _PLAIN.fullmatch(name) else ()
    return style(words) if words else name
