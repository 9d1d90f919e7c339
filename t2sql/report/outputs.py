"""The files of a report: streamed beside their names, then all moved into place."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from t2sql import errors
from t2sql.report.judged import Judged
from t2sql.sql import tokens

# The official script drops blank lines; this is one more query that SQLite refuses.
NO_SQL = "SELECT"


class Outputs:
    """The open files of a report.

    Nothing takes its final name before `publish`: a report that is interrupted leaves an
    earlier one untouched.
    """

    def __init__(self, directory: Path):
        """Use `open_outputs`, which also removes what was not published."""
        self._directory = directory
        self._files: dict[str, IO[str]] = {}

    def add(self, example: Judged) -> None:
        """Writes the example's row, and its lines in the official format if it has gold."""
        self.write("verdicts.jsonl", json.dumps(example.to_json(), ensure_ascii=True) + "\n")
        if example.gold is not None:
            self.write("predict.txt", one_line(example.sql) + "\n")
            self.write("gold.txt", f"{one_line(example.gold)}\t{example.db_id}\n")

    def write(self, name: str, text: str) -> None:
        """Appends to the file that will be called `name`.

        Raises:
          InputError: the disk is full, or the directory is gone.
        """
        with _explained(self._directory):
            if name not in self._files:
                self._files[name] = tempfile.NamedTemporaryFile(  # noqa: SIM115
                    "w",
                    dir=self._directory,
                    prefix=f".{name}-",
                    encoding="utf-8",
                    errors="backslashreplace",
                    newline="\n",
                    delete=False,
                )
            self._files[name].write(text)

    def publish(self) -> None:
        """Gives every file its name, replacing an earlier report's.

        Raises:
          InputError: the disk is full; no file has its name then.
        """
        with _explained(self._directory):
            for file in self._files.values():
                file.close()
                os.chmod(file.name, 0o644)
            for name, file in self._files.items():
                os.replace(file.name, self._directory / name)
        self._files.clear()

    def discard(self) -> None:
        """Removes what was not published."""
        for file in self._files.values():
            with contextlib.suppress(OSError):
                file.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file.name)


@contextlib.contextmanager
def open_outputs(directory: str) -> Iterator[Outputs]:
    """Makes the directory and shows that files can be made in it.

    Raises:
      InputError: it cannot be made, or written to.
    """
    if "://" in directory:
        raise errors.InputError(f"--output={directory}: a report is written to a local directory")
    path = Path(directory).expanduser()
    with _made(path):
        outputs = Outputs(path)
        try:
            yield outputs
        finally:
            outputs.discard()


@contextlib.contextmanager
def _made(path: Path) -> Iterator[None]:
    """Makes the directory; the end removes what it made and nothing was put in."""
    with _explained(path):
        made = [each for each in (path, *path.parents) if not each.exists()]
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            for each in made:
                each.rmdir()


@contextlib.contextmanager
def _explained(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise errors.InputError(f"--output={directory}: cannot be written: {reason}") from error


def one_line(sql: str) -> str:
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


_BREAKS = str.maketrans(dict.fromkeys("\n\r\t\v\f", " "))
