"""Findings about names that do not resolve."""

import difflib
import re
from collections.abc import Iterable, Iterator

from t2sql.scoring.diagnosis.findings import Finding
from t2sql.scoring.diagnosis.scope import NameProblem
from t2sql.spider.tables import Schema, fold

# SQLite's own words (sqlite/src/resolve.c, build.c), for what only it has seen.
_SQLITE = {
    "table": re.compile(r"no such table: (?:main\.)?(.+)"),
    "column": re.compile(r"no such column: (?:.*\.)?(.+?)(?: - should this be.*)?$"),
    "ambiguous": re.compile(r"ambiguous column name: (?:.*\.)?(.+)"),
}


def name_findings(
    problems: Iterable[NameProblem], schema: Schema, message: str | None
) -> Iterator[Finding]:
    """Findings for the names that do not resolve in `schema`.

    Args:
      problems: what reading the query against the schema found.
      schema: the schema of the query's database.
      message: SQLite's message where it rejects the query, else None: then it knows every
        name, and only those that it took as text are invented.
    """
    told = set()
    for problem in (*problems, *_sqlite_problem(message)):
        known = (problem.kind, fold(problem.name))
        if known in told or (message is None and not problem.as_text):
            continue
        told.add(known)
        yield _finding(problem, schema)


def _sqlite_problem(message: str | None) -> Iterator[NameProblem]:
    for kind, pattern in _SQLITE.items():
        if found := pattern.search(message or ""):
            yield NameProblem(kind, found.group(1).strip().strip('"`[]'))


def _finding(problem: NameProblem, schema: Schema) -> Finding:
    name = f"`{problem.name}`"
    if problem.kind == "table":
        close = _closest(problem.name, (table.name for table in schema.tables))
        return Finding("invented_table", f"{name} is not a table of {schema.db_id}{close}")
    if problem.kind == "ambiguous":
        owners = " and ".join(dict.fromkeys(problem.tables)) or "several of its tables"
        return Finding("ambiguous_column", f"{name} is a column of {owners}: which one is meant?")
    text = " (SQLite takes the double-quoted name as text)" if problem.as_text else ""
    return Finding("invented_column", f"{name} is not a column of {_hint(problem, schema)}{text}")


def _hint(problem: NameProblem, schema: Schema) -> str:
    """Where the column was looked for, and what may be meant."""
    where = " or ".join(problem.tables) or "what the query reads"
    owners = [table.name for table in schema.tables_with(problem.name)]
    if owners:
        return f"{where}, but of {' and '.join(owners)}"
    tables = [table for name in problem.tables if (table := schema.table(name))]
    known = [[column.name for column in table.columns] for table in (*tables, *schema.tables)]
    guesses = (_closest(problem.name, names, problem.tables) for names in known)
    return where + next(filter(None, guesses), "")


def _closest(name: str, known: Iterable[str], tables: Iterable[str] = ()) -> str:
    """The most alike known name, as a question; "" where none is much like it.

    A name that carries its table's name, such as singer_name, stands for the column name.
    """
    folded = {fold(each): each for each in known}
    words = _words(name)
    own = set().union(*map(_words, tables))
    parts = [each for each in folded if _words(each) <= words and words <= _words(each) | own]
    close = parts or difflib.get_close_matches(fold(name), folded, n=1, cutoff=0.6)
    close = close or [each for each in folded if _words(each) < words]
    return f"; did you mean {folded[close[0]]}?" if close else ""


def _words(name: str) -> set[str]:
    """The words of a name in snake_case or CamelCase, folded."""
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    return set(re.findall(r"[^\W_]+", fold(split)))
