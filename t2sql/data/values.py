"""The text values of a database: read within bounds, and found in questions."""

import collections
import hashlib
import json
import logging
import re
import sqlite3
import unicodedata
from pathlib import Path
from typing import NamedTuple

from t2sql import errors
from t2sql.data import notices
from t2sql.data.database import ReadBound, open_database
from t2sql.data.schema import ColumnRef, Schema, Table
from t2sql.sql.names import quoted
from t2sql.storage import local_cache

MAX_CHARS = 60
MAX_WORDS = 12
# Rows of a table that are read, and different values of a database that are kept.
MAX_ROWS = 100_000
MAX_VALUES = 200_000
_TOO_MANY = f"the database has more than {MAX_VALUES:,}"
_ROWS_AT_ONCE = 1000
# Values of databases of so many bytes are kept; raise the version when others are read.
_KEPT_FROM = 32 << 20
_KEPT_VERSION = 2
_MAX_KEPT_BYTES = 256 << 20  # of all files in the cache
_logger = logging.getLogger(__name__)

# Scripts without spaces between words (Chinese, Japanese, Thai, Lao, Burmese, Khmer), or whose
# particles hang on the word (Korean): a value may begin and end anywhere, so each character
# counts as a word.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u30fa\u30fc-\u30ff\u3130-\u318f"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff66-\uffdc"
    "\U00020000-\U0003ffff"
)
# Unicode's block of halfwidth and fullwidth forms.
_OTHER_WIDTH = re.compile("[\uff00-\uffef]+")
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_UNSPACED_CHARACTER = re.compile(f"[{_UNSPACED}]")
# A single one of these means something by itself.
_HAN = re.compile("[\u3400-\u9fff\U00020000-\U0003ffff]")
# Values that are words of nearly every question.
_COMMON_WORDS = """
a all an and any are as at be by c d do does each for from has have how id in is it its last
list many name names no not of on one or order s show some t than that the their them there
this to type was were what when where which who with yes
"""
_COMMON_HAN = (
    "的一是不了在有和与或个中来上下大小多少为到出以于由从对所每各年月日人名本这那几何其及并最高低长"
    "前后内外同新老地得着过吗呢吧请问给找列数号者家国为與個來對這幾並長後內過嗎請問給號國"
)
_COMMON = frozenset([*_COMMON_WORDS.split(), *_COMMON_HAN])


class ColumnValue(NamedTuple):
    """A value, and a column that holds it."""

    column: ColumnRef
    value: str


def read_values(database: Path, schema: Schema) -> dict[ColumnRef, list[str]]:
    """Each column's short values that are stored as text, the most frequent first.

    Views have none here: to list their rows can take for ever. What of the tables is read is
    bounded by `MAX_ROWS`, `MAX_VALUES` and `ReadBound`; what is cut is told. The values of a large
    database are kept in the local cache until it changes.

    Raises:
      InputError: the database is damaged.
    """
    status = database.stat()
    if status.st_size < _KEPT_FROM:
        values, cut, _ = _read(database, schema)
    else:
        version = (_KEPT_VERSION, str(database.resolve()), status.st_size, status.st_mtime_ns)
        name = hashlib.sha256(repr((version, schema)).encode("utf-8", "surrogatepass")).hexdigest()
        values, cut = _kept(local_cache.default_dir() / "values" / f"{name}.json", database, schema)
    for notice in cut:
        notices.tell(notice)
    return values


def _kept(
    path: Path, database: Path, schema: Schema
) -> tuple[dict[ColumnRef, list[str]], list[str]]:
    """What `_read` returns, from a file of the cache that is written the first time."""
    try:
        return _parse_kept(path.read_text("utf-8"), schema)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        _logger.warning("%s: cannot be used (%s); reading %s again", path, error, database)
    values, cut, is_timed_out = _read(database, schema)
    if not is_timed_out:  # the next time may be quicker
        _keep(path, values, cut)
    return values, cut


def _parse_kept(text: str, schema: Schema) -> tuple[dict[ColumnRef, list[str]], list[str]]:
    kept = json.loads(text)
    values = {ColumnRef(*ref): column for ref, column in kept["values"]}
    refs = [
        ColumnRef(table.name, column.name) for table in schema.tables for column in table.columns
    ]
    if [*values] != [*dict.fromkeys(refs)]:
        raise ValueError("it holds other columns than the database")
    return values, kept["cut"]


def _keep(path: Path, values: dict[ColumnRef, list[str]], cut: list[str]) -> None:
    """Writes the values to the cache; the oldest files there make room."""
    kept = {"values": [[ref, column] for ref, column in values.items()], "cut": cut}
    try:
        local_cache.make_folder(path.parent)
        local_cache.write_atomically(path, json.dumps(kept))
        room = _MAX_KEPT_BYTES
        newest_first = sorted(
            ((file.stat(), file) for file in path.parent.glob("*.json")),
            key=lambda item: item[0].st_mtime_ns,
            reverse=True,
        )
        for status, file in newest_first:
            room -= status.st_size
            if room < 0:
                file.unlink(missing_ok=True)
    except (OSError, errors.InputError) as error:
        _logger.warning("the values are not kept for the next run: %s", error)


