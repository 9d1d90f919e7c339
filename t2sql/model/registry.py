"""Names for config files: which model and tokenizer class a name stands for.

The classes are imported when asked for: gemma is slow to import.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from t2sql import errors

GEMMA4 = (
    "Gemma 4 is not sampled from here: its layers share keys and values, differ in their heads'"
    " width and read embeddings of their own (docs/models.md says what that would take)"
)
# Rows of an embedding beyond the vocabulary: some for images, and padding to a multiple of 64.
MOST_SPARE_ROWS = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What a model name stands for.

    Attributes:
      model_cls: called with `dtype=`, gives the model.
      tokenizer_cls: called with a path, gives the tokenizer.
      hub_name: of its pre-trained weights on Hugging Face's Hub.
      multimodal: whether these hold a model for images too.
    """

    model_cls: Callable[..., Any]
    tokenizer_cls: Callable[..., Any]
    hub_name: str
    multimodal: bool = False


def find(name: str) -> ModelSpec:
    """Returns the model called `name`.

    Raises:
      InputError: there is none; lists those there are, or says why it is not built.
    """
    if name.startswith("gemma4"):
        raise errors.InputError(
            f"--config.model.name: {name}: {GEMMA4}; built are {', '.join(MODELS)}"
        )
    if name not in MODELS:
        raise errors.InputError(
            f"--config.model.name: unknown model {name!r}; one of {', '.join(MODELS)}"
        )
    return MODELS[name]()


def looks_like(embedding_shape: tuple[int, ...] | None) -> str:
    """Says which models have an embedding of this shape, rows that pad it aside."""
    rows, features = embedding_shape or (0, 0)
    configs = {name: make().model_cls().config for name, make in MODELS.items()}
    names = [
        name
        for name, config in configs.items()
        if config.embed_dim == features and 0 <= rows - config.num_embed <= MOST_SPARE_ROWS
    ]
    return f"this looks like {' or '.join(names)}" if names else "no known model has these shapes"


def _gemma3(class_name: str, hub_name: str, multimodal: bool = False) -> ModelSpec:
    from t2sql.model.light_gemma import gm

    model_cls = getattr(gm.nn, class_name)
    return ModelSpec(
        model_cls=functools.partial(model_cls, text_only=True) if multimodal else model_cls,
        tokenizer_cls=gm.text.Gemma3Tokenizer,
        hub_name=f"google/{hub_name}",
        multimodal=multimodal,
    )


def _dummy() -> ModelSpec:
    from t2sql.model import dummy
    from t2sql.model.light_gemma import gm

    return ModelSpec(
        model_cls=dummy.model_class(), tokenizer_cls=gm.text.Gemma3Tokenizer, hub_name="dummy"
    )


MODELS: dict[str, Callable[[], ModelSpec]] = {
    "gemma3_270m": functools.partial(_gemma3, "Gemma3_270M", "gemma-3-270m"),
    "gemma3_1b": functools.partial(_gemma3, "Gemma3_1B", "gemma-3-1b-pt"),
    "gemma3_4b": functools.partial(_gemma3, "Gemma3_4B", "gemma-3-4b-pt", multimodal=True),
    "gemma3_12b": functools.partial(_gemma3, "Gemma3_12B", "gemma-3-12b-pt", multimodal=True),
    "gemma3_27b": functools.partial(_gemma3, "Gemma3_27B", "gemma-3-27b-pt", multimodal=True),
    "dummy": _dummy,
}
