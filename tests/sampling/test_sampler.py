"""The sampler: what a prompt is answered does not depend on what runs beside it."""

import math
import re

import jax
import jax.numpy as jnp
import pytest
import tiny

from t2sql import errors, sampling
from t2sql.sampling import kv_cache
from t2sql.sampling import sampler as sampler_lib

SHARED = "CREATE TABLE singer (name text, age int); "
END_IDS = (1, 50, 106)


@pytest.fixture(scope="module")
def params():
    return tiny.make_params()


@pytest.fixture(scope="module")
def sampler(params):
    return tiny.make_sampler(params)


@pytest.fixture(scope="module")
def prompts():
    return [*tiny.texts(8), *tiny.texts(12, shared=SHARED)]


@pytest.fixture(scope="module")
def answers(sampler, prompts):
    return sampler.sample(prompts)


def _greedy_by_hand(params, prompt: str, count: int) -> str:
    """One forward pass over the whole text for each token, without a cache."""
    tokens = tiny.TOKENIZER.encode(prompt, add_bos=True)
    length = len(tokens)
    for _ in range(count):
        padded = jnp.array([tokens + [0] * (tiny.BUCKETS[-1] + count - len(tokens))])
        logits = _forward(params, padded)[0, len(tokens) - 1]
        token = int(jnp.argmax(logits))
        if token in END_IDS:
            break
        tokens.append(token)
    return tiny.TOKENIZER.decode(tokens[length:])


@jax.jit
def _forward(params, tokens):
    causal = jnp.tril(jnp.ones((tokens.shape[1],) * 2, bool))[None]
    positions = jnp.arange(tokens.shape[1])[None]
    return tiny.MODEL.apply(
        {"params": params}, tokens, positions=positions, attention_mask=causal
    ).logits


def test_the_answers_are_the_models_own(params, prompts, answers):
    for prompt, answer in list(zip(prompts, answers, strict=True))[::6]:
        assert answer == _greedy_by_hand(params, prompt, 20)


def test_order_does_not_matter(sampler, prompts, answers):
    assert sampler.sample(prompts[::-1])[::-1] == answers


def test_batch_size_does_not_matter(params, prompts, answers):
    alone = tiny.make_sampler(params, batch_size=1)
    assert [alone.sample(prompt) for prompt in prompts[::5]] == answers[::5]
    together = tiny.make_sampler(params, batch_size=32)
    assert together.sample(prompts) == answers


def test_sharing_a_prefix_does_not_matter(sampler, prompts, answers):
    shared = [prompt for prompt in prompts if prompt.startswith(SHARED)]
    assert sampler.sample(shared) == answers[-len(shared) :]


def test_groups_flow_through_one_batch(sampler):
    """More prompts than slots, many groups: each comes out once, as if alone."""
    groups = [
        tiny.group(tiny.texts(count, shared=f"schema {count} "), tag=count)
        for count in (1, 3, 11, 2, 5)
    ]
    together = tiny.generate(sampler, groups)
    assert len(together) == 22
    for group in groups:
        for key, generation in tiny.generate(sampler, [group]).items():
            assert together[key] == generation


def test_longer_prompts_join_answers_that_are_on_their_way(params):
    """The cache grows under them."""
    groups = [
        tiny.group(tiny.texts(count, shared=shared), tag=place)
        for place, (count, shared) in enumerate(((2, ""), (5, SHARED), (3, ""), (6, 2 * SHARED)))
    ]
    sampler = tiny.make_sampler(params)

    def run(groups) -> tuple[dict, int]:
        before = sampler.counters.decode_steps
        texts = tiny.generate(sampler, groups)
        return texts, sampler.counters.decode_steps - before

    alone = [run([group]) for group in groups]
    ordered, steps = run(sampling.in_order(groups))
    assert ordered == {key: value for texts, _ in alone for key, value in texts.items()}
    assert steps < sum(steps for _, steps in alone)
    assert run(groups[::-1])[0] == ordered


@pytest.mark.parametrize("stop", [(), ("7", "ab")])
def test_sampling_with_a_temperature_repeats(params, prompts, stop):
    """In other batches, in another order; and not with another seed."""
    config = {"temperature": 1.0, "top_k": 40, "top_p": 0.95, "stop": stop, "max_new_tokens": 12}
    prompts = prompts[8:]  # of one shape

    def answers(batch_size: int, order: int, **seed) -> list[str]:
        sampler = tiny.make_sampler(params, batch_size=batch_size, **config, **seed)
        ((_, generations),) = sampler.generate([tiny.group(prompts[::order])])
        return [generation.text for generation in generations][::order]

    first = answers(4, 1)
    assert answers(16, -1) == first
    assert len(set(first)) > len(first) // 2
    assert answers(16, 1, seed=1) != first


@pytest.mark.parametrize("method", [{}, {"temperature": 0.9}])
def test_a_step_for_the_tail_alone_changes_nothing(params, prompts, monkeypatch, method):
    with_tail = tiny.make_sampler(params, batch_size=32, **method).sample(prompts)
    monkeypatch.setattr(sampler_lib, "tail_rows", lambda batch_size, mesh: 0)
    assert tiny.make_sampler(params, batch_size=32, **method).sample(prompts) == with_tail


