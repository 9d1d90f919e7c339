"""The error classes and what a finding is."""

import dataclasses

from t2sql.evaluation.sandbox.results import one_line

ERROR_CLASSES = {
    "invalid_sql": "SQLite rejects the query; the message is SQLite's.",
    "invented_table": "The query names a table that the schema does not have.",
    "invented_column": (
        "The query names a column that its tables do not have, double-quoted names included:"
        " SQLite silently takes those as text."
    ),
    "ambiguous_column": "An unqualified name is a column of several of the query's tables.",
    "wrong_table": "The query reads a table in the place of the one that gold reads.",
    "missing_join": "Gold reads a further table that the query does not read.",
    "extra_join": "The query reads a further table that gold does not read.",
    "wrong_join_condition": (
        "The tables are joined on other columns than in gold, on none, or by another kind of join."
    ),
    "wrong_columns": "The query returns other values than gold, or more, or fewer.",
    "wrong_aggregate": (
        "The query uses another aggregate function than gold, or none, or one where gold has none."
    ),
    "missing_distinct": "Gold drops duplicates and the query keeps them.",
    "extra_distinct": "The query drops duplicates and gold keeps them.",
    "missing_filter": "Gold has a condition that the query lacks.",
    "extra_filter": "The query has a condition that gold lacks.",
    "wrong_filter_column": "A condition tests another column than gold's.",
    "wrong_operator": "A condition compares, or is combined with others, by another operator.",
    "wrong_value": "A condition compares with another value than gold's.",
    "missing_group_by": "Gold groups rows and the query does not.",
    "extra_group_by": "The query groups rows and gold does not.",
    "wrong_group_by": "The query groups by other columns than gold.",
    "missing_having": "Gold has a condition on groups that the query lacks.",
    "missing_order_by": "Gold orders its rows and the query does not.",
    "extra_order_by": "The query orders its rows and gold does not.",
    "wrong_order": "The query orders by something else than gold, or in the other direction.",
    "missing_limit": "Gold keeps the first rows only and the query keeps all.",
    "extra_limit": "The query keeps the first rows only and gold keeps all.",
    "wrong_limit": "The query keeps another number of rows than gold, or starts at another row.",
    "misread_superlative": (
        "Gold takes an extreme, by ORDER BY and LIMIT or by MIN or MAX; the query takes another"
        " one, filters on a constant instead, or ignores it."
    ),
    "wrong_set_operation": "UNION, INTERSECT or EXCEPT is missing, in excess, or another one.",
    "wrong_nesting": "A subquery is missing, in excess, or stands where gold has none.",
    "timeout": "The query was stopped at a limit: of time, or of memory or size of the result.",
    "truncated": "The model reached its limit of new tokens before it ended the query.",
    "empty": "There is no SQL in what the model wrote, or it wrote nothing.",
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a query.

    Attributes:
      error: one of `ERROR_CLASSES`.
      message: one line, not too long, that says what, with the names involved.
    """

    error: str
    message: str

    def __post_init__(self):
        if self.error not in ERROR_CLASSES:
            raise ValueError(f"{self.error!r} is not an error class")
        object.__setattr__(self, "message", one_line(self.message))
