"""JSON and JSONL files of records, with errors that name file, line, index and field."""

import json
from pathlib import Path
from typing import Any

from t2sql import errors


def read_records(path: Path) -> list[dict[str, Any]]:
    """Reads a JSON list of objects, or JSON lines, an object a line, whatever the file's name.

    Raises:
      InputError: the file is missing, unreadable, not UTF-8, not JSON, or not a list of objects.
    """
    text = _read_text(path)
    by_line = path.suffix == ".jsonl" or _is_json_lines(text)
    records = _parse_lines(path, text) if by_line else _parse(path, text)
    if not isinstance(records, list):
        raise errors.InputError(f"{path}: expected a JSON list of records, found {_kind(records)}")
    for index, record in enumerate(records):
        if not isinstance(record, dict):
            raise errors.InputError(
                f"{path}: record {index} is {_kind(record)}, expected an object with fields"
            )
    return records


def field(path: Path, index: int, record: dict[str, Any], name: str, kind: type) -> Any:
    """Returns `record[name]`, which must be there and be a `kind`.

    Raises:
      InputError: names the file, the record's index and the field.
    """
    if name not in record:
        names = ", ".join(sorted(record)) or "none"
        raise errors.InputError(
            f"{path}: record {index} has no field {name!r} (its fields: {names})"
        )
    value = record[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise errors.InputError(
            f"{path}: record {index}: field {name!r} is {_kind(value)}, "
            f"expected {_KIND_NAMES[kind]}"
        )
    if kind is str:
        _check_unicode(path, index, name, value)
    return value


# Fields of records that are laid out in another way -> whose they are, and what to do.
_OTHER_LAYOUTS = (
    (("interaction",), "SParC's or CoSQL's layout: write each turn as a record of its own"),
    (("sentences", "sql"), "the layout of text2sql-data: write each sentence as a record"),
    (("table_id", "sql"), "WikiSQL's layout: write the SQL as text into query"),
    (("instruction", "output"), "instruction-tuning data: write db_id, question and query"),
)


def check_layout(path: Path, index: int, record: dict[str, Any], query: str) -> None:
    """Refuses a record that is known to be laid out in another way than one question a record.

    Args:
      path: the file, for the message.
      index: of the record.
      record: its fields.
      query: the field of the gold SQL; a record that has it is none of these.

    Raises:
      InputError: names the field and the layout.
    """
    if query in record:
        return
    for names, layout in _OTHER_LAYOUTS:
        if record.keys() >= set(names):
            raise errors.InputError(
                f"{path}: record {index} has {' and '.join(names)}, not {query}: this looks like "
                f"{layout}"
            )


_KIND_NAMES = {str: "a string", list: "a list", dict: "an object", int: "a number"}


def _check_unicode(path: Path, index: int, name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise errors.InputError(
            f"{path}: record {index}: field {name!r} holds half a Unicode character "
            f"({value[error.start]!r} at {error.start})"
        ) from None


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float):
        return "a number"
    return _KIND_NAMES[type(value)]


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise errors.InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise errors.InputError(
            f"{path}: not UTF-8 (byte {error.start}: {error.reason}); save the file as UTF-8"
        ) from None
    except OSError as error:
        raise errors.InputError(f"{path}: cannot be read: {error.strerror}") from None


def _parse(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise errors.InputError(
            f"{path}, line {error.lineno}, column {error.colno}: not valid JSON: {error.msg}"
            f"{_other_format(text)}"
        ) from None
    except RecursionError:
        raise errors.InputError(f"{path}: JSON nested too deeply") from None
    except ValueError as error:  # A number of thousands of digits.
        raise errors.InputError(f"{path}: {error}") from None


def _parse_lines(path: Path, text: str) -> list[Any]:
    lines = ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
    values = []
    for number, line in lines:
        try:
            values.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise errors.InputError(f"{path}, line {number}: not valid JSON: {error}") from None
    return values


def _other_format(text: str) -> str:
    """What a text that is not JSON looks like, and what to do; "" if nobody knows."""
    first = text.lstrip().partition("\n")[0]
    separator = "\t" if "\t" in first else ","
    names = [name.strip().strip('"').lower() for name in first.split(separator)]
    if "question" in names and len(names) > 1:
        return f". This is {'TSV' if separator == '\t' else 'CSV'}: write it as a list of records"
    return ""


def _is_json_lines(text: str) -> bool:
    """Whether each of the first two lines is an object, and there are two."""
    first, _, rest = text.lstrip().partition("\n")
    return _is_object(first) and _is_object(rest.lstrip().partition("\n")[0])


def _is_object(line: str) -> bool:
    try:
        return line.startswith("{") and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
