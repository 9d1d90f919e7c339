"""Models of Hugging Face's Hub: fetched once, and every failure says what to do."""

import fake_hub
import pytest

from t2sql import errors
from t2sql.storage import hub as hub_lib

NAME = "google/gemma-3-tiny"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights" * 1000)
    (folder / "pytorch_model.bin").write_bytes(b"the weights a second time")
    (folder / "tokenizer.model").write_bytes(b"pieces")
    return folder


@pytest.fixture
def hub(folder):
    with fake_hub.running() as hub:
        hub.models[NAME] = folder
        yield hub


def download(tmp_path, name=NAME):
    return hub_lib.download_model(name, cache_dir=tmp_path / "cache")


def test_a_model_is_fetched_once_and_found_without_a_network(hub, folder, tmp_path, monkeypatch):
    fake_hub.use(monkeypatch, hub.url, tmp_path / "hub")
    fetched = download(tmp_path)
    names = {path.name for path in fetched.iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.model"}
    assert (fetched / "model.safetensors").read_bytes() == b"weights" * 1000
    assert download(tmp_path, f"{NAME}@{fake_hub.COMMIT}") == fetched
    fake_hub.use(monkeypatch, "http://127.0.0.1:9", tmp_path / "hub")
    assert download(tmp_path) == fetched


def test_no_network_and_nothing_fetched(tmp_path, monkeypatch):
    fake_hub.use(monkeypatch, "http://127.0.0.1:9", tmp_path / "hub")
    with pytest.raises(errors.TryAgainError, match=f"hf:{NAME}: the Hub cannot be reached"):
        download(tmp_path)


def test_a_download_that_breaks_off_may_be_tried_again(hub, tmp_path, monkeypatch):
    fake_hub.use(monkeypatch, hub.url, tmp_path / "hub")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.models[NAME].joinpath("config.json").unlink()
    hub.cut = 3000
    with pytest.raises(errors.TryAgainError, match="the download broke off"):
        download(tmp_path)
    hub.cut = None
    assert (download(tmp_path) / "model.safetensors").read_bytes() == b"weights" * 1000


@pytest.mark.parametrize(
    ("refuse", "token", "message"),
    [
        ((401, "GatedRepo"), None, "none was found. Make an access token .*Gemma also has a lic"),
        ((401, "RepoNotFound"), None, "asks for a login and none was found"),
        ((403, "GatedRepo"), "hf_mine", f"open https://huggingface.co/{NAME}, accept the licence"),
        ((404, "RepoNotFound"), "hf_mine", "no such model that your account may see"),
        ((404, "RevisionNotFound"), None, "the model has no revision 'v9'"),
        ((403, ""), "hf_mine", "does not know this login"),
    ],
)
def test_a_refusal_says_what_to_do(refuse, token, message, hub, tmp_path, monkeypatch):
    fake_hub.use(monkeypatch, hub.url, tmp_path / "hub", token)
    hub.refuse = refuse
    name = f"{NAME}@v9" if refuse[1].startswith("Rev") else NAME
    with pytest.raises(errors.InputError, match=message):
        download(tmp_path, name)


def test_a_server_that_fails_may_be_tried_again(hub, tmp_path, monkeypatch):
    fake_hub.use(monkeypatch, hub.url, tmp_path / "hub")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.refuse = (500, "")
    with pytest.raises(errors.TryAgainError, match="cannot be reached"):
        download(tmp_path)


def test_a_name_that_is_none(tmp_path):
    with pytest.raises(errors.InputError, match="called OWNER/NAME"):
        download(tmp_path, "a/b/c/d")
