"""The constraints of a run's schemas, made as they are needed."""

import functools
from collections.abc import Callable, Mapping

from t2sql.constraint import identifiers
from t2sql.constraint.constraint import RowState, SchemaConstraint
from t2sql.constraint.vocabulary import Vocabulary
from t2sql.data.schema import Schema

# Schemas whose masks are kept; a batch seldom spans more.
_MAX_SCHEMAS = 4


class Guides:
    """Makes the guide of each schema's answers.

    Args:
      vocabulary: of the model's tokenizer.
      schemas: by db_id.
      prefix: how every answer begins, where the prompt says it.
      keyed: whether tables are joined along their schema's keys only.

    Raises:
      InputError: a schema has no table with a column.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        schemas: Mapping[str, Schema],
        prefix: str = "",
        *,
        keyed: bool = False,
    ):
        for schema in schemas.values():
            identifiers.tables_of(schema)
        self._vocabulary = vocabulary
        self._schemas = schemas
        self._prefix = prefix
        self._keyed = keyed
        self._constraint = functools.lru_cache(_MAX_SCHEMAS)(self._make)

    def of(self, db_id: str) -> Callable[[int], RowState]:
        """What starts an answer over a schema, given the most tokens it may have."""
        return lambda max_new_tokens: self._constraint(db_id).start(max_new_tokens)

    def _make(self, db_id: str) -> SchemaConstraint:
        schema = self._schemas[db_id]
        return SchemaConstraint(self._vocabulary, schema, self._prefix, keyed=self._keyed)
