"""Gemma 3 in the Hugging Face layout: config.json, safetensors, a tokenizer.

Read tensor by tensor onto the mesh; no conversion is kept. The multimodal checkpoints (4B and
larger) hold the text model among others, which are left out.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from t2sql import errors
from t2sql.model import layout, registry, safetensors_files
from t2sql.model import mesh as mesh_lib

CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
# By `model_type`: the text model alone, and the one that sees images too.
_MODEL_TYPES = ("gemma3_text", "gemma3")
IMAGE_PARTS = (
    "vision_tower.",
    "multi_modal_projector.",
    "model.vision_tower.",
    "model.multi_modal_projector.",
)
# The output layer is the embedding; some files store it a second time.
_TIED = ("lm_head.weight", "language_model.lm_head.weight")


def is_folder(folder: Path) -> bool:
    """Whether a folder holds weights, or an adapter, in the Hugging Face layout."""
    return safetensors_files.has_any(folder) or (folder / ADAPTER_CONFIG).is_file()


def weight_files(folder: Path) -> list[Path]:
    """The files of the weights.

    Raises:
      InputError: it holds an adapter, has no config.json, or a file is missing.
    """
    if not (folder / CONFIG).is_file():
        if (folder / ADAPTER_CONFIG).is_file():
            raise errors.InputError(
                f"--config.model.source: {folder} holds an adapter, not weights: name it with"
                " --config.model.adapter, and its base with --config.model.source"
            )
        raise errors.InputError(
            f"--config.model.source: {folder} has safetensors files and no {CONFIG}, which says"
            " what model they are of: fetch it too"
        )
    return [folder / name for name in safetensors_files.names(folder)]


def check_params(path: Path, *, expected: Any, model: Any) -> None:
    """Compares config.json and the shapes in the files' heads with the model.

    Raises:
      InputError: a file is missing or damaged, or they are of another model.
    """
    with _open(path, expected, model):
        pass


def load_params(path: Path, *, expected: Any, shardings: Any, model: Any) -> Any:
    """Reads each parameter once, casts it and places it on the mesh before the next is read.

    Args:
      path: folder with config.json and safetensors files.
      expected: tree of `jax.ShapeDtypeStruct`, what the model wants.
      shardings: tree of `jax.sharding.Sharding`.
      model: gemma's transformer.

    Raises:
      InputError: as `check_params`, or a tensor has a dtype that is not read.
    """
    naming, config = layout.HUGGING_FACE, model.config
    with _open(path, expected, model) as (files, stored_names):

        def place(key: Any, leaf: jax.ShapeDtypeStruct, sharding: jax.sharding.Sharding):
            parameter = mesh_lib.path_name(key)
            rows = leaf.shape[0] if parameter in naming.top else None
            tensors = [files.tensor(stored_names[name], rows) for name in naming.tensors(parameter)]
            array = layout.to_parameter(
                parameter,
                tensors,
                heads=config.num_heads,
                kv_heads=config.num_kv_heads,
                norm_offset=naming.norm_offset,
            )
            return mesh_lib.place(np.ascontiguousarray(array, leaf.dtype), sharding)

        return jax.tree_util.tree_map_with_path(place, expected, shardings)


@contextlib.contextmanager
def _open(
    folder: Path, expected: Any, model: Any
) -> Iterator[tuple[safetensors_files.SafetensorsFiles, Mapping[str, str]]]:
    """The files of a folder, checked to be of the model, and what they call its tensors."""
    names = [path.name for path in weight_files(folder)]
    config = read_config(folder)
    with safetensors_files.SafetensorsFiles(folder, names) as files:
        stored_names = {
            layout.canonical(name): name
            for name in files.shapes
            if not name.startswith(IMAGE_PARTS) and name not in _TIED
        }
        _check_shapes(folder, files, stored_names, expected, model)
        _check_config(folder, config, model.config)
        yield files, stored_names


def read_config(folder: Path) -> Mapping[str, Any]:
    """The text model's part of config.json.

    Raises:
      InputError: it cannot be read, or is of another architecture.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text())
        model_type = config.get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise errors.InputError(f"{path}: cannot be read as a model's config: {error}") from error
    _check_objects(path, config, ("text_config", "quantization_config"))
    if str(model_type).startswith("gemma4"):
        raise errors.InputError(f"{path}: {registry.GEMMA4}")
    if model_type not in _MODEL_TYPES:
        architectures = config.get("architectures") or ["no architecture named"]
        raise errors.InputError(
            f"{path}: holds a model of type {model_type!r}"
            f" ({', '.join(map(str, architectures))}); only"
            f" Gemma 3 is known ({' and '.join(_MODEL_TYPES)})"
        )
    if quantised := config.get("quantization_config"):
        raise errors.InputError(
            f"{path}: the weights are quantised ({quantised.get('quant_method', 'unknown')}); take"
            " those before they were, or a .gguf file"
        )
    text = config | (config.get("text_config") or {})
    _check_objects(path, text, ("rope_parameters", "rope_scaling"))
    return text


