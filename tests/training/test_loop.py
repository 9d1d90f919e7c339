"""Training on the sample data with a tiny model: it learns, stops, goes on, and is refused."""

import json
import shutil

import numpy as np
import pytest

from t2sql import errors
from t2sql.model import adapters
from t2sql.runtime import progress, signals
from t2sql.training import config as config_lib
from t2sql.training import loop, optimizer, setup, validation

pytestmark = pytest.mark.usefixtures("quick_compile")


def _config(output, **train):
    config = config_lib.default_config()
    config.data.path = "sample"
    config.model.name, config.model.source = "dummy", "dummy:0"
    config.output = str(output)
    config.sampling.max_new_tokens = 24
    config.compilation_cache = ""
    config.batch_size = 4
    config.train.update(
        {
            "rank": 4,
            "epochs": 1.0,
            "held_out_databases": 1,
            "sequence_tokens": 900,
            "sequence_answers": 500,
            "sequences_per_step": 1,
            "peak_learning_rate": 3e-2,
            "warmup_steps": 2,
            "validate_every": 8,
            "validation_questions": 4,
            **train,
        }
    )
    return config


def _run(config):
    loop.run(config, signals.TerminationWatch(20.0))


def _prepare(config):
    return setup.prepare(config, progress.make_console())


def _lines(output):
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A training without a break."""
    output = tmp_path_factory.mktemp("whole")
    _run(_config(output, epochs=6.0))
    return output


@pytest.fixture(scope="module")
def after_one_step(tmp_path_factory):
    """A training that was stopped after its first step."""
    output = tmp_path_factory.mktemp("stopped")
    _run(_config(output, stop_after_steps=1))
    return output


@pytest.fixture
def stopped(after_one_step, tmp_path):
    """A copy of it."""
    return shutil.copytree(after_one_step, tmp_path / "stopped")


def test_the_loss_falls(finished):
    losses = [line["loss"] for line in _lines(finished)]
    assert np.mean(losses[-3:]) < losses[0] - 0.2


def test_it_leaves_the_last_and_the_best_adapter(finished):
    for name in ("last", "best"):
        file = adapters.resolve(str(finished / name), cache_dir=finished)
        assert (file.rank, file.prompt["name"]) == (4, "compact")
    assert (finished / "tensorboard").is_dir()
    validations = (finished / "metrics.jsonl").read_text().count("held_out_execution")
    assert validations >= 2


def test_a_stopped_training_goes_on_to_the_same_result(finished, tmp_path):
    config = _config(tmp_path, epochs=6.0, stop_after_steps=3)
    _run(config)
    assert [line["step"] for line in _lines(tmp_path)] == [1, 2, 3]
    config.train.stop_after_steps = None
    _run(config)
    whole, resumed = (np.load(path / "last" / "adapter.npz") for path in (finished, tmp_path))
    assert set(whole.files) == set(resumed.files)
    for name in whole.files:
        np.testing.assert_array_equal(whole[name], resumed[name])
    assert [line["loss"] for line in _lines(finished)] == [
        line["loss"] for line in _lines(tmp_path)
    ]


def test_a_half_written_checkpoint_is_none(tmp_path):
    config = _config(tmp_path, epochs=3.0, stop_after_steps=2)
    _run(config)
    checkpoint = next((tmp_path / "checkpoints").glob("2"))
    shutil.copytree(checkpoint, tmp_path / "checkpoints" / "3.orbax-checkpoint-tmp")
    config.train.stop_after_steps = 3
    _run(config)
    assert [line["step"] for line in _lines(tmp_path)] == [1, 2, 3]


def test_a_failed_validation_loses_no_step(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(validation.Validator, "score", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        _run(_config(tmp_path, epochs=3.0, validate_every=2))
    assert (tmp_path / "checkpoints" / "2").is_dir()


def test_a_damaged_checkpoint_is_named(stopped):
    shutil.rmtree(stopped / "checkpoints" / "1" / "state")
    with pytest.raises(errors.InputError, match=r"checkpoints/1: the checkpoint is damaged"):
        _run(_config(stopped, stop_after_steps=1))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"rank": 2}, "trained.rank: 4 there, 2 here"),
        ({"seed": 1}, "seed: 0 there, 1 here"),
        ({"shuffled_schemas": 0.0}, "train.shuffled_schemas: 0.5 there, 0.0 here"),
        ({"sequence_answers": 501}, r"\[sequence_tokens, .*\]: \[900, 500, 1\] there, \[900, 501"),
        ({"method": "full"}, "trained.method: 'lora' there, 'full' here"),
    ],
)
def test_another_training_is_refused(stopped, change, name):
    with pytest.raises(errors.RefusedError, match=f"another {name}"):
        _run(_config(stopped, **change))


def test_a_training_can_begin_with_an_adapter(finished, tmp_path):
    config = _config(tmp_path, seed=1)
    config.model.adapter = str(finished / "last")
    _run(config)
    assert _lines(tmp_path)[0]["loss"] < _lines(finished)[0]["loss"] - 0.2
    first = adapters.resolve(str(finished / "last"), cache_dir=tmp_path)
    last = adapters.resolve(str(tmp_path / "last"), cache_dir=tmp_path)
    assert (first.base, first.rank) == (last.base, last.rank)
    with pytest.raises(errors.RefusedError, match=r"another trained\.\w+: .* there, None here"):
        _run(_config(tmp_path, seed=1))


def test_an_adapter_of_another_rank_is_no_beginning(finished, tmp_path):
    config = _config(tmp_path, rank=2)
    config.model.adapter = str(finished / "last")
    with pytest.raises(errors.InputError, match="has rank 4 on"):
        _run(config)


def test_full_fine_tuning_writes_a_model_source(tmp_path):
    _run(_config(tmp_path, method="full", epochs=4.0, peak_learning_rate=1e-3))
    losses = [line["loss"] for line in _lines(tmp_path)]
    assert losses[-1] < losses[0]
    assert (tmp_path / "last" / "checkpoint" / "_METADATA").exists()


def test_a_signal_writes_a_checkpoint(tmp_path):
    class Watch(signals.TerminationWatch):
        calls = 0

        def check(self):
            self.calls += 1
            if self.calls == 3:
                raise signals.Terminated

    with pytest.raises(signals.Terminated):
        loop.run(_config(tmp_path, epochs=3.0, validate_every=0), Watch(20.0))
    assert (tmp_path / "checkpoints" / "2").is_dir()


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"rank": 0}, "train.rank is 0"),
        ({"targets": ("q_einsum", "nose")}, "train.targets"),
        ({"method": "prompt"}, "train.method is 'prompt'"),
        ({"splits": ("dev",)}, "train.splits"),
        ({"splits": ("train_others",)}, "no split 'train_others'"),
        ({"held_out_databases": 99}, "too few to train on"),
        ({"sequence_tokens": 40, "sequence_answers": 20}, "no question fits"),
        ({"sequences_per_device": 3}, "has to be a multiple of 3"),
        ({"epochs": 0.0}, "train.epochs is 0"),
        ({"stop_after_steps": 0}, "train.stop_after_steps is 0"),
    ],
)
def test_bad_values_are_named(tmp_path, train, message):
    with pytest.raises(errors.InputError, match=message):
        _run(_config(tmp_path, **train))


@pytest.mark.parametrize("output", ["", "gs://bucket/lora"])
def test_an_output_that_is_no_local_folder_is_named(output):
    with pytest.raises(errors.InputError, match="has to be a local folder"):
        _run(_config(output))


def test_an_output_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.InputError, match="cannot be written"):
        _run(_config(tmp_path / "file"))


def test_questions_that_do_not_fit_are_named(tmp_path):
    parts = _prepare(_config(tmp_path, sequence_tokens=700))
    assert parts.steps.left_out
    kept = sum(len(g.questions) for groups in parts.steps.sequences for g in groups)
    assert kept + sum(parts.steps.left_out.values()) == len(parts.split.train)


def test_a_broken_epoch_begins_as_a_whole_one_does(tmp_path):
    parts = [
        _prepare(_config(tmp_path, epochs=epochs, sequence_answers=40))
        for epochs in (2.0, 1.5, 0.5)
    ]
    whole = parts[0].steps
    for share, broken in ((0.75, parts[1].steps), (0.25, parts[2].steps)):
        assert len(broken) == pytest.approx(share * len(whole), abs=1)
        assert broken.sequences == whole.sequences[: len(broken.sequences)]
        assert broken.per_epoch == whole.per_epoch
    # So a training may be given fewer epochs, or more, when it goes on.
    described = [setup.describe(of_parts) for of_parts in parts]
    assert described[0] == described[1] == described[2]


def test_held_out_databases_are_not_trained_on(tmp_path):
    parts = _prepare(_config(tmp_path))
    held_out = {example.db_id for example in parts.split.held_out}
    assert len(held_out) == 1
    assert not held_out & {example.db_id for example in parts.split.train}


@pytest.mark.parametrize("losses", [[1.0, float("nan")], [1.0] * 5 + [9.0] * 20])
def test_a_diverging_loss_stops_the_training(losses):
    watch = loop.LossWatch()
    with pytest.raises(errors.RefusedError, match="peak_learning_rate"):
        for step, loss in enumerate(losses):
            watch.check(step, loss)


def test_a_noisy_loss_does_not():
    watch = loop.LossWatch()
    rng = np.random.default_rng(0)
    for step in range(500):
        watch.check(step, 0.5 + float(rng.exponential(0.5)))


def test_the_schedule_warms_up_stays_and_decays():
    train = _config("x", peak_learning_rate=1.0, warmup_steps=10, decay_share=0.3).train
    schedule = optimizer.make_schedule(train, 100)
    rates = [float(schedule(step)) for step in (0, 5, 10, 69, 85, 100)]
    assert rates == pytest.approx([1 / 11, 6 / 11, 1, 1, 0.5, 0], abs=1e-6)


def test_a_key_that_a_file_mistyped_is_refused(tmp_path):
    config = _config(tmp_path)
    with config.unlocked():
        config.train.epoch = 3.0
    with pytest.raises(errors.InputError, match=r"'train.epoch'.*did you mean 'train.epochs'"):
        _run(config)


def test_a_config_without_a_training_is_refused(tmp_path):
    config = _config(tmp_path)
    with config.unlocked():
        del config.train
    with pytest.raises(errors.InputError, match=r"no value for 'train\..*as configs/lora.py does"):
        _run(config)