def _read(database: Path, schema: Schema) -> tuple[dict[ColumnRef, list[str]], list[str], bool]:
    """The values of each column, what to tell of those not read, and whether time ran out."""
    values: dict[ColumnRef, list[str]] = {}
    notes: list[str] = []
    room = MAX_VALUES
    with open_database(database) as connection:
        connection.text_factory = bytes
        bound = ReadBound(connection, f"reading the values of {database}")
        for table in schema.tables:
            counts = [collections.Counter() for _ in table.columns]
            cut = ""
            if table.kind != "view" and room > 0 and not bound.reached:
                try:
                    cut = _count_values(connection, table, counts, room)
                except sqlite3.OperationalError as error:
                    # A generated column may fail on a row; a disk that fails is no such thing.
                    is_expression = error.sqlite_errorcode == sqlite3.SQLITE_ERROR
                    if table.kind == "table" and not (bound.reached or is_expression):
                        raise
                    cut = bound.reached or str(error)
            elif table.kind != "view":
                cut = bound.reached or _TOO_MANY
            if cut:
                notes.append(f"{database}: not all values of {table.name} are known here: {cut}")
            room -= sum(map(len, counts))
            for column, counted in zip(table.columns, counts, strict=True):
                values[ColumnRef(table.name, column.name)] = _most_frequent_first(counted)
    return values, notes, bool(bound.reached)


def _count_values(
    connection: sqlite3.Connection, table: Table, counts: list[collections.Counter], room: int
) -> str:
    """Counts the values of each column, up to `room` different ones; why it stopped, or ""."""
    columns = (
        f"CASE WHEN typeof({name}) = 'text' AND length({name}) BETWEEN 1 AND {MAX_CHARS} "
        f"THEN {name} END"
        for name in (quoted(column.name) for column in table.columns)
    )
    cursor = connection.execute(f"SELECT {', '.join(columns)} FROM {quoted(table.name)}")
    for _ in range(0, MAX_ROWS, _ROWS_AT_ONCE):
        rows = cursor.fetchmany(_ROWS_AT_ONCE)
        for counted, column_values in zip(counts, zip(*rows, strict=True), strict=False):
            counted.update(column_values)
            del counted[None]
        if sum(map(len, counts)) > room:
            return _TOO_MANY
        if len(rows) < _ROWS_AT_ONCE:
            return ""
    return f"it has more than {MAX_ROWS:,} rows" if cursor.fetchone() else ""


def _most_frequent_first(counted: collections.Counter[bytes]) -> list[str]:
    """The values that can be shown; equally frequent ones in the order of their bytes."""
    in_order = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    values = (raw.decode(errors="replace") for raw, _ in in_order)
    return [value for value in values if value.isprintable() and "\ufffd" not in value]


class ValueIndex:
    """Finds the values that a question names.

    A value is named where its words stand in the question in their order, in any case. In
    scripts that put no spaces between words it is named wherever its characters stand.

    Args:
      values: of each column, as `read_values` returns them.
    """

    def __init__(self, values: dict[ColumnRef, list[str]]):
        self._by_words: dict[tuple[str, ...], list[ColumnValue]] = collections.defaultdict(list)
        for ref, column_values in values.items():
            for value in column_values:
                words = words_of(value)
                if _is_telling(words):
                    self._by_words[words].append(ColumnValue(ref, value))
        self._longest = max(map(len, self._by_words), default=0)

    def find(self, question: str) -> list[list[ColumnValue]]:
        """The columns of each value that is named, the longest value first.

        Values within a longer one that is named are left out. Of the spellings of a value the
        question's own comes first.
        """
        words = words_of(question)
        matches: list[list[ColumnValue]] = []
        taken: set[int] = set()
        for size in range(min(len(words), self._longest), 0, -1):
            for start in range(len(words) - size + 1):
                same_words = self._by_words.get(words[start : start + size])
                if same_words and taken.isdisjoint(range(start, start + size)):
                    taken.update(range(start, start + size))
                    matches.append(
                        sorted(same_words, key=lambda match: match.value not in question)
                    )
        return matches


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text, in lower case.

    A letter and its accent are one character (NFC), and letters of full and half width are the
    plain ones.
    """
    text = _OTHER_WIDTH.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    return tuple(_WORD.findall(unicodedata.normalize("NFC", text).casefold()))


def _is_telling(words: tuple[str, ...]) -> bool:
    """Whether a question with these words is likely to mean the value that they make up."""
    if len(words) == 1:
        (word,) = words
        if _UNSPACED_CHARACTER.fullmatch(word) and not _HAN.fullmatch(word):
            return False
        return word not in _COMMON and not (word.isdigit() and len(word) < 3)
    return 1 < len(words) <= MAX_WORDS or any(map(_UNSPACED_CHARACTER.fullmatch, words))
