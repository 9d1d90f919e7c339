"""A tiny Gemma with random weights, for tests and drills: no download, no waiting.

It has what real Gemma 3 has: local and global layers, fewer key heads than query
heads, the special tokens at their ids, and a tokenizer that takes any text.
"""

import zlib
from typing import Any

import jax
import numpy as np

from t2sql.model import mesh as mesh_lib
from t2sql.model import sentencepiece_files
from t2sql.model.sentencepiece_files import PieceType

TOKENIZER_VERSION = 1
# Raise when the same seed gives other weights.
WEIGHTS_VERSION = 2
VOCAB_SIZE = 512

_FIRST_BYTE = 238  # As in Gemma 3.
_NAMED = {
    0: "<pad>",
    1: "<eos>",
    2: "<bos>",
    3: "<unk>",
    4: "<mask>",
    105: "<start_of_turn>",
    106: "<end_of_turn>",
    107: "\n",
}


def model_class() -> type:
    """Returns the class of the dummy model, a gemma transformer."""
    from t2sql.model.light_gemma import gm

    local, everywhere = gm.nn.AttentionType.LOCAL_SLIDING, gm.nn.AttentionType.GLOBAL

    class DummyGemma3(gm.nn.Transformer):
        """Gemma 3's architecture at 1/8000 of its size."""

        config: gm.nn.config.TransformerConfig = gm.nn.config.TransformerConfig(
            num_embed=VOCAB_SIZE,
            embed_dim=32,
            hidden_dim=64,
            num_heads=2,
            head_dim=16,
            num_kv_heads=1,
            final_logit_softcap=None,
            attn_logits_soft_cap=None,
            use_post_attn_norm=True,
            use_post_ffw_norm=True,
            use_qk_norm=True,
            attention_types=(local, everywhere),  # compiling takes time in proportion
            sliding_window_size=16,
            transpose_gating_einsum=True,
            local_base_frequency=10_000,
            global_base_frequency=1_000_000,
        )

    return DummyGemma3


def tokenizer_model() -> bytes:
    """Returns a SentencePiece model of bytes, a few characters and Gemma's special tokens."""
    characters = ["▁", *(chr(code) for code in range(33, 127))]
    after_bytes = dict(enumerate(characters, start=_FIRST_BYTE + 256))

    def piece(index: int) -> tuple[str, float, int]:
        if index in _NAMED:
            return _NAMED[index], 0.0, PieceType.USER_DEFINED
        if _FIRST_BYTE <= index < _FIRST_BYTE + 256:
            return f"<0x{index - _FIRST_BYTE:02X}>", 0.0, PieceType.BYTE
        if index in after_bytes:
            return after_bytes[index], -float(index), PieceType.NORMAL
        return f"<unused{index}>", 0.0, PieceType.USER_DEFINED

    return sentencepiece_files.build(map(piece, range(VOCAB_SIZE)))


def random_params(seed: int, expected: Any, shardings: Any) -> Any:
    """Returns params of the shapes, types and places given, the same for the same seed.

    Args:
      seed: of all weights.
      expected: tree of `jax.ShapeDtypeStruct`.
      shardings: where each of them lies.
    """

    def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        name = mesh_lib.path_name(path)
        if name.endswith("scale"):
            return np.zeros(leaf.shape, leaf.dtype)
        generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
        weights = generator.standard_normal(leaf.shape, np.float32)
        # With a larger embedding the last token alone decides the next: text repeats itself.
        size = 0.02 if name.endswith("embedding") else leaf.shape[-1] ** -0.5
        return (weights * size).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(
        lambda path, leaf, sharding: jax.device_put(draw(path, leaf), sharding), expected, shardings
    )
