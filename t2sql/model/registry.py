"""Names for config files: which model and tokenizer class a name stands for.

The classes are imported when asked for: gemma is slow to import.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from t2sql import errors


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What a model name stands for.

    Attributes:
      model_cls: called with `dtype=`, gives the model.
      tokenizer_cls: called with a path, gives the tokenizer.
    """

    model_cls: Callable[..., Any]
    tokenizer_cls: Callable[..., Any]


def find(name: str) -> ModelSpec:
    """Returns the model called `name`.

    Raises:
      InputError: there is none; lists those there are.
    """
    if name not in MODELS:
        raise errors.InputError(
            f"--config.model.name: unknown model {name!r}; one of {', '.join(MODELS)}"
        )
    return MODELS[name]()


def _gemma3(class_name: str, **arguments: Any) -> ModelSpec:
    from t2sql.model.light_gemma import gm

    model_cls = getattr(gm.nn, class_name)
    if arguments:
        model_cls = functools.partial(model_cls, **arguments)
    return ModelSpec(model_cls=model_cls, tokenizer_cls=gm.text.Gemma3Tokenizer)


def _dummy() -> ModelSpec:
    from t2sql.model import dummy
    from t2sql.model.light_gemma import gm

    return ModelSpec(model_cls=dummy.model_class(), tokenizer_cls=gm.text.Gemma3Tokenizer)


MODELS: dict[str, Callable[[], ModelSpec]] = {
    "gemma3_270m": functools.partial(_gemma3, "Gemma3_270M"),
    "gemma3_1b": functools.partial(_gemma3, "Gemma3_1B"),
    "gemma3_4b": functools.partial(_gemma3, "Gemma3_4B", text_only=True),
    "gemma3_12b": functools.partial(_gemma3, "Gemma3_12B", text_only=True),
    "gemma3_27b": functools.partial(_gemma3, "Gemma3_27B", text_only=True),
    "dummy": _dummy,
}
