"""Hugging Face's Hub on loopback, for huggingface_hub's real client."""

import contextlib
import hashlib
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """What the server offers; change it while it runs.

    Attributes:
      models: folder of each model by name, such as "google/gemma-3-270m".
      refuse: HTTP status and error code for every request, or None to serve. 403 GatedRepo is what
        the Hub answers when a licence was not accepted, 401 GatedRepo when nobody is logged in.
      cut: number of bytes after which a download breaks off, or None.
      requests: paths of the requests so far.
      url: where it listens.
    """

    def __init__(self) -> None:
        self.models: dict[str, Path] = {}
        self.refuse: tuple[int, str] | None = None
        self.cut: int | None = None
        self.requests: list[str] = []
        self.url = ""


@contextlib.contextmanager
def running() -> Iterator[FakeHub]:
    """Serves on a free port."""
    hub = FakeHub()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def use(monkeypatch: pytest.MonkeyPatch, url: str, cache: Path, token: str | None = None) -> None:
    """Sends huggingface_hub to `url`, with a cache and a login of its own."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", _TEMPLATE.format(url))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)


_TEMPLATE = "{}/{{repo_id}}/resolve/{{revision}}/{{filename}}"


def _handler(hub: FakeHub) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            path = urllib.parse.urlsplit(self.path).path.strip("/")
            hub.requests.append(path)
            if hub.refuse:
                self._send(hub.refuse[0], b"{}", body, {"X-Error-Code": hub.refuse[1]})
                return
            parts = path.removeprefix("api/models/").split("/")
            folder = hub.models.get("/".join(parts[:2]))
            if folder is None:
                self._send(404, b"{}", body, {"X-Error-Code": "RepoNotFound"})
            elif not path.startswith("api/"):
                self._send_file(folder / "/".join(parts[4:]), body)
            elif parts[2] == "tree":
                self._send_json([_entry(folder, file) for file in _files(folder)], body)
            elif parts[2:] in (["revision", "main"], ["revision", COMMIT]):
                self._send_json({"id": "/".join(parts[:2]), "sha": COMMIT, "siblings": []}, body)
            else:
                self._send(404, b"{}", body, {"X-Error-Code": "RevisionNotFound"})

        def _send_json(self, value, body: bool) -> None:
            self._send(200, json.dumps(value).encode(), body, {})

        def _send_file(self, path: Path, body: bool) -> None:
            content = path.read_bytes()
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{_hash(path)}"'}
            self._send(200, content, body, headers)

        def _send(self, status: int, content: bytes, body: bool, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content[: hub.cut])
                self.close_connection = hub.cut is not None

    return Handler


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _entry(folder: Path, path: Path) -> dict[str, object]:
    return {
        "type": "file",
        "path": path.relative_to(folder).as_posix(),
        "size": path.stat().st_size,
        "oid": _hash(path),
    }


def _hash(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()
