"""Text files in Spider's official formats: one query a line, or `SQL<TAB>db_id` a line."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from t2sql import errors
from t2sql.sql import tokens

_BOM = b"\xef\xbb\xbf"
_BREAKS = str.maketrans(dict.fromkeys("\n\r\t\v\f", " "))
# The official script drops blank lines; this is one more query that SQLite refuses.
NO_SQL = "SELECT"


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
          InputError: it is missing, unreadable or not UTF-8.
        """
        self.path = path
        self._lines = 0
        for number, line in enumerate(self._read(), start=1):
            if line.strip():
                self._lines = number

    def __len__(self) -> int:
        """The number of lines up to the last that is not blank."""
        return self._lines

    def __iter__(self) -> Iterator[str]:
        """Yields every line without its end, the blank ones at the end of the file too."""
        return self._read()

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
    literal becomes a space. No SQL at all becomes
    `NO_SQL`.
    """
    if sql.translate(_BREAKS) == sql:
        return sql.strip() or NO_SQL
    kept = (
        " " if token.kind in ("comment", "space") else sql[token.start : token.end]
        for token in tokens.tokenize(sql)
    )
    return "".join(kept).translate(_BREAKS).strip() or NO_SQL