def _check_objects(path: Path, config: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    for key in keys:
        if not isinstance(config.get(key), dict | None):
            raise errors.InputError(
                f"{path}: {key} is {config[key]!r}; it has to be an object: fetch the file again"
            )


def _check_shapes(
    folder: Path,
    files: safetensors_files.SafetensorsFiles,
    stored_names: Mapping[str, str],
    expected: Any,
    model: Any,
) -> None:
    wanted_shapes = dict(_tensor_shapes(expected))
    embedding = layout.HUGGING_FACE.top["embedder/input_embedding"]
    for name in sorted(wanted_shapes.keys() | stored_names.keys()):
        shape = files.shapes[stored_names[name]] if name in stored_names else "absent"
        model_shape = wanted_shapes.get(name, "absent")
        if name == embedding and _has_spare_rows(shape, model_shape):
            continue
        if shape != model_shape:
            hint = registry.looks_like(files.shapes.get(stored_names.get(embedding)))
            raise errors.InputError(
                f"{folder}: this checkpoint is not of {type(model).__name__}: the tensor"
                f" {stored_names.get(name, name)} is {shape} in the files and {model_shape} in the"
                f" model; set --config.model.name ({hint})"
            )


def _has_spare_rows(shape: Any, model_shape: tuple[int, ...]) -> bool:
    return (
        shape != "absent"
        and shape[1:] == model_shape[1:]
        and 0 <= shape[0] - model_shape[0] <= registry.MOST_SPARE_ROWS
    )


def _tensor_shapes(expected: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    for key, leaf in jax.tree_util.tree_leaves_with_path(expected):
        parameter = mesh_lib.path_name(key)
        for name in layout.HUGGING_FACE.tensors(parameter):
            yield name, layout.tensor_shape(parameter, leaf.shape)


def _check_config(folder: Path, config: Mapping[str, Any], model_config: Any) -> None:
    """Compares what no shape tells. What config.json leaves out is transformers' default."""
    expected = _expected_values(model_config)
    stored = {key: config[key] for key in expected if config.get(key) is not None}
    for key, value in (stored | _rope_values(config)).items():
        if value != expected[key]:
            raise errors.InputError(
                f"{folder / CONFIG}: {key} is {value!r}; gemma's model of this size has"
                f" {expected[key]!r}, and no other is computed here"
            )


def config_of(config: Any) -> dict[str, Any]:
    """What config.json says of a text model, by gemma's config of it."""
    values = _expected_values(config)
    factor, kind = values.pop("rope_scaling.factor"), values.pop("rope_scaling.rope_type")
    return {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": _MODEL_TYPES[0],
        "vocab_size": config.num_embed,
        "hidden_size": config.embed_dim,
        "intermediate_size": config.hidden_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        # Gemma's reports: 32 Ki tokens up to 1B, and four times that with scaled positions.
        "max_position_embeddings": 32_768 if factor == 1 else 131_072,
        "rope_scaling": None if factor == 1 else {"rope_type": kind, "factor": factor},
        "pad_token_id": 0,
        "eos_token_id": [1, 106],
        "bos_token_id": 2,
        **values,
    }


def _expected_values(config: Any) -> dict[str, Any]:
    """What config.json says of a model, by gemma's config of it."""
    kinds = {"LOCAL_SLIDING": "sliding_attention", "GLOBAL": "full_attention"}
    return {
        "query_pre_attn_scalar": round(config.query_pre_attn_scalar() ** -2),
        "sliding_window": config.sliding_window_size,
        "layer_types": [kinds[kind.name] for kind in config.attention_types],
        "rope_theta": config.global_base_frequency,
        "rope_local_base_freq": config.local_base_frequency,
        "rope_scaling.factor": config.global_scale_factor,
        "rope_scaling.rope_type": "linear",
        "rms_norm_eps": 1e-6,
        "hidden_activation": "gelu_pytorch_tanh",
        "final_logit_softcapping": config.final_logit_softcap,
        "attn_logit_softcapping": config.attn_logits_soft_cap,
        "attention_bias": False,
        "tie_word_embeddings": True,
        "use_bidirectional_attention": False,
    }


def _rope_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """RoPE's part of config.json, which transformers 5 spells in another way than 4."""
    if rope := config.get("rope_parameters"):
        everywhere, local = rope.get("full_attention", {}), rope.get("sliding_attention", {})
        frequencies = {
            "rope_theta": everywhere.get("rope_theta"),
            "rope_local_base_freq": local.get("rope_theta"),
        }
    elif "rope_scaling" in config:
        everywhere, frequencies = config["rope_scaling"] or {}, {}
    else:
        return {}
    rope_type = everywhere.get("rope_type", everywhere.get("type", "default"))
    scaling = {"rope_scaling.factor": everywhere.get("factor", 1.0)}
    if rope_type != "default":
        scaling["rope_scaling.rope_type"] = rope_type
    return {key: value for key, value in (frequencies | scaling).items() if value is not None}
