"""Decoding within a schema: which tokens keep an answer a SQLite SELECT over it."""

from t2sql.constraint.constraint import RowState, SchemaConstraint
from t2sql.constraint.guide import Guides
from t2sql.constraint.masks import Mask
from t2sql.constraint.vocabulary import Vocabulary

__all__ = ["Guides", "Mask", "RowState", "SchemaConstraint", "Vocabulary"]
