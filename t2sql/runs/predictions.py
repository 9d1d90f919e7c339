"""Prediction rows: one JSON line per example, many lines to a unit object."""

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

from t2sql import errors
from t2sql.runtime.statuses import STATUSES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """One of the answers to a question, with how likely it was.

    Attributes:
      text: raw model text up to the first end token.
      sql: the one SQL statement cleaned out of `text`; empty where there is none.
      status: one of `STATUSES`.
      output_tokens: number of tokens generated.
      logprob: the sum of the tokens' log-probabilities, by the model's own distribution.
      masked_logprob: the same by what the constraint allows of it; None without a constraint.
    """

    text: str
    sql: str
    status: str
    output_tokens: int
    logprob: float
    masked_logprob: float | None

    @property
    def mean_logprob(self) -> float:
        """`logprob` by token."""
        return self.logprob / max(self.output_tokens, 1)

    def to_dict(self) -> dict[str, Any]:
        """The fields, and both means by token."""
        count = max(self.output_tokens, 1)
        masked = self.masked_logprob
        return dataclasses.asdict(self) | {
            "mean_logprob": round(self.mean_logprob, 4),
            "mean_masked_logprob": None if masked is None else round(masked / count, 4),
        }

    @classmethod
    def from_dict(cls, values: Any, *, where: str) -> "Candidate":
        """Reads what `to_dict` wrote, strictly.

        Raises:
          InputError: it is no object, or a field is missing or of another type.
        """
        if not isinstance(values, dict):
            raise errors.InputError(f"{where}: a candidate is an object, found {_shown(values)}")
        for field, kinds in _CANDIDATE_FIELDS.items():
            _check_field(values, field, kinds, f"{where}, candidates")
        return cls(**{field: values[field] for field in _CANDIDATE_FIELDS})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the model said to one question.

    Attributes:
      example_id: split and index in the split's file, such as `dev/0007`.
      db_id: the database that the question is about.
      question: the question as the data has it.
      gold: the gold SQL; None where the data has none.
      text: raw model text up to the first end token.
      sql: the one SQL statement cleaned out of `text`; empty where there is none.
      status: one of `STATUSES`.
      prompt_tokens: length of the prompt in tokens.
      output_tokens: number of tokens generated.
      candidates: the answers with their log-probabilities, the model's first; empty where the run
        kept none. `text`, `sql`, `status` and `output_tokens` are those of the chosen one.
    """

    example_id: str
    db_id: str
    question: str
    gold: str | None
    text: str
    sql: str
    status: str
    prompt_tokens: int
    output_tokens: int
    candidates: tuple[Candidate, ...] = ()

    def __post_init__(self):
        if self.status not in STATUSES:
            raise ValueError(f"status is {self.status!r}, not one of {', '.join(STATUSES)}")

    def to_json(self) -> str:
        """Returns one line without its end; fields in the order they are declared."""
        values = {field: getattr(self, field) for field in _FIELDS}
        if self.candidates:
            values["candidates"] = [candidate.to_dict() for candidate in self.candidates]
        line = json.dumps(values, ensure_ascii=False)
        # A lone surrogate is no UTF-8; Python's escape for it is also JSON's.
        return line.encode("utf-8", "backslashreplace").decode("utf-8")

    @classmethod
    def from_json(cls, line: str | bytes, *, where: str) -> "Prediction":
        """Reads one line strictly.

        Args:
          line: what `to_json` wrote.
          where: file and line number, for the message.

        Raises:
          InputError: the line is no JSON object, or a field is missing, unknown or
            of another type.
        """
        values = _parse_object(line, where)
        for field, kinds in _FIELDS.items():
            _check_field(values, field, kinds, where)
        candidates = values.pop("candidates", [])
        if not isinstance(candidates, list):
            raise errors.InputError(f"{where}: the field 'candidates' must be a list")
        values["candidates"] = tuple(
            Candidate.from_dict(candidate, where=where) for candidate in candidates
        )
        unknown = sorted(values.keys() - _FIELDS.keys() - {"candidates"})
        if unknown:
            raise errors.InputError(f"{where}: unknown field {unknown[0]!r} in a prediction row")
        return cls(**values)


_FIELDS = {
    "example_id": (str,),
    "db_id": (str,),
    "question": (str,),
    "gold": (str, type(None)),
    "text": (str,),
    "sql": (str,),
    "status": (str,),
    "prompt_tokens": (int,),
    "output_tokens": (int,),
}


_CANDIDATE_FIELDS = {
    "text": (str,),
    "sql": (str,),
    "status": (str,),
    "output_tokens": (int,),
    "logprob": (float, int),
    "masked_logprob": (float, int, type(None)),
}


def encode_rows(rows: Iterable[Prediction]) -> bytes:
    """Returns the bytes of a unit object: one row a line, UTF-8, each line ended."""
    return "".join(row.to_json() + "\n" for row in rows).encode("utf-8")


def decode_rows(data: bytes, *, name: str) -> list[Prediction]:
    """Reads what `encode_rows` wrote; `name` is the object's name, for messages.

    Raises:
      InputError: a row is wrong (see `Prediction.from_json`), or the last one is cut off.
    """
    if not data:
        return []
    # Only b"\n" ends a row: str.splitlines would also split at U+2028 inside a question.
    *lines, rest = data.split(b"\n")
    if rest:
        raise errors.InputError(
            f"{name}, line {len(lines) + 1}: the row does not end in a newline; the file is cut off"
        )
    return [
        Prediction.from_json(line, where=f"{name}, line {number}")
        for number, line in enumerate(lines, start=1)
    ]


def _parse_object(line: str | bytes, where: str) -> dict:
    try:
        values = json.loads(line)
    except UnicodeDecodeError as error:
        raise errors.InputError(f"{where}: not UTF-8 at byte {error.start} of the row") from error
    except ValueError as error:
        raise errors.InputError(f"{where}: not a JSON row: {error}") from error
    except RecursionError as error:
        raise errors.InputError(f"{where}: not a prediction row: nested too deeply") from error
    if not isinstance(values, dict):
        raise errors.InputError(
            f"{where}: a prediction row is a JSON object, found {type(values).__name__}"
        )
    return values


def _check_field(values: dict, field: str, kinds: tuple[type, ...], where: str) -> None:
    if field not in values:
        raise errors.InputError(f"{where}: the field {field!r} is missing")
    value = values[field]
    if type(value) not in kinds:
        expected = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
        raise errors.InputError(
            f"{where}: the field {field!r} must be {expected}, found {_shown(value)}"
        )
    if field == "status" and value not in STATUSES:
        raise errors.InputError(
            f"{where}: the field 'status' must be one of {', '.join(STATUSES)}, "
            f"found {_shown(value)}"
        )
    if kinds == (int,) and value < 0:
        raise errors.InputError(f"{where}: the field {field!r} is negative: {value}")


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
