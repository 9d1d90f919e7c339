"""What a data set is: its files, what its fields are called, and which metric judges it.

The sets of this field are described in `SETS`. A folder is recognised by the files in it, and
where two sets call theirs the same (`dev.json`), by the fields of the first record. Any other
set is described by `config.data.fields`.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from t2sql import errors
from t2sql.data import notices

if TYPE_CHECKING:  # Takes a while to import, which those with local data need not pay.
    from t2sql.storage.on_demand import OnDemandCopy

_PEEKED_CHARS = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fields:
    """What the fields of a record are called; "" where a set has no such field.

    Attributes:
      db_id: the database.
      question: in natural language.
      query: the gold SQL, or a list of several queries of which any is right.
      hint: what a reader of the question has to know beside it; BIRD's evidence.
      difficulty: the level that the authors give a question.
      id: the set's own id of a record, unique within a split.
    """

    db_id: str = "db_id"
    question: str = "question"
    query: str = "query"
    hint: str = ""
    difficulty: str = ""
    id: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSet:
    """How one data set is published.

    Attributes:
      name: in `config.data.format`.
      title: as its authors call it.
      splits: the file of each split, or a pattern of several; `.jsonl` may stand for `.json`.
      marks: fields that only this set's records have, where another set has files of that name.
      fields: what its records call theirs.
      tables: the files of schemas in Spider's `tables.json` format; the first one counts most.
      databases: the folders of databases, each in a folder of its own name.
      databases_of: the title of the set whose databases it asks about, besides its own.
      metric: what judges an answer: "spider" (execution accuracy, exact set match) or "bird"
        (EX, Soft-F1, R-VES).
      breakdown: what a report groups by: "hardness" (Spider's, of the gold query) or
        "difficulty" (the field of the records).
      named: the fields that the user named, which then have to be there.
    """

    name: str
    title: str
    splits: Mapping[str, str]
    marks: frozenset[str] = frozenset()
    fields: Fields = Fields()
    tables: tuple[str, ...] = ("tables.json",)
    databases: tuple[str, ...] = ("database",)
    databases_of: str = ""
    metric: str = "spider"
    breakdown: str = "hardness"
    named: frozenset[str] = frozenset()


SPIDER = DataSet(
    name="spider",
    title="Spider",
    splits={
        "dev": "dev.json",
        "train": "train_spider.json",
        "train_others": "train_others.json",
        "test": "test.json",
    },
    tables=("tables.json", "test_tables.json"),
    # The full release keeps the databases of its test split in a folder of their own.
    databases=("database", "test_database"),
)
_OTHERS = (
    DataSet(
        name="spider_syn",
        title="Spider-Syn",
        splits={"dev": "dev.json", "train": "train_spider.json"},
        marks=frozenset({"SpiderSynQuestion"}),
        fields=Fields(question="SpiderSynQuestion"),
        databases_of="Spider",
    ),
    DataSet(
        name="spider_realistic",
        title="Spider-Realistic",
        splits={"dev": "spider-realistic.json"},
        databases_of="Spider",
    ),
    DataSet(
        name="spider_dk",
        title="Spider-DK",
        splits={"dev": "Spider-DK.json"},
        databases_of="Spider",
    ),
    DataSet(
        name="kaggle_dbqa",
        title="KaggleDBQA",
        splits={"test": "examples/*_test.json", "fewshot": "examples/*_fewshot.json"},
        tables=("KaggleDBQA_tables.json",),
        databases=("databases",),
    ),
    DataSet(
        name="bird",
        title="BIRD",
        splits={"dev": "dev.json", "train": "train.json", "mini_dev": "mini_dev_sqlite.json"},
        marks=frozenset({"SQL"}),
        fields=Fields(query="SQL", hint="evidence", difficulty="difficulty", id="question_id"),
        tables=("dev_tables.json", "train_tables.json", "tables.json"),
        databases=("dev_databases", "train_databases", "database"),
        metric="bird",
        breakdown="difficulty",
    ),
)
SETS = {dataset.name: dataset for dataset in (SPIDER, *_OTHERS)}
# What tells that a folder holds a data set: files of splits, else databases.
FILES = tuple(
    dict.fromkeys(
        name
        for dataset in SETS.values()
        for name in (*dataset.splits.values(), *dataset.tables)
        if "/" not in name
    )
)
DATABASES = tuple(dict.fromkeys(name for one in SETS.values() for name in one.databases))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataFolder:
    """A data set on this machine's disk.

    Attributes:
      root: the folder.
      dataset: how it is laid out.
      more: another folder, whose databases and schemas are taken where this one has none.
      copy: what brings its databases to this disk when they are asked for; None where they are.
    """

    root: Path
    dataset: DataSet
    more: "DataFolder | None" = None
    copy: "OnDemandCopy | None" = None

    def split_names(self) -> list[str]:
        """The splits whose file is there."""
        return [split for split in self.dataset.splits if self._listed(split)]

    def split_files(self, split: str) -> list[Path]:
        """The files of a split, in the order of their names.

        A split that the set does not name is the file of that name.

        Raises:
          InputError: there is no such split.
        """
        paths = self._listed(split)
        if not paths:
            present = ", ".join(self.split_names()) or "none"
            expected = self.dataset.splits.get(split)
            missing = (
                f"no split {split!r}: {expected} is not there"
                if expected
                else f"no split is called {split!r}; there are {', '.join(self.dataset.splits)}, "
                f"and {split}.json or {split}.jsonl is not there"
            )
            raise errors.InputError(
                f"{self.root}: {missing} (splits of {self.dataset.title} there: {present})"
            )
        return paths

    def _listed(self, split: str) -> list[Path]:
        pattern = self.dataset.splits.get(split)
        if pattern is None:
            is_plain = split and not any(char in split for char in "/\\\0*?[")
            pattern = f"{split}.json" if is_plain else ""
        if not pattern:
            return []
        return sorted(self.root.glob(pattern)) or sorted(self.root.glob(f"{pattern}l"))

    def table_files(self) -> Iterator[Path]:
        """The files of schemas that are there; the first one that lists a database counts."""
        for name in self.dataset.tables:
            if (self.root / name).exists():
                yield self.root / name
        if self.more:
            yield from self.more.table_files()

    def database_folder(self, db_id: str) -> Path:
        """The folder of a database, on this disk from now on; where it would be if it is missing.

        Raises:
          TryAgainError: it has to be fetched, and the network or the disk failed.
        """
        folders = [self.root / name / db_id for name in self.dataset.databases]
        for folder in folders:
            if self.copy:
                self.copy.fetch(self._in_copy(folder))
            if folder.is_dir():
                return folder
        if self.more:
            there = self.more.database_folder(db_id)
            if there.is_dir():
                return there
        return folders[0]

    def prefetch(self, db_ids: Iterable[str]) -> None:
        """Begins to bring databases to this disk, in this order, where they are not."""
        db_ids = list(db_ids)
        if self.copy:
            self.copy.prefetch(
                self._in_copy(self.root / name / db_id)
                for db_id in db_ids
                for name in self.dataset.databases
            )
        if self.more:
            self.more.prefetch(db_ids)

    def _in_copy(self, folder: Path) -> str:
        return folder.relative_to(self.copy.path).as_posix()

    @property
    def missing_databases(self) -> str:
        """What to do where a database is missing; "" where nobody knows."""
        if not self.dataset.databases_of or self.more:
            return ""
        return (
            f"; {self.dataset.title} asks about the databases of {self.dataset.databases_of}: "
            "name their folder by --config.data.databases (t2sql.report: --databases)"
        )


def open_folder(
    root: Path,
    *,
    format: str = "",
    fields: Mapping[str, str] | None = None,
    databases: "Path | DataFolder | None" = None,
    copy: "OnDemandCopy | None" = None,
) -> DataFolder:
    """The data set in a folder.

    Args:
      root: the folder.
      format: one of `SETS`; "" to recognise it.
      fields: names of fields that replace the set's, by the names in `Fields`; "" keeps one.
      databases: a folder of another data set whose databases these questions ask about.
      copy: see `DataFolder`.

    Raises:
      InputError: there is no such folder, format or field.
    """
    if not root.is_dir():
        raise errors.InputError(f"{root}: no such data directory")
    if format and format not in SETS:
        raise errors.InputError(
            f"data format {format!r}: no data set is called so; there are {', '.join(SETS)}, or "
            "leave it empty and name the fields (config.data.fields)"
        )
    dataset = SETS[format] if format else recognise(root)
    named = {field: name for field, name in (fields or {}).items() if name}
    unknown = named.keys() - {field.name for field in dataclasses.fields(Fields)}
    if unknown:
        raise errors.InputError(
            f"data field {min(unknown)!r}: fields are "
            f"{', '.join(field.name for field in dataclasses.fields(Fields))}"
        )
    if named:
        dataset = dataclasses.replace(
            dataset,
            fields=dataclasses.replace(dataset.fields, **named),
            named=frozenset(named),
        )
    more = as_folder(databases) if databases else None
    return DataFolder(root=root, dataset=dataset, more=more, copy=copy)


def as_folder(root: Path | DataFolder) -> DataFolder:
    """A folder as it is, or the data set that is recognised in a directory."""
    return root if isinstance(root, DataFolder) else open_folder(root)


def recognise(root: Path) -> DataSet:
    """The set that a folder's files are of; Spider where several are, or none."""
    present = [dataset for dataset in SETS.values() if _is_there(dataset, root)]
    if len(present) > 1:
        others = ", ".join(f"{one.title} ({one.name})" for one in present[1:])
        notices.tell(
            f"{root}: read as {present[0].title}; {others} is there too: name it by "
            "config.data.format"
        )
    return present[0] if present else SPIDER


def _is_there(dataset: DataSet, root: Path) -> bool:
    folder = DataFolder(root=root, dataset=dataset)
    rivals = [one for one in SETS.values() if one is not dataset]
    for split, pattern in dataset.splits.items():
        for path in folder._listed(split)[:1]:
            shared = [one for one in rivals if pattern in one.splits.values()]
            if not shared:
                return True
            names = _first_record(path)
            if dataset.marks:
                return dataset.marks <= names
            return not any(one.marks and one.marks <= names for one in shared)
    return False


def _first_record(path: Path) -> frozenset[str]:
    """The fields of a file's first record; none where there is no such record."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(_PEEKED_CHARS)
        record, _ = json.JSONDecoder().raw_decode(text, text.index("{"))
    except (OSError, ValueError, RecursionError):  # Whoever reads the file says what is wrong.
        return frozenset()
    return frozenset(record)


def gold_elsewhere(dataset: DataSet, record: Mapping[str, object]) -> str:
    """The field of a record that holds gold by a name of another set; "" if none does."""
    if record.get(dataset.fields.query) is not None:
        return ""
    names = dict.fromkeys([one.fields.query for one in SETS.values()] + ["sql", "gold", "gold_sql"])
    return next((name for name in names if _is_text(record.get(name))), "")


def _is_text(value: object) -> bool:
    """Whether a value is a text, or a list that begins with one: several gold queries."""
    return isinstance(value[0] if isinstance(value, list) and value else value, str)


def advice(dataset: DataSet, name: str) -> str:
    """How to read the gold that a field of another set's name holds."""
    owner = next((one for one in SETS.values() if one.fields.query == name), None)
    by_name = f"--config.data.fields.query={name}"
    how = f"--config.data.format={owner.name} reads it, or {by_name}" if owner else by_name
    looks = f"this looks like {owner.title}'s layout" if owner else "is it the gold SQL?"
    return f"has {name}, not {dataset.fields.query}: {looks} ({how})"
