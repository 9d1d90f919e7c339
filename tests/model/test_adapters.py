"""Adapters on disk: what is written is read back, and what does not fit is refused."""

import dataclasses
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t2sql import errors
from t2sql.model import adapters, factory, lora

RANK = 3
TARGETS = ("q_einsum", "linear")


def _factory(**fields):
    return factory.LLMModuleFactory(
        factory.config_for("dummy", fields.pop("source", "dummy:0"), dtype="float32", **fields)
    )


@pytest.fixture(scope="module")
def adapter():
    rng = np.random.default_rng(0)
    new = lora.init(_factory().abstract_params, RANK, TARGETS, seed=0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) * 0.1, jnp.float32), new
    )


@pytest.fixture
def folder(adapter, tmp_path):
    adapters.save(
        tmp_path / "adapter",
        adapter,
        base={"name": "dummy", "weights_sha256": _factory().checkpoint.weights_sha256},
        rank=RANK,
        targets=list(TARGETS),
        prompt={"name": "compact", "sha256": "0"},
        training={"steps": 1},
    )
    return tmp_path / "adapter"


def _change(folder, **fields):
    path = folder / "adapter.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def _load(folder):
    return _factory(adapter=str(folder), cache_dir=folder.parent / "cache").load_params()


def test_a_model_is_loaded_with_its_adapter_merged(folder, adapter):
    expected = lora.merge(_factory().load_params(), adapter)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), _load(folder), expected)


def test_the_digest_follows_the_content(folder, adapter):
    first = adapters.resolve(str(folder), cache_dir=folder.parent / "cache")
    other = jax.tree.map(lambda leaf: leaf * 1.5, adapter)
    about = {f.name: getattr(first, f.name) for f in dataclasses.fields(first)}
    adapters.save(folder, other, **about)
    second = adapters.resolve(str(folder), cache_dir=folder.parent / "cache")
    assert first.sha256 != second.sha256


def test_an_adapter_of_other_weights_is_refused(folder):
    made = _factory(source="dummy:1", adapter=str(folder), cache_dir=folder.parent / "cache")
    with pytest.raises(errors.InputError, match="was trained on dummy with weights"):
        made.load_params()


def test_an_adapter_of_another_rank_is_refused(folder):
    _change(folder, rank=RANK + 1)
    with pytest.raises(errors.InputError, match=r"an adapter of rank 4 of this model has"):
        _load(folder)


def test_an_adapter_of_another_version_is_refused(folder):
    _change(folder, format_version=99)
    with pytest.raises(errors.InputError, match="format_version 99; this program reads 1"):
        _load(folder)


def test_an_adapter_of_other_layers_is_refused(folder):
    _change(folder, targets=["q_einsum"])
    with pytest.raises(errors.InputError, match="linear"):
        _load(folder)
    _change(folder, targets=["nose"])
    with pytest.raises(errors.InputError, match="unknown layers: nose"):
        _load(folder)


def test_damaged_files_are_named(folder):
    path = folder / "adapter.npz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(errors.InputError, match="adapter.npz is damaged"):
        _load(folder)
    (folder / "adapter.json").write_text("{")
    with pytest.raises(errors.InputError, match="adapter.json is not JSON"):
        _load(folder)
    (folder / "adapter.json").write_text('{"format_version": 1}')
    with pytest.raises(errors.InputError, match="lacks base"):
        _load(folder)


def test_a_missing_half_is_named(folder):
    (folder / "adapter.npz").unlink()
    with pytest.raises(errors.InputError, match=r"adapter\.npz is missing"):
        _load(folder)


def test_what_lies_beside_an_adapter_is_no_part_of_it(folder):
    first = adapters.resolve(str(folder), cache_dir=folder.parent / "cache")
    (folder / "README.md").write_text("a model card")
    second = adapters.resolve(str(folder), cache_dir=folder.parent / "cache")
    assert first.sha256 == second.sha256


def test_an_adapter_that_does_not_ship_is_named(tmp_path):
    with pytest.raises(errors.InputError, match="there is no package:../x; with the package comes"):
        adapters.resolve("package:../x", cache_dir=tmp_path)


def test_a_folder_without_an_adapter_is_named(tmp_path):
    with pytest.raises(errors.InputError, match=r"adapter\.json and adapter\.npz"):
        _load(tmp_path / "nowhere")


def _beside(folder, change, name="other"):
    """Another adapter, with the arrays that `change` gives."""
    other = folder.parent / name
    other.mkdir()
    (other / "adapter.json").write_bytes((folder / "adapter.json").read_bytes())
    with np.load(folder / "adapter.npz") as file:
        np.savez(other / "adapter.npz", **{key: change(key, file[key]) for key in file.files})
    return other


def _average(output, *folders):
    return subprocess.run(
        [
            *(sys.executable, "-m", "t2sql.average"),
            f"--adapters={','.join(map(str, folders))}",
            f"--output={output}",
        ],
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_the_mean_of_two_adapters(folder, tmp_path):
    other = _beside(folder, lambda key, array: array * 3 if key.endswith("/b") else array)
    done = _average(tmp_path / "mean", folder, other)
    assert done.returncode == 0, done.stderr
    mean = adapters.resolve(str(tmp_path / "mean"), cache_dir=tmp_path / "cache")
    assert [each["training"]["steps"] for each in mean.training["mean_of"]] == [1, 1]
    with np.load(folder / "adapter.npz") as file:
        for key, array in mean.read().items():
            np.testing.assert_allclose(
                array, file[key].astype(np.float32) * (2 if key.endswith("/b") else 1), rtol=2e-3
            )
    for output, message in (
        (tmp_path / "mean", "is there already"),
        ("gs://bucket/mean", "has to be a local folder"),
        (folder / "adapter.npz" / "mean", "cannot be written"),
    ):
        refused = _average(output, folder, other)
        assert refused.returncode == 2, output
        assert message in refused.stderr
    same = _beside(folder, lambda key, array: array, "same")
    for name in ("adapter.json", "adapter.npz"):
        (same / name).write_bytes((folder / name).read_bytes())
    assert "two of them are the same" in _average(tmp_path / "new", folder, same).stderr


def test_adapters_without_a_mean_are_refused(folder):
    def resolve(path):
        return adapters.resolve(str(path), cache_dir=folder.parent / "cache", flag="--adapters")

    strange = _beside(folder, lambda key, array: -array, "strange")
    with pytest.raises(errors.InputError, match=r"--adapters.*did not begin alike.*train\.seed"):
        adapters.mean([resolve(folder), resolve(strange)])
    torn = _beside(folder, lambda key, array: array[..., :1], "torn")
    with pytest.raises(errors.InputError, match="one of them is damaged"):
        adapters.mean([resolve(folder), resolve(torn)])
    other = _beside(folder, lambda key, array: array, "ranked")
    _change(other, rank=RANK + 1)
    with pytest.raises(errors.InputError, match="differ in rank: 3 and 4"):
        adapters.mean([resolve(folder), resolve(other)])
