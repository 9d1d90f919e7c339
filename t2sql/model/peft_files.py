"""LoRA adapters of Hugging Face's PEFT, read and written.

adapter_config.json         rank, alpha, what is adapted, the base's name
adapter_model.safetensors   {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight":
                             [r in], "....lora_B.weight": [out r], ...}

PEFT computes `x W + s x A B` with s = alpha / r, or alpha / sqrt(r) (rsLoRA). Here s goes into B.
What else PEFT can do to a layer is refused by name.
"""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from flax import traverse_util

from t2sql import errors
from t2sql.model import hugging_face, layout, linear, lora, safetensors_files
from t2sql.storage import fingerprint

CONFIG, TENSORS = hugging_face.ADAPTER_CONFIG, "adapter_model.safetensors"
_FACTOR = re.compile(r"(?:base_model\.model\.)?(.+)\.lora_([AB])(?:\.default)?\.weight")
# Keys of our own in the safetensors file's head, where PEFT's config has no place for them.
_BASE_SHA256, _PROMPT = "t2sql.base_weights_sha256", "t2sql.prompt"
# Ways to begin that change the base's weights: the adapter is of weights that nobody has stored.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
_PLAIN = {"peft_type": ("LORA",), "bias": ("none",)}
_TYPES = {"base_model_name_or_path": str, "rank_pattern": dict, "alpha_pattern": dict}
_UNUSED = {
    "use_dora": "DoRA scales every weight by a learnt length",
    "modules_to_save": "it replaces whole layers",
    "lora_bias": "it adds biases, which Gemma's layers do not have",
    "layer_replication": "it repeats layers",
    "alora_invocation_tokens": "it acts from certain tokens on only",
    "trainable_token_indices": "it changes the embedding of tokens",
    "target_parameters": "it adapts parameters that are no linear layers",
    **dict.fromkeys(
        ("use_qalora", "use_bdlora", "kasa_config", "monteclora_config", "arrow_config"),
        "a layer computes something else than x W + s x A B",
    ),
}

