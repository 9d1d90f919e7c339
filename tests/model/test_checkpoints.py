import gc
import shutil
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dummy_files import make_factory, random_params
from orbax import checkpoint as ocp

from t2sql import errors
from t2sql.model import checkpoints, dummy, factory


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def params(cache_dir):
    return random_params(cache_dir)


def save(path, tree):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, tree)


def flat(params):
    """Gemma's released layout: `transformer/layer_0/attn/q_einsum` holds {"w": ...}."""
    out = {}
    for name, value in params.items():
        if name.startswith("layer_"):
            attention = {f"attn/{part}": leaf for part, leaf in value["attn"].items()}
            mlp = {f"mlp/{part}": {"w": leaf} for part, leaf in value["mlp"].items()}
            norms = {part: leaf for part, leaf in value.items() if part not in ("attn", "mlp")}
            parts = attention | mlp | norms
            out |= {f"transformer/{name}/{part}": leaf for part, leaf in parts.items()}
        else:
            out[f"transformer/{name}"] = value
    return out


def stacked(params, pattern=2):
    """The flat layout with every second layer in one array."""
    out = {}
    for name, value in flat(params).items():
        if "layer_" not in name:
            out[name] = value
            continue
        _, layer, part = name.split("/", 2)
        kind = int(layer.removeprefix("layer_")) % pattern
        group = out.setdefault(f"transformer/stacked_layers/attention_type_{kind}/{part}", {})
        for key, leaf in value.items():
            group.setdefault(key, []).append(leaf)
    return jax.tree.map(np.stack, out, is_leaf=lambda node: isinstance(node, list))


def save_kauldron(path, params):
    """As kauldron's trainer writes it: params among other state, one folder deeper."""
    state = {"params": params, "step": np.int32(7), "opt_state": {"m": np.zeros(3)}}
    tree = state | {"collections": {"empty": np.zeros(1)}}
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        checkpointer.save(path, args=ocp.args.Composite(default=ocp.args.StandardSave(tree)))


@pytest.mark.parametrize(
    "write",
    [
        save,
        lambda path, params: save(path, flat(params)),
        lambda path, params: save(path, stacked(params)),
        save_kauldron,
        checkpoints.save_params,
    ],
    ids=["nested", "flat", "stacked", "kauldron", "our own"],
)
def test_layouts(write, params, tmp_path, cache_dir):
    write(tmp_path / "checkpoint", params)
    loaded = make_factory(tmp_path / "checkpoint", cache_dir).load_params()
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), b), loaded, params)


def with_vision(params):
    """The params and some of those that the larger sizes have for images."""
    embedder = params["embedder"] | {
        "mm_input_projection": {"w": np.ones((8, 32), np.float32)},
        "mm_soft_embedding_norm": {"scale": np.ones(8, np.float32)},
    }
    return params | {"embedder": embedder, "vision_encoder": {"kernel": np.ones((4, 8), "f4")}}


def test_vision_is_left_out(params, tmp_path, cache_dir):
    save(tmp_path / "checkpoint", with_vision(params))
    loaded = make_factory(tmp_path / "checkpoint", cache_dir).load_params()
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), b), loaded, params)


@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
@pytest.mark.parametrize("asked", ["float32", "bfloat16"])
def test_dtype_is_the_one_asked_for(stored, asked, params, tmp_path, cache_dir):
    save(tmp_path / "checkpoint", jax.tree.map(lambda leaf: leaf.astype(stored), params))
    built = make_factory(tmp_path / "checkpoint", cache_dir, dtype=asked)
    loaded = built.load_params()
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {jnp.dtype(asked)}
    output = built.model.apply({"params": loaded}, jnp.array([[2, 300]]))
    assert output.logits.dtype == jnp.dtype(asked)


def test_checkpoint_of_another_size(params, tmp_path, cache_dir):
    save(tmp_path / "checkpoint", params)
    config = factory.config_for("gemma3_270m", str(tmp_path / "checkpoint"), cache_dir=cache_dir)
    message = (
        r"checkpoint is not of Gemma3_270M: embedder/input_embedding is \(512, 32\) in the"
        r" checkpoint and \(262144, 640\) in the model; set --config.model.name"
        r" \(this looks like dummy\)"
    )
    with pytest.raises(errors.InputError, match=message):
        factory.LLMModuleFactory(config).load_params()


