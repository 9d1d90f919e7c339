"""Models: where weights come from and how they reach the devices.

The names below are imported when first used: JAX and gemma take seconds.
"""

import importlib

__all__ = ["LLMFactoryConfig", "LLMModuleFactory", "LLMModules"]


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("t2sql.model.factory"), name)
