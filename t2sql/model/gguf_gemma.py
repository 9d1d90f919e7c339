"""Gemma 3 in GGUF: its tensors as gemma's params, its vocabulary as SentencePiece.

The layout is that of llama.cpp's converter; the ids of Gemma's own SentencePiece
file follow from the vocabulary (byte fallback, no dummy prefix, no normalising).
"""

from collections.abc import Mapping
from typing import Any

import gguf
import numpy as np
from sentencepiece import sentencepiece_model_pb2 as sentencepiece_model

from t2sql import errors
from t2sql.model import gguf_file

ARCHITECTURE = "gemma3"
# Some files pad the embedding past Gemma 3's vocabulary (image placeholders of other tools).
VOCAB_SIZE = 262_144

_PAD, _EOS, _BOS, _UNK = range(4)
_Type = sentencepiece_model.ModelProto.SentencePiece
_PIECE_TYPES = {
    gguf.TokenType.NORMAL: _Type.NORMAL,
    gguf.TokenType.UNKNOWN: _Type.UNKNOWN,
    gguf.TokenType.CONTROL: _Type.USER_DEFINED,
    gguf.TokenType.USER_DEFINED: _Type.USER_DEFINED,
    gguf.TokenType.UNUSED: _Type.UNUSED,
    gguf.TokenType.BYTE: _Type.BYTE,
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
    if (found := file.metadata("general.architecture")) != ARCHITECTURE:
        raise errors.InputError(
            f"{file.path}: a GGUF file of architecture {found!r}; only {ARCHITECTURE!r} is supported"
        )
    tensors = _Taken(file)
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
    model = sentencepiece_model.ModelProto()
    rows = zip(
        file.metadata("tokenizer.ggml.tokens")[:VOCAB_SIZE],
        file.metadata("tokenizer.ggml.scores")[:VOCAB_SIZE],
        file.metadata("tokenizer.ggml.token_type")[:VOCAB_SIZE],
        strict=True,
    )
    for piece, score, token_type in rows:
        model.pieces.add(piece=piece, score=score, type=_PIECE_TYPES[token_type])
    for index in (_PAD, _EOS, _BOS):
        model.pieces[index].type = _Type.CONTROL
    model.pieces[_UNK].type = _Type.UNKNOWN
    _describe(model)
    return model.SerializeToString()


def _describe(model: sentencepiece_model.ModelProto) -> None:
    trainer = model.trainer_spec
    trainer.model_type = sentencepiece_model.TrainerSpec.BPE
    trainer.vocab_size = len(model.pieces)
    trainer.byte_fallback = True
    trainer.pad_id, trainer.eos_id, trainer.bos_id, trainer.unk_id = _PAD, _EOS, _BOS, _UNK
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = False
    model.normalizer_spec.remove_extra_whitespaces = False


class _Taken:
    """Tensors of a file by name; remembers which were asked for."""

    def __init__(self, file: gguf_file.GGUFFile):
        self._file = file
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> np.ndarray:
        self.names.add(name)
        return self._file.tensor(name)


def _layer(file: gguf_file.GGUFFile, tensors: _Taken, prefix: str) -> dict[str, Any]:
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


def _attention(file: gguf_file.GGUFFile, tensors: _Taken, prefix: str) -> Mapping[str, Any]:
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
