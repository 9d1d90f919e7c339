"""Files of a local directory that are written bit by bit and take their names all at once."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from t2sql import errors


class OutputFiles:
    """The files that a command writes to its `--output`.

    None takes its name before `publish`: a command that is interrupted leaves the files of an
    earlier one untouched. Use `open_output_files`, which also removes what was not published.
    """

    def __init__(self, directory: Path):
        self._directory = directory
        self._files: dict[str, IO[str]] = {}

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
        """Gives every file its name, replacing what was there.

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
def open_output_files(directory: str) -> Iterator[OutputFiles]:
    """Makes the directory and shows that files can be made in it.

    Raises:
      InputError: it cannot be made, or written to.
    """
    if "://" in directory:
        raise errors.InputError(f"--output={directory}: the output has to be a local directory")
    path = Path(directory).expanduser()
    with _made(path):
        files = OutputFiles(path)
        try:
            yield files
        finally:
            files.discard()


@contextlib.contextmanager
def _made(path: Path) -> Iterator[None]:
    """Makes the directory; the end removes what it made and nothing was put in."""
    with _explained(path):
        made = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()


@contextlib.contextmanager
def _explained(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise errors.InputError(f"--output={directory}: cannot be written: {reason}") from error
