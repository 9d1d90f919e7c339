"""A stand-in for Google Cloud Storage with its latencies and its documented limits.

For simulations of scale only: objects hold no bytes of their own (each is read as the same
body), so that hundreds of thousands of them fit. Real behaviour is tested elsewhere.
"""

import bisect
import contextlib
import functools
import http.server
import json
import multiprocessing
import multiprocessing.connection
import random
import re
import threading
import time
import urllib.parse
from collections.abc import Iterator

from t2sql import storage

# Median and sigma of a lognormal, in seconds: assumptions about a bucket in the same region.
LATENCY_S = {"create": (0.08, 0.5), "read": (0.04, 0.5), "list": (0.25, 0.4)}
# https://cloud.google.com/storage/quotas: one write a second to the same object name.
SAME_OBJECT_S = 1.0
_PAGE = 1000


class SimulatedGcs(http.server.ThreadingHTTPServer):
    """Holds names, sizes and checksums, and one body for all objects that were not uploaded."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, names: list[str], body: bytes, uploaded: dict[str, bytes], seed: int = 0):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.names = sorted([*names, *uploaded])
        self.body = body
        self.uploaded = uploaded
        self.replies: dict[str, int] = {}
        self._last_write: dict[str, float] = {}
        self._lock = threading.Lock()
        self._chance = random.Random(seed)

    def sleep(self, kind: str) -> None:
        median, sigma = LATENCY_S[kind]
        time.sleep(median * self._chance.lognormvariate(0.0, sigma))

    def find(self, name: str) -> bytes | None:
        if name in self.uploaded:
            return self.uploaded[name]
        place = bisect.bisect_left(self.names, name)
        return self.body if self.names[place : place + 1] == [name] else None

    def create(self, name: str, data: bytes) -> int:
        """Returns the status: 200, 412 where it exists, 429 where a write came just before."""
        with self._lock:
            now = time.monotonic()
            if now - self._last_write.get(name, -SAME_OBJECT_S) < SAME_OBJECT_S:
                return self._count(429)
            self._last_write[name] = now
            if self.find(name) is not None:
                return self._count(412)
            self.uploaded[name] = data
            bisect.insort(self.names, name)
            return self._count(200)

    def page(self, prefix: str, token: str) -> tuple[list[str], str | None]:
        start = bisect.bisect_right(self.names, token) if token else 0
        start = max(start, bisect.bisect_left(self.names, prefix))
        end = bisect.bisect_left(self.names, prefix + "\U0010ffff")
        found = self.names[start : min(end, start + _PAGE)]
        return found, found[-1] if start + _PAGE < end else None

    def _count(self, status: int) -> int:
        self.replies[str(status)] = self.replies.get(str(status), 0) + 1
        return status


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: SimulatedGcs

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path == "/replies":
            self._send(200, json.dumps(self.server.replies).encode())
        elif url.path.endswith("/o"):
            self.server.sleep("list")
            self._list(query.get("prefix", ""), query.get("pageToken", ""))
        else:
            self.server.sleep("read")
            self._read(urllib.parse.unquote(url.path.rpartition("/o/")[2]), "alt" in query)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if "uploadType=resumable" in self.path:  # Above 8 MiB, done.json of a large run.
            place = f"http://{self.headers['host']}/{urllib.parse.quote(json.loads(body)['name'])}"
            self._send(200, b"{}", {"Location": place})
            return
        boundary = re.search(r'boundary="?([^"]+)"?', self.headers["content-type"])[1].encode()
        _, about, payload, _ = body.split(b"--" + boundary)
        name = json.loads(about.partition(b"\r\n\r\n")[2])["name"]
        self._create(name, payload.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n"))

    def do_PUT(self) -> None:
        name = urllib.parse.unquote(self.path.removeprefix("/"))
        self._create(name, self.rfile.read(int(self.headers["content-length"])))

    def _create(self, name: str, data: bytes) -> None:
        self.server.sleep("create")
        status = self.server.create(name, data)
        self._send(status, json.dumps(_about(name, data)).encode())

    def _list(self, prefix: str, token: str) -> None:
        names, after = self.server.page(prefix, token)
        reply = {"items": [_about(name, self.server.find(name)) for name in names]}
        self._send(200, json.dumps(reply | ({"nextPageToken": after} if after else {})).encode())

    def _read(self, name: str, media: bool) -> None:
        data = self.server.find(name)
        if data is None:
            self._send(404, b"{}")
        elif media:
            self._send(200, data, {"x-goog-hash": f"crc32c={_crc32c(data)}"})
        else:
            self._send(200, json.dumps(_about(name, data)).encode())

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response_only(status)
        for key, value in (headers or {"Content-Type": "application/json"}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args) -> None:
        """Keeps the simulation's output clean."""


@functools.cache
def _crc32c(data: bytes) -> str:
    return storage.checksum(data)


def _about(name: str, data: bytes) -> dict[str, str]:
    return {"name": name, "size": str(len(data)), "crc32c": _crc32c(data), "generation": "1"}


@contextlib.contextmanager
def running(names: list[str], body: bytes, uploaded: dict[str, bytes]) -> Iterator[str]:
    """Serves in a process of its own and yields the URL.

    Args:
      names: objects that are there and read as `body`.
      body: see `names`.
      uploaded: objects with bytes of their own.
    """
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(
        target=_serve, args=(there, names, body, uploaded), daemon=True
    )
    process.start()
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join()


def _serve(pipe: multiprocessing.connection.Connection, *objects) -> None:
    server = SimulatedGcs(*objects)
    pipe.send(f"http://127.0.0.1:{server.server_address[1]}")
    server.serve_forever()


if __name__ == "__main__":
    print(f"{__doc__}\nA part of other benchmarks, and no command.")
