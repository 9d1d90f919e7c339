"""Text files in Spider's official formats: one query a line, or `SQL<TAB>db_id` a line."""

import copy
import itertools
import json
import os
import re
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from t2sql import errors
from t2sql.sql import tokens

_BOM = b"\xef\xbb\xbf"
_BREAKS = str.maketrans(dict.fromkeys("\n\r\t\v\f", " "))
# The official script drops blank lines; this is one more query that SQLite refuses.
NO_SQL = "SELECT"
# How a CSV file may call its column of SQL, perhaps after a word, as in pred_sql.
_SQL_COLUMNS = {"sql", "query", "prediction", "predicted"}
_TABLES = ((",", "CSV"), (";", "CSV"), ("\t", "TSV"))
# A line of SQL in quotes, or behind another column, which no query begins with.
_QUOTED = re.compile(r'"\s*(?:select|with)\b.*"\s*', re.IGNORECASE)
_BEHIND = re.compile(
    r"""\s*(?:"[^"]*"|[^\s"',;]*)\s*([,;\t])\s*"?\s*(?:select|with)\b""", re.IGNORECASE
)
_LINES_PEEKED = 1000
_BIRD_SEPARATOR = "\t----- bird -----\t"


class LineFile:
    """The lines of a UTF-8 file: checked once, then read as often as needed, never held.

    Only `\\n` and `\\r\\n` end a line: a query may hold any other separator. Blank lines at
    the end of the file count as no lines.

    Attributes:
      path: the file.
    """

    def __init__(self, path: Path):
        """Reads the file through.

        Raises:
          InputError: it is missing, unreadable, not UTF-8, or of another format.
        """
        self.path = path
        self.physical_lines = 0
        self._lines = 0
        self._kept: Collection[int] | None = None
        for number, line in enumerate(self._read(), start=1):
            self.physical_lines = number
            if line.strip():
                self._lines = number
        self._refuse_other_format()

    def __len__(self) -> int:
        """The number of lines up to the last that is not blank."""
        return self._lines

    def __iter__(self) -> Iterator[str]:
        """Yields every line without its end, the blank ones at the end of the file too."""
        return (line for _, line in self.numbered())

    def numbered(self) -> Iterator[tuple[int, str]]:
        """Yields the number in the file, from 1 on, and the text of every line."""
        lines = enumerate(self._read(), start=1)
        if self._kept is None:
            return lines
        return ((number, line) for number, line in lines if number - 1 in self._kept)

    def only(self, indices: Collection[int]) -> "LineFile":
        """The same file with just the lines at these indices, from 0 on."""
        part = copy.copy(self)
        part._kept = frozenset(indices)
        part._lines = part.physical_lines = len(part._kept)
        return part

    def _read(self) -> Iterator[str]:
        try:
            with open(self.path, "rb") as file:
                self._refuse_stream(file.fileno())
                for number, line in enumerate(file, start=1):
                    line = line.removesuffix(b"\n").removesuffix(b"\r")
                    yield self._decoded(line.removeprefix(_BOM) if number == 1 else line, number)
        except OSError as error:
            raise errors.InputError(
                f"{self.path}: cannot be read: {os.strerror(error.errno)}"
            ) from error

    def _refuse_other_format(self) -> None:
        first = next((line for line in self if line.strip()), "")
        name = None
        if first.lstrip()[:1] in ("{", "["):
            name = _json_format(list(self))
        elif "\0" in first[:2]:
            name = "UTF-16 without a byte-order mark"
        else:
            name = next((name for mark, name in _TABLES if _is_head(first, mark)), None)
            name = name or self._table_without_head()
        if name is not None:
            raise errors.InputError(
                f"{self.path}: this is {name}; a file has one query a line, in the order of the "
                "examples (a gold file: SQL, a tab and a db_id)"
            )

    def _table_without_head(self) -> str | None:
        """What the lines are, if most hold SQL in a cell of a table."""
        lines = [line for line in itertools.islice(self, _LINES_PEEKED) if line.strip()]
        if 2 * sum(bool(_QUOTED.fullmatch(line)) for line in lines) > len(lines):
            return "CSV, each query in quotes"
        marks = [match[1] for line in lines if (match := _BEHIND.match(line))]
        if 2 * len(marks) <= len(lines):
            return None
        mark = max(marks, key=marks.count)
        return f"{dict(_TABLES)[mark]}, each query behind another column"

    def _refuse_stream(self, descriptor: int) -> None:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise errors.InputError(
                f"{self.path}: not a regular file; it is read more than once, so save it first"
            )

    def _decoded(self, line: bytes, number: int) -> str:
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise errors.InputError(
                f"{self.path}, line {number}: not UTF-8 (byte {error.start + 1} of the line is "
                f"0x{line[error.start]:02x}); save the file as UTF-8"
            ) from error


def _is_head(line: str, separator: str) -> bool:
    """Whether a line names the columns of a table, one of them of SQL."""
    cells = [cell.strip().strip('"').casefold() for cell in line.split(separator)]
    return (
        len(cells) > 1
        and "select" not in cells  # an empty query, before a db_id
        and all(re.fullmatch(r"\w+", cell) for cell in cells)
        and any(cell.rpartition("_")[2] in _SQL_COLUMNS for cell in cells)
    )


def _json_format(lines: list[str]) -> str | None:
    """What the lines are, if they are JSON."""
    try:
        value = json.loads("\n".join(lines))
    except (ValueError, RecursionError):
        try:
            rows = [json.loads(line) for line in lines if line.strip()]
        except (ValueError, RecursionError):
            return None
        return "JSON lines" if all(isinstance(row, dict | list) for row in rows) else None
    values = value.values() if isinstance(value, dict) else value
    is_bird = any(isinstance(text, str) and _BIRD_SEPARATOR in text for text in values)
    return "BIRD's format of predictions, JSON by question number" if is_bird else "JSON"


def split_gold(line: str, *, where: str) -> tuple[str, str]:
    """Splits `SQL<TAB>db_id`.

    Raises:
      InputError: one of the two is missing; `where` names file and line.
    """
    sql, tab, db_id = line.rpartition("\t")
    if not tab or not sql.strip() or not db_id.strip():
        raise errors.InputError(
            f"{where}: a gold line is SQL, a tab and a db_id, found {_shown(line)}"
        )
    return sql.strip(), db_id.strip()


def _shown(line: str) -> str:
    return repr(line if len(line) <= 80 else line[:77] + "...")


def query_line(sql: str) -> str:
    """The query on one line without tabs, as the official script needs it.

    Comments go, since on one line they would swallow what follows. A line break inside of a
    literal becomes a space. No SQL at all becomes `NO_SQL`.
    """
    if sql.translate(_BREAKS) == sql:
        return sql.strip() or NO_SQL
    kept = (
        " " if token.kind in ("comment", "space") else sql[token.start : token.end]
        for token in tokens.tokenize(sql)
    )
    return "".join(kept).translate(_BREAKS).strip() or NO_SQL


def cut_at_tab(line: str) -> tuple[str, str]:
    """A predicted query as the official script takes it out of a line, and what it drops.

    The script keeps what stands before the first tab: it expects a db_id after it, if anything.
    """
    sql, _, dropped = line.strip().partition("\t")
    return sql.strip(), dropped.strip()
