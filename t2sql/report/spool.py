"""Values by position on disk, so that memory does not grow with what they hold."""

import array
import pickle
import tempfile
from typing import Any

_ABSENT = -1


class Spool[T]:
    """Up to `size` values, put in any order and read back by position.

    The file has no name: it is gone with this object, however the process ends.
    """

    def __init__(self, size: int):
        self._file = tempfile.TemporaryFile(prefix="t2sql-report-")  # noqa: SIM115
        self._offsets = array.array("q", [_ABSENT]) * size

    def put(self, position: int, value: T) -> None:
        """Stores a value; a later one for the same position replaces it."""
        self._offsets[position] = self._file.seek(0, 2)
        pickle.dump(value, self._file, protocol=pickle.HIGHEST_PROTOCOL)

    def get(self, position: int) -> T | None:
        """The value at `position`, None where there is none."""
        if self._offsets[position] == _ABSENT:
            return None
        self._file.seek(self._offsets[position])
        return _load(self._file)

    def __contains__(self, position: int) -> bool:
        return self._offsets[position] != _ABSENT


def _load(file: Any) -> Any:
    # Only what this process wrote into its own nameless file is ever read here.
    return pickle.load(file)
