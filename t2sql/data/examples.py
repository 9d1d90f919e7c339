"""Examples in the Spider layout: a question, its gold SQL if any, and its database's schema."""

import dataclasses
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from t2sql import errors
from t2sql.data import records
from t2sql.data.compact import CompactDatabase
from t2sql.data.database import database_path, is_plain_name
from t2sql.data.read_schema import read_db_definitions

SPLIT_FILES = {
    "dev": "dev.json",
    "train": "train_spider.json",
    "train_others": "train_others.json",
    "test": "test.json",
}


class UnknownExamplesError(errors.InputError):
    """Examples are wanted by ids that a split does not have."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """One question over one database.

    Attributes:
      example_id: "dev/0007": the split and the index in its file, in 4 digits or more.
      db_id: the database's folder name.
      question: in natural language, as the file has it.
      query: the gold SQL; None where the data has none.
      db_definitions: the CREATE TABLE statements, see `schema.read_db_definitions`, or
        the text of `compact.CompactDatabase`.
      values: what of the question is in the database, as conditions; with the latter only.
    """

    example_id: str
    db_id: str
    question: str
    query: str | None
    db_definitions: str
    values: tuple[str, ...] = ()


def read_examples(
    root: Path,
    split: str,
    *,
    limit: int | None = None,
    only: Collection[str] | None = None,
    with_schema: bool = True,
    compact: bool = False,
) -> list[Example]:
    """Reads a split in file order.

    Args:
      root: a directory in the Spider layout.
      split: one of `SPLIT_FILES`. Fields of a record besides `db_id`, `question` and `query`
        are ignored.
      limit: the first so many examples only; None for all.
      only: the ids of those that are wanted; None for all.
      with_schema: False leaves `db_definitions` empty and the databases unread.
      compact: the schemas in few tokens, and the values that the questions name.

    Raises:
      InputError: the directory, the split or a database is missing or broken, a record lacks
        a field, a question is empty, a `db_id` is no plain folder name, or `only` names
        an example that is not there (UnknownExamplesError).
    """
    if limit is not None and limit < 1:
        raise errors.InputError(f"the limit is {limit}; it has to be at least 1, or None for all")
    path = _split_path(root, split)
    found = records.read_records(path)
    if not found:
        raise errors.InputError(f"{path}: holds no examples")
    examples = [_example(path, split, index, record) for index, record in enumerate(found[:limit])]
    if only is not None:
        examples = _chosen(examples, only, path)
    if not with_schema:
        return examples
    return _add_compact(root, examples) if compact else _add_schemas(root, examples)


def _chosen(examples: list[Example], only: Collection[str], path: Path) -> list[Example]:
    wanted = frozenset(only)
    unknown = wanted - {example.example_id for example in examples}
    if unknown:
        raise UnknownExamplesError(
            f"{path} has no example {min(unknown)!r} ({len(unknown)} of {len(only)} are not there)"
        )
    return [example for example in examples if example.example_id in wanted]


def split_names(root: Path) -> list[str]:
    """The splits whose file lies in a directory.

    Raises:
      InputError: there is no such directory.
    """
    if not root.is_dir():
        raise errors.InputError(f"{root}: no such data directory")
    return [split for split, file in SPLIT_FILES.items() if (root / file).exists()]


def _split_path(root: Path, split: str) -> Path:
    there = split_names(root)
    if split not in SPLIT_FILES:
        raise errors.InputError(f"no split is called {split!r}; there are {', '.join(SPLIT_FILES)}")
    if split not in there:
        raise errors.InputError(
            f"{root}: no split {split!r}: {SPLIT_FILES[split]} is not there "
            f"(splits there: {', '.join(there) or 'none'})"
        )
    return root / SPLIT_FILES[split]


def _example(path: Path, split: str, index: int, record: dict[str, Any]) -> Example:
    def text(name: str) -> str:
        value = records.field(path, index, record, name, str)
        if not value.strip():
            raise errors.InputError(f"{path}: record {index}: field {name!r} is empty")
        return value

    db_id = text("db_id")
    if not is_plain_name(db_id):
        raise errors.InputError(
            f"{path}: record {index}: db_id {db_id!r} is not a plain folder name"
        )
    return Example(
        example_id=f"{split}/{index:04d}",
        db_id=db_id,
        question=text("question"),
        query=None if record.get("query") is None else text("query"),
        db_definitions="",
    )


def _add_schemas(root: Path, examples: list[Example]) -> list[Example]:
    definitions = _read_databases(read_db_definitions, root, examples)
    return [
        dataclasses.replace(example, db_definitions=definitions[example.db_id])
        for example in examples
    ]


def _add_compact(root: Path, examples: list[Example]) -> list[Example]:
    databases = _read_databases(CompactDatabase, root, examples)
    return [
        dataclasses.replace(
            example,
            db_definitions=databases[example.db_id].text,
            values=databases[example.db_id].matches(example.question),
        )
        for example in examples
    ]


def _read_databases[T](
    read: Callable[[Path], T], root: Path, examples: list[Example]
) -> dict[str, T]:
    """What `read` makes of each database, once; its error names the first example in need."""
    found: dict[str, T] = {}
    for example in examples:
        if example.db_id in found:
            continue
        try:
            found[example.db_id] = read(database_path(root, example.db_id))
        except errors.InputError as error:
            raise errors.InputError(f"{error} (the database of {example.example_id})") from error
    return found
