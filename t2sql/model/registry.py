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
      model_cls: name of the class in `gm.nn`.
      text_only: whether to leave out the vision encoder that the class has.
    """

    model_cls: str
    text_only: bool = False

    def load_classes(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Returns the model class, to be called with `dtype=`, and the tokenizer class."""
        from gemma import gm

        model_cls = getattr(gm.nn, self.model_cls)
        if self.text_only:
            model_cls = functools.partial(model_cls, text_only=True)
        return model_cls, gm.text.Gemma3Tokenizer


MODELS = {
    "gemma3_270m": ModelSpec(model_cls="Gemma3_270M"),
    "gemma3_1b": ModelSpec(model_cls="Gemma3_1B"),
    "gemma3_4b": ModelSpec(model_cls="Gemma3_4B", text_only=True),
    "gemma3_12b": ModelSpec(model_cls="Gemma3_12B", text_only=True),
    "gemma3_27b": ModelSpec(model_cls="Gemma3_27B", text_only=True),
}


def find(name: str) -> ModelSpec:
    """Returns the model called `name`.

    Raises:
      InputError: there is none; lists those there are.
    """
    if name not in MODELS:
        raise errors.InputError(f"model.name: unknown model {name!r}; one of {', '.join(MODELS)}")
    return MODELS[name]
