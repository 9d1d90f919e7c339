"""What was asked: the examples of a split, or the lines of a gold file."""

import dataclasses
import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from t2sql import errors
from t2sql.data import database as database_lib
from t2sql.data import examples as examples_lib
from t2sql.data import sources
from t2sql.data.dataset import DataFolder, as_folder, open_folder
from t2sql.data.read_schema import read_schemas
from t2sql.data.schema import Schema
from t2sql.report import spider_files
from t2sql.storage import local_cache

_SUFFIXES = (".sqlite", ".sqlite3", ".db", ".db3")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Questions:
    """The examples to evaluate, in the order of the data; iterates over them anew each time.

    Attributes:
      folder: the data set; knows where the databases are.
      split: the split's name; None for a gold file that is no split of the data.
      gold: the gold file that replaces the split's gold queries, or None.
      examples: of the split, all or some; empty where a gold file stands alone.
      split_size: how many examples the split has; 0 where a gold file stands alone.
      db_ids: the databases in use, sorted.
    """

    folder: DataFolder
    split: str | None
    gold: spider_files.LineFile | None
    examples: Sequence[examples_lib.Example]
    split_size: int = 0
    db_ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.gold) if self.gold is not None else len(self.examples)

    def __iter__(self) -> Iterator[examples_lib.Example]:
        if self.gold is None:
            return iter(self.examples)
        if not self.examples:
            return _gold_examples(self.gold)
        pairs = zip(self.examples, _gold_examples(self.gold), strict=True)
        return (dataclasses.replace(example, query=line.query) for example, line in pairs)

    @functools.cached_property
    def databases(self) -> dict[str, tuple[Path, ...]]:
        """The SQLite files by db_id, the canonical one first."""
        return {
            db_id: tuple(database_lib.database_paths(self.folder, db_id)) for db_id in self.db_ids
        }

    @functools.cached_property
    def schemas(self) -> dict[str, Schema]:
        """The schemas by db_id."""
        return read_schemas(self.folder, self.db_ids)

    @property
    def root(self) -> Path:
        """The data directory."""
        return self.folder.root

    @property
    def described(self) -> str:
        """How messages name them."""
        return str(self.gold.path) if self.gold is not None else f"{self.root}, split {self.split}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSource:
    """Which data the user names, and how it is read.

    Attributes:
      path: "sample", a directory, gs:// or kaggle:.
      format: one of `dataset.SETS`; "" for the run's, or to recognise it.
      fields: what records call their fields, by the names in `dataset.Fields`; {} for the run's.
      databases: where the databases lie, if not there; "" for the run's.
    """

    path: str
    format: str = ""
    fields: Mapping[str, str] = dataclasses.field(default_factory=dict)
    databases: str = ""

    def open(self, recorded: Mapping[str, Any]) -> DataFolder:
        """The data set on this machine's disk.

        Args:
          recorded: of the run that answered it, which fills what is left empty; {} for none.

        Raises:
          InputError: there is no such data, format or field.
        """
        databases = self.databases or recorded.get("data_databases", "")
        return open_folder(
            _resolved(self.path),
            format=self.format or recorded.get("data_format", ""),
            fields=self.fields or recorded.get("data_fields", {}),
            databases=_resolved(databases) if databases else None,
        )


def _resolved(path: str) -> Path:
    return sources.resolve_data(path, cache_dir=local_cache.default_dir())


