"""BIRD's file of predictions: a JSON object, question number -> SQL, separator, db_id."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from t2sql import errors
from t2sql.data.examples import Example

SEPARATOR = "\t----- bird -----\t"


def is_bird_file(path: Path) -> bool:
    """Whether a file holds a JSON object; whoever reads it says what is wrong with it."""
    if path.suffix != ".json" or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(100).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


def read_predictions(path: Path, examples: Sequence[Example]) -> dict[int, str]:
    """The SQL by the position of its question.

    A key is the question's number in the split, or its id in the data where those differ.

    Raises:
      InputError: the file is no such object, or an answer is to no question or another database.
    """
    try:
        answers = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise errors.InputError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(answers, dict) or not all(isinstance(text, str) for text in answers.values()):
        raise errors.InputError(
            f"{path}: BIRD's predictions are one JSON object, question number -> text"
        )
    positions = _positions(path, answers, examples)
    sqls = {}
    for key, text in answers.items():
        sql, separator, db_id = text.partition(SEPARATOR)
        example = examples[positions[key]]
        if separator and db_id.strip() != example.db_id:
            raise errors.InputError(
                f"{path}: {key!r} answers a question on {db_id.strip()!r}, but "
                f"{example.example_id} is on {example.db_id!r}; are they predictions of this split?"
            )
        sqls[positions[key]] = sql
    return sqls


def _positions(
    path: Path, answers: Mapping[str, str], examples: Sequence[Example]
) -> dict[str, int]:
    by_number = {str(number): number for number in range(len(examples))}
    by_id = {
        example.source_id: place for place, example in enumerate(examples) if example.source_id
    }
    for positions in (by_number, by_id):
        if answers.keys() <= positions.keys():
            return {key: positions[key] for key in answers}
    unknown = next(key for key in answers if key not in by_number)
    raise errors.InputError(
        f"{path}: {unknown!r} is the number of no question: there are {len(examples):,}, from 0 on"
    )


def line(position: int, sql: str, db_id: str) -> str:
    """The text of one answer, within the braces of the whole object."""
    comma = ",\n" if position else ""
    return f"{comma}{json.dumps(str(position))}: {json.dumps(sql + SEPARATOR + db_id)}"
