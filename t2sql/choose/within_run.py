"""The choice within a run: of a question's candidates, the row keeps one."""

import dataclasses
import functools
from collections.abc import Sequence

import ml_collections

from t2sql.choose.vote import ChooseQuery
from t2sql.data import database, from_config
from t2sql.data.compact import CompactDatabase
from t2sql.data.dataset import DataFolder
from t2sql.evaluation.sandbox.executor import Executor, Limits
from t2sql.runs.predictions import Prediction


class Chooser:
    """Chooses among the candidates of a run's rows (`vote`), in the report's sandbox.

    Its child processes start with the first rows and end with the `with` block.

    Args:
      config: of the run; it says where the databases are.
    """

    def __init__(self, config: ml_collections.ConfigDict):
        self._config = config
        self._executor = Executor(Limits(seconds=10.0))
        self._database_of = functools.lru_cache(maxsize=4)(CompactDatabase)

    def __enter__(self) -> "Chooser":
        return self

    def __exit__(self, *exception: object) -> None:
        self._executor.close()

    def __call__(self, rows: Sequence[Prediction]) -> list[Prediction]:
        """The rows, each with the answer that was chosen among its candidates."""
        asked = [row for row in rows if row.candidates]
        choices = self._executor.map(map(self._task, asked))
        chosen = {
            row.example_id: with_candidate(row, choice.index)
            for row, choice in zip(asked, choices, strict=True)
        }
        return [chosen.get(row.example_id, row) for row in rows]

    def _task(self, row: Prediction) -> ChooseQuery:
        path = database.database_path(self._folder, row.db_id)
        return ChooseQuery(
            database=path,
            candidates=tuple(candidate.sql for candidate in row.candidates),
            named=self._database_of(path).named(row.question),
            logprobs=tuple(candidate.logprob for candidate in row.candidates),
        )

    @functools.cached_property
    def _folder(self) -> DataFolder:
        return from_config.open_data(self._config)


def with_candidate(row: Prediction, index: int) -> Prediction:
    """The row with one of its candidates as its answer."""
    candidate = row.candidates[index]
    return dataclasses.replace(
        row,
        text=candidate.text,
        sql=candidate.sql,
        status=candidate.status,
        output_tokens=candidate.output_tokens,
    )
