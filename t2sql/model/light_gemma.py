"""`from t2sql.model.light_gemma import gm`: gemma without TensorFlow.

Importing gemma 4.0.1 imports TensorFlow (10 of 13 s), for one type alias of
kauldron and for the trainer of one DPO loader. Neither is used here, so while
gemma is imported stand-ins take their places; afterwards `import tensorflow`
means TensorFlow again.
"""

import contextlib
import sys
import types
from collections.abc import Iterator

_POLICY_MODULE = "gemma.gm.ckpts._policy"


class _Unused:
    """Stands for a class that only an unused part of gemma or kauldron needs."""


def _stand_in(name: str, **members: object) -> types.ModuleType:
    module = types.ModuleType(name, "Stand-in, see t2sql/model/light_gemma.py.")
    vars(module).update(members)
    return module


@contextlib.contextmanager
def _stand_ins() -> Iterator[None]:
    modules = {
        "tensorflow": _stand_in("tensorflow", Tensor=_Unused),
        _POLICY_MODULE: _stand_in(_POLICY_MODULE, AnchoredPolicyLoader=_Unused),
    }
    placed = {name: module for name, module in modules.items() if name not in sys.modules}
    sys.modules.update(placed)
    try:
        yield
    finally:
        for name in placed:
            del sys.modules[name]


with _stand_ins():
    from gemma import gm

    # gemma's names are imported when first touched: touch what the program uses.
    gm.ckpts.load_params  # noqa: B018
    gm.nn.Gemma3_270M  # noqa: B018
    gm.text.Gemma3Tokenizer  # noqa: B018
    gm.text.Sampler  # noqa: B018
    gm.testing.DummyGemma  # noqa: B018

__all__ = ["gm"]