Pair = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PeftAdapter:
    """An adapter on local disk; its config was read, its factors were not.

    Attributes:
      source: what the user named.
      path: its folder.
      config: what adapter_config.json says.
      base_sha256: of the weights that it was trained on; None where the file does not tell.
      prompt: {"name", "sha256"} of the prompt that it was trained with; None: unknown.
      sha256: of its content.
      flag: where the user named it, for messages.
    """

    source: str
    path: Path
    config: Mapping[str, Any]
    base_sha256: str | None
    prompt: Mapping[str, str] | None
    sha256: str
    flag: str

    @property
    def base_name(self) -> str:
        """The base, as the Hub names it."""
        return self.config.get("base_model_name_or_path") or "an unnamed base"

    def check_base(self, weights_sha256: str, variant: str | None) -> None:
        """Refuses weights that it was not trained on, as far as the files tell.

        Raises:
          InputError: names both weights.
        """
        base_variant = re.search(r"-(it|pt)$", self.base_name.lower())
        if self.base_sha256 and self.base_sha256 != weights_sha256:
            raise errors.InputError(
                f"{self.flag}: {self.source} was trained on {self.base_name} with weights"
                f" {self.base_sha256[:12]}; those of --config.model.source are"
                f" {weights_sha256[:12]}"
            )
        if not self.base_sha256 and base_variant and variant and base_variant[1] != variant:
            raise errors.InputError(
                f"{self.flag}: {self.source} was trained on {self.base_name}; the weights of"
                f" --config.model.source are those called {variant!r}"
            )

    def load(self, params: Any) -> lora.Adapter:
        """Reads the adapter for a model with these parameters (or their shapes), float32.

        Raises:
          InputError: the file is damaged, or adapts what this model does not have.
        """
        pairs = dict(self._pairs())
        adapter: lora.Adapter = {}
        for parameter, leaf in sorted(traverse_util.flatten_dict(params, sep="/").items()):
            if linear.layer_of(parameter) not in lora.TARGETS:
                continue
            layers = [
                name.removesuffix(".weight") for name in layout.HUGGING_FACE.tensors(parameter)
            ]
            matrices = [pairs.pop(layer, None) for layer in layers]
            for layer, pair in zip(layers, matrices, strict=True):
                self._check_shapes(layer, pair, layout.tensor_shape(parameter, leaf.shape))
            if any(pair is not None for pair in matrices):
                a, b = layout.matrices_to_factors(parameter, matrices, leaf.shape)
                adapter[parameter] = {"a": a, "b": b}
        if pairs:
            raise self._refused(f"it adapts {min(pairs)}, which this model does not have")
        if not adapter:
            raise self._refused("it adapts no layer of the text model, and would change nothing")
        return adapter

    def _pairs(self) -> Iterator[tuple[str, Pair]]:
        """Layer, and its A [r in] and B [out r], with the scale in B."""
        with safetensors_files.SafetensorsFiles(self.path, [TENSORS]) as files:
            factors: dict[str, dict[str, np.ndarray]] = {}
            for name in files.shapes:
                match = _FACTOR.fullmatch(name)
                if match is None:
                    raise self._refused(f"its tensor {name!r} is no factor of a linear layer")
                layer = layout.canonical(match[1])
                if not layer.startswith(hugging_face.IMAGE_PARTS):  # unused where all is text
                    factors.setdefault(layer, {})[match[2]] = files.tensor(name).astype(np.float32)
        for layer, parts in factors.items():
            if parts.keys() != {"A", "B"}:
                raise self._refused(f"{layer} has lora_{min(parts)} alone")
            yield layer, (parts["A"], parts["B"] * np.float32(self._scale(layer)))

    def _scale(self, layer: str) -> float:
        config = self.config
        rank = _of_layer(layer, config.get("rank_pattern"), config["r"])
        alpha = _of_layer(layer, config.get("alpha_pattern"), config["lora_alpha"])
        return alpha / (rank**0.5 if config.get("use_rslora") else rank)

    def _check_shapes(self, layer: str, pair: Pair | None, shape: tuple[int, ...]) -> None:
        if pair is None:
            return
        rank = _of_layer(layer, self.config.get("rank_pattern"), self.config["r"])
        shapes, expected = [pair[0].shape, pair[1].shape], [(rank, shape[1]), (shape[0], rank)]
        if shapes != expected:
            raise self._refused(
                f"{layer} has factors of shapes {shapes[0]} and {shapes[1]}, this model's of rank"
                f" {rank} are {expected[0]} and {expected[1]}"
            )

    def _refused(self, reason: str) -> errors.InputError:
        return errors.InputError(
            f"{self.flag}: {self.path / TENSORS}: {reason}; the adapter was trained on"
            f" {self.base_name}: name it with --config.model.source and --config.model.name"
        )


def is_adapter(path: Path) -> bool:
    """Whether a folder holds an adapter of PEFT."""
    return (path / CONFIG).is_file()


def read(source: str, path: Path, *, flag: str, cache_dir: Path) -> PeftAdapter:
    """Reads an adapter's config.

    Raises:
      InputError: a file is missing or broken, or it does what cannot be applied here.
    """
    config = _read_config(path / CONFIG, flag)
    _check_plain(config, path / CONFIG, flag)
    if not (path / TENSORS).is_file():
        raise errors.InputError(
            f"{flag}: {path / TENSORS} is missing; save the adapter with"
            " save_pretrained(..., safe_serialization=True)"
        )
    with safetensors_files.SafetensorsFiles(path, [TENSORS]) as files:
        about = files.metadata
    return PeftAdapter(
        source=source,
        path=path,
        config=config,
        base_sha256=about.get(_BASE_SHA256),
        prompt=json.loads(about[_PROMPT]) if _PROMPT in about else None,
        sha256=fingerprint.of_files(path, [path / CONFIG, path / TENSORS], cache_dir=cache_dir),
        flag=flag,
    )


def _read_config(path: Path, flag: str) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text())
        numbers = [config["r"], config["lora_alpha"]]
        if all(isinstance(number, int | float) and number > 0 for number in numbers):
            return config
        raise ValueError(f"r and lora_alpha are {numbers}")
    except KeyError as error:
        if config.get("peft_type", "LORA") != "LORA":
            return config  # `_check_plain` says so
        raise errors.InputError(f"{flag}: {path} has no {error}") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise errors.InputError(f"{flag}: {path} cannot be read: {error}") from error


