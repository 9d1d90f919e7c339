"""Application-default credentials against a token server on loopback.

STORAGE_EMULATOR_HOST turns credentials off, so these tests name the endpoint instead.
"""

import contextlib
import http.server
import json
import threading
import urllib.parse

import fault_proxy
import google.auth.jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from fault_proxy import Fault

from t2sql import errors, storage

CONFIG = {
    "first_delay_s": 0.005,
    "max_delay_s": 0.02,
    "deadline_s": 0.3,
    "request_timeout_s": 2.0,
}


class TokenServer(http.server.ThreadingHTTPServer):
    """Hands out token-1, token-2, ... for signed assertions, as Google's endpoint does.

    Attributes:
      issued: the tokens given out.
      claims: of each assertion.
      failures: (status, body) replies still to give instead of a token.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _TokenHandler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/token"
        self.issued = []
        self.claims = []
        self.failures = []


class _TokenHandler(http.server.BaseHTTPRequestHandler):
    server: TokenServer

    def do_POST(self):
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        self.server.claims.append(google.auth.jwt.decode(form["assertion"][0], verify=False))
        if self.server.failures:
            status, reply = self.server.failures.pop(0)
        else:
            self.server.issued.append(f"token-{len(self.server.issued) + 1}")
            status, reply = 200, {"access_token": self.server.issued[-1], "expires_in": 3600}
        body = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


@contextlib.contextmanager
def _serving(server):
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def tokens():
    with _serving(TokenServer()) as server:
        yield server


@pytest.fixture(scope="session")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


@pytest.fixture
def service_account(tokens, private_key, tmp_path, monkeypatch):
    """A service account's key file, found through the environment."""
    path = tmp_path / "key.json"
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "my-project",
                "private_key_id": "1",
                "private_key": private_key,
                "client_email": "job@my-project.iam.gserviceaccount.com",
                "client_id": "1",
                "token_uri": tokens.url,
            }
        )
    )
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    return path


@pytest.fixture
def guarded(gcs_server, tokens):
    """A storage endpoint that takes only the newest of the tokens issued."""
    state = {"valid_from": 1}

    def check(request):
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        valid = tokens.issued[state["valid_from"] - 1 :]
        return Fault.NONE if bearer in valid else Fault.STATUS_401

    with fault_proxy.running(gcs_server.url, check) as proxy:
        proxy.state = state
        yield proxy


def _open(gcs_server, guarded):
    bucket = gcs_server.make_bucket(f"guarded-{guarded.server_address[1]}")
    return storage.open_storage(
        f"{bucket}/run", storage.StorageConfig(endpoint=guarded.url, **CONFIG)
    )


def test_the_accounts_token_reaches_the_endpoint(service_account, gcs_server, guarded, tokens):
    run = _open(gcs_server, guarded)
    assert run.create("unit", b"data") is storage.Outcome.CREATED
    assert run.read("unit") == b"data"
    assert run.names() == {"unit"}
    assert tokens.issued == ["token-1"]
    assert tokens.claims[0]["iss"] == "job@my-project.iam.gserviceaccount.com"
    assert "devstorage" in tokens.claims[0]["scope"]


def test_the_endpoint_may_come_from_the_environment(
    service_account, gcs_server, guarded, monkeypatch
):
    bucket = gcs_server.make_bucket("from-the-environment")
    monkeypatch.setenv("T2SQL_GCS_ENDPOINT", guarded.url)
    run = storage.open_storage(f"{bucket}/run", storage.StorageConfig(**CONFIG))
    assert run.create("unit", b"data") is storage.Outcome.CREATED
    assert guarded.seen


def test_an_expired_token_is_renewed_and_nothing_is_lost(
    service_account, gcs_server, guarded, tokens
):
    run = _open(gcs_server, guarded)
    run.create("a", b"1")
    guarded.state["valid_from"] = 2
    assert run.create("b", b"2") is storage.Outcome.CREATED
    assert tokens.issued == ["token-1", "token-2"]
    guarded.state["valid_from"] = 3
    assert run.read("b") == b"2"
    assert run.names() == {"a", "b"}


def test_a_token_that_is_never_taken_is_bad_input(service_account, gcs_server, guarded):
    guarded.state["valid_from"] = 100
    run = _open(gcs_server, guarded)
    with pytest.raises(
        errors.InputError, match="(?s)Google credentials, or they were refused.*gcloud auth"
    ):
        run.create("a", b"1")


def test_a_token_server_that_stumbles_is_asked_again(service_account, gcs_server, guarded, tokens):
    tokens.failures = [(503, {"error": "unavailable"})]
    assert _open(gcs_server, guarded).create("a", b"1") is storage.Outcome.CREATED


def test_a_revoked_account_is_bad_input(service_account, gcs_server, guarded, tokens):
    tokens.failures = [(400, {"error": "invalid_grant", "error_description": "gone"})] * 50
    with pytest.raises(errors.InputError, match="(?s)invalid_grant.*gcloud auth"):
        _open(gcs_server, guarded).create("a", b"1")


def test_a_token_server_that_cannot_be_reached_is_try_again(
    service_account, gcs_server, guarded, tokens
):
    tokens.shutdown()
    tokens.server_close()
    with pytest.raises(errors.TryAgainError, match="gave up"):
        _open(gcs_server, guarded).create("a", b"1")


@pytest.mark.parametrize("content", [None, "{}", "not json"])
def test_no_credentials_or_broken_ones_are_bad_input(service_account, gcs_server, guarded, content):
    service_account.unlink()
    if content is not None:
        service_account.write_text(content)
    with pytest.raises(errors.InputError, match="(?s)^gs://guarded-.*key.json.*gcloud auth app"):
        _open(gcs_server, guarded)
