"""The dummy model's weights as files: GGUF, and Orbax in gemma's layouts."""

from pathlib import Path

import gguf
import jax
import numpy as np
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
    **fields: str,
) -> None:
    """Writes params and the dummy tokenizer as llama.cpp's converter lays them out, in float32."""
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
        writer.add_tensor(tensor, np.ascontiguousarray(values, np.float32))
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
