"""What is wrong with a predicted query, in the words of a SQL reviewer.

    for finding in diagnose(gold, predicted, schema):
        print(finding.error, finding.message)

Both queries are parsed, read against the schema into descriptions that are free of spelling
(`diagnosis.description`), and compared SELECT by SELECT, one family of error classes at a time
(`diagnosis.compare`). The classes are in `ERROR_CLASSES`; docs/diagnosis.md explains them.
"""

import collections
import itertools
import re
from collections.abc import Iterable, Iterator

from t2sql.data.schema import Schema
from t2sql.diagnosis.compare import Comparer
from t2sql.diagnosis.description import Query, tables_of
from t2sql.diagnosis.findings import ERROR_CLASSES, Finding
from t2sql.diagnosis.parsing import TooComplexError, parse
from t2sql.diagnosis.reading import QueryReader
from t2sql.diagnosis.scope import NameProblem
from t2sql.diagnosis.sqlite_message import sqlite_message
from t2sql.diagnosis.unknown_names import name_findings, sqlite_problem, unknown_tables
from t2sql.evaluation.sandbox.sqlite_sandbox import ExecutionResult
from t2sql.sql.clean import clean_sql, why_no_query
from t2sql.sql.tokens import is_query, tokenize

_MOST_OF_A_CLASS = 12
# Places tried as the end of the query.
_MOST_STARTS = 20
_SHOWN_CHARACTERS = 60
# With one of these a query goes on.
_OPERATORS = ("=", "<", ">", "!", "+", "%", "&", "|")
_UNREADABLE = "not a query that can be read"
# What SQLite says of a database, and the first of a query too.
_OF_A_DATABASE = ("no such ", "malformed database", "database disk image", "vtable constructor")
_MISSING = re.compile(r"no such (?:table|column): (?:.*\.)?(.+)")

__all__ = ["ERROR_CLASSES", "Finding", "diagnose"]


def diagnose(
    gold: str | None,
    predicted: str,
    schema: Schema,
    *,
    execution: ExecutionResult | None = None,
    status: str = "ok",
) -> list[Finding]:
    """Finds all that is wrong with `predicted`; nothing where it says what gold says.

    Never raises for what the queries hold, and takes bounded time: a query beyond the bounds of
    `diagnosis.parsing` is not compared, and a `wrong_nesting` finding says so.

    Args:
      gold: the gold query; None where there is none: only the query itself is then examined.
      predicted: the prediction, as it was run.
      schema: the schema of the database.
      execution: how the prediction ran; None to ask SQLite what it says without running it.
      status: how the prediction came about, one of `t2sql.runs.predictions.STATUSES`.
    """
    findings = list(_outcome(predicted, execution, status))
    # Of comments and semicolons SQLite has nothing to say.
    silent = ("space", "comment")
    if any(token.kind not in silent and token.text != ";" for token in tokenize(predicted)):
        try:
            findings += _examine(gold, predicted, schema, execution, status)
        except TooComplexError as error:
            findings += _beyond_bounds(str(error), execution)
        except RecursionError:
            findings += _beyond_bounds("its expressions are nested too deeply", execution)
    return list(_bounded(dict.fromkeys(findings)))


