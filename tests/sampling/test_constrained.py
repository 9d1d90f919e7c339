"""A guide decides what an answer may be, and changes no answer that it would allow."""

import dataclasses
import sqlite3

import guides
import jax
import jax.numpy as jnp
import pytest
import tiny

from t2sql import constraint, sampling
from t2sql.data.schema import Column, Schema, Table
from t2sql.model import dummy
from t2sql.sampling import constrained, next_token

# Constrained and free programs are compiled alike.
pytestmark = pytest.mark.usefixtures("quick_compile")
TABLES = {"singer": ("id", "name", "age"), "concert": ("id", "singer_id", "year")}


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
    groups = [
        constrained_group(
            tiny.texts(count),
            lambda limit, letter=letter: guides.Single(letter, tiny.TOKENIZER),
            tag=letter,
        )
        for letter, count in (("a", 9), ("b", 5))
    ]
    answers = tiny.generate(sampler, groups)
    assert {generation.text for (tag, _), generation in answers.items() if tag == "a"} == {"a" * 20}
    assert {generation.text for (tag, _), generation in answers.items() if tag == "b"} == {"b" * 20}
    assert sampler.counters.refused_tokens > 200


@jax.jit
def _logits_of_last(params, tokens, length):
    """Logits of the last of `length` tokens, without a cache."""
    causal = jnp.tril(jnp.ones((tokens.shape[1],) * 2, bool))[None]
    positions = jnp.arange(tokens.shape[1])[None]
    output = tiny.MODEL.apply(
        {"params": params}, tokens, positions=positions, attention_mask=causal
    )
    return output.logits[:, length - 1]


def _step_by_step(params, config, group, index: int, guide) -> tuple[int, ...]:
    """An answer alone: the guide is asked for each token before the next one is computed."""
    text = [*group.prefix, *group.suffixes[index]]
    answer: list[int] = []
    while len(answer) < config.max_new_tokens and not (answer and answer[-1] in (1, 50, 106)):
        padded = jnp.zeros((1, 160), jnp.int32).at[0, : len(text)].set(jnp.array(text))
        logits = _logits_of_last(params, padded, len(text))

        def draw(logits):
            drawn = next_token.next_tokens(
                logits,
                config,
                jnp.array([group.sample_ids[index]]),
                jnp.array([len(answer)]),
                tuple(tiny.TOKENIZER.FORBIDDEN_TOKENS),
            )
            return int(drawn[0])

        token = draw(logits)
        if not guide.accept([token]):
            mask = guide.allowed().unpacked(logits.shape[1])
            token = draw(jnp.where(mask, logits, -jnp.inf))
            guide.advance(token)
        answer.append(token)
        text.append(token)
    return tuple(answer)


@pytest.mark.parametrize(
    ("method", "share"), [({}, 0.1), ({"temperature": 1.5, "top_k": 40, "seed": 3}, 0.7)]
)
def test_running_ahead_writes_what_step_by_step_writes(params, monkeypatch, method, share):
    """Whatever the length of a block, the blocks in flight, the batch and the order."""
    prompts = tiny.texts(11, shared="schema ")
    group = constrained_group(prompts, lambda limit: guides.Arbitrary(share))
    config = sampling.SamplingConfig(max_new_tokens=20, constrain="keys", **method)
    expected = [
        _step_by_step(params, config, group, index, guides.Arbitrary(share))
        for index in range(len(prompts))
    ]
    for pace, batch_size, order in (
        ((1, 1), 8, 1),
        ((1, 2), 3, -1),
        ((3, 2), 4, 1),
        ((4, 3), 1, 1),
    ):
        monkeypatch.setattr(
            constrained, "pace", lambda platform, pace=pace: constrained.Pace(*pace)
        )
        sampler = tiny.make_sampler(params, batch_size=batch_size, constrain="keys", **method)
        ordered = constrained_group(prompts[::order], lambda limit: guides.Arbitrary(share))
        ((_, generations),) = sampler.generate([ordered])
        assert [generation.tokens for generation in generations][::order] == expected, pace
        assert sampler.counters.refused_tokens > 0


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
