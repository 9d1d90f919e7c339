"""The loss over some rows of the output layer: exact where all are kept, right in the mean else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from t2sql.model import factory
from t2sql.training import packing, sampled_softmax
from t2sql.training import step as step_lib

pytestmark = pytest.mark.usefixtures("quick_compile")

CAPACITY = packing.Capacity(tokens=48, answers=20)


@pytest.fixture(scope="module")
def dummy():
    made = factory.LLMModuleFactory(factory.config_for("dummy", "dummy:0", dtype="float32"))
    return made.model, made.load_params()


@pytest.fixture(scope="module")
def groups():
    rng = np.random.default_rng(0)
    question = packing.Question(
        example_id="train/0000",
        prompt=tuple(map(int, rng.integers(110, 500, 9))),
        answer=(*map(int, rng.integers(110, 500, 15)), 1),
    )
    prefix = tuple(map(int, rng.integers(110, 500, 12)))
    return [packing.Group(prefix=prefix, questions=(question,))]


def _used(groups):
    return {id_ for g in groups for q in g.questions for id_ in g.prefix + q.prompt + q.answer}


def _loss(dummy, groups, rows):
    model, params = dummy
    batch = step_lib.Batch.of(
        packing.stack([packing.pack(groups, CAPACITY, one) for one in rows], (len(rows),))
    )

    def loss(scale):
        changed = jax.tree.map(lambda leaf: leaf * scale, params)
        return step_lib.loss_sum(model, changed, batch) / len(rows)

    return jax.jit(jax.value_and_grad(loss))(jnp.float32(1.0))


def test_all_rows_kept_is_the_whole_layer(dummy, groups):
    vocabulary = dummy[0].config.num_embed
    every = np.arange(vocabulary, dtype=np.int32)
    whole = _loss(dummy, groups, [sampled_softmax.choose((), 0, vocabulary, seed=0).of(0)])
    listed = _loss(dummy, groups, [(every, np.zeros(vocabulary, np.float32))])
    np.testing.assert_allclose(whole, listed, rtol=1e-5)


def test_drawn_rows_stand_for_the_others_in_the_mean(dummy, groups):
    vocabulary = dummy[0].config.num_embed
    chosen = sampled_softmax.choose(_used(groups), vocabulary // 4, vocabulary, seed=0)
    assert chosen.drawn > 0
    whole = _loss(dummy, groups, [sampled_softmax.choose((), 0, vocabulary, seed=0).of(0)])
    drawn = _loss(dummy, groups, [chosen.of(i) for i in range(64)])
    np.testing.assert_allclose(drawn, whole, rtol=0.01)
    kept = chosen.kept, np.zeros(len(chosen.kept), np.float32)
    assert _loss(dummy, groups, [kept])[0] < 0.9 * whole[0]


def test_rows_are_ascending_hold_what_is_used_and_depend_on_the_sequence_alone():
    used = {1, 7, 990}
    chosen = sampled_softmax.choose(used, 100, 1000, seed=3)
    rows, offsets = chosen.of(5)
    assert len(rows) == len(offsets) == 100
    assert (np.diff(rows) >= 0).all()
    assert used <= set(rows[offsets == 0].tolist())
    assert set(range(60)) <= set(rows.tolist())
    np.testing.assert_array_equal(rows, chosen.of(5)[0])
    assert (rows != chosen.of(6)[0]).any()
    np.testing.assert_allclose(np.exp(offsets[offsets > 0]), 925 / 25, rtol=1e-6)


def test_more_used_than_wanted_are_all_kept():
    chosen = sampled_softmax.choose(set(range(0, 1000, 2)), 100, 1000, seed=0)
    assert (len(chosen.kept), chosen.drawn) == (500, 25)
