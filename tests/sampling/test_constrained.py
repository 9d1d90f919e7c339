"""A guide decides what an answer may be, and changes no answer that it would allow."""

import dataclasses
import sqlite3

import guides
import numpy as np
import pytest
import tiny

from t2sql import constraint
from t2sql.data.schema import Column, Schema, Table
from t2sql.model import dummy

# Constrained and free programs are compiled alike.
pytestmark = pytest.mark.usefixtures("quick_compile")
TABLES = {"singer": ("id", "name", "age"), "concert": ("id", "singer_id", "year")}


class Nothing(guides.Everything):
    """Refuses what is offered, and allows one letter."""

    def __init__(self, letter: str):
        (self.token,) = tiny.TOKENIZER.encode(letter)

    def allows(self, token):
        return token == self.token

    def allowed(self):
        allowed = np.zeros(dummy.VOCAB_SIZE, bool)
        allowed[self.token] = True
        return constraint.Mask.of(allowed)


@pytest.fixture(scope="module")
def params():
    return tiny.make_params()


def constrained_group(prompts: list[str], guide, tag=None):
    return dataclasses.replace(tiny.group(prompts, tag), guide=guide)


@pytest.mark.parametrize("method", [{}, {"temperature": 0.9}, {"temperature": 1.5, "top_k": 20}])
def test_a_guide_that_allows_everything_changes_nothing(params, method):
    prompts = tiny.texts(13, shared="schema ")
    free = tiny.generate(tiny.make_sampler(params, **method), [tiny.group(prompts)])
    sampler = tiny.make_sampler(params, constrain="schema", **method)
    assert (
        tiny.generate(sampler, [constrained_group(prompts, lambda limit: guides.Everything())])
        == free
    )
    assert sampler.counters.refused_tokens == 0


def test_only_what_a_guide_allows_is_written(params):
    sampler = tiny.make_sampler(params, constrain="schema")
    groups = [constrained_group(tiny.texts(9), lambda limit: Nothing("a"), "a")]
    groups += [constrained_group(tiny.texts(5), lambda limit: Nothing("b"), "b")]
    answers = tiny.generate(sampler, groups)
    assert {generation.text for (tag, _), generation in answers.items() if tag == "a"} == {"a" * 20}
    assert {generation.text for (tag, _), generation in answers.items() if tag == "b"} == {"b" * 20}
    assert sampler.counters.refused_tokens > 200


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_answers_of_random_weights_are_queries(params, temperature):
    schema = Schema(db_id="samples", tables=tuple(_table(*table) for table in TABLES.items()))
    vocabulary = constraint.Vocabulary(dummy.tokenizer_model(), (1, 106))
    of_schema = constraint.Guides(vocabulary, {"samples": schema}, "SELECT")
    sampler = tiny.make_sampler(
        params, constrain="schema", max_new_tokens=90, temperature=temperature
    )
    groups = [constrained_group(tiny.texts(24), of_schema.of("samples"))]
    database = sqlite3.connect(":memory:")
    for name, columns in TABLES.items():
        database.execute(f"CREATE TABLE {name} ({', '.join(columns)})")
    for generation in tiny.generate(sampler, groups).values():
        assert generation.status == "ok"
        database.execute(f"EXPLAIN SELECT{generation.text}")


def _table(name: str, columns: tuple[str, ...]) -> Table:
    fields = (Column(name=column, type="text", natural_name=column) for column in columns)
    return Table(name=name, natural_name=name, columns=tuple(fields))
