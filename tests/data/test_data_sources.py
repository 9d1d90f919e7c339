"""Data from the package, a directory, an object store and Kaggle, each through its real client."""

import json
import os
import shutil
import subprocess
import sys
import tarfile

import fake_kaggle
import pytest

from t2sql import errors, storage
from t2sql.data import examples, sources

HANDLE = "jeromeblanchet/yale-universitys-spider-10-nlp-dataset"


@pytest.fixture
def resolve(tmp_path):
    """Resolves a path with the cache in a fixed new directory."""
    cache = tmp_path / "cache"
    return lambda path: sources.resolve_data(str(path), cache_dir=cache)


@pytest.fixture
def layout(tmp_path, data_root):
    """A folder whose only entry is a data set: "top/dev.json", "top/database/..."."""
    top = tmp_path / "offered" / "top"
    top.mkdir(parents=True)
    shutil.copy(data_root / "dev.json", top)
    shutil.copytree(data_root / "database", top / "database")
    return top.parent


@pytest.fixture
def kaggle(tmp_path, layout, monkeypatch):
    """Kaggle with the data set, a login and an empty cache."""
    with fake_kaggle.running() as server:
        fake_kaggle.use(monkeypatch, tmp_path / "home")
        server.datasets[HANDLE] = layout
        yield server


def test_sample(resolve):
    assert len(examples.read_examples(resolve("sample"), "dev")) == 48


def test_sample_does_not_depend_on_the_working_directory(tmp_path):
    code = (
        "import pathlib; from t2sql.data import sources, examples;"
        "root = sources.resolve_data('sample', cache_dir=pathlib.Path('cache'));"
        "print(len(examples.read_examples(root, 'train')))"
    )
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (found.stdout, found.stderr) == ("15\n", "")
    assert list(tmp_path.iterdir()) == []


def test_local_directory_as_it_is(resolve, data_root):
    assert resolve(data_root) == data_root


def test_home_is_expanded(resolve, data_root, monkeypatch):
    monkeypatch.setenv("HOME", str(data_root.parent))
    assert resolve(f"~/{data_root.name}") == data_root


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_the_layout_may_lie_deeper(tmp_path, resolve, depth):
    root = tmp_path.joinpath("data", *["top"] * depth)
    root.mkdir(parents=True)
    (root / "train_spider.json").write_text("[]")
    assert resolve(tmp_path / "data") == root


def test_several_layouts_are_ambiguous(tmp_path, resolve):
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "dev.json").write_text("[]")
    with pytest.raises(errors.InputError, match="several data sets .*data/a, .*data/b"):
        resolve(tmp_path / "data")


@pytest.mark.parametrize("path", ["", "s3://bucket/dir", "http://example.org/spider"])
def test_unknown_forms(resolve, path):
    with pytest.raises(errors.InputError, match="give sample, a directory, gs://"):
        resolve(path)


