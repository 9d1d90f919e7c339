"""Fixtures for the tests of runs."""

import pytest


@pytest.fixture(params=["local", "gcs"])
def url(request, tmp_path) -> str:
    """Where a run may lie, once locally and once on gs://."""
    if request.param == "local":
        return str(tmp_path / "run")
    return f"{request.getfixturevalue('bucket')}/run"
