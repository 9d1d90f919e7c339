"""A run with an adapter: other answers, another fingerprint, and a word about the prompt."""

import jax
import jax.numpy as jnp
import jobs
import numpy as np
import pytest

from t2sql import errors
from t2sql.data import prompts
from t2sql.model import adapters, factory, lora


@pytest.fixture
def folder(tmp_path):
    made = factory.LLMModuleFactory(factory.config_for("dummy", "dummy:0", dtype="float32"))
    rng = np.random.default_rng(0)
    new = lora.init(made.abstract_params, 2, tuple(lora.TARGETS), seed=0)
    adapters.save(
        tmp_path / "adapter",
        jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), new),
        base={"name": "dummy", "weights_sha256": made.checkpoint.weights_sha256},
        rank=2,
        targets=list(lora.TARGETS),
        prompt={"name": "compact", "sha256": prompts.make_prompt("compact").digest},
        training={},
    )
    return tmp_path / "adapter"


def test_the_adapter_changes_answers_and_fingerprint(folder, tmp_path, capsys):
    values = {"prompt": "compact", "data.limit": 4}
    plain = jobs.run(tmp_path / "plain", **values)
    adapted = jobs.run(tmp_path / "adapted", **values, **{"model.adapter": str(folder)})
    assert {row.text for row in plain.values()} != {row.text for row in adapted.values()}
    fingerprint = jobs.read_json(tmp_path / "adapted", "run.json")["fingerprint"]
    assert len(fingerprint["adapter"]) == 64
    assert "warning" not in capsys.readouterr().out.split("adapted")[-1]
    with pytest.raises(errors.RefusedError, match="adapter"):
        jobs.run(tmp_path / "adapted", **values)


def test_another_prompt_than_the_adapters_is_told(folder, tmp_path, capsys):
    jobs.run(tmp_path / "run", **{"data.limit": 2, "model.adapter": str(folder)})
    assert "trained with prompt 'compact'" in capsys.readouterr().out
