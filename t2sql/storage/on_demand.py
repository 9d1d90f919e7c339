"""A remote directory of which a file comes to local disk when its folder is asked for."""

import collections
import concurrent.futures
import os
import pathlib
import secrets
import threading
from collections.abc import Callable, Iterable

from t2sql import errors
from t2sql import storage as storage_lib
from t2sql.storage import base, local, stage

_THREADS = 8


class OnDemandCopy:
    """A local copy that is filled as it is used; any thread may ask for a folder.

    What a listing says (names, sizes, checksums) is in the name of the local directory, so a
    changed source is copied anew. A file is checked by crc32c and synced before it gets its
    name, so processes that share the cache may fetch at once, and one that is killed leaves
    nothing that is taken for a file.

    Args:
      url: `gs://bucket/directory`.
      cache_dir: local directory that holds the copies; made if it is missing.
      folder_of: the folder that a file comes with, by its name; "" for one that comes at once.
      config: how to reach the storage.

    Attributes:
      name: with a hash of what lies in the remote directory.
      path: the local directory.

    Raises:
      InputError: there is nothing under the URL, no permission, a name unfit for a file.
      TryAgainError: the network or the disk failed for too long.
    """

    def __init__(
        self,
        url: str,
        cache_dir: pathlib.Path,
        folder_of: Callable[[str], str],
        config: storage_lib.StorageConfig | None = None,
    ):
        self._source = storage_lib.open_storage(url, config)
        objects = self._source.list()
        if not objects:
            raise errors.InputError(f"{url}: nothing lies there")
        self._files: dict[str, list[base.ObjectInfo]] = collections.defaultdict(list)
        for info in objects:
            self._files[folder_of(base.check_name(info.name))].append(info)
        self.name = stage.copy_name(url, objects)
        whole = cache_dir / self.name
        self.path = whole if whole.is_dir() else whole.with_name(f"{whole.name}.on-demand")
        self._locks: dict[str, threading.Lock] = collections.defaultdict(threading.Lock)
        with local.explained(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            for folder in self._files:  # Who looks for a data set looks for these.
                (self.path / folder).parent.mkdir(parents=True, exist_ok=True)
        self.fetch("")

    def fetch(self, folder: str) -> None:
        """Brings the files of a folder here, unless they are; one without files is no error.

        Raises:
          TryAgainError: the network or the disk failed, or a file changed meanwhile.
        """
        if folder not in self._files:
            return
        with self._locks[folder]:
            missing = [info for info in self._files[folder] if not self._is_here(info)]
            with local.explained(self.path):
                if len(missing) > 1:
                    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
                        for _ in pool.map(self._fetch, missing):
                            pass
                else:
                    for info in missing:
                        self._fetch(info)

    def prefetch(self, folders: Iterable[str]) -> None:
        """Brings folders here in the background, in this order.

        What fails is left to whoever asks for the folder. Nobody waits for the rest at the end.
        """
        waiting = collections.deque(folder for folder in folders if folder in self._files)

        def work() -> None:
            while waiting:
                try:
                    self.fetch(waiting.popleft())
                except (IndexError, errors.T2SQLError):
                    continue

        for _ in range(min(_THREADS, len(waiting))):
            threading.Thread(target=work, daemon=True, name="prefetch").start()

    def _is_here(self, info: base.ObjectInfo) -> bool:
        path = self.path / info.name
        return path.is_file() and path.stat().st_size == info.size

    def _fetch(self, info: base.ObjectInfo) -> None:
        path = self.path / info.name
        path.parent.mkdir(parents=True, exist_ok=True)
        arriving = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            stage.download(self._source, info, arriving)
            os.replace(arriving, path)
        finally:
            arriving.unlink(missing_ok=True)
