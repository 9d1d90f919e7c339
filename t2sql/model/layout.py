"""Gemma 3's parameters as other programs keep them: a matrix to a layer, under other names.

Hugging Face's transformers and llama.cpp keep a linear layer as a matrix [out, in], the heads one
behind the other. gemma keeps tensors for einsum, and stacks layers that share their input:

    gemma                            transformers                llama.cpp
    embedder/input_embedding [V D]   embed_tokens [V D]          token_embd
    attn/q_einsum/w [N D H]          q_proj [N*H D]              attn_q
    attn/kv_einsum/w [2 K D H]       k_proj, v_proj [K*H D]      attn_k, attn_v
    attn/attn_vec_einsum/w [N H D]   o_proj [D N*H]              attn_output
    mlp/gating_einsum [2 F D]        gate_proj, up_proj [F D]    ffn_gate, ffn_up
    mlp/linear [F D]                 down_proj [D F]             ffn_down

Everything that reads or writes such files (GGUF, safetensors, PEFT's adapters) goes through here.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from t2sql.model import linear

# Gemma 3's vocabulary. Files of the larger sizes have a few rows more, for images.
VOCAB_SIZE = 262_144
_EMBEDDING, _FINAL_NORM = "embedder/input_embedding", "final_norm/scale"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Naming:
    """What another program calls the parameters.

    Attributes:
      top: tensor by parameter outside of the layers.
      layer: tensor within layer number {0}, with the part {1}.
      parts: by parameter within a layer, the parts that it is made of: two where gemma stacks.
      norm_offset: what the file adds to a norm's scale.
    """

    top: Mapping[str, str]
    layer: str
    parts: Mapping[str, tuple[str, ...]]
    norm_offset: float

    def tensors(self, parameter: str) -> tuple[str, ...]:
        """Names of the tensors that a parameter such as layer_0/attn/q_einsum/w is made of."""
        if parameter in self.top:
            return (self.top[parameter],)
        layer, _, within = parameter.partition("/")
        number = layer.removeprefix("layer_")
        return tuple(self.layer.format(number, part) for part in self.parts[within])

    def parameters(self, layers: int) -> tuple[str, ...]:
        """Names of all parameters of a model of so many layers."""
        blocks = [f"layer_{index}/{part}" for index in range(layers) for part in self.parts]
        return (*self.top, *blocks)


HUGGING_FACE = Naming(
    top={_EMBEDDING: "model.embed_tokens.weight", _FINAL_NORM: "model.norm.weight"},
    layer="model.layers.{0}.{1}.weight",
    parts={
        "attn/q_einsum/w": ("self_attn.q_proj",),
        "attn/kv_einsum/w": ("self_attn.k_proj", "self_attn.v_proj"),
        "attn/attn_vec_einsum/w": ("self_attn.o_proj",),
        "attn/_query_norm/scale": ("self_attn.q_norm",),
        "attn/_key_norm/scale": ("self_attn.k_norm",),
        "mlp/gating_einsum": ("mlp.gate_proj", "mlp.up_proj"),
        "mlp/linear": ("mlp.down_proj",),
        "pre_attention_norm/scale": ("input_layernorm",),
        "post_attention_norm/scale": ("post_attention_layernorm",),
        "pre_ffw_norm/scale": ("pre_feedforward_layernorm",),
        "post_ffw_norm/scale": ("post_feedforward_layernorm",),
    },
    norm_offset=0,
)
GGUF = Naming(
    top={_EMBEDDING: "token_embd.weight", _FINAL_NORM: "output_norm.weight"},
    layer="blk.{0}.{1}.weight",
    parts={
        "attn/q_einsum/w": ("attn_q",),
        "attn/kv_einsum/w": ("attn_k", "attn_v"),
        "attn/attn_vec_einsum/w": ("attn_output",),
        "attn/_query_norm/scale": ("attn_q_norm",),
        "attn/_key_norm/scale": ("attn_k_norm",),
        "mlp/gating_einsum": ("ffn_gate", "ffn_up"),
        "mlp/linear": ("ffn_down",),
        "pre_attention_norm/scale": ("attn_norm",),
        "post_attention_norm/scale": ("post_attention_norm",),
        "pre_ffw_norm/scale": ("ffn_norm",),
        "post_ffw_norm/scale": ("post_ffw_norm",),
    },
    norm_offset=1,
)


def tensor_shape(parameter: str, shape: Sequence[int]) -> tuple[int, ...]:
    """Shape of each tensor that a parameter of this shape is made of."""
    if not _is_linear(parameter):
        return tuple(shape)
    _, out, into = _axes(parameter)
    sizes = dict(zip(_weight_axes(parameter), shape, strict=True))
    return tuple(math.prod(sizes[axis] for axis in axes) for axes in (out, into))


def to_parameter(
    parameter: str,
    tensors: Sequence[np.ndarray],
    *,
    heads: int,
    kv_heads: int,
    norm_offset: float,
) -> np.ndarray:
    """gemma's parameter, of the tensors that `Naming.tensors` names."""
    if parameter.endswith("scale"):
        return tensors[0] - tensors[0].dtype.type(norm_offset) if norm_offset else tensors[0]
    if not _is_linear(parameter):
        return tensors[0]
    stack, out, into = _axes(parameter)
    sizes = {"N": heads, "K": kv_heads}
    order = [(out + into).index(axis) for axis in _weight_axes(parameter).removeprefix(stack)]

    def shape(axes: str, size: int) -> list[int]:
        """Of two axes the first is that of heads."""
        return [size] if len(axes) == 1 else [sizes[axes[0]], size // sizes[axes[0]]]

    parts = [
        tensor.reshape(shape(out, len(tensor)) + shape(into, tensor.shape[1])).transpose(order)
        for tensor in tensors
    ]
    return np.stack(parts) if stack else parts[0]


def to_tensors(parameter: str, array: np.ndarray, *, naming: Naming) -> dict[str, np.ndarray]:
    """The tensors, by name, that a file has for gemma's parameter."""
    names = naming.tensors(parameter)
    if parameter.endswith("scale"):
        return {names[0]: array + array.dtype.type(naming.norm_offset)}
    if not _is_linear(parameter):
        return {names[0]: array}
    stack, out, into = _axes(parameter)
    axes = _weight_axes(parameter).removeprefix(stack)
    order = [axes.index(axis) for axis in out + into]
    shape = tensor_shape(parameter, array.shape)
    parts = array if stack else [array]
    return {
        name: np.ascontiguousarray(part.transpose(order).reshape(shape))
        for name, part in zip(names, parts, strict=True)
    }


def factors_to_matrices(
    parameter: str, a: np.ndarray, b: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """PEFT's matrices A [r in] and B [out r], for each tensor that the parameter is made of.

    Args:
      parameter: that they adapt.
      a: [in... r].
      b: [r out...]; [r 2 out...] where gemma stacks: both layers have one A.
    """
    rank = a.shape[-1]
    stack, _, _ = _axes(parameter)
    parts = [b[:, index] for index in range(b.shape[1])] if stack else [b]
    return [(a.reshape(-1, rank).T, part.reshape(rank, -1).T) for part in parts]


def matrices_to_factors(
    parameter: str,
    matrices: Sequence[tuple[np.ndarray, np.ndarray] | None],
    shape: Sequence[int],
) -> tuple[np.ndarray, np.ndarray]:
    """The factors A [in... r] and B [r out...] of a parameter, from PEFT's matrices.

    Where gemma stacks two layers and PEFT has an A for each, the ranks add up: A holds both side
    by side, and B is zero where one layer would read the other's.

    Args:
      parameter: that they adapt.
      matrices: A [r in] and B [out r] for each tensor that it is made of; None: not adapted.
      shape: of the parameter.
    """
    stack, out, into = _axes(parameter)
    sizes = dict(zip(_weight_axes(parameter), shape, strict=True))
    out_shape, in_shape = ([sizes[axis] for axis in axes] for axes in (out, into))
    present = [pair for pair in matrices if pair is not None]
    a = np.concatenate([low.T for low, _ in present], axis=1)
    a = a.reshape(*in_shape, -1)
    if not stack:
        return a, present[0][1].T.reshape(-1, *out_shape)
    b, row = np.zeros((a.shape[-1], len(matrices), *out_shape), np.float32), 0
    for index, pair in enumerate(matrices):
        if pair is not None:
            rank = pair[0].shape[0]
            b[row : row + rank, index] = pair[1].T.reshape(rank, *out_shape)
            row += rank
    return a, b


def canonical(tensor: str) -> str:
    """transformers' name of a tensor or layer of a text model, for one of any Gemma 3.

    A multimodal model keeps its text model below `language_model.model.` or, in later versions,
    `model.language_model.`.
    """
    return re.sub(r"^(language_model\.model\.|model\.language_model\.)", "model.", tensor)


def _is_linear(parameter: str) -> bool:
    return linear.layer_of(parameter) in linear.EQUATIONS


def _weight_axes(parameter: str) -> str:
    return linear.axes(linear.EQUATIONS[linear.layer_of(parameter)])[1]


def _axes(parameter: str) -> tuple[str, str, str]:
    """Axis of the stack ("" for none), output axes and input axes of a linear layer's weight."""
    layer = linear.layer_of(parameter)
    of_x, of_weight, _ = linear.axes(linear.EQUATIONS[layer])
    stack = of_weight[0] if layer in ("kv_einsum", "gating_einsum") else ""
    rest = of_weight.removeprefix(stack)
    return (
        stack,
        "".join(axis for axis in rest if axis not in of_x),
        "".join(axis for axis in rest if axis in of_x),
    )
