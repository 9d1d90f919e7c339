"""Packing: nothing is lost, nothing overflows, and a packed question learns as if alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2sql.model import factory, lora
from t2sql.training import attention, methods, packing
from t2sql.training import step as step_lib

pytestmark = pytest.mark.usefixtures("quick_compile")

CAPACITY = packing.Capacity(tokens=96, answers=40)


def _question(rng, number, longest=12):
    prompt, answer = rng.integers(1, longest, 2)
    return packing.Question(
        example_id=f"train/{number:04d}",
        prompt=tuple(map(int, rng.integers(110, 500, prompt))),
        answer=(*map(int, rng.integers(110, 500, answer)), 1),
    )


def _questions(rng, schemas):
    return {
        tuple(map(int, rng.integers(110, 500, 2 + 7 * index))): [
            _question(rng, 100 * index + number) for number in range(count)
        ]
        for index, count in enumerate(schemas)
    }


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 999), st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_every_token_that_a_token_may_see_is_in_the_chunks_of_its_own(seed, schemas):
    capacity = packing.Capacity(tokens=300, answers=200)
    questions = _questions(np.random.default_rng(seed), schemas)
    for groups in packing.plan_epoch(questions, capacity, np.random.default_rng(seed)):
        width = packing.chunks_seen(groups)
        packed = packing.pack(groups, capacity, width=width)
        keys, queries = packed.segments[None, :], packed.segments[:, None]
        sees = np.tril((keys == queries) | (keys == packed.parents[:, None]))
        seen = np.zeros_like(sees)
        by_chunk = attention.mask(packed.segments[None], packed.parents[None], packed.chunks[None])
        for token, of_token in enumerate(np.asarray(by_chunk[0])):
            chunks = packed.chunks[token // packing.CHUNK]
            places = (chunks[:, None] * packing.CHUNK + np.arange(packing.CHUNK)).ravel()
            assert of_token.any()  # a softmax over none would be no number
            np.add.at(seen[token].view(np.int8), places[of_token], 1)
        told = queries[:, 0] > 0
        np.testing.assert_array_equal(seen[told].view(np.int8), sees[told])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_a_plan_holds_every_question_once_and_no_sequence_overflows(seed, schemas):
    questions = _questions(np.random.default_rng(seed), schemas)
    plan = packing.plan_epoch(questions, CAPACITY, np.random.default_rng(seed))
    planned = [(g.prefix, q) for groups in plan for g in groups for q in g.questions]
    expected = [(prefix, q) for prefix, of_schema in questions.items() for q in of_schema]
    assert sorted(planned, key=repr) == sorted(expected, key=repr)
    for groups in plan:
        assert CAPACITY.holds(groups)
        packed = packing.pack(groups, CAPACITY)
        assert np.count_nonzero(packed.segments) == sum(map(len, groups))
        assert packed.weights.sum() == sum(group.answer_tokens for group in groups)


def test_a_plan_depends_on_the_generator_alone():
    questions = _questions(np.random.default_rng(0), [20, 9])
    plans = [packing.plan_epoch(questions, CAPACITY, np.random.default_rng(s)) for s in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]


def test_the_picture_of_the_module():
    first = packing.Group(
        prefix=(11, 12, 13),
        questions=(
            packing.Question(example_id="a", prompt=(21, 22), answer=(31, 32, 1)),
            packing.Question(example_id="b", prompt=(23,), answer=(1,)),
        ),
    )
    second = packing.Group(
        prefix=(14,), questions=(packing.Question(example_id="c", prompt=(24,), answer=(33, 1)),)
    )
    packed = packing.pack([first, second], packing.Capacity(tokens=13, answers=7))
    assert packed.tokens[:13].tolist() == [11, 12, 13, 21, 22, 31, 32, 23, 14, 24, 33, 0, 0]
    assert packed.positions[:13].tolist() == [0, 1, 2, 3, 4, 5, 6, 3, 0, 1, 2, 0, 0]
    assert packed.segments[:13].tolist() == [1, 1, 1, 2, 2, 2, 2, 3, 4, 5, 5, 0, 0]
    assert packed.parents[:13].tolist() == [1, 1, 1, 1, 1, 1, 1, 1, 4, 4, 4, 0, 0]
    assert packed.tokens.shape == (packing.CHUNK,)  # arrays are of whole chunks
    assert packed.chunks.tolist() == [[0]]
    assert packed.predict_at.tolist() == [4, 5, 6, 7, 9, 10, 0]
    assert packed.answers.tolist() == [31, 32, 1, 1, 33, 1, 0]
    assert packed.weights.tolist() == [1, 1, 1, 1, 1, 1, 0]


@pytest.fixture(scope="module")
def dummy():
    made = factory.LLMModuleFactory(factory.config_for("dummy", "dummy:0", dtype="float32"))
    return made.model, made.load_params()


@pytest.fixture(scope="module", params=["lora", "full"])
def method(request, dummy):
    if request.param == "full":
        return methods.Full(dtype="float32")
    return methods.LoRA(rank=3, targets=tuple(lora.TARGETS), seed=0)


def _gradient(method, dummy, sequences):
    """Loss and gradients of sequences [B, ...], from an adapter that does change the model."""
    model, params = dummy
    trained = method.init(params)
    rng = np.random.default_rng(0)
    trained = jax.tree.map(
        lambda leaf: leaf + jnp.asarray(rng.normal(size=leaf.shape) * 0.05, jnp.float32), trained
    )
    batch = step_lib.Batch.of(packing.stack(sequences, (len(sequences),)))

    def loss(trained):
        return method.loss(model, trained, method.frozen(params), batch)

    return jax.jit(jax.value_and_grad(loss))(trained)


def test_packed_loss_and_gradients_are_those_of_unpacked_sequences(method, dummy):
    """Some questions lie beyond the window of the local layers (16) from their schema."""
    rng = np.random.default_rng(3)
    groups = [
        packing.Group(
            prefix=tuple(map(int, rng.integers(110, 500, length))),
            questions=tuple(_question(rng, number) for number in range(count)),
        )
        for length, count in ((30, 4), (4, 3))
    ]
    capacity = packing.Capacity(tokens=200, answers=100)
    alone = [
        packing.pack([dataclasses.replace(group, questions=(question,))], capacity)
        for group in groups
        for question in group.questions
    ]
    packed, packed_gradients = _gradient(method, dummy, [packing.pack(groups, capacity)])
    unpacked, gradients = _gradient(method, dummy, alone)
    np.testing.assert_allclose(packed, unpacked, rtol=1e-5)
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-4),
        packed_gradients,
        gradients,
    )


@pytest.mark.parametrize("heads", [1, 2, 4], ids="{} key heads".format)
def test_attention_in_chunks_is_gemmas(heads):
    """A schema of two chunks, and questions that lie in the last of seven."""
    rng = np.random.default_rng(7)
    groups = [
        packing.Group(
            prefix=tuple(map(int, rng.integers(110, 500, length))),
            questions=tuple(_question(rng, number, 40) for number in range(count)),
        )
        for length, count in ((100, 4), (9, 2))
    ]
    width = packing.chunks_seen(groups)
    capacity = packing.Capacity(tokens=448, answers=300)
    assert 2 < width < capacity.chunks
    packed = packing.stack([packing.pack(groups, capacity, width=width)], (1,))
    made = factory.LLMModuleFactory(factory.config_for("dummy", "dummy:0", dtype="float32"))
    config = dataclasses.replace(made.model.config, num_heads=4, num_kv_heads=heads)
    model = made.model.clone(config=config)
    params = model.init(jax.random.key(0), jnp.ones((1, 4), jnp.int32))["params"]
    keys, queries = packed.segments[:, None], packed.segments[:, :, None]
    seen = np.tril((keys == queries) | (keys == packed.parents[:, :, None]))
    expected = model.apply(
        {"params": params},
        packed.tokens,
        positions=packed.positions,
        attention_mask=seen,
        return_hidden_states=True,
    ).hidden_states
    read = {name: getattr(packed, name) for name in ("positions", "segments", "parents", "chunks")}
    hidden = attention.hidden_states(model, params, packed.tokens, **read)
    told = packed.segments > 0
    np.testing.assert_allclose(hidden[told], expected[told], rtol=1e-4, atol=1e-4)


def test_the_loss_is_that_of_the_plain_model_on_a_plain_text(dummy):
    """With gemma's own mask and positions, and its logits of all places."""
    model, params = dummy
    rng = np.random.default_rng(5)
    group = packing.Group(
        prefix=tuple(map(int, rng.integers(110, 500, 25))), questions=(_question(rng, 0, 20),)
    )
    (question,) = group.questions
    text = (*group.prefix, *question.prompt, *question.answer)
    logits = model.apply({"params": params}, jnp.array([text[:-1]])).logits[0]
    log_probabilities = jax.nn.log_softmax(logits)[jnp.arange(len(text) - 1), jnp.array(text[1:])]
    expected = -log_probabilities[-len(question.answer) :].sum()
    batch = step_lib.Batch.of(packing.stack([packing.pack([group], CAPACITY)], (1,)))
    loss = step_lib.loss_sum(model, params, batch)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_the_output_layers_gradients_are_those_of_the_product():
    rng = np.random.default_rng(0)
    hidden, table, weights = (
        jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((2, 3, 5), (7, 5), (2, 3, 7))
    )

    def loss(product):
        return lambda *factors: jnp.sum(weights * jnp.sin(product(*factors)))

    def plain(hidden, table):
        return jnp.einsum("bmd,vd->bmv", hidden, table)

    gradients = jax.grad(loss(step_lib.output_layer), (0, 1))(hidden, table)
    expected = jax.grad(loss(plain), (0, 1))(hidden, table)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), gradients, expected)