def _check_plain(config: Mapping[str, Any], path: Path, flag: str) -> None:
    for key, kind in _TYPES.items():
        if not isinstance(config.get(key), kind | None):
            raise errors.InputError(
                f"{flag}: {path}: {key} is {config[key]!r}; PEFT writes {kind.__name__} or null"
            )
    for key in ("rank_pattern", "alpha_pattern"):
        for pattern, number in (config.get(key) or {}).items():
            _check_pattern(pattern, number, f"{flag}: {path}: {key}")
    for key, values in _PLAIN.items():
        if config.get(key, values[0]) not in values:
            raise errors.InputError(
                f"{flag}: {path}: {key} is {config[key]!r}; only {values[0]!r} can be applied here"
            )
    for key, reason in _UNUSED.items():
        if config.get(key):
            raise errors.InputError(
                f"{flag}: {path}: {key} is {config[key]!r}: {reason}, which cannot be applied here;"
                " merge it into its base with PEFT's merge_and_unload and use these weights"
            )
    begin = config.get("init_lora_weights")
    if isinstance(begin, str) and begin.lower().startswith(_CHANGES_BASE):
        raise errors.InputError(
            f"{flag}: {path}: init_lora_weights is {begin!r}: the training began by changing its"
            " base; save it as a plain LoRA (PEFT's path_initial_model_for_weight_conversion)"
        )


def _check_pattern(pattern: str, number: object, where: str) -> None:
    """Checks an entry of `rank_pattern` or `alpha_pattern`: a regular expression and a number."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise errors.InputError(
            f"{where}: {pattern!r} is no regular expression: {error}"
        ) from error
    if isinstance(number, bool) or not isinstance(number, int | float) or number <= 0:
        raise errors.InputError(f"{where}: {pattern!r} is {number!r}; it has to be above 0")


def _of_layer(layer: str, pattern: Mapping[str, float] | None, default: float) -> float:
    """The value that PEFT's `rank_pattern` or `alpha_pattern` gives a layer."""
    for key, value in (pattern or {}).items():
        if re.match(rf"(.*\.)?({key})$", layer):
            return value
    return default


def save(
    folder: Path,
    adapter: lora.Adapter,
    *,
    base_name: str,
    rank: int,
    multimodal: bool,
    base_sha256: str,
    prompt: Mapping[str, str],
) -> None:
    """Writes an adapter as PEFT does, in float32.

    Args:
      folder: exists.
      adapter: its factors.
      base_name: what the Hub calls the base.
      rank: of all factors; alpha is the rank, so that the scale is 1.
      multimodal: whether transformers keeps the base's text model beside one for images.
      base_sha256: of the weights that it was trained on.
      prompt: {"name", "sha256"} of the prompt that it was trained with.
    """
    tensors = {}
    for parameter, parts in adapter.items():
        pairs = layout.factors_to_matrices(
            parameter, *(np.asarray(parts[part], np.float32) for part in ("a", "b"))
        )
        for name, (a, b) in zip(layout.HUGGING_FACE.tensors(parameter), pairs, strict=True):
            layer = name.removesuffix(".weight")
            if multimodal:
                layer = layer.replace("model.", "model.language_model.", 1)
            tensors[f"base_model.model.{layer}.lora_A.weight"] = np.ascontiguousarray(a)
            tensors[f"base_model.model.{layer}.lora_B.weight"] = np.ascontiguousarray(b)
    modules = sorted({name.split(".")[-3] for name in tensors})
    about = {"format": "pt", _BASE_SHA256: base_sha256, _PROMPT: json.dumps(dict(prompt))}
    safetensors.numpy.save_file(tensors, folder / TENSORS, metadata=about)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": rank,
        "lora_alpha": rank,
        # A pattern keeps PEFT off the layers of the image model, which have these names too.
        "target_modules": rf".*language_model.*\.({'|'.join(modules)})" if multimodal else modules,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "modules_to_save": None,
        "inference_mode": True,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
