"""Findings about names that do not resolve."""

import itertools
import re
from collections.abc import Iterable, Iterator

from t2sql.data.schema import Schema, Table
from t2sql.diagnosis.closest_name import closest_name
from t2sql.diagnosis.findings import Finding
from t2sql.diagnosis.scope import NameProblem
from t2sql.sql.names import fold
from t2sql.sql.tokens import tokenize

# SQLite's own words (sqlite/src/resolve.c, build.c), for what only it has seen.
_SQLITE = {
    "table": re.compile(r"no such table: (.+)"),
    "column": re.compile(r"no such column: (.+?)(?: - should this be.*)?$"),
    "ambiguous": re.compile(r"ambiguous column name: (.+)"),
}
_FAR_CUTOFF = 0.75


def name_findings(
    problems: Iterable[NameProblem], schema: Schema, *, runs: bool, cut: str = ""
) -> Iterator[Finding]:
    """Findings for the names that do not resolve in `schema`.

    Args:
      problems: what reading the query against the schema found.
      schema: the schema of the query's database.
      runs: whether SQLite accepts the query: then it knows every name, and only those that it
        took as text are invented.
      cut: a text whose last word is not told if it may be the beginning of a known name.
    """
    told = set()
    for problem in problems:
        known = (problem.kind, fold(problem.name))
        is_cut = cut.endswith(problem.name) and _begins_a_name(problem.name, schema)
        if known in told or is_cut or schema.leaves_out(problem.name):
            continue
        if runs and not problem.as_text:
            continue
        told.add(known)
        yield _finding(problem, schema)


def _begins_a_name(word: str, schema: Schema) -> bool:
    tables = (table.name for table in schema.tables)
    columns = (column.name for table in schema.tables for column in table.columns)
    return any(fold(name).startswith(fold(word)) for name in (*tables, *columns))


def unknown_tables(sql: str, schema: Schema) -> Iterator[NameProblem]:
    """The unknown tables of a text that does not parse: the names after FROM and JOIN."""
    tokens = [token for token in tokenize(sql) if token.kind not in ("space", "comment")]
    defined = {fold(name.text) for name, word in itertools.pairwise(tokens) if word.upper == "AS"}
    ends = [*tokens[2:], None]
    for word, name, following in zip(tokens, tokens[1:], ends, strict=False):
        if word.upper not in ("FROM", "JOIN") or name.kind not in ("word", "name"):
            continue
        bare = name.text.strip('"`[]')
        is_call = following is not None and following.text in ("(", ".")
        if not (is_call or schema.table(bare) or fold(bare) in defined):
            yield NameProblem("table", bare)


def sqlite_problem(message: str, schema: Schema) -> Iterator[NameProblem]:
    """The name that SQLite trips over, where reading the query found none."""
    for kind, pattern in _SQLITE.items():
        if match := pattern.search(message):
            qualifier, _, name = match.group(1).strip().rpartition(".")
            if not schema.column(qualifier, name):
                yield NameProblem(kind, name.strip('"`[]'))


def _finding(problem: NameProblem, schema: Schema) -> Finding:
    name = f"`{problem.name}`"
    if problem.kind == "qualifier":
        read = ", ".join(problem.tables) or "nothing"
        return Finding(
            "invented_table", f"{name} is no table or alias of the query; it reads {read}"
        )
    if problem.kind == "table":
        guess = problem.meant or closest_name(problem.name, (table.name for table in schema.tables))
        message = f"{name} is not a table of {schema.db_id}{_question(guess)}"
        return Finding("invented_table", message)
    if problem.kind == "ambiguous":
        owners = " and ".join(dict.fromkeys(problem.tables)) or "several of its tables"
        return Finding("ambiguous_column", f"{name} is a column of {owners}: which one is meant?")
    text = " (SQLite takes the double-quoted name as text)" if problem.as_text else ""
    return Finding("invented_column", f"{name} is {_hint(problem, schema)}{text}")


def _hint(problem: NameProblem, schema: Schema) -> str:
    """Where the column was looked for, and what may be meant."""
    where = f"not a column of {' or '.join(problem.tables)}"
    if not problem.tables:
        where = "no column, for the query reads no table"
    owners = [table.name for table in schema.tables_with(problem.name)]
    if owners:
        return f"{where}, but {'' if problem.tables else 'one '}of {' and '.join(owners)}"
    tables = [table for name in problem.tables if (table := schema.table(name))]
    guesses = (_guess(problem, table) for table in (*tables, *schema.tables))
    return where + _question(next(filter(None, guesses), None))


def _guess(problem: NameProblem, table: Table) -> str | None:
    """The column that may be meant, with its table where the query looked elsewhere."""
    names = [column.name for column in table.columns]
    if table.name in problem.tables:
        return closest_name(problem.name, names, problem.tables)
    # Among so many columns some are a little like it by chance.
    guess = closest_name(problem.name, names, problem.tables, cutoff=_FAR_CUTOFF, parts=False)
    return guess and f"{table.name}.{guess}"


def _question(guess: str | None) -> str:
    return f"; did you mean {guess}?" if guess else ""
