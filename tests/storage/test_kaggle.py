import socket
import subprocess
import sys

import fake_kaggle
import pytest

from t2sql import errors
from t2sql.storage import kaggle

HANDLE = "google/gemma-3/flax/gemma-3-270m-it"


@pytest.fixture
def server(monkeypatch, tmp_path):
    fake_kaggle.use(monkeypatch, tmp_path)
    with fake_kaggle.running() as server:
        server.models["google/gemma-3/gemma-3-270m-it"] = _folder(tmp_path / "model", 3)
        server.datasets["someone/spider"] = _folder(tmp_path / "data", 3)
        yield server


def _folder(root, count):
    (root / "sub").mkdir(parents=True)
    for index in range(count):
        (root / "sub" / f"{index}.bin").write_bytes(bytes([index]) * 1000)
    return root


def _files(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_a_model_is_downloaded_once(server, tmp_path):
    for _ in range(2):
        folder = kaggle.download_model(HANDLE, cache_dir=tmp_path)
        assert _files(folder) == _files(tmp_path / "model")
    assert server.requests.count("DownloadModelInstanceVersion") == 3


def test_a_model_of_many_files_comes_as_an_archive(server, tmp_path):
    server.models["google/gemma-3/gemma-3-1b-it"] = _folder(tmp_path / "many", 30)
    handle = "google/gemma-3/flax/gemma-3-1b-it"
    assert _files(kaggle.download_model(handle, cache_dir=tmp_path)) == _files(tmp_path / "many")
    assert server.requests.count("DownloadModelInstanceVersion") == 1


def test_a_data_set_is_downloaded(server, tmp_path):
    folder = kaggle.download_dataset("someone/spider", cache_dir=tmp_path)
    assert _files(folder) == _files(tmp_path / "data")


def test_a_model_that_is_not_there(server, tmp_path):
    with pytest.raises(errors.InputError, match=r"no such thing.*kaggle\.com/models/google/gemma"):
        kaggle.download_model("google/gemma-3/flax/gemma-9", cache_dir=tmp_path)


def test_no_account(server, tmp_path, monkeypatch):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    with pytest.raises(errors.InputError, match=r"no Kaggle login.*kaggle\.json.*licence"):
        kaggle.download_model(HANDLE, cache_dir=tmp_path)


def test_an_account_that_kaggle_does_not_know(server, tmp_path, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "made up")
    with pytest.raises(errors.InputError, match="does not know this login.*API token"):
        kaggle.download_model(HANDLE, cache_dir=tmp_path)


def test_licence_not_accepted(server, tmp_path):
    server.refuse = 403
    message = r"open https://www\.kaggle\.com/models/google/gemma-3, accept the licence"
    with pytest.raises(errors.InputError, match=message):
        kaggle.download_model(HANDLE, cache_dir=tmp_path)


def test_broken_credentials_file(server, tmp_path, monkeypatch):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    (tmp_path / ".kaggle").mkdir()
    (tmp_path / ".kaggle" / "kaggle.json").write_text("{")
    with pytest.raises(errors.InputError, match=r"Invalid Kaggle credentials file.*kaggle\.json"):
        kaggle.download_model(HANDLE, cache_dir=tmp_path)


def test_malformed_handle(server, tmp_path):
    with pytest.raises(errors.InputError, match="kaggle:gemma: Invalid model handle"):
        kaggle.download_model("gemma", cache_dir=tmp_path)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_fault_of_the_server_may_pass(server, tmp_path, status):
    server.refuse = status
    with pytest.raises(errors.TryAgainError, match=f"HTTP status {status}"):
        kaggle.download_model(HANDLE, cache_dir=tmp_path)


def test_a_download_that_breaks_off_is_done_again(server, tmp_path):
    server.cut = 100
    with pytest.raises(errors.TryAgainError, match="broke off"):
        kaggle.download_model(HANDLE, cache_dir=tmp_path)
    server.cut = None
    assert _files(kaggle.download_model(HANDLE, cache_dir=tmp_path)) == _files(tmp_path / "model")


def test_no_network(server, tmp_path, monkeypatch):
    folder = kaggle.download_model(f"{HANDLE}/{fake_kaggle.VERSION}", cache_dir=tmp_path)

    def refuse(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(errors.TryAgainError, match="cannot be reached.*version"):
        kaggle.download_model(HANDLE, cache_dir=tmp_path)
    again = kaggle.download_model(f"{HANDLE}/{fake_kaggle.VERSION}", cache_dir=tmp_path)
    assert again == folder


def test_importing_it_is_light():
    """The report, which has no JAX, may download a data set too."""
    program = "import sys, t2sql.storage.kaggle; print({'jax', 'kagglehub'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "set()\n"
