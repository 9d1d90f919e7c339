"""Beam search: the same answers as a search that goes length by length, without a cache."""

import dataclasses
import re
import sqlite3

import guides
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from t2sql import constraint, errors, sampling
from t2sql.data.schema import Column, Schema, Table
from t2sql.model import dummy
from t2sql.sampling import beams

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
    """The likeliest one if the guide allows it, and of the others those of its mask."""
    forbidden = set(tiny.TOKENIZER.FORBIDDEN_TOKENS)
    order = [int(t) for t in np.argsort(-logprobs, kind="stable") if t not in forbidden]
    if beam.guide:
        mask = beam.guide.allowed().unpacked(len(logprobs))
        own = [t for t in order[:1] if beam.guide.allows(t)]
        order = own + [t for t in order if mask[t] and t not in own]
    texts: set[str] = set()  # of the answers that end here: each once
    follow = []
    for token in order:
        tokens = [*beam.tokens, token]
        if token in ENDS or len(tokens) == LIMIT:
            text = tiny.TOKENIZER.decode([t for t in tokens if t not in ENDS])
            if text in texts:
                continue
            texts.add(text)
        follow.append(beam.with_token(token, float(logprobs[token])))
    return follow[:BEAMS]


def search(params, group, index: int, config, guide=None) -> list[Beam]:
    """The K likeliest answers to a prompt, the best first."""
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
        ended.sort(key=lambda beam: -beam.total)
        live = [beam for beam in kept if beam not in ended]
        if len(ended) >= BEAMS:
            live = [beam for beam in live if beam.total > ended[BEAMS - 1].total]
    return sorted(ended[:BEAMS], key=lambda beam: -score(beam))


def _answers(generation) -> list[sampling.Generation]:
    return [generation, *generation.others]


def _generations(sampler, group, guide=None) -> list[sampling.Generation]:
    group = dataclasses.replace(group, guide=guide and (lambda limit: guide()))
    ((_, generations),) = sampler.generate([group])
    return generations


CASES = {
    "free": ({"length_penalty": 0.0}, None),
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
    sampler = tiny.make_sampler(params, batch_size=3, max_new_tokens=LIMIT, beams=BEAMS, **values)
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


@pytest.mark.parametrize(
    "guide", [pytest.param(None, marks=pytest.mark.slow), lambda: guides.Arbitrary(0.3)]
)
def test_one_beam_is_the_greedy_answer(params, guide):
    group = tiny.group(tiny.texts(7, shared="schema "))
    constrain = "keys" if guide else ""
    greedy, one = (
        _generations(tiny.make_sampler(params, constrain=constrain, **values), group, guide)
        for values in ({}, {"beams": 1})
    )
    assert [answer.text for answer in one] == [answer.text for answer in greedy]
    assert [answer.tokens for answer in one] == [answer.tokens for answer in greedy]


@pytest.mark.slow
def test_batch_order_ring_and_followers_do_not_matter(params, monkeypatch):
    """Nor do entries of the ring that are computed again, nor how many followers are told."""
    prompts = tiny.texts(7, shared="schema ")

    def answers(batch_size: int, order: int) -> list:
        sampler = tiny.make_sampler(
            params, batch_size=batch_size, beams=BEAMS, max_new_tokens=LIMIT, constrain="keys"
        )
        group = tiny.group(prompts[::order])
        generations = _generations(sampler, group, lambda: guides.Arbitrary(0.3))
        steps.append(sampler.counters.decode_steps)
        return [[answer.tokens for answer in _answers(one)] for one in generations][::order]

    steps: list[int] = []
    first = answers(4, 1)
    assert answers(3, -1) == first
    monkeypatch.setattr(beams, "count_of_followers", lambda config: 2)
    monkeypatch.setattr(beams, "spare", lambda config: 1)
    assert answers(3, -1) == first
    assert steps[2] > steps[1]


@pytest.mark.slow
def test_stop_strings_end_beams(params):
    group = tiny.group(tiny.texts(4))
    stops = ("7", "ab", " ")
    greedy, one, several = (
        _generations(tiny.make_sampler(params, stop=stops, **values), group)
        for values in ({}, {"beams": 1}, {"beams": 4, "length_penalty": 1.0})
    )
    assert [answer.text for answer in one] == [answer.text for answer in greedy]
    texts = [answer.text for generation in several for answer in _answers(generation)]
    assert len(texts) == 16
    assert not [text for text in texts if any(stop in text for stop in stops)]
    for generation in several:
        means = [np.mean(answer.logprobs) for answer in _answers(generation)]
        assert means == sorted(means, reverse=True)


@pytest.mark.slow
def test_limits_of_single_prompts_hold(params):
    group = dataclasses.replace(tiny.group(tiny.texts(3)), limits=np.array([2, 5, 40], np.int32))
    generations = _generations(
        tiny.make_sampler(params, beams=2, max_new_tokens=6, stop=("\0",)), group
    )
    for generation, limit in zip(generations, (2, 5, 6), strict=True):
        assert all(len(answer.tokens) <= limit for answer in _answers(generation))


def test_where_a_guide_allows_one_answer_there_is_one(params):
    group = tiny.group(tiny.texts(2))
    sampler = tiny.make_sampler(params, beams=3, constrain="schema")
    for generation in _generations(sampler, group, lambda: guides.Single("a", tiny.TOKENIZER)):
        assert [answer.text for answer in _answers(generation)] == ["a" * 20]
        assert generation.masked_logprobs == pytest.approx([0.0] * 20, abs=1e-5)
    assert sampler.counters.refused_tokens > 0


def test_all_beams_of_random_weights_are_queries(params):
    tables = {"singer": ("id", "name"), "concert": ("id", "singer_id", "year")}
    schema = Schema(db_id="samples", tables=tuple(_table(*table) for table in tables.items()))
    vocabulary = constraint.Vocabulary(dummy.tokenizer_model(), (1, 106))
    guide = constraint.Guides(vocabulary, {"samples": schema}, "SELECT").of("samples")
    sampler = tiny.make_sampler(params, constrain="schema", max_new_tokens=40, beams=3)
    group = dataclasses.replace(tiny.group(tiny.texts(3)), guide=guide)
    database = sqlite3.connect(":memory:")
    for name, columns in tables.items():
        database.execute(f"CREATE TABLE {name} ({', '.join(columns)})")
    ((_, generations),) = sampler.generate([group])
    for answer in (answer for generation in generations for answer in _answers(generation)):
        assert answer.status == "ok"
        database.execute(f"EXPLAIN SELECT{answer.text}")


def _table(name: str, columns: tuple[str, ...]) -> Table:
    fields = (Column(name=column, type="text", natural_name=column) for column in columns)
    return Table(name=name, natural_name=name, columns=tuple(fields))


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"beams": -1}, "sampling.beams is -1; it has to be 0, or at least 1"),
        (
            {"beams": 2, "samples": 2, "temperature": 0.5},
            "sampling.beams is 2; it has to be 0, or at least 1 with sampling.samples at 1",
        ),
        ({"beams": 2, "temperature": 0.5}, "sampling.temperature is 0.5; it has to be 0 with"),
        ({"length_penalty": -1.0}, "sampling.length_penalty is -1.0; it has to be at least 0"),
        ({"choose": "vote", "beams": 2}, "empty, or 'vote' with sampling.samples above 1"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_rule(params, values, rule):
    with pytest.raises(errors.InputError, match=re.escape(rule)):
        tiny.make_sampler(params, **values)
