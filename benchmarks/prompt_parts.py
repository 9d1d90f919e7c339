"""Runs a module without one part of the prompt `compact`, to see what the part is worth.

python -m benchmarks.prompt_parts PART MODULE FLAGS...

where PART is none (the whole prompt), types, keys, values (of columns that hold text) or matches
(the values that a question names), as in

python -m benchmarks.prompt_parts values t2sql.train --config=configs/lora.py ...

The adapter of such a training is of use behind the same command only. docs/training.md has what
was found.
"""

import importlib.util
import runpy
import sys

from t2sql.data import compact

WITHOUT = {
    "none": {},
    "types": {"SHOW_TYPES": False},
    "keys": {"SHOW_KEYS": False},
    "values": {"VALUES_PER_COLUMN": 0},
    "matches": {"MATCHES": 0},
}


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # not even its package
        return False


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].lstrip("-").startswith("help"):
        print(__doc__)
        sys.exit(0)
    if len(sys.argv) < 3 or sys.argv[1] not in WITHOUT or not _is_module(sys.argv[2]):
        usage = f"usage: python -m benchmarks.prompt_parts {'|'.join(WITHOUT)} MODULE FLAGS..."
        print(usage, file=sys.stderr)
        sys.exit(2)
    part, module = sys.argv[1:3]
    for name, value in WITHOUT[part].items():
        setattr(compact, name, value)
    del sys.argv[1:3]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
