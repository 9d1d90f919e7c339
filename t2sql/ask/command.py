"""From a question to the SQL and its rows, on one database, with the model loaded once."""

import dataclasses
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import ml_collections
import rich.markup
import rich.table
from rich.console import Console

from t2sql import config as config_lib
from t2sql import errors, sampling
from t2sql.data import prompts
from t2sql.data.compact import CompactDatabase
from t2sql.data.examples import Example
from t2sql.data.read_schema import read_db_definitions, schema_from_sqlite
from t2sql.evaluation.sandbox.executor import ExecutionResult, Executor, Limits
from t2sql.model import factory as factory_lib
from t2sql.runs import loader, predict, summary
from t2sql.runs.predictions import Prediction
from t2sql.runs.units import plan_units
from t2sql.runtime import progress, statuses

# A schema of some 300 tables takes 8,000 tokens.
_BUCKETS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
_CELL_CHARS = 200
_LEAVE = frozenset(("", "exit", "quit", ".exit", ".quit", "\\q"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class AskOptions:
    """The flags of the command; `python -m t2sql.ask --help` describes them.

    Attributes:
      question: the one to answer; None to read them line by line.
    """

    database: str
    question: str | None
    adapter: str
    source: str
    model: str
    prompt: str
    rows: int = 20
    timeout: float = 10.0


def ask(options: AskOptions) -> int:
    """Answers the question, or all that are typed.

    Returns:
      0, or 3 where a question has no answer that runs.

    Raises:
      InputError: the database cannot be read, or the model cannot be loaded.
    """
    if not options.database:
        raise errors.InputError("--database is empty: name a SQLite file")
    path = Path(options.database).expanduser()
    # A wrong file is told before the weights are read.
    schema_from_sqlite(path)
    console = progress.make_console()
    answerer = Answerer(path, _config(options), progress.Console(stderr=True))
    limits = Limits(seconds=options.timeout, shown_rows=options.rows)
    with Executor(limits, workers=1) as executor:
        answers = [
            answer(question, path, answerer.predict, executor, console)
            for question in _questions(options.question)
        ]
    return 0 if all(answers) else errors.RefusedError.exit_code


def _config(options: AskOptions) -> ml_collections.ConfigDict:
    config = config_lib.default_config()
    config.model.source, config.model.name = options.source, options.model
    config.model.adapter, config.prompt = options.adapter, options.prompt
    config.sampling.constrain, config.sampling.logprobs = "keys", True
    config.prompt_buckets = _BUCKETS
    config.batch_size = 1
    return config


class Answerer:
    """A model that answers questions about one database.

    Args:
      path: the SQLite file.
      config: what is loaded, and how it is sampled.
      console: for what is said while it loads.
    """

    def __init__(self, path: Path, config: ml_collections.ConfigDict, console: Console):
        self._path, self._config, self._console = path, config, console
        self._prompt = prompts.make_prompt(config.prompt)
        self._factory = factory_lib.make_factory(config)
        predict.check(config, self._factory, self._prompt)
        self._database = CompactDatabase(path) if self._prompt.compact else None
        self._definitions = "" if self._prompt.compact else read_db_definitions(path)
        self._guides = loader.make_guides(
            {path.stem: schema_from_sqlite(path)}, config, self._prompt, self._factory
        )
        self._sampler: sampling.BatchSampler | None = None

    def predict(self, question: str) -> Prediction:
        """The answer to a question; the first one loads and compiles the model."""
        (unit,) = plan_units([self._example(question)], unit_size=1, length=lambda _: 1)
        (group,) = loader.load([unit], **self._tokenising())
        group = dataclasses.replace(group, guide=self._guides.of(self._path.stem))
        if self._sampler is None:
            with self._console.status("loading the model"):
                self._sampler, _ = predict.load_sampler(
                    self._config, self._factory, self._prompt, [group], summary.Stopwatch()
                )
        ((_, (row,)),) = predict.predict(self._sampler, [group], self._prompt)
        return row

    def _tokenising(self) -> dict:
        tokenizer = self._factory.tokenizer
        return {
            "encode": lambda text: tokenizer.encode(text, add_bos=True),
            "prompt": self._prompt,
            "longest": self._config.prompt_buckets[-1],
        }

    def _example(self, question: str) -> Example:
        database = self._database
        return Example(
            example_id="ask/0000",
            db_id=self._path.stem,
            question=question,
            query=None,
            db_definitions=database.text if database else self._definitions,
            values=database.matches(question) if database else (),
        )


def _questions(question: str | None) -> Iterator[str]:
    """The one question, or the lines of standard input up to an empty one."""
    if question is not None:
        if not question.strip():
            raise errors.InputError("the question is empty")
        yield question
        return
    is_typed = sys.stdin.isatty()
    while True:
        if is_typed:
            print("question (an empty line ends): ", end="", flush=True)
        line = sys.stdin.readline()
        if not line or (is_typed and line.strip() in _LEAVE):
            return
        if line.strip():
            yield line.strip()


def answer(
    question: str,
    database: Path,
    predict_row: Callable[[str], Prediction],
    executor: Executor,
    console: Console,
) -> bool:
    """Prints the SQL that answers a question, and its rows; whether it runs."""
    row = predict_row(question)
    if row.status == statuses.PROMPT_TOO_LONG:
        console.print(
            f"no answer: the schema and the question take {row.prompt_tokens:,} tokens, and "
            f"{_BUCKETS[-1]:,} are the most; ask about a copy with fewer tables or columns",
            highlight=False,
        )
        return False
    console.print(row.sql or "(no SQL)", style="bold", markup=False, highlight=False)
    result = executor.run(database, row.sql) if row.sql else None
    for line in _told(row, result):
        console.print(line, markup=False, highlight=False)
    if result is not None and result.ok:
        console.print(_table(result))
        return True
    return False


def _told(row: Prediction, result: ExecutionResult | None) -> Iterable[str]:
    if row.status == "max_tokens":
        yield "the answer was cut at the token limit"
    if result is not None and not result.ok:
        yield f"it does not run: {result.message}"
    if result is not None and result.ok:
        shown = len(result.rows)
        more = f", {shown:,} shown" if shown < result.row_count else ""
        yield f"{progress.counted(result.row_count, 'row')}{more}{_likelihood(row)}"


def _likelihood(row: Prediction) -> str:
    """How likely the model holds the whole answer to be; "" where it does not say."""
    if not row.candidates:
        return ""
    likelihood = math.exp(row.candidates[0].logprob)
    return f"; the model gives this answer a likelihood of {likelihood:.0%}"


def _table(result: ExecutionResult) -> rich.table.Table:
    table = rich.table.Table(show_lines=False)
    for name in result.columns:
        table.add_column(rich.markup.escape(name), overflow="fold")
    for values in result.rows:
        table.add_row(*(rich.markup.escape(_cell(value)) for value in values))
    return table


def _cell(value: object) -> str:
    if isinstance(value, bytes):
        return f"({len(value):,} bytes)"
    text = "NULL" if value is None else str(value)
    return text if len(text) <= _CELL_CHARS else f"{text[:_CELL_CHARS]}…"
