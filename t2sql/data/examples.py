"""Examples of a data set: a question, its gold SQL if any, and its database's schema."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from t2sql import errors
from t2sql.data import dataset, notices, records
from t2sql.data.compact import CompactDatabase
from t2sql.data.database import database_path, is_plain_name
from t2sql.data.dataset import DataFolder
from t2sql.data.descriptions import read_descriptions
from t2sql.data.read_schema import read_db_definitions
from t2sql.runtime import progress


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
      hint: what one has to know beside the question (BIRD's evidence); "" where there is none.
      difficulty: the level that the data set gives the question; None where it gives none.
      other_queries: more gold SQL, where the data has several queries; any of them is right.
      source_id: the data set's own id of the record; "" where it has none.
    """

    example_id: str
    db_id: str
    question: str
    query: str | None
    db_definitions: str
    values: tuple[str, ...] = ()
    hint: str = ""
    difficulty: str | None = None
    other_queries: tuple[str, ...] = ()
    source_id: str = ""

    def with_database(self, definitions: str, values: tuple[str, ...] = ()) -> "Example":
        """The example with what its database says."""
        return dataclasses.replace(self, db_definitions=definitions, values=values)


def read_examples(
    root: Path | DataFolder,
    split: str,
    *,
    limit: int | None = None,
    only: Collection[str] | None = None,
    with_schema: bool = True,
    compact: bool = False,
    written: bool = False,
    described: bool = False,
) -> list[Example]:
    """Reads a split in file order.

    Args:
      root: a data set; a plain directory is recognised by its files.
      split: one of the set's, or the name of a file there. Fields of a record that the set does
        not describe are ignored.
      limit: the first so many examples only; None for all.
      only: the ids of the examples to read; None for all.
      with_schema: False leaves `db_definitions` empty and the databases unread.
      compact: the schemas in few tokens, and the values that the questions name.
      written: whether these are named in other forms than theirs too.
      described: whether the schemas end with what the data set says of their columns.

    Raises:
      InputError: the directory, the split or a database is missing or broken, the records are
        of another data set's format or lack a field, a question is empty, or a `db_id` is no
        plain folder name.
      UnknownExamplesError: `only` names an example that is not there.
    """
    if limit is not None and limit < 1:
        raise errors.InputError(f"the limit is {limit}; it has to be at least 1, or None for all")
    folder = dataset.as_folder(root)
    examples = _read_split(folder, split, limit)
    if only is not None:
        unknown = set(only) - {example.example_id for example in examples}
        if unknown:
            raise UnknownExamplesError(
                f"{folder.split_files(split)[0]} has no example {min(unknown)!r} "
                f"({len(unknown)} of {len(only)} are not there)"
            )
        chosen = frozenset(only)
        examples = [example for example in examples if example.example_id in chosen]
    if not with_schema:
        return examples
    return with_schemas(folder, examples, compact=compact, written=written, described=described)


def _read_split(folder: DataFolder, split: str, limit: int | None) -> list[Example]:
    examples: list[Example] = []
    first_use: dict[str, str] = {}
    for path in folder.split_files(split):
        split_records = records.read_records(path)
        if not split_records:
            raise errors.InputError(f"{path}: holds no examples")
        _check_names(path, folder.dataset, split_records)
        for index, record in enumerate(split_records[:limit]):
            example = _example(path, index, record, folder.dataset)
            where = f"{path}: record {index}"
            if example.source_id:
                other = first_use.setdefault(example.source_id, where)
                if other != where:
                    raise errors.InputError(
                        f"{where}: field {folder.dataset.fields.id!r} is {example.source_id!r}, as "
                        f"in {other}: an id may stand only once"
                    )
            example_id = f"{split}/{len(examples):04d}"
            examples.append(dataclasses.replace(example, example_id=example_id))
    return examples[:limit]


def _check_names(path: Path, described: dataset.DataSet, read: list[dict[str, Any]]) -> None:
    """Refuses a field that the user named and no record has; tells a hint that is not read.

    Raises:
      InputError: names the field.
    """
    fields = described.fields
    for field in sorted(described.named):
        name = getattr(fields, field)
        if not any(name in record for record in read):
            names = ", ".join(sorted(read[0])) or "none"
            raise errors.InputError(
                f"{path}: record 0 has no field {name!r}, nor has any other, though "
                f"config.data.fields.{field} names it (its fields: {names})"
            )
    hints = dict.fromkeys(one.fields.hint for one in dataset.SETS.values() if one.fields.hint)
    for name in hints:
        if not fields.hint and any(record.get(name) for record in read):
            notices.tell(
                f"{path}: the field {name!r} of its records is not read; "
                f"--config.data.fields.hint={name} gives it to the model"
            )


