"""t2sql.export: what it writes is read again, by this program as by others."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from dummy_files import make_factory
from test_peft_files import own_adapter

from t2sql import errors
from t2sql.model import exports, hugging_face_export


@pytest.fixture
def adapter(tmp_path, monkeypatch):
    monkeypatch.setenv("T2SQL_CACHE", str(tmp_path / "cache"))
    return own_adapter(tmp_path / "ours")


def folder(tmp_path, name):
    (tmp_path / name).mkdir()
    return tmp_path / name


def run(**flags):
    command = [sys.executable, "-m", "t2sql.export"]
    command += [f"--{name}={value}" for name, value in flags.items()]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ)


def test_the_command_writes_an_adapter_and_refuses_a_folder_that_is_there(adapter, tmp_path):
    flags = {"adapter": adapter, "format": "peft", "output": tmp_path / "peft"}
    done = run(**flags)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"an adapter of PEFT, for dummy: {tmp_path / 'peft'}\n"
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "peft").iterdir()} == {0o644}
    config = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (3, 3)
    assert config["target_modules"] == sorted(
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    )
    again = run(**flags)
    assert (again.returncode, again.stderr) == (
        2,
        f"error: --output={tmp_path / 'peft'} is there already: give a new folder\n",
    )


def test_an_export_that_fails_leaves_nothing(tmp_path):
    done = run(adapter=tmp_path / "none", format="peft", output=tmp_path / "out")
    assert done.returncode == 2
    assert "--adapter:" in done.stderr
    assert list(tmp_path.iterdir()) == []
    done = run(source=tmp_path / "none", format="safetensors", output=tmp_path / "out")
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert done.stderr.startswith("error: --source: ")
    done = run(
        source="dummy:0", tokenizer=tmp_path / "none", format="safetensors", output=tmp_path / "out"
    )
    assert (done.returncode, "error: --tokenizer: " in done.stderr) == (2, True), done.stderr
    unread = run(adapter="x", format="peft", dtype="float32", output=tmp_path / "out")
    assert (unread.returncode, "--dtype is for --format=safetensors" in unread.stderr) == (2, True)
    assert run(format="peft", output=tmp_path / "out").returncode == 2
    assert "should be one of <peft|safetensors>" in run(format="bin", output="x").stderr


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_merged_weights_are_those_of_a_run_with_the_adapter(dtype, adapter, tmp_path, monkeypatch):
    monkeypatch.setattr(hugging_face_export, "SHARD_BYTES", 1 << 15)
    cache = tmp_path / "cache"
    written = folder(tmp_path, "merged")
    exports.write_weights(written, "dummy:0", str(adapter), dtype=dtype)
    assert len(list(written.glob("model-*-of-*.safetensors"))) > 1
    merged = make_factory(written, cache, dtype=dtype)
    merged.check()
    expected = make_factory("dummy:0", cache, adapter=str(adapter), dtype=dtype).load_params()
    jax.tree.map(np.testing.assert_array_equal, merged.load_params(), expected)
    assert merged.tokenizer.encode("SELECT 1")


def test_an_adapter_through_peft_is_the_adapter(adapter, tmp_path):
    cache = tmp_path / "cache"
    written = folder(tmp_path, "peft")
    exports.write_peft(written, str(adapter))
    ours, theirs = (
        make_factory("dummy:0", cache, adapter=str(path)).load_params()
        for path in (adapter, written)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ours, theirs)


def test_an_adapter_of_other_weights_is_not_merged(adapter, tmp_path):
    with pytest.raises(errors.InputError, match="was trained on dummy with weights"):
        exports.write_weights(folder(tmp_path, "merged"), "dummy:1", str(adapter))
    assert not list((tmp_path / "merged").iterdir())
