"""Examples in the Spider layout: a question, its gold SQL if any, and its database's schema."""

import dataclasses
import functools
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from t2sql import errors
from t2sql.data import records
from t2sql.data.compact import CompactDatabase
from t2sql.data.database import database_path, is_plain_name
from t2sql.data.read_schema import read_db_definitions
from t2sql.runtime import progress

SPLIT_FILES = {
    "dev": "dev.json",
    "train": "train_spider.json",
    "train_others": "train_others.json",
    "test": "test.json",
}


class UnknownExamplesError(errors.InputError):
    """A split does not have the examples that are asked for by their ids."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """One question over one database.

    Attributes:
      example_id: "dev/0007": the split and the index in its file, in 4 digits or more.
      db_id: the database's folder name.
      question: in natural language, as the file has it.
      query: the gold SQL; None where the data has none.
      db_definitions: the CREATE TABLE statements, see `read_schema.read_db_definitions`, or
        the text of `compact.CompactDatabase`.
      values: what of the question is in the database, as conditions; for compact prompts only.
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
    written: bool = False,
) -> list[Example]:
    """Reads a split in file order.

    Args:
      root: a directory in the Spider layout.
      split: one of `SPLIT_FILES`. Fields of a record besides `db_id`, `question` and `query`
        are ignored.
      limit: the first so many examples only; None for all.
      only: the ids of the examples to read; None for all.
      with_schema: False leaves `db_definitions` empty and the databases unread.
      compact: the schemas in few tokens, and the values that the questions name.
      written: whether these are named in other forms than theirs too.

    Raises:
      InputError: the directory, the split or a database is missing or broken, the records are
        of another data set's format or lack a field, a question is empty, or a `db_id` is no
        plain folder name.
      UnknownExamplesError: `only` names an example that is not there.
    """
    if limit is not None and limit < 1:
        raise errors.InputError(f"the limit is {limit}; it has to be at least 1, or None for all")
    path = _split_path(root, split)
    split_records = records.read_records(path)
    if not split_records:
        raise errors.InputError(f"{path}: holds no examples")
    examples = [
        _example(path, split, index, record) for index, record in enumerate(split_records[:limit])
    ]
    if only is not None:
        unknown = set(only) - {example.example_id for example in examples}
        if unknown:
            raise UnknownExamplesError(
                f"{path} has no example {min(unknown)!r} "
                f"({len(unknown)} of {len(only)} are not there)"
            )
        chosen = frozenset(only)
        examples = [example for example in examples if example.example_id in chosen]
    if not with_schema:
        return examples
    return with_schemas(root, examples, compact=compact, written=written)


def split_names(root: Path) -> list[str]:
    """The splits whose file lies in a directory.

    Raises:
      InputError: there is no such directory.
    """
    if not root.is_dir():
        raise errors.InputError(f"{root}: no such data directory")
    return [split for split, file in SPLIT_FILES.items() if (root / file).exists()]


def _split_path(root: Path, split: str) -> Path:
    present = split_names(root)
    if split not in SPLIT_FILES:
        raise errors.InputError(f"no split is called {split!r}; there are {', '.join(SPLIT_FILES)}")
    if split not in present:
        raise errors.InputError(
            f"{root}: no split {split!r}: {SPLIT_FILES[split]} is not there "
            f"(splits there: {', '.join(present) or 'none'})"
        )
    return root / SPLIT_FILES[split]


def _example(path: Path, split: str, index: int, record: dict[str, Any]) -> Example:
    records.check_layout(path, index, record)

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


def with_schemas(
    root: Path, examples: Sequence[Example], *, compact: bool = False, written: bool = False
) -> list[Example]:
    """The examples with what their databases say, in their order; one database at a time.

    The arguments and errors are those of `read_examples`.
    """
    complete = functools.partial(_compact_examples, written=written) if compact else _plain_examples
    positions: dict[str, list[int]] = {}
    for position, example in enumerate(examples):
        positions.setdefault(example.db_id, []).append(position)
    examples = list(examples)
    console = progress.Console(stderr=True)
    for db_id in progress.track(positions, console, "reading databases"):
        asked = [examples[position] for position in positions[db_id]]
        try:
            of_database = complete(database_path(root, db_id), asked)
        except errors.InputError as error:
            raise errors.InputError(f"{error} (the database of {asked[0].example_id})") from error
        for position, example in zip(positions[db_id], of_database, strict=True):
            examples[position] = example
    return examples


def _plain_examples(path: Path, examples: list[Example]) -> list[Example]:
    definitions = read_db_definitions(path)
    return [dataclasses.replace(example, db_definitions=definitions) for example in examples]


def _compact_examples(path: Path, examples: list[Example], *, written: bool) -> list[Example]:
    database = CompactDatabase(path, written=written)
    return [
        dataclasses.replace(
            example, db_definitions=database.text, values=database.matches(example.question)
        )
        for example in examples
    ]
