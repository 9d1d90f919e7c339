"""A profile of some steps of a run, for XProf and Perfetto."""

import pathlib
import tempfile

import jax

from t2sql import storage
from t2sql.storage import stage

# Blocks of decode steps (16 steps, or fewer) before the trace begins, and in it: the first ones
# are of a batch that still fills. A trace of more is too large to look at.
_SKIPPED, _TRACED = 4, 12


class Profiler:
    """Traces some blocks of steps, with the prefills between them, and writes the trace away.

    Args:
      location: a folder, local or gs://, below which XProf finds the trace; empty for none.
      config: how gs:// is reached.
    """

    def __init__(self, location: str, config: storage.StorageConfig):
        self._location = location
        self._config = config
        self._blocks = 0
        self._scratch: tempfile.TemporaryDirectory | None = None

    def on_step(self) -> None:
        """Called with every block of steps.

        Raises:
          InputError: the trace cannot be written there.
          TryAgainError: a network or a disk failed for too long.
        """
        if not self._location:
            return
        self._blocks += 1
        if self._blocks == _SKIPPED + 1:
            self._scratch = tempfile.TemporaryDirectory(prefix="t2sql-profile-")
            jax.profiler.start_trace(self._scratch.name)
        elif self._blocks == _SKIPPED + _TRACED + 1:
            self.close()

    def close(self) -> int:
        """Ends the trace, where one is going; returns how many files were written."""
        if self._scratch is None:
            return 0
        with self._scratch as folder:
            self._scratch = None
            jax.profiler.stop_trace()
            return stage.publish_directory(pathlib.Path(folder), self._location, self._config)
