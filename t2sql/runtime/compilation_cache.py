"""The persistent compilation cache, on local disk or shared through a bucket."""

import contextlib
import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from t2sql import errors, storage
from t2sql.storage import stage

_REMOTE = "gs://"
_logger = logging.getLogger(__name__)


class CompilationCache:
    """Keeps compiled programs across runs, and shares them between processes.

    JAX writes an entry where it stays, and never again: another process may read half of it,
    and half of one stays when its writer is killed. So JAX gets a directory of this process
    alone, with links to the entries that exist, and what it adds is created whole in the
    shared directory.

    Args:
      location: a directory, local or gs://; "auto" for one in `cache_dir`; empty for none.
      cache_dir: local directory for what is fetched and kept.
      config: how gs:// is reached.
    """

    def __init__(self, location: str, cache_dir: Path, config: storage.StorageConfig):
        self._location = str(cache_dir / "xla") if location == "auto" else location
        self._cache_dir = cache_dir
        self._config = config
        self._publishing: threading.Thread | None = None

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Lets JAX use the cache inside of the block; what is new is published after it.

        Raises:
          InputError: the cache cannot be read, or a local one cannot be written.
          TryAgainError: the network failed for too long.
        """
        if not self._location:
            yield
            return
        own = tempfile.TemporaryDirectory(prefix="t2sql-programs-")
        for path in self._local_copy().glob("*-cache"):
            (Path(own.name) / path.name).symlink_to(path.absolute())
        try:
            with _jax_uses(own.name):
                yield
        finally:
            # A daemon: a job that has to stop need not wait for it.
            self._publishing = threading.Thread(target=self._publish, args=(own,), daemon=True)
            self._publishing.start()

    def close(self) -> None:
        """Waits until what was new is published."""
        if self._publishing:
            self._publishing.join()

    def _local_copy(self) -> Path:
        if self._location.startswith(_REMOTE):
            return stage.stage_directory(
                self._location, self._cache_dir / "xla-remote", self._config, may_be_empty=True
            )
        directory = Path(self._location).expanduser()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            writable = os.access(directory, os.W_OK | os.X_OK)
        except OSError:
            writable = False
        if not writable:
            raise errors.InputError(
                f"--config.compilation_cache: cannot write to {directory}; name another one, "
                "or none with --config.compilation_cache="
            )
        return directory

    def _publish(self, own: tempfile.TemporaryDirectory) -> None:
        """Adds what the shared cache lacks; other hosts may be doing the same."""
        with own:
            try:
                stage.publish_directory(Path(own.name), self._location, self._config)
            except errors.T2SQLError as error:  # The results do not hang on it.
                _logger.warning("the compiled programs are not kept: %s", error)


@contextlib.contextmanager
def _jax_uses(directory: str) -> Iterator[None]:
    values = {
        "jax_compilation_cache_dir": directory,
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: getattr(jax.config, name) for name in values}
    _configure(values)
    try:
        yield
    finally:
        _configure(before)


def _configure(values: dict[str, object]) -> None:
    for name, value in values.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # It opens its directory once.
