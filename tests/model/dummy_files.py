"""The dummy model's weights as files: GGUF, and Hugging Face's safetensors."""

import json
from collections.abc import Callable
from pathlib import Path

import gguf
import jax
import numpy as np
import safetensors.numpy
from sentencepiece import sentencepiece_model_pb2 as sentencepiece_model

from t2sql.model import dummy, factory

_TYPES = {  # SentencePiece to GGUF; GGUF calls user-defined control tokens CONTROL.
    1: gguf.TokenType.NORMAL,
    2: gguf.TokenType.CONTROL,
    3: gguf.TokenType.CONTROL,
    4: gguf.TokenType.CONTROL,
    6: gguf.TokenType.BYTE,
}


def make_factory(source: object, cache_dir: Path, **fields) -> factory.LLMModuleFactory:
    """The factory of the dummy model with weights from `source`."""
    return factory.LLMModuleFactory(
        factory.config_for("dummy", str(source), cache_dir=cache_dir, **fields)
    )


def random_params(cache_dir: Path, seed: int = 0) -> dict:
    """The dummy model's params as NumPy arrays."""
    return jax.tree.map(np.asarray, make_factory(f"dummy:{seed}", cache_dir).load_params())


def write_gguf(
    path: Path,
    params: dict,
    *,
    name: str = "Gemma 3 tiny",
    more_tensors: dict[str, np.ndarray] | None = None,
    quantisation: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    **fields: str,
) -> None:
    """Writes params and the dummy tokenizer as llama.cpp's converter lays them out.

    Matrices in the quantisation given; norms stay in float32, as there.
    """
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_name(name)
    for key, value in fields.items():
        writer.add_string(key.replace("__", "."), value)
    layers = [key for key in params if key.startswith("layer_")]
    writer.add_block_count(len(layers))
    heads, kv_heads = (
        params["layer_0"]["attn"]["q_einsum"]["w"].shape[0],
        params["layer_0"]["attn"]["kv_einsum"]["w"].shape[1],
    )
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    _add_vocabulary(writer)
    for tensor, values in (_tensors(params, layers) | (more_tensors or {})).items():
        values = np.ascontiguousarray(values, np.float32)
        kind = quantisation if values.ndim > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(tensor, gguf.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: gguf.GGUFWriter) -> None:
    model = sentencepiece_model.ModelProto.FromString(dummy.tokenizer_model())
    writer.add_token_list([piece.piece for piece in model.pieces])
    writer.add_token_scores([piece.score for piece in model.pieces])
    writer.add_token_types([_TYPES[piece.type] for piece in model.pieces])


def _tensors(params: dict, layers: list[str]) -> dict[str, np.ndarray]:
    tensors = {
        "token_embd.weight": params["embedder"]["input_embedding"],
        "output_norm.weight": 1 + params["final_norm"]["scale"],
    }
    for layer in layers:
        block, attn = params[layer], params[layer]["attn"]
        query, output = attn["q_einsum"]["w"], attn["attn_vec_einsum"]["w"]
        weights = {
            "attn_q": np.concatenate([head.T for head in query]),
            "attn_k": np.concatenate([head.T for head in attn["kv_einsum"]["w"][0]]),
            "attn_v": np.concatenate([head.T for head in attn["kv_einsum"]["w"][1]]),
            "attn_output": np.concatenate(list(output)).T,
            "attn_q_norm": 1 + attn["_query_norm"]["scale"],
            "attn_k_norm": 1 + attn["_key_norm"]["scale"],
            "attn_norm": 1 + block["pre_attention_norm"]["scale"],
            "post_attention_norm": 1 + block["post_attention_norm"]["scale"],
            "ffn_norm": 1 + block["pre_ffw_norm"]["scale"],
            "post_ffw_norm": 1 + block["post_ffw_norm"]["scale"],
            "ffn_gate": block["mlp"]["gating_einsum"][0],
            "ffn_up": block["mlp"]["gating_einsum"][1],
            "ffn_down": block["mlp"]["linear"].T,
        }
        number = layer.removeprefix("layer_")
        tensors |= {f"blk.{number}.{name}.weight": value for name, value in weights.items()}
    return tensors


_HUGGING_FACE = {  # by llama.cpp's name
    "token_embd": "embed_tokens",
    "output_norm": "norm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
CONFIG = {
    "architectures": ["Gemma3ForCausalLM"],
    "model_type": "gemma3_text",
    "attention_bias": False,
    "final_logit_softcapping": None,
    "head_dim": 16,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 32,
    "intermediate_size": 64,
    "layer_types": ["sliding_attention", "full_attention"],
    "max_position_embeddings": 4096,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 1,
    "query_pre_attn_scalar": 16,
    "rms_norm_eps": 1e-06,
    "rope_local_base_freq": 10000.0,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "sliding_window": 16,
    "vocab_size": 512,
}


def hugging_face_tensors(params: dict, prefix: str = "model.") -> dict[str, np.ndarray]:
    """Params as transformers names them."""
    tensors = {}
    for name, values in _tensors(params, [key for key in params if "layer_" in key]).items():
        *layer, part, _ = name.replace("blk.", "layers.").rsplit(".", 2)
        name = f"{prefix}{''.join(f'{one}.' for one in layer)}{_HUGGING_FACE[part]}.weight"
        tensors[name] = np.ascontiguousarray(values - 1 if "norm" in part else values)
    return tensors


def write_hugging_face(
    folder: Path,
    tensors: dict[str, np.ndarray],
    *,
    config: dict = CONFIG,
    shards: int = 1,
    dtype_of: Callable[[str], str] = lambda name: "float32",
) -> None:
    """Writes tensors, config.json and the dummy tokenizer as a model of Hugging Face's Hub."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.model").write_bytes(dummy.tokenizer_model())
    tensors = {name: values.astype(dtype_of(name)) for name, values in tensors.items()}
    if shards == 1:
        safetensors.numpy.save_file(tensors, folder / "model.safetensors")
        return
    names = sorted(tensors)
    weight_map = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = {name: tensors[name] for name in names[shard::shards]}
        safetensors.numpy.save_file(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def write_tokenizer_json(path: Path, **model: object) -> None:
    """Writes the dummy tokenizer as Hugging Face's tokenizers keep it."""
    pieces = sentencepiece_model.ModelProto.FromString(dummy.tokenizer_model()).pieces
    added = [
        {"id": index, "content": piece.piece, "special": piece.type != 4}
        for index, piece in enumerate(pieces)
        if piece.type in (2, 3, 4)
    ]
    vocabulary = {piece.piece: index for index, piece in enumerate(pieces)}
    content = {"type": "BPE", "byte_fallback": True, "vocab": vocabulary, "merges": []} | model
    path.write_text(json.dumps({"added_tokens": added, "model": content}))
