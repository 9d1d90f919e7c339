"""Writes Gemma 3 in the Hugging Face layout, for transformers, vLLM and whatever else reads it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from t2sql.model import hugging_face, layout, safetensors_files, tokenizer_json
from t2sql.model import mesh as mesh_lib

# Of a file at most: one file's tensors are held beside the model.
SHARD_BYTES = 2 << 30
TOKENIZER = "tokenizer.model"


def save(folder: Path, params: Any, *, model: Any, tokenizer_path: Path) -> None:
    """Writes config.json, safetensors and the tokenizer into a folder that exists.

    Args:
      folder: for the files.
      params: of gemma's transformer, in the dtype that the files get.
      model: gemma's transformer.
      tokenizer_path: SentencePiece model.
    """
    shards: dict[str, list[str]] = {}
    total = 0
    for index, tensors in enumerate(_shards(params)):
        name = f"model-{index + 1:05}.safetensors"
        safetensors.numpy.save_file(tensors, folder / name, metadata={"format": "pt"})
        shards[name] = list(tensors)
        total += sum(tensor.nbytes for tensor in tensors.values())
    _name_shards(folder, shards, total)
    dtype = jax.tree.leaves(params)[0].dtype.name
    config = hugging_face.config_of(model.config) | {"torch_dtype": dtype}
    (folder / hugging_face.CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    shutil.copyfile(tokenizer_path, folder / TOKENIZER)
    tokenizer_json.write(folder / tokenizer_json.NAME, tokenizer_path)
    tokenizer_config = {
        "tokenizer_class": "GemmaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=2) + "\n")


def _shards(params: Any) -> Iterator[dict[str, np.ndarray]]:
    """The tensors, fetched from the devices as they are asked for, in parts of bounded size."""
    shard: dict[str, np.ndarray] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        parameter, array = mesh_lib.path_name(path), np.asarray(leaf)
        tensors = layout.to_tensors(parameter, array, naming=layout.HUGGING_FACE)
        if shard and sum(x.nbytes for x in (*shard.values(), *tensors.values())) > SHARD_BYTES:
            yield shard
            shard = {}
        shard |= tensors
    yield shard


def _name_shards(folder: Path, shards: dict[str, list[str]], total: int) -> None:
    """Gives the files the names that loaders look for, and writes their index."""
    if len(shards) == 1:
        (name,) = shards
        (folder / name).rename(folder / safetensors_files.SINGLE)
        return
    weight_map = {}
    for name, tensors in shards.items():
        final = f"{name.removesuffix('.safetensors')}-of-{len(shards):05}.safetensors"
        (folder / name).rename(folder / final)
        weight_map |= dict.fromkeys(tensors, final)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / safetensors_files.INDEX).write_text(json.dumps(index, indent=2) + "\n")
