"""The persistent compilation cache, on local disk or shared through a bucket."""

from pathlib import Path

import jax

from t2sql.runs import storage
from t2sql.runs.storage import stage

_REMOTE = "gs://"


class CompilationCache:
    """Keeps compiled programs across runs.

    Args:
      place: a directory, local or gs://; "auto" for one in `cache_dir`; empty for none.
      cache_dir: local directory for what is fetched and kept.
      config: how gs:// is reached.
    """

    def __init__(self, place: str, cache_dir: Path, config: storage.StorageConfig):
        self._place = place
        self._cache_dir = cache_dir
        self._config = config
        self._directory: Path | None = None

    def open(self) -> None:
        """Points JAX to the cache; a remote one is copied to local disk first.

        Raises:
          InputError: a remote cache cannot be read.
          TryAgainError: the network failed for too long.
        """
        if not self._place:
            return
        if self._place.startswith(_REMOTE):
            self._directory = stage.stage_directory(
                self._place, self._cache_dir / "xla-remote", self._config, may_be_empty=True
            )
        elif self._place == "auto":
            self._directory = self._cache_dir / "xla"
        else:
            self._directory = Path(self._place).expanduser()
        jax.config.update("jax_compilation_cache_dir", str(self._directory))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

    def publish(self) -> None:
        """Adds to a remote cache what it lacks; other hosts may be doing the same."""
        if self._directory and self._place.startswith(_REMOTE):
            stage.publish_directory(self._directory, self._place, self._config)
