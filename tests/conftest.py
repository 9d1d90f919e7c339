"""Fixtures that tests of several packages share."""

import itertools
from collections.abc import Iterator

import gcs_server as gcs_server_lib
import pytest

_BUCKETS = itertools.count()


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[gcs_server_lib.GcsServer]:
    """A real object store on loopback for the whole session."""
    with gcs_server_lib.running() as server:
        yield server


@pytest.fixture
def bucket(gcs_server, monkeypatch) -> str:
    """The gs:// URL of a new bucket, which google-cloud-storage finds by the environment."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server.url)
    return gcs_server.make_bucket(f"bucket-{next(_BUCKETS)}")