def test_one_new_token(params, prompts, answers):
    sampler = tiny.make_sampler(params, max_new_tokens=1)
    ((_, generations),) = sampler.generate([tiny.group(prompts)])
    assert [len(generation.tokens) for generation in generations] == [1] * len(prompts)


def test_an_answer_may_have_a_limit_of_its_own(sampler, prompts):
    """Its text is the longer answer's beginning; a slot is free as soon as it is reached."""
    limits = [1 + place % 7 for place in range(len(prompts))]
    tokens = [tiny.TOKENIZER.encode(text, add_bos=True) for text in prompts]
    group = sampling.group_prompts(tokens, prompts, limits=limits)
    ((_, short),) = sampler.generate([group])
    ((_, long),) = sampler.generate([tiny.group(prompts)])
    for cut, whole, limit in zip(short, long, limits, strict=True):
        assert cut.tokens == whole.tokens[:limit]


def test_nothing_compiles_after_warm_up_and_nothing_is_moved_unasked(params, prompts):
    sampler = tiny.make_sampler(params)
    groups = [tiny.group(prompts[:8], tag=0), tiny.group(prompts[8:], tag=1)]
    sampler.compile(groups)
    compiled = sampler.compile_count
    events = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: events.append(name) if "backend_compile" in name else None
    )
    try:
        with jax.transfer_guard("disallow"):
            assert len(tiny.generate(sampler, groups)) == len(prompts)
    finally:
        jax.monitoring.clear_event_listeners()
    assert events == []
    assert sampler.compile_count == compiled


@pytest.fixture(scope="module")
def program(params):
    """A program for 8 slots."""
    return tiny.make_sampler(params).compiler.get


SHAPE = kv_cache.CacheShape(prefix=1024, suffix=64, new=20)


@pytest.mark.parametrize(
    "key",
    [("write_prefix", 256, 1024), ("insert", 32, 64), ("decode", SHAPE)],
    ids=lambda key: key[0],
)
def test_what_a_program_changes_is_changed_in_place(program, key):
    """Its caches are donated: else each call would copy them."""
    memory = program(*key).memory_analysis()
    assert memory.alias_size_in_bytes > 0.95 * memory.output_size_in_bytes


@pytest.mark.parametrize(
    ("key", "positions"),
    [(("prefix", 32, 256), 0), (("prefill", 256, 32), 0), (("decode", SHAPE), 8)],
)
def test_the_output_layer_runs_only_where_a_token_is_sampled(program, key, positions):
    vocab = tiny.MODEL.config.num_embed
    shapes = re.findall(rf"\w\[([\d,]+),{vocab}\]", program(*key).as_text())
    counts = [math.prod(map(int, shape.split(","))) for shape in shapes]
    assert max(counts, default=0) == positions


def test_groups_wait_for_room_in_the_prefix_cache(params, monkeypatch):
    """Eight schemas of about 100 tokens over a prefix cache of 256, and each as if alone."""
    monkeypatch.setattr(kv_cache, "_PREFIX_CACHE", 256)
    monkeypatch.setattr(kv_cache, "_PREFIX_CACHE_STEP", 1)
    groups = [
        tiny.group(tiny.texts(5, shared=f"schema {tag} " * (9 + tag % 3)), tag=tag)
        for tag in range(8)
    ]
    sampler = tiny.make_sampler(params)
    together = tiny.generate(sampler, groups)
    for group in groups:
        for key, generation in tiny.generate(sampler, [group]).items():
            assert together[key] == generation


def test_empty_slots_do_not_hold_a_batch(params):
    """One prompt in a batch of 8 stops the loop when it has stopped itself."""
    sampler = tiny.make_sampler(params, stop=("e", "a", "i", "o", "s"), max_new_tokens=64)
    ((_, (generation,)),) = sampler.generate([tiny.group(["one prompt"])])
    assert sampler.counters.decode_steps < 64
    assert sampler.counters.decode_steps <= len(generation.tokens) + 16


def test_counters_add_up(sampler, prompts):
    before = sampler.counters.prompt_tokens
    group = tiny.group(prompts)
    tiny.generate(sampler, [group])
    lengths = [len(tiny.TOKENIZER.encode(prompt, add_bos=True)) for prompt in prompts]
    assert sampler.counters.prompt_tokens - before == sum(lengths)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"max_new_tokens": 0}, "sampling.max_new_tokens is 0"),
        ({"temperature": -1.0}, "sampling.temperature is -1.0"),
        ({"temperature": float("inf")}, "sampling.temperature is inf"),
        ({"temperature": float("nan")}, "sampling.temperature is nan"),
        ({"seed": -1}, "sampling.seed is -1"),
        ({"seed": 2**32}, "sampling.seed is 4294967296"),
        ({"top_p": 0.0}, "sampling.top_p is 0.0"),
        ({"top_k": -1}, "sampling.top_k is -1"),
        ({"stop": ("",)}, "sampling.stop"),
    ],
)
def test_values_that_do_not_fit_are_refused(params, values, message):
    with pytest.raises(errors.InputError, match=message):
        tiny.make_sampler(params, **values)


def test_a_prompt_that_does_not_fit_is_refused(sampler):
    with pytest.raises(errors.InputError, match="prompt 1 has 201 tokens; at most 128 fit"):
        sampler.sample(["short", "x" * 200])
