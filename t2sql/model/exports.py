"""What t2sql.export writes: adapters for PEFT, and weights in the Hugging Face layout."""

from pathlib import Path

from t2sql import config as config_lib
from t2sql.model import adapters, factory, hugging_face_export, peft_files, registry
from t2sql.storage import local_cache


def write_peft(folder: Path, adapter: str, *, name: str = "", base: str = "") -> str:
    """Writes an adapter that t2sql.train wrote as PEFT does; says what was written.

    Args:
      folder: exists and is empty.
      adapter: source of the adapter.
      name: of its model; empty for the one that it was trained on.
      base: what PEFT is to load as the base; empty for the Hub's pre-trained weights.

    Raises:
      InputError: there is no such adapter.
    """
    file = adapters.resolve(adapter, cache_dir=local_cache.default_dir(), flag="--adapter")
    name = name or file.base["name"]
    spec, model = registry.find(name), factory.LLMModuleFactory(factory.config_for(name, "dummy:0"))
    peft_files.save(
        folder,
        file.load(model.abstract_params),
        base_name=base or spec.hub_name,
        rank=file.rank,
        multimodal=spec.multimodal,
        base_sha256=file.base["weights_sha256"],
        prompt=file.prompt,
    )
    return f"an adapter of PEFT, for {base or spec.hub_name}"


def write_weights(
    folder: Path,
    source: str,
    adapter: str,
    *,
    name: str = "",
    dtype: str = "bfloat16",
    tokenizer: str = "",
) -> str:
    """Writes weights in the Hugging Face layout; says what was written.

    Args:
      folder: exists and is empty.
      source: of the weights.
      adapter: that is merged into them; empty for none.
      name: of the model; empty for the one that the adapter was trained on, or the default.
      dtype: of the weights that are written.
      tokenizer: a SentencePiece file; empty for the one that comes with the weights.

    Raises:
      InputError: there are no such weights or adapter, or they do not fit each other.
      TryAgainError: a network failed.
    """
    if adapter and not name:
        file = adapters.resolve_any(adapter, cache_dir=local_cache.default_dir(), flag="--adapter")
        name = file.base["name"] if isinstance(file, adapters.AdapterFile) else ""
    config = factory.config_for(
        name or config_lib.default_config().model.name,
        source,
        dtype=dtype,
        adapter=adapter or None,
        tokenizer_path=tokenizer or None,
    )
    made = factory.LLMModuleFactory(config)
    made.check()
    hugging_face_export.save(
        folder, made.load_params(), model=made.model, tokenizer_path=made.tokenizer_path
    )
    return f"{source}{f' with {adapter}' if adapter else ''} as safetensors in {dtype}"
