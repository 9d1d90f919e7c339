"""Everything that is to be measured on a GPU, in one command that ends in time.

    python -m benchmarks.on_gpu --data=SPIDER_DIR --source=WEIGHTS --output=DIR [--minutes=10]

For a machine that is lent for minutes and reaches no network: data, weights, adapter and packages
have to be there. Weights that came in pieces (WEIGHTS.part-00, WEIGHTS.part-01, ...) are put
together first; `--packages=DIR` is put on the path of every part, for what the machine lacks, such
as gemma. Parts run one after another, each a process of its own:

    free         the dev split, decoded freely
    constrained  the dev split, decoded along the keys
    step         seconds and kernels of a decode step, beside the model of benchmarks.accelerators
    peer         beside gm.text.Sampler, one schema (benchmarks.throughput)
    train        each config of --train, as far as the time reaches: t2sql.train goes on from there

A part that fails, or for which no time is left, is named; the others are measured all the same.
DIR gets a log and a JSON file for each part, `figures.json`, and `table.md` for the README.
Rehearsal without a GPU: --model=dummy --source=dummy:0 --data=sample --adapter= --parts=free,step
"""

import dataclasses
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from absl import flags, logging

from t2sql import config as config_lib
from t2sql import errors
from t2sql.runtime import cli

_PARTS = ("free", "constrained", "step", "peer", "train")
_DATA = flags.DEFINE_string("data", None, "Directory with Spider 1.0, or sample.", required=True)
_SOURCE = flags.DEFINE_string("source", None, "Weights on this machine.", required=True)
_MODEL = flags.DEFINE_string("model", "gemma3_270m", "Name of the model.")
_ADAPTER = flags.DEFINE_string("adapter", "package:gemma3_270m_spider", "Adapter; empty for none.")
_PACKAGES = flags.DEFINE_string("packages", "", "Folder of packages that the machine lacks.")
_TRAIN = flags.DEFINE_list("train", ["configs/lora.py"], "Configs to train with, in this order.")
_ROWS = flags.DEFINE_integer("rows", 128, "Prompts at a time in the part 'step'.")
_MINUTES = flags.DEFINE_float("minutes", 10.0, "For all of it.")
_CHOSEN = flags.DEFINE_list("parts", list(_PARTS), "Parts to run.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder for the figures.", required=True)
_PART = flags.DEFINE_enum("part", "", ["", "free", "constrained", "step"], "Run this part here.")

_GRACE_SECONDS = 20  # for the last part's end, and the table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """A process.

    Attributes:
      name: of its log and its figures.
      command: what follows `python -m`.
      figures: the JSON file that it writes; None where its log is all.
    """

    name: str
    command: tuple[str, ...]
    figures: pathlib.Path | None


def main(argv: list[str]) -> int:
    del argv
    if _PART.value:
        figures = _step() if _PART.value == "step" else _dev_split(_PART.value)
        _file(_PART.value).write_text(json.dumps(figures, indent=1) + "\n")
        return 0
    if unknown := set(_CHOSEN.value) - set(_PARTS):
        raise errors.InputError(f"--parts: no part {min(unknown)!r}; known: {', '.join(_PARTS)}")
    end = time.monotonic() + 60 * _MINUTES.value - _GRACE_SECONDS
    folder = pathlib.Path(_OUTPUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    _join_pieces(pathlib.Path(_SOURCE.value))
    results = {part.name: _run(part, end - time.monotonic()) for part in _chosen_parts()}
    (folder / "figures.json").write_text(json.dumps(results, indent=1) + "\n")
    table = _table(results)
    (folder / "table.md").write_text(table)
    print(table)
    return 0 if all(result["state"] == "done" for result in results.values()) else 3


def _chosen_parts() -> Iterator[Part]:
    here = ("--model=" + _MODEL.value, "--data=" + _DATA.value, "--source=" + _SOURCE.value)
    for name in (part for part in _PARTS if part in _CHOSEN.value):
        if name == "peer":
            command = ("benchmarks.throughput", *here, "--count=128", "--article_prompts=1")
            yield Part(
                name=name, command=(*command, f"--output={_file(name)}"), figures=_file(name)
            )
        elif name == "train":
            for number, config in enumerate(_TRAIN.value):
                yield _training(f"train-{number}", config)
        else:
            own = ("benchmarks.on_gpu", *here, f"--part={name}", f"--output={_OUTPUT.value}")
            extra = (f"--adapter={_ADAPTER.value}", f"--rows={_ROWS.value}")
            yield Part(name=name, command=(*own, *extra), figures=_file(name))


def _training(name: str, config: str) -> Part:
    values = {
        "data.path": _DATA.value,
        "model.name": _MODEL.value,
        "model.source": _SOURCE.value,
        "output": str(pathlib.Path(_OUTPUT.value) / name),
    }
    given = (f"--config.{key}={value}" for key, value in values.items())
    return Part(name=name, command=("t2sql.train", f"--config={config}", *given), figures=None)


def _file(part: str) -> pathlib.Path:
    return pathlib.Path(_OUTPUT.value) / f"{part}.json"


def _run(part: Part, seconds: float) -> dict[str, Any]:
    """What became of a part, and its figures."""
    if seconds <= 0:
        return {"state": "no time left"}
    environ = dict(os.environ)
    if _PACKAGES.value:
        paths = [_PACKAGES.value, environ.get("PYTHONPATH", "")]
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    start = time.monotonic()
    log = pathlib.Path(_OUTPUT.value) / f"{part.name}.log"
    print(f"{part.name}: {seconds:.0f} s left", flush=True)
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", *part.command],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environ,
        )
        try:
            code = process.wait(seconds)
            state = "done" if code == 0 else f"failed with {code}, see {log}"
        except subprocess.TimeoutExpired:
            process.terminate()
            state = "stopped: no time left"
            try:
                process.wait(_GRACE_SECONDS / 2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    result = {"state": state, "wall_seconds": time.monotonic() - start}
    if part.figures and part.figures.exists():
        result["figures"] = json.loads(part.figures.read_text())
    return result


def _join_pieces(source: pathlib.Path) -> None:
    """Makes one file of its pieces, where only these came."""
    pieces = sorted(source.parent.glob(f"{source.name}.part-*"))
    if source.exists() or not pieces:
        return
    partial = source.with_name(f"{source.name}.joining")
    with partial.open("wb") as whole:
        for piece in pieces:
            with piece.open("rb") as file:
                shutil.copyfileobj(file, whole, 1 << 24)
    partial.rename(source)


def _config(constrain: str):
    """The job's config for the dev split."""
    config = config_lib.default_config()
    config.data.path = _DATA.value
    config.model.name, config.model.source = _MODEL.value, _SOURCE.value
    config.model.adapter = _ADAPTER.value
    config.prompt = "compact"
    config.batch_size = config_lib.AUTO
    config.prefill_tokens = 16384
    config.sampling.constrain = constrain
    return config


