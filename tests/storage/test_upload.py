"""Background uploads: bounded, overlapping, confirmed, and loud when they fail."""

import threading
import time

import pytest

from t2sql import errors, storage
from t2sql.storage import upload


class SlowStorage:
    """Creates objects when the gate opens, and counts how many wait inside."""

    def __init__(self):
        self.gate = threading.Event()
        self.created = {}
        self.inside = 0
        self.most_inside = 0
        self.lock = threading.Lock()

    def create(self, name, data):
        with self.lock:
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        self.gate.wait(10)
        with self.lock:
            self.inside -= 1
            self.created[name] = data
        return storage.Outcome.CREATED


def _uploader(slow, **config):
    return upload.Uploader(slow, storage.StorageConfig(**config), lambda name, outcome: None)


def _blocks(call) -> bool:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(0.1)
    return thread.is_alive()


def _wait_until(condition) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_uploads_overlap_the_caller_and_flush_confirms_all_of_them():
    slow = SlowStorage()
    uploader = _uploader(slow, upload_threads=3)
    for i in range(10):
        uploader.put(f"unit-{i}", b"data")
    _wait_until(lambda: slow.inside == 3)
    assert slow.created == {}
    slow.gate.set()
    uploader.flush()
    assert slow.created == {f"unit-{i}": b"data" for i in range(10)}
    assert slow.most_inside == 3


def test_no_more_bytes_wait_than_the_buffer_holds():
    slow = SlowStorage()
    uploader = _uploader(slow, upload_buffer_bytes=100)
    uploader.put("a", b"x" * 60)
    uploader.put("b", b"x" * 40)
    assert _blocks(lambda: uploader.put("c", b"x"))
    slow.gate.set()
    uploader.flush()


def test_an_object_larger_than_the_buffer_goes_alone():
    slow = SlowStorage()
    uploader = _uploader(slow, upload_buffer_bytes=100)
    uploader.put("large", b"x" * 1000)
    assert _blocks(lambda: uploader.put("next", b"x"))
    slow.gate.set()
    uploader.flush()
    assert slow.created.keys() >= {"large"}


def test_an_upload_that_fails_stops_the_next_put_and_the_flush():
    class Full:
        calls = 0

        def create(self, name, data):
            self.calls += 1
            raise errors.TryAgainError("the disk is full")

    full = Full()
    uploader = _uploader(full, upload_threads=1)
    uploader.put("a", b"")
    with pytest.raises(errors.TryAgainError, match="disk is full"):
        uploader.flush()
    with pytest.raises(errors.TryAgainError, match="disk is full"):
        uploader.put("b", b"")
    assert full.calls == 1


def test_a_flush_of_nothing_returns_and_idle_threads_end():
    slow = SlowStorage()
    slow.gate.set()
    uploader = _uploader(slow)
    uploader.flush()
    uploader.put("a", b"")
    uploader.flush()
    _wait_until(lambda: all(thread.name != "upload" for thread in threading.enumerate()))
    uploader.put("b", b"")
    uploader.flush()
    assert slow.created == {"a": b"", "b": b""}
