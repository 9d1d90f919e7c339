"""Kaggle's API on loopback, for kagglehub's real client.

kagglehub reaches `http://localhost:7777` and nothing else when
`KAGGLE_API_ENVIRONMENT=TEST`, so one server at a time runs on this machine.
"""

import contextlib
import fcntl
import http.server
import io
import json
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

PORT = 7777
TOKEN = "a-token-of-the-fake"
VERSION = 3
_LOCK = Path(tempfile.gettempdir()) / "t2sql-fake-kaggle.lock"


class FakeKaggle:
    """What the server offers; change it while it runs.

    Attributes:
      models: folder of each model by handle without framework and version, such as
        "google/gemma-3/gemma-3-270m-it".
      datasets: folder of each data set by handle, such as "someone/spider".
      refuse: HTTP status for every request, or None to serve. 403 is what Kaggle
        answers when a licence was not accepted, 401 when the login is wrong.
      cut: number of bytes after which a download breaks off, or None.
      requests: names of the requests so far.
    """

    def __init__(self) -> None:
        self.models: dict[str, Path] = {}
        self.datasets: dict[str, Path] = {}
        self.refuse: int | None = None
        self.cut: int | None = None
        self.requests: list[str] = []


@contextlib.contextmanager
def running() -> Iterator[FakeKaggle]:
    """Serves on port 7777; waits while another process does."""
    kaggle = FakeKaggle()
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        server = http.server.ThreadingHTTPServer(("localhost", PORT), _handler(kaggle))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield kaggle
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def use(monkeypatch: pytest.MonkeyPatch, home: Path, *, logged_in: bool = True) -> None:
    """Points kagglehub at the fake, with its cache and credentials under `home` only."""
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "TEST")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(home / ".kaggle"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(home / "kagglehub"))
    monkeypatch.setenv("NO_PROXY", "localhost")
    if logged_in:
        monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)


class _Refused(Exception):
    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def _handler(kaggle: FakeKaggle) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = self.path.rpartition("/")[2]
            kaggle.requests.append(name)
            try:
                self._answer(name, body)
            except _Refused as refused:
                message = {"code": refused.status, "message": str(refused)}
                self._send(json.dumps(message).encode(), "application/json", refused.status)

        def _answer(self, name: str, body: dict) -> None:
            if kaggle.refuse:
                raise _Refused(kaggle.refuse, "Permission denied")
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise _Refused(401, "Unauthenticated")
            folder = _folder(kaggle, body)
            if name.startswith("Download"):
                self._send_bytes(_content(folder, body.get("path") or body.get("fileName")))
            else:
                self._send(json.dumps(_ANSWERS[name](folder)).encode(), "application/json")

        def _send_bytes(self, content: bytes) -> None:
            self._send(content, "application/octet-stream", cut=kaggle.cut)

        def _send(
            self, content: bytes, kind: str, status: int = 200, *, cut: int | None = None
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:cut])
            self.close_connection = cut is not None

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _folder(kaggle: FakeKaggle, body: dict) -> Path:
    if "datasetSlug" in body:
        handle, offered = f"{body['ownerSlug']}/{body['datasetSlug']}", kaggle.datasets
    else:
        handle = f"{body['ownerSlug']}/{body['modelSlug']}/{body['instanceSlug']}"
        offered = kaggle.models
    if handle not in offered:
        raise _Refused(404, "Not found")
    return offered[handle]


def _content(folder: Path, name: str | None) -> bytes:
    """Returns one file, or the whole folder as a tar file."""
    if name:
        return (folder / name).read_bytes()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(folder, arcname=".")
    return archive.getvalue()


def _list_files(folder: Path) -> dict:
    """As Kaggle does: at most 25 files a page; kagglehub then takes the archive instead."""
    names = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        "files": [{"name": name} for name in names[:25]],
        "nextPageToken": "more" if len(names) > 25 else "",
    }


_ANSWERS = {
    "GetModelInstance": lambda _: {"versionNumber": VERSION},
    "GetDataset": lambda _: {"currentVersionNumber": VERSION},
    "ListModelInstanceVersionFiles": _list_files,
}