def _dev_split(part: str) -> dict[str, Any]:
    """The job without its files: once to warm up, once measured."""
    from t2sql.data import from_config
    from t2sql.model import factory as factory_lib
    from t2sql.runs import loader, predict, summary

    config = _config("keys" if part == "constrained" else "")
    prompt = from_config.make_prompt(config)
    units = loader.plan(
        from_config.read_examples(config, prompt), prompt, unit_size=config.unit_size
    )
    factory = factory_lib.make_factory(config)
    groups = loader.load_groups(config, units, prompt, factory)
    watch = summary.Stopwatch()
    sampler, programs = predict.load_sampler(config, factory, prompt, groups, watch)
    figures = {"rows": sampler.batch_size, "stages": watch.seconds}
    for turn in ("first", "second"):
        start = time.perf_counter()
        answers = [row for _, rows in predict.predict(sampler, groups, prompt) for row in rows]
        seconds = time.perf_counter() - start
        figures |= {
            f"{turn}_seconds": seconds,
            "questions": len(answers),
            "output_tokens": sum(row.output_tokens for row in answers),
            "questions_a_second": len(answers) / seconds,
        }
    programs.close()
    figures["counters"] = dataclasses.asdict(sampler.counters)  # of both turns
    return figures


def _step() -> dict[str, Any]:
    """A decode step of full slots: what it launches, and how long it takes."""
    import jax
    import numpy as np

    from benchmarks.accelerators import hlo
    from t2sql import sampling
    from t2sql.model import factory as factory_lib
    from t2sql.sampling import kv_cache

    config = factory_lib.config_for(_MODEL.value, _SOURCE.value)
    modules = factory_lib.LLMModuleFactory(config).build(
        lambda **parts: sampling.BatchSampler(batch_size=_ROWS.value, **parts)
    )
    compiler, shape = modules.sampler.compiler, kv_cache.CacheShape(prefix=1024, suffix=64, new=128)
    decode = compiler.get("decode", shape)
    prefix_cache, slots, state = compiler.get("init", shape)()
    zeros = np.zeros(_ROWS.value, np.int32)
    by_row = lambda array: jax.device_put(array, compiler.by_row)  # noqa: E731
    slots = slots.replace(limits=by_row(zeros + shape.new))
    ends = jax.device_put(np.zeros(modules.model.config.num_embed, bool), compiler.replicated)
    seconds = []
    for _ in range(12):
        state = state.replace(done=by_row(zeros > 0), generated=by_row(zeros))
        jax.block_until_ready(state)
        start = time.perf_counter()
        state, decoded = decode(
            compiler.params, prefix_cache, slots, state, by_row(zeros > 0), ends,
            jax.device_put(np.int32(0), compiler.replicated), compiler.no_corrections(),
        )  # fmt: skip
        steps = int(decoded.steps)
        seconds.append((time.perf_counter() - start) / steps)
    module = hlo.Module(decode.as_text())
    return {
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "rows": _ROWS.value,
        "step_ms": 1e3 * statistics.median(seconds[2:]),
        "kernels": module.launches(module.loop_body),
        "bytes": module.hbm_bytes(module.loop_body),
    }


def _table(results: dict[str, Any]) -> str:
    """The figures as a table for the README."""
    lines = ["| part | state | figures |", "| --- | --- | --- |"]
    for name, result in results.items():
        figures = result.get("figures", {})
        shown = ", ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in figures.items()
            if not isinstance(value, dict)
        )
        lines.append(f"| {name} | {result['state']} | {shown} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    cli.run(main)
