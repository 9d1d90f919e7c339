"""What the names in a query of Spider's dialect mean."""

import functools
import re

from t2sql.data.schema import Schema
from t2sql.evaluation.spider_dialect.tokens import UnreadableError
from t2sql.sql.names import KEYWORDS

_NAME = re.compile(r"[\w.]")
_OPERATOR = re.compile(r"[-=<>!|+/*]+")


class QueryNames:
    """What tables and columns the words of one query mean."""

    def __init__(self, words: list[str], schema: Schema):
        self._columns = table_columns(schema)
        self._tables = {
            words[index + 1]: words[index - 1]
            for index, word in enumerate(words[:-1])
            if word == "as"
        }
        if words and words[-1] == "as":
            raise UnreadableError("nothing follows the last AS")
        for name in self._columns:
            if name in self._tables:
                raise UnreadableError(f"the alias {name} is the name of a table")
            self._tables[name] = name

    def table(self, name: str) -> str:
        """The table that a name or an alias stands for."""
        table = self._tables.get(name)
        if table not in self._columns:
            raise UnreadableError(_refusal(name, "table or alias"))
        return table

    def column(self, word: str, tables: list[str]) -> str:
        """The column that a word stands for; without a table, the first of `tables` with it."""
        if word == "*":
            return word
        if "." in word:
            qualifier, _, name = word.partition(".")
            tables = [self.table(qualifier)]
        else:
            name = word
        for table in tables:
            if name in self._columns[table]:
                return f"{table}.{name}"
        raise UnreadableError(_refusal(word, "column of its tables"))


def _refusal(word: str, expected: str) -> str:
    """Why a word cannot stand where the dialect expects a name."""
    if word == "as":
        return "Spider's dialect has no alias here"
    if word[0] in "\"'":
        return f"the text {word} stands where a name has to"
    if word.upper() in KEYWORDS:
        return f"Spider's dialect has no {word.upper()} here"
    if not _NAME.match(word):
        return f"Spider's dialect has no {word!r} here"
    if operator := _OPERATOR.search(word):
        return f"Spider's dialect reads {operator[0]} only between spaces, and not in SELECT"
    return f"{word!r} is no {expected}"


@functools.lru_cache(maxsize=64)
def table_columns(schema: Schema) -> dict[str, frozenset[str]]:
    """The schema's tables and their columns, in lower case."""
    return {
        table.name.lower(): frozenset(column.name.lower() for column in table.columns)
        for table in schema.tables
    }
