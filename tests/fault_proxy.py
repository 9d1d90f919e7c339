"""A proxy between a storage client and its server that does what networks do."""

import contextlib
import dataclasses
import enum
import http.client
import http.server
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

_HOP_HEADERS = {"connection", "content-length", "host", "transfer-encoding", "accept-encoding"}


class Fault(enum.Enum):
    """What becomes of one request."""

    NONE = "passed on"
    STATUS_401 = 401
    STATUS_403 = 403
    STATUS_404 = 404
    STATUS_429 = 429
    STATUS_500 = 500
    STATUS_503 = 503
    RESET_BEFORE = "connection reset, the server never sees the request"
    RESET_AFTER = "the server does it, then the connection is reset"
    LOST_REPLY = "the server does it, the client reads 503"
    TRUNCATED_REPLY = "the reply ends in the middle of its body"
    SLOW = "the reply comes after the client's patience"
    DAMAGED_UPLOAD = "a byte of the upload changes and the server stores it"
    REFUSED_UPLOAD = "a byte of the upload changes; the server notices, as Google's does"
    DAMAGED_REPLY = "a byte of the reply's body changes"
    WRONG_CHECKSUM = "the reply names another crc32c"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """A request as the proxy read it; the names of its headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def is_upload(self) -> bool:
        return self.method == "POST" and self.path.startswith("/upload/")

    @property
    def is_download(self) -> bool:
        return self.method == "GET" and self.path.startswith("/download/")


@dataclasses.dataclass(frozen=True)
class _Reply:
    status: int
    headers: dict[str, str]
    body: bytes


class FaultProxy(http.server.ThreadingHTTPServer):
    """A proxy in front of `upstream` that asks `choose` what to do with each request.

    Attributes:
      url: where it listens.
      seen: each request with its fault, in order of arrival.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, upstream: str, choose: Callable[[Request], Fault], slow_s: float = 0.5):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.seen: list[tuple[Request, Fault]] = []
        self.slow_s = slow_s
        self._upstream = upstream.removeprefix("http://")
        self._choose = choose
        self._lock = threading.Lock()

    def fault_for(self, request: Request) -> Fault:
        with self._lock:
            fault = self._choose(request)
            self.seen.append((request, fault))
        return fault

    def count(self, fault: Fault) -> int:
        return sum(seen is fault for _, seen in self.seen)

    def forward(self, request: Request) -> _Reply:
        connection = http.client.HTTPConnection(self._upstream, timeout=30)
        try:
            connection.request(request.method, request.path, request.body, request.headers)
            reply = connection.getresponse()
            headers = {k: v for k, v in reply.getheaders() if k.lower() not in _HOP_HEADERS}
            return _Reply(reply.status, headers, reply.read())
        finally:
            connection.close()

    def handle_error(self, request, client_address) -> None:
        """Says nothing: clients that give up on a reply are what this is for."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FaultProxy

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {k.lower(): v for k, v in self.headers.items() if k.lower() not in _HOP_HEADERS}
        request = Request(method=self.command, path=self.path, headers=headers, body=body)
        self._act(request, self.server.fault_for(request))

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _handle

    def _act(self, request: Request, fault: Fault) -> None:
        if isinstance(fault.value, int):
            self._send(_error(fault.value, f"injected {fault.value}"))
        elif fault is Fault.RESET_BEFORE:
            self._reset()
        elif fault is Fault.REFUSED_UPLOAD:
            self._send(_error(400, "Provided CRC32C does not match the calculated CRC32C"))
        else:
            if fault is Fault.DAMAGED_UPLOAD:
                request = dataclasses.replace(request, body=_damaged_upload(request.body))
            self._answer(self.server.forward(request), fault)

    def _answer(self, reply: _Reply, fault: Fault) -> None:
        if fault is Fault.RESET_AFTER:
            self._reset()
        elif fault is Fault.LOST_REPLY:
            self._send(_error(503, "injected after the write"))
        elif fault is Fault.TRUNCATED_REPLY:
            self._send(reply, keep=len(reply.body) // 2)
        elif fault is Fault.SLOW:
            time.sleep(self.server.slow_s)
            self._send(reply)
        elif fault is Fault.DAMAGED_REPLY:
            self._send(dataclasses.replace(reply, body=_flipped(reply.body, len(reply.body) // 2)))
        elif fault is Fault.WRONG_CHECKSUM:
            self._send(_with_wrong_checksum(reply))
        else:
            self._send(reply)

    def _send(self, reply: _Reply, keep: int | None = None) -> None:
        self.send_response_only(reply.status)
        for key, value in reply.headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body[:keep])
        if keep is not None:
            self.close_connection = True

    def _reset(self) -> None:
        """Ends the connection with a TCP reset instead of an orderly close."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.wfile.close()
        self.rfile.close()
        self.connection.close()

    def log_message(self, format, *args) -> None:
        """Keeps the test's output clean."""


def _error(status: int, message: str) -> _Reply:
    body = {"error": {"code": status, "message": message, "errors": []}}
    return _Reply(status, {"Content-Type": "application/json"}, json.dumps(body).encode())


def _damaged_upload(body: bytes) -> bytes:
    """Changes one byte of the payload, which is the second part of a multipart upload."""
    end = body.rindex(b"\r\n--")
    return _flipped(body, end - 1)


def _flipped(body: bytes, index: int) -> bytes:
    return body[:index] + bytes([body[index] ^ 1]) + body[index + 1 :] if body else body


def _with_wrong_checksum(reply: _Reply) -> _Reply:
    headers = {
        key: re.sub(r"crc32c=[^,]*", "crc32c=AAAAAA==", value) if "hash" in key.lower() else value
        for key, value in reply.headers.items()
    }
    body = re.sub(rb'"crc32c":"[^"]*"', b'"crc32c":"AAAAAA=="', reply.body)
    return _Reply(reply.status, headers, body)


@contextlib.contextmanager
def running(
    upstream: str, choose: Callable[[Request], Fault], slow_s: float = 0.5
) -> Iterator[FaultProxy]:
    """Starts a proxy and stops it again."""
    proxy = FaultProxy(upstream, choose, slow_s)
    thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()


def once_each(matching: Callable[[Request], bool], *faults: Fault) -> Callable[[Request], Fault]:
    """Gives the faults, one each, to the first requests that match; the rest pass."""
    waiting = list(faults)
    return lambda request: waiting.pop(0) if waiting and matching(request) else Fault.NONE