def _example(path: Path, index: int, record: dict[str, Any], described: dataset.DataSet) -> Example:
    """A record as an example, without its id and schema."""
    fields = described.fields
    records.check_layout(path, index, record, fields.query)
    if name := dataset.gold_elsewhere(described, record):
        raise errors.InputError(f"{path}: record {index} {dataset.advice(described, name)}")

    def text(name: str) -> str:
        value = records.field(path, index, record, name, str)
        if not value.strip():
            raise errors.InputError(f"{path}: record {index}: field {name!r} is empty")
        return value

    def optional(name: str) -> str:
        value = record.get(name) if name else None
        if value is None or isinstance(value, int) and not isinstance(value, bool):
            return "" if value is None else str(value)
        return records.field(path, index, record, name, str)

    db_id = text(fields.db_id)
    if not is_plain_name(db_id):
        raise errors.InputError(
            f"{path}: record {index}: {fields.db_id} {db_id!r} is not a plain folder name"
        )
    queries = _gold(path, index, record, fields.query)
    return Example(
        example_id="",
        db_id=db_id,
        question=text(fields.question),
        query=queries[0] if queries else None,
        db_definitions="",
        hint=optional(fields.hint).strip(),
        difficulty=optional(fields.difficulty) or None,
        other_queries=queries[1:],
        source_id=optional(fields.id),
    )


def _gold(path: Path, index: int, record: dict[str, Any], name: str) -> tuple[str, ...]:
    """The gold queries of a record; none where its field is missing or null."""
    value = record.get(name)
    if value is None:
        return ()
    queries = value if isinstance(value, list) else [value]
    if not queries:
        raise errors.InputError(f"{path}: record {index}: field {name!r} is an empty list")
    for query in queries:
        if not records.field(path, index, {name: query}, name, str).strip():
            raise errors.InputError(f"{path}: record {index}: field {name!r} is empty")
    return tuple(queries)


def with_schemas(
    folder: DataFolder,
    examples: Sequence[Example],
    *,
    compact: bool = False,
    written: bool = False,
    described: bool = False,
) -> list[Example]:
    """The examples with what their databases say, in their order; one database at a time.

    The arguments and errors are those of `read_examples`.
    """
    read = database_reader(folder, compact=compact, written=written, described=described)
    positions: dict[str, list[int]] = {}
    for position, example in enumerate(examples):
        positions.setdefault(example.db_id, []).append(position)
    examples = list(examples)
    folder.prefetch(positions)
    console = progress.Console(stderr=True)
    for db_id in progress.track(positions, console, "reading databases"):
        asked = [examples[position] for position in positions[db_id]]
        for position, example in zip(positions[db_id], read(db_id, asked), strict=True):
            examples[position] = example
    return examples


def database_reader(
    folder: DataFolder, *, compact: bool = False, written: bool = False, described: bool = False
) -> Callable[[str, Sequence[Example]], list[Example]]:
    """What gives the examples of one database, by its id, what the database says.

    The arguments and errors are those of `read_examples`.
    """
    complete = functools.partial(_compact_examples, written=written) if compact else _plain_examples

    def read(db_id: str, asked: Sequence[Example]) -> list[Example]:
        path = folder.root
        try:
            path = database_path(folder, db_id)
            of_database = complete(path, asked)
        except errors.InputError as error:
            hint = "" if path.exists() else folder.missing_databases
            raise errors.InputError(
                f"{error} (the database of {asked[0].example_id}){hint}"
            ) from error
        if described and (text := read_descriptions(folder, db_id)):
            of_database = [_with_descriptions(example, text) for example in of_database]
        return of_database

    return read


def _plain_examples(path: Path, examples: Sequence[Example]) -> list[Example]:
    definitions = read_db_definitions(path)
    return [example.with_database(definitions) for example in examples]


def _compact_examples(path: Path, examples: Sequence[Example], *, written: bool) -> list[Example]:
    database = CompactDatabase(path, written=written)
    return [
        example.with_database(
            database.text,
            # A hint spells values as the database does.
            database.matches(f"{example.question}\n{example.hint}".rstrip("\n")),
        )
        for example in examples
    ]


def _with_descriptions(example: Example, text: str) -> Example:
    return dataclasses.replace(example, db_definitions=f"{example.db_definitions}\n{text}")
