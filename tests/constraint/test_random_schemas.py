"""Schemas as no one would write them: answers are queries, and none takes long."""

import time

import constraint_samples as samples
import hypothesis
import pytest
from hypothesis import strategies as st

from t2sql import constraint, errors

_WORDS = ("id", "name", "select", "order", "t1", "T2", "group", "count", "a b", "x", "as", "from")
_NAMES = st.one_of(
    st.sampled_from(_WORDS),
    st.text(st.sampled_from("abT1_ \"'`[]$.;é中\t-"), min_size=1, max_size=6),
)


@st.composite
def schemas(draw):
    """Tables, and keys between their columns, cycles and keys to the column itself among them."""
    names = draw(st.lists(_NAMES, min_size=1, max_size=6, unique_by=fold))
    columns = st.lists(_NAMES, min_size=1, max_size=5, unique_by=fold)
    tables = {name: tuple(draw(columns)) for name in names}
    ends = [(table, column) for table, columns in tables.items() for column in columns]
    end = st.sampled_from(ends)
    return tables, draw(st.lists(st.tuples(end, end), max_size=8))


def fold(name: str) -> bytes:
    return name.encode().lower()


@pytest.fixture(scope="module")
def vocabulary():
    return samples.dummy_vocabulary()


@hypothesis.given(schema=schemas(), along_keys=st.booleans(), seed=st.integers(0, 99))
@hypothesis.settings(max_examples=40, deadline=None)
def test_answers_over_any_schema_are_queries_that_sqlite_prepares(
    vocabulary, schema, along_keys, seed
):
    tables, keys = schema
    try:
        made = constraint.SchemaConstraint(
            vocabulary, samples.schema_of(tables, keys), along_keys=along_keys
        )
        text = samples.random_answer(made, limit=90, seed=seed)
    except errors.InputError:
        hypothesis.reject()  # no name can be written, or only with more tokens than these
    samples.make_database(tables).execute(f"EXPLAIN {text.decode()}")


@pytest.mark.parametrize("shape", ["chain", "ring", "star", "clique"])
def test_no_token_over_a_hundred_tables_takes_long(vocabulary, shape):
    tables = {f"k{i}": ("id", "name", "other_id", f"c{i}") for i in range(100)}
    parents = {
        "chain": {i: i - 1 for i in range(1, 100)},
        "ring": {i: (i - 1) % 100 for i in range(100)},
        "star": dict.fromkeys(range(1, 100), 0),
        "clique": dict.fromkeys(range(1, 100), 0) | {0: 0},
    }[shape]
    column = "other_id" if shape == "clique" else "id"
    keys = [((f"k{i}", "other_id"), (f"k{j}", column)) for i, j in parents.items()]
    made = constraint.SchemaConstraint(vocabulary, samples.schema_of(tables, keys), along_keys=True)
    begun = time.thread_time()
    for seed in range(2):
        text = samples.random_answer(made, limit=150, seed=seed)
        samples.make_database(tables).execute(f"EXPLAIN {text.decode()}")
    assert time.thread_time() - begun < 60
