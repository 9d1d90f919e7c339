"""Constrained decoding: which tokens keep an answer a SQLite SELECT over its schema."""

from t2sql.constraint.constraint import SchemaConstraint
from t2sql.constraint.guide import Guide, Guides
from t2sql.constraint.masks import Mask
from t2sql.constraint.processes import RemoteGuides, WorkerLostError
from t2sql.constraint.vocabulary import Vocabulary

__all__ = [
    "Guide",
    "Guides",
    "Mask",
    "RemoteGuides",
    "SchemaConstraint",
    "Vocabulary",
    "WorkerLostError",
]