def _bounded(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The findings; of one class a number that people read, and how many more there are."""
    counts = collections.Counter(finding.error for finding in findings)
    shown: collections.Counter[str] = collections.Counter()
    for finding in findings:
        shown[finding.error] += 1
        more = counts[finding.error] - _MOST_OF_A_CLASS
        if shown[finding.error] <= _MOST_OF_A_CLASS:
            yield finding
        elif shown[finding.error] == _MOST_OF_A_CLASS + 1:
            yield Finding(finding.error, f"and {more} more like these")


def _outcome(predicted: str, execution: ExecutionResult | None, status: str) -> Iterator[Finding]:
    """What the run itself tells: nothing was written, it was cut, or it was stopped."""
    if status == "prompt_too_long":
        yield Finding("empty", "the prompt was too long for the model: nothing was generated")
    elif not (clean_sql(predicted) or why_no_query(predicted)):
        yield Finding("empty", "there is no SQL in what the model wrote")
    if status == "max_tokens":
        yield Finding("truncated", "the model reached its limit of new tokens")
    if execution is not None and execution.status not in ("ok", "error"):
        yield Finding("timeout", execution.message or execution.status)


def _examine(
    gold: str | None,
    predicted: str,
    schema: Schema,
    execution: ExecutionResult | None,
    status: str,
) -> Iterator[Finding]:
    if reason := why_no_query(predicted):
        yield Finding("invalid_sql", f"it is {reason}")
        return
    gold_query = _read_gold(gold, schema)
    query, problems = _read(predicted, schema, tables_of(gold_query) if gold_query else ())
    if query is None:
        problems = list(unknown_tables(predicted, schema))
    message = _message(predicted, schema, execution, is_read=query is not None)
    if message is not None:
        yield Finding("invalid_sql", _explained(message, predicted, schema))
        is_name = not (_has_curly_quotes(predicted) or _is_of_the_database(predicted, schema))
        if not problems and is_name:
            problems = list(sqlite_problem(message, schema))
    # The limit of tokens may have cut the last word short.
    cut = predicted.rstrip() if status == "max_tokens" else ""
    yield from name_findings(problems, schema, runs=message is None, cut=cut)
    if gold_query is not None and query is not None:
        findings = Comparer(schema=schema).compare(gold_query, query)
        if not findings and message is None and not problems:
            # What most often makes no difference is told only where nothing else differs.
            findings = Comparer(schema=schema, strict=True).compare(gold_query, query)
        yield from findings
    elif query is None and message is None:
        yield from _beyond_bounds("it is no SELECT", execution)


def _is_of_the_database(predicted: str, schema: Schema) -> bool:
    """Whether a query that SQLite rejects is in order by the schema.

    Then the file lacks what the schema has, or has what SQLite cannot open, such as a view whose
    table is gone.
    """
    message = sqlite_message(predicted, schema)
    missing = message and _MISSING.match(message)
    return message is None or bool(missing and schema.leaves_out(missing[1]))


def _beyond_bounds(reason: str, execution: ExecutionResult | None) -> Iterator[Finding]:
    if execution is not None and execution.status == "error":
        yield Finding("invalid_sql", execution.message)
    yield Finding("wrong_nesting", f"cannot be compared with gold: {reason}")


def _read_gold(gold: str | None, schema: Schema) -> Query | None:
    try:
        return None if gold is None else _read(gold, schema)[0]
    except (TooComplexError, RecursionError):
        return None


def _read(
    sql: str, schema: Schema, likely: tuple[str, ...] = ()
) -> tuple[Query | None, list[NameProblem]]:
    """Describes a query, without what may be wrapped around it; None where there is none."""
    for cleaned in (_has_curly_quotes(sql), True):
        text = clean_sql(sql) if cleaned else sql
        tree = parse(text)
        if tree is not None:
            reader = QueryReader(schema, text, likely)
            return reader.read(tree), reader.problems
    return None, []


def _has_curly_quotes(sql: str) -> bool:
    """Whether a literal stands in curly quotes, which SQLite takes for letters of a name."""
    return any(token.text != sql[token.start : token.end] for token in tokenize(sql))


def _message(
    predicted: str, schema: Schema, execution: ExecutionResult | None, *, is_read: bool
) -> str | None:
    """SQLite's message where it rejects the query."""
    if execution is not None:
        return execution.message if execution.status == "error" else None
    if not is_read and any(token.upper == "WITH" for token in tokenize(predicted)):
        return _UNREADABLE
    return sqlite_message(predicted, schema)


def _explained(message: str, predicted: str, schema: Schema) -> str:
    """SQLite's message, and what it stumbles over where that is no part of a query."""
    if message.startswith(_OF_A_DATABASE) and _is_of_the_database(predicted, schema):
        return f"{message}; the fault is the database's, not the query's"
    tokens = [token for token in tokenize(predicted) if token.kind not in ("space", "comment")]
    cleaned = clean_sql(predicted)
    texts = [token.text for token in tokens]
    kept = [token.text for token in tokenize(cleaned) if token.kind not in ("space", "comment")]
    if kept and len(kept) < len(texts) and sqlite_message(cleaned, schema) != message:
        around = ["stands among other text"]
        starts = range(len(texts) - len(kept) + 1)
        start = next((i for i in starts if texts[i : i + len(kept)] == kept), None)
        if start is not None:
            before = predicted[: tokens[start].start]
            after = predicted[tokens[start + len(kept) - 1].end :].lstrip(" \n;")
            around = [f'stands after "{_short(before)}"'] if before.strip() else []
            around += [f'is followed by "{_short(after)}"'] if after.strip() else []
        return f"{message}; the query {' and '.join(around)}: clean it first (--clean)"
    if _has_curly_quotes(predicted) and sqlite_message(cleaned, schema) != message:
        return f"{message}; curly quotes are letters to SQLite: clean it first (--clean)"
    after = _text_after_query(message, predicted, schema)
    return f'{message}; the query is followed by "{_short(after)}"' if after else message


def _text_after_query(message: str, predicted: str, schema: Schema) -> str:
    """What follows a whole query, from the word that SQLite stumbles over; "" where none does."""
    stumble = re.search(r'(?:near|token:) "(.+)"', message, re.DOTALL)
    if stumble is None:
        return ""
    tokens = [token for token in tokenize(predicted) if token.kind not in ("space", "comment")]
    stumbles = (
        i
        for i, token in enumerate(tokens)
        # SQLite reads on after the full stop of a sentence, as if a name followed.
        if predicted.startswith((stumble[1], ". ", ".\n"), token.start)
    )
    for i in itertools.islice(stumbles, _MOST_STARTS):
        # It takes the first word of prose for an alias.
        for start in [token.start for token in tokens[max(i - 1, 0) : i + 1]]:
            before = predicted[:start]
            goes_on = predicted.startswith(_OPERATORS, start) or before.endswith("\\'")
            if not goes_on and is_query(before) and sqlite_message(before, schema) is None:
                return predicted[start:]
    return ""


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
