"""Beam search: the same answers as a search that goes length by length, without a cache."""

import dataclasses

import guides
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from t2sql import constraint, errors, sampling
from t2sql.sampling import beams, constrained, scores

pytestmark = pytest.mark.usefixtures("quick_compile")
BEAMS, LIMIT = 3, 9
ENDS = (1, 50, 106)


@pytest.fixture(scope="module")
def params():
    """Of a model that is surer of some tokens than random weights are."""
    params = tiny.make_params()
    return params | {"final_norm": jax.tree.map(lambda scale: scale + 12, params["final_norm"])}


class Wordy(guides.Arbitrary):
    """Whose mask holds fewer tokens than it would keep of the model's own."""

    def copy(self):
        other = Wordy(self._share)
        other.tokens = self.tokens.copy()
        return other

    def allowed(self):
        even = np.arange(len(self.mask())) % 2 == 0
        return constraint.Mask.of(self.mask() & even)



def logprobs_of(params, texts):
    """Log-probabilities of the token after each text, without a cache."""
    lengths = np.array([len(text) for text in texts])
    padded = np.zeros((BEAMS, 96), np.int32)
    for row, text in zip(padded, texts, strict=False):
        row[: len(text)] = text
    return np.asarray(_forward(params, padded), np.float64)[np.arange(len(texts)), lengths - 1]


@jax.jit
def _forward(params, padded):
    causal = jnp.tril(jnp.ones((padded.shape[1],) * 2, bool))
    output = tiny.MODEL.apply(
        {"params": params},
        padded,
        positions=jnp.broadcast_to(jnp.arange(padded.shape[1]), padded.shape),
        attention_mask=jnp.broadcast_to(causal, (len(padded), *causal.shape)),
    )
    return jax.nn.log_softmax(output.logits.astype(jnp.float32))


@dataclasses.dataclass
class Beam:
    tokens: list[int]
    logprobs: list[float]
    guide: guides.Arbitrary | None

    @property
    def total(self) -> float:
        return sum(self.logprobs)

    def with_token(self, token: int, logprob: float) -> "Beam":
        guide = self.guide and self.guide.copy()
        if guide:
            guide.tokens.append(token)
        return Beam([*self.tokens, token], [*self.logprobs, logprob], guide)


def continuations(beam: Beam, logprobs: np.ndarray) -> list[Beam]:
    """The likeliest that the guide allows: the most likely token decides where they come from."""
    forbidden = set(tiny.TOKENIZER.FORBIDDEN_TOKENS)
    order = [int(t) for t in np.argsort(-logprobs, kind="stable") if t not in forbidden]
    if beam.guide:
        mask = beam.guide.allowed().unpacked(len(logprobs))
        own = order[: beams.count_of_followers(sampling.SamplingConfig(beams=BEAMS))]
        if beam.guide.allows(order[0]):
            order = [t for t in order if (beam.guide.allows(t) if t in own else mask[t])]
        else:
            order = [t for t in order if mask[t]]
    ends, *_ = [t for t in order if t in ENDS] or [None]  # all of them end it with one text
    order = [t for t in order if t not in ENDS or t == ends]
    return [beam.with_token(t, float(logprobs[t])) for t in order[:BEAMS]]


def search(params, group, index: int, config, guide=None) -> list[Beam]:
    """The K best answers to a prompt, the best first."""
    text = [*group.prefix, *group.suffixes[index]]
    live, ended = [Beam([], [], guide)], []

    def score(beam: Beam) -> float:
        return beam.total / len(beam.tokens) ** config.length_penalty

    while live:
        rows = logprobs_of(params, [[*text, *beam.tokens] for beam in live])
        follow = [b for beam, row in zip(live, rows, strict=True) for b in continuations(beam, row)]
        kept = sorted(follow, key=lambda beam: -beam.total)[:BEAMS]
        for beam in kept:
            if beam.tokens[-1] in ENDS or len(beam.tokens) == config.max_new_tokens:
                ended.append(beam)
        ended.sort(key=lambda beam: -score(beam))
        live = [beam for beam in kept if beam not in ended]
        if len(ended) >= BEAMS:
            bound = config.max_new_tokens**config.length_penalty
            live = [beam for beam in live if beam.total / bound > score(ended[BEAMS - 1])]
    return ended[:BEAMS]


def _answers(generation) -> list[sampling.Generation]:
    return [generation, *generation.others]


def _generations(sampler, group, guide=None) -> list[sampling.Generation]:
    group = dataclasses.replace(group, guide=guide and (lambda limit: guide()))
    ((_, generations),) = sampler.generate([group])
    return generations


CASES = {
    "free": ({}, None),
    "by the mean": ({"length_penalty": 1.0}, None),
    "few refused": ({"constrain": "keys"}, lambda: guides.Arbitrary(0.2)),
    "most refused": ({"constrain": "keys"}, lambda: guides.Arbitrary(0.9)),
    "by the mean, half refused": (
        {"constrain": "keys", "length_penalty": 0.6},
        lambda: guides.Arbitrary(0.5),
    ),
    "narrow masks": ({"constrain": "schema"}, lambda: Wordy(0.4)),
}


@pytest.mark.parametrize("name", CASES)
def test_as_a_search_that_goes_length_by_length(params, name):
    values, guide = CASES[name]
    config = sampling.SamplingConfig(max_new_tokens=LIMIT, beams=BEAMS, **values)
    sampler = tiny.make_sampler(
        params, batch_size=3, max_new_tokens=LIMIT, beams=BEAMS, **values
    )
    group = tiny.group(tiny.texts(5, shared="schema "))
    generations = _generations(sampler, group, guide)
    for index, generation in enumerate(generations):
        expected = search(params, group, index, config, guide and guide())
        answers = _answers(generation)
        assert [answer.tokens for answer in answers] == [tuple(b.tokens) for b in expected], index
        for answer, beam in zip(answers, expected, strict=True):
            np.testing.assert_allclose(answer.logprobs, beam.logprobs, atol=2e-4)
    # It computes fewer tokens than there are in K hypotheses of each length.
    assert sampler.counters.decode_steps < 5 * BEAMS * LIMIT