def test_no_such_directory(tmp_path, resolve):
    with pytest.raises(errors.InputError, match="nowhere: no such data directory"):
        resolve(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(errors.InputError, match="file: is not a directory"):
        resolve(tmp_path / "file")


def test_directory_without_data_says_what_is_there(tmp_path, resolve):
    (tmp_path / "data" / "predictions").mkdir(parents=True)
    with pytest.raises(errors.InputError, match=r"none of dev\.json, .*\(there is: predictions\)"):
        resolve(tmp_path / "data")


def test_gs_directory_is_fetched_once(bucket, resolve, layout, monkeypatch):
    remote = storage.open_storage(f"{bucket}/spider")
    for path in layout.rglob("*"):
        if path.is_file():
            remote.create(str(path.relative_to(layout)), path.read_bytes())
    root = resolve(f"{bucket}/spider")
    read = examples.read_examples(root, "dev")
    assert read == examples.read_examples(layout / "top", "dev")

    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert resolve(f"{bucket}/spider") == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before

    database = root / "database/fleet/fleet.sqlite"
    os.truncate(database, 100)
    assert resolve(f"{bucket}/spider") == root
    assert examples.read_examples(root, "dev") == read


def test_gs_directory_with_nothing_in_it(bucket, resolve):
    with pytest.raises(errors.InputError, match=f"{bucket}/spider: nothing lies there"):
        resolve(f"{bucket}/spider")


def test_kaggle_data_set_is_fetched_once(kaggle, resolve, layout):
    root = resolve(f"kaggle:{HANDLE}")
    assert root.name == "top"
    read = examples.read_examples(root, "dev")
    assert read == examples.read_examples(layout / "top", "dev")
    assert resolve(f"kaggle:{HANDLE}") == root
    assert kaggle.requests.count("DownloadDataset") == 1


def test_kaggle_pinned_version_needs_no_network_once_fetched(kaggle, resolve):
    root = resolve(f"kaggle:{HANDLE}/versions/2")
    asked = len(kaggle.requests)
    assert resolve(f"kaggle:{HANDLE}/versions/2") == root
    assert len(kaggle.requests) == asked


def test_kaggle_transfer_that_breaks_off_is_made_again(kaggle, resolve):
    kaggle.cut = 100
    with pytest.raises(errors.TryAgainError, match=f"kaggle:{HANDLE}: .*the download broke off"):
        resolve(f"kaggle:{HANDLE}")
    kaggle.cut = None
    assert examples.read_examples(resolve(f"kaggle:{HANDLE}"), "dev")


def test_kaggle_extraction_that_breaks_off_is_made_again(kaggle, resolve, monkeypatch):
    def fill_disk(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(tarfile.TarFile, "extractall", fill_disk)
        with pytest.raises(errors.TryAgainError, match="cannot be stored: .*No space left"):
            resolve(f"kaggle:{HANDLE}")
    assert examples.read_examples(resolve(f"kaggle:{HANDLE}"), "dev")


def test_kaggle_without_login(kaggle, resolve, monkeypatch):
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    with pytest.raises(errors.InputError, match="no Kaggle login was found. Make an API token at"):
        resolve(f"kaggle:{HANDLE}")


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (401, errors.InputError, "Kaggle does not know this login"),
        (403, errors.InputError, f"open https://www.kaggle.com/datasets/{HANDLE}, accept"),
        (429, errors.TryAgainError, "HTTP status 429"),
        (500, errors.TryAgainError, "HTTP status 500"),
    ],
)
def test_kaggle_refusals(kaggle, resolve, status, error, message):
    kaggle.refuse = status
    with pytest.raises(error, match=message):
        resolve(f"kaggle:{HANDLE}")


def test_kaggle_unknown_and_malformed_handles(kaggle, resolve):
    with pytest.raises(
        errors.InputError, match="no such thing; look at https://.*/datasets/some/other"
    ):
        resolve("kaggle:some/other")
    for handle in ("", "spider", "a/b/c", "a/b/versions/x"):
        with pytest.raises(errors.InputError, match=f"kaggle:{handle}: Invalid"):
            resolve(f"kaggle:{handle}")


def test_kaggle_without_network(tmp_path, resolve, monkeypatch):
    fake_kaggle.use(monkeypatch, tmp_path / "home")
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")  # Port 80, where nothing listens.
    with pytest.raises(errors.TryAgainError, match="Kaggle cannot be reached"):
        resolve(f"kaggle:{HANDLE}")


def test_kaggle_data_set_of_something_else(kaggle, resolve, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "houses.csv").write_text("price\n")
    kaggle.datasets["some/houses"] = other
    with pytest.raises(errors.InputError, match=r"none of dev\.json.*there is: houses\.csv"):
        resolve("kaggle:some/houses")


def test_local_data_needs_neither_cloud_clients_nor_models():
    code = (
        "import sys; from t2sql.data import sources, examples, read_schema;"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    found = subprocess.run(
        [sys.executable, "-c", f"import json; {code}"], capture_output=True, text=True, check=True
    )
    heavy = {"jax", "gemma", "tensorflow", "kagglehub", "numpy"}
    assert not heavy & set(json.loads(found.stdout))
