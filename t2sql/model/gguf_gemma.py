"""Gemma 3 in GGUF: its tensors as gemma's params, its vocabulary as SentencePiece.

The layout is that of llama.cpp's converter (`layout.py`); the ids of Gemma's own SentencePiece
file follow from the vocabulary (byte fallback, no dummy prefix, no normalising).
"""

import re
from typing import Any

import gguf
from flax import traverse_util

from t2sql import errors
from t2sql.model import gguf_file, layout, registry, sentencepiece_files
from t2sql.model.sentencepiece_files import PieceType

ARCHITECTURE = "gemma3"

# Gemma's own file has its control tokens, such as <start_of_turn>, as user-defined ones.
_PIECE_TYPES = {
    gguf.TokenType.NORMAL: PieceType.NORMAL,
    gguf.TokenType.UNKNOWN: PieceType.UNKNOWN,
    gguf.TokenType.CONTROL: PieceType.USER_DEFINED,
    gguf.TokenType.USER_DEFINED: PieceType.USER_DEFINED,
    gguf.TokenType.UNUSED: PieceType.UNUSED,
    gguf.TokenType.BYTE: PieceType.BYTE,
}


def read_params(file: gguf_file.GGUFFile) -> dict[str, Any]:
    """Returns the params of `gm.nn.Gemma3_*`, nested, as float32 NumPy arrays.

    Raises:
      InputError: another architecture, a missing tensor, or one without a place in Gemma 3.
    """
    architecture = file.metadata("general.architecture")
    if architecture.startswith("gemma4"):
        raise errors.InputError(f"{file.path}: {registry.GEMMA4}")
    if architecture != ARCHITECTURE:
        raise errors.InputError(
            f"{file.path}: the GGUF file holds a {architecture!r} model; only {ARCHITECTURE!r} is "
            "known"
        )
    heads = file.metadata(f"{ARCHITECTURE}.attention.head_count")
    kv_heads = file.metadata(f"{ARCHITECTURE}.attention.head_count_kv")
    params, read = {}, set()
    for parameter in layout.GGUF.parameters(file.metadata(f"{ARCHITECTURE}.block_count")):
        names = layout.GGUF.tensors(parameter)
        params[parameter] = layout.to_parameter(
            parameter,
            [file.tensor(name)[: layout.VOCAB_SIZE] for name in names],
            heads=heads,
            kv_heads=kv_heads,
            norm_offset=layout.GGUF.norm_offset,
        )
        read.update(names)
    if unused := sorted(set(file.tensor_names) - read):
        raise errors.InputError(f"{file.path}: tensors that Gemma 3 has no place for: {unused}")
    return traverse_util.unflatten_dict(params, sep="/")


def read_tokenizer(file: gguf_file.GGUFFile) -> bytes:
    """Returns the vocabulary as a serialised SentencePiece BPE model."""
    types = file.metadata("tokenizer.ggml.token_type")
    return sentencepiece_files.build(
        zip(
            file.metadata("tokenizer.ggml.tokens")[: layout.VOCAB_SIZE],
            file.metadata("tokenizer.ggml.scores")[: layout.VOCAB_SIZE],
            [_PIECE_TYPES[token_type] for token_type in types[: layout.VOCAB_SIZE]],
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