def test_another_model_is_found_by_the_metadata_alone(params, tmp_path, cache_dir):
    save(tmp_path / "checkpoint", {k: v for k, v in params.items() if k != "layer_1"})
    (tmp_path / "tokenizer.model").write_bytes(dummy.tokenizer_model())
    with pytest.raises(errors.InputError, match=r"layer_1/\S+ is absent in the checkpoint"):
        make_factory(tmp_path / "checkpoint", cache_dir).check()


def test_checkpoint_with_fewer_layers(params, tmp_path, cache_dir):
    save(tmp_path / "checkpoint", {k: v for k, v in params.items() if k != "layer_1"})
    with pytest.raises(errors.InputError, match=r"layer_1/\S+ is absent in the checkpoint"):
        make_factory(tmp_path / "checkpoint", cache_dir).load_params()


def _data_files(root):
    return sorted(
        (path for path in root.rglob("*") if path.is_file()), key=lambda path: -path.stat().st_size
    )


def _cut_the_largest_file(root):
    path = _data_files(root)[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _remove_the_largest_file(root):
    _data_files(root)[0].unlink()


def _empty_the_metadata(root):
    (root / "_METADATA").write_bytes(b"")


def _cut_the_metadata(root):
    path = root / "_METADATA"
    path.write_bytes(path.read_bytes()[:100])


def _remove_the_manifest(root):
    (root / "manifest.ocdbt").unlink()


@pytest.mark.parametrize(
    "damage",
    [
        _cut_the_largest_file,
        _remove_the_largest_file,
        _empty_the_metadata,
        _cut_the_metadata,
        _remove_the_manifest,
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_damaged_checkpoint(damage, params, tmp_path, cache_dir):
    save(tmp_path / "checkpoint", params)
    damage(tmp_path / "checkpoint")
    with pytest.raises(errors.InputError, match="checkpoint: the checkpoint is damaged") as caught:
        make_factory(tmp_path / "checkpoint", cache_dir).load_params()
    assert "\n" not in str(caught.value)
    gc.collect()  # Orbax leaves tasks behind that complain when collected.


def test_half_written_checkpoint(params, tmp_path, cache_dir):
    save(tmp_path / "checkpoint", params)
    shutil.move(tmp_path / "checkpoint" / "d", tmp_path / "half.orbax-checkpoint-tmp-1" / "d")
    with pytest.raises(errors.InputError, match="one complete Orbax checkpoint.*found: none"):
        make_factory(tmp_path / "half.orbax-checkpoint-tmp-1", cache_dir).load_params()


_HOST = """
import sys, time
from pathlib import Path
import jax

address, index, source, cache_dir = sys.argv[1:]
jax.distributed.initialize(address, num_processes=2, process_id=int(index))
assert jax.process_count() == 2 and len(jax.devices()) == 2
if index == "1":
    time.sleep(600)
from dummy_files import make_factory
params = make_factory(source, Path(cache_dir)).load_params()
assert all(leaf.is_fully_addressable for leaf in jax.tree.leaves(params))
print("loaded", flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_a_host_loads_without_waiting_for_another(params, tmp_path, cache_dir):
    save(tmp_path / "checkpoint", with_vision(params))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    command = [sys.executable, "-c", _HOST, address]
    rest = [str(tmp_path / "checkpoint"), str(cache_dir)]
    environ = {"PYTHONPATH": ":".join([*sys.path, __file__.rpartition("/")[0]])}
    hosts = [
        subprocess.Popen([*command, str(i), *rest], stdout=subprocess.PIPE, text=True, env=environ)
        for i in (0, 1)
    ]
    try:
        assert hosts[0].stdout.readline() == "loaded\n"
        assert hosts[1].poll() is None
    finally:
        for host in hosts:
            host.kill()
            host.communicate()
