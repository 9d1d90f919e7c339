"""gemma's linear layers: what each computes."""

# By gemma's name of the layer: input, weight -> output. A model has `qkv_einsum`, or
# `q_einsum` and `kv_einsum`.
EQUATIONS = {
    "q_einsum": "BTD,NDH->BTNH",
    "kv_einsum": "BSD,CKDH->CBSKH",
    "qkv_einsum": "BTD,SNDH->SBTNH",
    "attn_vec_einsum": "BTNH,NHD->BTD",
    "gating_einsum": "...F,NHF->...NH",
    "linear": "...H,HF->...F",
}


def layer_of(parameter: str) -> str:
    """The layer's name, for one of a parameter such as layer_0/attn/q_einsum/w."""
    *_, module, weight = parameter.split("/")
    return module if weight == "w" else weight


def axes(equation: str) -> tuple[str, str, str]:
    """The letters of an equation's input, weight and output."""
    inputs, _, output = equation.partition("->")
    return (*inputs.split(","), output)