def read_questions(
    root: Path | DataFolder,
    *,
    split: str,
    limit: int | None,
    gold: Path | None,
    required: bool,
    only: Collection[str] | None = None,
) -> Questions:
    """Reads the split, the gold file, or both.

    A gold file whose lines name the split's databases one by one keeps the split's questions
    and example ids; any other gold file stands alone, its ids count its lines.

    Args:
      root: the data set; a plain directory is recognised by its files.
      split: the split's name.
      limit: how many examples of the split; None for all.
      gold: a gold file in the official format.
      only: ids of the examples of the split; None for all.
      required: whether the split has to be there: a run's rows name its example ids.

    Raises:
      InputError: a file is missing or malformed, or a database is missing.
    """
    folder = as_folder(root)
    file = spider_files.LineFile(gold) if gold else None
    examples, split_size = [], 0
    if file is None or required or split in folder.split_names():
        examples = examples_lib.read_examples(
            folder, split, limit=limit, only=only, with_schema=False
        )
        split_size = len(examples)
        if limit is not None or only is not None:
            split_size = len(examples_lib.read_examples(folder, split, with_schema=False))
    if file is not None:
        aligned = align(file, examples, split_size)
        if aligned is not None and _same_databases(aligned, examples):
            file = aligned
        elif required:
            raise errors.InputError(
                f"--gold={gold}: its {len(file):,} lines do not align with the "
                f"{len(examples):,} examples of the run (split {split}, {split_size:,} examples)"
            )
        else:
            examples, split_size = [], 0
    return Questions(
        folder=folder,
        split=split if file is None or examples else None,
        gold=file,
        examples=examples,
        split_size=split_size,
        db_ids=_databases(folder, file, examples),
    )


def read_twin(folder: DataFolder, split: str, questions: Questions) -> Questions:
    """Another form of the questions, such as Spider's dev for Spider-Syn's: pairs by position.

    Raises:
      InputError: the split has more or fewer questions.
    """
    twin = read_questions(folder, split=split, limit=None, gold=None, required=True)
    if len(twin) != questions.split_size:
        raise errors.InputError(
            f"--baseline_data: {twin.described} has {len(twin):,} examples, and "
            f"{questions.described} {questions.split_size:,}: they are no twins"
        )
    numbers = [int(example.example_id.rpartition("/")[2]) for example in questions.examples]
    return dataclasses.replace(twin, examples=[twin.examples[number] for number in numbers])


def align(
    file: spider_files.LineFile, examples: Sequence[examples_lib.Example], split_size: int
) -> spider_files.LineFile | None:
    """The file with a line for each example; None where its length does not tell which.

    Args:
      file: has a line for each of the examples, or for each of the split's.
      examples: of a split, all or some.
      split_size: how many the split has.
    """
    if len(file) <= len(examples) <= file.physical_lines:
        return file
    if len(file) <= split_size <= file.physical_lines:
        return file.only([int(example.example_id.rpartition("/")[2]) for example in examples])
    return None


def _same_databases(file: spider_files.LineFile, examples: Sequence[examples_lib.Example]) -> bool:
    return len(file) == len(examples) and all(
        example.db_id == line.db_id
        for example, line in zip(examples, _gold_examples(file), strict=True)
    )


def _gold_examples(file: spider_files.LineFile) -> Iterator[examples_lib.Example]:
    for _, (number, line) in zip(range(len(file)), file.numbered(), strict=False):
        sql, db_id = spider_files.split_gold(line, where=f"{file.path}, line {number}")
        yield examples_lib.Example(
            example_id=f"{file.path.stem}/{number - 1:04d}",
            db_id=db_id,
            question="",
            query=sql,
            db_definitions="",
        )


def _databases(
    folder: DataFolder, file: spider_files.LineFile | None, examples: Sequence[examples_lib.Example]
) -> tuple[str, ...]:
    """The databases in use; each must exist, and the first use of a missing one is named."""
    first_use: dict[str, str] = {}
    for index, example in enumerate(examples or _gold_examples(file)):
        where = f"{file.path}, line {index + 1}" if file and not examples else example.example_id
        first_use.setdefault(example.db_id, where)
    if not first_use:
        raise errors.InputError(f"{folder.root if file is None else file.path}: holds no examples")
    for db_id, where in first_use.items():
        database = database_lib.database_path(folder, db_id)
        if not database.is_file():
            raise errors.InputError(
                f"{where}: there is no database {db_id!r} in the data ({database} is missing)"
                f"{_beside(database)}{folder.missing_databases}"
            )
    return tuple(sorted(first_use))


def _beside(database: Path) -> str:
    """What may be the missing database under another name, and what to do; "" if nothing is."""
    files = [path.name for path in sorted(database.parent.glob("[!.]*")) if path.is_file()]
    names = [f"{database.stem}{suffix}".lower() for suffix in _SUFFIXES]
    like = [name for name in files if name.lower() in names]
    return f"; rename {like[0]} beside it to {database.name}" if len(like) == 1 else ""
