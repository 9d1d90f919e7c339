"""Writes objects in the background, so that the next batch need not wait for them."""

import collections
import threading
from collections.abc import Callable

from t2sql.storage import base
from t2sql.storage.base import StorageConfig


class Uploader:
    """Threads that create objects; their errors come out in the caller's thread.

    No more than `upload_buffer_bytes` wait at once (one larger object is let through alone).
    The threads end when they run out of work, and are daemons: a job that has to stop need
    not wait for them, and an object that was not confirmed is simply not there.
    """

    def __init__(
        self,
        storage: base.Storage,
        config: StorageConfig,
        on_outcome: Callable[[str, base.Outcome], None],
    ):
        """Starts nothing yet; a background thread calls `on_outcome(name, outcome)`."""
        self._storage = storage
        self._on_outcome = on_outcome
        self._config = config
        self._changed = threading.Condition()
        self._waiting: collections.deque[tuple[str, bytes]] = collections.deque()
        self._threads = 0
        self._unconfirmed = 0
        self._bytes = 0
        self._error: BaseException | None = None

    def put(self, name: str, data: bytes) -> None:
        """Hands over one object; waits while the buffer is full.

        Raises:
          Whatever an earlier upload raised; nothing more is uploaded after that.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._error or self._fits(len(data)))
            self._raise_error()
            self._waiting.append((name, data))
            self._unconfirmed += 1
            self._bytes += len(data)
            if self._threads < self._config.upload_threads:
                self._threads += 1
                threading.Thread(target=self._work, name="upload", daemon=True).start()

    def flush(self) -> None:
        """Waits until every object handed over is confirmed.

        Raises:
          Whatever an upload raised.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._error or not self._unconfirmed)
            self._raise_error()

    def _fits(self, size: int) -> bool:
        return not self._unconfirmed or self._bytes + size <= self._config.upload_buffer_bytes

    def _raise_error(self) -> None:
        if self._error:
            raise self._error

    def _work(self) -> None:
        while True:
            with self._changed:
                if self._error or not self._waiting:
                    self._threads -= 1
                    return
                name, data = self._waiting.popleft()
            self._upload(name, data)

    def _upload(self, name: str, data: bytes) -> None:
        error = None
        try:
            self._on_outcome(name, self._storage.create(name, data))
        except BaseException as raised:
            error = raised
        with self._changed:
            self._error = self._error or error
            self._unconfirmed -= 1
            self._bytes -= len(data)
            self._changed.notify_all()
