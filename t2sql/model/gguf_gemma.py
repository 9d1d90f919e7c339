"""Gemma 3 in GGUF: its tensors as gemma's params, its vocabulary as SentencePiece.

The layout is that of llama.cpp's converter; the ids of Gemma's own SentencePiece
file follow from the vocabulary (byte fallback, no dummy prefix, no normalising).
"""

import re
from collections.abc import Mapping
from typing import Any

import gguf
import numpy as np

from t2sql import errors
from t2sql.model import gguf_file, sentencepiece_files
from t2sql.model.sentencepiece_files import PieceType

ARCHITECTURE = "gemma3"
# Some files pad the embedding past Gemma 3's vocabulary (image placeholders of other tools).
VOCAB_SIZE = 262_144

# Gemma's own file has its control tokens, such as <start_of_turn>, as user-defined ones.
_PIECE_TYPES = {
    gguf.TokenType.NORMAL: PieceType.NORMAL,
    gguf.TokenType.UNKNOWN: PieceType.UNKNOWN,
    gguf.TokenType.CONTROL: PieceType.USER_DEFINED,
    gguf.TokenType.USER_DEFINED: PieceType.USER_DEFINED,
    gguf.TokenType.UNUSED: PieceType.UNUSED,
    gguf.TokenType.BYTE: PieceType.BYTE,
}
_NORMS = {
    "pre_attention_norm": "attn_norm",
    "post_attention_norm": "post_attention_norm",
    "pre_ffw_norm": "ffn_norm",
    "post_ffw_norm": "post_ffw_norm",
}


def read_params(file: gguf_file.GGUFFile) -> dict[str, Any]:
    """Returns the params of `gm.nn.Gemma3_*`, nested, as float32 NumPy arrays.

    Raises:
      InputError: another architecture, a missing tensor, or one without a place in Gemma 3.
    """
    if (architecture := file.metadata("general.architecture")) != ARCHITECTURE:
        raise errors.InputError(
            f"{file.path}: the GGUF file holds a {architecture!r} model; only {ARCHITECTURE!r} is "
            "known"
        )
    tensors = _TrackedTensors(file)
    layers = file.metadata(f"{ARCHITECTURE}.block_count")
    params = {
        "embedder": {"input_embedding": tensors["token_embd.weight"][:VOCAB_SIZE]},
        "final_norm": {"scale": _scale(tensors["output_norm.weight"])},
        **{f"layer_{i}": _layer(file, tensors, f"blk.{i}") for i in range(layers)},
    }
    if unused := sorted(set(file.tensor_names) - tensors.names):
        raise errors.InputError(f"{file.path}: tensors that Gemma 3 has no place for: {unused}")
    return params


def read_tokenizer(file: gguf_file.GGUFFile) -> bytes:
    """Returns the vocabulary as a serialised SentencePiece BPE model."""
    types = file.metadata("tokenizer.ggml.token_type")
    return sentencepiece_files.build(
        zip(
            file.metadata("tokenizer.ggml.tokens")[:VOCAB_SIZE],
            file.metadata("tokenizer.ggml.scores")[:VOCAB_SIZE],
            [_PIECE_TYPES[token_type] for token_type in types[:VOCAB_SIZE]],
            strict=True,
        )
    )


def variant(file: gguf_file.GGUFFile) -> str:
    """Returns "it" for instruction-tuned weights, "pt" for pre-trained ones."""
    named = f"{file.metadata('general.name', '')} {file.metadata('general.finetune', '')}"
    if re.search(r"\b(it|instruct)\b", named, re.IGNORECASE):
        return "it"
    if re.search(r"\bpt\b", named, re.IGNORECASE):
        return "pt"
    return "it" if file.metadata("tokenizer.chat_template", "") else "pt"


class _TrackedTensors:
    """Tensors of a file by name; `names` are those that were asked for."""

    def __init__(self, file: gguf_file.GGUFFile):
        self._file = file
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> np.ndarray:
        self.names.add(name)
        return self._file.tensor(name)


def _layer(file: gguf_file.GGUFFile, tensors: _TrackedTensors, prefix: str) -> dict[str, Any]:
    return {
        "attn": _attention(file, tensors, prefix),
        "mlp": {
            "gating_einsum": np.stack(
                [tensors[f"{prefix}.ffn_gate.weight"], tensors[f"{prefix}.ffn_up.weight"]]
            ),
            "linear": tensors[f"{prefix}.ffn_down.weight"].T,
        },
        **{
            ours: {"scale": _scale(tensors[f"{prefix}.{theirs}.weight"])}
            for ours, theirs in _NORMS.items()
        },
    }


def _attention(
    file: gguf_file.GGUFFile, tensors: _TrackedTensors, prefix: str
) -> Mapping[str, Any]:
    """Splits `[heads * head_dim, features]` matrices into gemma's einsum weights."""
    heads = file.metadata(f"{ARCHITECTURE}.attention.head_count")
    kv_heads = file.metadata(f"{ARCHITECTURE}.attention.head_count_kv")

    def by_head(name: str, count: int) -> np.ndarray:  # [heads, features, head_dim]
        matrix = tensors[f"{prefix}.{name}.weight"]
        return matrix.reshape(count, -1, matrix.shape[-1]).transpose(0, 2, 1)

    output = tensors[f"{prefix}.attn_output.weight"]  # [features, heads * head_dim]
    return {
        "q_einsum": {"w": by_head("attn_q", heads)},
        "kv_einsum": {"w": np.stack([by_head("attn_k", kv_heads), by_head("attn_v", kv_heads)])},
        "attn_vec_einsum": {"w": output.T.reshape(heads, -1, output.shape[0])},
        "_query_norm": {"scale": _scale(tensors[f"{prefix}.attn_q_norm.weight"])},
        "_key_norm": {"scale": _scale(tensors[f"{prefix}.attn_k_norm.weight"])},
    }


def _scale(stored: np.ndarray) -> np.ndarray:
    """llama.cpp stores a norm as `1 + scale`."""
    return stored - 1
