"""Several answers to a prompt: each as if it were alone, the first one greedy."""

import dataclasses

import guides
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from t2sql import errors, sampling
from t2sql.sampling import constrained, next_token, scores

pytestmark = pytest.mark.usefixtures("quick_compile")
SAMPLES = 3
METHOD = {"temperature": 0.7, "top_k": 5, "seed": 3, "samples": SAMPLES}


@pytest.fixture(scope="module")
def params():
    return tiny.make_params()


@jax.jit
def _logits_of_last(params, tokens, length):
    """Logits of the last of `length` tokens, without a cache."""
    causal = jnp.tril(jnp.ones((tokens.shape[1],) * 2, bool))[None]
    positions = jnp.arange(tokens.shape[1])[None]
    output = tiny.MODEL.apply(
        {"params": params}, tokens, positions=positions, attention_mask=causal
    )
    return output.logits[:, length - 1]


def _alone(params, config, group, index: int, sample: int, guide=None):
    """Tokens of one answer, and their log-probabilities: without the others, without a cache."""
    text = [*group.prefix, *group.suffixes[index]]
    answer, logprobs, masked_logprobs = [], [], []

    def draw(logits) -> int:
        drawn = next_token.sample_tokens(
            logits,
            config,
            jnp.array([group.sample_ids[index]]),
            jnp.array([len(answer)]),
            tuple(tiny.TOKENIZER.FORBIDDEN_TOKENS),
        )
        return int(drawn[0, sample])

    while len(answer) < config.max_new_tokens and not (answer and answer[-1] in (1, 50, 106)):
        padded = jnp.zeros((1, 160), jnp.int32).at[0, : len(text)].set(jnp.array(text))
        logits = _logits_of_last(params, padded, len(text))
        token = draw(logits)
        if guide:
            masked = jnp.where(guide.allowed().unpacked(logits.shape[1]), logits, -jnp.inf)
            if not guide.allows(token):
                token = draw(masked)
            guide.advance(token)
            masked_logprobs.append(float(jax.nn.log_softmax(masked)[0, token]))
        logprobs.append(float(jax.nn.log_softmax(logits)[0, token]))
        answer.append(token)
        text.append(token)
    return tuple(answer), logprobs, masked_logprobs


def _answers(generation) -> list[sampling.Generation]:
    return [generation, *generation.others]


def _assert_as_alone(params, config, group, generations, guide=lambda: None) -> None:
    for index, generation in enumerate(generations):
        answers = _answers(generation)
        assert len(answers) == config.samples
        for sample, answer in enumerate(answers):
            tokens, logprobs, masked = _alone(params, config, group, index, sample, guide())
            assert answer.tokens == tokens, (index, sample)
            np.testing.assert_allclose(answer.logprobs, logprobs, atol=2e-4)
            np.testing.assert_allclose(answer.masked_logprobs, masked, atol=2e-4)


def test_each_answer_is_as_if_it_were_alone(params):
    config = sampling.SamplingConfig(max_new_tokens=12, **METHOD)
    group = tiny.group(tiny.texts(4, shared="schema "))
    sampler = tiny.make_sampler(params, batch_size=3, max_new_tokens=12, **METHOD)
    ((_, generations),) = sampler.generate([group])
    _assert_as_alone(params, config, group, generations)
    assert any(len(set(_answers(generation))) > 1 for generation in generations)


def test_within_a_guide_too(params, monkeypatch):
    """With all tokens asked of the guide the masked distribution is exact."""
    monkeypatch.setattr(scores, "TOP", tiny.MODEL.config.num_embed)
    monkeypatch.setattr(scores, "_LEAST", -np.inf)
    monkeypatch.setattr(constrained, "pace", lambda platform: constrained.Pace(2, 2))
    config = sampling.SamplingConfig(max_new_tokens=12, constrain="keys", **METHOD)
    group = tiny.group(tiny.texts(4, shared="schema "))
    sampler = tiny.make_sampler(params, batch_size=3, max_new_tokens=12, constrain="keys", **METHOD)
    constrained_group = dataclasses.replace(group, guide=lambda limit: guides.Arbitrary(0.4))
    ((_, generations),) = sampler.generate([constrained_group])
    _assert_as_alone(params, config, group, generations, lambda: guides.Arbitrary(0.4))
    assert sampler.counters.refused_tokens > 0


def test_batch_order_and_pace_do_not_matter(params, monkeypatch):
    prompts = tiny.texts(9, shared="schema ")

    def answers(batch_size: int, order: int, pace: tuple[int, int]) -> list:
        monkeypatch.setattr(constrained, "pace", lambda platform: constrained.Pace(*pace))
        sampler = tiny.make_sampler(params, batch_size=batch_size, constrain="keys", **METHOD)
        group = dataclasses.replace(
            tiny.group(prompts[::order]), guide=lambda limit: guides.Arbitrary(0.3)
        )
        ((_, generations),) = sampler.generate([group])
        return [[a.tokens for a in _answers(one)] for one in generations][::order]

    first = answers(8, 1, (1, 1))
    assert answers(3, -1, (3, 2)) == first


def test_the_first_answer_is_the_greedy_one_and_ends_at_stop_strings_too(params):
    prompts = tiny.texts(12)
    greedy = tiny.make_sampler(params, stop=("7", "ab")).sample(prompts)
    sampler = tiny.make_sampler(params, stop=("7", "ab"), temperature=1.5, samples=4)
    assert sampler.sample(prompts) == greedy


def test_equal_answers_are_decoded_once(params):
    """At a low temperature all answers are the greedy one."""
    prompts = tiny.texts(6)
    one, four = (tiny.make_sampler(params, temperature=1e-6, samples=samples) for samples in (1, 4))
    assert one.sample(prompts) == four.sample(prompts)
    assert four.counters.decode_steps == one.counters.decode_steps
    assert four.counters.output_tokens == 4 * one.counters.output_tokens


def test_one_answer_can_be_scored_without_a_change(params):
    prompts = tiny.texts(6)
    group = tiny.group(prompts)
    plain, scored = (
        next(iter(tiny.make_sampler(params, logprobs=logprobs).generate([group])))[1]
        for logprobs in (False, True)
    )
    assert [answer.tokens for answer in plain] == [answer.tokens for answer in scored]
    assert all(len(answer.logprobs) == len(answer.tokens) for answer in scored)
    assert not plain[0].logprobs


def test_what_does_not_fit_is_refused_with_the_rule(params):
    with pytest.raises(errors.InputError, match="temperature 0 would draw one answer"):
        tiny.make_sampler(params, samples=2)
    with pytest.raises(errors.InputError, match="samples is 0; it has to be at least 1"):
        tiny.make_sampler(params, samples=0)
